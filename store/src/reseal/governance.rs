//! The same for the credentials of governance agents, which come after the directives: a row each, and one for an account at most.

use super::Result;
use crate::{
    RegistryError, Resealed,
    sql::governance::{self as sql, GovernanceRow},
    store::{Store, Transaction},
    vault::{Tally, Vault},
};

// How many are read at once.
const ROWS: u32 = 500;

/// All of them. None counts as a task.
pub(super) async fn all<S: Store>(
    store: &S,
    vault: &Vault,
    active: Option<&str>,
    dry_run: bool,
    done: &mut Resealed,
) -> Result<()> {
    let mut tally = Tally(std::mem::take(&mut done.values));
    let mut after = String::new();
    loop {
        let rows = store.governance(sql::walk(&after, ROWS)).await?;
        let Some(last) = rows.last() else { break };
        after.clone_from(&last.scope);
        for row in rows {
            match one(store, vault, row, active, dry_run, &mut tally).await {
                Ok(()) => {}
                Err(error @ RegistryError::Sealed { .. }) if !error.is_transient() => {
                    tracing::warn!(%error, "a governance agent's credentials are left as they are");
                    done.unreadable += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }
    done.values = tally.0;
    Ok(())
}

async fn one<S: Store>(
    store: &S,
    vault: &Vault,
    row: GovernanceRow,
    active: Option<&str>,
    dry_run: bool,
    tally: &mut Tally,
) -> Result<()> {
    if dry_run {
        tally.count(&row.credentials, active);
        return vault.open_binding(row).await.map(drop);
    }
    let mut transaction = store.write().await?;
    // Another may have taken its place.
    let Some(row) = transaction.governance(sql::lock(S::DIALECT, &row.scope)).await?.pop() else { return Ok(()) };
    if tally.count(&row.credentials, active) {
        let clear = vault.open_binding(row).await?;
        let sealed = vault.seal_credentials(&clear.scope, &clear.url, &clear.credentials).await?;
        transaction.execute(sql::update_credentials(&clear.scope, &sealed)).await?;
    }
    transaction.commit().await
}
