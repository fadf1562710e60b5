//! Signing.

use super::{COMPONENTS, CONTENT_TYPE, LABEL, Profile, content_digest, derived, signature_base};
use crate::{
    MalformedTarget, Target,
    keys::{SignError, Signer},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom, SystemRandom};

/// How long a signature is valid: the longest that the profile allows.
pub const SIGNATURE_SECONDS: i64 = 300;

/// A POST of JSON that is to be signed.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Where it goes.
    pub url: &'a str,
    /// What it brings.
    pub body: &'a [u8],
}

/// The headers of a signed request, beside its `Content-Type`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headers {
    /// `Content-Digest`.
    pub content_digest: String,
    /// `Signature-Input`.
    pub signature_input: String,
    /// `Signature`.
    pub signature: String,
}

impl From<MalformedTarget> for SignError {
    fn from(_: MalformedTarget) -> Self {
        Self::Target
    }
}

/// Signs a webhook with a nonce of its own. `now`: seconds since 1970.
pub async fn sign(signer: &dyn Signer, request: Request<'_>, now: i64) -> Result<Headers, SignError> {
    sign_as(&Profile::WEBHOOKS, signer, request, now).await
}

/// The same for any profile.
pub async fn sign_as(
    profile: &Profile,
    signer: &dyn Signer,
    request: Request<'_>,
    now: i64,
) -> Result<Headers, SignError> {
    let mut nonce = [0; 16];
    SystemRandom::new().fill(&mut nonce).map_err(|_| SignError::NoRandomness)?;
    sign_with(profile, signer, request, now, &BASE64_URL_SAFE_NO_PAD.encode(nonce)).await
}

async fn sign_with(
    profile: &Profile,
    signer: &dyn Signer,
    request: Request<'_>,
    now: i64,
    nonce: &str,
) -> Result<Headers, SignError> {
    let target = Target::canonical(request.url)?;
    let digest = content_digest(request.body);
    let key = signer.public_key();
    let params = format!(
        "({});created={now};expires={};nonce=\"{nonce}\";keyid=\"{}\";alg=\"{}\";tag=\"{}\"",
        COMPONENTS.map(|name| format!("\"{name}\"")).join(" "),
        now + SIGNATURE_SECONDS,
        key.kid,
        key.algorithm().name(),
        profile.tag(),
    );
    let value = |name: &str| match name {
        "content-type" => Some(CONTENT_TYPE.to_owned()),
        "content-digest" => Some(digest.clone()),
        name => derived(&target, "POST", name),
    };
    let base = signature_base(COMPONENTS, value, &params).ok_or(SignError::Target)?;
    let signature = signer.sign(base.as_bytes()).await?;
    Ok(Headers {
        content_digest: digest,
        signature_input: format!("{LABEL}={params}"),
        signature: format!("{LABEL}=:{}:", profile.token(&signature)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        keys::{Algorithm, LocalKey},
        signature::{Received, ReplayGuard, vectors, verify},
    };

    // Ed25519 is deterministic: the vectors' own signatures come out.
    #[tokio::test]
    async fn the_vectors_are_signed_as_they_are() {
        for (profile, kind, directory, least) in [
            (Profile::WEBHOOKS, "webhook-signing", "webhook-signing/positive", 6),
            (Profile::REQUESTS, "request-signing", "request-signing/profile-3.2/positive", 10),
        ] {
            let mut seen = 0;
            for vector in vectors::all(directory) {
                let input = vector.header("Signature-Input").to_owned();
                // What others add: a second signature, a second digest.
                let alone = !input.contains(", ") && !vector.header("Content-Digest").contains(", ");
                if !input.contains("alg=\"ed25519\"") || !alone {
                    continue;
                }
                let key = vectors::signer(kind, &vector.jwks_ref()[0]);
                let request = Request { url: vector.url(), body: vector.body() };
                let (_, nonce) = input.split_once("nonce=\"").unwrap();
                let nonce = nonce.split_once('"').unwrap().0;
                let headers = sign_with(&profile, &key, request, vector.now(), nonce).await.unwrap();
                assert_eq!(headers.content_digest, vector.header("Content-Digest"), "{}", vector.name);
                assert_eq!(headers.signature_input, input, "{}", vector.name);
                assert_eq!(headers.signature, vector.header("Signature"), "{}", vector.name);
                seen += 1;
            }
            assert!(seen >= least, "{directory}: {seen}");
        }
    }

    #[tokio::test]
    async fn what_is_signed_verifies_and_no_nonce_comes_twice() {
        for key in Algorithm::ALL.map(LocalKey::generate) {
            let request = Request { url: "https://Buyer.example:443/hook?b=2&a=1", body: b"{}" };
            let (one, two) = (sign(&key, request, 1_000).await.unwrap(), sign(&key, request, 1_000).await.unwrap());
            assert_ne!(one.signature_input, two.signature_input);
            let received = |headers: &Headers| {
                verify(
                    &Received {
                        method: "POST",
                        url: "https://buyer.example/hook?b=2&a=1",
                        headers: &[
                            ("content-type", CONTENT_TYPE),
                            ("content-digest", &headers.content_digest),
                            ("signature-input", &headers.signature_input),
                            ("signature", &headers.signature),
                        ],
                        body: b"{}",
                    },
                    &[key.public_key().clone()],
                    &mut ReplayGuard::default(),
                    1_010,
                )
            };
            assert_eq!(received(&one).as_deref(), Ok(key.public_key().kid.as_str()));
            assert_eq!(received(&two).as_deref(), Ok(key.public_key().kid.as_str()));
        }
    }
}
