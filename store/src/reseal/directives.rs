//! The same for directives, which come last, and all at once: there are few of them, and none for long.

use super::Result;
use crate::{
    RegistryError, Resealed,
    sql::directives::{self as sql, DirectiveRow},
    store::{Store, Transaction},
    vault::{Tally, Vault},
};

/// All of them. None counts as a task.
pub(super) async fn all<S: Store>(
    store: &S,
    vault: &Vault,
    active: Option<&str>,
    dry_run: bool,
    done: &mut Resealed,
) -> Result<()> {
    let mut tally = Tally(std::mem::take(&mut done.values));
    for row in store.directives(sql::all()).await? {
        match one(store, vault, row, active, dry_run, &mut tally).await {
            Ok(()) => {}
            Err(error @ RegistryError::Sealed { .. }) if !error.is_transient() => {
                tracing::warn!(%error, "a directive is left as it is");
                done.unreadable += 1;
            }
            Err(error) => return Err(error),
        }
    }
    done.values = tally.0;
    Ok(())
}

async fn one<S: Store>(
    store: &S,
    vault: &Vault,
    row: DirectiveRow,
    active: Option<&str>,
    dry_run: bool,
    tally: &mut Tally,
) -> Result<()> {
    let task = row.task_ref();
    if dry_run {
        tally.count(&row.decision_json, active);
        vault.open_decision(&task, row.decision_json).await?;
        return Ok(());
    }
    let mut transaction = store.write().await?;
    // Another may have taken its place, or it may be used up.
    let Some(row) = transaction.directives(sql::lock(S::DIALECT, &task)).await?.pop() else { return Ok(()) };
    let task = row.task_ref();
    if tally.count(&row.decision_json, active) {
        let clear = vault.open_decision(&task, row.decision_json).await?;
        let sealed = vault.seal_directive(&task, &clear).await?;
        transaction.execute(sql::update_decision(&task, &sealed)).await?;
    }
    transaction.commit().await
}
