//! Nonces of signed requests.

use super::{Engine, Result};
use crate::{
    NonceStore, NonceUse, UsedNonce, check,
    sql::nonces,
    store::{Store, Transaction},
};
use async_trait::async_trait;

#[async_trait]
impl<S: Store> NonceStore for Engine<S> {
    async fn use_nonce(&self, used: &UsedNonce) -> Result<NonceUse> {
        for (field, text) in [("keyid", &used.keyid), ("nonce", &used.nonce)] {
            if text.contains('\0') {
                return Err(check::invalid(field, "can't be stored"));
            }
        }
        let mut transaction = self.store.write().await?;
        if transaction.execute(nonces::insert(used)).await? == 0 {
            return Ok(NonceUse::Again);
        }
        transaction.execute(nonces::count(used)).await?;
        if transaction.number(nonces::alive(used)).await? > i64::from(used.at_most) {
            return Ok(NonceUse::TooMany);
        }
        transaction.commit().await?;
        Ok(NonceUse::First)
    }

    async fn prune_nonces(&self, now: i64) -> Result<()> {
        for statement in nonces::prune(now) {
            // One at a time: a lock is not held while another is waited for.
            let mut transaction = self.store.write().await?;
            transaction.execute(statement).await?;
            transaction.commit().await?;
        }
        Ok(())
    }
}
