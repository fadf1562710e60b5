//! JSON-RPC messages, as far as the HTTP layer reads and writes them itself.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use handoff_proto::wire::AdcpError;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json, value::RawValue};

pub(crate) const PARSE_ERROR: i32 = -32700;
pub(crate) const INVALID_REQUEST: i32 = -32600;
pub(crate) const INVALID_PARAMS: i32 = -32602;
// Reserved by AdCP (transport errors).
pub(crate) const RATE_LIMITED: i32 = -32029;
pub(crate) const AUTH_MISSING: i32 = -32028;
pub(crate) const SERVICE_UNAVAILABLE: i32 = -32027;

/// A message, as far as it is looked at here. A field that is null is there.
#[derive(Deserialize)]
pub(crate) struct Message<'a> {
    #[serde(borrow)]
    pub(crate) jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(crate) id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) method: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(crate) params: Option<&'a RawValue>,
}

/// The parameters of `tools/call`.
#[derive(Deserialize)]
pub(crate) struct ToolParams<'a> {
    #[serde(borrow)]
    pub(crate) name: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) arguments: Option<&'a RawValue>,
}

impl Message<'_> {
    /// The id, if it is one that MCP has.
    pub(crate) fn id(&self) -> Value {
        let id = self.id.and_then(|id| serde_json::from_str(id.get()).ok());
        id.filter(|id: &Value| id.is_string() || id.is_i64()).unwrap_or(Value::Null)
    }

    /// The method, if there is one.
    pub(crate) fn method(&self) -> Option<String> {
        text(self.method?).filter(|method| !method.is_empty())
    }
}

fn present<'de: 'a, 'a, D: Deserializer<'de>>(reader: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(reader).map(Some)
}

pub(crate) fn text(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}

/// An error at the level of the transport, with the protocol's own error inside.
pub(crate) fn refuse(status: StatusCode, code: i32, id: Value, error: &AdcpError) -> Response {
    let body = json!({
        "jsonrpc": "2.0",
        "id": id,
        "error": {"code": code, "message": error.message, "data": {"adcp_error": error.to_json()}},
    });
    let mut response = (status, Json(body)).into_response();
    if let Some(seconds) = error.retry_after {
        response.headers_mut().insert(axum::http::header::RETRY_AFTER, seconds.into());
    }
    response
}

/// A request that is none.
pub(crate) fn invalid(status: StatusCode, code: i32, id: Value, message: impl Into<String>) -> Response {
    refuse(status, code, id, &AdcpError::correctable("INVALID_REQUEST", message))
}
