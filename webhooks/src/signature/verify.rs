//! Verifying, as a receiver does: the profile's checklist, in its order.

use super::{
    COMPONENTS, TAG, derived,
    input::{Input, sha256, signature},
    signature_base,
};
use crate::{
    Target,
    keys::{Algorithm, Jwk},
};
use ring::digest;
use std::collections::{HashMap, HashSet};

const MAX_WINDOW_SECONDS: i64 = 300;
const MAX_SKEW_SECONDS: i64 = 60;
const MIN_NONCE_CHARS: usize = 22;
// `webhook-signing` is deprecated, and accepted throughout 3.x.
const PURPOSES: [&str; 2] = ["request-signing", "webhook-signing"];

/// A request as it came.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// Its method.
    pub method: &'a str,
    /// The whole URL that it was sent to.
    pub url: &'a str,
    /// Its headers, by name in any case.
    pub headers: &'a [(&'a str, &'a str)],
    /// Its body, byte by byte.
    pub body: &'a [u8],
}

impl Received<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }
}

/// Why a webhook is not accepted: the protocol's codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// A header is missing, or can't be read.
    #[error("webhook_signature_header_malformed")]
    HeaderMalformed,
    /// A parameter is missing.
    #[error("webhook_signature_params_incomplete")]
    ParamsIncomplete,
    /// It was signed for something else.
    #[error("webhook_signature_tag_invalid")]
    TagInvalid,
    /// The algorithm is not of the profile, or not the key's.
    #[error("webhook_signature_alg_not_allowed")]
    AlgNotAllowed,
    /// Too old, too early, or valid for too long.
    #[error("webhook_signature_window_invalid")]
    WindowInvalid,
    /// It does not cover what it must.
    #[error("webhook_signature_components_incomplete")]
    ComponentsIncomplete,
    /// Nobody knows the key.
    #[error("webhook_signature_key_unknown")]
    KeyUnknown,
    /// The key is for something else.
    #[error("webhook_signature_key_purpose_invalid")]
    KeyPurposeInvalid,
    /// The key was taken back.
    #[error("webhook_signature_key_revoked")]
    KeyRevoked,
    /// Nobody knows any more which keys were taken back.
    #[error("webhook_signature_revocation_stale")]
    RevocationStale,
    /// Too many nonces of one key.
    #[error("webhook_signature_rate_abuse")]
    RateAbuse,
    /// The signature is not the key's over this request.
    #[error("webhook_signature_invalid")]
    Invalid,
    /// The body is another.
    #[error("webhook_signature_digest_mismatch")]
    DigestMismatch,
    /// The nonce came before.
    #[error("webhook_signature_replayed")]
    Replayed,
    /// The URL has no canonical form.
    #[error("webhook_target_uri_malformed")]
    TargetMalformed,
}

/// What a receiver remembers: which nonces came, and which keys were taken back.
#[derive(Clone, Debug)]
pub struct ReplayGuard {
    nonces: HashMap<String, HashMap<String, i64>>,
    revoked: HashSet<String>,
    stale: bool,
    limit: usize,
}

impl Default for ReplayGuard {
    /// Knows of nothing, and keeps at most 100,000 nonces of a key.
    fn default() -> Self {
        Self { nonces: HashMap::new(), revoked: HashSet::new(), stale: false, limit: 100_000 }
    }
}

impl ReplayGuard {
    /// Keeps at most so many nonces of a key.
    pub fn with_limit(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// A key that was taken back.
    pub fn revoke(&mut self, kid: &str) {
        self.revoked.insert(kid.to_owned());
    }

    /// Says whether the list of keys that were taken back is too old to be relied on.
    pub fn set_stale(&mut self, stale: bool) {
        self.stale = stale;
    }

    /// A nonce that came. `until`: seconds since 1970, after which it may be forgotten.
    pub fn remember(&mut self, kid: &str, nonce: &str, until: i64) {
        self.nonces.entry(kid.to_owned()).or_default().insert(nonce.to_owned(), until);
    }

    fn look(&mut self, kid: &str, now: i64) -> Result<(), VerifyError> {
        if self.revoked.contains(kid) {
            return Err(VerifyError::KeyRevoked);
        }
        if self.stale {
            return Err(VerifyError::RevocationStale);
        }
        let Some(nonces) = self.nonces.get_mut(kid) else { return Ok(()) };
        nonces.retain(|_, until| *until > now);
        if nonces.len() >= self.limit { Err(VerifyError::RateAbuse) } else { Ok(()) }
    }

    fn is_known(&self, kid: &str, nonce: &str) -> bool {
        self.nonces.get(kid).is_some_and(|nonces| nonces.contains_key(nonce))
    }
}

/// Checks a webhook's signature against the sender's keys, and gives the id of the one that made it. `now`: seconds since
/// 1970. The body's meaning is another matter.
pub fn verify(received: &Received<'_>, keys: &[Jwk], guard: &mut ReplayGuard, now: i64) -> Result<String, VerifyError> {
    // 1, 2
    let (Some(input), Some(signed)) = (received.header("signature-input"), received.header("signature")) else {
        return Err(VerifyError::HeaderMalformed);
    };
    let input = Input::read(input).ok_or(VerifyError::HeaderMalformed)?;
    let signed = signature(signed).ok_or(VerifyError::HeaderMalformed)?;
    let text = |name| input.text(name).ok_or(VerifyError::ParamsIncomplete);
    let number = |name| input.number(name).ok_or(VerifyError::ParamsIncomplete);
    let (created, expires) = (number("created")?, number("expires")?);
    let (nonce, kid, alg, tag) = (text("nonce")?, text("keyid")?, text("alg")?, text("tag")?);
    if nonce.len() < MIN_NONCE_CHARS {
        return Err(VerifyError::ParamsIncomplete);
    }
    // 3, 4, 5
    if tag != TAG {
        return Err(VerifyError::TagInvalid);
    }
    let algorithm = Algorithm::from_name(alg).ok_or(VerifyError::AlgNotAllowed)?;
    let window = expires.saturating_sub(created);
    if !(1..=MAX_WINDOW_SECONDS).contains(&window)
        || created > now.saturating_add(MAX_SKEW_SECONDS)
        || expires < now.saturating_sub(MAX_SKEW_SECONDS)
    {
        return Err(VerifyError::WindowInvalid);
    }
    // 6
    if !COMPONENTS.iter().all(|component| input.components.contains(component)) {
        return Err(VerifyError::ComponentsIncomplete);
    }
    // 7, 8, 9, 9a
    let key = keys.iter().find(|key| key.kid == kid).ok_or(VerifyError::KeyUnknown)?;
    if !PURPOSES.contains(&key.adcp_use.as_str()) || key.usage != "sig" || !key.key_ops.iter().any(|op| op == "verify")
    {
        return Err(VerifyError::KeyPurposeInvalid);
    }
    if key.algorithm() != algorithm {
        return Err(VerifyError::AlgNotAllowed);
    }
    guard.look(kid, now)?;
    // 10
    let target = Target::canonical(received.url).map_err(|_| VerifyError::TargetMalformed)?;
    let value = |name: &str| {
        derived(&target, received.method, name).or_else(|| received.header(name).map(|value| value.trim().to_owned()))
    };
    let base = signature_base(input.components.iter().copied(), value, input.text);
    let base = base.ok_or(VerifyError::ComponentsIncomplete)?;
    if !key.verifies(base.as_bytes(), &signed) {
        return Err(VerifyError::Invalid);
    }
    // 11, 12, 13
    let digest = received.header("content-digest").and_then(sha256);
    if digest.as_deref() != Some(digest::digest(&digest::SHA256, received.body).as_ref()) {
        return Err(VerifyError::DigestMismatch);
    }
    if guard.is_known(kid, nonce) {
        return Err(VerifyError::Replayed);
    }
    guard.remember(kid, nonce, expires.saturating_add(MAX_SKEW_SECONDS));
    Ok(kid.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::vectors::{self, Vector};

    fn outcome(vector: &Vector) -> Result<String, VerifyError> {
        let mut guard = ReplayGuard::with_limit(3);
        let state = &vector.json["test_harness_state"];
        for entry in state["replay_cache_entries"].as_array().into_iter().flatten() {
            guard.remember(entry["keyid"].as_str().unwrap(), entry["nonce"].as_str().unwrap(), i64::MAX);
        }
        for kid in state["revoked_kids"].as_array().into_iter().flatten() {
            guard.revoke(kid.as_str().unwrap());
        }
        guard.set_stale(state["revocation_list_stale_seconds"].as_u64().is_some_and(|seconds| seconds > 7_200));
        if let Some(kid) = state["per_keyid_cap_filled_for"].as_str() {
            (0..3).for_each(|number| guard.remember(kid, &format!("filler {number}"), i64::MAX));
        }
        let headers = vector.headers();
        let received = Received { method: "POST", url: vector.url(), headers: &headers, body: vector.body() };
        verify(&received, &vector.keys(), &mut guard, vector.now())
    }

    #[test]
    fn every_positive_vector_is_accepted() {
        let vectors = vectors::all("positive");
        assert_eq!(vectors.len(), 8);
        for vector in &vectors {
            assert_eq!(outcome(vector), Ok(vector.jwks_ref()[0].clone()), "{}", vector.name);
        }
    }

    #[test]
    fn every_negative_vector_is_refused_for_its_own_reason() {
        let vectors = vectors::all("negative");
        assert_eq!(vectors.len(), 21);
        for vector in &vectors {
            let error = outcome(vector).unwrap_err();
            assert_eq!(error.to_string(), vector.json["expected_outcome"]["error_code"], "{}", vector.name);
        }
    }

    #[test]
    fn a_signature_counts_once() {
        let vectors = vectors::all("positive");
        let vector = &vectors[0];
        let headers = vector.headers();
        let received = Received { method: "POST", url: vector.url(), headers: &headers, body: vector.body() };
        let mut guard = ReplayGuard::default();
        assert!(verify(&received, &vector.keys(), &mut guard, vector.now()).is_ok());
        assert_eq!(verify(&received, &vector.keys(), &mut guard, vector.now()), Err(VerifyError::Replayed));
        let other = Received { url: "https://buyer.example.com/other", ..received };
        assert_eq!(
            verify(&other, &vector.keys(), &mut ReplayGuard::default(), vector.now()),
            Err(VerifyError::Invalid)
        );
    }
}
