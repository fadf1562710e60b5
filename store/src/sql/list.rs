//! Lists of tasks: filters, order, pages.
//!
//! A page walks one index in order from where the last page ended, so it costs what its rows cost, however many tasks
//! there are. A reviewer's accounts are walked each by itself and merged.
//!
//! What a context contains is looked for by the database; sealed contexts are opened and looked at by [`List::holds`], of a
//! bounded number of candidates.

use super::{
    Bind, Dialect, Row, Statement,
    cursor::{Cursor, Position, fingerprint},
    requests::{LISTED, LISTED_WITH_CONTEXT, POLLED, push_viewer},
};
use crate::{RegistryError, Viewer, vault::SEALED};
use chrono::{DateTime, Utc};
use handoff_proto::wire::{ListTasksRequest, SortDirection, SortField};
use serde_json::json;

/// How many matching tasks are counted at most.
pub(crate) const MAX_TOTAL: i64 = 1_000;

/// How many tasks' contexts are opened for one page at most, and how many are read at once.
pub(crate) const MAX_CANDIDATES: u32 = 1_000;
pub(crate) const CANDIDATES_AT_ONCE: u32 = 250;

const MAX_RESULTS: u32 = 100;
const MAX_TASK_IDS: usize = 100;
// Beyond this many accounts the tasks of all are walked, and those of others left out.
const MAX_MERGED_SCOPES: usize = 50;

/// A list request, checked.
pub(crate) struct List {
    viewer: Viewer,
    filters: Filters,
    field: SortField,
    direction: SortDirection,
    limit: u32,
    cursor: Option<Cursor>,
    fingerprint: String,
}

/// What is read of the tasks that match.
struct Walk<'a> {
    columns: &'static str,
    limit: u32,
    after: Option<&'a Cursor>,
    /// The database looks into contexts, too.
    context: bool,
}

/// One set for each field; an empty one holds everything.
#[derive(serde::Serialize)]
struct Filters {
    protocols: Vec<String>,
    statuses: Vec<String>,
    task_types: Vec<String>,
    task_ids: Vec<String>,
    created_after: Option<i64>,
    created_before: Option<i64>,
    updated_after: Option<i64>,
    updated_before: Option<i64>,
    context_contains: Option<String>,
    has_webhook: Option<bool>,
}

impl List {
    pub(crate) fn new(viewer: &Viewer, request: &ListTasksRequest) -> Result<Self, RegistryError> {
        let limit = request.pagination.max_results;
        if !(1..=MAX_RESULTS).contains(&limit) {
            return Err(invalid("pagination.max_results", format!("{limit} is not within 1 to {MAX_RESULTS}")));
        }
        let given = &request.filters;
        if given.task_ids.len() > MAX_TASK_IDS {
            let message = format!("{} ids, at most {MAX_TASK_IDS} are allowed", given.task_ids.len());
            return Err(invalid("filters.task_ids", message));
        }
        let statuses = given.statuses.iter().chain(&given.status).map(|status| status.to_string());
        let filters = Filters {
            protocols: set(given.protocols.iter().chain(&given.protocol).cloned()),
            statuses: set(statuses),
            task_types: set(given.task_types.iter().chain(&given.task_type).cloned()),
            task_ids: set(given.task_ids.iter().cloned()),
            created_after: given.created_after.map(floor),
            created_before: given.created_before.map(ceiling),
            updated_after: given.updated_after.map(floor),
            updated_before: given.updated_before.map(ceiling),
            context_contains: given.context_contains.clone().filter(|text| !text.is_empty()),
            has_webhook: given.has_webhook,
        };
        let viewer = match viewer {
            Viewer::Reviewer { scopes } => {
                let storable = scopes.iter().filter(|scope| !scope.contains('\0'));
                Viewer::Reviewer { scopes: set(storable.cloned()) }
            }
            other => other.clone(),
        };
        let (field, direction) = (request.sort.field, request.sort.direction);
        let fingerprint = fingerprint(&json!([owner(&viewer), filters, field, direction]).to_string());
        let cursor = match &request.pagination.cursor {
            Some(text) => Some(Cursor::decode(text, &fingerprint)?),
            None => None,
        };
        let list = Self { viewer, filters, field, direction, limit, cursor, fingerprint };
        match list.cursor.as_ref().map(|cursor| &cursor.value) {
            Some(Position::Int(_)) if !list.sorts_by_time() => Err(RegistryError::InvalidCursor),
            Some(Position::Text(text)) if list.sorts_by_time() || text.contains('\0') => {
                Err(RegistryError::InvalidCursor)
            }
            _ => Ok(list),
        }
    }

    /// No task can match.
    pub(crate) fn is_empty(&self) -> bool {
        let filters = &self.filters;
        let names = [&filters.protocols, &filters.task_types, &filters.task_ids];
        // PostgreSQL's text can't hold U+0000, so none of its texts is equal to this one.
        let unstorable = |texts: &&Vec<String>| !texts.is_empty() && texts.iter().all(|text| text.contains('\0'));
        names.iter().any(unstorable)
            || filters.context_contains.as_ref().is_some_and(|text| text.contains('\0'))
            || match &self.viewer {
                Viewer::Buyer { scope, principal } => scope.contains('\0') || principal.contains('\0'),
                Viewer::Reviewer { scopes } => scopes.is_empty(),
                Viewer::Operator => false,
            }
    }

    /// The tasks of the page, and one more if another page follows.
    pub(crate) fn page(&self, dialect: Dialect) -> Statement {
        let columns = match (self.reads_bodies(), self.looks_into_contexts()) {
            (true, _) => POLLED,
            // A sealed one that nobody can open has to be found out.
            (false, true) => LISTED_WITH_CONTEXT,
            (false, false) => LISTED,
        };
        let walk = Walk { columns, limit: self.limit + 1, after: self.cursor.as_ref(), context: true };
        self.select(dialect, &walk)
    }

    /// Does the viewer see more than `list_tasks` says?
    pub(crate) fn reads_bodies(&self) -> bool {
        !matches!(self.viewer, Viewer::Buyer { .. })
    }

    /// Does the request ask for what a context contains?
    pub(crate) fn looks_into_contexts(&self) -> bool {
        self.filters.context_contains.is_some()
    }

    /// The page is not the first.
    pub(crate) fn goes_on(&self) -> bool {
        self.cursor.is_some()
    }

    /// The most tasks that a page may have.
    pub(crate) fn limit(&self) -> usize {
        self.limit as usize
    }

    /// Tasks that match in all but their contexts, with these: the next after `last`, or after the page before.
    pub(crate) fn candidates(&self, dialect: Dialect, last: Option<&Row>) -> Statement {
        let last = last.map(|row| self.cursor_at(row));
        let after = last.as_ref().or(self.cursor.as_ref());
        self.select(dialect, &Walk { columns: LISTED_WITH_CONTEXT, limit: CANDIDATES_AT_ONCE, after, context: false })
    }

    /// Has this context, opened, what is looked for?
    pub(crate) fn holds(&self, context: Option<&str>) -> bool {
        match &self.filters.context_contains {
            Some(part) => context.is_some_and(|context| context.contains(part.as_str())),
            None => true,
        }
    }

    fn select(&self, dialect: Dialect, walk: &Walk<'_>) -> Statement {
        let mut statement = Statement::default();
        match &self.viewer {
            // A short list of ids is looked up and sorted.
            _ if !self.filters.task_ids.is_empty() => {
                self.push_walk(&mut statement, dialect, walk, &self.viewer, Some("requests_task_id"));
            }
            Viewer::Reviewer { scopes } if (2..=MAX_MERGED_SCOPES).contains(&scopes.len()) => {
                for (index, scope) in scopes.iter().enumerate() {
                    let one = Viewer::Reviewer { scopes: vec![scope.clone()] };
                    statement.push(if index == 0 { "SELECT * FROM (" } else { " UNION ALL SELECT * FROM (" });
                    self.push_walk(&mut statement, dialect, walk, &one, self.index(&one));
                    statement.push(&format!(") AS scope_{index}"));
                }
                self.push_order(&mut statement, walk.limit);
            }
            viewer => self.push_walk(&mut statement, dialect, walk, viewer, self.index(viewer)),
        }
        statement
    }

    /// How many tasks match; one more than [`MAX_TOTAL`] means more.
    pub(crate) fn count(&self, dialect: Dialect) -> Statement {
        let mut statement = Statement::new("SELECT COUNT(*) FROM (SELECT 1 FROM requests WHERE visible AND ");
        push_viewer(&mut statement, &self.viewer);
        self.filters.push(&mut statement, dialect, true);
        statement.push(" LIMIT ").bind(MAX_TOTAL + 1).push(") AS matching");
        statement
    }

    /// Cuts the page off, and says where the next begins.
    pub(crate) fn cut(&self, rows: &mut Vec<Row>) -> Result<Option<String>, RegistryError> {
        let limit = self.limit as usize;
        if rows.len() <= limit {
            return Ok(None);
        }
        rows.truncate(limit);
        rows.last().map(|last| self.cursor_at(last).encode()).transpose()
    }

    /// Where a page begins that follows this task.
    pub(crate) fn cursor_at(&self, last: &Row) -> Cursor {
        let value = match self.field {
            SortField::CreatedAt => Position::Int(last.created_at),
            SortField::UpdatedAt => Position::Int(last.updated_at),
            SortField::Status => Position::Text(last.task_status.clone().unwrap_or_default()),
            SortField::TaskType => Position::Text(last.verb.clone()),
            SortField::Protocol => Position::Text(last.protocol.clone()),
        };
        Cursor { value, task_id: last.task_id.clone(), query: self.fingerprint.clone() }
    }

    fn push_walk(
        &self,
        statement: &mut Statement,
        dialect: Dialect,
        walk: &Walk<'_>,
        viewer: &Viewer,
        index: Option<&str>,
    ) {
        statement.push("SELECT ").push(walk.columns).push(" FROM requests");
        if let Some(index) = index {
            statement.push(&dialect.indexed_by(index));
        }
        statement.push(" WHERE visible AND ");
        // Always true, and part of the indexes' predicates: see the migration.
        match viewer {
            Viewer::Buyer { .. } => {}
            Viewer::Reviewer { scopes } if scopes.len() == 1 => {
                statement.push("version >= 0 AND ");
            }
            Viewer::Reviewer { .. } | Viewer::Operator => {
                statement.push("version >= 1 AND ");
            }
        }
        match viewer {
            // An equality keeps the index in order where IN, even of one, may not.
            Viewer::Reviewer { scopes } if scopes.len() == 1 => {
                statement.push("scope = ").bind(&scopes[0]);
            }
            viewer => push_viewer(statement, viewer),
        }
        self.filters.push(statement, dialect, walk.context);
        if let Some(cursor) = walk.after {
            let value: Bind = match &cursor.value {
                Position::Int(value) => (*value).into(),
                Position::Text(value) => value.into(),
            };
            let beyond = if self.direction == SortDirection::Asc { ">" } else { "<" };
            statement.push(&format!(" AND ({}, task_id) {beyond} (", self.column())).bind(value);
            statement.push(", ").bind(&cursor.task_id).push(")");
        }
        self.push_order(statement, walk.limit);
    }

    fn push_order(&self, statement: &mut Statement, limit: u32) {
        let direction = if self.direction == SortDirection::Asc { "ASC" } else { "DESC" };
        statement.push(&format!(" ORDER BY {} {direction}, task_id {direction} LIMIT ", self.column()));
        statement.bind(i64::from(limit));
    }

    fn column(&self) -> &'static str {
        match self.field {
            SortField::CreatedAt => "created_at",
            SortField::UpdatedAt => "updated_at",
            SortField::Status => "task_status",
            SortField::TaskType => "verb",
            SortField::Protocol => "protocol",
        }
    }

    fn sorts_by_time(&self) -> bool {
        matches!(self.field, SortField::CreatedAt | SortField::UpdatedAt)
    }

    // Names have indexes for buyers only; reviewers and operators sort what matches.
    fn index(&self, viewer: &Viewer) -> Option<&'static str> {
        match (viewer, self.field) {
            (Viewer::Buyer { .. }, SortField::CreatedAt) => Some("requests_buyer_created_at"),
            (Viewer::Buyer { .. }, SortField::UpdatedAt) => Some("requests_buyer_updated_at"),
            (Viewer::Buyer { .. }, SortField::Status) => Some("requests_buyer_status"),
            (Viewer::Buyer { .. }, SortField::TaskType) => Some("requests_buyer_task_type"),
            (Viewer::Buyer { .. }, SortField::Protocol) => Some("requests_buyer_protocol"),
            (Viewer::Reviewer { scopes }, SortField::CreatedAt) if scopes.len() == 1 => {
                Some("requests_scope_created_at")
            }
            (Viewer::Reviewer { scopes }, SortField::UpdatedAt) if scopes.len() == 1 => {
                Some("requests_scope_updated_at")
            }
            (_, SortField::CreatedAt) => Some("requests_all_created_at"),
            (_, SortField::UpdatedAt) => Some("requests_all_updated_at"),
            _ => None,
        }
    }
}

impl Filters {
    fn push(&self, statement: &mut Statement, dialect: Dialect, context: bool) {
        for (column, names) in [
            ("protocol", &self.protocols),
            ("task_status", &self.statuses),
            ("verb", &self.task_types),
            ("task_id", &self.task_ids),
        ] {
            if !names.is_empty() {
                let storable = names.iter().filter(|name| !name.contains('\0'));
                statement.push(&format!(" AND {column} IN (")).bind_all(storable).push(")");
            }
        }
        for (condition, time) in [
            ("created_at > ", self.created_after),
            ("created_at < ", self.created_before),
            ("updated_at > ", self.updated_after),
            ("updated_at < ", self.updated_before),
        ] {
            if let Some(time) = time {
                statement.push(" AND ").push(condition).bind(time);
            }
        }
        if let Some(text) = self.context_contains.as_ref().filter(|_| context) {
            statement.push(&format!(" AND ({}(context_json, ", dialect.position())).bind(text).push(") > 0");
            // Nobody can tell whether a sealed one does; without its key, that must be said.
            statement.push(&format!(" OR substr(context_json, 1, {}) = ", SEALED.len())).bind(SEALED).push(")");
        }
        if let Some(has_webhook) = self.has_webhook {
            statement.push(" AND has_webhook = ").bind(has_webhook);
        }
    }
}

fn owner(viewer: &Viewer) -> serde_json::Value {
    match viewer {
        Viewer::Buyer { scope, principal } => json!(["buyer", scope, principal]),
        Viewer::Reviewer { scopes } => json!(["reviewer", scopes]),
        Viewer::Operator => json!(["operator"]),
    }
}

fn set(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    names.dedup();
    names
}

// Times are stored in whole microseconds: later than a time is later than its microsecond, earlier is before the next
// one.
fn floor(time: DateTime<Utc>) -> i64 {
    time.timestamp_micros()
}

fn ceiling(time: DateTime<Utc>) -> i64 {
    time.timestamp_micros() + i64::from(!time.timestamp_subsec_nanos().is_multiple_of(1_000))
}

fn invalid(field: &'static str, message: String) -> RegistryError {
    RegistryError::InvalidQuery { field, message }
}
