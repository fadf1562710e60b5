//! The profiles of RFC 9421 that AdCP has: what is signed by whom, how strictly it is read, and what a refusal is called.

use base64::{
    Engine,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

/// Must a signature over a request with a body cover `content-digest`?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentDigest {
    /// It must.
    Required,
    /// It must not.
    Forbidden,
    /// As the signer likes.
    Either,
}

impl ContentDigest {
    /// The protocol's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Forbidden => "forbidden",
            Self::Either => "either",
        }
    }
}

/// A profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    tag: &'static str,
    /// What the names of its refusals begin with.
    word: &'static str,
    purposes: &'static [&'static str],
    content_digest: ContentDigest,
    strict_base64: bool,
}

impl Profile {
    /// `adcp/webhook-signing/v1`: what sellers send.
    // `webhook-signing` as a key's purpose is deprecated, and accepted throughout 3.x.
    pub const WEBHOOKS: Self = Self {
        tag: "adcp/webhook-signing/v1",
        word: "webhook",
        purposes: &["request-signing", "webhook-signing"],
        content_digest: ContentDigest::Required,
        strict_base64: false,
    };

    /// `adcp/request-signing/v1` as AdCP 3.2 has it: what buyers send, its body covered, its bytes in the base64 of RFC 8941.
    pub const REQUESTS: Self = Self {
        tag: "adcp/request-signing/v1",
        word: "request",
        purposes: &["request-signing"],
        content_digest: ContentDigest::Required,
        strict_base64: true,
    };

    /// The same as AdCP 3.0 and 3.1 have it: bodies are covered as the seller likes; the bytes may be in base64url, too.
    pub const fn requests_before_3_2(content_digest: ContentDigest) -> Self {
        Self { content_digest, strict_base64: false, ..Self::REQUESTS }
    }

    /// Its `tag`.
    pub fn tag(&self) -> &'static str {
        self.tag
    }

    /// What it says of bodies.
    pub fn content_digest(&self) -> ContentDigest {
        self.content_digest
    }

    pub(super) fn takes_keys_for(&self, purpose: &str) -> bool {
        self.purposes.contains(&purpose)
    }

    /// What stands between a structured field's colons.
    pub(super) fn token(&self, bytes: &[u8]) -> String {
        if self.strict_base64 { BASE64_STANDARD.encode(bytes) } else { BASE64_URL_SAFE_NO_PAD.encode(bytes) }
    }

    /// The bytes that a structured field holds. Of two alphabets either is read, a mixture is not.
    pub(super) fn bytes(&self, token: &str) -> Option<Vec<u8>> {
        match (token.contains(['+', '/', '=']), token.contains(['-', '_'])) {
            _ if self.strict_base64 => BASE64_STANDARD.decode(token).ok(),
            (true, true) => None,
            (true, false) => GeneralPurpose::new(&base64::alphabet::STANDARD, LENIENT).decode(token).ok(),
            (false, _) => GeneralPurpose::new(&URL_SAFE, LENIENT).decode(token).ok(),
        }
    }
}

/// Why a signature is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// A header is missing, or can't be read.
    #[error("a header is missing, or can't be read")]
    HeaderMalformed,
    /// A parameter is missing.
    #[error("a parameter of the signature is missing")]
    ParamsIncomplete,
    /// It was signed for something else.
    #[error("it was signed for something else")]
    TagInvalid,
    /// The algorithm is not of the profile, or not the key's.
    #[error("the algorithm is not one that is taken")]
    AlgNotAllowed,
    /// Too old, too early, or valid for too long.
    #[error("the signature is too old, too early, or valid for too long")]
    WindowInvalid,
    /// It does not cover what it must.
    #[error("the signature does not cover what it must")]
    ComponentsIncomplete,
    /// It covers what it must not.
    #[error("the signature covers what it must not")]
    ComponentsUnexpected,
    /// Nobody knows the key.
    #[error("nobody knows the key")]
    KeyUnknown,
    /// The key is for something else.
    #[error("the key is for something else")]
    KeyPurposeInvalid,
    /// The key was taken back.
    #[error("the key was taken back")]
    KeyRevoked,
    /// Nobody knows any more which keys were taken back.
    #[error("nobody knows any more which keys were taken back")]
    RevocationStale,
    /// Too many nonces of one key.
    #[error("the key was used too often")]
    RateAbuse,
    /// The signature is not the key's over this request.
    #[error("the signature is not the key's over this request")]
    Invalid,
    /// The body is another.
    #[error("the body is another")]
    DigestMismatch,
    /// The nonce came before.
    #[error("the nonce came before")]
    Replayed,
    /// The URL has no canonical form, or is not the one that was called.
    #[error("the URL is malformed, or not the one that was called")]
    TargetMalformed,
}

impl VerifyError {
    /// The protocol's code in this profile.
    pub fn code(self, profile: &Profile) -> String {
        let what = match self {
            Self::HeaderMalformed => "signature_header_malformed",
            Self::ParamsIncomplete => "signature_params_incomplete",
            Self::TagInvalid => "signature_tag_invalid",
            Self::AlgNotAllowed => "signature_alg_not_allowed",
            Self::WindowInvalid => "signature_window_invalid",
            Self::ComponentsIncomplete => "signature_components_incomplete",
            Self::ComponentsUnexpected => "signature_components_unexpected",
            Self::KeyUnknown => "signature_key_unknown",
            Self::KeyPurposeInvalid => "signature_key_purpose_invalid",
            Self::KeyRevoked => "signature_key_revoked",
            Self::RevocationStale => "signature_revocation_stale",
            Self::RateAbuse => "signature_rate_abuse",
            Self::Invalid => "signature_invalid",
            Self::DigestMismatch => "signature_digest_mismatch",
            Self::Replayed => "signature_replayed",
            Self::TargetMalformed => "target_uri_malformed",
        };
        format!("{}_{what}", profile.word)
    }
}
