//! How lists run on 100,000 tasks and their webhooks: by the right index, without a sort, and at the cost of a hundred tasks. Looks at
//! plans and at work done, not at time.

#[path = "../tests/contract/database.rs"]
mod database;
mod filters;
mod proposals;

use crate::{
    Candidate, RegistryOptions, Viewer, WebhookAttempt, WebhookFilter, WebhookState,
    postgres::Postgres,
    sql::{Bind, Dialect, Row, Statement, list::List, requests, reset, webhooks},
    sqlite::Sqlite,
    store::{Store, Transaction, bind},
};
use database::{Database, Kind};
use handoff_proto::{
    v1::TaskRef,
    wire::{ListTasksFilters, ListTasksRequest, Pagination, Sort, SortDirection, SortField},
};
use sqlx::{AssertSqlSafe, Row as _};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

const TASKS: u32 = 100_000;

// One account with many tasks, and one with a hundred, in the same table. Ten of the first that were made have failed, and
// those that were made last were rejected, nearly all; ten have a verb and a protocol that no other has.
fn fill(scope: &str, tasks: u32) -> String {
    format!(
        "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {tasks})
         INSERT INTO requests (task_id, scope, principal, verb, protocol, request_hash, has_webhook, claim_state,
             task_status, visible, created_at, updated_at, expires_at, version, unfinished)
         SELECT 'task_{scope}_' || (1000000 + n), '{scope}', 'agent',
             CASE WHEN n <= 10 THEN 'rare' WHEN n % 2 = 0 THEN 'a' ELSE 'b' END,
             CASE WHEN n <= 10 THEN 'rare' WHEN n % 3 = 0 THEN 'creative' ELSE 'signals' END, '', FALSE, 'answered',
             CASE WHEN n % 50 = 0 THEN 'working' WHEN n <= 100 AND n % 10 = 1 THEN 'failed'
                 WHEN n > {tasks} - 10 THEN 'rejected' ELSE 'completed' END, TRUE,
             n * 1000, n * 1000 + n % 7, n * 1000, 1, n % 50 = 0
         FROM n;"
    )
}

// As many requests again that were purged.
const TOMBSTONES: &str = "INSERT INTO requests (task_id, scope, principal, verb, protocol, request_hash, has_webhook,
         claim_state, visible, created_at, updated_at, expires_at, version, unfinished)
     SELECT 'purged_' || task_id, scope, principal, verb, protocol, '', FALSE, 'purged', FALSE, created_at, updated_at,
         expires_at, 2, FALSE
     FROM requests WHERE scope = 'big';";

async fn filled(database: &Database) {
    assert!(!database.sealed, "what is filled in is in clear");
    database.execute(&fill("big", TASKS)).await;
    database.execute(&fill("small", 100)).await;
    database.execute(TOMBSTONES).await;
    database.execute("ANALYZE").await;
}

/// Who looks into an account.
type Looking = fn(&str) -> Viewer;

fn buyer(scope: &str) -> Viewer {
    Viewer::Buyer { scope: scope.into(), principal: "agent".into() }
}

fn reviewer(scope: &str) -> Viewer {
    Viewer::Reviewer { scopes: vec![scope.into()] }
}

fn operator(_: &str) -> Viewer {
    Viewer::Operator
}

/// And whose indexes are for that.
const VIEWERS: [(Looking, &str); 3] = [(buyer, "buyer"), (reviewer, "scope"), (operator, "all")];

const DIRECTIONS: [SortDirection; 2] = [SortDirection::Asc, SortDirection::Desc];

struct Walk {
    told: String,
    index: String,
    list: Looking,
    request: ListTasksRequest,
}

/// Every order, for each viewer, both ways.
fn walks() -> Vec<Walk> {
    let mut walks = Vec::new();
    for (list, whose) in VIEWERS {
        for (field, order) in [
            (SortField::CreatedAt, "created_at"),
            (SortField::UpdatedAt, "updated_at"),
            (SortField::Status, "status"),
            (SortField::TaskType, "task_type"),
            (SortField::Protocol, "protocol"),
        ] {
            for direction in DIRECTIONS {
                let index = format!("requests_{whose}_{order}");
                let request = ListTasksRequest { sort: Sort { field, direction }, ..Default::default() };
                walks.push(Walk { told: format!("{index} {direction:?}"), index, list, request });
            }
        }
    }
    walks
}

/// The request for the page after some pages.
async fn later(store: &impl Store, dialect: Dialect, viewer: &Viewer, request: &ListTasksRequest) -> ListTasksRequest {
    let mut request = request.clone();
    request.pagination = Pagination { max_results: 30, cursor: None };
    for _ in 0..2 {
        let list = List::new(viewer, &request).unwrap();
        let mut rows: Vec<Row> = store.rows(list.page(dialect)).await.unwrap();
        request.pagination.cursor = list.cut(&mut rows).unwrap();
        assert!(request.pagination.cursor.is_some());
    }
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite() {
    database::run(Kind::Sqlite, false, async |database| {
        let store = Sqlite::open(&database.url).await.unwrap();
        filled(&database).await;
        let dialect = Dialect::Sqlite;
        for walk in walks() {
            let mut costs = Vec::new();
            for scope in ["small", "big"] {
                let viewer = (walk.list)(scope);
                for request in [walk.request.clone(), later(&store, dialect, &viewer, &walk.request).await] {
                    let page = List::new(&viewer, &request).unwrap().page(dialect);
                    let plan = sqlite_plan(&store, &page).await;
                    assert!(plan.contains(&walk.index), "{}: {plan}", walk.told);
                    assert!(!plan.contains("TEMP B-TREE"), "{}: {plan}", walk.told);
                    let count = request.pagination.max_results as usize;
                    costs.push(sqlite_work(&store, page).await / count);
                }
            }
            let (least, most) = (costs.iter().min().unwrap(), costs.iter().max().unwrap());
            assert!(*most <= least * 2, "{}: {costs:?} steps a task", walk.told);
        }
        let viewer =
            |scopes: &[&str]| Viewer::Reviewer { scopes: scopes.iter().map(|scope| (*scope).into()).collect() };
        let merged = List::new(&viewer(&["big", "small"]), &ListTasksRequest::default()).unwrap();
        assert!(sqlite_work(&store, merged.page(dialect)).await < 30_000);
        let counted = sqlite_work(&store, merged.count(dialect)).await;
        assert!(counted < 30_000, "{counted}");
        let ids = ListTasksFilters { task_ids: vec!["task_big_1000007".into()], ..Default::default() };
        let named = ListTasksRequest { filters: ids, ..Default::default() };
        let page = List::new(&viewer(&["big"]), &named).unwrap().page(dialect);
        assert!(sqlite_plan(&store, &page).await.contains("requests_task_id"));
        for (statement, index) in maintenance(dialect).into_iter().chain([by_key()]) {
            let plan = sqlite_plan(&store, &statement).await;
            assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{plan}");
        }
        let open = requests::open_tasks(dialect);
        let plan = sqlite_plan(&store, &open).await;
        assert!(plan.contains("USING COVERING INDEX requests_open") && !plan.contains("TEMP B-TREE"), "{plan}");
        assert_counted(store.open_rows(open.clone()).await.unwrap().into_iter().map(Into::into).collect());
        let counted = sqlite_work(&store, open).await;
        assert!(counted < 100_000, "{counted}");
        store.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres() {
    database::run(Kind::Postgres, false, async |database| {
        let store = Postgres::open(&database.url, &RegistryOptions::default()).await.unwrap();
        filled(&database).await;
        let dialect = Dialect::Postgres;
        for walk in walks() {
            let viewer = (walk.list)("big");
            for request in [walk.request.clone(), later(&store, dialect, &viewer, &walk.request).await] {
                let page = List::new(&viewer, &request).unwrap().page(dialect);
                let plan = postgres_plan(&store, &page).await;
                assert!(plan.contains(&walk.index), "{}: {plan}", walk.told);
                // A merge of what is in order has a key, and no method.
                assert!(!plan.contains("Sort Method") && !plan.contains("Seq Scan"), "{}: {plan}", walk.told);
                assert!(!plan.contains("Rows Removed"), "{}: {plan}", walk.told);
            }
        }
        for (statement, index) in maintenance(dialect).into_iter().chain([by_key()]) {
            let plan = postgres_plan(&store, &statement).await;
            assert!(plan.contains(index) && !plan.contains("Seq Scan"), "{plan}");
        }
        database.execute("VACUUM ANALYZE requests").await;
        let open = requests::open_tasks(dialect);
        let plan = postgres_plan(&store, &open).await;
        assert!(plan.contains("Index Only Scan using requests_open") && !plan.contains("Seq Scan"), "{plan}");
        assert_counted(store.open_rows(open).await.unwrap().into_iter().map(Into::into).collect());
        let mut transaction = store.read().await.unwrap();
        let all = List::new(&Viewer::Operator, &ListTasksRequest::default()).unwrap();
        assert_eq!(transaction.number(all.count(dialect)).await.unwrap(), 1_001);
        transaction.commit().await.unwrap();
        store.close().await;
    })
    .await;
}

/// Under either spelling of a key.
fn by_key() -> (Statement, &'static str) {
    let task = TaskRef { scope: "big".into(), principal: "agent".into(), ..Default::default() };
    // Without a lock, which no reader may take.
    (requests::lock_key(Dialect::Sqlite, &task, "key"), "requests_idempotency_key")
}

fn maintenance(dialect: Dialect) -> [(Statement, &'static str); 8] {
    let task = handoff_proto::v1::TaskRef { task_id: "task_big_1050000".into(), ..Default::default() };
    let last = TaskRef { scope: "big".into(), ..task.clone() };
    let after = Candidate { task, updated_at: 50_000_000 };
    [
        (requests::unfinished(i64::MAX, Some("task_big_1000001"), 100), "requests_unfinished"),
        (requests::purgeable(i64::MAX, i64::MAX, None, 100), "requests_purgeable"),
        (requests::purgeable(i64::MAX, i64::MAX, Some(&after), 100), "requests_purgeable"),
        (requests::tombstones(i64::MAX, i64::MAX, None, 100), "requests_tombstones"),
        (requests::tombstones(i64::MAX, i64::MAX, Some(&after), 100), "requests_tombstones"),
        (reset::requests(dialect, None, None, 100), "requests_sandbox"),
        (reset::requests(dialect, None, Some(&last), 100), "requests_sandbox"),
        (reset::requests(dialect, Some("big"), Some(&last), 100), "requests_sandbox"),
    ]
}

/// 2,002 of the 100,100 are open, and they are counted without a look at any row.
fn assert_counted(open: Vec<crate::OpenTasks>) {
    assert_eq!(open.iter().map(|group| group.count).sum::<u64>(), 2_002);
    assert!(open.iter().all(|group| group.state == "working" && group.oldest == 50_000), "{open:?}");
}

async fn sqlite_plan(store: &Sqlite, statement: &Statement) -> String {
    let query = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", statement.text)));
    let rows = bind!(query, statement.binds.clone()).fetch_all(store.readers()).await.unwrap();
    rows.iter().map(|row| row.get::<String, _>("detail") + "\n").collect()
}

/// How many steps SQLite's virtual machine makes.
async fn sqlite_work(store: &Sqlite, statement: Statement) -> usize {
    let steps = Arc::new(AtomicUsize::new(0));
    let mut connection = store.readers().acquire().await.unwrap();
    let counted = Arc::clone(&steps);
    connection.lock_handle().await.unwrap().set_progress_handler(1, move || {
        counted.fetch_add(1, Ordering::Relaxed);
        true
    });
    let query = sqlx::query(AssertSqlSafe(statement.text));
    bind!(query, statement.binds).fetch_all(&mut *connection).await.unwrap();
    connection.lock_handle().await.unwrap().remove_progress_handler();
    steps.load(Ordering::Relaxed)
}

async fn postgres_plan(store: &Postgres, statement: &Statement) -> String {
    let explain = "EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF)";
    let query = sqlx::query(AssertSqlSafe(format!("{explain} {}", statement.text)));
    let rows = bind!(query, statement.binds.clone()).fetch_all(store.pool()).await.unwrap();
    rows.iter().map(|row| row.get::<String, _>(0) + "\n").collect()
}

#[test]
fn statements_hold_nothing_that_callers_brought() {
    let viewer = Viewer::Buyer { scope: "'; DROP".into(), principal: "'; DROP".into() };
    for task_ids in [vec!["'; DROP".into()], Vec::new()] {
        let filters = ListTasksFilters {
            protocol: Some("'; DROP".into()),
            task_type: Some("'; DROP".into()),
            task_ids,
            context_contains: Some("'; DROP".into()),
            ..Default::default()
        };
        let list = List::new(&viewer, &ListTasksRequest { filters, ..Default::default() }).unwrap();
        for dialect in [Dialect::Sqlite, Dialect::Postgres] {
            for statement in [list.page(dialect), list.count(dialect)] {
                assert!(!statement.text.contains("DROP"), "{}", statement.text);
                assert!(statement.binds.contains(&Bind::from("'; DROP")));
            }
        }
    }
}

const OWED: &str =
    "INSERT INTO webhooks (task_id, state, idempotency_key, generation, created_at, expires_at, updated_at)
     SELECT task_id, CASE WHEN unfinished THEN 'pending' ELSE 'delivered' END, 'whk_' || task_id, 1, created_at,
         created_at + 1, updated_at
     FROM requests WHERE scope = 'big' AND visible;";

fn pending() -> WebhookFilter {
    WebhookFilter { states: vec![WebhookState::Pending], ..Default::default() }
}

fn webhook_lists() -> [(Statement, &'static str); 3] {
    let later = WebhookFilter { after: Some((50_000_000, "task_big_1050000".into())), ..Default::default() };
    [
        (webhooks::list(&pending(), 1), "webhooks_pending"),
        (webhooks::list(&WebhookFilter::default(), 100), "webhooks_created_at"),
        (webhooks::list(&later, 100), "webhooks_created_at"),
    ]
}

/// Every statement on one webhook, from its beginning to its end.
async fn webhook_life<S: Store>(store: &S) {
    let task = TaskRef {
        task_id: "task_small_1000001".into(),
        scope: "small".into(),
        principal: "agent".into(),
        ..Default::default()
    };
    let id = task.task_id.as_str();
    let mut transaction = store.write().await.unwrap();
    assert_eq!(transaction.execute(webhooks::insert(id, "whk_1", 7, 9)).await.unwrap(), 1);
    assert_eq!(transaction.execute(webhooks::insert(id, "whk_2", 8, 10)).await.unwrap(), 0);
    let row = transaction.webhooks(webhooks::by_task(id)).await.unwrap().pop().unwrap();
    assert_eq!((row.idempotency_key.as_str(), row.created_at, row.expires_at), ("whk_1", 7, 9));
    let tries = [(Some(503), Some("status")), (None, Some("timeout")), (Some(200), None)];
    let tries = tries.map(|(status, class)| WebhookAttempt {
        at: 8,
        duration: std::time::Duration::from_millis(3),
        status,
        error_class: class.map(Into::into),
    });
    for attempt in &tries {
        transaction.execute(webhooks::append_attempt(&row, attempt)).await.unwrap();
    }
    // It may still be sent, until its horizon.
    for (now, found) in [(8, 0), (9, 1)] {
        let locked = transaction.rows(requests::lock_purgeable(S::DIALECT, &task, now)).await.unwrap();
        assert_eq!(locked.len(), found);
    }
    let changes = vec![("state", "delivered".into()), ("body_json", "{}".into()), ("generation", 2_i64.into())];
    transaction.execute(webhooks::update(id, changes)).await.unwrap();
    let row = transaction.webhooks(webhooks::by_task(id)).await.unwrap().pop().unwrap();
    let record = row.record().unwrap();
    assert_eq!((record.state, record.attempts, row.body_json.as_deref()), (WebhookState::Delivered, 0, Some("{}")));
    assert_eq!(transaction.rows(requests::lock_purgeable(S::DIALECT, &task, 8)).await.unwrap().len(), 1);
    transaction.commit().await.unwrap();
    let logged = store.attempts(webhooks::attempts(id)).await.unwrap();
    assert_eq!(logged.into_iter().map(WebhookAttempt::from).collect::<Vec<_>>(), tries);
    let filter = WebhookFilter {
        states: vec![WebhookState::Delivered, WebhookState::Expired],
        created_after: Some(7),
        created_before: Some(8),
        after: None,
    };
    assert_eq!(store.webhooks(webhooks::list(&filter, 10)).await.unwrap().len(), 1);
    let mut transaction = store.write().await.unwrap();
    for statement in webhooks::delete(id) {
        transaction.execute(statement).await.unwrap();
    }
    transaction.commit().await.unwrap();
    assert!(store.webhooks(webhooks::by_task(id)).await.unwrap().is_empty());
    let oldest = store.webhooks(webhooks::list(&pending(), 1)).await.unwrap();
    assert_eq!(oldest.iter().map(|row| row.created_at).collect::<Vec<_>>(), [50_000]);
}

#[tokio::test]
async fn sqlite_finds_webhooks_by_their_indexes() {
    database::run(Kind::Sqlite, false, async |database| {
        let store = Sqlite::open(&database.url).await.unwrap();
        filled(&database).await;
        database.execute(OWED).await;
        for (statement, index) in webhook_lists() {
            let plan = sqlite_plan(&store, &statement).await;
            assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{plan}");
        }
        webhook_life(&store).await;
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn postgres_finds_webhooks_by_their_indexes() {
    database::run(Kind::Postgres, false, async |database| {
        let store = Postgres::open(&database.url, &RegistryOptions::default()).await.unwrap();
        filled(&database).await;
        database.execute(OWED).await;
        database.execute("ANALYZE webhooks").await;
        for (statement, index) in webhook_lists() {
            let plan = postgres_plan(&store, &statement).await;
            assert!(plan.contains(index) && !plan.contains("Sort"), "{plan}");
        }
        webhook_life(&store).await;
        store.close().await;
    })
    .await;
}
