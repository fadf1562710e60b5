//! Nobody gets further without being known.

use super::{
    access_log::Told,
    jsonrpc::{AUTH_MISSING, SERVICE_UNAVAILABLE, refuse},
    signature,
};
use crate::{AuthError, ProtectedResource, SignatureVerifier, door::Door, signing::SignedBy};
use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::Response,
};
use handoff_proto::wire::AdcpError;
use serde_json::Value;
use std::sync::Arc;

pub(super) async fn authenticate(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    let (mut request, signed) = match signed(&door, request).await {
        Ok(found) => found,
        Err(response) => return response,
    };
    let principal = match (door.authenticator.authenticate(request.headers()).await, &signed) {
        (Ok(principal), Some(signed)) if principal != signed.principal => {
            return signature::two_agents(door.challenges.invalid.clone());
        }
        (Ok(principal), _) => principal,
        // Who signs needs nothing else; what else it sends has to be good.
        (Err(AuthError::Missing), Some(signed)) => signed.principal.clone(),
        (Err(error), _) => return refused(error, &door.challenges),
    };
    let (name, keyid) = (principal.name.clone(), signed.as_ref().map(|signed| signed.keyid.clone()));
    request.extensions_mut().insert(principal);
    if let Some(signed) = signed {
        request.extensions_mut().insert(signed);
    }
    let mut response = next.run(request).await;
    let told = response.extensions_mut().remove::<Told>().unwrap_or_default();
    response.extensions_mut().insert(Told { principal: Some(name), keyid, ..told });
    response
}

/// Who signed the request, where signatures are taken and there is one. Whatever is there of one is judged.
async fn signed(door: &Door, request: Request) -> Result<(Request, Option<SignedBy>), Response> {
    let Some(verifier) = door.signatures.as_ref().filter(|_| SignatureVerifier::is_signed(request.headers())) else {
        return Ok((request, None));
    };
    let (parts, body) = request.into_parts();
    let (signed, body) = signature::verify(door, verifier, &parts, body).await?;
    Ok((Request::from_parts(parts, Body::from(body)), Some(signed)))
}

/// What `WWW-Authenticate` says to whom sent no credential, and to whom sent a wrong one (RFC 6750, RFC 9728).
#[derive(Debug)]
pub(crate) struct Challenges {
    missing: HeaderValue,
    invalid: HeaderValue,
    /// To both, where signatures are taken: whoever signs needs no credential.
    signature: Option<HeaderValue>,
    hint: &'static str,
}

impl Challenges {
    pub(crate) fn new(resource: Option<&ProtectedResource>, signatures: Option<&SignatureVerifier>) -> Self {
        let metadata = resource.map(|resource| format!(r#", resource_metadata="{}""#, resource.metadata_url()));
        let metadata = metadata.unwrap_or_default();
        let challenge = |text: &'static str| {
            HeaderValue::from_str(&format!("{text}{metadata}")).unwrap_or(HeaderValue::from_static(text))
        };
        Self {
            missing: challenge(r#"Bearer realm="adcp""#),
            invalid: challenge(r#"Bearer realm="adcp", error="invalid_token""#),
            signature: signatures.map(|verifier| {
                if verifier.is_required() {
                    signature::challenge(signature::REQUIRED)
                } else {
                    HeaderValue::from_static("Signature")
                }
            }),
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
        if let Some(signature) = &challenges.signature {
            response.headers_mut().append(header::WWW_AUTHENTICATE, signature.clone());
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_to_get_a_token_is_told_where() {
        let challenged = |resource: Option<&ProtectedResource>, error| {
            let response = refused(error, &Challenges::new(resource, None));
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
