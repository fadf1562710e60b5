//! Where nothing is served: also said in a body.

use super::jsonrpc::{INVALID_REQUEST, invalid};
use axum::{http::StatusCode, response::Response};
use serde_json::Value;

pub(super) async fn not_found() -> Response {
    invalid(StatusCode::NOT_FOUND, INVALID_REQUEST, Value::Null, "Nothing is served here. MCP is served at /mcp.")
}

pub(super) async fn method_not_allowed() -> Response {
    invalid(StatusCode::METHOD_NOT_ALLOWED, INVALID_REQUEST, Value::Null, "This is only read.")
}
