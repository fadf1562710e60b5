//! The same for proposals, which come after the tasks.

use super::Result;
use crate::{
    Proposal, ProposalKey, RegistryError, Resealed,
    sql::proposals::{self as sql, HISTORY_SEALED},
    store::{Store, Transaction},
    vault::{Tally, Vault},
};

// No task id begins with it.
const PREFIX: &str = "\u{1}proposals";

/// The cursor of the first batch, if there are any.
pub(super) async fn first<S: Store>(store: &S) -> Result<Option<String>> {
    Ok(store.proposals(sql::walk(None, 1)).await?.first().map(|_| next(None)))
}

/// The cursor of the batch behind this proposal, or of the first.
fn next(after: Option<&ProposalKey>) -> String {
    let after = after.map(|key| [&key.scope, &key.principal, &key.proposal_id]);
    format!("{PREFIX}{}", serde_json::to_string(&after).unwrap_or_default())
}

/// What a cursor stands for; `None`: it is one of the tasks'.
pub(super) fn cursor(after: &str) -> Option<Option<ProposalKey>> {
    let key: Option<[String; 3]> = serde_json::from_str(after.strip_prefix(PREFIX)?).ok()?;
    Some(key.map(|[scope, principal, proposal_id]| ProposalKey { scope, principal, proposal_id }))
}

/// One batch; each proposal counts as a task.
pub(super) async fn batch<S: Store>(
    store: &S,
    vault: &Vault,
    active: Option<&str>,
    after: Option<&ProposalKey>,
    limit: u32,
    dry_run: bool,
) -> Result<Resealed> {
    let rows = store.proposals(sql::walk(after, limit)).await?;
    let keys: Vec<ProposalKey> =
        rows.into_iter().map(|row| Proposal::try_from(row).map(|proposal| proposal.key)).collect::<Result<_>>()?;
    let mut done = Resealed::default();
    let mut tally = Tally::default();
    for key in &keys {
        match one(store, vault, key, active, dry_run, &mut tally).await {
            Ok(resealed) => done.resealed += u64::from(resealed),
            Err(error @ RegistryError::Sealed { .. }) if !error.is_transient() => {
                tracing::warn!(%error, "a proposal is left as it is");
                done.unreadable += 1;
            }
            Err(error) => return Err(error),
        }
        done.tasks += 1;
    }
    done.values = tally.0;
    done.next = keys.last().filter(|_| keys.len() == limit as usize).map(|key| next(Some(key)));
    Ok(done)
}

async fn one<S: Store>(
    store: &S,
    vault: &Vault,
    key: &ProposalKey,
    active: Option<&str>,
    dry_run: bool,
    tally: &mut Tally,
) -> Result<bool> {
    let mut transaction = if dry_run { store.read().await? } else { store.write().await? };
    let whole = if dry_run { sql::whole(key) } else { sql::locking(sql::whole(key), S::DIALECT) };
    let Some(row) = transaction.proposals(whole).await?.pop() else { return Ok(false) };
    let stored = row.body_json.unwrap_or_default();
    let body_stale = tally.count(&stored, active);
    let mut any = body_stale;
    let body = vault.open_body(key, stored).await?;
    if body_stale && !dry_run {
        let sealed = vault.seal_body(key, &body).await?;
        transaction.execute(sql::update_body(key, &sealed)).await?;
    }
    for mut entry in transaction.proposal_history(sql::history(key)).await? {
        let stale = entry.bodies().map(|text| tally.count(text, active)).contains(&true);
        any |= stale;
        if !stale || dry_run {
            vault.open_entry(key, entry).await?;
            continue;
        }
        let version = entry.version;
        let texts = vault.reseal_entry(key, entry).await?.map(Into::into);
        let changes = HISTORY_SEALED.into_iter().zip(texts).collect();
        transaction.execute(sql::update_history(key, version, changes)).await?;
    }
    if !dry_run {
        transaction.commit().await?;
    }
    Ok(any)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_of_proposals_are_not_those_of_tasks() {
        let key = ProposalKey { scope: "a\"".into(), principal: String::new(), proposal_id: "p".into() };
        assert_eq!(cursor(&next(Some(&key))), Some(Some(key)));
        assert_eq!(cursor(&next(None)), Some(None));
        assert_eq!(cursor("task_1"), None);
    }
}
