//! Agents that come with access tokens: JWTs, signed by the issuer that the operator trusts, and made for this seller.
//!
//! Invariants:
//! - Which signatures are taken, and with which keys, is said here and by the issuer's keys, never by a token.
//! - Nothing of a token is in a log line, an error or a `Debug`.
//! - However many tokens come, the issuer is asked once in a while.

mod keys;
#[cfg(test)]
mod tests;
mod token;

use crate::{
    AuthError, Authenticator, Principal,
    jwks::{Cache, Source, Times, Unavailable},
    presented_key,
    resource::ProtectedResource,
};
use async_trait::async_trait;
use axum::http::HeaderMap;
use handoff_client::{
    Environment,
    jwt::{JwksError, JwtSettings},
};
use keys::Keys;
use secrecy::{ExposeSecret, SecretString};
use std::{fmt, sync::Arc, time::SystemTime};
use token::{Expected, Refusal, Token};
use tokio::task::AbortHandle;
use url::Url;

/// Lets in whoever has an access token of one issuer, for this seller.
pub struct JwtAuthenticator {
    expected: Expected,
    cache: Arc<Cache<Keys>>,
    resource: ProtectedResource,
    fresh: AbortHandle,
}

impl JwtAuthenticator {
    /// By these settings, for the MCP endpoint that buyers call at `resource`. Needs a Tokio runtime: the issuer's keys are read in the
    /// background, now and for as long as this value lives. An issuer that is away is no error.
    pub fn new(settings: &JwtSettings, environment: Environment, resource: Url) -> Result<Self, JwksError> {
        Ok(Self::with_source(settings, settings.source(environment)?, resource))
    }

    fn with_source(settings: &JwtSettings, source: impl Source, resource: Url) -> Self {
        let times = Times { refresh: settings.refresh, cooldown: settings.cooldown, keep: settings.keep };
        let cache = Cache::new(&settings.issuer, source, times);
        let fresh = cache.keep_fresh();
        let expected = Expected {
            issuer: settings.issuer.clone(),
            audience: settings.audience.clone().unwrap_or_else(|| resource.as_str().to_owned()),
            claim: settings.principal_claim.clone(),
            prefix: settings.name_prefix(),
            leeway: settings.leeway,
        };
        let resource = ProtectedResource::new(resource, vec![settings.issuer.clone()]);
        Self { expected, cache, resource, fresh }
    }

    async fn agent_of(&self, token: &SecretString) -> Result<Principal, AuthError> {
        let token = Token::read(token.expose_secret()).map_err(refused)?;
        // What can't be good for what it says itself does not make anybody read keys.
        let name = token.agent(&self.expected, SystemTime::now()).map_err(refused)?;
        let keys = self.cache.keys(token.key_id.as_deref(), token.algorithm).await;
        let keys = keys.map_err(|Unavailable| AuthError::Unavailable)?;
        if keys.is_empty() {
            return Err(refused(Refusal::UnknownKey));
        }
        if keys.iter().any(|key| token.is_signed_by(key)) {
            Ok(Principal::new(name))
        } else {
            Err(refused(Refusal::Signature))
        }
    }
}

fn refused(why: Refusal) -> AuthError {
    tracing::debug!(%why, "an access token is refused");
    AuthError::Invalid
}

#[async_trait]
impl Authenticator for JwtAuthenticator {
    async fn authenticate(&self, headers: &HeaderMap) -> Result<Principal, AuthError> {
        self.agent_of(&presented_key(headers)?).await
    }

    fn protected_resource(&self) -> Option<ProtectedResource> {
        Some(self.resource.clone())
    }
}

impl fmt::Debug for JwtAuthenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtAuthenticator").field("expected", &self.expected).finish_non_exhaustive()
    }
}

impl Drop for JwtAuthenticator {
    fn drop(&mut self) {
        self.fresh.abort();
    }
}

/// Access tokens by one authenticator, every other credential by another.
#[derive(Debug)]
pub struct TokensBeside<A> {
    tokens: JwtAuthenticator,
    others: A,
}

impl<A: Authenticator> TokensBeside<A> {
    /// What looks like a token is one: it is never tried as another credential.
    pub fn new(tokens: JwtAuthenticator, others: A) -> Self {
        Self { tokens, others }
    }
}

#[async_trait]
impl<A: Authenticator> Authenticator for TokensBeside<A> {
    async fn authenticate(&self, headers: &HeaderMap) -> Result<Principal, AuthError> {
        let credential = presented_key(headers)?;
        if token::looks_like_one(credential.expose_secret()) {
            self.tokens.agent_of(&credential).await
        } else {
            self.others.authenticate(headers).await
        }
    }

    fn protected_resource(&self) -> Option<ProtectedResource> {
        self.tokens.protected_resource()
    }
}
