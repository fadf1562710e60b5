//! Statements on proposals and their history.

use super::{Bind, Dialect, Statement, requests::push_viewer};
use crate::{
    Proposal, ProposalCause, ProposalEntry, ProposalFilter, ProposalKey, ProposalState, RegistryError, SweepBounds,
    rules::proposals::Change,
};
use handoff_proto::{v1::TaskRef, wire::ProposalKind};

pub(super) const COLUMNS: &str = "scope, principal, proposal_id, kind, state, terms_digest, expires_at, io_id, parent_proposal_id, \
     base_media_buy_id, base_media_buy_revision, held_by, buyer_scope, media_buy_id, media_buy_revision, accepted_at, \
     created_at, updated_at, version";
/// The column that holds what the seller offered.
pub(crate) const BODY: &str = "body_json";
pub(super) const KEY: &str = "scope, principal, proposal_id";

/// The columns of the history that may be sealed.
pub(crate) const HISTORY_SEALED: [&str; 2] = ["actor", "reason"];

/// A row of `proposals`.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct ProposalRow {
    scope: String,
    principal: String,
    proposal_id: String,
    kind: String,
    state: String,
    terms_digest: Option<String>,
    expires_at: Option<i64>,
    io_id: Option<String>,
    parent_proposal_id: Option<String>,
    base_media_buy_id: Option<String>,
    base_media_buy_revision: Option<i64>,
    held_by: Option<String>,
    buyer_scope: Option<String>,
    media_buy_id: Option<String>,
    media_buy_revision: Option<i64>,
    accepted_at: Option<i64>,
    created_at: i64,
    updated_at: i64,
    version: i64,
    // Only read where they are asked for.
    #[sqlx(default)]
    pub(crate) body_json: Option<String>,
    #[sqlx(default)]
    pub(crate) sandbox: bool,
}

impl TryFrom<ProposalRow> for Proposal {
    type Error = RegistryError;

    fn try_from(row: ProposalRow) -> Result<Self, RegistryError> {
        let broken = || RegistryError::Corrupt(format!("kind or state of proposal {}", row.proposal_id));
        Ok(Self {
            kind: ProposalKind::parse(&row.kind).ok_or_else(broken)?,
            state: ProposalState::parse(&row.state).ok_or_else(broken)?,
            key: ProposalKey { scope: row.scope, principal: row.principal, proposal_id: row.proposal_id },
            terms_digest: row.terms_digest,
            expires_at: row.expires_at,
            io_id: row.io_id,
            parent_proposal_id: row.parent_proposal_id,
            base_media_buy_id: row.base_media_buy_id,
            base_media_buy_revision: row.base_media_buy_revision,
            held_by: row.held_by,
            buyer_scope: row.buyer_scope,
            media_buy_id: row.media_buy_id,
            media_buy_revision: row.media_buy_revision,
            accepted_at: row.accepted_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
            version: row.version,
        })
    }
}

/// A row of `proposal_history`.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct EntryRow {
    pub(crate) version: i64,
    at: i64,
    event: String,
    task_id: Option<String>,
    actor: String,
    reason: String,
}

impl EntryRow {
    /// The columns that may be sealed, in the order of [`HISTORY_SEALED`].
    pub(crate) fn bodies(&mut self) -> [&mut String; 2] {
        [&mut self.actor, &mut self.reason]
    }
}

impl From<EntryRow> for ProposalEntry {
    fn from(row: EntryRow) -> Self {
        Self { at: row.at, event: row.event, task_id: row.task_id, actor: row.actor, reason: row.reason }
    }
}

/// A proposal.
pub(crate) fn by_key(key: &ProposalKey) -> Statement {
    let mut statement = select(COLUMNS);
    push_key(&mut statement, key);
    statement
}

/// A proposal with its body, and whether it is of a sandbox.
pub(crate) fn whole(key: &ProposalKey) -> Statement {
    let mut statement = select(&format!("{COLUMNS}, {BODY}, sandbox"));
    push_key(&mut statement, key);
    statement
}

/// What was accepted last of a media buy, with its body.
pub(crate) fn latest(buyer_scope: &str, principal: &str, media_buy_id: &str) -> Statement {
    let mut statement = select(&format!("{COLUMNS}, {BODY}"));
    statement.push("buyer_scope = ").bind(buyer_scope).push(" AND principal = ").bind(principal);
    statement.push(" AND media_buy_id = ").bind(media_buy_id).push(" AND state = 'consumed'");
    statement.push(" ORDER BY accepted_at DESC LIMIT 1");
    statement
}

/// Who is about to change a media buy.
pub(crate) fn changing(buyer_scope: &str, base_media_buy_id: &str) -> Statement {
    let mut statement = select(COLUMNS);
    statement.push("buyer_scope = ").bind(buyer_scope).push(" AND base_media_buy_id = ").bind(base_media_buy_id);
    statement.push(" AND state = 'consuming'");
    statement
}

/// The proposal that made a media buy.
pub(crate) fn made(buyer_scope: &str, media_buy_id: &str) -> Statement {
    let mut statement = select(COLUMNS);
    statement.push("buyer_scope = ").bind(buyer_scope).push(" AND media_buy_id = ").bind(media_buy_id);
    statement.push(" AND kind = 'new_media_buy' AND media_buy_id IS NOT NULL");
    statement
}

/// What a task has reserved.
pub(crate) fn held_by(task_id: &str) -> Statement {
    let mut statement = select(COLUMNS);
    statement.push("held_by = ").bind(task_id).push(" AND state = 'consuming'");
    statement
}

/// What a task has reserved, with its body, if it is this agent's task for this account.
pub(crate) fn reserved_by(task: &TaskRef) -> Statement {
    let mut statement = select(&format!("{COLUMNS}, {BODY}"));
    statement.push("held_by = ").bind(&*task.task_id).push(" AND state = 'consuming'");
    statement.push(" AND buyer_scope = ").bind(&*task.scope).push(" AND principal = ").bind(&*task.principal);
    statement
}

/// Locks what is selected.
pub(crate) fn locking(mut statement: Statement, dialect: Dialect) -> Statement {
    statement.push(dialect.lock());
    statement
}

/// What an offer says beside that.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offered<'a> {
    /// As it is stored.
    pub(crate) body: &'a str,
    /// To a sandbox account.
    pub(crate) sandbox: bool,
}

/// Writes a proposal that is not there yet; nothing if it is.
pub(crate) fn insert(proposal: &Proposal, offered: Offered<'_>) -> Statement {
    let mut statement = Statement::new(format!("INSERT INTO proposals ({KEY}, created_at, body_json, sandbox"));
    let columns = columns(proposal);
    for (column, _) in &columns {
        statement.push(", ").push(column);
    }
    statement.push(") VALUES (");
    let key = &proposal.key;
    statement.bind_all([&key.scope, &key.principal, &key.proposal_id]);
    statement.push(", ").bind(proposal.created_at).push(", ").bind(offered.body).push(", ").bind(offered.sandbox);
    for (_, value) in columns {
        statement.push(", ").bind(value);
    }
    statement.push(") ON CONFLICT DO NOTHING");
    statement
}

/// Writes a locked proposal; with an offer, that too. What was offered to a live account once is a live account's.
pub(crate) fn update(proposal: &Proposal, offered: Option<Offered<'_>>) -> Statement {
    let mut statement = Statement::new("UPDATE proposals SET ");
    for (index, (column, value)) in columns(proposal).into_iter().enumerate() {
        statement.push(if index == 0 { "" } else { ", " }).push(column).push(" = ").bind(value);
    }
    if let Some(Offered { body, sandbox }) = offered {
        statement.push(", body_json = ").bind(body).push(", sandbox = sandbox AND ").bind(sandbox);
    }
    statement.push(" WHERE ");
    push_key(&mut statement, &proposal.key);
    statement
}

/// A locked proposal was offered to a live account, too.
pub(crate) fn leave_sandbox(key: &ProposalKey) -> Statement {
    let mut statement = Statement::new("UPDATE proposals SET sandbox = FALSE WHERE ");
    push_key(&mut statement, key);
    statement
}

/// Writes the body alone.
pub(crate) fn update_body(key: &ProposalKey, body: &str) -> Statement {
    let mut statement = Statement::new("UPDATE proposals SET body_json = ");
    statement.bind(body).push(" WHERE ");
    push_key(&mut statement, key);
    statement
}

/// What became known of the revision of a media buy.
pub(crate) fn revise(buyer_scope: &str, media_buy_id: &str, revision: i64) -> Statement {
    let mut statement = Statement::new("UPDATE proposals SET media_buy_revision = ");
    statement.bind(revision).push(" WHERE buyer_scope = ").bind(buyer_scope);
    statement.push(" AND media_buy_id = ").bind(media_buy_id).push(" AND state = 'consumed'");
    statement.push(" AND (media_buy_revision IS NULL OR media_buy_revision < ").bind(revision).push(")");
    // Earlier ones keep the revision that they made.
    statement.push(" AND NOT EXISTS (SELECT 1 FROM proposals later WHERE later.buyer_scope = ").bind(buyer_scope);
    statement.push(" AND later.media_buy_id = ").bind(media_buy_id).push(" AND later.state = 'consumed'");
    statement.push(" AND later.accepted_at > proposals.accepted_at)");
    statement
}

/// Writes an entry of a proposal's history: the texts of the cause are sealed already.
pub(crate) fn append_history(change: &Change, cause: &ProposalCause, at: i64) -> Statement {
    let mut statement = Statement::new(format!(
        "INSERT INTO proposal_history ({KEY}, version, at, event, task_id, actor, reason) VALUES ("
    ));
    let key = &change.after.key;
    statement.bind_all([&key.scope, &key.principal, &key.proposal_id]);
    statement.push(", ").bind(change.after.version).push(", ").bind(at).push(", ").bind(change.event);
    statement.push(", ").bind(&cause.task_id).push(", ").bind(&cause.actor).push(", ").bind(&cause.reason).push(")");
    statement
}

/// The history of a proposal, in order.
pub(crate) fn history(key: &ProposalKey) -> Statement {
    let mut statement =
        Statement::new("SELECT version, at, event, task_id, actor, reason FROM proposal_history WHERE ");
    push_key(&mut statement, key);
    statement.push(" ORDER BY version");
    statement
}

/// Writes the texts of one entry of a locked proposal's history.
pub(crate) fn update_history(key: &ProposalKey, version: i64, changes: Vec<(&'static str, Bind)>) -> Statement {
    let mut statement = Statement::new("UPDATE proposal_history SET ");
    for (index, (column, value)) in changes.into_iter().enumerate() {
        statement.push(if index == 0 { "" } else { ", " }).push(column).push(" = ").bind(value);
    }
    statement.push(" WHERE ");
    push_key(&mut statement, key);
    statement.push(" AND version = ").bind(version);
    statement
}

/// Deletes a locked proposal, and its history with it.
pub(crate) fn delete(key: &ProposalKey) -> Statement {
    let mut statement = Statement::new("DELETE FROM proposals WHERE ");
    push_key(&mut statement, key);
    statement
}

/// Proposals, by their keys.
pub(crate) fn list(filter: &ProposalFilter, limit: u32) -> Statement {
    let mut statement = select(COLUMNS);
    push_viewer(&mut statement, &filter.viewer);
    if let Some(state) = filter.state {
        // As a constant, so that the partial index is found.
        statement.push(&format!(" AND state = '{}'", state.as_str()));
    }
    if let Some(proposal_id) = &filter.proposal_id {
        statement.push(" AND proposal_id = ").bind(proposal_id);
    }
    push_after(&mut statement, filter.after.as_ref());
    statement.push(&format!(" ORDER BY {KEY} LIMIT ")).bind(i64::from(limit));
    statement
}

/// All proposals, by their keys.
pub(crate) fn walk(after: Option<&ProposalKey>, limit: u32) -> Statement {
    let mut statement = select(COLUMNS);
    statement.push("TRUE");
    push_after(&mut statement, after);
    statement.push(&format!(" ORDER BY {KEY} LIMIT ")).bind(i64::from(limit));
    statement
}

/// Which old proposals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Old {
    Drafts,
    Expired,
    Idle,
}

/// Deletes old proposals, and their history with them: nobody is buying them.
pub(crate) fn delete_old(old: Old, bounds: &SweepBounds, limit: u32) -> Statement {
    let (what, column, before) = match old {
        Old::Drafts => ("state = 'draft'", "updated_at", bounds.drafts_before),
        Old::Expired => {
            ("state IN ('draft', 'committed') AND expires_at IS NOT NULL", "expires_at", bounds.expired_before)
        }
        Old::Idle => {
            ("(state = 'declined' OR (state = 'committed' AND expires_at IS NULL))", "updated_at", bounds.idle_before)
        }
    };
    // The condition stands twice: a row that changed while this waited for its lock is looked at again.
    let mut statement = Statement::new(format!("DELETE FROM proposals WHERE {what} AND {column} < "));
    statement.bind(before).push(&format!(" AND ({KEY}) IN (SELECT {KEY} FROM proposals WHERE {what} AND {column} < "));
    statement.bind(before).push(&format!(" ORDER BY {column} LIMIT ")).bind(i64::from(limit)).push(")");
    statement
}

/// Reservations whose tasks have ended or are gone.
pub(crate) fn stranded(reserved_before: i64, limit: u32) -> Statement {
    let mut statement = select(COLUMNS);
    statement.push("state = 'consuming' AND updated_at < ").bind(reserved_before);
    statement.push(" AND NOT EXISTS (SELECT 1 FROM requests r WHERE r.task_id = proposals.held_by AND r.unfinished)");
    statement.push(" ORDER BY held_by LIMIT ").bind(i64::from(limit));
    statement
}

pub(super) fn select(columns: &str) -> Statement {
    Statement::new(format!("SELECT {columns} FROM proposals WHERE "))
}

pub(super) fn push_key(statement: &mut Statement, key: &ProposalKey) {
    statement.push("scope = ").bind(&key.scope).push(" AND principal = ").bind(&key.principal);
    statement.push(" AND proposal_id = ").bind(&key.proposal_id);
}

pub(super) fn push_after(statement: &mut Statement, after: Option<&ProposalKey>) {
    if let Some(after) = after {
        statement.push(&format!(" AND ({KEY}) > ("));
        statement.bind_all([&after.scope, &after.principal, &after.proposal_id]).push(")");
    }
}

/// Everything but key, creation and body.
fn columns(proposal: &Proposal) -> Vec<(&'static str, Bind)> {
    vec![
        ("kind", proposal.kind.as_str().into()),
        ("state", proposal.state.as_str().into()),
        ("terms_digest", (&proposal.terms_digest).into()),
        ("expires_at", proposal.expires_at.into()),
        ("io_id", (&proposal.io_id).into()),
        ("parent_proposal_id", (&proposal.parent_proposal_id).into()),
        ("base_media_buy_id", (&proposal.base_media_buy_id).into()),
        ("base_media_buy_revision", proposal.base_media_buy_revision.into()),
        ("held_by", (&proposal.held_by).into()),
        ("buyer_scope", (&proposal.buyer_scope).into()),
        ("media_buy_id", (&proposal.media_buy_id).into()),
        ("media_buy_revision", proposal.media_buy_revision.into()),
        ("accepted_at", proposal.accepted_at.into()),
        ("updated_at", proposal.updated_at.into()),
        ("version", proposal.version.into()),
    ]
}
