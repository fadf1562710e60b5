//! Lists that ask for statuses, verbs or protocols: these are walked each by itself, and merged.

use crate::{
    database::Database,
    lists::{FIELDS, all_pages, ids, task_with, value},
    support::*,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use handoff_proto::{
    v1::TaskRecord,
    wire::{ListTasksFilters, ListTasksRequest, Pagination, Sort, SortDirection, SortField, TaskStatus},
};
use handoff_store::{Registry, Viewer};
use std::sync::Arc;

/// Tasks of two accounts and two agents, of every status, verb and protocol, several at each time. Their ids are in another
/// order than they.
async fn mixed(database: &Database, registry: &dyn Registry) {
    let mut sql = String::new();
    for (number, status) in TaskStatus::ALL.into_iter().cycle().take(45).enumerate() {
        let task = task_with(registry, |claim| {
            claim.task.scope = format!("acct_{}", 1 + number % 2);
            claim.task.principal = if number % 5 == 0 { "agent_2" } else { "agent_1" }.into();
            claim.task.verb = ["create_media_buy", "activate_signal", "build_creative", "a_verb"][number % 4].into();
            claim.protocol = ["media-buy", "signals", "creative"][number % 3].into();
        })
        .await;
        let (created_at, updated_at) = (number * 7 % 5 + 1, number * 3 % 4 + 5);
        sql.push_str(&format!(
            "UPDATE requests SET task_status = '{status}', created_at = {created_at}000000, updated_at = {updated_at}000000
             WHERE task_id = '{}';",
            task.task_id
        ));
    }
    database.execute(&sql).await;
}

fn sees(viewer: &Viewer, record: &TaskRecord) -> bool {
    let task = record.task.as_ref().unwrap();
    match viewer {
        Viewer::Buyer { scope, principal } => (scope, principal) == (&task.scope, &task.principal),
        Viewer::Reviewer { scopes } => scopes.contains(&task.scope),
        Viewer::Operator => true,
    }
}

fn holds(filters: &ListTasksFilters, record: &TaskRecord) -> bool {
    let verb = &record.task.as_ref().unwrap().verb;
    (filters.statuses.is_empty() || filters.statuses.iter().any(|status| status.as_str() == record.status))
        && (filters.task_types.is_empty() || filters.task_types.contains(verb))
        && (filters.protocols.is_empty() || filters.protocols.contains(&record.protocol))
}

fn filters() -> Vec<ListTasksFilters> {
    use TaskStatus::{AuthRequired, Completed, Failed, InputRequired, Submitted, Working};
    type F = ListTasksFilters;
    let task_types: Vec<String> = vec!["build_creative".into(), "a_verb".into(), "unheard-of".into()];
    let protocols: Vec<String> = vec!["signals".into(), "creative".into()];
    vec![
        F { statuses: vec![Submitted], ..F::default() },
        F { statuses: vec![Working, Completed, AuthRequired], ..F::default() },
        F { statuses: TaskStatus::ALL[1..].to_vec(), ..F::default() },
        F { task_types: task_types.clone(), ..F::default() },
        F { protocols: protocols.clone(), ..F::default() },
        F { statuses: vec![Failed, InputRequired, Working, Completed], task_types, protocols, ..F::default() },
    ]
}

pub(crate) async fn every_filter_pages_in_every_order(database: Arc<Database>) {
    let registry = registry(&database).await;
    mixed(&database, &*registry).await;
    let records = all_pages(&*registry, &Viewer::Operator, ListTasksRequest::default()).await;
    assert_eq!(records.len(), 45);
    let both = Viewer::Reviewer { scopes: vec!["acct_1".into(), "acct_2".into()] };
    for viewer in [buyer(), both, Viewer::Operator] {
        for filters in filters() {
            let matching: Vec<&TaskRecord> =
                records.iter().filter(|record| sees(&viewer, record) && holds(&filters, record)).collect();
            assert!(!matching.is_empty(), "{viewer:?} {filters:?}");
            for field in FIELDS {
                for direction in [SortDirection::Asc, SortDirection::Desc] {
                    let mut expected: Vec<_> = matching
                        .iter()
                        .map(|record| (value(record, field), record.task.as_ref().unwrap().task_id.clone()))
                        .collect();
                    expected.sort();
                    if direction == SortDirection::Desc {
                        expected.reverse();
                    }
                    let expected: Vec<String> = expected.into_iter().map(|(_, id)| id).collect();
                    let request = ListTasksRequest {
                        filters: filters.clone(),
                        sort: Sort { field, direction },
                        pagination: Pagination { max_results: 6, cursor: None },
                        ..Default::default()
                    };
                    let told = format!("{viewer:?} {request:?}");
                    if field == SortField::CreatedAt {
                        let page = registry.list(&viewer, &request).await.unwrap();
                        assert_eq!(page.total, Some(expected.len() as u64), "{told}");
                    }
                    assert_eq!(ids(&all_pages(&*registry, &viewer, request).await), expected, "{told}");
                }
            }
        }
    }
    registry.close().await;
}

pub(crate) async fn a_task_whose_status_changes_between_pages_comes_once(database: Arc<Database>) {
    let registry = registry(&database).await;
    let mut tasks = Vec::new();
    for direction in [SortDirection::Asc, SortDirection::Desc] {
        for _ in 0..9 {
            tasks.push(submitted(&*registry).await);
        }
        let statuses = vec![TaskStatus::Submitted, TaskStatus::Working];
        let mut request = ListTasksRequest {
            filters: ListTasksFilters { statuses, ..Default::default() },
            sort: Sort { field: SortField::CreatedAt, direction },
            pagination: Pagination { max_results: 2, cursor: None },
            ..Default::default()
        };
        let mut seen = Vec::new();
        loop {
            let page = registry.list(&buyer(), &request).await.unwrap();
            seen.extend(ids(&page.tasks));
            let Some(cursor) = page.next_cursor else { break };
            request.pagination.cursor = Some(cursor);
            // The last that was seen, and one that was not.
            let last = tasks.iter().find(|task| Some(&task.task_id) == seen.last());
            let next = tasks.iter().find(|task| !seen.contains(&task.task_id));
            for task in last.into_iter().chain(next) {
                assert!(registry.update_progress(task, &Default::default()).await.unwrap());
            }
        }
        let mut expected: Vec<String> = tasks.iter().map(|task| task.task_id.clone()).collect();
        seen.sort();
        expected.sort();
        assert_eq!(seen, expected);
    }
    registry.close().await;
}

/// Nobody is given such a cursor, but anybody can write one.
pub(crate) async fn a_position_past_every_name_ends_the_list(database: Arc<Database>) {
    let registry = registry(&database).await;
    for _ in 0..3 {
        submitted(&*registry).await;
    }
    for (direction, past) in [(SortDirection::Asc, "zzz"), (SortDirection::Desc, "a")] {
        let statuses = vec![TaskStatus::Submitted, TaskStatus::Working];
        let mut request = ListTasksRequest {
            filters: ListTasksFilters { statuses, ..Default::default() },
            sort: Sort { field: SortField::Status, direction },
            pagination: Pagination { max_results: 1, cursor: None },
            ..Default::default()
        };
        let cursor = registry.list(&buyer(), &request).await.unwrap().next_cursor.unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(cursor).unwrap();
        let mut position: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(position["v"]["n"][0], "submitted");
        position["v"]["n"][0] = past.into();
        request.pagination.cursor = Some(URL_SAFE_NO_PAD.encode(position.to_string()));
        let page = registry.list(&buyer(), &request).await.unwrap();
        assert_eq!((page.tasks.len(), page.next_cursor), (0, None));
    }
    registry.close().await;
}
