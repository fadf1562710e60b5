//! Requests that buyers sign (AdCP's profile of RFC 9421): whose signatures are taken, and the checklist in its order.
//!
//! Invariants:
//! - A signature that is there is judged, and never passed over: a bad one is refused, whatever else was sent.
//! - What anybody can send costs no database and no body: those come after the signature was found to be the key's.
//! - Each signature counts once, in whichever gateway it comes.

mod endpoint;
mod file;
mod registration;
mod signers;

pub use file::{Counterparty, KeySource, RequestSigning, SigningFileError};
pub(crate) use registration::registers_credentials;

use crate::Principal;
use axum::http::{HeaderMap, header, request::Parts};
use endpoint::Endpoint;
use handoff_client::{Config, Environment, jwt::JwksError};
use handoff_proto::{tools, verbs, verbs::IdempotencyKey};
use handoff_store::{NonceUse, Registry, RegistryError, UsedNonce};
use handoff_webhooks::{
    keys::Jwk,
    signature::{Head, Profile, Signed, VerifyError},
};
use serde_json::{Value, json};
use signers::{NotFound, Signers};
use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

const PRUNE_EVERY_SECONDS: i64 = 60;
// How long a key that was used too often is not looked at.
const FULL_FOR: Duration = Duration::from_secs(1);

/// Verifies buyers' signatures.
pub struct SignatureVerifier {
    profile: Profile,
    required_for: Vec<String>,
    signers: Signers,
    endpoint: Endpoint,
    /// Keys that were used too often, and until when that is believed.
    full: Mutex<HashMap<String, Instant>>,
    pruned: AtomicI64,
}

/// Why there is no verifier.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifierError {
    /// Nobody knows which URL buyers sign for.
    #[error("request signing needs HANDOFF_PUBLIC_URL: signatures are for the URL that buyers call")]
    NoPublicUrl,
    /// Keys can't be read.
    #[error("the keys of a counterparty can't be read: {0}")]
    Keys(#[from] JwksError),
}

/// Who signed a request.
#[derive(Clone, Debug)]
pub(crate) struct SignedBy {
    pub(crate) principal: Principal,
    pub(crate) keyid: String,
    /// The body is what was signed, too.
    pub(crate) covers_body: bool,
}

/// Why a signed request is refused.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The signature.
    Signature(VerifyError),
    /// The signer's keys can't be read at the moment.
    KeysUnavailable,
    /// The registry is away.
    Registry(RegistryError),
}

impl From<VerifyError> for Refusal {
    fn from(error: VerifyError) -> Self {
        Self::Signature(error)
    }
}

impl SignatureVerifier {
    /// By these settings, for the front door that this configuration is of. Needs a Tokio runtime: keys that are published are read in
    /// the background, now and for as long as this value lives. A counterparty that is away is no error.
    pub fn new(settings: RequestSigning, config: &Config) -> Result<Self, VerifierError> {
        let RequestSigning { profile, required_for, counterparties, allowed, roots } = settings;
        let endpoint = Endpoint::new(config.public_url.as_deref(), config.environment == Environment::Development);
        if !endpoint.is_known() {
            return Err(VerifierError::NoPublicUrl);
        }
        let signers = Signers::new(counterparties, allowed.as_ref(), roots.as_deref(), config.environment)?;
        let (full, pruned) = (Mutex::default(), AtomicI64::new(0));
        Ok(Self { profile, required_for, signers, endpoint, full, pruned })
    }

    /// Is there a signature, or a part of one?
    pub(crate) fn is_signed(headers: &HeaderMap) -> bool {
        headers.contains_key("signature") || headers.contains_key("signature-input")
    }

    /// Are there operations that nobody may ask for without a credential or a signature?
    pub(crate) fn is_required(&self) -> bool {
        !self.required_for.is_empty()
    }

    /// The protocol's code.
    pub(crate) fn code(&self, error: VerifyError) -> String {
        error.code(&self.profile)
    }

    /// Says in the capabilities what is verified, for what of the tools that are served.
    pub(crate) fn declare<'a>(&self, capabilities: &mut Value, tools: impl Iterator<Item = &'a str>) {
        let changes = |name: &str| {
            verbs::find(name).is_some()
                || tools::find(name).is_some_and(|tool| tool.idempotency_key != IdempotencyKey::Ignored)
        };
        let (mut supported, mut required) = (Vec::new(), Vec::new());
        for name in tools {
            let is_required = self.required_for.iter().any(|other| other == name);
            if is_required {
                required.push(name);
            }
            if is_required || changes(name) {
                supported.push(name);
            }
        }
        if let Some(body) = capabilities.as_object_mut() {
            let signing = json!({
                "supported": true,
                "covers_content_digest": self.profile.content_digest().as_str(),
                "required_for": required,
                "supported_for": supported,
            });
            body.insert("request_signing".into(), signing);
        }
    }

    /// Steps 1 to 10, and a way to go on with the body.
    pub(crate) async fn check_head<'a>(
        &'a self,
        parts: &'a Parts,
        lines: &'a [(&'a str, &'a str)],
    ) -> Result<Checked<'a>, Refusal> {
        let now = now();
        let head = Head { method: parts.method.as_str(), headers: lines, has_body: has_body(&parts.headers) };
        let signed = Signed::read(&self.profile, head, now)?;
        let (signer, key) = self.signers.find(signed.keyid()).await.map_err(|error| match error {
            NotFound::Unknown => VerifyError::KeyUnknown.into(),
            NotFound::Unavailable => Refusal::KeysUnavailable,
        })?;
        signed.check_key(&key)?;
        if signer.counterparty.revoked.contains(&key.kid) {
            return Err(VerifyError::KeyRevoked.into());
        }
        if self.is_full(&key.kid) {
            return Err(VerifyError::RateAbuse.into());
        }
        signed.check_signature(&self.endpoint.called(parts)?, &key)?;
        let principal = Principal::new(&signer.counterparty.principal);
        Ok(Checked { signed, key, principal, at_most: signer.counterparty.nonces_per_key, now })
    }

    /// Steps 11 to 13.
    pub(crate) async fn check_body(
        &self,
        checked: Checked<'_>,
        body: &[u8],
        registry: &Arc<dyn Registry>,
    ) -> Result<SignedBy, Refusal> {
        let Checked { signed, key, principal, at_most, now } = checked;
        signed.check_body(body)?;
        let used = UsedNonce {
            keyid: key.kid.clone(),
            nonce: signed.nonce().to_owned(),
            until: signed.remembered_until(),
            now,
            at_most,
        };
        match registry.use_nonce(&used).await.map_err(Refusal::Registry)? {
            NonceUse::First => {}
            NonceUse::Again => return Err(VerifyError::Replayed.into()),
            NonceUse::TooMany => {
                // The sign of a key that somebody else has, or of a signer gone mad.
                tracing::warn!(principal = principal.name, keyid = key.kid, "a key was used too often");
                self.set_full(key.kid);
                return Err(VerifyError::RateAbuse.into());
            }
        }
        self.prune(now, registry);
        Ok(SignedBy { principal, keyid: key.kid, covers_body: signed.covers_body() })
    }

    fn is_full(&self, keyid: &str) -> bool {
        let full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        full.get(keyid).is_some_and(|until| Instant::now() < *until)
    }

    fn set_full(&self, keyid: String) {
        let mut full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        full.retain(|_, until| Instant::now() < *until);
        full.insert(keyid, Instant::now() + FULL_FOR);
    }

    // Beside the requests, by whichever process comes to it.
    fn prune(&self, now: i64, registry: &Arc<dyn Registry>) {
        let last = self.pruned.load(Ordering::Relaxed);
        let due = now.saturating_sub(last) >= PRUNE_EVERY_SECONDS;
        if !due || self.pruned.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        let registry = registry.clone();
        tokio::spawn(async move {
            if let Err(error) = registry.prune_nonces(now).await {
                tracing::debug!(%error, "old nonces are not deleted yet");
            }
        });
    }
}

impl fmt::Debug for SignatureVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignatureVerifier")
            .field("profile", &self.profile)
            .field("required_for", &self.required_for)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// A request whose signature is its signer's; its body is yet to be seen.
pub(crate) struct Checked<'a> {
    signed: Signed<'a>,
    key: Jwk,
    principal: Principal,
    at_most: u32,
    now: i64,
}

fn has_body(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    length.is_some_and(|length| length > 0) || headers.contains_key(header::TRANSFER_ENCODING)
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
