//! Lists of tasks.

use crate::{database::Database, support::*};
use chrono::{DateTime, TimeDelta, Utc};
use handoff_proto::{
    convert::to_datetime,
    v1::{TaskRecord, TaskRef},
    wire::{ListTasksFilters, ListTasksRequest, Pagination, Sort, SortDirection, SortField, TaskStatus},
};
use handoff_store::{NewClaim, Registry, RegistryError, Viewer};
use std::sync::Arc;

pub(crate) const FIELDS: [SortField; 5] =
    [SortField::CreatedAt, SortField::UpdatedAt, SortField::Status, SortField::TaskType, SortField::Protocol];

fn filtered(filters: ListTasksFilters) -> ListTasksRequest {
    ListTasksRequest { filters, ..Default::default() }
}

pub(crate) fn ids(tasks: &[TaskRecord]) -> Vec<String> {
    tasks.iter().map(|task| task.task.as_ref().unwrap().task_id.clone()).collect()
}

async fn listed(registry: &dyn Registry, filters: ListTasksFilters) -> Vec<String> {
    let mut ids = ids(&registry.list(&buyer(), &filtered(filters)).await.unwrap().tasks);
    ids.sort();
    ids
}

/// Follows cursors to the end.
pub(crate) async fn all_pages(
    registry: &dyn Registry,
    viewer: &Viewer,
    mut request: ListTasksRequest,
) -> Vec<TaskRecord> {
    let mut tasks = Vec::new();
    loop {
        let page = registry.list(viewer, &request).await.unwrap();
        assert!(page.tasks.len() <= request.pagination.max_results as usize);
        tasks.extend(page.tasks);
        match page.next_cursor {
            Some(cursor) => request.pagination.cursor = Some(cursor),
            None => return tasks,
        }
    }
}

pub(crate) async fn task_with(registry: &dyn Registry, change: impl FnOnce(&mut NewClaim)) -> TaskRef {
    let mut claim = claim_of(&new_task(), None);
    change(&mut claim);
    registry.claim(&claim).await.unwrap();
    registry.record_decision(&claim.task, &to_task()).await.unwrap();
    claim.task
}

async fn created_at(registry: &dyn Registry, task: &TaskRef) -> DateTime<Utc> {
    to_datetime(&record(registry, task).await.unwrap().created_at.unwrap()).unwrap()
}

pub(crate) async fn all_nine_statuses_are_listed_and_filtered(database: Arc<Database>) {
    let registry = registry(&database).await;
    let mut tasks = Vec::new();
    for status in TaskStatus::ALL {
        let task = submitted(&*registry).await;
        database
            .execute(&format!("UPDATE requests SET task_status = '{status}' WHERE task_id = '{}'", task.task_id))
            .await;
        tasks.push((status, task));
    }
    assert_eq!(registry.list(&buyer(), &Default::default()).await.unwrap().tasks.len(), 9);
    for (status, task) in &tasks {
        let one = ListTasksFilters { status: Some(*status), ..Default::default() };
        assert_eq!(listed(&*registry, one).await, std::slice::from_ref(&task.task_id));
        assert_eq!(record(&*registry, task).await.unwrap().status, status.as_str());
    }
    let three = ListTasksFilters {
        status: Some(TaskStatus::AuthRequired),
        statuses: vec![TaskStatus::InputRequired, TaskStatus::Unknown, TaskStatus::Unknown],
        ..Default::default()
    };
    assert_eq!(listed(&*registry, three).await.len(), 3);
    registry.close().await;
}

pub(crate) async fn every_filter_holds(database: Arc<Database>) {
    let registry = registry(&database).await;
    let first = task_with(&*registry, |_| {}).await;
    let second = task_with(&*registry, |claim| {
        claim.protocol = "signals".into();
        claim.task.verb = "activate_signal".into();
        claim.webhook = webhook("{}", false);
        claim.context_json = Some(r#"{"note":"50% O'Neil_\"x\""}"#.into());
    })
    .await;
    let third = task_with(&*registry, |claim| {
        claim.protocol = "creative".into();
        claim.task.verb = "sync_creatives".into();
        claim.context_json = None;
    })
    .await;
    registry.update_progress(&first, &Default::default()).await.unwrap();
    let middle = created_at(&*registry, &second).await;
    let updated = to_datetime(&record(&*registry, &first).await.unwrap().updated_at.unwrap()).unwrap();
    let nano = TimeDelta::nanoseconds(1);
    let text = |text: &str| Some(text.to_owned());
    type F = ListTasksFilters;
    let cases: Vec<(F, Vec<&TaskRef>)> = vec![
        (F::default(), vec![&first, &second, &third]),
        (F { protocol: text("signals"), ..F::default() }, vec![&second]),
        (F { protocol: text("signals"), protocols: vec!["creative".into()], ..F::default() }, vec![&second, &third]),
        (F { protocol: text("no-such"), ..F::default() }, vec![]),
        (F { protocol: text("a\0"), ..F::default() }, vec![]),
        (F { status: Some(TaskStatus::Working), ..F::default() }, vec![&first]),
        (F { statuses: vec![TaskStatus::Failed], ..F::default() }, vec![]),
        (F { task_type: text("sync_creatives"), ..F::default() }, vec![&third]),
        (F { task_types: vec!["no_such".into(), "create_media_buy".into()], ..F::default() }, vec![&first]),
        (F { task_ids: vec![third.task_id.clone(), "no".into(), "a\0".into()], ..F::default() }, vec![&third]),
        (F { created_after: Some(middle), ..F::default() }, vec![&third]),
        (F { created_after: Some(middle - nano), ..F::default() }, vec![&second, &third]),
        (F { created_before: Some(middle), ..F::default() }, vec![&first]),
        (F { created_before: Some(middle + nano), ..F::default() }, vec![&first, &second]),
        (F { updated_after: Some(updated), ..F::default() }, vec![]),
        (F { updated_after: Some(updated - nano), ..F::default() }, vec![&first]),
        (F { updated_before: Some(updated), ..F::default() }, vec![&second, &third]),
        (F { created_before: Some(DateTime::<Utc>::MAX_UTC), ..F::default() }, vec![&first, &second, &third]),
        (F { context_contains: text("t-1"), ..F::default() }, vec![&first]),
        (F { context_contains: text("50% O'Neil_"), ..F::default() }, vec![&second]),
        (F { context_contains: text("o'neil"), ..F::default() }, vec![]),
        (F { context_contains: text("\0"), ..F::default() }, vec![]),
        (F { has_webhook: Some(true), ..F::default() }, vec![&second]),
        (F { has_webhook: Some(false), ..F::default() }, vec![&first, &third]),
        (F { has_webhook: Some(true), protocol: text("creative"), ..F::default() }, vec![]),
    ];
    for (filters, expected) in cases {
        let mut expected: Vec<_> = expected.into_iter().map(|task| task.task_id.clone()).collect();
        expected.sort();
        let told = format!("{filters:?}");
        let page = registry.list(&buyer(), &filtered(filters.clone())).await.unwrap();
        assert_eq!(page.total, Some(expected.len() as u64), "{told}");
        assert_eq!(listed(&*registry, filters).await, expected, "{told}");
    }
    registry.close().await;
}

async fn many(registry: &dyn Registry, count: usize) -> Vec<TaskRef> {
    let mut tasks = Vec::new();
    for number in 0..count {
        let task = task_with(registry, |claim| {
            claim.protocol = ["media-buy", "signals", "creative"][number % 3].into();
            claim.task.verb = ["create_media_buy", "activate_signal", "build_creative", "a_verb"][number % 4].into();
        })
        .await;
        if number % 2 == 0 {
            registry.update_progress(&task, &Default::default()).await.unwrap();
        }
        if number % 5 == 0 {
            registry.settle(&task, &result("{}")).await.unwrap();
        }
        tasks.push(task);
    }
    tasks
}

/// What a task is sorted by: a time, or a name and the time when it was created.
pub(crate) fn value(task: &TaskRecord, field: SortField) -> (String, i64, i32) {
    let at = |name: &str, time: &Option<pbjson_types::Timestamp>| {
        let time = time.unwrap_or_default();
        (name.to_owned(), time.seconds, time.nanos)
    };
    match field {
        SortField::CreatedAt => at("", &task.created_at),
        SortField::UpdatedAt => at("", &task.updated_at),
        SortField::Status => at(&task.status, &task.created_at),
        SortField::TaskType => at(&task.task.as_ref().unwrap().verb, &task.created_at),
        SortField::Protocol => at(&task.protocol, &task.created_at),
    }
}

pub(crate) async fn every_order_in_both_directions(database: Arc<Database>) {
    let registry = registry(&database).await;
    many(&*registry, 23).await;
    let viewers = [buyer(), Viewer::Reviewer { scopes: vec!["acct_1".into()] }, Viewer::Operator];
    for viewer in &viewers {
        for field in FIELDS {
            for direction in [SortDirection::Asc, SortDirection::Desc] {
                let request = ListTasksRequest {
                    sort: Sort { field, direction },
                    pagination: Pagination { max_results: 7, cursor: None },
                    ..Default::default()
                };
                let tasks = all_pages(&*registry, viewer, request).await;
                assert_eq!(tasks.len(), 23);
                let keys: Vec<_> =
                    tasks.iter().map(|task| (value(task, field), ids(std::slice::from_ref(task)))).collect();
                let mut sorted = keys.clone();
                sorted.sort();
                if direction == SortDirection::Desc {
                    sorted.reverse();
                }
                assert_eq!(keys, sorted, "{viewer:?} {field:?} {direction:?}");
            }
        }
    }
    registry.close().await;
}

pub(crate) async fn equal_values_page_by_task_id(database: Arc<Database>) {
    let registry = registry(&database).await;
    for _ in 0..11 {
        submitted(&*registry).await;
    }
    database.execute("UPDATE requests SET created_at = 5, updated_at = 5").await;
    for field in FIELDS {
        for direction in [SortDirection::Asc, SortDirection::Desc] {
            let request = ListTasksRequest {
                sort: Sort { field, direction },
                pagination: Pagination { max_results: 2, cursor: None },
                ..Default::default()
            };
            let listed = ids(&all_pages(&*registry, &buyer(), request).await);
            let mut sorted = listed.clone();
            sorted.sort();
            if direction == SortDirection::Desc {
                sorted.reverse();
            }
            sorted.dedup();
            assert_eq!(listed, sorted);
            assert_eq!(listed.len(), 11);
        }
    }
    registry.close().await;
}

pub(crate) async fn pages_are_stable_while_tasks_come(database: Arc<Database>) {
    let registry = registry(&database).await;
    let tasks = many(&*registry, 12).await;
    for direction in [SortDirection::Asc, SortDirection::Desc] {
        let mut request = ListTasksRequest {
            sort: Sort { field: SortField::CreatedAt, direction },
            pagination: Pagination { max_results: 5, cursor: None },
            ..Default::default()
        };
        let mut seen = Vec::new();
        loop {
            let page = registry.list(&buyer(), &request).await.unwrap();
            seen.extend(ids(&page.tasks));
            let Some(cursor) = page.next_cursor else { break };
            request.pagination.cursor = Some(cursor);
            if seen.len() < 40 {
                submitted(&*registry).await;
            }
        }
        let mut unique = seen.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), seen.len(), "a task came twice");
        assert!(tasks.iter().all(|task| seen.contains(&task.task_id)), "a task was left out");
    }
    registry.close().await;
}

pub(crate) async fn cursor_belongs_to_its_query(database: Arc<Database>) {
    let registry = registry(&database).await;
    many(&*registry, 6).await;
    let request = ListTasksRequest {
        filters: ListTasksFilters { statuses: vec![TaskStatus::Submitted, TaskStatus::Working], ..Default::default() },
        pagination: Pagination { max_results: 2, cursor: None },
        ..Default::default()
    };
    let cursor = registry.list(&buyer(), &request).await.unwrap().next_cursor;
    assert!(cursor.is_some());
    let mut next = request.clone();
    next.pagination.cursor = cursor;
    // The same query, said differently, and with another page size.
    let mut same = next.clone();
    same.filters.statuses = vec![TaskStatus::Working];
    same.filters.status = Some(TaskStatus::Submitted);
    same.pagination.max_results = 1;
    assert_eq!(registry.list(&buyer(), &same).await.unwrap().tasks.len(), 1);
    let change = |change: fn(&mut ListTasksRequest)| {
        let mut request = next.clone();
        change(&mut request);
        request
    };
    for other in [
        change(|request| request.filters.statuses = vec![TaskStatus::Working]),
        change(|request| request.filters.has_webhook = Some(false)),
        change(|request| request.sort.direction = SortDirection::Asc),
        change(|request| request.sort.field = SortField::Status),
    ] {
        let error = registry.list(&buyer(), &other).await.unwrap_err();
        assert!(matches!(error, RegistryError::InvalidCursor), "{error}");
    }
    for viewer in [
        Viewer::Buyer { scope: "acct_1".into(), principal: "agent_2".into() },
        Viewer::Reviewer { scopes: vec!["acct_1".into()] },
        Viewer::Operator,
    ] {
        let error = registry.list(&viewer, &next).await.unwrap_err();
        assert!(matches!(error, RegistryError::InvalidCursor), "{error}");
    }
    registry.close().await;
}

pub(crate) async fn broken_cursors_are_refused(database: Arc<Database>) {
    let registry = registry(&database).await;
    for text in
        ["", "x", "null", "e30", "eyJ2Ijp7ImkiOjF9LCJ0IjoiIiwicSI6IiJ9", "=== '; DROP", "\0", &"A".repeat(1_000_000)]
    {
        let mut request = ListTasksRequest::default();
        request.pagination.cursor = Some(text.to_owned());
        let error = registry.list(&buyer(), &request).await.unwrap_err();
        assert!(matches!(error, RegistryError::InvalidCursor), "{error}");
    }
    registry.close().await;
}

pub(crate) async fn sizes_are_checked(database: Arc<Database>) {
    let registry = registry(&database).await;
    for (max_results, task_ids, expected) in [
        (0, 0, Some("pagination.max_results")),
        (101, 0, Some("pagination.max_results")),
        (u32::MAX, 0, Some("pagination.max_results")),
        (1, 101, Some("filters.task_ids")),
        (1, 100, None),
        (100, 0, None),
    ] {
        let mut request = ListTasksRequest::default();
        request.pagination.max_results = max_results;
        request.filters.task_ids = (0..task_ids).map(|number| format!("task_{number}")).collect();
        match (registry.list(&buyer(), &request).await, expected) {
            (Err(RegistryError::InvalidQuery { field, message }), Some(expected)) => {
                assert_eq!(field, expected);
                assert!(!message.is_empty());
            }
            (Ok(_), None) => {}
            (other, expected) => panic!("{expected:?}: {other:?}"),
        }
    }
    registry.close().await;
}

pub(crate) async fn total_is_bounded(database: Arc<Database>) {
    let registry = registry(&database).await;
    let task = submitted(&*registry).await;
    let columns = "scope, principal, verb, protocol, request_hash, has_webhook, claim_state, task_status, visible, \
         created_at, updated_at, version, unfinished";
    for (copies, expected) in [(999, Some(1_000)), (1, None)] {
        let copy = format!(
            "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {copies})
             INSERT INTO requests (task_id, {columns})
             SELECT 'copy_{copies}_' || n, {columns} FROM requests, n WHERE task_id = '{}'",
            task.task_id
        );
        database.execute(&copy).await;
        assert_eq!(registry.list(&buyer(), &Default::default()).await.unwrap().total, expected);
    }
    registry.close().await;
}

pub(crate) async fn reviewers_accounts_are_merged(database: Arc<Database>) {
    let registry = registry(&database).await;
    for number in 0..30 {
        task_with(&*registry, |claim| claim.task.scope = format!("acct_{}", number % 4)).await;
    }
    let few = Viewer::Reviewer { scopes: vec!["acct_0".into(), "acct_2".into(), "acct_3".into()] };
    let reviewer = |scopes: std::ops::Range<usize>| Viewer::Reviewer {
        scopes: scopes.map(|number| format!("acct_{number}")).collect(),
    };
    // As many as are merged, in each status for one order, and more.
    let (most, more) = (reviewer(1..51), reviewer(2..122));
    for (viewer, expected) in [(few, 22), (most, 22), (more, 14), (Viewer::Operator, 30)] {
        for field in FIELDS {
            let request = ListTasksRequest {
                sort: Sort { field, direction: SortDirection::Desc },
                pagination: Pagination { max_results: 4, cursor: None },
                ..Default::default()
            };
            let tasks = all_pages(&*registry, &viewer, request).await;
            let keys: Vec<_> = tasks.iter().map(|task| (value(task, field), ids(std::slice::from_ref(task)))).collect();
            assert!(keys.windows(2).all(|pair| pair[0] > pair[1]), "{viewer:?} {field:?}");
            assert_eq!(keys.len(), expected);
        }
    }
    registry.close().await;
}

pub(crate) async fn history_comes_with_its_task(database: Arc<Database>) {
    let registry = registry(&database).await;
    let (first, second) = (submitted(&*registry).await, completed(&*registry).await);
    let request = ListTasksRequest { include_history: true, ..Default::default() };
    let tasks = registry.list(&buyer(), &request).await.unwrap().tasks;
    assert_eq!(tasks.len(), 2);
    for task in [first, second] {
        let expected = record(&*registry, &task).await.unwrap();
        assert!(!expected.history.is_empty());
        let listed = tasks.iter().find(|listed| listed.task == expected.task).unwrap();
        assert_eq!((&listed.history, &listed.status), (&expected.history, &expected.status));
        assert_eq!((listed.created_at, listed.completed_at), (expected.created_at, expected.completed_at));
        // Bodies are for polls.
        assert_eq!((listed.result_json.as_str(), listed.context_json.as_str()), ("", ""));
    }
    let whole = registry.list(&Viewer::Operator, &request).await.unwrap().tasks;
    assert!(whole.iter().any(|task| !task.result_json.is_empty()), "an operator's list has them");
    assert!(
        registry.list(&buyer(), &Default::default()).await.unwrap().tasks.iter().all(|task| task.history.is_empty())
    );
    registry.close().await;
}
