//! Which governance agent an account has: at most one, which is asked before a purchase for it is decided.

use crate::RegistryError;
use async_trait::async_trait;
use std::fmt;

type Result<T> = std::result::Result<T, RegistryError>;

/// An account's governance agent.
#[derive(Clone, PartialEq, Eq)]
pub struct GovernanceBinding {
    /// The account.
    pub scope: String,
    /// The agent that named it.
    pub principal: String,
    /// Where it is asked.
    pub url: String,
    /// What it is asked with: a secret.
    pub credentials: String,
    /// The account is a sandbox.
    pub sandbox: bool,
}

impl fmt::Debug for GovernanceBinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GovernanceBinding").field("scope", &self.scope).finish_non_exhaustive()
    }
}

/// The governance agents of accounts.
#[async_trait]
pub trait GovernanceStore: Send + Sync + 'static {
    /// Puts an agent in the place of the account's earlier one. Without keys nothing is written: [`RegistryError::NoKeys`].
    async fn bind_governance(&self, binding: &GovernanceBinding) -> Result<()>;

    /// The account's agent.
    async fn governance(&self, scope: &str) -> Result<Option<GovernanceBinding>>;
}
