//! Requests that are signed: checked before anything else is done with them, and refused with the protocol's codes.

use super::{
    body,
    jsonrpc::{AUTH_MISSING, SERVICE_UNAVAILABLE, refuse},
};
use crate::{
    door::Door,
    signing::{Refusal, SignatureVerifier, SignedBy},
};
use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::Response,
};
use handoff_proto::wire::AdcpError;
use serde_json::{Value, json};

/// Nobody signed, and somebody had to.
pub(super) const REQUIRED: &str = "request_signature_required";
/// The signature is good, and the body is none.
pub(super) const BODY_MALFORMED: &str = "request_body_malformed";
const KEYS_UNAVAILABLE: &str = "request_signature_jwks_unavailable";
const RETRY_SECONDS: u32 = 30;

/// Who signed the request, and its body.
pub(super) async fn verify(
    door: &Door,
    verifier: &SignatureVerifier,
    parts: &Parts,
    body: Body,
) -> Result<(SignedBy, Bytes), Response> {
    let lines = parts.headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let lines: Vec<(&str, &str)> = lines.collect();
    let refused = |refusal| refused(verifier, refusal);
    let checked = verifier.check_head(parts, &lines).await.map_err(refused)?;
    let body = body::collect(door, &parts.headers, body).await?;
    let signed = verifier.check_body(checked, &body, door.handoff.registry()).await.map_err(refused)?;
    Ok((signed, body))
}

/// What `WWW-Authenticate` says of signatures.
pub(super) fn challenge(code: &str) -> HeaderValue {
    HeaderValue::from_str(&format!("Signature error=\"{code}\"")).unwrap_or(HeaderValue::from_static("Signature"))
}

/// The refusal of a request that had to be signed.
pub(super) fn required(id: Value, why: &str) -> Response {
    let error = AdcpError::correctable("AUTH_MISSING", why).details(json!({"signature_error": REQUIRED}));
    challenged(StatusCode::UNAUTHORIZED, AUTH_MISSING, id, &error, REQUIRED)
}

/// The refusal of a request that one agent signed, and another sent.
pub(super) fn two_agents(challenge: HeaderValue) -> Response {
    let error = AdcpError::terminal("AUTH_INVALID", "The signature and the credential are not of the same agent.");
    let mut response = refuse(StatusCode::UNAUTHORIZED, AUTH_MISSING, Value::Null, &error);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    response
}

fn refused(verifier: &SignatureVerifier, refusal: Refusal) -> Response {
    match refusal {
        Refusal::Signature(error) => {
            let code = verifier.code(error);
            tracing::debug!(code, "a signature is refused");
            let told = AdcpError::terminal("AUTH_INVALID", format!("The signature is refused: {error}."))
                .details(json!({"signature_error": code}));
            challenged(StatusCode::UNAUTHORIZED, AUTH_MISSING, Value::Null, &told, &code)
        }
        Refusal::KeysUnavailable => {
            let told = AdcpError::transient("SERVICE_UNAVAILABLE", "The signer's keys can't be read at the moment.")
                .retry_after(RETRY_SECONDS)
                .details(json!({"signature_error": KEYS_UNAVAILABLE}));
            challenged(StatusCode::SERVICE_UNAVAILABLE, SERVICE_UNAVAILABLE, Value::Null, &told, KEYS_UNAVAILABLE)
        }
        Refusal::Registry(error) => {
            tracing::warn!(%error, "a signature can't be checked");
            let told = AdcpError::transient("SERVICE_UNAVAILABLE", "Signatures can't be checked at the moment.");
            refuse(StatusCode::SERVICE_UNAVAILABLE, SERVICE_UNAVAILABLE, Value::Null, &told.retry_after(10))
        }
    }
}

fn challenged(status: StatusCode, code: i32, id: Value, error: &AdcpError, signature_error: &str) -> Response {
    let mut response = refuse(status, code, id, error);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge(signature_error));
    response
}
