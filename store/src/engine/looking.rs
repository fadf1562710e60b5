//! Pages of a list that asks for what a context contains, where contexts are sealed: they are opened and looked at here.
//!
//! A page looks at a bounded number of tasks, so it may end before it is full; its cursor then stands at the last task that
//! was looked at. It has a total only if all tasks were within that bound, from the first on.

use super::{Page, Result};
use crate::{
    sql::{
        Row,
        list::{CANDIDATES_AT_ONCE, List, MAX_CANDIDATES},
        requests,
    },
    store::{Store, Transaction},
    vault::Vault,
};
use std::collections::HashMap;

pub(super) async fn page<S: Store>(transaction: &mut S::Transaction, vault: &Vault, list: &List) -> Result<Page> {
    let mut found: Vec<Row> = Vec::new();
    let mut matching = 0_u64;
    let mut looked_at = 0;
    let mut last: Option<Row> = None;
    // Are there tasks that nobody looked at?
    let mut more = true;
    // A first page goes on when it is full, to count; and every page needs one task more to know that there is a next.
    while more && looked_at < MAX_CANDIDATES && !(list.goes_on() && found.len() > list.limit()) {
        let candidates = transaction.rows(list.candidates(S::DIALECT, last.as_ref())).await?;
        more = candidates.len() == CANDIDATES_AT_ONCE as usize;
        looked_at += CANDIDATES_AT_ONCE;
        for row in candidates {
            let mut row = vault.open_row(row).await?;
            let holds = list.holds(row.context());
            row.forget_context();
            matching += u64::from(holds);
            if holds && found.len() <= list.limit() {
                found.push(row.clone());
            }
            last = Some(row);
        }
    }
    let cut = list.cut(&mut found)?;
    let next_cursor = match (cut, last) {
        (None, Some(last)) if more => Some(list.cursor_at(&last).encode()?),
        (cut, _) => cut,
    };
    let total = (!more && !list.goes_on()).then_some(matching);
    let rows = if list.reads_bodies() { whole(transaction, found).await? } else { found };
    Ok(Page { rows, next_cursor, total })
}

/// The rows that were found, with their bodies.
async fn whole(transaction: &mut impl Transaction, found: Vec<Row>) -> Result<Vec<Row>> {
    let ids: Vec<String> = found.iter().map(|row| row.task_ref().task_id).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows = transaction.rows(requests::by_ids(&ids)).await?;
    let mut rows: HashMap<String, Row> = rows.into_iter().map(|row| (row.task_ref().task_id, row)).collect();
    Ok(ids.iter().filter_map(|id| rows.remove(id)).collect())
}
