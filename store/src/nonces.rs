//! Nonces of signed requests: each counts once, in whichever gateway it comes (docs/decisions/030).

use crate::RegistryError;
use async_trait::async_trait;

type Result<T> = std::result::Result<T, RegistryError>;

/// A nonce that came with a good signature. Times are in seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsedNonce {
    /// The key that signed.
    pub keyid: String,
    /// What came.
    pub nonce: String,
    /// Until when it must not come again.
    pub until: i64,
    /// When it came.
    pub now: i64,
    /// How many of the key's nonces may be alive.
    pub at_most: u32,
}

/// What came of a nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonceUse {
    /// It is the first of its kind, and remembered from now on.
    First,
    /// It came before; nothing was written.
    Again,
    /// As many of the key's nonces are alive as may be; nothing was written.
    TooMany,
}

/// The nonces that came.
#[async_trait]
pub trait NonceStore: Send + Sync + 'static {
    /// Remembers a nonce. Of two calls at once with the same one, one is the first. Repeated after an answer that was lost it came
    /// before: whoever sent the request signs another.
    async fn use_nonce(&self, used: &UsedNonce) -> Result<NonceUse>;

    /// Forgets the nonces whose time was over by `now`.
    async fn prune_nonces(&self, now: i64) -> Result<()>;
}
