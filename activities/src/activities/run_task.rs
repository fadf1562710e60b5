//! `run_task`: a task handler at work.

use super::{Activities, guard, notifier::Notifying};
use crate::seller::{Host, RequestContext, Work};
use async_trait::async_trait;
use handoff_proto::{
    errors,
    limits::MAX_ENCODED_BYTES,
    v1::{Completion, Progress, RunTaskInput, TaskRef, completion::Outcome},
    wire::AdcpError,
};
use handoff_store::{Registry, RegistryError};
use serde_json::Value;
use std::sync::{Arc, Mutex};
use temporalio_sdk::activities::{ActivityContext, ActivityError};

impl Activities {
    pub(super) async fn run_task_handler(
        &self,
        ctx: ActivityContext,
        input: RunTaskInput,
    ) -> Result<Completion, ActivityError> {
        let handoff = guard::required(input.handoff, "handoff")?;
        let input = guard::required(input.input, "input")?;
        let task = guard::task_of(&input)?;
        let Some(handler) = self.handlers.task(&handoff.handler) else {
            // Another worker may have it: this build may be older or newer than the one that decided.
            tracing::error!(handler = handoff.handler, "no such task handler is registered in this worker");
            return Err(guard::try_again(
                &AdcpError::terminal(errors::HANDLER_MISSING, "The seller is not set up for this request.").into(),
            ));
        };
        let asked = serde_json::from_str(&input.request_json).unwrap_or_default();
        let request = Arc::new(self.governed(RequestContext::new(&input, ctx.info().attempt), &asked));
        let last =
            ctx.heartbeat_details().deserialize::<serde_json::Value>().ok().flatten().filter(|last| !last.is_null());
        let notifying = self.notifier.clone().map(|notifier| Notifying::new(notifier, task.clone()));
        let host = InActivity { activity: ctx.clone(), registry: self.registry.clone(), task, notifying };
        let work = Arc::new(Work { host: Box::new(host), heartbeat: Mutex::new(last) });
        let body = serde_json::from_str(&handoff.input_json).unwrap_or_default();
        let running = guard::catch(&handoff.handler, &input, (handler.run)(request, work.clone(), body));
        let running = guard::with_heartbeats(&ctx, || guard::last_details(&work), running);
        let outcome = guard::within_grace(&ctx, running).await?;
        let Ok(result) = outcome else { return Err(guard::panicked(&input)) };
        let result = result.and_then(|value| crate::seller::result_json(crate::seller::to_json(value)));
        let result = result.and_then(|text| {
            self.check_text(input.task.as_ref().map_or("", |task| &task.verb), &text, &input.correlation_id)?;
            Ok(text)
        });
        let outcome = match result {
            _ if ctx.is_cancelled() => return Err(ActivityError::cancelled()),
            Ok(result_json) => Outcome::ResultJson(result_json),
            Err(error) if error.is_transient() => return Err(guard::try_again(&error.into())),
            Err(error) => Outcome::Error(guard::carried(error.into())),
        };
        let completion = Completion { outcome: Some(outcome), actor: handoff.handler, ..Default::default() };
        match guard::oversize(&completion) {
            Some(size) => {
                let error = errors::result_too_large(size, MAX_ENCODED_BYTES);
                Ok(Completion { outcome: Some(Outcome::Error(error.into())), ..completion })
            }
            None => Ok(completion),
        }
    }
}

/// The surroundings of a handler at work.
struct InActivity {
    activity: ActivityContext,
    registry: Arc<dyn Registry>,
    task: TaskRef,
    notifying: Option<Notifying>,
}

#[async_trait]
impl Host for InActivity {
    async fn progress(&self, progress: &Progress) -> Result<(), RegistryError> {
        let written = self.registry.update_progress(&self.task, progress).await?;
        if let Some(notifying) = self.notifying.as_ref().filter(|_| written) {
            notifying.tell();
        }
        Ok(())
    }

    async fn heartbeat(&self, details: Value) -> Result<(), AdcpError> {
        self.activity.record_heartbeat(details).await.map_err(errors::result_invalid)
    }

    async fn cancelled(&self) {
        self.activity.cancelled().await;
    }

    fn is_cancelled(&self) -> bool {
        self.activity.is_cancelled()
    }
}
