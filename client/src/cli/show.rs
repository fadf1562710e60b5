//! How tasks look.

use super::output::{pairs, pretty};
use chrono::SecondsFormat;
use handoff_proto::{
    convert::to_datetime,
    v1::{self, HistoryEntry, ProtoTimestamp, TaskRecord},
    wire::{GetTaskStatusRequest, TaskStatus, task_status_body},
};
use serde_json::{Map, Value, json};

/// A task as JSON: what a poll shows with its result, and what only the seller's side may see.
pub(super) fn task_json(task: &TaskRecord, include_history: bool) -> Value {
    let poll = GetTaskStatusRequest { include_result: true, ..Default::default() };
    let mut shown = task_status_body(task, &poll);
    if let Some(fields) = shown.as_object_mut() {
        let reference = task.task.clone().unwrap_or_default();
        fields.insert("account".into(), reference.scope.clone().into());
        fields.insert("principal".into(), reference.principal.clone().into());
        fields.insert("workflow_id".into(), reference.workflow_id().into());
        put(fields, "actor", &task.actor);
        put(fields, "reason", &task.reason);
        put(fields, "decision_id", &task.decision_id);
        // What a poll shows is another release's words for it.
        if let Some(decided) = decided_result(task).filter(|_| !task.told_json.is_empty()) {
            fields.insert("decided_result".into(), decided);
        }
        if include_history {
            fields.insert("history".into(), task.history.iter().map(entry_json).collect());
        }
    }
    shown
}

/// A task as text.
pub(super) fn task_text(task: &TaskRecord) -> String {
    let reference = task.task.clone().unwrap_or_default();
    let error = task.error.as_ref().map(|error| format!("{}: {}", error.code, error.message)).unwrap_or_default();
    let mut text = pairs(&[
        ("task", reference.task_id.clone()),
        ("verb", reference.verb.clone()),
        ("status", task.status.clone()),
        ("progress", progress(task)),
        ("error", error),
        ("account", reference.scope.clone()),
        ("principal", reference.principal.clone()),
        ("created", time(task.created_at.as_ref())),
        ("updated", time(task.updated_at.as_ref())),
        ("completed", time(task.completed_at.as_ref())),
        ("decided by", task.actor.clone()),
        ("reason", task.reason.clone()),
        ("decision", task.decision_id.clone()),
        ("webhook", if task.has_webhook { "yes".into() } else { String::new() }),
        ("workflow", reference.workflow_id()),
    ]);
    if let Some(result) = decided_result(task) {
        text.push_str("\nresult\n");
        text.push_str(&pretty(&result));
    }
    if let Ok(told) = serde_json::from_str::<Value>(&task.told_json) {
        text.push_str("\n\nas the buyer's release has it\n");
        text.push_str(&pretty(&told));
    }
    text
}

fn decided_result(task: &TaskRecord) -> Option<Value> {
    serde_json::from_str(&task.result_json).ok()
}

/// A line of history as JSON.
pub(super) fn entry_json(entry: &HistoryEntry) -> Value {
    let mut fields = Map::new();
    fields.insert("at".into(), time(entry.at.as_ref()).into());
    fields.insert("event".into(), entry.event.clone().into());
    put(&mut fields, "status", &entry.status);
    put(&mut fields, "actor", &entry.actor);
    put(&mut fields, "reason", &entry.reason);
    if let Ok(detail) = serde_json::from_str::<Value>(&entry.detail_json) {
        fields.insert("detail".into(), detail);
    }
    Value::Object(fields)
}

/// A task's end as JSON.
pub(super) fn settlement_json(settlement: &v1::Settlement) -> Value {
    let mut fields = Map::new();
    put(&mut fields, "status", &settlement.status);
    if let Ok(result) = serde_json::from_str::<Value>(&settlement.result_json) {
        fields.insert("result".into(), result);
    }
    if let Some(error) = &settlement.error {
        fields.insert("error".into(), error.to_wire().to_json());
    }
    put(&mut fields, "decision_id", &settlement.decision_id);
    put(&mut fields, "actor", &settlement.actor);
    put(&mut fields, "reason", &settlement.reason);
    Value::Object(fields)
}

/// Progress on one line; of a task that has ended, nothing: what was reported last says no more about it.
pub(super) fn progress(task: &TaskRecord) -> String {
    let ended = task.status.parse::<TaskStatus>().is_ok_and(TaskStatus::is_terminal);
    let Some(progress) = task.progress.as_ref().filter(|_| !ended) else { return String::new() };
    let mut parts = Vec::new();
    if let Some(percentage) = progress.percentage {
        parts.push(format!("{percentage} %"));
    }
    match (progress.step_number, progress.total_steps) {
        (Some(number), Some(total)) => parts.push(format!("step {number} of {total}")),
        (Some(number), None) => parts.push(format!("step {number}")),
        _ => {}
    }
    parts.extend([&progress.current_step, &progress.message].into_iter().filter(|text| !text.is_empty()).cloned());
    parts.join(", ")
}

/// A time to the second; JSON has more digits where the protocol has.
pub(super) fn time(time: Option<&ProtoTimestamp>) -> String {
    time.and_then(to_datetime).map(|time| time.to_rfc3339_opts(SecondsFormat::Secs, true)).unwrap_or_default()
}

/// The reference of a request that is no visible task.
pub(super) fn reference_json(task: &v1::TaskRef) -> Value {
    json!({"task_id": task.task_id, "task_type": task.verb, "account": task.scope, "principal": task.principal})
}

fn put(fields: &mut Map<String, Value>, name: &str, text: &str) {
    if !text.is_empty() {
        fields.insert(name.into(), text.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_buyer_is_told_in_other_words_both_are_shown() {
        let decided = r#"{"media_buy_id":"m","media_buy_status":"active"}"#;
        let task = |told_json: &str| TaskRecord {
            status: "completed".into(),
            result_json: decided.into(),
            told_json: told_json.into(),
            ..Default::default()
        };
        let told = task(r#"{"status":"active","media_buy_id":"m","media_buy_status":"active"}"#);
        let shown = task_json(&told, false);
        assert_eq!(shown["result"]["status"], "active");
        assert_eq!(shown["decided_result"], serde_json::from_str::<Value>(decided).unwrap());
        let text = task_text(&told);
        let (own, words) = text.split_once("as the buyer's release has it").unwrap();
        assert!(!own.contains("\"status\"") && words.contains("\"status\": \"active\""), "{text}");
        let same = task("");
        assert_eq!(task_json(&same, false).get("decided_result"), None);
        assert!(!task_text(&same).contains("the buyer's release"));
    }
}
