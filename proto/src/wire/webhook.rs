//! The body of a webhook (schema core/mcp-webhook-payload.json).

use super::{TaskStatus, task_status::result_body, with_context};
use crate::{convert::rfc3339, v1::TaskRecord};
use pbjson_types::Timestamp;
use serde_json::{Map, Value};

/// What is fixed when a webhook is first made, and stays for every attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct WebhookEvent {
    /// What receivers know this delivery by: 16 to 255 of `A-Z a-z 0-9 _ . : -`, never used for another body.
    pub idempotency_key: String,
    /// When it was first made.
    pub timestamp: Timestamp,
}

/// What an ended task's webhook says. `result` is what a poll with `include_result` shows; `operation_id` and `token` are
/// echoed from the `push_notification_config` that the request registered. `None`: the task has not ended, or no
/// `operation_id` was registered, without which there is no such body.
pub fn webhook_body(task: &TaskRecord, event: &WebhookEvent, registered: &Value) -> Option<Value> {
    let status: TaskStatus = task.status.parse().ok()?;
    let notification_id = notification_id(&task.task.as_ref()?.task_id);
    status.is_terminal().then(|| compose(task, event, registered, Some(&notification_id), result_body(task))).flatten()
}

/// What a webhook is told of a task that is at work: its progress (schemas `*-async-response-working.json`). `None`: it is not
/// at work, or no `operation_id` was registered.
pub fn progress_body(task: &TaskRecord, event: &WebhookEvent, registered: &Value) -> Option<Value> {
    let progress = task.progress.as_ref().filter(|_| task.status == TaskStatus::Working.as_str())?;
    compose(task, event, registered, None, Some(progress.to_wire()))
}

fn compose(
    task: &TaskRecord,
    event: &WebhookEvent,
    registered: &Value,
    notification_id: Option<&str>,
    result: Option<Value>,
) -> Option<Value> {
    let echoed = |name: &str| registered.get(name).and_then(Value::as_str);
    let operation_id = echoed("operation_id")?;
    let reference = task.task.as_ref()?;
    let mut body = Map::new();
    let mut add = |name: &str, value: &str| body.insert(name.to_owned(), value.into());
    add("idempotency_key", &event.idempotency_key);
    if let Some(notification_id) = notification_id {
        add("notification_id", notification_id);
    }
    add("operation_id", operation_id);
    add("task_id", &reference.task_id);
    add("task_type", &reference.verb);
    add("protocol", &task.protocol);
    add("status", &task.status);
    add("timestamp", &rfc3339(&event.timestamp)?);
    if let Some(token) = echoed("token") {
        add("token", token);
    }
    if let Some(result) = result {
        body.insert("result".to_owned(), result);
    }
    let context: Option<Value> = serde_json::from_str(&task.context_json).ok();
    Some(with_context(Value::Object(body), context.as_ref()))
}

/// Names the end of a task, whatever the delivery.
fn notification_id(task_id: &str) -> String {
    format!("{task_id}.terminal")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        v1::{AdcpError, TaskRef},
        wire::{GetTaskStatusRequest, task_status_body},
    };
    use serde_json::json;

    fn task(status: &str) -> TaskRecord {
        TaskRecord {
            task: Some(TaskRef {
                task_id: "task_1".into(),
                scope: "acct".into(),
                principal: "agent".into(),
                verb: "create_media_buy".into(),
            }),
            protocol: "media-buy".into(),
            status: status.into(),
            context_json: r#"{"n":1}"#.into(),
            ..Default::default()
        }
    }

    fn event() -> WebhookEvent {
        WebhookEvent {
            idempotency_key: "whk_0123456789abcdef".into(),
            timestamp: Timestamp { seconds: 1_776_520_800, nanos: 5_000 },
        }
    }

    #[test]
    fn the_result_is_the_polls_and_numbers_stay_as_written() {
        let completed = TaskRecord { result_json: r#"{"media_buy_id":"m","price":1.10}"#.into(), ..task("completed") };
        let error = AdcpError { code: "POLICY_VIOLATION".into(), message: "no".into(), ..Default::default() };
        let failed = TaskRecord { error: Some(error), ..task("failed") };
        let told_json = r#"{"status":"active","media_buy_id":"m","price":1.10}"#.into();
        let translated = TaskRecord { told_json, ..completed.clone() };
        for (task, said) in
            [(completed, "completed"), (translated, "active"), (failed, "failed"), (task("canceled"), "")]
        {
            let registered =
                json!({"url": "https://b.example", "operation_id": "op-1", "token": "t", "authentication": 1});
            let body = webhook_body(&task, &event(), &registered).unwrap();
            let poll = GetTaskStatusRequest { include_result: true, ..Default::default() };
            assert_eq!(body.get("result"), task_status_body(&task, &poll).get("result"));
            let result_says = body.get("result").and_then(|result| result["status"].as_str());
            assert_eq!(result_says.unwrap_or_default(), said);
            assert_eq!(
                (&body["operation_id"], &body["token"], &body["context"]),
                (&json!("op-1"), &json!("t"), &json!({"n": 1}))
            );
            assert_eq!(body["timestamp"], "2026-04-18T14:00:00.000005Z");
            assert_eq!((&body["notification_id"], &body["status"]), (&json!("task_1.terminal"), &json!(task.status)));
            assert_eq!(body.to_string().contains("1.10"), task.status == "completed");
            assert!(body.get("authentication").is_none() && body.get("url").is_none());
        }
    }

    #[test]
    fn progress_is_told_of_what_is_at_work_alone() {
        let progress = crate::v1::Progress {
            percentage: Some(50.0),
            current_step: "booking".into(),
            notifications: 3,
            notified_until: 7,
            ..Default::default()
        };
        let registered = json!({"operation_id": "op-1", "token": "t"});
        let working = TaskRecord { progress: Some(progress), ..task("working") };
        let body = progress_body(&working, &event(), &registered).unwrap();
        assert_eq!(
            (&body["status"], &body["token"], &body["context"]),
            (&json!("working"), &json!("t"), &json!({"n": 1}))
        );
        assert_eq!(body["result"], json!({"percentage": 50.0, "current_step": "booking"}));
        assert_eq!(body.get("notification_id"), None, "that is the end's");
        assert_eq!(
            progress_body(&TaskRecord { status: "completed".into(), ..working.clone() }, &event(), &registered),
            None
        );
        assert_eq!(progress_body(&working, &event(), &json!({})), None);
    }

    #[test]
    fn without_an_end_or_an_operation_there_is_no_body() {
        assert_eq!(webhook_body(&task("working"), &event(), &json!({"operation_id": "o"})), None);
        assert_eq!(webhook_body(&task("completed"), &event(), &json!({"url": "https://b.example"})), None);
    }
}
