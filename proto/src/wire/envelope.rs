//! Response bodies that Handoff itself writes.

use super::AdcpError;
use crate::verbs::Verb;
use serde_json::{Map, Value, json};

/// The submitted envelope, equal for all asynchronous arms in every byte but the id
/// (schemas */…-async-response-submitted.json). Closed compact schemas accept exactly these fields.
pub fn submitted_body(task_id: &str) -> Value {
    json!({
        "status": "submitted",
        "task_id": task_id,
        "message": "Accepted for processing. Poll get_task_status for the outcome.",
    })
}

/// A success: the seller's result, with the envelope's `status` where the seller left it out. What is there is never changed.
pub fn completed_body(verb: Option<&Verb>, result: Value) -> Value {
    match result {
        Value::Object(fields) if !fields.contains_key("status") && verb.is_none_or(|verb| verb.status_in_result) => {
            let mut body = Map::from_iter([("status".to_owned(), Value::from("completed"))]);
            body.extend(fields);
            Value::Object(body)
        }
        other => other,
    }
}

/// The body of a failed answer: `adcp_error` and `errors`, but only `errors` for verbs whose closed error arm has no
/// `adcp_error`.
pub fn failed_body(verb: Option<&Verb>, error: &AdcpError) -> Value {
    let mut body = Map::new();
    body.insert("status".into(), "failed".into());
    if !verb.is_some_and(|verb| verb.closed_error_arm) {
        body.insert("adcp_error".into(), error.to_json());
    }
    body.insert("errors".into(), json!([error.to_json()]));
    Value::Object(body)
}

/// A recorded answer, said again: with `replayed: true`.
pub fn replay_body(mut body: Value) -> Value {
    if let Some(fields) = body.as_object_mut() {
        fields.insert("replayed".into(), Value::Bool(true));
    }
    body
}

/// Echoes the request's `context`, unchanged; without one nothing is made up.
pub fn with_context(mut body: Value, context: Option<&Value>) -> Value {
    if let (Some(fields), Some(context)) = (body.as_object_mut(), context) {
        fields.insert("context".into(), context.clone());
    }
    body
}
