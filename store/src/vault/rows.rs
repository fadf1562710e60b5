//! Rows, opened and sealed.

use super::{Result, Vault};
use crate::{
    Place,
    rules::Entry,
    sql::{
        HistoryRow, Row,
        requests::{Change, HISTORY_SEALED, SEALED},
    },
};
use handoff_proto::v1::TaskRef;

impl Vault {
    /// A row with its bodies in clear.
    pub(crate) async fn open_row(&self, mut row: Row) -> Result<Row> {
        let task = row.task_ref();
        for (column, stored) in row.bodies() {
            self.open_option(&place(&task, column), stored).await?;
        }
        Ok(row)
    }

    /// Entries of a task's history, in clear.
    pub(crate) async fn open_history(&self, task: &TaskRef, mut rows: Vec<HistoryRow>) -> Result<Vec<HistoryRow>> {
        for row in &mut rows {
            let entry = row.entry_key.clone();
            for ((_, column), stored) in HISTORY_SEALED.into_iter().zip(row.bodies()) {
                *stored = self.open(&entry_place(task, column, &entry), std::mem::take(stored)).await?;
            }
        }
        Ok(rows)
    }

    /// What is written into a row of `requests`.
    pub(crate) async fn seal_changes(&self, task: &TaskRef, changes: Vec<Change>) -> Result<Vec<Change>> {
        let mut sealed = Vec::with_capacity(changes.len());
        for (column, value) in changes {
            let value =
                if SEALED.contains(&column) { self.seal_bind(&place(task, column), value).await? } else { value };
            sealed.push((column, value));
        }
        Ok(sealed)
    }

    /// What is appended to a task's history.
    pub(crate) async fn seal_entries(&self, task: &TaskRef, mut entries: Vec<Entry>) -> Result<Vec<Entry>> {
        for entry in &mut entries {
            let texts = [&mut entry.actor, &mut entry.reason, &mut entry.detail_json];
            for ((_, column), text) in HISTORY_SEALED.into_iter().zip(texts) {
                *text = self.seal(&entry_place(task, column, &entry.key), text).await?;
            }
        }
        Ok(entries)
    }
}

/// A column of a task's row.
pub(crate) fn place<'a>(task: &'a TaskRef, column: &'static str) -> Place<'a> {
    entry_place(task, column, "")
}

/// A column of an entry of a task's history.
pub(crate) fn entry_place<'a>(task: &'a TaskRef, column: &'static str, entry: &'a str) -> Place<'a> {
    Place { scope: &task.scope, task_id: &task.task_id, column, entry }
}
