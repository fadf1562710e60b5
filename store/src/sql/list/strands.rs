//! Which index a list walks. Each of them begins with whose tasks these are and, but for two, a name that filters may ask
//! for, and goes on in the order of the list: see the migration.
//!
//! So a walk that asks for several names, or for several accounts, is one of several strands: each finds its tasks in order,
//! and they are merged.

use super::filters::{Filters, storable};
use crate::{
    Viewer,
    sql::{Statement, requests::push_viewer},
};
use handoff_proto::wire::{SortField, TaskStatus};

// Beyond this many accounts the tasks of all are walked, and those of others left out.
const MAX_MERGED_SCOPES: usize = 50;
// So many accounts in each status; SQLite merges no more than 500.
const MAX_STRANDS: usize = MAX_MERGED_SCOPES * TaskStatus::ALL.len();
// Whoever asks for more names than this asks for most tasks, which any order finds soon.
const MAX_NAMES: usize = 20;

/// Tasks that one walk of an index finds in order.
pub(super) struct Strand<'a> {
    pub(super) index: String,
    owner: Owner<'a>,
    /// A name that they all have: its column, and what it is.
    pub(super) name: Option<(&'static str, &'a str)>,
}

/// Whose tasks.
#[derive(Clone, Copy)]
enum Owner<'a> {
    /// Those of a viewer.
    Viewer(&'a Viewer),
    /// Those of an account.
    Scope(&'a str),
    /// Everybody's, of which the viewer sees some or all.
    Everybody(&'a Viewer),
}

/// The names in a column that are walked by themselves.
type Names<'a> = Option<(&'static str, Vec<&'a str>)>;

/// The strands that hold what matches, each task once.
pub(super) fn strands<'a>(viewer: &'a Viewer, filters: &'a Filters, field: SortField) -> Vec<Strand<'a>> {
    if !filters.task_ids.is_empty() {
        // A short list of ids is looked up and sorted.
        return vec![Strand { index: "requests_task_id".to_owned(), owner: Owner::Viewer(viewer), name: None }];
    }
    let owners: Vec<(&str, Owner<'_>)> = match viewer {
        Viewer::Buyer { .. } => vec![("buyer", Owner::Viewer(viewer))],
        Viewer::Reviewer { scopes } if (1..=MAX_MERGED_SCOPES).contains(&scopes.len()) => {
            scopes.iter().map(|scope| ("scope", Owner::Scope(scope))).collect()
        }
        Viewer::Reviewer { .. } | Viewer::Operator => vec![("all", Owner::Everybody(viewer))],
    };
    let (order, names) = order(filters, field, MAX_NAMES.min(MAX_STRANDS / owners.len()));
    let mut strands = Vec::new();
    for (whose, owner) in owners {
        let index = format!("requests_{whose}_{order}");
        match &names {
            Some((column, names)) => strands.extend(names.iter().map(|name| {
                let name = Some((*column, *name));
                Strand { index: index.clone(), owner, name }
            })),
            None => strands.push(Strand { index, owner, name: None }),
        }
    }
    strands
}

/// What the index is called, but for whose it is, and the names that are to be walked in it, at most so many.
fn order(filters: &Filters, field: SortField, most: usize) -> (&'static str, Names<'_>) {
    let statuses = asked("task_status", &filters.statuses, most);
    let task_types = asked("verb", &filters.task_types, most);
    let protocols = asked("protocol", &filters.protocols, most);
    match field {
        // One filter is walked by and the others leave out what it finds: statuses first, because few tasks are open.
        SortField::CreatedAt if statuses.is_some() => ("status", statuses),
        SortField::CreatedAt if task_types.is_some() => ("task_type", task_types),
        SortField::CreatedAt if protocols.is_some() => ("protocol", protocols),
        SortField::CreatedAt => ("created_at", None),
        // Its entries move with every update, so there is one such index, and none beside it without statuses.
        SortField::UpdatedAt => ("updated_at", statuses.or_else(every_status)),
        SortField::Status => ("status", statuses),
        SortField::TaskType => ("task_type", task_types),
        SortField::Protocol => ("protocol", protocols),
    }
}

fn asked<'a>(column: &'static str, names: &'a [String], most: usize) -> Names<'a> {
    let names: Vec<&str> = storable(names).collect();
    (1..=most).contains(&names.len()).then_some((column, names))
}

fn every_status<'a>() -> Names<'a> {
    Some(("task_status", TaskStatus::ALL.map(TaskStatus::as_str).to_vec()))
}

impl Strand<'_> {
    /// Appends the condition that holds for its tasks, filters aside. What it says of `sandbox` is always true, and part of
    /// the index's predicate.
    pub(super) fn push(&self, statement: &mut Statement) {
        match self.owner {
            Owner::Viewer(viewer) => push_viewer(statement, viewer),
            Owner::Scope(scope) => {
                statement.push("sandbox >= FALSE AND scope = ").bind(scope);
            }
            Owner::Everybody(viewer) => {
                statement.push("sandbox <= TRUE AND ");
                push_viewer(statement, viewer);
            }
        }
        if let Some((column, name)) = self.name {
            statement.push(&format!(" AND {column} = ")).bind(name);
        }
    }
}
