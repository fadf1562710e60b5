//! Statements on single requests, their history, and what maintenance looks for.

use super::{Bind, Dialect, Statement, keys::stored_key};
use crate::{
    Arm, Candidate, RegistryError, Viewer,
    rules::{Entry, Request},
};
use handoff_proto::v1::TaskRef;

/// The columns of `requests` that rules read and write, in the order of [`values`] but for the last two.
pub(crate) const COLUMNS: &str = "task_id, scope, principal, verb, protocol, idempotency_key, request_hash, \
     context_json, has_webhook, claim_state, answer_status, answer_json, answered_at, expires_at, decision, decided_at, \
     task_status, visible, progress_json, result_json, error_json, decision_id, actor, reason, created_at, updated_at, \
     completed_at, version, lease_until, rerunnable, proposal_json, adcp_version, told_json, sandbox";

/// What a poll says of a task, and no more: reading a column costs about as much as finding it, and opening a sealed one more.
pub(crate) const POLLED: &str = "task_id, scope, principal, verb, protocol, context_json, has_webhook, task_status, \
     progress_json, result_json, told_json, error_json, decision_id, actor, reason, created_at, updated_at, completed_at";

/// What a buyer's list says of a task.
pub(crate) const LISTED: &str =
    "task_id, scope, principal, verb, protocol, has_webhook, task_status, created_at, updated_at, completed_at";

/// The same, and what is looked into.
pub(crate) const LISTED_WITH_CONTEXT: &str = "task_id, scope, principal, verb, protocol, has_webhook, task_status, created_at, \
     updated_at, completed_at, context_json";

/// All columns, with the bodies left out: whether there is a decision is all that is left of it.
pub(crate) const OUTLINE: &str = "task_id, scope, principal, verb, protocol, idempotency_key, request_hash, \
     CAST(NULL AS TEXT) AS context_json, has_webhook, claim_state, answer_status, CAST(NULL AS TEXT) AS answer_json, \
     answered_at, expires_at, CASE WHEN decision IS NULL THEN NULL ELSE '{\"void\":{}}' END AS decision, decided_at, \
     task_status, visible, CAST(NULL AS TEXT) AS progress_json, CAST(NULL AS TEXT) AS result_json, \
     CAST(NULL AS TEXT) AS error_json, decision_id, CAST(NULL AS TEXT) AS actor, CAST(NULL AS TEXT) AS reason, \
     created_at, updated_at, completed_at, version, lease_until, rerunnable, CAST(NULL AS TEXT) AS proposal_json, \
     adcp_version, CAST(NULL AS TEXT) AS told_json, sandbox";

/// The column that only webhooks' delivery reads.
pub(crate) const WEBHOOK: &str = "webhook_json";

/// The columns that hold what somebody sent, returned or wrote.
pub(crate) const SEALED: [&str; 11] = [
    "context_json",
    "answer_json",
    "decision",
    "progress_json",
    "result_json",
    "error_json",
    "actor",
    "reason",
    WEBHOOK,
    "proposal_json",
    "told_json",
];

/// The columns of the history that hold such, and what they are called as a [`crate::Place`].
pub(crate) const HISTORY_SEALED: [(&str, &str); 3] = [
    ("actor", "request_history.actor"),
    ("reason", "request_history.reason"),
    ("detail_json", "request_history.detail_json"),
];

const HISTORY_COLUMNS: &str = "task_id, entry_key, at, event, status, actor, reason, detail_json";

/// Locks a task's row.
pub(crate) fn lock(dialect: Dialect, task: &TaskRef) -> Statement {
    let mut statement = by_ref(task);
    statement.push(dialect.lock());
    statement
}

/// Locks a task's row, and reads no more than its outline.
pub(crate) fn lock_outline(dialect: Dialect, task: &TaskRef) -> Statement {
    let mut statement = select_by_ref(OUTLINE, task);
    statement.push(dialect.lock());
    statement
}

/// The same, unless the task's webhook may still be sent.
pub(crate) fn lock_purgeable(dialect: Dialect, task: &TaskRef, now: i64) -> Statement {
    let mut statement = select_by_ref(OUTLINE, task);
    statement.push(" AND NOT EXISTS (SELECT 1 FROM webhooks w WHERE w.task_id = requests.task_id");
    statement.push(" AND w.state = 'pending' AND w.expires_at > ").bind(now).push(")");
    statement.push(dialect.lock());
    statement
}

/// Reads a task's row.
pub(crate) fn by_ref(task: &TaskRef) -> Statement {
    select_by_ref(COLUMNS, task)
}

/// Reads the webhook of a task, beside its outline.
pub(crate) fn webhook(task: &TaskRef) -> Statement {
    select_by_ref(&format!("{OUTLINE}, {WEBHOOK}"), task)
}

fn select_by_ref(columns: &str, task: &TaskRef) -> Statement {
    let mut statement = select(columns);
    statement.push("task_id = ").bind(&task.task_id);
    statement.push(" AND scope = ").bind(&task.scope).push(" AND principal = ").bind(&task.principal);
    statement
}

/// Locks the row that has a task id, whoever's it is.
pub(crate) fn lock_id(dialect: Dialect, task_id: &str) -> Statement {
    let mut statement = select(COLUMNS);
    statement.push("task_id = ").bind(task_id).push(dialect.lock());
    statement
}

/// Reads all of the row that has a task id.
pub(crate) fn whole(task_id: &str) -> Statement {
    let mut statement = select(&format!("{COLUMNS}, {WEBHOOK}"));
    statement.push("task_id = ").bind(task_id);
    statement
}

/// Locks the row that has a key.
pub(crate) fn lock_key(dialect: Dialect, task: &TaskRef, key: &str) -> Statement {
    let mut statement = select(COLUMNS);
    push_key(&mut statement, task, key);
    statement.push(dialect.lock());
    statement
}

// The second is how keys were stored before the second migration.
fn push_key(statement: &mut Statement, task: &TaskRef, key: &str) {
    statement.push("scope = ").bind(&task.scope).push(" AND principal = ").bind(&task.principal);
    statement.push(" AND idempotency_key IN (").bind(stored_key(task, key)).push(", ").bind(key).push(")");
}

/// Reads the row of a visible task that a viewer may see.
pub(crate) fn by_viewer(viewer: &Viewer, task_id: &str) -> Statement {
    let mut statement = select_by_viewer(POLLED, viewer, task_id);
    statement.push(" AND visible");
    statement
}

/// Reads what a task, visible or not, is called, if the viewer may see it.
pub(crate) fn reference_by_viewer(viewer: &Viewer, task_id: &str) -> Statement {
    select_by_viewer(LISTED, viewer, task_id)
}

fn select_by_viewer(columns: &str, viewer: &Viewer, task_id: &str) -> Statement {
    let mut statement = select(columns);
    statement.push("task_id = ").bind(task_id).push(" AND ");
    push_viewer(&mut statement, viewer);
    statement
}

/// Reads what polls say of some tasks.
pub(crate) fn by_ids<'a>(task_ids: impl IntoIterator<Item = &'a String>) -> Statement {
    let mut statement = select(POLLED);
    statement.push("task_id IN (").bind_all(task_ids).push(")");
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

/// A column and its value.
pub(crate) type Change = (&'static str, Bind);

/// Every column of a request that is not there yet.
pub(crate) fn columns(request: &Request) -> Result<Vec<Change>, RegistryError> {
    columns_with(request, Messages { decision: true, error: true })
}

fn columns_with(request: &Request, messages: Messages) -> Result<Vec<Change>, RegistryError> {
    let columns = COLUMNS.split(", ").chain(["unfinished", "arm"]);
    Ok(columns.zip(values(request, messages)?).collect())
}

/// The columns that differ between two states of a request, and what they are to be.
pub(crate) fn changes(before: &Request, after: &Request) -> Result<Vec<Change>, RegistryError> {
    let messages = Messages { decision: before.journal != after.journal, error: before.error != after.error };
    let mut changes = columns_with(after, messages)?;
    let before_columns = values(before, messages)?;
    let mut before_columns = before_columns.iter();
    changes.retain(|(_, value)| before_columns.next() != Some(value));
    if before.needs_webhook() && !after.needs_webhook() {
        changes.push((WEBHOOK, Bind::Text(None)));
    }
    Ok(changes)
}

/// What makes a tombstone of a request, whatever its row holds: all but what never changes.
pub(crate) fn tombstone(request: &Request) -> Result<Vec<Change>, RegistryError> {
    const FIXED: [&str; 9] = [
        "task_id",
        "scope",
        "principal",
        "verb",
        "protocol",
        "idempotency_key",
        "created_at",
        "adcp_version",
        "sandbox",
    ];
    let mut changes = columns(request)?;
    changes.retain(|(column, _)| !FIXED.contains(column));
    changes.push((WEBHOOK, Bind::Text(None)));
    Ok(changes)
}

/// Writes a request that is not there yet; nothing if its task id or its key is.
pub(crate) fn insert(task: &TaskRef, key: Option<&str>, changes: Vec<Change>) -> Statement {
    let mut statement = Statement::new("INSERT INTO requests (");
    for (index, (column, _)) in changes.iter().enumerate() {
        statement.push(if index == 0 { "" } else { ", " }).push(column);
    }
    statement.push(") SELECT ").bind_all(changes.into_iter().map(|(_, value)| value));
    statement.push(" WHERE TRUE");
    if let Some(key) = key {
        // What the unique index can't see: the same key, as it was stored before the second migration.
        statement.push(" AND NOT EXISTS (SELECT 1 FROM requests WHERE ");
        push_key(&mut statement, task, key);
        statement.push(")");
    }
    statement.push(" ON CONFLICT DO NOTHING");
    statement
}

/// Writes columns of a locked row.
pub(crate) fn update(task_id: &str, changes: Vec<Change>) -> Statement {
    let mut statement = Statement::new("UPDATE requests SET ");
    for (index, (column, value)) in changes.into_iter().enumerate() {
        statement.push(if index == 0 { "" } else { ", " }).push(column).push(" = ").bind(value);
    }
    statement.push(" WHERE task_id = ").bind(task_id);
    statement
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

/// Writes the texts of one entry of a locked request's history.
pub(crate) fn update_history(task_id: &str, entry_key: &str, changes: Vec<Change>) -> Statement {
    let mut statement = Statement::new("UPDATE request_history SET ");
    for (index, (column, value)) in changes.into_iter().enumerate() {
        statement.push(if index == 0 { "" } else { ", " }).push(column).push(" = ").bind(value);
    }
    statement.push(" WHERE task_id = ").bind(task_id).push(" AND entry_key = ").bind(entry_key);
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
    let mut statement = select(OUTLINE);
    statement.push("unfinished AND updated_at < ").bind(updated_before);
    statement.push(" AND task_id > ").bind(after.unwrap_or_default());
    statement.push(" ORDER BY task_id LIMIT ").bind(i64::from(limit));
    statement
}

/// Open requests, counted: verb, arm, status, visible, how many, the oldest.
pub(crate) fn open_tasks(dialect: Dialect) -> Statement {
    let mut statement = Statement::new(
        "SELECT verb, arm, task_status, visible, COUNT(*) AS number, MIN(created_at) AS oldest FROM requests",
    );
    statement.push(&dialect.indexed_by("requests_open"));
    statement.push(" WHERE unfinished GROUP BY verb, arm, task_status, visible");
    statement
}

/// Deletes the row of a task that has no history.
pub(crate) fn delete(task_id: &str) -> Statement {
    let mut statement = Statement::new("DELETE FROM requests WHERE task_id = ");
    statement.bind(task_id);
    statement
}

/// Ended requests that may be purged, the oldest first.
pub(crate) fn purgeable(updated_before: i64, now: i64, after: Option<&Candidate>, limit: u32) -> Statement {
    expired("NOT unfinished AND claim_state <> 'purged'", updated_before, now, after, limit)
}

/// Tombstones that may be deleted, the oldest first.
pub(crate) fn tombstones(purged_before: i64, now: i64, after: Option<&Candidate>, limit: u32) -> Statement {
    expired("claim_state = 'purged'", purged_before, now, after, limit)
}

fn expired(which: &str, updated_before: i64, now: i64, after: Option<&Candidate>, limit: u32) -> Statement {
    let mut statement = select(OUTLINE);
    statement.push(which).push(" AND updated_at < ").bind(updated_before);
    statement.push(" AND expires_at <= ").bind(now);
    if let Some(after) = after {
        statement.push(" AND (updated_at, task_id) > (").bind(after.updated_at).push(", ");
        statement.bind(&after.task.task_id).push(")");
    }
    statement.push(" ORDER BY updated_at, task_id LIMIT ").bind(i64::from(limit));
    statement
}

/// The outlines of all requests, by task id.
pub(crate) fn walk(after: Option<&str>, limit: u32) -> Statement {
    let mut statement = select(OUTLINE);
    statement.push("task_id > ").bind(after.unwrap_or_default());
    statement.push(" ORDER BY task_id LIMIT ").bind(i64::from(limit));
    statement
}

fn select(columns: &str) -> Statement {
    Statement::new(format!("SELECT {columns} FROM requests WHERE "))
}

/// Which messages are written out; both may be large, and neither often changes.
#[derive(Clone, Copy)]
struct Messages {
    decision: bool,
    error: bool,
}

fn values(request: &Request, messages: Messages) -> Result<Vec<Bind>, RegistryError> {
    let json = |text: serde_json::Result<String>| text.map_err(|error| RegistryError::Corrupt(error.to_string()));
    let decision = if messages.decision { request.decision() } else { None };
    let decision = decision.map(|decision| json(serde_json::to_string(&decision))).transpose()?;
    let error = request.error.as_ref().filter(|_| messages.error);
    let error = error.map(|error| json(serde_json::to_string(error))).transpose()?;
    let proposal = request.proposal.as_ref().map(|proposal| json(serde_json::to_string(proposal))).transpose()?;
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
        request.lease.map(|lease| lease.until).into(),
        request.lease.is_some_and(|lease| lease.rerunnable).into(),
        proposal.into(),
        request.release.as_str().into(),
        (&request.told_json).into(),
        request.sandbox.into(),
        request.stage().is_some().into(),
        Arm::of(request).as_str().into(),
    ])
}
