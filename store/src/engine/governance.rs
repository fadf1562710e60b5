//! The governance agents of accounts. One statement each: the last one that names an agent is right.

use super::{Engine, Result};
use crate::{
    GovernanceBinding, GovernanceStore, RegistryError, check,
    sql::governance,
    store::{Store, Transaction},
};
use async_trait::async_trait;

#[async_trait]
impl<S: Store> GovernanceStore for Engine<S> {
    async fn bind_governance(&self, binding: &GovernanceBinding) -> Result<()> {
        check::governance(binding)?;
        if !self.vault.seals() {
            return Err(RegistryError::NoKeys);
        }
        let sealed = self.vault.seal_credentials(&binding.scope, &binding.url, &binding.credentials).await?;
        let mut transaction = self.store.write().await?;
        transaction.execute(governance::put(binding, &sealed)).await?;
        transaction.commit().await
    }

    async fn governance(&self, scope: &str) -> Result<Option<GovernanceBinding>> {
        if scope.contains('\0') {
            return Ok(None);
        }
        match self.store.governance(governance::of(scope)).await?.pop() {
            Some(row) => self.vault.open_binding(row).await.map(Some),
            None => Ok(None),
        }
    }
}
