//! Signing keys. A key may live in this process or in a key service: whoever signs sees a [`Signer`] only.

mod documents;
mod jwk;
mod local;
mod ring;

pub use documents::{brand_document, jwks_document};
pub use jwk::{Algorithm, Jwk};
pub use local::{KeyError, LocalKey};
pub use ring::SigningKeys;

use async_trait::async_trait;
use std::fmt;

/// Signs with one key.
#[async_trait]
pub trait Signer: fmt::Debug + Send + Sync + 'static {
    /// What receivers verify with; its `kid` and algorithm go into the signature.
    fn public_key(&self) -> &Jwk;

    /// The signature over a text: 64 bytes, for both algorithms.
    async fn sign(&self, text: &[u8]) -> Result<Vec<u8>, SignError>;
}

/// Why nothing was signed; holds no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The URL has no canonical form.
    #[error("the URL can't be signed")]
    Target,
    /// The system has no random bytes.
    #[error("the system gives no random bytes")]
    NoRandomness,
    /// The key, or the service that has it, did not sign; it may later.
    #[error("the key {kid:?} did not sign: {reason}")]
    Key {
        /// Which.
        kid: String,
        /// Why.
        reason: String,
    },
}
