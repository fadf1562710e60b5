//! How lists run that ask for statuses, verbs or protocols: by an index that begins with these, so that few tasks are found
//! at once among 100,000 others, wherever they are.

use super::{
    DIRECTIONS, Dialect, Kind, List, Looking, Row, VIEWERS, database, filled, postgres_plan, requests, sqlite_plan,
    sqlite_work,
};
use crate::{RegistryOptions, Viewer, postgres::Postgres, sqlite::Sqlite, store::Store};
use chrono::DateTime;
use handoff_proto::wire::{ListTasksFilters, ListTasksRequest, Pagination, Sort, SortDirection, SortField, TaskStatus};

/// A list that asks for some tasks.
struct Asked {
    /// The index that its pages walk, and the one that it is counted by.
    index: String,
    counted: String,
    list: Looking,
    request: ListTasksRequest,
    /// How many strands there are.
    names: usize,
    /// A handful of tasks match, or none.
    few: bool,
}

/// Each filter that has an index, with the orders that it has, for each viewer, both ways.
fn asked() -> Vec<Asked> {
    use TaskStatus::{Canceled, Completed, Failed, Rejected, Working};
    let times = [SortField::CreatedAt, SortField::UpdatedAt];
    let mut asked = Vec::new();
    for (list, whose) in VIEWERS {
        for direction in DIRECTIONS {
            let mut push = |order: &str, counted: &str, field, filters, names, few| {
                let request = ListTasksRequest { filters, sort: Sort { field, direction }, ..Default::default() };
                let (index, counted) = (format!("requests_{whose}_{order}"), format!("requests_{whose}_{counted}"));
                asked.push(Asked { index, counted, list, request, names, few });
            };
            // None, the oldest, the newest, both.
            for statuses in [vec![Canceled], vec![Failed], vec![Rejected], vec![Failed, Rejected]] {
                for field in times {
                    let order = if field == SortField::UpdatedAt { "updated_at" } else { "status" };
                    let filters = ListTasksFilters { statuses: statuses.clone(), ..Default::default() };
                    push(order, "status", field, filters, statuses.len(), true);
                }
            }
            for (field, order) in times.into_iter().zip(["status", "updated_at"]).chain([(SortField::Status, "status")])
            {
                let statuses = vec![Completed, Failed, Working];
                let filters = ListTasksFilters { statuses, ..Default::default() };
                push(order, "status", field, filters, 3, false);
            }
            for field in [SortField::CreatedAt, SortField::TaskType] {
                let task_types = vec!["rare".into(), "unheard-of".into()];
                let filters = ListTasksFilters { task_types, ..Default::default() };
                push("task_type", "task_type", field, filters, 2, true);
            }
            for field in [SortField::CreatedAt, SortField::Protocol] {
                let filters = ListTasksFilters { protocol: Some("rare".into()), ..Default::default() };
                push("protocol", "protocol", field, filters, 1, true);
            }
        }
    }
    asked
}

fn told(asked: &Asked) -> String {
    format!("{} {:?} {:?}", asked.index, asked.request.filters, asked.request.sort)
}

/// The first page, and the one that follows a task in the middle of its account.
async fn pages(store: &impl Store, viewer: &Viewer, request: &ListTasksRequest, middle: &str) -> [List; 2] {
    let row: Row = store.rows(requests::by_ids([&middle.to_owned()])).await.unwrap().pop().unwrap();
    let first = List::new(viewer, request).unwrap();
    let cursor = Some(first.cursor_at(&row).encode().unwrap());
    let request = ListTasksRequest { pagination: Pagination { max_results: 3, cursor }, ..request.clone() };
    let later = List::new(viewer, &request).unwrap();
    [first, later]
}

const MIDDLES: [(&str, &str); 2] = [("small", "task_small_1000053"), ("big", "task_big_1050003")];

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_finds_few_tasks_among_many() {
    database::run(Kind::Sqlite, false, async |database| {
        let store = Sqlite::open(&database.url).await.unwrap();
        filled(&database).await;
        let dialect = Dialect::Sqlite;
        for asked in asked() {
            let told = told(&asked);
            let mut costs = Vec::new();
            for (scope, middle) in MIDDLES {
                let viewer = (asked.list)(scope);
                for list in pages(&store, &viewer, &asked.request, middle).await {
                    let page = list.page(dialect);
                    let plan = sqlite_plan(&store, &page).await;
                    assert_eq!(plan.matches(&asked.index).count(), asked.names, "{told}: {plan}");
                    assert!(!plan.contains("TEMP B-TREE"), "{told}: {plan}");
                    costs.push(sqlite_work(&store, page).await);
                }
                let count = List::new(&viewer, &asked.request).unwrap().count(dialect);
                let plan = sqlite_plan(&store, &count).await;
                assert_eq!(plan.matches(&asked.counted).count(), asked.names, "{told}: {plan}");
                let counted = sqlite_work(&store, count).await;
                assert!(counted < if asked.few { 1_000 } else { 30_000 }, "{told}: {counted}");
            }
            // Small numbers differ by what a plan does once.
            let (small, big) = costs.split_at(2);
            let alike = small.iter().zip(big).all(|(small, big)| *big <= small * 2 + 100);
            assert!(alike && costs.iter().all(|steps| *steps < 4_000), "{told}: {costs:?} steps");
        }
        // What changed lately, whichever order is asked for.
        let lately =
            ListTasksFilters { updated_after: DateTime::from_timestamp_micros(99_990_000), ..Default::default() };
        for (list, whose) in VIEWERS {
            let request = ListTasksRequest { filters: lately.clone(), ..Default::default() };
            let count = List::new(&list("big"), &request).unwrap().count(dialect);
            let plan = sqlite_plan(&store, &count).await;
            assert!(plan.contains(&format!("requests_{whose}_updated_at")), "{plan}");
            let counted = sqlite_work(&store, count).await;
            assert!(counted < 2_000, "{counted}");
        }
        // As many strands as there may be.
        let scopes = (0..50).map(|number| format!("account_{number}")).collect();
        let sort = Sort { field: SortField::UpdatedAt, direction: SortDirection::Desc };
        let request = ListTasksRequest { sort, ..Default::default() };
        let most = List::new(&Viewer::Reviewer { scopes }, &request).unwrap().page(dialect);
        assert_eq!(sqlite_plan(&store, &most).await.matches("requests_scope_updated_at").count(), 450);
        store.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_finds_few_tasks_among_many() {
    database::run(Kind::Postgres, false, async |database| {
        let store = Postgres::open(&database.url, &RegistryOptions::default()).await.unwrap();
        filled(&database).await;
        let dialect = Dialect::Postgres;
        for asked in asked() {
            let told = told(&asked);
            let viewer = (asked.list)("big");
            for list in pages(&store, &viewer, &asked.request, MIDDLES[1].1).await {
                let plan = postgres_plan(&store, &list.page(dialect)).await;
                assert!(!plan.contains("Seq Scan"), "{told}: {plan}");
                // Any order finds soon what nearly all are. For few, which index it is is the planner's to choose (it may skip
                // through another viewer's, and sort the handful), as long as it reads nothing else.
                assert!(!asked.few || !plan.contains("Rows Removed"), "{told}: {plan}");
            }
            if asked.few {
                let count = List::new(&viewer, &asked.request).unwrap().count(dialect);
                let plan = postgres_plan(&store, &count).await;
                assert!(!plan.contains("Seq Scan") && !plan.contains("Rows Removed"), "{told}: {plan}");
            }
        }
        store.close().await;
    })
    .await;
}
