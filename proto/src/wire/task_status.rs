//! `get_task_status` (schemas protocol/get-task-status-{request,response}.json).

use super::{TaskStatus, completed_body, failed_body, with_context};
use crate::{v1::TaskRecord, verbs};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// What a poll asks for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GetTaskStatusRequest {
    /// The task.
    pub task_id: String,
    /// Also the result of an ended task.
    #[serde(default)]
    pub include_result: bool,
    /// Also the request and response of the task.
    #[serde(default)]
    pub include_history: bool,
    /// Echoed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Value>,
}

/// The answer to a poll. The originating request's `context` is inside `result`; the poll's own is at the top.
pub fn task_status_body(task: &TaskRecord, request: &GetTaskStatusRequest) -> Value {
    let reference = task.task.clone().unwrap_or_default();
    let mut body = Map::new();
    body.insert("task_id".into(), reference.task_id.clone().into());
    body.insert("task_type".into(), reference.verb.clone().into());
    body.insert("protocol".into(), task.protocol.clone().into());
    body.insert("status".into(), task.status.clone().into());
    for (name, time) in
        [("created_at", &task.created_at), ("updated_at", &task.updated_at), ("completed_at", &task.completed_at)]
    {
        if let Some(time) = time.as_ref().and_then(crate::convert::rfc3339) {
            body.insert(name.into(), time.into());
        }
    }
    body.insert("has_webhook".into(), task.has_webhook.into());
    if let Some(progress) = &task.progress {
        body.insert("progress".into(), progress.to_wire());
    }
    if let Some(error) = &task.error {
        body.insert(
            "error".into(),
            json!({"code": error.code, "message": error.message, "details": {"protocol": task.protocol, "operation": reference.verb}}),
        );
    }
    if request.include_result
        && let Some(result) = result_body(task)
    {
        body.insert("result".into(), result);
    }
    if request.include_history {
        body.insert("history".into(), history(task));
    }
    with_context(Value::Object(body), request.context.as_ref())
}

/// The full response that the task ended with: what a synchronous answer would have been, in the release that its request is of.
pub(super) fn result_body(task: &TaskRecord) -> Option<Value> {
    let status: TaskStatus = task.status.parse().ok()?;
    if !status.is_terminal() {
        return None;
    }
    let verb = task.task.as_ref().and_then(|task| verbs::find(&task.verb));
    let body = match &task.error {
        Some(error) => failed_body(verb, &error.to_wire()),
        None if !task.told_json.is_empty() => serde_json::from_str(&task.told_json).ok()?,
        None if task.result_json.is_empty() => return None,
        None => completed_body(verb, serde_json::from_str(&task.result_json).ok()?),
    };
    let context: Option<Value> = serde_json::from_str(&task.context_json).ok();
    Some(with_context(body, context.as_ref()))
}

fn history(task: &TaskRecord) -> Value {
    let entries = task.history.iter().filter_map(|entry| {
        let kind = if entry.event == "claimed" { "request" } else { "response" };
        let timestamp = entry.at.as_ref().and_then(crate::convert::rfc3339)?;
        Some(json!({"timestamp": timestamp, "type": kind, "data": {"event": entry.event, "status": entry.status}}))
    });
    Value::Array(entries.collect())
}
