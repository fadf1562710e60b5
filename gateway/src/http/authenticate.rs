//! Nobody gets further without being known.

use super::{
    access_log::Told,
    jsonrpc::{AUTH_MISSING, SERVICE_UNAVAILABLE, refuse},
};
use crate::{AuthError, ProtectedResource, door::Door};
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
        Err(error) => refused(error, &door.challenges),
    }
}

/// What `WWW-Authenticate` says to whom sent no credential, and to whom sent a wrong one (RFC 6750, RFC 9728).
#[derive(Debug)]
pub(crate) struct Challenges {
    missing: HeaderValue,
    invalid: HeaderValue,
    hint: &'static str,
}

impl Challenges {
    pub(crate) fn new(resource: Option<&ProtectedResource>) -> Self {
        let metadata = resource.map(|resource| format!(r#", resource_metadata="{}""#, resource.metadata_url()));
        let metadata = metadata.unwrap_or_default();
        let challenge = |text: &'static str| {
            HeaderValue::from_str(&format!("{text}{metadata}")).unwrap_or(HeaderValue::from_static(text))
        };
        Self {
            missing: challenge(r#"Bearer realm="adcp""#),
            invalid: challenge(r#"Bearer realm="adcp", error="invalid_token""#),
            hint: match resource {
                Some(_) => "Send an API key or an access token as Authorization: Bearer, or as x-adcp-auth.",
                None => "Send an API key as Authorization: Bearer, or as x-adcp-auth.",
            },
        }
    }
}

fn refused(error: AuthError, challenges: &Challenges) -> Response {
    let (status, code, challenge, told) = match error {
        AuthError::Missing => (
            StatusCode::UNAUTHORIZED,
            AUTH_MISSING,
            Some(&challenges.missing),
            AdcpError::correctable("AUTH_MISSING", "Authentication is required.").suggestion(challenges.hint),
        ),
        AuthError::Invalid => (
            StatusCode::UNAUTHORIZED,
            AUTH_MISSING,
            Some(&challenges.invalid),
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
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge.clone());
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_to_get_a_token_is_told_where() {
        let challenged = |resource: Option<&ProtectedResource>, error| {
            let response = refused(error, &Challenges::new(resource));
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
            response.headers()[header::WWW_AUTHENTICATE].to_str().unwrap().to_owned()
        };
        assert_eq!(challenged(None, AuthError::Missing), r#"Bearer realm="adcp""#);
        assert_eq!(challenged(None, AuthError::Invalid), r#"Bearer realm="adcp", error="invalid_token""#);
        let resource = ProtectedResource::new("https://ads.example/mcp".parse().unwrap(), Vec::new());
        let metadata = r#", resource_metadata="https://ads.example/.well-known/oauth-protected-resource/mcp""#;
        assert_eq!(challenged(Some(&resource), AuthError::Missing), format!(r#"Bearer realm="adcp"{metadata}"#));
        assert_eq!(
            challenged(Some(&resource), AuthError::Invalid),
            format!(r#"Bearer realm="adcp", error="invalid_token"{metadata}"#)
        );
    }
}
