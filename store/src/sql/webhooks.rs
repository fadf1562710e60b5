//! Statements on webhooks and their attempts.

use super::{Statement, requests::Change};
use crate::{RegistryError, WebhookAttempt, WebhookFilter, WebhookRecord, WebhookState, cipher::Place};
use handoff_proto::v1::TaskRef;

/// The column that holds a body, as a [`Place`].
pub(crate) const BODY: &str = "webhooks.body_json";

const COLUMNS: &str = "w.task_id, r.scope, r.principal, r.verb, w.state, w.idempotency_key, w.generation, w.body_json, \
     w.created_at, w.expires_at, w.updated_at, \
     (SELECT COUNT(*) FROM webhook_attempts a WHERE a.task_id = w.task_id AND a.generation = w.generation) AS attempts";

/// A row of `webhooks`, with whose it is.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct WebhookRow {
    pub(crate) task_id: String,
    scope: String,
    principal: String,
    verb: String,
    state: String,
    pub(crate) idempotency_key: String,
    pub(crate) generation: i64,
    pub(crate) body_json: Option<String>,
    pub(crate) created_at: i64,
    pub(crate) expires_at: i64,
    updated_at: i64,
    attempts: i64,
}

impl WebhookRow {
    pub(crate) fn state(&self) -> Result<WebhookState, RegistryError> {
        let broken = || RegistryError::Corrupt(format!("the webhook's state of {}", self.task_id));
        WebhookState::parse(&self.state).ok_or_else(broken)
    }

    pub(crate) fn task_ref(&self) -> TaskRef {
        TaskRef {
            task_id: self.task_id.clone(),
            scope: self.scope.clone(),
            principal: self.principal.clone(),
            verb: self.verb.clone(),
        }
    }

    pub(crate) fn record(&self) -> Result<WebhookRecord, RegistryError> {
        Ok(WebhookRecord {
            task: self.task_ref(),
            state: self.state()?,
            idempotency_key: self.idempotency_key.clone(),
            attempts: u32::try_from(self.attempts).unwrap_or(u32::MAX),
            created_at: self.created_at,
            expires_at: self.expires_at,
            updated_at: self.updated_at,
        })
    }
}

/// A row of `webhook_attempts`.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct AttemptRow {
    at: i64,
    duration: i64,
    http_status: Option<i64>,
    error_class: Option<String>,
}

impl From<AttemptRow> for WebhookAttempt {
    fn from(row: AttemptRow) -> Self {
        Self {
            at: row.at,
            duration: std::time::Duration::from_micros(u64::try_from(row.duration).unwrap_or(0)),
            status: row.http_status.and_then(|status| u16::try_from(status).ok()),
            error_class: row.error_class,
        }
    }
}

/// Where a body is sealed for.
pub(crate) fn body_place<'a>(task: &'a TaskRef, idempotency_key: &'a str) -> Place<'a> {
    Place { scope: &task.scope, task_id: &task.task_id, column: BODY, entry: idempotency_key }
}

/// Owes a webhook to a task; nothing if it is owed already.
pub(crate) fn insert(task_id: &str, idempotency_key: &str, now: i64, expires_at: i64) -> Statement {
    let mut statement = Statement::new(
        "INSERT INTO webhooks (task_id, state, idempotency_key, generation, created_at, expires_at, updated_at) VALUES (",
    );
    statement.bind(task_id).push(", 'pending', ").bind(idempotency_key).push(", 1, ");
    statement.bind(now).push(", ").bind(expires_at).push(", ").bind(now);
    statement.push(") ON CONFLICT (task_id) DO NOTHING");
    statement
}

/// The webhook of a task.
pub(crate) fn by_task(task_id: &str) -> Statement {
    let mut statement = select();
    statement.push("w.task_id = ").bind(task_id);
    statement
}

/// Webhooks, the oldest first.
pub(crate) fn list(filter: &WebhookFilter, limit: u32) -> Statement {
    let mut statement = select();
    statement.push("w.created_at >= ").bind(filter.created_after.unwrap_or(i64::MIN));
    statement.push(" AND w.created_at < ").bind(filter.created_before.unwrap_or(i64::MAX));
    if let [state] = filter.states[..] {
        // As a constant, so that the partial index is found.
        statement.push(&format!(" AND w.state = '{}'", state.as_str()));
    } else if !filter.states.is_empty() {
        statement.push(" AND w.state IN (").bind_all(filter.states.iter().map(|state| state.as_str())).push(")");
    }
    if let Some((created_at, task_id)) = &filter.after {
        statement.push(" AND (w.created_at, w.task_id) > (").bind(*created_at).push(", ").bind(task_id).push(")");
    }
    statement.push(" ORDER BY w.created_at, w.task_id LIMIT ").bind(i64::from(limit));
    statement
}

/// The attempts of a task's webhook, in order.
pub(crate) fn attempts(task_id: &str) -> Statement {
    let mut statement =
        Statement::new("SELECT at, duration, http_status, error_class FROM webhook_attempts WHERE task_id = ");
    statement.bind(task_id).push(" ORDER BY generation, number");
    statement
}

/// Writes columns of a task's webhook.
pub(crate) fn update(task_id: &str, changes: Vec<Change>) -> Statement {
    let mut statement = Statement::new("UPDATE webhooks SET ");
    for (index, (column, value)) in changes.into_iter().enumerate() {
        statement.push(if index == 0 { "" } else { ", " }).push(column).push(" = ").bind(value);
    }
    statement.push(" WHERE task_id = ").bind(task_id);
    statement
}

/// Logs one more attempt. The task's row is locked, so nobody else counts.
pub(crate) fn append_attempt(row: &WebhookRow, attempt: &WebhookAttempt) -> Statement {
    let mut statement = Statement::new(
        "INSERT INTO webhook_attempts (task_id, generation, number, at, duration, http_status, error_class) SELECT ",
    );
    statement.bind(&row.task_id).push(", ").bind(row.generation);
    statement.push(", COALESCE(MAX(number), 0) + 1, ").bind(attempt.at).push(", ");
    statement.bind(i64::try_from(attempt.duration.as_micros()).unwrap_or(i64::MAX)).push(", ");
    statement.bind(attempt.status.map(i64::from)).push(", ").bind(&attempt.error_class);
    statement.push(" FROM webhook_attempts WHERE task_id = ").bind(&row.task_id);
    statement.push(" AND generation = ").bind(row.generation);
    statement
}

/// Deletes a task's webhook and its attempts.
pub(crate) fn delete(task_id: &str) -> [Statement; 2] {
    ["DELETE FROM webhook_attempts WHERE task_id = ", "DELETE FROM webhooks WHERE task_id = "].map(|text| {
        let mut statement = Statement::new(text);
        statement.bind(task_id);
        statement
    })
}

fn select() -> Statement {
    Statement::new(format!("SELECT {COLUMNS} FROM webhooks w JOIN requests r ON r.task_id = w.task_id WHERE "))
}
