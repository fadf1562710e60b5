//! A token, from its text to what it says (RFC 7515, RFC 7519, RFC 8725).

use super::keys::{ALGORITHMS, Key};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use handoff_proto::limits::MAX_SCOPE_BYTES;
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};
use std::time::{Duration, SystemTime};

/// The longest token, in bytes.
pub(super) const MAX_BYTES: usize = 16 * 1024;

// As others than access tokens are typed (security events, proofs of possession), they are of no use here.
const TYPES: [&str; 3] = ["jwt", "at+jwt", "application/at+jwt"];

/// Why a token is refused: for the log of those who look for it, never for its bearer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("it is no token")]
    Shape,
    #[error("it is too long")]
    TooLong,
    #[error("its algorithm is not taken")]
    Algorithm,
    #[error("it is of another type")]
    Type,
    #[error("it has critical extensions")]
    Critical,
    #[error("it is another issuer's")]
    Issuer,
    #[error("it is for another audience")]
    Audience,
    #[error("it has expired, or never does")]
    Expired,
    #[error("it is not good yet")]
    NotYet,
    #[error("it names no agent")]
    Principal,
    #[error("the issuer has no such key")]
    UnknownKey,
    #[error("its signature is wrong")]
    Signature,
}

/// What a token has to say.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    pub(super) issuer: String,
    pub(super) audience: String,
    pub(super) claim: String,
    /// What stands before the claim in the agent's name.
    pub(super) prefix: String,
    pub(super) leeway: Duration,
}

/// A token that was read, and of which nothing is proven.
pub(super) struct Token<'a> {
    message: &'a str,
    signature: &'a str,
    pub(super) algorithm: Algorithm,
    pub(super) key_id: Option<String>,
    claims: Map<String, Value>,
}

/// Three parts with dots between, of which the first is a JSON object in base64url: no API key that anybody would make.
pub(super) fn looks_like_one(text: &str) -> bool {
    parts(text).is_some_and(|(head, _, _)| object(head).is_some())
}

impl<'a> Token<'a> {
    /// Reads it. Which algorithms are taken is said here, not by the token.
    pub(super) fn read(text: &'a str) -> Result<Self, Refusal> {
        if text.len() > MAX_BYTES {
            return Err(Refusal::TooLong);
        }
        let (head, body, signature) = parts(text).ok_or(Refusal::Shape)?;
        let message = &text[..head.len() + 1 + body.len()];
        let (head, claims) = object(head).zip(object(body)).ok_or(Refusal::Shape)?;
        let name = head.get("alg").and_then(Value::as_str);
        let algorithm = name.and_then(|name| name.parse::<Algorithm>().ok());
        let algorithm = algorithm.filter(|algorithm| ALGORITHMS.contains(algorithm)).ok_or(Refusal::Algorithm)?;
        if head.contains_key("crit") {
            return Err(Refusal::Critical);
        }
        let known = |typed: &str| TYPES.iter().any(|known| known.eq_ignore_ascii_case(typed));
        if !head.get("typ").is_none_or(|typed| typed.as_str().is_some_and(known)) {
            return Err(Refusal::Type);
        }
        let key_id = match head.get("kid") {
            None => None,
            Some(Value::String(id)) => Some(id.clone()),
            Some(_) => return Err(Refusal::Shape),
        };
        Ok(Self { message, signature, algorithm, key_id, claims })
    }

    /// The name of the agent that it says it is of, if it says all that it has to.
    pub(super) fn agent(&self, expected: &Expected, now: SystemTime) -> Result<String, Refusal> {
        if self.text("iss") != Some(expected.issuer.as_str()) {
            return Err(Refusal::Issuer);
        }
        let for_us = |audience: &Value| audience.as_str() == Some(expected.audience.as_str());
        let audience = self.claims.get("aud");
        if !audience.is_some_and(|aud| for_us(aud) || aud.as_array().is_some_and(|all| all.iter().any(for_us))) {
            return Err(Refusal::Audience);
        }
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let leeway = expected.leeway.as_secs_f64();
        if !self.time("exp").is_some_and(|expires| now < expires + leeway) {
            return Err(Refusal::Expired);
        }
        if self.claims.contains_key("nbf") && !self.time("nbf").is_some_and(|begins| begins <= now + leeway) {
            return Err(Refusal::NotYet);
        }
        let claim = self.text(&expected.claim).filter(|claim| !claim.is_empty()).ok_or(Refusal::Principal)?;
        let name = format!("{}{claim}", expected.prefix);
        let strange = |c: char| c.is_whitespace() || c.is_control();
        if name.len() > MAX_SCOPE_BYTES || name.contains(strange) { Err(Refusal::Principal) } else { Ok(name) }
    }

    /// Did this key sign it?
    pub(super) fn is_signed_by(&self, key: &Key) -> bool {
        key.verifies(self.algorithm, self.message, self.signature)
    }

    fn text(&self, claim: &str) -> Option<&str> {
        self.claims.get(claim)?.as_str()
    }

    // Seconds since 1970, with a fraction if it likes.
    fn time(&self, claim: &str) -> Option<f64> {
        self.claims.get(claim)?.as_f64().filter(|seconds| seconds.is_finite())
    }
}

fn parts(text: &str) -> Option<(&str, &str, &str)> {
    let base64url = |part: &&str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let mut parts = text.split('.');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(head), Some(body), Some(signature), None) if [head, body, signature].iter().all(base64url) => {
            Some((head, body, signature))
        }
        _ => None,
    }
}

fn object(part: &str) -> Option<Map<String, Value>> {
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}
