//! Verifying a webhook, as its receiver does: the whole checklist, against keys and a memory in this process.

use super::{Head, Profile, Signed, VerifyError};
use crate::keys::Jwk;
use std::collections::{HashMap, HashSet};

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
    verify_as(&Profile::WEBHOOKS, received, keys, guard, now)
}

/// The same for any profile.
pub(super) fn verify_as(
    profile: &Profile,
    received: &Received<'_>,
    keys: &[Jwk],
    guard: &mut ReplayGuard,
    now: i64,
) -> Result<String, VerifyError> {
    // A webhook always has one, be it empty.
    let has_body = *profile == Profile::WEBHOOKS || !received.body.is_empty();
    let head = Head { method: received.method, headers: received.headers, has_body };
    let signed = Signed::read(profile, head, now)?;
    let kid = signed.keyid();
    let key = keys.iter().find(|key| key.kid == kid).ok_or(VerifyError::KeyUnknown)?;
    signed.check_key(key)?;
    guard.look(kid, now)?;
    signed.check_signature(received.url, key)?;
    signed.check_body(received.body)?;
    if guard.is_known(kid, signed.nonce()) {
        return Err(VerifyError::Replayed);
    }
    guard.remember(kid, signed.nonce(), signed.remembered_until());
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
        verify(&received, &vector.keys("webhook-signing"), &mut guard, vector.now())
    }

    #[test]
    fn every_positive_vector_is_accepted() {
        let vectors = vectors::all("webhook-signing/positive");
        assert_eq!(vectors.len(), 8);
        for vector in &vectors {
            assert_eq!(outcome(vector), Ok(vector.jwks_ref()[0].clone()), "{}", vector.name);
        }
    }

    #[test]
    fn every_negative_vector_is_refused_for_its_own_reason() {
        let vectors = vectors::all("webhook-signing/negative");
        assert_eq!(vectors.len(), 21);
        for vector in &vectors {
            let error = outcome(vector).unwrap_err();
            assert_eq!(
                error.code(&Profile::WEBHOOKS),
                vector.json["expected_outcome"]["error_code"],
                "{}",
                vector.name
            );
        }
    }

    #[test]
    fn a_signature_counts_once() {
        let vectors = vectors::all("webhook-signing/positive");
        let vector = &vectors[0];
        let headers = vector.headers();
        let received = Received { method: "POST", url: vector.url(), headers: &headers, body: vector.body() };
        let mut guard = ReplayGuard::default();
        assert!(verify(&received, &vector.keys("webhook-signing"), &mut guard, vector.now()).is_ok());
        assert_eq!(
            verify(&received, &vector.keys("webhook-signing"), &mut guard, vector.now()),
            Err(VerifyError::Replayed)
        );
        let other = Received { url: "https://buyer.example.com/other", ..received };
        assert_eq!(
            verify(&other, &vector.keys("webhook-signing"), &mut ReplayGuard::default(), vector.now()),
            Err(VerifyError::Invalid)
        );
    }
}
