//! Between handlers that may do anything and an engine that must go on.

use futures::FutureExt;
use handoff_proto::{
    errors,
    limits::{MAX_ENCODED_BYTES, MAX_ERROR_BYTES},
    v1::{AdcpError, Settlement, Standing, TaskInput, TaskRef},
};
use handoff_store::RegistryError;
use prost::Message;
use serde::Serialize;
use std::{any::Any, panic::AssertUnwindSafe, sync::Arc, time::Duration};
use temporalio_common::error::ApplicationFailure;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

const CANCEL_GRACE: Duration = Duration::from_secs(20);

/// A handler panicked. The panic's text stays in the log; what leaves is a correlation id.
pub(super) struct Panicked;

/// Calls a handler; a panic is logged, not passed on.
pub(super) async fn catch<T>(what: &str, input: &TaskInput, call: impl Future<Output = T>) -> Result<T, Panicked> {
    AssertUnwindSafe(call).catch_unwind().await.map_err(|panic| {
        let task_id = input.task.as_ref().map(|task| task.task_id.as_str()).unwrap_or_default();
        tracing::error!(handler = what, task_id, correlation_id = %input.correlation_id, panic = text_of(&*panic), "a handler panicked");
        Panicked
    })
}

/// The activity is to be tried again; if it never succeeds, the buyer gets this error.
pub(super) fn try_again(error: &AdcpError) -> ActivityError {
    ActivityError::application(
        ApplicationFailure::builder(BoxedMessage::from(error.code.clone()))
            .type_name(error.code.clone())
            .details(carried(error.clone()))
            .build(),
    )
}

/// The handler panicked: to be tried again.
pub(super) fn panicked(input: &TaskInput) -> ActivityError {
    try_again(&errors::handler_failed(&input.correlation_id).into())
}

/// A registry that refused. Only a value that can't be read is hopeless; a full disk can be emptied.
pub(super) fn registry_error(error: RegistryError) -> ActivityError {
    let hopeless = matches!(error, RegistryError::Corrupt(_) | RegistryError::Schema(_));
    ApplicationFailureOf { code: "REGISTRY", message: error.to_string(), hopeless }.into_error()
}

/// The task that an input is about.
pub(super) fn task_of(input: &TaskInput) -> Result<TaskRef, ActivityError> {
    required(input.task.clone(), "task")
}

/// A field that every worker's build has always set.
pub(super) fn required<T>(field: Option<T>, name: &str) -> Result<T, ActivityError> {
    field.ok_or_else(|| {
        ApplicationFailureOf { code: "INPUT", message: format!("the activity's input has no {name}"), hopeless: true }
            .into_error()
    })
}

/// An error that Temporal will store, without what the protocol marks write-only; another in its place if it is too large.
pub(super) fn carried(error: AdcpError) -> AdcpError {
    let error = error.without_write_only();
    let size = error.encoded_len();
    if size > MAX_ERROR_BYTES { errors::result_too_large(size, MAX_ERROR_BYTES).into() } else { error }
}

/// The size of a message as Temporal will store it, if that is too large.
pub(super) fn oversize(message: &impl Serialize) -> Option<usize> {
    let size = serde_json::to_vec(message).map_or(usize::MAX, |encoded| encoded.len());
    (size > MAX_ENCODED_BYTES).then_some(size)
}

/// What Temporal carries of a standing: its settlement's result stays in the registry.
pub(super) fn without_result(mut standing: Standing) -> Standing {
    standing.settlement = standing.settlement.map(Settlement::without_result);
    standing
}

/// Runs `work`. Once the activity is cancelled, its time is up or its worker stops, it may clean up for a while; then it is
/// dropped, so that a handler that hangs holds neither slot nor worker.
pub(super) async fn within_grace<T>(ctx: &ActivityContext, work: impl Future<Output = T>) -> Result<T, ActivityError> {
    tokio::select! {
        output = work => Ok(output),
        () = async {
            ctx.cancelled().await;
            tokio::time::sleep(CANCEL_GRACE).await;
        } => {
            tracing::error!(activity = ctx.info().activity_type, workflow_id = ctx.info().workflow_id, "a handler did not stop and was dropped");
            Err(ActivityError::cancelled())
        }
    }
}

/// Runs `work` while telling Temporal that this worker lives, with the details that `last` gives.
pub(super) async fn with_heartbeats<T>(
    ctx: &ActivityContext,
    last: impl Fn() -> Option<serde_json::Value>,
    work: impl Future<Output = T>,
) -> T {
    let every = ctx.info().heartbeat_timeout.unwrap_or(Duration::from_secs(10)) / 4;
    let every = every.max(Duration::from_millis(50));
    // Not at once: heartbeats are throttled, and the first one should be the handler's own.
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            output = &mut work => return output,
            _ = ticks.tick() => {
                let recorded = match last() {
                    Some(details) => ctx.record_heartbeat(details).await,
                    None => ctx.record_heartbeat(()).await,
                };
                if let Err(error) = recorded {
                    tracing::warn!(%error, "a heartbeat could not be encoded");
                }
            }
        }
    }
}

struct ApplicationFailureOf {
    code: &'static str,
    message: String,
    hopeless: bool,
}

impl ApplicationFailureOf {
    fn into_error(self) -> ActivityError {
        ActivityError::application(
            ApplicationFailure::builder(BoxedMessage::from(self.message))
                .type_name(self.code.to_owned())
                .non_retryable(self.hopeless)
                .build(),
        )
    }
}

type BoxedMessage = Box<dyn std::error::Error + Send + Sync>;

fn text_of(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("")
}

/// A shared heartbeat's last details.
pub(super) fn last_details(work: &Arc<crate::seller::Work>) -> Option<serde_json::Value> {
    work.heartbeat.lock().ok().and_then(|last| last.clone())
}
