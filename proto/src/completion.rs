//! Reading what a reviewer sent: as lenient as is safe in form, strict in content.
//!
//! The signals `complete` and `fail` and the update `resolve` take a [`v1::Completion`] as protobuf, protobuf-JSON or plain
//! JSON (there `result` and `error` may be objects), or just the AdCP result (`complete`) or AdCP error (`fail`).

use crate::{
    json,
    limits::{MAX_DECISION_ID_BYTES, MAX_ENCODED_BYTES, MAX_ERROR_BYTES, MAX_RESULT_BYTES, MAX_TEXT_BYTES},
    payload::{self, Encoding},
    v1::{self, completion::Outcome},
    wire::AdcpError,
};
use prost::Message;
use serde_json::{Map, Value};
use temporalio_common_wasm::protos::temporal::api::common::v1::Payload;

/// What a payload without any mark of its own means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// A bare object is a result.
    Complete,
    /// A bare object is an AdCP error.
    Fail,
}

/// Why a completion can't be used; safe to show, never holds the payload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidCompletion(pub String);

/// Reads the payloads of a signal or update.
pub fn from_payloads(payloads: &[Payload], intent: Intent) -> Result<v1::Completion, InvalidCompletion> {
    let [payload] = payloads else {
        return Err(invalid(format!("expected one payload, found {}", payloads.len())));
    };
    if payload.data.len() > MAX_ENCODED_BYTES {
        return Err(invalid(format!("{} bytes, at most {MAX_ENCODED_BYTES} are allowed", payload.data.len())));
    }
    match payload::encoding(payload).map_err(|error| invalid(error.0))? {
        Encoding::Json => from_json(&payload.data, intent),
        Encoding::Protobuf => {
            let completion = v1::Completion::decode(payload.data.as_slice())
                .map_err(|error| invalid(format!("not a handoff.v1.Completion: {error}")))?;
            check(completion)
        }
    }
}

/// Reads JSON text.
pub fn from_json(text: &[u8], intent: Intent) -> Result<v1::Completion, InvalidCompletion> {
    let value = json::parse_object(text, MAX_ENCODED_BYTES).map_err(|error| invalid(error.to_string()))?;
    let Value::Object(fields) = value else { return Err(invalid("expected a JSON object")) };
    if is_envelope(&fields) { from_envelope(fields) } else { from_bare(Value::Object(fields), intent) }
}

/// Checks content that every form must satisfy, and takes out what the protocol marks write-only: what is compared with the
/// recorded end, and what Temporal keeps, is what is recorded.
pub fn check(completion: v1::Completion) -> Result<v1::Completion, InvalidCompletion> {
    for (name, text, limit) in [
        ("decision_id", &completion.decision_id, MAX_DECISION_ID_BYTES),
        ("actor", &completion.actor, MAX_TEXT_BYTES),
        ("reason", &completion.reason, MAX_TEXT_BYTES),
    ] {
        if text.len() > limit {
            return Err(invalid(format!("{name} has {} bytes, at most {limit} are allowed", text.len())));
        }
    }
    match &completion.outcome {
        None => return Err(invalid("neither result nor error nor cancellation")),
        Some(Outcome::ResultJson(result)) => {
            let result = json::parse_object(result.as_bytes(), MAX_RESULT_BYTES)
                .map_err(|error| invalid(format!("result: {error}")))?;
            json::canonical(&result).map_err(|error| invalid(format!("result: {error}")))?;
            match result.get("status").and_then(Value::as_str) {
                None | Some("completed" | "rejected") => {}
                Some(status) => {
                    return Err(invalid(format!(
                        "result.status is {status:?}; only completed or rejected ends a task"
                    )));
                }
            }
        }
        Some(Outcome::Error(error)) => {
            if error.code.is_empty() || error.code.len() > 64 || error.message.is_empty() {
                return Err(invalid("error needs a code of 1 to 64 characters and a message"));
            }
            let size = error.encoded_len();
            if size > MAX_ERROR_BYTES {
                return Err(invalid(format!("the error has {size} bytes, at most {MAX_ERROR_BYTES} are allowed")));
            }
            if error.message.len() > MAX_TEXT_BYTES {
                return Err(invalid(format!("error.message is longer than {MAX_TEXT_BYTES} bytes")));
            }
        }
        Some(Outcome::Cancellation(_)) => {}
    }
    Ok(completion.without_write_only())
}

const OUTCOMES: [&str; 6] = ["result", "error", "result_json", "resultJson", "cancellation", "outcome"];

// AdCP results of asynchronous verbs have none of these at the top.
fn is_envelope(fields: &Map<String, Value>) -> bool {
    OUTCOMES.iter().any(|name| fields.contains_key(*name))
}

fn from_envelope(fields: Map<String, Value>) -> Result<v1::Completion, InvalidCompletion> {
    let mut completion = v1::Completion::default();
    for (name, value) in fields {
        match name.as_str() {
            "result" | "result_json" | "resultJson" => {
                let text = match value {
                    Value::String(text) => text,
                    other => other.to_string(),
                };
                set(&mut completion, Outcome::ResultJson(text))?;
            }
            "error" => set(&mut completion, Outcome::Error(error_from(value)?))?,
            "cancellation" => set(&mut completion, Outcome::Cancellation(Default::default()))?,
            "decision_id" | "decisionId" => completion.decision_id = text(&name, value)?,
            "actor" => completion.actor = text(&name, value)?,
            "reason" => completion.reason = text(&name, value)?,
            _ => return Err(invalid(format!("unknown field {name:?}"))),
        }
    }
    check(completion)
}

fn from_bare(value: Value, intent: Intent) -> Result<v1::Completion, InvalidCompletion> {
    let outcome = match intent {
        Intent::Complete => {
            if value.as_object().is_some_and(Map::is_empty) {
                return Err(invalid("an empty object is no result"));
            }
            Outcome::ResultJson(value.to_string())
        }
        Intent::Fail => Outcome::Error(error_from(value)?),
    };
    check(v1::Completion { outcome: Some(outcome), ..Default::default() })
}

// protobuf-JSON has details_json where the wire form has details; both are read.
fn error_from(value: Value) -> Result<v1::AdcpError, InvalidCompletion> {
    let has_proto_fields = ["detailsJson", "details_json", "issuesJson", "issues_json", "retryAfter"]
        .iter()
        .any(|name| value.get(name).is_some());
    if has_proto_fields {
        return serde_json::from_value(value).map_err(|error| invalid(format!("error: {error}")));
    }
    let error: AdcpError = serde_json::from_value(value).map_err(|error| invalid(format!("error: {error}")))?;
    Ok(error.into())
}

fn set(completion: &mut v1::Completion, outcome: Outcome) -> Result<(), InvalidCompletion> {
    if completion.outcome.replace(outcome).is_some() {
        return Err(invalid("more than one of result, error and cancellation"));
    }
    Ok(())
}

fn text(name: &str, value: Value) -> Result<String, InvalidCompletion> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(invalid(format!("{name} must be a string"))),
    }
}

fn invalid(message: impl Into<String>) -> InvalidCompletion {
    InvalidCompletion(message.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn payload(encoding: &str, data: &[u8]) -> Payload {
        Payload {
            metadata: HashMap::from([("encoding".to_owned(), encoding.as_bytes().to_vec())]),
            data: data.to_vec(),
            ..Default::default()
        }
    }

    fn result(completion: &v1::Completion) -> &str {
        match completion.outcome.as_ref().unwrap() {
            Outcome::ResultJson(text) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_documented_form_is_read() {
        let bare = from_json(br#"{"media_buy_id":"m","price":1.10}"#, Intent::Complete).unwrap();
        assert_eq!(result(&bare), r#"{"media_buy_id":"m","price":1.10}"#);
        let plain =
            from_json(br#"{"result":{"media_buy_id":"m"},"actor":"a","decision_id":"d"}"#, Intent::Complete).unwrap();
        assert_eq!((result(&plain), plain.actor.as_str()), (r#"{"media_buy_id":"m"}"#, "a"));
        let canonical = serde_json::to_vec(&plain).unwrap();
        assert_eq!(from_payloads(&[payload("json/protobuf", &canonical)], Intent::Fail).unwrap(), plain);
        assert_eq!(from_payloads(&[payload("binary/protobuf", &plain.encode_to_vec())], Intent::Fail).unwrap(), plain);
        let error = from_json(
            br#"{"code":"POLICY_VIOLATION","message":"no","recovery":"correctable","retry_after":7}"#,
            Intent::Fail,
        )
        .unwrap();
        let again = from_json(&serde_json::to_vec(&error).unwrap(), Intent::Complete).unwrap();
        assert_eq!(again, error);
    }

    #[test]
    fn malformed_input_is_refused_with_a_reason() {
        let refused: &[(&str, &[u8])] = &[
            ("json/plain", b"not json"),
            ("json/plain", b""),
            ("json/plain", b"3"),
            ("json/plain", b"{}"),
            ("json/plain", br#"{"result":{"a":1},"error":{"code":"A","message":"b"}}"#),
            ("json/plain", br#"{"result":{"a":1},"surprise":1}"#),
            ("json/plain", br#"{"result":[1]}"#),
            ("json/plain", br#"{"result":{"status":"working"}}"#),
            ("json/plain", br#"{"result":{"a":1},"actor":5}"#),
            ("binary/protobuf", b"\xff\xff\xff"),
            ("binary/weird", b"{}"),
        ];
        for (encoding, data) in refused {
            let error = from_payloads(&[payload(encoding, data)], Intent::Complete).unwrap_err();
            assert!(!error.0.is_empty(), "{encoding} {data:?}");
        }
        assert!(from_payloads(&[], Intent::Complete).is_err());
        assert!(from_payloads(&[Payload::default()], Intent::Complete).is_err());
        assert!(from_json(br#"{"message":"no code"}"#, Intent::Fail).is_err());
        let huge = format!(r#"{{"a":"{}"}}"#, "x".repeat(MAX_RESULT_BYTES));
        assert!(from_json(huge.as_bytes(), Intent::Complete).is_err());
    }
}
