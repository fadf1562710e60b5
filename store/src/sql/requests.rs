//! Statements on single requests, their history, and what maintenance looks for.

use super::{Bind, Dialect, Statement};
use crate::{
    RegistryError, Viewer,
    rules::{Entry, Request},
};
use handoff_proto::v1::TaskRef;

/// The columns of `requests` that are read, in the order of [`values`] but for the last.
pub(super) const COLUMNS: &str = "task_id, scope, principal, verb, protocol, idempotency_key, request_hash, \
     context_json, has_webhook, claim_state, answer_status, answer_json, answered_at, expires_at, decision, decided_at, \
     task_status, visible, progress_json, result_json, error_json, decision_id, actor, reason, created_at, updated_at, \
     completed_at, version";

const HISTORY_COLUMNS: &str = "task_id, at, event, status, actor, reason, detail_json";

/// Locks a task's row.
pub(crate) fn lock(dialect: Dialect, task: &TaskRef) -> Statement {
    let mut statement = by_ref(task);
    statement.push(dialect.lock());
    statement
}

/// Reads a task's row.
pub(crate) fn by_ref(task: &TaskRef) -> Statement {
    let mut statement = select();
    statement.push("task_id = ").bind(&task.task_id);
    statement.push(" AND scope = ").bind(&task.scope).push(" AND principal = ").bind(&task.principal);
    statement
}

/// Locks the row that has a task id, whoever's it is.
pub(crate) fn lock_id(dialect: Dialect, task_id: &str) -> Statement {
    let mut statement = select();
    statement.push("task_id = ").bind(task_id).push(dialect.lock());
    statement
}

/// Locks the row that has a key.
pub(crate) fn lock_key(dialect: Dialect, task: &TaskRef, key: &str) -> Statement {
    let mut statement = select();
    statement.push("scope = ").bind(&task.scope).push(" AND principal = ").bind(&task.principal);
    statement.push(" AND idempotency_key = ").bind(key).push(dialect.lock());
    statement
}

/// Reads the row of a task id that a viewer may see.
pub(crate) fn by_viewer(viewer: &Viewer, task_id: &str, only_visible: bool) -> Statement {
    let mut statement = select();
    statement.push("task_id = ").bind(task_id).push(" AND ");
    push_viewer(&mut statement, viewer);
    if only_visible {
        statement.push(" AND visible");
    }
    statement
}

/// The predicate that holds for what a viewer may see.
pub(super) fn push_viewer(statement: &mut Statement, viewer: &Viewer) {
    match viewer {
        Viewer::Buyer { scope, principal } => {
            statement.push("scope = ").bind(scope).push(" AND principal = ").bind(principal);
        }
        Viewer::Reviewer { scopes } if scopes.is_empty() => {
            statement.push("FALSE");
        }
        Viewer::Reviewer { scopes } => {
            statement.push("scope IN (").bind_all(scopes).push(")");
        }
        Viewer::Operator => {
            statement.push("TRUE");
        }
    }
}

/// Writes a request that is not there yet; nothing if its task id or its key is.
pub(crate) fn insert(request: &Request) -> Result<Statement, RegistryError> {
    let mut statement = Statement::new(format!("INSERT INTO requests ({COLUMNS}, unfinished) VALUES ("));
    statement.bind_all(values(request)?).push(") ON CONFLICT DO NOTHING");
    Ok(statement)
}

/// Writes a request's row, all but what never changes.
pub(crate) fn update(request: &Request) -> Result<Statement, RegistryError> {
    const FIXED: [&str; 6] = ["task_id", "scope", "principal", "verb", "protocol", "created_at"];
    let columns = COLUMNS.split(", ").chain(["unfinished"]);
    let mut statement = Statement::new("UPDATE requests SET ");
    let changing = columns.zip(values(request)?).filter(|(column, _)| !FIXED.contains(column));
    for (index, (column, value)) in changing.enumerate() {
        statement.push(if index == 0 { "" } else { ", " }).push(column).push(" = ").bind(value);
    }
    statement.push(" WHERE task_id = ").bind(&request.task.task_id);
    Ok(statement)
}

/// Appends entries to a locked request's history; those whose key is there already are left out.
pub(crate) fn append_history(task_id: &str, entries: &[Entry]) -> Statement {
    let mut statement = Statement::new(
        "INSERT INTO request_history (seq, task_id, entry_key, at, event, status, actor, reason, detail_json) ",
    );
    // The row is locked, so nobody else counts.
    statement.push("SELECT (SELECT COALESCE(MAX(seq), 0) FROM request_history WHERE task_id = ").bind(task_id);
    statement.push(") + number, ").bind(task_id);
    statement.push(", entry_key, at, event, status, actor, reason, detail_json FROM (");
    for (number, entry) in (1_i64..).zip(entries) {
        statement.push(if number == 1 { "" } else { " UNION ALL " });
        statement.push("SELECT ").bind(number).push(" AS number, ").bind(entry.key.as_ref()).push(" AS entry_key, ");
        statement.bind(entry.at).push(" AS at, ").bind(&entry.event).push(" AS event, ");
        statement.bind(&entry.status).push(" AS status, ").bind(&entry.actor).push(" AS actor, ");
        statement.bind(&entry.reason).push(" AS reason, ").bind(&entry.detail_json).push(" AS detail_json");
    }
    // `WHERE TRUE` keeps SQLite from reading ON as the beginning of a join.
    statement.push(") AS added WHERE TRUE ON CONFLICT (task_id, entry_key) DO NOTHING");
    statement
}

/// The history of some tasks, each in order.
pub(crate) fn history<'a>(task_ids: impl IntoIterator<Item = &'a String>) -> Statement {
    let mut statement = Statement::new(format!("SELECT {HISTORY_COLUMNS} FROM request_history WHERE task_id IN ("));
    statement.bind_all(task_ids).push(") ORDER BY task_id, seq");
    statement
}

/// Empties the history of a task.
pub(crate) fn delete_history(task_id: &str) -> Statement {
    let mut statement = Statement::new("DELETE FROM request_history WHERE task_id = ");
    statement.bind(task_id);
    statement
}

/// Unfinished requests, by task id.
pub(crate) fn unfinished(updated_before: i64, after: Option<&str>, limit: u32) -> Statement {
    let mut statement = select();
    statement.push("unfinished AND updated_at < ").bind(updated_before);
    statement.push(" AND task_id > ").bind(after.unwrap_or_default());
    statement.push(" ORDER BY task_id LIMIT ").bind(i64::from(limit));
    statement
}

/// Ended requests that may be purged, the oldest first.
pub(crate) fn purgeable(updated_before: i64, now: i64, limit: u32) -> Statement {
    let mut statement = select();
    statement.push("NOT unfinished AND claim_state <> 'purged' AND updated_at < ").bind(updated_before);
    statement.push(" AND expires_at <= ").bind(now);
    statement.push(" ORDER BY updated_at, task_id LIMIT ").bind(i64::from(limit));
    statement
}

fn select() -> Statement {
    Statement::new(format!("SELECT {COLUMNS} FROM requests WHERE "))
}

fn values(request: &Request) -> Result<Vec<Bind>, RegistryError> {
    let json = |text: serde_json::Result<String>| text.map_err(|error| RegistryError::Corrupt(error.to_string()));
    let decision = request.decision().map(|decision| json(serde_json::to_string(&decision))).transpose()?;
    let error = request.error.as_ref().map(|error| json(serde_json::to_string(error))).transpose()?;
    let answer = request.answer.as_ref();
    Ok(vec![
        (&request.task.task_id).into(),
        (&request.task.scope).into(),
        (&request.task.principal).into(),
        (&request.task.verb).into(),
        (&request.protocol).into(),
        (&request.idempotency_key).into(),
        (&request.request_hash).into(),
        (&request.context_json).into(),
        request.has_webhook.into(),
        request.claim.as_str().into(),
        answer.map(|answer| answer.status.clone()).into(),
        answer.map(|answer| answer.body_json.clone()).into(),
        request.answered_at.into(),
        request.expires_at.into(),
        decision.into(),
        request.decided_at.into(),
        request.status.map(|status| status.to_string()).into(),
        request.visible.into(),
        (&request.progress_json).into(),
        (&request.result_json).into(),
        error.into(),
        (&request.decision_id).into(),
        (&request.actor).into(),
        (&request.reason).into(),
        request.created_at.into(),
        request.updated_at.into(),
        request.completed_at.into(),
        request.version.into(),
        request.stage().is_some().into(),
    ])
}
