//! Answers that need no workflow.

use crate::door::{Asked, Door};
use handoff_client::{Answer, CallError, Caller};
use handoff_proto::{
    TaskId, convert,
    v1::{TaskInput, TaskRef},
    verbs,
    wire::{self, AdcpError},
};
use serde_json::Value;
use std::{sync::Arc, time::Duration};

/// What a handler came to.
pub(crate) enum Direct {
    /// The answer.
    Complete(Value),
    /// A workflow has to hand it off, and decides again.
    HandOff,
    /// A workflow has to decide.
    Undecided,
}

/// Has the handler answer.
pub(crate) async fn answer<F>(
    door: &Arc<Door>,
    caller: &Caller,
    asked: &Asked,
    sync_deadline: Duration,
    handler: impl FnOnce(TaskInput) -> F + Send + 'static,
) -> Result<Answer, CallError>
where
    F: Future<Output = Result<Direct, AdcpError>> + Send + 'static,
{
    let task_id: String = TaskId::generate().into();
    let input = TaskInput {
        task: Some(TaskRef {
            task_id: task_id.clone(),
            scope: caller.scope.clone(),
            principal: caller.principal.clone(),
            verb: asked.call.tool.clone(),
        }),
        request_json: asked.call.text.to_string(),
        sync_deadline: Some(convert::to_proto_duration(sync_deadline)),
        sandbox: caller.sandbox,
        correlation_id: asked.call.correlation_id.clone(),
        ..TaskInput::default()
    };
    match handler(input).await? {
        Direct::Complete(result) => {
            let body = wire::completed_body(verbs::find(&asked.call.tool), result);
            let status = body.get("status").and_then(Value::as_str).unwrap_or("completed").to_owned();
            Ok(Answer { status, body, task_id, replayed: false })
        }
        Direct::HandOff | Direct::Undecided => {
            door.engine.handoff()?.call(caller, &asked.call.tool, asked.call.text.as_bytes()).await
        }
    }
}
