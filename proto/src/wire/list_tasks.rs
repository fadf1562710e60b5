//! `list_tasks` (schema protocol/list-tasks-request.json).

use super::TaskStatus;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Which tasks, in which order, and which page.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ListTasksRequest {
    /// All must hold.
    #[serde(default)]
    pub filters: ListTasksFilters,
    /// Newest first unless told.
    #[serde(default)]
    pub sort: Sort,
    /// First page of 50 unless told.
    #[serde(default)]
    pub pagination: Pagination,
    /// Also each task's history.
    #[serde(default)]
    pub include_history: bool,
    /// Echoed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Value>,
}

/// Filters; the singular and the plural of one name add up to one set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListTasksFilters {
    /// One protocol, in kebab case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Any of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub protocols: Vec<String>,
    /// One status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<TaskStatus>,
    /// Any of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub statuses: Vec<TaskStatus>,
    /// One verb.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_type: Option<String>,
    /// Any of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub task_types: Vec<String>,
    /// Later than.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_after: Option<DateTime<Utc>>,
    /// Earlier than.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_before: Option<DateTime<Utc>>,
    /// Later than.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_after: Option<DateTime<Utc>>,
    /// Earlier than.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_before: Option<DateTime<Utc>>,
    /// Any of these ids, 1 to 100.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub task_ids: Vec<String>,
    /// The originating request's `context` holds this text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_contains: Option<String>,
    /// With a registered webhook, or without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub has_webhook: Option<bool>,
}

/// What a list is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SortField {
    /// Time of creation.
    #[default]
    CreatedAt,
    /// Time of the last change.
    UpdatedAt,
    /// Status, by name.
    Status,
    /// Verb, by name.
    TaskType,
    /// Protocol, by name.
    Protocol,
}

/// Ascending or descending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SortDirection {
    /// Smallest first.
    Asc,
    /// Largest first.
    #[default]
    Desc,
}

/// The order of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sort {
    /// By what.
    pub field: SortField,
    /// Which way.
    pub direction: SortDirection,
}

/// Which page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pagination {
    /// Tasks a page, 1 to 100.
    pub max_results: u32,
    /// Where the last page ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

impl Default for Pagination {
    fn default() -> Self {
        Self { max_results: 50, cursor: None }
    }
}
