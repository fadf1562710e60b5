//! Reads a request's body before the protocol's library does: within limits, as UTF-8, as JSON that means one thing, as one
//! JSON-RPC message. The tool's arguments are kept as they were written.

use super::{
    access_log::Told,
    jsonrpc::{self, INVALID_PARAMS, INVALID_REQUEST, Message, PARSE_ERROR, RATE_LIMITED, ToolParams, invalid},
    signature,
};
use crate::{
    Principal,
    door::Door,
    json_check,
    signing::{SignedBy, registers_credentials},
};
use axum::{
    body::{self, Body, Bytes},
    extract::{Request, State},
    http::{Extensions, HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::Response,
};
use serde_json::{Value, value::RawValue};
use std::{sync::Arc, time::Duration};

const JSON: &str = "application/json";
// The library insists on both; answers are always JSON.
const ACCEPT: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
// As many times the limit.
const DRAINED: usize = 4;
// Enough of what the library says to be told on.
const MAX_TOLD_BYTES: usize = 4096;

/// The text of a tool's arguments.
#[derive(Clone, Debug)]
pub(crate) struct Arguments(pub(crate) Arc<str>);

pub(super) async fn read(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    if request.method() != Method::POST {
        return as_json(next.run(request).await, Value::Null).await;
    }
    let (mut parts, body) = request.into_parts();
    if !is_json(&parts.headers) {
        let message = "The content type must be application/json.";
        return invalid(StatusCode::UNSUPPORTED_MEDIA_TYPE, INVALID_REQUEST, Value::Null, message);
    }
    if is_encoded(&parts.headers) {
        let message = "A body with a content encoding is not understood.";
        return invalid(StatusCode::UNSUPPORTED_MEDIA_TYPE, INVALID_REQUEST, Value::Null, message);
    }
    if !accepts_json(&parts.headers) {
        let message = "Answers are application/json, which the Accept header does not admit.";
        return invalid(StatusCode::NOT_ACCEPTABLE, INVALID_REQUEST, Value::Null, message);
    }
    let bytes = match collect(&door, &parts.headers, body).await {
        Ok(bytes) => bytes,
        Err(response) => return response,
    };
    let (id, call) = match understand(&bytes) {
        Ok(understood) => understood,
        Err(response) => return signed_badly(&parts.extensions, response),
    };
    let mut tool = None;
    match call {
        Some(Call { name, arguments }) => {
            if must_be_signed(&door, &parts.extensions, &arguments) {
                tracing::info!(
                    tool = name,
                    "a webhook with a secret of its own is registered by a request that is not signed"
                );
                let mut response =
                    signature::required(id, "A request that registers a webhook with authentication must be signed.");
                response.extensions_mut().insert(Told { tool: Some(name), ..Told::default() });
                return response;
            }
            parts.extensions.insert(arguments);
            tool = Some(name);
        }
        // Of a tool's call the buyer is told in the tool's own answer.
        None => {
            if let Some(error) = parts.extensions.get::<Principal>().and_then(|principal| door.rate_limited(principal))
            {
                return jsonrpc::refuse(StatusCode::TOO_MANY_REQUESTS, RATE_LIMITED, id, &error);
            }
        }
    }
    parts.headers.insert(header::ACCEPT, ACCEPT);
    let mut response = as_json(next.run(Request::from_parts(parts, Body::from(bytes))).await, id).await;
    response.extensions_mut().insert(Told { tool, ..Told::default() });
    response
}

// Whoever gives the seller a secret of its own to authenticate by says who it is by a signature over it, where signatures are taken.
fn must_be_signed(door: &Door, extensions: &Extensions, arguments: &Arguments) -> bool {
    let signed = extensions.get::<SignedBy>().is_some_and(|signed| signed.covers_body);
    door.signatures.is_some() && !signed && registers_credentials(&arguments.0)
}

// What was signed is no message: the signature is used up, and its signer told so.
fn signed_badly(extensions: &Extensions, mut response: Response) -> Response {
    if extensions.get::<SignedBy>().is_some() {
        let challenge = signature::challenge(signature::BODY_MALFORMED);
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

struct Call {
    name: String,
    arguments: Arguments,
}

pub(super) async fn collect(door: &Door, headers: &HeaderMap, body: Body) -> Result<Bytes, Response> {
    let limit = door.settings.max_body_bytes;
    let too_large = || {
        let message = format!("The body is larger than {limit} bytes.");
        invalid(StatusCode::PAYLOAD_TOO_LARGE, INVALID_REQUEST, Value::Null, message)
    };
    let told = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if told.is_some_and(|length| length > limit) {
        // A client that is still sending does not read; one that sends without end is not waited for.
        let _ = tokio::time::timeout(DRAIN_TIMEOUT, body::to_bytes(body, DRAINED * limit)).await;
        return Err(too_large());
    }
    match tokio::time::timeout(door.settings.body_timeout, body::to_bytes(body, limit)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_limit(&error) => Err(too_large()),
        Ok(Err(_)) => {
            let message = "The body ended before it was complete.";
            Err(invalid(StatusCode::BAD_REQUEST, INVALID_REQUEST, Value::Null, message))
        }
        Err(_) => {
            let message = "The body took too long to arrive.";
            Err(invalid(StatusCode::REQUEST_TIMEOUT, INVALID_REQUEST, Value::Null, message))
        }
    }
}

fn is_limit(error: &axum::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.to_string().contains("length limit") {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The message's id, and the tool's call in it, if it is one; a response, if the message is none.
// The response is made once for a message that is refused.
#[allow(clippy::result_large_err)]
fn understand(bytes: &[u8]) -> Result<(Value, Option<Call>), Response> {
    let bad = StatusCode::BAD_REQUEST;
    let text =
        std::str::from_utf8(bytes).map_err(|_| invalid(bad, PARSE_ERROR, Value::Null, "The body is not UTF-8."))?;
    json_check::check(text)
        .map_err(|error| invalid(bad, PARSE_ERROR, Value::Null, format!("The body can't be read as JSON: {error}.")))?;
    let Ok(message) = serde_json::from_str::<Message<'_>>(text) else {
        let told = if text.trim_start().starts_with('[') {
            "The body must be one JSON-RPC message; batches are not part of MCP."
        } else {
            "The body must be a JSON-RPC message, an object."
        };
        return Err(invalid(bad, INVALID_REQUEST, Value::Null, told));
    };
    let id = message.id();
    if message.jsonrpc.and_then(jsonrpc::text).as_deref() != Some("2.0") {
        return Err(invalid(bad, INVALID_REQUEST, id, "jsonrpc must be \"2.0\"."));
    }
    let Some(method) = message.method() else {
        return Err(invalid(bad, INVALID_REQUEST, id, "method must be the name of one."));
    };
    if message.id.is_some() && id.is_null() {
        return Err(invalid(bad, INVALID_REQUEST, id, "id must be a string or an integer."));
    }
    if message.params.is_some_and(|params| !is_object(params)) {
        return Err(invalid(bad, INVALID_PARAMS, id, "params must be an object."));
    }
    if method != "tools/call" || message.id.is_none() {
        return Ok((id, None));
    }
    let params = message.params.and_then(|params| serde_json::from_str::<ToolParams<'_>>(params.get()).ok());
    let Some(params) = params else {
        return Err(invalid(bad, INVALID_PARAMS, id, "params must be an object with the tool's name and arguments."));
    };
    let Some(name) = params.name.and_then(jsonrpc::text) else {
        return Err(invalid(bad, INVALID_PARAMS, id, "params.name must be the name of a tool."));
    };
    let arguments = match params.arguments.map(|arguments| arguments.get()) {
        None | Some("null") => "{}",
        Some(object) if object.starts_with('{') => object,
        Some(_) => return Err(invalid(bad, INVALID_PARAMS, id, "params.arguments must be an object.")),
    };
    Ok((id, Some(Call { name, arguments: Arguments(arguments.into()) })))
}

fn is_object(raw: &RawValue) -> bool {
    raw.get().starts_with('{')
}

fn is_encoded(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut parts = value.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let charset =
        parts.find_map(|parameter| parameter.split_once('=').filter(|(name, _)| name.eq_ignore_ascii_case("charset")));
    essence.eq_ignore_ascii_case(JSON)
        && charset.is_none_or(|(_, charset)| charset.trim_matches('"').eq_ignore_ascii_case("utf-8"))
}

fn accepts_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::ACCEPT).iter().peekable();
    values.peek().is_none()
        || values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(|entry| {
            let essence = entry.split(';').next().unwrap_or_default().trim();
            ["application/json", "application/*", "*/*"].iter().any(|accepted| essence.eq_ignore_ascii_case(accepted))
        })
}

// What the library refuses on its own account it refuses in plain text.
async fn as_json(response: Response, id: Value) -> Response {
    let status = response.status();
    let is_json =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(JSON.as_bytes()));
    if is_json || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (parts, body) = response.into_parts();
    // It is JSON, and of the right type: only this message of MCP is not known.
    if status == StatusCode::UNSUPPORTED_MEDIA_TYPE {
        return invalid(StatusCode::BAD_REQUEST, INVALID_REQUEST, id, "The message is none of MCP's.");
    }
    let told = body::to_bytes(body, MAX_TOLD_BYTES).await.unwrap_or_default();
    let told = String::from_utf8_lossy(&told).into_owned();
    let mut refused = invalid(status, INVALID_REQUEST, id, told);
    for name in [header::ALLOW] {
        if let Some(value) = parts.headers.get(&name) {
            refused.headers_mut().insert(name, value.clone());
        }
    }
    refused
}
