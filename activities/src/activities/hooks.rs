//! The seller's hooks around a recorded end.

use super::{Activities, guard};
use crate::seller::{Failure, Subject};
use futures::FutureExt;
use handoff_proto::{
    errors,
    v1::{Completion, Settlement, TaskRef, completion::Outcome},
    wire::{AdcpError, TaskStatus},
};
use serde_json::Value;
use std::{panic::AssertUnwindSafe, time::Duration};
use temporalio_sdk::activities::{ActivityContext, ActivityError};

// Below what the workflow gives one attempt of `settle`, as a local activity and as a regular one.
const LOCAL_PATIENCE: Duration = Duration::from_millis(1500);
const REGULAR_PATIENCE: Duration = Duration::from_secs(10);
// Pauses of `settle` double from half a second to 30 seconds: some four minutes.
const ATTEMPTS: u32 = 12;

impl Activities {
    /// What is to be recorded: the completion, or the failure that its hook makes of it.
    pub(super) async fn completing(
        &self,
        ctx: &ActivityContext,
        task: &TaskRef,
        subject: &Subject,
        completion: Completion,
    ) -> Result<Completion, ActivityError> {
        let Some(hook) = self.handlers.verb(&task.verb).and_then(|verb| verb.on_complete.as_ref()) else {
            return Ok(completion);
        };
        let result = match &completion.outcome {
            Some(Outcome::ResultJson(result)) if completion.status() == Some(TaskStatus::Completed) => result,
            _ => return Ok(completion),
        };
        // What has ended stays as it ended; if it was completed, the hook was called then.
        if self.registry.standing(task).await.map_err(guard::registry_error)?.settlement.is_some() {
            return Ok(completion);
        }
        let result = serde_json::from_str(result).unwrap_or_default();
        let info = ctx.info();
        let patience = if info.is_local { LOCAL_PATIENCE } else { REGULAR_PATIENCE };
        let called = tokio::time::timeout(patience, AssertUnwindSafe(hook(subject.clone(), result)).catch_unwind());
        let (error, how) = match called.await {
            Ok(Ok(Ok(()))) => return Ok(completion),
            Ok(Ok(Err(error))) => (error, "failed"),
            Ok(Err(_panic)) => (errors::handler_failed(&subject.correlation_id), "panicked"),
            Err(_late) => (errors::handler_failed(&subject.correlation_id), "did not end in time"),
        };
        tracing::warn!(task_id = task.task_id, code = error.code, attempt = info.attempt, "on_complete {how}");
        let error = guard::carried(error.into());
        if error.to_wire().is_transient() && (info.is_local || info.attempt < ATTEMPTS) {
            return Err(guard::try_again(&error));
        }
        Ok(Completion { outcome: Some(Outcome::Error(error)), ..completion })
    }

    /// Whether somebody wants to know how requests of this verb end.
    pub(super) fn has_hooks(&self, verb: &str) -> bool {
        self.handlers.verb(verb).is_some_and(|verb| verb.on_complete.is_some() || verb.on_failure.is_some())
    }

    /// Calls the hook for a result that is about to be answered at once.
    pub(super) async fn answering(&self, verb: &str, subject: Subject, result: Value) -> Result<(), AdcpError> {
        let Some(hook) = self.handlers.verb(verb).and_then(|verb| verb.on_complete.as_ref()) else { return Ok(()) };
        let correlation_id = subject.correlation_id.clone();
        let called = AssertUnwindSafe(hook(subject, result)).catch_unwind().await;
        called.unwrap_or_else(|_panic| {
            tracing::error!(verb, correlation_id, "on_complete panicked");
            Err(errors::handler_failed(&correlation_id))
        })
    }

    /// Tells the seller how a task ended, unless it was completed. Best effort.
    pub(super) async fn ended(&self, task: &TaskRef, subject: &Subject, settlement: Option<&Settlement>) {
        if let Some(failure) = settlement.and_then(Failure::of) {
            self.failing(&task.verb, subject.clone(), failure).await;
        }
    }

    /// Tells the seller that a request has no result. Best effort.
    pub(super) async fn failing(&self, verb: &str, subject: Subject, failure: Failure) {
        let Some(hook) = self.handlers.verb(verb).and_then(|verb| verb.on_failure.as_ref()) else { return };
        let task_id = subject.task.task_id.clone();
        let called = AssertUnwindSafe(hook(subject, failure)).catch_unwind();
        if !matches!(tokio::time::timeout(LOCAL_PATIENCE, called).await, Ok(Ok(()))) {
            tracing::error!(verb, task_id, "on_failure panicked, or did not end in time");
        }
    }
}
