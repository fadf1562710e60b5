//! The contract that both databases fulfil.

use crate::{
    Candidate, Claim, ClaimView, DirectView, GovernanceStore, Health, Lease, NewClaim, NonceStore, Notification,
    Observation, OpenTasks, ProposalStore, Reconciled, RegistryError, RegistryOptions, Resealed, SandboxStore,
    TaskPage, Viewer, WebhookAttempt, WebhookDelivery, WebhookFilter, WebhookRecord, WebhookState, engine::Engine,
    observed::Observed, postgres::Postgres, sqlite::Sqlite,
};
use async_trait::async_trait;
use handoff_proto::{
    v1::{AdcpError, Completion, Decision, HistoryEntry, Progress, Settlement, Standing, TaskRecord, TaskRef},
    wire::ListTasksRequest,
};
use std::sync::Arc;

type Result<T> = std::result::Result<T, RegistryError>;

/// What is true about every request. Each method is one transaction that first locks the row of its task.
///
/// A [`TaskRef`] matches only with scope and principal; a row that does not match does not exist.
#[async_trait]
pub trait Registry: GovernanceStore + NonceStore + ProposalStore + SandboxStore {
    /// Claims an idempotency key for `claim.task`, or says what the key already means. Of two calls at once with one key,
    /// one is [`Claim::New`] and the other attaches. A request with another verb or hash is a conflict, in flight too.
    async fn claim(&self, claim: &NewClaim) -> Result<Claim>;

    /// The same for a request whose handler the caller is about to call itself, outside any workflow.
    async fn claim_directly(&self, claim: &NewClaim, lease: &Lease) -> Result<Claim>;

    /// How far a request is, for those who wait for the answer of another's handler. A request that was claimed without a
    /// lease is `Driven`.
    async fn direct_view(&self, task: &TaskRef) -> Result<DirectView>;

    /// Gives the request to this lease, if the one it has is over and `rerunnable`, and nothing is recorded.
    async fn take_over(&self, task: &TaskRef, lease: &Lease) -> Result<bool>;

    /// Records what a handler that was called under this lease decided. A completion answers the claim as
    /// [`Registry::record_decision`] does. A refusal releases it, and a hand-off leaves a pending task for a workflow that is
    /// yet to be started, but neither unless the lease is still the request's.
    async fn record_direct(&self, task: &TaskRef, decision: &Decision, lease: &Lease) -> Result<Standing>;

    /// Leaves an undecided request to a workflow, if its lease is this one or is over.
    async fn hand_over(&self, task: &TaskRef, lease: Option<&Lease>) -> Result<()>;

    /// The state of a task's claim.
    async fn claim_view(&self, task: &TaskRef) -> Result<ClaimView>;

    /// Looks whether a handler may be called for this task: a [`Standing`] without decision and settlement says yes. A
    /// missing row, or a claim that was taken away, is a `Void` decision.
    async fn standing(&self, task: &TaskRef) -> Result<Standing>;

    /// The same, in a transaction that reserves the proposal which the request names, if it names one. Repeated, it is the same
    /// reservation. What the protocol refuses (no such proposal, a draft, expired, bought, or held by another task) is recorded
    /// as the request's refusal, and the standing says so. With the request's end the proposal is consumed, if that is a
    /// success, or released.
    async fn begin(&self, task: &TaskRef) -> Result<Standing>;

    /// Records a decision and, in the same transaction, what follows from it: a completed answer, a visible task (task arm),
    /// a pending task (workflow arm), or a refusal that releases the claim. For a task that was already submitted, a
    /// completion or refusal settles it. A completion that can't be
    /// recorded as the purchase of the proposal that the request names is recorded as a refusal. The first decision stays: the returned standing has the recorded one. A closed
    /// journal, a task that ended, or a claim that is not this task's any more changes nothing and returns `Void`.
    async fn record_decision(&self, task: &TaskRef, decision: &Decision) -> Result<Standing>;

    /// Makes the task visible as `submitted` and records the claim's answer, creating the task if no decision is recorded yet.
    /// Writes nothing if the journal holds a refusal, a completion or `Void`, if the claim is gone, or if it was done before.
    async fn accept(&self, task: &TaskRef) -> Result<Standing>;

    /// Replaces the task's progress and turns `submitted` into `working`. `false`: the task is unknown or has ended, and the
    /// straggler was dropped.
    async fn update_progress(&self, task: &TaskRef, progress: &Progress) -> Result<bool>;

    /// Begins to tell a task's webhook of its progress, with a key and time of its own; for [`NOTIFICATION_TIME`] at most. `None`:
    /// the task is not at work, registered no webhook, or has had `at_most` of them.
    ///
    /// [`NOTIFICATION_TIME`]: handoff_proto::limits::NOTIFICATION_TIME
    async fn begin_notification(&self, task: &TaskRef, at_most: u32) -> Result<Option<Notification>>;

    /// The notification with this number is not on its way any more.
    async fn end_notification(&self, task: &TaskRef, number: u32) -> Result<()>;

    /// Records the task's end, the claim's answer if none is recorded, and closes the journal if it is open. A success that can't
    /// be recorded as the purchase of the proposal that the request names is recorded as a failure. Returns what is
    /// recorded, which may be another's decision; `None` if there is no task to settle. A result stays as it was decided, for
    /// whoever asks what was; beside it stands, from then on, what its buyer is told of it in the release that was claimed under.
    async fn settle(&self, task: &TaskRef, completion: &Completion) -> Result<Option<Settlement>>;

    /// Takes back a request that nobody was told about, pending or not yet decided, with its claim; the error stays in the
    /// journal as the refusal. A task that
    /// was submitted fails instead, and the settlement says so; one that ended keeps its end.
    async fn discard(&self, task: &TaskRef, error: &AdcpError) -> Result<Option<Settlement>>;

    /// The webhook that a task's request registered: its `push_notification_config` as JSON text, with its secrets. `None`: there
    /// is none, or none that is still needed; only a task that is or may become visible keeps it, until it is purged.
    async fn webhook(&self, task: &TaskRef) -> Result<Option<String>>;

    /// The webhook that is owed to an ended task, with its body, which is made and kept the first time. `None`: none is owed.
    async fn webhook_delivery(&self, task: &TaskRef) -> Result<Option<WebhookDelivery>>;

    /// Logs an attempt to deliver the webhook with this key, and how far its delivery is. What arrived stays arrived. Returns
    /// what is recorded; with another key than the webhook's own now, nothing is written.
    async fn record_webhook(
        &self,
        task: &TaskRef,
        idempotency_key: &str,
        attempt: Option<&WebhookAttempt>,
        state: WebhookState,
    ) -> Result<Option<WebhookState>>;

    /// Makes a webhook pending again: with the same key and body within its horizon, past it with a new key and timestamp.
    /// Returns how far it was; `None`: none is owed.
    async fn renew_webhook(&self, task: &TaskRef) -> Result<Option<WebhookState>>;

    /// Webhooks, the oldest first, at most `limit`.
    async fn webhooks(&self, filter: &WebhookFilter, limit: u32) -> Result<Vec<WebhookRecord>>;

    /// The webhook that is or was owed to a task, and the attempts that are logged, in order.
    async fn webhook_log(&self, task_id: &str) -> Result<Option<(WebhookRecord, Vec<WebhookAttempt>)>>;

    /// Appends to the task's history. An entry whose key is already there is not written again.
    async fn append_history(&self, task: &TaskRef, entries: &[(String, HistoryEntry)]) -> Result<()>;

    /// A visible task that the viewer may see.
    async fn get(&self, viewer: &Viewer, task_id: &str, include_history: bool) -> Result<Option<TaskRecord>>;

    /// The visible tasks that the viewer may see, filtered, sorted and paged. Of a buyer's, only what `list_tasks` says: no
    /// progress, result, error or context, and nothing about who decided.
    ///
    /// With a cipher, `context_contains` opens contexts one by one, of at most 1,000 tasks a page: such a page may be shorter
    /// than it could be, even empty, and still have a next one; and only its first page has a total.
    async fn list(&self, viewer: &Viewer, request: &ListTasksRequest) -> Result<TaskPage>;

    /// The reference of a task by its id alone, visible or not, for operators' and reviewers' tools.
    async fn find(&self, viewer: &Viewer, task_id: &str) -> Result<Option<TaskRef>>;

    /// Unfinished requests that were last changed before `updated_before` (microseconds since 1970), ordered by task id, after
    /// `after`.
    async fn unfinished(&self, updated_before: i64, after: Option<&str>, limit: u32) -> Result<Vec<Observation>>;

    /// Ends an observed request whose run is gone, if its row has not changed since: an open task is settled as failed with
    /// `error`; a pending one is discarded; a claim without decision is closed as `Void` with its outcome unknown, but not one
    /// whose lease is running or rerunnable.
    async fn reconcile(&self, observed: &Observation, error: &AdcpError) -> Result<Reconciled>;

    /// Ended requests that were last changed before `updated_before` (microseconds since 1970) and whose claim is past its TTL:
    /// candidates for [`Registry::purge`], the oldest first, after `after`.
    async fn purgeable(&self, updated_before: i64, after: Option<&Candidate>, limit: u32) -> Result<Vec<Candidate>>;

    /// Empties the bodies and history of an ended request, and leaves a tombstone: its idempotency key stays expired. The caller
    /// has seen that no run is open. `false`: not ended, or not past its TTL.
    async fn purge(&self, task: &TaskRef) -> Result<bool>;

    /// Tombstones of requests that were purged before `purged_before` (microseconds since 1970): candidates for
    /// [`Registry::forget`], the oldest first, after `after`.
    async fn tombstones(&self, purged_before: i64, after: Option<&Candidate>, limit: u32) -> Result<Vec<Candidate>>;

    /// Deletes a tombstone: its idempotency key is free again. `false`: there is none, or it is not past its TTL.
    async fn forget(&self, task: &TaskRef) -> Result<bool>;

    /// Seals with the active key what other keys seal, or none, of up to `limit` tasks after `after`, by task id; each task in a
    /// transaction of its own. Changes nothing else, and needs keys. With `dry_run` it only counts.
    async fn reseal(&self, after: Option<&str>, limit: u32, dry_run: bool) -> Result<Resealed>;

    /// What is open, counted by verb, arm and state: for measuring. Reads an index, no row.
    async fn open_tasks(&self) -> Result<Vec<OpenTasks>>;

    /// Reaches the database, and says which and how far migrated.
    async fn health(&self) -> Result<Health>;

    /// Closes all connections.
    async fn close(&self);
}

/// Opens the registry at `sqlite:PATH` or `postgres://…`, migrating its schema first. Safe when two processes do it at once.
pub async fn connect(url: &str, options: RegistryOptions) -> Result<Arc<dyn Registry>> {
    match url.split_once(':') {
        Some(("sqlite", _)) => Ok(watched(Engine::new(Sqlite::open(url).await?, &options), &options)),
        Some(("postgres" | "postgresql", _)) => {
            Ok(watched(Engine::new(Postgres::open(url, &options).await?, &options), &options))
        }
        _ => Err(RegistryError::UnsupportedUrl),
    }
}

fn watched(registry: impl Registry, options: &RegistryOptions) -> Arc<dyn Registry> {
    match options.watch.observer() {
        Some(observer) => Arc::new(Observed::new(registry, observer.clone())),
        None => Arc::new(registry),
    }
}
