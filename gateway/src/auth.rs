//! Who calls: agents, known by their API keys unless the seller brings its own [`Authenticator`].

use crate::resource::ProtectedResource;
use async_trait::async_trait;
use axum::http::{HeaderMap, HeaderName, header};
use handoff_client::ApiKeys;
use secrecy::{ExposeSecret, SecretString};

/// The header that AdCP clients send beside, or instead of, `Authorization`.
pub const ADCP_AUTH: HeaderName = HeaderName::from_static("x-adcp-auth");

/// An authenticated agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Its name: stable, and unique among all agents.
    pub name: String,
}

impl Principal {
    /// The agent of this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }
}

/// Why an agent is not let in. None says which part of a credential is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// It sent no credential.
    #[error("no credential was sent")]
    Missing,
    /// It sent one that nobody has.
    #[error("the credential is not valid")]
    Invalid,
    /// It is known, and not allowed in.
    #[error("the agent is not allowed to call")]
    Forbidden,
    /// It can't be told at the moment.
    #[error("credentials can't be checked at the moment")]
    Unavailable,
}

/// Says who sent a request.
#[async_trait]
pub trait Authenticator: Send + Sync + 'static {
    /// The agent that these headers authenticate.
    async fn authenticate(&self, headers: &HeaderMap) -> Result<Principal, AuthError>;

    /// What clients are told that have to get an access token first; none: there are no tokens to get.
    fn protected_resource(&self) -> Option<ProtectedResource> {
        None
    }
}

/// The shipped authenticator: configured API keys, in `Authorization: Bearer` or `x-adcp-auth`.
#[derive(Clone, Debug)]
pub struct ApiKeyAuthenticator {
    keys: ApiKeys,
}

impl ApiKeyAuthenticator {
    /// Lets in whoever has one of these keys.
    pub fn new(keys: ApiKeys) -> Self {
        Self { keys }
    }
}

#[async_trait]
impl Authenticator for ApiKeyAuthenticator {
    async fn authenticate(&self, headers: &HeaderMap) -> Result<Principal, AuthError> {
        let key = presented_key(headers)?;
        self.keys.principal_of(key.expose_secret()).map(Principal::new).ok_or(AuthError::Invalid)
    }
}

/// The key that a request presents. Two different ones are no credential.
pub fn presented_key(headers: &HeaderMap) -> Result<SecretString, AuthError> {
    let bearer = headers.get_all(header::AUTHORIZATION).iter().map(|value| (value, true));
    let own = headers.get_all(ADCP_AUTH).iter().map(|value| (value, false));
    let mut presented: Option<&str> = None;
    for (value, scheme_required) in bearer.chain(own) {
        let text = value.to_str().map_err(|_| AuthError::Invalid)?.trim();
        let key = match text.split_once(' ') {
            Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => key.trim(),
            None if !scheme_required => text,
            _ => return Err(AuthError::Invalid),
        };
        if presented.is_some_and(|other| other != key) {
            return Err(AuthError::Invalid);
        }
        presented = Some(key);
    }
    presented.filter(|key| !key.is_empty()).map(SecretString::from).ok_or(AuthError::Missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presented(headers: &[(&HeaderName, &str)]) -> Result<String, AuthError> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        presented_key(&map).map(|key| key.expose_secret().to_owned())
    }

    #[test]
    fn a_key_comes_in_either_header_and_two_have_to_agree() {
        let authorization = &header::AUTHORIZATION;
        assert_eq!(presented(&[(authorization, "Bearer abc")]).unwrap(), "abc");
        assert_eq!(presented(&[(authorization, "bearer  abc ")]).unwrap(), "abc");
        assert_eq!(presented(&[(&ADCP_AUTH, "abc")]).unwrap(), "abc");
        assert_eq!(presented(&[(&ADCP_AUTH, "Bearer abc"), (authorization, "Bearer abc")]).unwrap(), "abc");
        assert_eq!(presented(&[(&ADCP_AUTH, "abd"), (authorization, "Bearer abc")]), Err(AuthError::Invalid));
        for wrong in ["abc", "Basic abc", "Bearer"] {
            assert_eq!(presented(&[(authorization, wrong)]), Err(AuthError::Invalid), "{wrong}");
        }
        for missing in [&[][..], &[(&ADCP_AUTH, "")]] {
            assert_eq!(presented(missing), Err(AuthError::Missing));
        }
    }
}
