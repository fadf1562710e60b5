//! JSON that strangers wrote: reading within limits, canonical form, the request hash.

use crate::limits::MAX_JSON_DEPTH;
use serde_json::Value;
use std::fmt::Write;

/// Why JSON text was not accepted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum JsonError {
    /// More bytes than allowed.
    #[error("{size} bytes of JSON, at most {limit} are allowed")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Nested deeper than [`MAX_JSON_DEPTH`].
    #[error("JSON is nested deeper than {MAX_JSON_DEPTH} levels")]
    TooDeep,
    /// Not JSON.
    #[error("not valid JSON: {0}")]
    Malformed(String),
    /// JSON, but not an object.
    #[error("expected a JSON object, found {0}")]
    NotAnObject(&'static str),
    /// A number that canonical JSON (RFC 8785) can't express.
    #[error("no canonical form: {0}")]
    NotCanonical(String),
}

/// Reads one JSON object of at most `limit` bytes.
pub fn parse_object(text: &[u8], limit: usize) -> Result<Value, JsonError> {
    let value = parse(text, limit)?;
    if value.is_object() { Ok(value) } else { Err(JsonError::NotAnObject(kind(&value))) }
}

/// Reads one JSON value of at most `limit` bytes.
pub fn parse(text: &[u8], limit: usize) -> Result<Value, JsonError> {
    if text.len() > limit {
        return Err(JsonError::TooLarge { size: text.len(), limit });
    }
    let value: Value = serde_json::from_slice(text).map_err(|error| JsonError::Malformed(error.to_string()))?;
    if depth(&value) > MAX_JSON_DEPTH { Err(JsonError::TooDeep) } else { Ok(value) }
}

/// The canonical form (RFC 8785): two values are equal exactly when these texts are.
pub fn canonical(value: &Value) -> Result<String, JsonError> {
    serde_json_canonicalizer::to_string(value).map_err(|error| JsonError::NotCanonical(error.to_string()))
}

/// SHA-256 in lowercase hexadecimal over the canonical form of a request without the fields of AdCP's closed exclusion
/// list: `idempotency_key`, `context`, `governance_context` and `push_notification_config.authentication.credentials`
/// (AdCP 3.2, security, "Idempotency"). `null` and missing differ.
pub fn request_hash(request: &Value) -> Result<String, JsonError> {
    let mut request = request.clone();
    if let Some(fields) = request.as_object_mut() {
        for excluded in ["idempotency_key", "context", "governance_context"] {
            fields.shift_remove(excluded);
        }
        if let Some(authentication) = fields
            .get_mut("push_notification_config")
            .and_then(|config| config.get_mut("authentication"))
            .and_then(Value::as_object_mut)
        {
            authentication.shift_remove("credentials");
        }
    }
    digest(&request)
}

/// SHA-256 in lowercase hexadecimal over the canonical form: two values are equal exactly when these are.
pub fn digest(value: &Value) -> Result<String, JsonError> {
    let digest = ring::digest::digest(&ring::digest::SHA256, canonical(value)?.as_bytes());
    Ok(digest.as_ref().iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    }))
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keeps_numbers_and_key_order_as_written() {
        let text = r#"{"z":1.10,"a":12345678901234567890123,"e":1e+2}"#;
        let value = parse_object(text.as_bytes(), 1000).unwrap();
        assert_eq!(serde_json::to_string(&value).unwrap(), text);
    }

    #[test]
    fn hash_ignores_only_the_closed_list() {
        let base = json!({"idempotency_key": "k", "context": {"a": 1}, "budget": 5,
            "push_notification_config": {"url": "https://b.example", "authentication": {"schemes": ["Bearer"], "credentials": "x"}}});
        let mut same = base.clone();
        same["idempotency_key"] = json!("other");
        same["context"] = json!({"b": 2});
        same["governance_context"] = json!("g");
        same["push_notification_config"]["authentication"]["credentials"] = json!("y");
        assert_eq!(request_hash(&base).unwrap(), request_hash(&same).unwrap());
        for (pointer, value) in [("/budget", json!(6)), ("/push_notification_config/url", json!("https://c.example"))] {
            let mut other = base.clone();
            *other.pointer_mut(pointer).unwrap() = value;
            assert_ne!(request_hash(&base).unwrap(), request_hash(&other).unwrap(), "{pointer}");
        }
        let mut with_null = base.clone();
        with_null["ext"] = Value::Null;
        assert_ne!(request_hash(&base).unwrap(), request_hash(&with_null).unwrap());
    }

    #[test]
    fn hash_does_not_depend_on_spelling() {
        let a = parse(br#"{"a":1.0,"b":100}"#, 100).unwrap();
        let b = parse(br#"{ "b": 1e2, "a": 1 }"#, 100).unwrap();
        assert_eq!(request_hash(&a).unwrap(), request_hash(&b).unwrap());
    }

    #[test]
    fn refuses_what_is_too_large_too_deep_or_no_object() {
        assert!(matches!(parse(b"[1,2,3]", 3), Err(JsonError::TooLarge { .. })));
        let deep = "[".repeat(100) + &"]".repeat(100);
        assert_eq!(parse(deep.as_bytes(), 1000), Err(JsonError::TooDeep));
        assert!(matches!(parse(&b"[".repeat(100_000), 1_000_000), Err(JsonError::Malformed(_))));
        assert_eq!(parse_object(b"[]", 10), Err(JsonError::NotAnObject("an array")));
    }
}
