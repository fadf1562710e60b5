//! Public keys as JWKs (RFC 7517), with AdCP's `adcp_use`.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::{
    digest,
    signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey},
};
use serde::{Deserialize, Serialize};

/// The profile's algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// `ed25519`.
    Ed25519,
    /// `ecdsa-p256-sha256`, which JWKs call ES256.
    Es256,
}

impl Algorithm {
    /// Both, the preferred one first.
    pub const ALL: [Self; 2] = [Self::Ed25519, Self::Es256];

    /// Its name in `Signature-Input` and in capabilities.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::Es256 => "ecdsa-p256-sha256",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwk {
    /// Names it in signatures; unique among a sender's keys.
    pub kid: String,
    /// `OKP` or `EC`.
    pub kty: String,
    /// `Ed25519` or `P-256`.
    pub crv: String,
    /// `EdDSA` or `ES256`.
    pub alg: String,
    /// `sig`.
    #[serde(rename = "use", default)]
    pub usage: String,
    /// `verify`.
    #[serde(default)]
    pub key_ops: Vec<String>,
    /// `request-signing`: the purpose that webhooks share.
    #[serde(default)]
    pub adcp_use: String,
    /// The key, or the first coordinate of its point; base64url.
    pub x: String,
    /// The second coordinate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub y: Option<String>,
}

impl Jwk {
    /// A key from its bytes: 32 for Ed25519, the uncompressed point for ES256. Its id is its thumbprint (RFC 7638), so equal
    /// keys have equal ids and others never do.
    pub(super) fn new(algorithm: Algorithm, public: &[u8]) -> Self {
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let (kty, crv, alg, x, y) = match algorithm {
            Algorithm::Ed25519 => ("OKP", "Ed25519", "EdDSA", encode(public), None),
            Algorithm::Es256 => {
                let (x, y) = (public.get(1..33).unwrap_or_default(), public.get(33..65).unwrap_or_default());
                ("EC", "P-256", "ES256", encode(x), Some(encode(y)))
            }
        };
        let thumbprint = match &y {
            None => format!(r#"{{"crv":"{crv}","kty":"{kty}","x":"{x}"}}"#),
            Some(y) => format!(r#"{{"crv":"{crv}","kty":"{kty}","x":"{x}","y":"{y}"}}"#),
        };
        Self {
            kid: encode(digest::digest(&digest::SHA256, thumbprint.as_bytes()).as_ref()),
            kty: kty.into(),
            crv: crv.into(),
            alg: alg.into(),
            usage: "sig".into(),
            key_ops: vec!["verify".into()],
            adcp_use: "request-signing".into(),
            x,
            y,
        }
    }

    /// What it signs with.
    pub fn algorithm(&self) -> Algorithm {
        if self.kty == "EC" { Algorithm::Es256 } else { Algorithm::Ed25519 }
    }

    /// Are its kind, its curve and its algorithm those of one key?
    pub fn is_consistent(&self) -> bool {
        let parts = (self.kty.as_str(), self.crv.as_str(), self.alg.as_str());
        matches!(parts, ("OKP", "Ed25519", "EdDSA") | ("EC", "P-256", "ES256"))
    }

    /// Is this the key's signature over the text?
    pub fn verifies(&self, text: &[u8], signature: &[u8]) -> bool {
        let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).ok();
        let verified = match self.algorithm() {
            Algorithm::Ed25519 => {
                decode(&self.x).map(|key| UnparsedPublicKey::new(&ED25519, key).verify(text, signature))
            }
            Algorithm::Es256 => decode(&self.x).zip(self.y.as_deref().and_then(decode)).map(|(x, y)| {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, [&[4], x.as_slice(), &y].concat())
                    .verify(text, signature)
            }),
        };
        matches!(verified, Some(Ok(())))
    }
}
