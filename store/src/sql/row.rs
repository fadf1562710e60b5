//! Rows as the database has them, and what they are read as.

use super::requests::WEBHOOK;
use crate::{
    Answer, Candidate, Lease, OpenTasks, RegistryError, SandboxRequest, Seen,
    rules::{ClaimState, Request},
};
use handoff_proto::{
    releases::Release,
    v1::{Decision, HistoryEntry, TaskRecord, TaskRef},
};
use pbjson_types::Timestamp;
use serde::de::DeserializeOwned;

type Result<T> = std::result::Result<T, RegistryError>;

// Of requests that were claimed before their release was recorded.
const UNRECORDED: Release = Release::V3_2;

/// A row of `requests`. What polls and lists do not read has its default.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct Row {
    pub(super) task_id: String,
    pub(super) scope: String,
    pub(super) principal: String,
    pub(super) verb: String,
    pub(super) protocol: String,
    #[sqlx(default)]
    pub(super) idempotency_key: Option<String>,
    #[sqlx(default)]
    pub(super) request_hash: String,
    #[sqlx(default)]
    pub(super) context_json: Option<String>,
    pub(super) has_webhook: bool,
    #[sqlx(default)]
    pub(super) claim_state: String,
    #[sqlx(default)]
    pub(super) answer_status: Option<String>,
    #[sqlx(default)]
    pub(super) answer_json: Option<String>,
    #[sqlx(default)]
    pub(super) answered_at: Option<i64>,
    #[sqlx(default)]
    pub(super) expires_at: Option<i64>,
    #[sqlx(default)]
    pub(super) decision: Option<String>,
    #[sqlx(default)]
    pub(super) decided_at: Option<i64>,
    pub(super) task_status: Option<String>,
    #[sqlx(default)]
    pub(super) visible: bool,
    #[sqlx(default)]
    pub(super) progress_json: Option<String>,
    #[sqlx(default)]
    pub(super) result_json: Option<String>,
    #[sqlx(default)]
    pub(super) error_json: Option<String>,
    #[sqlx(default)]
    pub(super) decision_id: Option<String>,
    #[sqlx(default)]
    pub(super) actor: Option<String>,
    #[sqlx(default)]
    pub(super) reason: Option<String>,
    pub(super) created_at: i64,
    pub(super) updated_at: i64,
    pub(super) completed_at: Option<i64>,
    #[sqlx(default)]
    pub(super) version: i64,
    #[sqlx(default)]
    pub(super) lease_until: Option<i64>,
    #[sqlx(default)]
    pub(super) rerunnable: bool,
    #[sqlx(default)]
    pub(super) proposal_json: Option<String>,
    #[sqlx(default)]
    pub(super) adcp_version: Option<String>,
    #[sqlx(default)]
    pub(super) told_json: Option<String>,
    #[sqlx(default)]
    pub(super) sandbox: bool,
    #[sqlx(default)]
    pub(super) webhook_json: Option<String>,
}

impl Row {
    /// The columns that may be sealed.
    pub(crate) fn bodies(&mut self) -> [(&'static str, &mut Option<String>); 11] {
        [
            ("context_json", &mut self.context_json),
            ("answer_json", &mut self.answer_json),
            ("decision", &mut self.decision),
            ("progress_json", &mut self.progress_json),
            ("result_json", &mut self.result_json),
            ("error_json", &mut self.error_json),
            ("actor", &mut self.actor),
            ("reason", &mut self.reason),
            (WEBHOOK, &mut self.webhook_json),
            ("proposal_json", &mut self.proposal_json),
            ("told_json", &mut self.told_json),
        ]
    }

    /// The context; nothing else has to be read for it.
    pub(crate) fn context(&self) -> Option<&str> {
        self.context_json.as_deref()
    }

    /// It was looked at.
    pub(crate) fn forget_context(&mut self) {
        self.context_json = None;
    }

    /// The webhook, taken out.
    pub(crate) fn take_webhook(&mut self) -> Option<String> {
        self.webhook_json.take()
    }

    /// The webhook, if it was read.
    pub(crate) fn into_webhook(self) -> Option<String> {
        self.webhook_json
    }

    pub(crate) fn task_id(&self) -> &str {
        &self.task_id
    }

    pub(crate) fn task_ref(&self) -> TaskRef {
        TaskRef {
            task_id: self.task_id.clone(),
            scope: self.scope.clone(),
            principal: self.principal.clone(),
            verb: self.verb.clone(),
        }
    }

    pub(crate) fn candidate(&self) -> Candidate {
        Candidate { task: self.task_ref(), updated_at: self.updated_at }
    }

    /// What is known of a sandbox's request without its bodies.
    pub(crate) fn sandbox_request(&self) -> SandboxRequest {
        let seen = Seen { created_at: self.created_at, version: self.version };
        SandboxRequest { task: self.task_ref(), seen, has_webhook: self.has_webhook }
    }

    /// What a poll sees.
    pub(crate) fn record(self, history: Vec<HistoryEntry>) -> Result<TaskRecord> {
        Ok(TaskRecord {
            progress: json(&self.progress_json, "progress", &self.task_id)?,
            error: json(&self.error_json, "error", &self.task_id)?,
            task: Some(self.task_ref()),
            protocol: self.protocol,
            status: self.task_status.unwrap_or_default(),
            created_at: Some(timestamp(self.created_at)),
            updated_at: Some(timestamp(self.updated_at)),
            completed_at: self.completed_at.map(timestamp),
            result_json: self.result_json.unwrap_or_default(),
            context_json: self.context_json.unwrap_or_default(),
            has_webhook: self.has_webhook,
            actor: self.actor.unwrap_or_default(),
            reason: self.reason.unwrap_or_default(),
            decision_id: self.decision_id.unwrap_or_default(),
            told_json: self.told_json.unwrap_or_default(),
            history,
        })
    }
}

impl TryFrom<Row> for Request {
    type Error = RegistryError;

    fn try_from(row: Row) -> Result<Self> {
        let decision: Option<Decision> = json(&row.decision, "decision", &row.task_id)?;
        let journal = match decision {
            Some(decision) => Some(decision.kind.ok_or_else(|| corrupt("decision", &row.task_id))?),
            None => None,
        };
        let status = match &row.task_status {
            Some(status) => Some(status.parse().map_err(|_| corrupt("task_status", &row.task_id))?),
            None => None,
        };
        Ok(Self {
            task: row.task_ref(),
            claim: ClaimState::parse(&row.claim_state).ok_or_else(|| corrupt("claim_state", &row.task_id))?,
            answer: row.answer_status.zip(row.answer_json).map(|(status, body_json)| Answer { status, body_json }),
            error: json(&row.error_json, "error", &row.task_id)?,
            proposal: json(&row.proposal_json, "proposal", &row.task_id)?,
            journal,
            status,
            protocol: row.protocol,
            idempotency_key: row.idempotency_key,
            request_hash: row.request_hash,
            context_json: row.context_json,
            has_webhook: row.has_webhook,
            answered_at: row.answered_at,
            expires_at: row.expires_at,
            decided_at: row.decided_at,
            visible: row.visible,
            progress_json: row.progress_json,
            result_json: row.result_json,
            decision_id: row.decision_id,
            actor: row.actor,
            reason: row.reason,
            created_at: row.created_at,
            updated_at: row.updated_at,
            completed_at: row.completed_at,
            version: row.version,
            lease: row.lease_until.map(|until| Lease { until, rerunnable: row.rerunnable }),
            // A newer build may have recorded one that this one does not know.
            release: row.adcp_version.as_deref().map_or(UNRECORDED, Release::at_most),
            told_json: row.told_json,
            sandbox: row.sandbox,
        })
    }
}

/// A row of `request_history`.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct HistoryRow {
    pub(crate) task_id: String,
    pub(crate) entry_key: String,
    at: i64,
    event: String,
    status: String,
    actor: String,
    reason: String,
    detail_json: String,
}

impl HistoryRow {
    /// The columns that may be sealed, in the order of [`super::requests::HISTORY_SEALED`].
    pub(crate) fn bodies(&mut self) -> [&mut String; 3] {
        [&mut self.actor, &mut self.reason, &mut self.detail_json]
    }
}

impl From<HistoryRow> for HistoryEntry {
    fn from(row: HistoryRow) -> Self {
        Self {
            at: Some(timestamp(row.at)),
            event: row.event,
            status: row.status,
            actor: row.actor,
            reason: row.reason,
            detail_json: row.detail_json,
        }
    }
}

/// Open requests, counted.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct OpenRow {
    verb: String,
    arm: String,
    task_status: Option<String>,
    visible: bool,
    number: i64,
    oldest: i64,
}

impl From<OpenRow> for OpenTasks {
    fn from(row: OpenRow) -> Self {
        let state = match row.task_status {
            Some(status) if row.visible => status,
            Some(_) => "pending".to_owned(),
            None => "undecided".to_owned(),
        };
        let count = u64::try_from(row.number).unwrap_or(0);
        Self { verb: row.verb, arm: row.arm, state, count, oldest: row.oldest }
    }
}

fn json<T: DeserializeOwned>(text: &Option<String>, what: &str, task_id: &str) -> Result<Option<T>> {
    text.as_deref().map(serde_json::from_str).transpose().map_err(|_| corrupt(what, task_id))
}

fn corrupt(what: &str, task_id: &str) -> RegistryError {
    RegistryError::Corrupt(format!("{what} of {task_id}"))
}

fn timestamp(micros: i64) -> Timestamp {
    // Below a million times a thousand: it fits.
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1_000).unwrap_or(0);
    Timestamp { seconds: micros.div_euclid(1_000_000), nanos }
}
