//! What goes into and comes out of the registry, beyond the messages of `handoff-proto`.

use crate::{Cipher, ProposalUse, Watch};
use handoff_proto::{
    releases::Release,
    v1::{TaskRecord, TaskRef},
};
use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

/// How a registry behaves.
#[derive(Clone, Debug)]
pub struct RegistryOptions {
    /// How long a recorded answer is replayed, from when it was recorded. AdCP allows 1 hour to 7 days.
    pub replay_ttl: Duration,
    /// Connections kept to a PostgreSQL database.
    pub max_connections: u32,
    /// How long a webhook is sent until it arrives, from when its task ended. AdCP allows 1 to 7 days.
    pub webhook_horizon: Duration,
    /// How long after its `expires_at` a proposal may still be reserved: clocks differ.
    pub proposal_grace: Duration,
    /// What seals bodies; without it they are stored in clear, and requests with a webhook's secret are refused.
    pub cipher: Option<Arc<dyn Cipher>>,
    /// Who is told what the registry does.
    pub watch: Watch,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        Self {
            replay_ttl: Duration::from_secs(86_400),
            max_connections: 10,
            webhook_horizon: Duration::from_secs(3 * 86_400),
            proposal_grace: Duration::ZERO,
            cipher: None,
            watch: Watch::default(),
        }
    }
}

/// A request about to run.
#[derive(Clone, Debug)]
pub struct NewClaim {
    /// With a fresh task id.
    pub task: TaskRef,
    /// The AdCP protocol of the verb, in kebab case.
    pub protocol: String,
    /// Absent for keyless requests: they get a row with no key to find it by.
    pub idempotency_key: Option<String>,
    /// `handoff_proto::json::request_hash` of the request.
    pub request_hash: String,
    /// The request's `context`, as JSON text.
    pub context_json: Option<String>,
    /// The webhook that the request registered. What is recorded with a key stays: a repeated call changes nothing.
    pub webhook: Option<Webhook>,
    /// The proposal that the request buys: [`crate::Registry::begin`] reserves it.
    pub proposal: Option<ProposalUse>,
    /// The release that the request is of: whatever ends its task puts the result into the release's words, once.
    pub release: Release,
    /// Its account is a sandbox: what is recorded of it may be forgotten at any time.
    pub sandbox: bool,
}

/// A webhook as a buyer registered it.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    /// The request's `push_notification_config` as JSON text, with its secrets.
    pub config_json: String,
    /// There is a token or there are credentials in it: it is not stored in clear.
    pub has_secret: bool,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("has_secret", &self.has_secret).finish_non_exhaustive()
    }
}

/// What a claim found.
#[derive(Clone, Debug, PartialEq)]
pub enum Claim {
    /// The key is new: the claim's own task id is recorded.
    New,
    /// Another call with this key is under way; attach to its task.
    InFlight {
        /// Its task.
        task_id: String,
    },
    /// The key was answered.
    Answered {
        /// Its task.
        task_id: String,
        /// To be said again.
        answer: Answer,
    },
    /// The run of this key vanished before its outcome was recorded; the key is not usable until its TTL.
    OutcomeUnknown {
        /// Its task.
        task_id: String,
    },
    /// The key was used for another request.
    Conflict,
    /// The key's answer is past its TTL.
    Expired,
}

/// A recorded answer; without `context` and `replayed`, which belong to each call.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// `submitted` or `completed`.
    pub status: String,
    /// The body as JSON text.
    pub body_json: String,
}

/// The state of a claim, for those who wait for its answer.
#[derive(Clone, Debug, PartialEq)]
pub enum ClaimView {
    /// No such row.
    Missing,
    /// Not answered yet.
    InFlight,
    /// Answered.
    Answered(Answer),
    /// Refused with this error (JSON text of a `handoff.v1.AdcpError`): the key is free again.
    Refused {
        /// Why.
        error_json: String,
    },
    /// See [`Claim::OutcomeUnknown`].
    OutcomeUnknown,
}

/// The right to call a request's handler outside any workflow, for a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// When it ends, in microseconds since 1970. Also tells one holder's lease from another's.
    pub until: i64,
    /// Whoever comes after its end may call the handler again, with the same token.
    pub rerunnable: bool,
}

/// How far a request is that was claimed with a lease.
#[derive(Clone, Debug, PartialEq)]
pub enum DirectView {
    /// Its handler is at work.
    Leased,
    /// The lease is over and nothing is recorded: nobody knows what the handler did.
    Lapsed {
        /// See [`Lease::rerunnable`].
        rerunnable: bool,
    },
    /// A workflow has it, or is to have it.
    Driven,
    /// It has an answer, or none will come.
    Ended(ClaimView),
}

/// On whose behalf tasks are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Viewer {
    /// Sees its own tasks of one account.
    Buyer {
        /// The account.
        scope: String,
        /// The agent.
        principal: String,
    },
    /// Sees every task of these accounts.
    Reviewer {
        /// The accounts.
        scopes: Vec<String>,
    },
    /// Sees everything.
    Operator,
}

/// A page of tasks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskPage {
    /// In the order that was asked for.
    pub tasks: Vec<TaskRecord>,
    /// Where the next page begins; absent on the last.
    pub next_cursor: Option<String>,
    /// How many tasks match, when that could be counted within the bound of one page's cost.
    pub total: Option<u64>,
}

/// How far an unfinished request is, as `reconcile` saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObservedStage {
    /// Claimed; no decision is recorded and no task is visible.
    Claimed,
    /// The same, with a lease: no workflow has it, and its handler is at work or may be called again.
    Leased,
    /// The same, with a lease that is over: the handler may not be called again, or nobody did for a whole TTL.
    Lapsed,
    /// Decided for the workflow arm; not yet visible.
    Pending,
    /// The buyer was told `submitted`.
    Submitted,
}

/// An unfinished request, and the version of its row.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// Which.
    pub task: TaskRef,
    /// How far.
    pub stage: ObservedStage,
    /// Changes with every write to the row.
    pub version: i64,
    /// Microseconds since 1970.
    pub updated_at: i64,
}

/// What reconciling did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconciled {
    /// The row has changed since it was observed: nothing was written.
    Changed,
    /// An open task was settled as failed.
    Settled,
    /// A task that nobody was told about was discarded, and its claim released.
    Discarded,
    /// The journal was closed, and the claim answers "outcome unknown" until its TTL.
    Voided,
}

/// What a batch of resealing found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resealed {
    /// Tasks that were looked at.
    pub tasks: u64,
    /// How many values each key sealed, by the key's id, before anything was done; `None`: values in clear.
    pub values: BTreeMap<Option<String>, u64>,
    /// Tasks with values that were sealed anew; with `dry_run`, that would be.
    pub resealed: u64,
    /// Tasks that were left as they are, because a key of theirs is missing.
    pub unreadable: u64,
    /// The last task that was looked at, for the next batch; absent when there are no more.
    pub next: Option<String>,
}

/// A request that may be purged or forgotten; also where the next page of such requests begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Which.
    pub task: TaskRef,
    /// When it was last changed: ended, or purged. Microseconds since 1970.
    pub updated_at: i64,
}

/// Which database serves the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// A file.
    Sqlite,
    /// A server.
    Postgres,
}

/// What a health check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Which database.
    pub backend: Backend,
    /// The newest migration that was applied.
    pub schema_version: i64,
}

/// Open requests that have verb, arm and state in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenTasks {
    /// Their verb.
    pub verb: String,
    /// How they are answered: see [`crate::Arm`].
    pub arm: String,
    /// undecided (claimed, nobody was told anything), pending (decided for the workflow arm, nobody was told), or the task's
    /// status.
    pub state: String,
    /// How many there are.
    pub count: u64,
    /// When the oldest of them was claimed, in microseconds since 1970.
    pub oldest: i64,
}

/// How far a webhook's delivery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WebhookState {
    /// It is to be sent.
    Pending,
    /// It arrived.
    Delivered,
    /// Its receiver wants no more of it, or it can't be sent at all.
    Stopped,
    /// It did not arrive in time.
    Expired,
}

impl WebhookState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Delivered, Self::Stopped, Self::Expired];

    /// As it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Stopped => "stopped",
            Self::Expired => "expired",
        }
    }

    /// The state of this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// A webhook about to be sent, and to be sent again with the same bytes.
#[derive(Clone, PartialEq)]
pub struct WebhookDelivery {
    /// The task that ended.
    pub task: TaskRef,
    /// How far it is.
    pub state: WebhookState,
    /// What receivers know it by; also in the body.
    pub idempotency_key: String,
    /// The request's `push_notification_config` as JSON text, with its secrets.
    pub config_json: Option<String>,
    /// The body; `None`: it can't be made, because no `operation_id` was registered.
    pub body: Option<String>,
    /// How many attempts are logged.
    pub attempts: u32,
    /// When it was first made: the body's `timestamp`. Microseconds since 1970.
    pub created_at: i64,
    /// Nothing is sent under this key after it. Microseconds since 1970.
    pub expires_at: i64,
    /// Until then a notification of the task's progress may be on its way, which is not to arrive later. Microseconds since 1970.
    pub not_before: i64,
}

/// A notification of a task's progress that is about to be sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Notification {
    /// Which of the task's, from 1.
    pub number: u32,
    /// The request's `push_notification_config` as JSON text, with its secrets.
    pub config_json: String,
    /// The body.
    pub body: String,
}

impl fmt::Debug for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notification").field("number", &self.number).finish_non_exhaustive()
    }
}

impl fmt::Debug for WebhookDelivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookDelivery")
            .field("task_id", &self.task.task_id)
            .field("state", &self.state)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

/// An attempt to deliver a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookAttempt {
    /// When it began, in microseconds since 1970.
    pub at: i64,
    /// How long it took.
    pub duration: Duration,
    /// The answer's HTTP status, if there was one.
    pub status: Option<u16>,
    /// What went wrong, in a word; `None`: it arrived.
    pub error_class: Option<String>,
}

/// A webhook as operators see it.
#[derive(Clone, Debug, PartialEq)]
pub struct WebhookRecord {
    /// The task that ended.
    pub task: TaskRef,
    /// How far it is.
    pub state: WebhookState,
    /// What receivers know it by.
    pub idempotency_key: String,
    /// How many attempts are logged.
    pub attempts: u32,
    /// When it was first made, in microseconds since 1970.
    pub created_at: i64,
    /// When it is given up, in microseconds since 1970.
    pub expires_at: i64,
    /// When it was last tried, in microseconds since 1970.
    pub updated_at: i64,
}

/// Which webhooks are listed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WebhookFilter {
    /// In one of these states; empty: in any.
    pub states: Vec<WebhookState>,
    /// Made then or later, in microseconds since 1970.
    pub created_after: Option<i64>,
    /// Made before, in microseconds since 1970.
    pub created_before: Option<i64>,
    /// After this one, by when it was made and by task id.
    pub after: Option<(i64, String)>,
}
