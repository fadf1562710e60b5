//! Statements that clear sandbox accounts. Each of them says itself that it is about a sandbox: no other row is found, or written.

use super::{Dialect, Statement, proposals, requests::LISTED};
use crate::{ProposalKey, Seen};
use handoff_proto::v1::TaskRef;

// A proposal whose task is a live account's is that account's, whomever it was offered to.
const NOT_HELD_LIVE: &str =
    "NOT EXISTS (SELECT 1 FROM requests r WHERE r.task_id = proposals.held_by AND NOT r.sandbox)";

/// Requests of sandbox accounts, or of one, by scope and task id.
pub(crate) fn requests(dialect: Dialect, scope: Option<&str>, after: Option<&TaskRef>, limit: u32) -> Statement {
    let mut statement = select_requests();
    statement.push(&dialect.indexed_by("requests_sandbox")).push(" WHERE sandbox");
    let after = after.map(|after| (&*after.scope, &*after.task_id)).unwrap_or_default();
    match scope {
        Some(scope) => statement.push(" AND scope = ").bind(scope).push(" AND task_id > ").bind(after.1),
        None => statement.push(" AND (scope, task_id) > (").bind(after.0).push(", ").bind(after.1).push(")"),
    };
    statement.push(" ORDER BY scope, task_id LIMIT ").bind(i64::from(limit));
    statement
}

/// Locks a request of a sandbox account.
pub(crate) fn lock_request(dialect: Dialect, task: &TaskRef) -> Statement {
    let mut statement = select_requests();
    statement.push(" WHERE sandbox AND task_id = ").bind(&task.task_id).push(" AND scope = ").bind(&task.scope);
    statement.push(" AND principal = ").bind(&task.principal).push(dialect.lock());
    statement
}

/// Proposals that were offered to sandbox accounts alone, or to one, by their keys; without those that a live account's task has.
pub(crate) fn proposals(scope: Option<&str>, after: Option<&ProposalKey>, limit: u32) -> Statement {
    let mut statement = proposals::select(proposals::COLUMNS);
    statement.push("sandbox AND ").push(NOT_HELD_LIVE);
    if let Some(scope) = scope {
        statement.push(" AND scope = ").bind(scope);
    }
    proposals::push_after(&mut statement, after);
    statement.push(&format!(" ORDER BY {} LIMIT ", proposals::KEY)).bind(i64::from(limit));
    statement
}

/// One of them.
pub(crate) fn proposal(key: &ProposalKey) -> Statement {
    let mut statement = proposals::select(proposals::COLUMNS);
    proposals::push_key(&mut statement, key);
    statement.push(" AND sandbox AND ").push(NOT_HELD_LIVE);
    statement
}

/// Deletes one of them, and its history with it, if it is as it was seen and no task is buying it.
pub(crate) fn delete_proposal(key: &ProposalKey, seen: Seen) -> Statement {
    let mut statement = Statement::new("DELETE FROM proposals WHERE ");
    proposals::push_key(&mut statement, key);
    statement.push(" AND created_at = ").bind(seen.created_at).push(" AND version = ").bind(seen.version);
    statement.push(" AND sandbox AND ").push(NOT_HELD_LIVE);
    statement.push(" AND NOT (state = 'consuming' AND");
    statement.push(" EXISTS (SELECT 1 FROM requests r WHERE r.task_id = proposals.held_by))");
    statement
}

/// What is cleared of an account at once: it has at most one of each verb, or one at all.
#[derive(Clone, Copy)]
pub(crate) enum Few {
    /// Directives that wait: all of them are of sandbox accounts.
    Directives,
    /// Governance agents.
    Governance,
}

impl Few {
    fn place(self) -> &'static str {
        match self {
            Self::Directives => "directives WHERE TRUE",
            Self::Governance => "governance_agents WHERE sandbox",
        }
    }
}

/// How many there are.
pub(crate) fn count(few: Few, scope: Option<&str>) -> Statement {
    of_scope(format!("SELECT COUNT(*) FROM {}", few.place()), scope)
}

/// Deletes them.
pub(crate) fn delete(few: Few, scope: Option<&str>) -> Statement {
    of_scope(format!("DELETE FROM {}", few.place()), scope)
}

fn of_scope(text: String, scope: Option<&str>) -> Statement {
    let mut statement = Statement::new(text);
    if let Some(scope) = scope {
        statement.push(" AND scope = ").bind(scope);
    }
    statement
}

fn select_requests() -> Statement {
    Statement::new(format!("SELECT {LISTED}, version FROM requests"))
}
