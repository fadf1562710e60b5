//! Sealing with the active key what other keys seal, so that those are no longer needed.

use crate::{
    Place, RegistryError, Resealed,
    sql::{
        Bind, HistoryRow, Row,
        requests::{self, Change, HISTORY_SEALED},
        webhooks,
    },
    store::{Store, Transaction},
    vault::{Tally, Vault, entry_place, place},
};

mod directives;
mod governance;
mod proposals;

type Result<T> = std::result::Result<T, RegistryError>;

/// One batch; see [`crate::Registry::reseal`].
pub(crate) async fn batch<S: Store>(
    store: &S,
    vault: &Vault,
    after: Option<&str>,
    limit: u32,
    dry_run: bool,
) -> Result<Resealed> {
    let active = vault.active_key().await?;
    if active.is_none() && !dry_run {
        return Err(RegistryError::NoKeys);
    }
    let active = active.as_deref();
    let mut done = match after.and_then(proposals::cursor) {
        Some(after) => proposals::batch(store, vault, active, after.as_ref(), limit, dry_run).await?,
        None => tasks(store, vault, active, after, limit, dry_run).await?,
    };
    if done.next.is_none() {
        directives::all(store, vault, active, dry_run, &mut done).await?;
        governance::all(store, vault, active, dry_run, &mut done).await?;
    }
    Ok(done)
}

async fn tasks<S: Store>(
    store: &S,
    vault: &Vault,
    active: Option<&str>,
    after: Option<&str>,
    limit: u32,
    dry_run: bool,
) -> Result<Resealed> {
    let rows = store.rows(requests::walk(after, limit)).await?;
    let mut done = Resealed::default();
    let mut tally = Tally::default();
    for row in &rows {
        let task = row.task_ref();
        match one(store, vault, &task.task_id, active, dry_run, &mut tally).await {
            Ok(resealed) => done.resealed += u64::from(resealed),
            Err(error @ RegistryError::Sealed { .. }) if !error.is_transient() => {
                tracing::warn!(%error, "a task is left as it is");
                done.unreadable += 1;
            }
            Err(error) => return Err(error),
        }
        done.tasks += 1;
    }
    done.values = tally.0;
    let last = rows.last().filter(|_| rows.len() == limit as usize);
    // After the last task come the proposals.
    done.next = match last {
        Some(row) => Some(row.task_ref().task_id),
        None => proposals::first(store).await?,
    };
    Ok(done)
}

/// One task: its row is locked, so nobody writes it meanwhile. Its version stays, since nothing changes that anyone sees.
async fn one<S: Store>(
    store: &S,
    vault: &Vault,
    task_id: &String,
    active: Option<&str>,
    dry_run: bool,
    tally: &mut Tally,
) -> Result<bool> {
    let mut transaction = if dry_run { store.read().await? } else { store.write().await? };
    let mut whole = requests::whole(task_id);
    if !dry_run {
        whole.push(S::DIALECT.lock());
    }
    let Some(row) = transaction.rows(whole).await?.pop() else { return Ok(false) };
    let history = transaction.history(requests::history([task_id])).await?;
    let task = row.task_ref();
    let webhook = transaction.webhooks(webhooks::by_task(task_id)).await?.pop();
    let body = webhook.and_then(|webhook| Some((webhook.idempotency_key, webhook.body_json?)));
    let (row_stale, entries_stale) = stale(row.clone(), history.clone(), active, tally);
    let body_stale = body.as_ref().is_some_and(|(_, stored)| tally.count(stored, active));
    let any = !row_stale.is_empty() || !entries_stale.is_empty() || body_stale;
    if dry_run {
        if let Some((key, stored)) = body {
            vault.open(&webhooks::body_place(&task, &key), stored).await?;
        }
        vault.open_row(row).await?;
        vault.open_history(&task, history).await?;
        return Ok(any);
    }
    let mut changes: Vec<Change> = Vec::with_capacity(row_stale.len());
    for (column, stored) in row_stale {
        changes.push((column, again(vault, &place(&task, column), stored).await?));
    }
    if !changes.is_empty() {
        transaction.execute(requests::update(task_id, changes)).await?;
    }
    if let Some((key, stored)) = body.filter(|_| body_stale) {
        let body = again(vault, &webhooks::body_place(&task, &key), stored).await?;
        transaction.execute(webhooks::update(task_id, vec![("body_json", body)])).await?;
    }
    for (entry, values) in entries_stale {
        let mut changes: Vec<Change> = Vec::with_capacity(values.len());
        for ((column, placed), stored) in values {
            changes.push((column, again(vault, &entry_place(&task, placed, &entry), stored).await?));
        }
        transaction.execute(requests::update_history(task_id, &entry, changes)).await?;
    }
    transaction.commit().await?;
    Ok(any)
}

async fn again(vault: &Vault, place: &Place<'_>, stored: String) -> Result<Bind> {
    let clear = vault.open(place, stored).await?;
    Ok(vault.seal(place, &clear).await?.into())
}

type Stale = Vec<(&'static str, String)>;
type StaleEntries = Vec<(String, Vec<((&'static str, &'static str), String)>)>;

/// The values of a task that another key seals, or none.
fn stale(mut row: Row, history: Vec<HistoryRow>, active: Option<&str>, tally: &mut Tally) -> (Stale, StaleEntries) {
    let mut stale = Stale::new();
    for (column, stored) in row.bodies() {
        if let Some(stored) = stored.take().filter(|stored| tally.count(stored, active)) {
            stale.push((column, stored));
        }
    }
    let mut entries = StaleEntries::new();
    for mut entry in history {
        let named = HISTORY_SEALED.into_iter().zip(entry.bodies());
        let of_entry: Vec<_> = named
            .filter(|(_, stored)| tally.count(stored, active))
            .map(|(names, stored)| (names, std::mem::take(stored)))
            .collect();
        if !of_entry.is_empty() {
            entries.push((entry.entry_key, of_entry));
        }
    }
    (stale, entries)
}
