//! The registry on any database: each call locks a row, applies a rule, and writes what the rule changed.

use crate::{
    Claim, ClaimView, Health, NewClaim, Observation, Reconciled, Registry, RegistryError, RegistryOptions, TaskPage,
    Viewer, check,
    rules::{self, Entry, Request, Step},
    sql::{HistoryRow, list, requests},
    store::{Store, Transaction},
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
use std::collections::HashMap;

type Result<T> = std::result::Result<T, RegistryError>;

// A key that is found taken and then free again was released in between. Once is rare.
const CLAIM_ATTEMPTS: usize = 10;
// SQLite takes at most 500 parts of one compound statement.
const ENTRIES_AT_ONCE: usize = 100;
const MAX_ROWS: u32 = 1_000;

/// A registry on a database.
pub(crate) struct Engine<S> {
    store: S,
    replay_ttl: i64,
}

impl<S: Store> Engine<S> {
    pub(crate) fn new(store: S, options: &RegistryOptions) -> Self {
        Self { store, replay_ttl: i64::try_from(options.replay_ttl.as_micros()).unwrap_or(i64::MAX) }
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
        if !check::may_exist(task) {
            return Ok(None);
        }
        let mut transaction = self.store.write().await?;
        let Some(before) = one(transaction.rows(requests::lock(S::DIALECT, task)).await?)? else { return Ok(None) };
        let mut request = before.clone();
        let mut step = self.step();
        let result = rule(&mut request, &mut step);
        if request != before {
            request.version = before.version + 1;
            // Clocks differ between processes; time never goes back within a request.
            request.updated_at = step.now.max(before.updated_at);
            transaction.execute(requests::update(&request)?).await?;
        }
        if step.forgets {
            transaction.execute(requests::delete_history(&request.task.task_id)).await?;
        }
        append(&mut transaction, &request.task.task_id, &step.entries).await?;
        transaction.commit().await?;
        Ok(Some(result))
    }

    /// One row, and nothing else.
    async fn request(&self, task: &TaskRef) -> Result<Option<Request>> {
        if !check::may_exist(task) {
            return Ok(None);
        }
        one(self.store.rows(requests::by_ref(task)).await?)
    }

    /// `None`: the key was released while this looked.
    async fn try_claim(&self, claim: &NewClaim) -> Result<Option<Claim>> {
        let mut transaction = self.store.write().await?;
        let mut step = self.step();
        let request = Request::new(claim, &mut step);
        if transaction.execute(requests::insert(&request)?).await? > 0 {
            append(&mut transaction, &claim.task.task_id, &step.entries).await?;
            transaction.commit().await?;
            return Ok(Some(Claim::New));
        }
        let own = requests::lock_id(S::DIALECT, &claim.task.task_id);
        if let Some(own) = one(transaction.rows(own).await?)? {
            let repeated = rules::claim::repeated(&own, claim, step.now);
            return repeated.map(Some).ok_or_else(|| RegistryError::InvalidQuery {
                field: "task_id",
                message: "belongs to another request".to_owned(),
            });
        }
        let Some(key) = &claim.idempotency_key else { return Ok(None) };
        let known = requests::lock_key(S::DIALECT, &claim.task, key);
        let known = one(transaction.rows(known).await?)?;
        Ok(known.map(|known| rules::claim::known(&known, claim, step.now)))
    }
}

#[async_trait]
impl<S: Store> Registry for Engine<S> {
    async fn claim(&self, claim: &NewClaim) -> Result<Claim> {
        check::claim(claim)?;
        for _ in 0..CLAIM_ATTEMPTS {
            if let Some(claim) = self.try_claim(claim).await? {
                return Ok(claim);
            }
        }
        Err(RegistryError::Unavailable("the key changes hands too fast".to_owned()))
    }

    async fn claim_view(&self, task: &TaskRef) -> Result<ClaimView> {
        let request = self.request(task).await?;
        Ok(request.as_ref().map_or(ClaimView::Missing, rules::claim::view))
    }

    async fn standing(&self, task: &TaskRef) -> Result<Standing> {
        let request = self.request(task).await?;
        Ok(request.as_ref().map_or_else(rules::decide::void, rules::decide::standing))
    }

    async fn record_decision(&self, task: &TaskRef, decision: &Decision) -> Result<Standing> {
        let Some(kind) = decision.kind.clone() else { return Err(check::invalid("decision.kind", "is missing")) };
        match &kind {
            Kind::Complete(complete) => check::text("decision.complete.result_json", &complete.result_json)?,
            Kind::Void(_) => return Err(check::invalid("decision.kind", "void is not a decision")),
            _ => {}
        }
        let standing = self.apply(task, |request, step| rules::decide::record(request, kind, step)).await?;
        Ok(standing.unwrap_or_else(rules::decide::void))
    }

    async fn accept(&self, task: &TaskRef) -> Result<Standing> {
        let standing = self.apply(task, rules::decide::accept).await?;
        Ok(standing.unwrap_or_else(rules::decide::void))
    }

    async fn update_progress(&self, task: &TaskRef, progress: &Progress) -> Result<bool> {
        let progress =
            serde_json::to_string(progress).map_err(|error| check::invalid("progress", error.to_string()))?;
        let written = self.apply(task, |request, step| rules::finish::progress(request, progress, step)).await?;
        Ok(written.unwrap_or(false))
    }

    async fn settle(&self, task: &TaskRef, completion: &Completion) -> Result<Option<Settlement>> {
        match &completion.outcome {
            Some(Outcome::ResultJson(result)) => check::text("completion.result_json", result)?,
            Some(_) => {}
            None => return Err(check::invalid("completion.outcome", "is missing")),
        }
        let recorded = self.apply(task, |request, step| rules::finish::settle(request, completion, step)).await?;
        Ok(recorded.flatten())
    }

    async fn discard(&self, task: &TaskRef, error: &AdcpError) -> Result<Option<Settlement>> {
        let recorded = self.apply(task, |request, step| rules::finish::discard(request, error, step)).await?;
        Ok(recorded.flatten())
    }

    async fn append_history(&self, task: &TaskRef, entries: &[(String, HistoryEntry)]) -> Result<()> {
        self.apply(task, |request, step| rules::maintain::note(request, entries, step)).await?;
        Ok(())
    }

    async fn get(&self, viewer: &Viewer, task_id: &str, include_history: bool) -> Result<Option<TaskRecord>> {
        let Some(viewer) = check::viewer(viewer, task_id) else { return Ok(None) };
        let visible = requests::by_viewer(&viewer, task_id, true);
        if !include_history {
            let row = self.store.rows(visible).await?.pop();
            return row.map(|row| row.record(Vec::new())).transpose();
        }
        let mut transaction = self.store.read().await?;
        let row = transaction.rows(visible).await?.pop();
        let history = transaction.history(requests::history([&task_id.to_owned()])).await?;
        transaction.commit().await?;
        row.map(|row| row.record(history.into_iter().map(Into::into).collect())).transpose()
    }

    async fn list(&self, viewer: &Viewer, request: &ListTasksRequest) -> Result<TaskPage> {
        let list = list::List::new(viewer, request)?;
        if list.is_empty() {
            return Ok(TaskPage { total: Some(0), ..Default::default() });
        }
        let mut transaction = self.store.read().await?;
        let mut rows = transaction.rows(list.page(S::DIALECT)).await?;
        let total = transaction.number(list.count(S::DIALECT)).await?;
        let next_cursor = list.cut(&mut rows)?;
        let history = if request.include_history && !rows.is_empty() {
            let ids: Vec<String> = rows.iter().map(|row| row.task_ref().task_id).collect();
            transaction.history(requests::history(&ids)).await?
        } else {
            Vec::new()
        };
        transaction.commit().await?;
        let mut history = by_task(history);
        let tasks = rows.into_iter().map(|row| {
            let entries = history.remove(&row.task_ref().task_id).unwrap_or_default();
            row.record(entries)
        });
        Ok(TaskPage {
            tasks: tasks.collect::<Result<_>>()?,
            next_cursor,
            total: u64::try_from(total).ok().filter(|_| total <= list::MAX_TOTAL),
        })
    }

    async fn find(&self, viewer: &Viewer, task_id: &str) -> Result<Option<TaskRef>> {
        let Some(viewer) = check::viewer(viewer, task_id) else { return Ok(None) };
        let rows = self.store.rows(requests::by_viewer(&viewer, task_id, false)).await?;
        Ok(rows.first().map(crate::sql::Row::task_ref))
    }

    async fn unfinished(&self, updated_before: i64, after: Option<&str>, limit: u32) -> Result<Vec<Observation>> {
        let after = after.filter(|after| !after.contains('\0'));
        let rows = self.store.rows(requests::unfinished(updated_before, after, limit.min(MAX_ROWS))).await?;
        let mut observations = Vec::with_capacity(rows.len());
        for row in rows {
            let request = Request::try_from(row)?;
            observations.extend(rules::maintain::observe(request));
        }
        Ok(observations)
    }

    async fn reconcile(&self, observed: &Observation, error: &AdcpError) -> Result<Reconciled> {
        let rule = |request: &mut Request, step: &mut Step| rules::maintain::reconcile(request, observed, error, step);
        Ok(self.apply(&observed.task, rule).await?.unwrap_or(Reconciled::Changed))
    }

    async fn purgeable(&self, updated_before: i64, limit: u32) -> Result<Vec<TaskRef>> {
        let rows = self.store.rows(requests::purgeable(updated_before, now(), limit.min(MAX_ROWS))).await?;
        Ok(rows.iter().map(crate::sql::Row::task_ref).collect())
    }

    async fn purge(&self, task: &TaskRef) -> Result<bool> {
        Ok(self.apply(task, rules::maintain::purge).await?.unwrap_or(false))
    }

    async fn health(&self) -> Result<Health> {
        Ok(Health { backend: S::BACKEND, schema_version: self.store.schema_version().await? })
    }

    async fn close(&self) {
        self.store.close().await;
    }
}

/// Appends to a locked request's history.
async fn append(transaction: &mut impl Transaction, task_id: &str, entries: &[Entry]) -> Result<()> {
    for entries in entries.chunks(ENTRIES_AT_ONCE) {
        transaction.execute(requests::append_history(task_id, entries)).await?;
    }
    Ok(())
}

fn one(mut rows: Vec<crate::sql::Row>) -> Result<Option<Request>> {
    rows.pop().map(Request::try_from).transpose()
}

fn by_task(rows: Vec<HistoryRow>) -> HashMap<String, Vec<HistoryEntry>> {
    let mut tasks: HashMap<String, Vec<HistoryEntry>> = HashMap::new();
    for row in rows {
        tasks.entry(row.task_id.clone()).or_default().push(row.into());
    }
    tasks
}

fn now() -> i64 {
    Utc::now().timestamp_micros()
}
