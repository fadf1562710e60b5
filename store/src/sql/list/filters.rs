//! What a list leaves out.

use super::invalid;
use crate::{
    RegistryError,
    sql::{Dialect, Statement},
    vault::SEALED,
};
use chrono::{DateTime, Utc};
use handoff_proto::wire::{ListTasksFilters, TaskStatus};

const MAX_TASK_IDS: usize = 100;

/// One set for each field; an empty one holds everything.
#[derive(serde::Serialize)]
pub(super) struct Filters {
    pub(super) protocols: Vec<String>,
    pub(super) statuses: Vec<String>,
    pub(super) task_types: Vec<String>,
    pub(super) task_ids: Vec<String>,
    pub(super) created_after: Option<i64>,
    pub(super) created_before: Option<i64>,
    pub(super) updated_after: Option<i64>,
    pub(super) updated_before: Option<i64>,
    pub(super) context_contains: Option<String>,
    has_webhook: Option<bool>,
}

impl Filters {
    pub(super) fn new(given: &ListTasksFilters) -> Result<Self, RegistryError> {
        if given.task_ids.len() > MAX_TASK_IDS {
            let message = format!("{} ids, at most {MAX_TASK_IDS} are allowed", given.task_ids.len());
            return Err(invalid("filters.task_ids", message));
        }
        let mut statuses = set(given.statuses.iter().chain(&given.status).map(|status| status.to_string()));
        // That is no filter, and needs no index of statuses.
        if statuses.len() == TaskStatus::ALL.len() {
            statuses.clear();
        }
        Ok(Self {
            protocols: set(given.protocols.iter().chain(&given.protocol).cloned()),
            statuses,
            task_types: set(given.task_types.iter().chain(&given.task_type).cloned()),
            task_ids: set(given.task_ids.iter().cloned()),
            created_after: given.created_after.map(floor),
            created_before: given.created_before.map(ceiling),
            updated_after: given.updated_after.map(floor),
            updated_before: given.updated_before.map(ceiling),
            context_contains: given.context_contains.clone().filter(|text| !text.is_empty()),
            has_webhook: given.has_webhook,
        })
    }

    /// They ask for what no database can hold.
    pub(super) fn are_unstorable(&self) -> bool {
        let names = [&self.protocols, &self.task_types, &self.task_ids];
        // PostgreSQL's text can't hold U+0000, so none of its texts is equal to this one.
        let unstorable = |texts: &&Vec<String>| !texts.is_empty() && texts.iter().all(|text| text.contains('\0'));
        names.iter().any(unstorable) || self.context_contains.as_ref().is_some_and(|text| text.contains('\0'))
    }

    /// Appends the conditions, but for the one on the column `but`, and without a look into contexts unless asked for.
    pub(super) fn push(&self, statement: &mut Statement, dialect: Dialect, but: Option<&str>, context: bool) {
        for (column, names) in [
            ("protocol", &self.protocols),
            ("task_status", &self.statuses),
            ("verb", &self.task_types),
            ("task_id", &self.task_ids),
        ] {
            if !names.is_empty() && but != Some(column) {
                statement.push(&format!(" AND {column} IN (")).bind_all(storable(names)).push(")");
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

/// The names that a column can hold.
pub(super) fn storable(names: &[String]) -> impl Iterator<Item = &str> {
    names.iter().map(String::as_str).filter(|name| !name.contains('\0'))
}

/// Sorted, each once.
pub(super) fn set(names: impl Iterator<Item = String>) -> Vec<String> {
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
