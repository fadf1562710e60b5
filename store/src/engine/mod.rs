//! The registry on any database: each call locks a row, applies a rule, and writes what the rule changed.

mod governance;
mod ledger;
mod looking;
mod nonces;
mod proposals;
mod reset;
mod sandbox;
mod webhooks;

use crate::{
    Arm, Candidate, Claim, ClaimView, DirectView, Event, Health, Lease, NewClaim, Notification, Observation, OpenTasks,
    Reconciled, Registry, RegistryError, RegistryOptions, Resealed, TaskPage, Transition, Viewer, Watch,
    WebhookAttempt, WebhookDelivery, WebhookFilter, WebhookRecord, WebhookState, check, observe, reseal,
    rules::{self, Entry, Request, Step},
    sql::{self, HistoryRow, Row, Statement, list, requests, stored_key},
    store::{Store, Transaction},
    vault::Vault,
};
use async_trait::async_trait;
use chrono::Utc;
use handoff_proto::{
    v1::{
        AdcpError, Completion, Decision, HistoryEntry, Progress, Settlement, Standing, TaskRecord, TaskRef,
        completion::Outcome, decision::Kind,
    },
    wire::ListTasksRequest,
};
use ledger::Look;
use std::{collections::HashMap, time::Duration};

type Result<T> = std::result::Result<T, RegistryError>;

// A key that is found taken and then free again was released in between. Once is rare; more often than this it happens only to
// one of as many callers who all claim it and give it back.
const CLAIM_ATTEMPTS: usize = 50;
// SQLite takes at most 500 parts of one compound statement.
const ENTRIES_AT_ONCE: usize = 100;
const MAX_ROWS: u32 = 1_000;
// What the activity `record_dropped_signals` calls its entries.
const SIGNAL_DROPPED: &str = "signal_dropped";

/// A page of a list, as rows.
struct Page {
    rows: Vec<Row>,
    next_cursor: Option<String>,
    total: Option<u64>,
}

/// A registry on a database.
pub(crate) struct Engine<S> {
    store: S,
    vault: Vault,
    replay_ttl: i64,
    webhook_horizon: i64,
    proposal_grace: i64,
    watch: Watch,
}

impl<S: Store> Engine<S> {
    pub(crate) fn new(store: S, options: &RegistryOptions) -> Self {
        let micros = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self {
            store,
            vault: Vault::new(options.cipher.clone()),
            replay_ttl: micros(options.replay_ttl),
            webhook_horizon: micros(options.webhook_horizon),
            proposal_grace: micros(options.proposal_grace),
            watch: options.watch.clone(),
        }
    }

    fn step(&self) -> Step {
        Step::new(now(), self.replay_ttl)
    }

    /// Locks a task's row, applies a rule to it, and writes what the rule changed. `None`: there is no such row.
    async fn apply<T: Send>(
        &self,
        task: &TaskRef,
        rule: impl FnOnce(&mut Request, &mut Step) -> T + Send,
    ) -> Result<Option<T>> {
        self.apply_looking(task, Look::Away, rule).await
    }

    /// The same for a rule that may reserve or consume the proposal that the request names.
    async fn apply_looking<T: Send>(
        &self,
        task: &TaskRef,
        look: Look<'_>,
        rule: impl FnOnce(&mut Request, &mut Step) -> T + Send,
    ) -> Result<Option<T>> {
        self.apply_to(task, requests::lock(S::DIALECT, task), requests::changes, look, rule).await
    }

    async fn apply_to<T: Send>(
        &self,
        task: &TaskRef,
        lock: Statement,
        changes: impl Fn(&Request, &Request) -> Result<Vec<requests::Change>> + Send,
        look: Look<'_>,
        rule: impl FnOnce(&mut Request, &mut Step) -> T + Send,
    ) -> Result<Option<T>> {
        if !check::may_exist(task) {
            return Ok(None);
        }
        let mut transaction = self.store.write().await?;
        let Some(before) = self.one(transaction.rows(lock).await?).await? else { return Ok(None) };
        let mut request = before.clone();
        let mut step = self.step();
        step.ledger = self.look(&mut transaction, &before, look).await?;
        let result = rule(&mut request, &mut step);
        if request != before {
            request.version = before.version + 1;
            // Clocks differ between processes; time never goes back within a request.
            request.updated_at = step.now.max(before.updated_at);
            let changes = self.vault.seal_changes(&request.task, changes(&before, &request)?).await?;
            transaction.execute(requests::update(&request.task.task_id, changes)).await?;
        }
        self.follow(&mut transaction, &before, &request, &mut step).await?;
        if request.owes_webhook() && !before.owes_webhook() {
            self.owe(&mut transaction, &request, request.completed_at.unwrap_or_else(now)).await?;
        }
        if step.forgets {
            for statement in sql::webhooks::delete(&request.task.task_id) {
                transaction.execute(statement).await?;
            }
            transaction.execute(requests::delete_history(&request.task.task_id)).await?;
        }
        // The entries are written sealed, and told in clear.
        let events = observe::events(&before, &request, &step.entries);
        let drops_signals = step.entries.iter().any(|entry| entry.event == SIGNAL_DROPPED);
        let appended = self.append(&mut transaction, &request.task, step.entries).await?;
        transaction.commit().await?;
        if let Some(observer) = self.watch.observer() {
            let (verb, arm) = (request.task.verb.as_str(), Arm::of(&request));
            let dropped = (drops_signals && appended > 0).then_some(Event::SignalsDropped { number: appended });
            for event in events.into_iter().chain(dropped) {
                observer.wrote(&Transition { verb, arm, event });
            }
        }
        Ok(Some(result))
    }

    /// One row, and nothing else.
    async fn request(&self, task: &TaskRef) -> Result<Option<Request>> {
        if !check::may_exist(task) {
            return Ok(None);
        }
        self.one(self.store.rows(requests::by_ref(task)).await?).await
    }

    async fn one(&self, mut rows: Vec<Row>) -> Result<Option<Request>> {
        let Some(row) = rows.pop() else { return Ok(None) };
        self.vault.open_row(row).await?.try_into().map(Some)
    }

    async fn records(&self, rows: Vec<Row>, history: Vec<HistoryRow>) -> Result<Vec<TaskRecord>> {
        let mut history = by_task(history);
        let mut records = Vec::with_capacity(rows.len());
        for row in rows {
            let entries = match history.remove(row.task_id()) {
                Some(entries) => self.vault.open_history(&row.task_ref(), entries).await?,
                None => Vec::new(),
            };
            let row = self.vault.open_row(row).await?;
            records.push(row.record(entries.into_iter().map(Into::into).collect())?);
        }
        Ok(records)
    }

    /// Appends to a locked request's history; how many entries were not there yet.
    async fn append(&self, transaction: &mut S::Transaction, task: &TaskRef, entries: Vec<Entry>) -> Result<u64> {
        let entries = self.vault.seal_entries(task, entries).await?;
        let mut appended = 0;
        for entries in entries.chunks(ENTRIES_AT_ONCE) {
            appended += transaction.execute(requests::append_history(&task.task_id, entries)).await?;
        }
        Ok(appended)
    }

    /// `None`: the key was released while this looked. `key` is the claim's own, before it was made what is stored.
    async fn try_claim(&self, claim: &NewClaim, key: Option<&str>, lease: Option<&Lease>) -> Result<Option<Claim>> {
        let mut transaction = self.store.write().await?;
        let mut step = self.step();
        let request = Request { lease: lease.copied(), ..Request::new(claim, &mut step) };
        let mut columns = requests::columns(&request)?;
        if let Some(webhook) = &claim.webhook {
            columns.push((requests::WEBHOOK, (&webhook.config_json).into()));
        }
        let columns = self.vault.seal_changes(&claim.task, columns).await?;
        if transaction.execute(requests::insert(&claim.task, key, columns)).await? > 0 {
            self.append(&mut transaction, &claim.task, step.entries).await?;
            transaction.commit().await?;
            return Ok(Some(Claim::New));
        }
        let own = requests::lock_id(S::DIALECT, &claim.task.task_id);
        if let Some(own) = self.one(transaction.rows(own).await?).await? {
            let repeated = rules::claim::repeated(&own, claim, step.now);
            return repeated.map(Some).ok_or_else(|| RegistryError::InvalidQuery {
                field: "task_id",
                message: "belongs to another request".to_owned(),
            });
        }
        let Some(key) = key else { return Ok(None) };
        let known = requests::lock_key(S::DIALECT, &claim.task, key);
        let known = self.one(transaction.rows(known).await?).await?;
        Ok(known.map(|known| rules::claim::known(&known, claim, step.now)))
    }

    /// A claim with its key as it is stored, and the key itself.
    fn storable_claim(&self, claim: &NewClaim) -> Result<(NewClaim, Option<String>)> {
        check::claim(claim)?;
        if !self.vault.seals() && claim.webhook.as_ref().is_some_and(|webhook| webhook.has_secret) {
            return Err(RegistryError::NoKeys);
        }
        let key = claim.idempotency_key.clone();
        let stored = key.as_ref().map(|key| stored_key(&claim.task, key));
        Ok((NewClaim { idempotency_key: stored, ..claim.clone() }, key))
    }

    async fn claim_with(&self, claim: &NewClaim, lease: Option<&Lease>) -> Result<Claim> {
        let (claim, key) = self.storable_claim(claim)?;
        for _ in 0..CLAIM_ATTEMPTS {
            if let Some(claim) = self.try_claim(&claim, key.as_deref(), lease).await? {
                return Ok(claim);
            }
        }
        Err(RegistryError::Unavailable("the key changes hands too fast".to_owned()))
    }
}

#[async_trait]
impl<S: Store> Registry for Engine<S> {
    async fn claim(&self, claim: &NewClaim) -> Result<Claim> {
        self.claim_with(claim, None).await
    }

    async fn claim_directly(&self, claim: &NewClaim, lease: &Lease) -> Result<Claim> {
        self.claim_with(claim, Some(lease)).await
    }

    async fn direct_view(&self, task: &TaskRef) -> Result<DirectView> {
        let request = self.request(task).await?;
        let missing = DirectView::Ended(ClaimView::Missing);
        Ok(request.map_or(missing, |request| rules::direct::view(&request, now())))
    }

    async fn take_over(&self, task: &TaskRef, lease: &Lease) -> Result<bool> {
        let taken = self.apply(task, |request, step| rules::direct::take_over(request, lease, step)).await?;
        Ok(taken.unwrap_or(false))
    }

    async fn record_direct(&self, task: &TaskRef, decision: &Decision, lease: &Lease) -> Result<Standing> {
        let kind = check::decision(decision)?;
        let look = Look::Conclude(result_of(decision));
        let rule = |request: &mut Request, step: &mut Step| rules::direct::record(request, kind, lease, step);
        let standing = self.apply_looking(task, look, rule).await?;
        Ok(standing.unwrap_or_else(rules::decide::void))
    }

    async fn hand_over(&self, task: &TaskRef, lease: Option<&Lease>) -> Result<()> {
        self.apply(task, |request, step| rules::direct::hand_over(request, lease, step)).await?;
        Ok(())
    }

    async fn claim_view(&self, task: &TaskRef) -> Result<ClaimView> {
        let request = self.request(task).await?;
        Ok(request.as_ref().map_or(ClaimView::Missing, rules::claim::view))
    }

    async fn standing(&self, task: &TaskRef) -> Result<Standing> {
        let request = self.request(task).await?;
        Ok(request.as_ref().map_or_else(rules::decide::void, rules::decide::standing))
    }

    async fn begin(&self, task: &TaskRef) -> Result<Standing> {
        let Some(request) = self.request(task).await? else { return Ok(rules::decide::void()) };
        if request.proposal.is_none() || !request.may_be_decided() {
            return Ok(rules::decide::standing(&request));
        }
        let standing = self.apply_looking(task, Look::Reserve, rules::purchase::begin).await?;
        Ok(standing.unwrap_or_else(rules::decide::void))
    }

    async fn record_decision(&self, task: &TaskRef, decision: &Decision) -> Result<Standing> {
        let kind = check::decision(decision)?;
        let look = Look::Conclude(result_of(decision));
        let rule = |request: &mut Request, step: &mut Step| rules::decide::record(request, kind, step);
        let standing = self.apply_looking(task, look, rule).await?;
        Ok(standing.unwrap_or_else(rules::decide::void))
    }

    async fn accept(&self, task: &TaskRef) -> Result<Standing> {
        let standing = self.apply(task, rules::decide::accept).await?;
        Ok(standing.unwrap_or_else(rules::decide::void))
    }

    async fn update_progress(&self, task: &TaskRef, progress: &Progress) -> Result<bool> {
        check::progress(progress)?;
        let written = self.apply(task, |request, step| rules::finish::progress(request, progress, step)).await?;
        Ok(written.unwrap_or(false))
    }

    async fn begin_notification(&self, task: &TaskRef, at_most: u32) -> Result<Option<Notification>> {
        let begin = |request: &mut Request, step: &mut Step| rules::finish::begin_notification(request, at_most, step);
        let Some(number) = self.apply(task, begin).await?.flatten() else { return Ok(None) };
        let notification = self.notification(task, number).await?;
        if notification.is_none() {
            self.end_notification(task, number).await?;
        }
        Ok(notification)
    }

    async fn end_notification(&self, task: &TaskRef, number: u32) -> Result<()> {
        self.apply(task, |request, _| rules::finish::end_notification(request, number)).await?;
        Ok(())
    }

    async fn settle(&self, task: &TaskRef, completion: &Completion) -> Result<Option<Settlement>> {
        let completion = check::completion(completion)?;
        let result = match &completion.outcome {
            Some(Outcome::ResultJson(result)) => Some(result.as_str()),
            _ => None,
        };
        let rule = |request: &mut Request, step: &mut Step| rules::finish::settle(request, &completion, step);
        let recorded = self.apply_looking(task, Look::Conclude(result), rule).await?;
        Ok(recorded.flatten())
    }

    async fn discard(&self, task: &TaskRef, error: &AdcpError) -> Result<Option<Settlement>> {
        let error = error.clone().without_write_only();
        let recorded = self.apply(task, |request, step| rules::finish::discard(request, &error, step)).await?;
        Ok(recorded.flatten())
    }

    async fn append_history(&self, task: &TaskRef, entries: &[(String, HistoryEntry)]) -> Result<()> {
        self.apply(task, |request, step| rules::maintain::note(request, entries, step)).await?;
        Ok(())
    }

    async fn get(&self, viewer: &Viewer, task_id: &str, include_history: bool) -> Result<Option<TaskRecord>> {
        let Some(viewer) = check::viewer(viewer, task_id) else { return Ok(None) };
        let visible = requests::by_viewer(&viewer, task_id);
        if !include_history {
            let rows = self.store.rows(visible).await?;
            return Ok(self.records(rows, Vec::new()).await?.pop());
        }
        let mut transaction = self.store.read().await?;
        let rows = transaction.rows(visible).await?;
        let history = transaction.history(requests::history([&task_id.to_owned()])).await?;
        transaction.commit().await?;
        Ok(self.records(rows, history).await?.pop())
    }

    async fn list(&self, viewer: &Viewer, request: &ListTasksRequest) -> Result<TaskPage> {
        let list = list::List::new(viewer, request)?;
        if list.is_empty() {
            return Ok(TaskPage { total: Some(0), ..Default::default() });
        }
        let mut transaction = self.store.read().await?;
        let page = if list.looks_into_contexts() && self.vault.seals() {
            looking::page::<S>(&mut transaction, &self.vault, &list).await?
        } else {
            let mut rows = transaction.rows(list.page(S::DIALECT)).await?;
            let total = transaction.number(list.count(S::DIALECT)).await?;
            let next_cursor = list.cut(&mut rows)?;
            Page { rows, next_cursor, total: u64::try_from(total).ok().filter(|_| total <= list::MAX_TOTAL) }
        };
        let history = if request.include_history && !page.rows.is_empty() {
            let ids: Vec<String> = page.rows.iter().map(|row| row.task_ref().task_id).collect();
            transaction.history(requests::history(&ids)).await?
        } else {
            Vec::new()
        };
        transaction.commit().await?;
        let tasks = self.records(page.rows, history).await?;
        Ok(TaskPage { tasks, next_cursor: page.next_cursor, total: page.total })
    }

    async fn find(&self, viewer: &Viewer, task_id: &str) -> Result<Option<TaskRef>> {
        let Some(viewer) = check::viewer(viewer, task_id) else { return Ok(None) };
        let rows = self.store.rows(requests::reference_by_viewer(&viewer, task_id)).await?;
        Ok(rows.first().map(Row::task_ref))
    }

    async fn webhook(&self, task: &TaskRef) -> Result<Option<String>> {
        if !check::may_exist(task) {
            return Ok(None);
        }
        let Some(row) = self.store.rows(requests::webhook(task)).await?.pop() else { return Ok(None) };
        Ok(self.vault.open_row(row).await?.into_webhook())
    }

    async fn webhook_delivery(&self, task: &TaskRef) -> Result<Option<WebhookDelivery>> {
        if !check::may_exist(task) {
            return Ok(None);
        }
        self.deliverable(task).await
    }

    async fn record_webhook(
        &self,
        task: &TaskRef,
        idempotency_key: &str,
        attempt: Option<&WebhookAttempt>,
        state: WebhookState,
    ) -> Result<Option<WebhookState>> {
        if !check::may_exist(task) {
            return Ok(None);
        }
        self.log_attempt(task, idempotency_key, attempt, state).await
    }

    async fn renew_webhook(&self, task: &TaskRef) -> Result<Option<WebhookState>> {
        if !check::may_exist(task) {
            return Ok(None);
        }
        self.renew(task).await
    }

    async fn webhooks(&self, filter: &WebhookFilter, limit: u32) -> Result<Vec<WebhookRecord>> {
        let rows = self.store.webhooks(sql::webhooks::list(filter, limit.min(MAX_ROWS))).await?;
        rows.iter().map(sql::webhooks::WebhookRow::record).collect()
    }

    async fn webhook_log(&self, task_id: &str) -> Result<Option<(WebhookRecord, Vec<WebhookAttempt>)>> {
        if task_id.contains('\0') {
            return Ok(None);
        }
        let Some(row) = self.store.webhooks(sql::webhooks::by_task(task_id)).await?.pop() else { return Ok(None) };
        let attempts = self.store.attempts(sql::webhooks::attempts(task_id)).await?;
        Ok(Some((row.record()?, attempts.into_iter().map(Into::into).collect())))
    }

    async fn unfinished(&self, updated_before: i64, after: Option<&str>, limit: u32) -> Result<Vec<Observation>> {
        let after = after.filter(|after| !after.contains('\0'));
        let rows = self.store.rows(requests::unfinished(updated_before, after, limit.min(MAX_ROWS))).await?;
        let mut observations = Vec::with_capacity(rows.len());
        for row in rows {
            let request = Request::try_from(row)?;
            observations.extend(rules::maintain::observe(request, &self.step()));
        }
        Ok(observations)
    }

    async fn reconcile(&self, observed: &Observation, error: &AdcpError) -> Result<Reconciled> {
        let error = error.clone().without_write_only();
        let rule = |request: &mut Request, step: &mut Step| rules::maintain::reconcile(request, observed, &error, step);
        Ok(self.apply(&observed.task, rule).await?.unwrap_or(Reconciled::Changed))
    }

    async fn purgeable(&self, updated_before: i64, after: Option<&Candidate>, limit: u32) -> Result<Vec<Candidate>> {
        let rows = self.store.rows(requests::purgeable(updated_before, now(), after, limit.min(MAX_ROWS))).await?;
        Ok(rows.iter().map(Row::candidate).collect())
    }

    async fn purge(&self, task: &TaskRef) -> Result<bool> {
        // Without its bodies, so that what can't be opened any more can still be forgotten.
        let lock = requests::lock_purgeable(S::DIALECT, task, now());
        let changes = |_: &Request, tombstone: &Request| requests::tombstone(tombstone);
        let purged = self.apply_to(task, lock, changes, Look::Away, rules::maintain::purge);
        Ok(purged.await?.unwrap_or(false))
    }

    async fn reseal(&self, after: Option<&str>, limit: u32, dry_run: bool) -> Result<Resealed> {
        let after = after.filter(|after| !after.contains('\0'));
        reseal::batch(&self.store, &self.vault, after, limit.clamp(1, MAX_ROWS), dry_run).await
    }

    async fn open_tasks(&self) -> Result<Vec<OpenTasks>> {
        let rows = self.store.open_rows(requests::open_tasks(S::DIALECT)).await?;
        Ok(rows.into_iter().map(Into::into).collect())
    }

    async fn tombstones(&self, purged_before: i64, after: Option<&Candidate>, limit: u32) -> Result<Vec<Candidate>> {
        let rows = self.store.rows(requests::tombstones(purged_before, now(), after, limit.min(MAX_ROWS))).await?;
        Ok(rows.iter().map(Row::candidate).collect())
    }

    async fn forget(&self, task: &TaskRef) -> Result<bool> {
        if !check::may_exist(task) {
            return Ok(false);
        }
        let mut transaction = self.store.write().await?;
        // Without its bodies, as it is purged.
        let request = self.one(transaction.rows(requests::lock_outline(S::DIALECT, task)).await?).await?;
        if !request.is_some_and(|request| rules::maintain::may_forget(&request, now())) {
            return Ok(false);
        }
        transaction.execute(requests::delete_history(&task.task_id)).await?;
        transaction.execute(requests::delete(&task.task_id)).await?;
        transaction.commit().await?;
        Ok(true)
    }

    async fn health(&self) -> Result<Health> {
        Ok(Health { backend: S::BACKEND, schema_version: self.store.schema_version().await? })
    }

    async fn close(&self) {
        self.store.close().await;
    }
}

fn by_task(rows: Vec<HistoryRow>) -> HashMap<String, Vec<HistoryRow>> {
    let mut tasks: HashMap<String, Vec<HistoryRow>> = HashMap::new();
    for row in rows {
        tasks.entry(row.task_id.clone()).or_default().push(row);
    }
    tasks
}

fn result_of(decision: &Decision) -> Option<&str> {
    match &decision.kind {
        Some(Kind::Complete(complete)) => Some(&complete.result_json),
        _ => None,
    }
}

fn now() -> i64 {
    Utc::now().timestamp_micros()
}
