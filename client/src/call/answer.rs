//! What a caller is answered.

use super::request::{Request, context_of};
use crate::Error;
use handoff_proto::{
    errors, json,
    limits::MAX_REQUEST_BYTES,
    verbs,
    wire::{self, AdcpError},
};
use handoff_store::{Answer as RecordedAnswer, RegistryError};
use serde_json::{Map, Value, json};

/// A verb's answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// `completed` or `submitted`, or what else the seller's result says, such as `rejected`.
    pub status: String,
    /// The whole body: result or submitted envelope, with the request's own `context`.
    pub body: Value,
    /// The task; known to the buyer only when `submitted`.
    pub task_id: String,
    /// Said before, or to another call with the same key.
    pub replayed: bool,
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// An answer of the protocol: the buyer is told this error.
    #[error("{0}")]
    Refused(AdcpError),
    /// What Handoff runs on failed in a way that no retry mends; an operator has to look.
    #[error(transparent)]
    Infrastructure(#[from] Error),
}

impl CallError {
    /// What a buyer is told.
    pub fn to_adcp(&self) -> AdcpError {
        match self {
            Self::Refused(error) => error.clone(),
            Self::Infrastructure(error) => error.to_adcp(),
        }
    }

    /// May the same call succeed later?
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Refused(error) => error.is_transient(),
            Self::Infrastructure(error) => error.is_transient(),
        }
    }

    /// What the registry's error means to a caller.
    pub fn registry(error: RegistryError) -> Self {
        match error {
            RegistryError::Unavailable(reason) => {
                tracing::warn!(reason, "the registry is unavailable");
                crate::error::unavailable("The seller's records can't be reached at the moment.", 10).into()
            }
            RegistryError::InvalidCursor => {
                AdcpError::correctable("INVALID_REQUEST", "The cursor is not one of this query.")
                    .field("pagination.cursor")
                    .suggestion("Repeat the query from its first page.")
                    .into()
            }
            RegistryError::InvalidQuery { field, message } => {
                AdcpError::correctable("INVALID_REQUEST", format!("{field} {message}.")).field(field).into()
            }
            RegistryError::NoKeys => errors::keys_required("push_notification_config").into(),
            other => Self::Infrastructure(other.into()),
        }
    }
}

impl From<AdcpError> for CallError {
    fn from(error: AdcpError) -> Self {
        Self::Refused(error)
    }
}

/// The body that tells a buyer an error: in the shape that the verb's schema has for it, with the request's own `context`.
pub fn error_body(verb: &str, request_text: &[u8], error: &AdcpError) -> Value {
    let request = json::parse_object(request_text, MAX_REQUEST_BYTES).ok();
    wire::with_context(wire::failed_body(verbs::find(verb), error), request.as_ref().and_then(context_of))
}

/// A seller's result as the answer to this request.
pub(super) fn completed(request: &Request<'_>, task_id: &str, result: Value, replayed: bool) -> Answer {
    compose(request, task_id, request.completed_body(result), "completed", replayed)
}

/// The submitted envelope as the answer to this request.
pub(super) fn submitted(request: &Request<'_>, task_id: &str, replayed: bool) -> Answer {
    compose(request, task_id, wire::submitted_body(task_id), "submitted", replayed)
}

/// A recorded answer, for another call with its key or for the call that it belongs to.
pub(super) fn recorded(
    request: &Request<'_>,
    task_id: &str,
    answer: &RecordedAnswer,
    replayed: bool,
) -> Result<Answer, CallError> {
    let body = result(&answer.body_json)?;
    Ok(match answer.status.as_str() {
        "completed" => completed(request, task_id, body, replayed),
        status => compose(request, task_id, body, status, replayed),
    })
}

/// Reads a recorded or reported result.
pub(super) fn result(text: &str) -> Result<Value, CallError> {
    serde_json::from_str(text).map_err(|_| Error::from(RegistryError::Corrupt("an answer is not JSON".into())).into())
}

/// What wholesale discovery is answered when time runs out: it must not be `submitted`, and says itself what is missing.
pub(super) fn incomplete(request: &Request<'_>, task_id: &str, replayed: bool) -> Option<Answer> {
    wholesale_items(&request.tool, &request.body)?;
    let body = incomplete_body(&request.tool, &request.body);
    Some(compose(request, task_id, body, "completed", replayed))
}

/// The answer of discovery that found nothing in time: it says itself what is missing.
pub fn incomplete_body(verb: &str, request: &Value) -> Value {
    let items = if verb == "get_signals" { "signals" } else { "products" };
    // Without an account the scope has to be public.
    let cache_scope = if request.get("account").is_some_and(Value::is_object) { "account" } else { "public" };
    let mut body = Map::new();
    body.insert("status".into(), "completed".into());
    body.insert(items.into(), json!([]));
    body.insert("cache_scope".into(), cache_scope.into());
    let description =
        format!("The seller did not finish listing its {items} in time. Send the same request again later.");
    body.insert("incomplete".into(), json!([{"scope": items, "description": description}]));
    Value::Object(body)
}

fn wholesale_items(verb: &str, request: &Value) -> Option<&'static str> {
    let is = |mode: &str| request.get(mode).and_then(Value::as_str) == Some("wholesale");
    match verb {
        "get_products" if is("buying_mode") => Some("products"),
        "get_signals" if is("discovery_mode") => Some("signals"),
        _ => None,
    }
}

// `context` and `replayed` belong to each call, whatever the seller wrote.
fn compose(request: &Request<'_>, task_id: &str, mut body: Value, status: &str, replayed: bool) -> Answer {
    if let Some(fields) = body.as_object_mut() {
        fields.shift_remove("context");
        fields.shift_remove("replayed");
    }
    let status = body.get("status").and_then(Value::as_str).unwrap_or(status).to_owned();
    let body = if replayed { wire::replay_body(body) } else { body };
    Answer { status, body: wire::with_context(body, request.context()), task_id: task_id.to_owned(), replayed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const KEY: &str = "0123456789abcdef";

    fn with_request<R>(verb: &str, request: Value, check: impl FnOnce(&Request<'_>) -> R) -> R {
        let text = request.to_string();
        check(&Request::read(verb, text.as_bytes(), Duration::from_secs(1)).unwrap())
    }

    #[test]
    fn each_call_gets_its_own_context_and_none_is_made_up() {
        let recorded_answer = RecordedAnswer {
            status: "completed".into(),
            body_json: r#"{"media_buy_id":"m","replayed":false,"context":{"who":"the seller"}}"#.into(),
        };
        with_request("create_media_buy", json!({"idempotency_key": KEY, "context": {"n": 2}}), |request| {
            let first = recorded(request, "t", &recorded_answer, false).unwrap();
            assert_eq!(first.body, json!({"status": "completed", "media_buy_id": "m", "context": {"n": 2}}));
            let replay = recorded(request, "t", &recorded_answer, true).unwrap();
            assert_eq!(
                replay.body,
                json!({"status": "completed", "media_buy_id": "m", "replayed": true, "context": {"n": 2}})
            );
        });
        with_request("create_media_buy", json!({"idempotency_key": KEY, "context": null}), |request| {
            assert_eq!(recorded(request, "t", &recorded_answer, false).unwrap().body.get("context"), None);
            let body = submitted(request, "t", true).body;
            assert_eq!(
                (&body["status"], &body["task_id"], &body["replayed"]),
                (&json!("submitted"), &json!("t"), &json!(true))
            );
        });
    }

    #[test]
    fn a_business_rejection_keeps_its_status() {
        with_request("get_products", json!({}), |request| {
            let answer = completed(request, "t", json!({"status": "rejected", "reason": "no"}), false);
            assert_eq!(answer.status, "rejected");
        });
    }

    #[test]
    fn only_wholesale_discovery_may_be_incomplete() {
        with_request("get_products", json!({"buying_mode": "wholesale", "account": {"account_id": "a"}}), |request| {
            let body = incomplete(request, "t", false).unwrap().body;
            assert_eq!((&body["products"], &body["cache_scope"]), (&json!([]), &json!("account")));
            assert_eq!(body["incomplete"][0]["scope"], "products");
        });
        with_request("get_signals", json!({"discovery_mode": "wholesale"}), |request| {
            let body = incomplete(request, "t", false).unwrap().body;
            assert_eq!((&body["signals"], &body["cache_scope"]), (&json!([]), &json!("public")));
        });
        with_request("get_products", json!({"buying_mode": "brief"}), |request| {
            assert_eq!(incomplete(request, "t", false), None);
        });
    }

    #[test]
    fn errors_echo_the_context_too() {
        let error = AdcpError::correctable("INVALID_REQUEST", "no");
        let body = error_body("create_media_buy", br#"{"context":{"a":1}}"#, &error);
        assert_eq!((&body["context"], &body["adcp_error"]["code"]), (&json!({"a": 1}), &json!("INVALID_REQUEST")));
        assert_eq!(error_body("buy_products", b"not json", &error).get("adcp_error"), None);
    }
}
