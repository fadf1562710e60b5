//! Lists of tasks: filters, order, pages.
//!
//! A page walks an index in order from where the last page ended, so it costs what its rows cost, however many tasks there
//! are. Several accounts, or several names that a filter asks for, are walked each by itself and merged.
//!
//! What a context contains is looked for by the database; sealed contexts are opened and looked at by [`List::holds`], of a
//! bounded number of candidates.

mod filters;
mod strands;

use self::{
    filters::{Filters, set},
    strands::{Strand, strands},
};
use super::{
    Dialect, Row, Statement,
    cursor::{Cursor, Position, fingerprint},
    requests::{LISTED, LISTED_WITH_CONTEXT, POLLED},
};
use crate::{RegistryError, Viewer};
use handoff_proto::wire::{ListTasksRequest, SortDirection, SortField};
use serde_json::json;

/// How many matching tasks are counted at most.
pub(crate) const MAX_TOTAL: i64 = 1_000;

/// How many tasks' contexts are opened for one page at most, and how many are read at once.
pub(crate) const MAX_CANDIDATES: u32 = 1_000;
pub(crate) const CANDIDATES_AT_ONCE: u32 = 250;

const MAX_RESULTS: u32 = 100;

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

impl List {
    pub(crate) fn new(viewer: &Viewer, request: &ListTasksRequest) -> Result<Self, RegistryError> {
        let limit = request.pagination.max_results;
        if !(1..=MAX_RESULTS).contains(&limit) {
            return Err(invalid("pagination.max_results", format!("{limit} is not within 1 to {MAX_RESULTS}")));
        }
        let filters = Filters::new(&request.filters)?;
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
            Some(Position::Time(_)) if !list.sorts_by_time() => Err(RegistryError::InvalidCursor),
            Some(Position::Name(name, _)) if list.sorts_by_time() || name.contains('\0') => {
                Err(RegistryError::InvalidCursor)
            }
            _ => Ok(list),
        }
    }

    /// No task can match.
    pub(crate) fn is_empty(&self) -> bool {
        self.filters.are_unstorable()
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
        let strands = strands(&self.viewer, &self.filters, self.field);
        let apart = strands.len() > 1 && dialect.merges_what_is_in_order();
        for (number, strand) in strands.iter().enumerate() {
            statement.push(if number == 0 { "" } else { " UNION ALL " }).push(if apart { "(" } else { "" });
            self.push_strand(&mut statement, dialect, strand, walk.columns, walk.context);
            if let Some(cursor) = walk.after {
                self.push_beyond(&mut statement, strand, cursor);
            }
            if apart {
                self.push_order(&mut statement, walk.limit);
                statement.push(")");
            }
        }
        self.push_order(&mut statement, walk.limit);
        statement
    }

    /// How many tasks match; one more than [`MAX_TOTAL`] means more.
    pub(crate) fn count(&self, dialect: Dialect) -> Statement {
        let filters = &self.filters;
        let created = filters.created_after.or(filters.created_before);
        let updated = filters.updated_after.or(filters.updated_before);
        // Any order will do: that of a time that they ask for leads past the others.
        let field = if created.is_none() && updated.is_some() { SortField::UpdatedAt } else { SortField::CreatedAt };
        let mut statement = Statement::new("SELECT COUNT(*) FROM (");
        for (number, strand) in strands(&self.viewer, filters, field).iter().enumerate() {
            statement.push(if number == 0 { "" } else { " UNION ALL " });
            self.push_strand(&mut statement, dialect, strand, "1", true);
        }
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
            SortField::CreatedAt => Position::Time(last.created_at),
            SortField::UpdatedAt => Position::Time(last.updated_at),
            SortField::Status => Position::Name(last.task_status.clone().unwrap_or_default(), last.created_at),
            SortField::TaskType => Position::Name(last.verb.clone(), last.created_at),
            SortField::Protocol => Position::Name(last.protocol.clone(), last.created_at),
        };
        Cursor { value, task_id: last.task_id.clone(), query: self.fingerprint.clone() }
    }

    fn push_strand(
        &self,
        statement: &mut Statement,
        dialect: Dialect,
        strand: &Strand<'_>,
        columns: &str,
        context: bool,
    ) {
        statement.push("SELECT ").push(columns).push(" FROM requests").push(&dialect.indexed_by(&strand.index));
        statement.push(" WHERE visible AND ");
        strand.push(statement);
        self.filters.push(statement, dialect, strand.name.map(|(column, _)| column), context);
    }

    /// Appends the condition that holds for a strand's tasks that come after a cursor.
    fn push_beyond(&self, statement: &mut Statement, strand: &Strand<'_>, cursor: &Cursor) {
        let ascending = self.direction == SortDirection::Asc;
        let beyond = if ascending { ">" } else { "<" };
        let column = self.column();
        let (name, created_at) = match &cursor.value {
            Position::Time(time) => {
                statement.push(&format!(" AND ({column}, task_id) {beyond} (")).bind(*time);
                statement.push(", ").bind(&cursor.task_id).push(")");
                return;
            }
            Position::Name(name, created_at) => (name, *created_at),
        };
        match strand.name {
            // All of them have the same name. No index has an order in what is always equal.
            Some((of, own)) if of == column && own != name.as_str() => {
                let follows = (own > name.as_str()) == ascending;
                statement.push(if follows { "" } else { " AND FALSE" });
            }
            Some((of, _)) if of == column => {
                statement.push(&format!(" AND (created_at, task_id) {beyond} (")).bind(created_at);
                statement.push(", ").bind(&cursor.task_id).push(")");
            }
            _ => {
                statement.push(&format!(" AND ({column}, created_at, task_id) {beyond} (")).bind(name);
                statement.push(", ").bind(created_at).push(", ").bind(&cursor.task_id).push(")");
            }
        }
    }

    fn push_order(&self, statement: &mut Statement, limit: u32) {
        let direction = if self.direction == SortDirection::Asc { "ASC" } else { "DESC" };
        statement.push(&format!(" ORDER BY {} {direction}, ", self.column()));
        if !self.sorts_by_time() {
            statement.push(&format!("created_at {direction}, "));
        }
        statement.push(&format!("task_id {direction} LIMIT ")).bind(i64::from(limit));
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
}

fn owner(viewer: &Viewer) -> serde_json::Value {
    match viewer {
        Viewer::Buyer { scope, principal } => json!(["buyer", scope, principal]),
        Viewer::Reviewer { scopes } => json!(["reviewer", scopes]),
        Viewer::Operator => json!(["operator"]),
    }
}

fn invalid(field: &'static str, message: String) -> RegistryError {
    RegistryError::InvalidQuery { field, message }
}
