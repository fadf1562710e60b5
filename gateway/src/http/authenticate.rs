//! Nobody gets further without being known.

use super::{
    access_log::Told,
    jsonrpc::{AUTH_MISSING, SERVICE_UNAVAILABLE, refuse},
};
use crate::{AuthError, door::Door};
use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::Response,
};
use handoff_proto::wire::AdcpError;
use serde_json::Value;
use std::sync::Arc;

pub(super) async fn authenticate(State(door): State<Arc<Door>>, mut request: Request, next: Next) -> Response {
    match door.authenticator.authenticate(request.headers()).await {
        Ok(principal) => {
            let name = principal.name.clone();
            request.extensions_mut().insert(principal);
            let mut response = next.run(request).await;
            let mut told = response.extensions_mut().remove::<Told>().unwrap_or_default();
            told.principal = Some(name);
            response.extensions_mut().insert(told);
            response
        }
        Err(error) => refused(error),
    }
}

fn refused(error: AuthError) -> Response {
    let (status, code, challenge, told) = match error {
        AuthError::Missing => (
            StatusCode::UNAUTHORIZED,
            AUTH_MISSING,
            Some(r#"Bearer realm="adcp""#),
            AdcpError::correctable("AUTH_MISSING", "Authentication is required.")
                .suggestion("Send an API key as Authorization: Bearer, or as x-adcp-auth."),
        ),
        AuthError::Invalid => (
            StatusCode::UNAUTHORIZED,
            AUTH_MISSING,
            Some(r#"Bearer realm="adcp", error="invalid_token""#),
            AdcpError::terminal("AUTH_INVALID", "The credential is not valid."),
        ),
        AuthError::Forbidden => (
            StatusCode::FORBIDDEN,
            AUTH_MISSING,
            None,
            AdcpError::correctable("PERMISSION_DENIED", "This agent is not allowed to call."),
        ),
        AuthError::Unavailable => (
            StatusCode::SERVICE_UNAVAILABLE,
            SERVICE_UNAVAILABLE,
            None,
            AdcpError::transient("SERVICE_UNAVAILABLE", "Credentials can't be checked at the moment.").retry_after(10),
        ),
    };
    let mut response = refuse(status, code, Value::Null, &told);
    if let Some(challenge) = challenge {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    response
}
