//! How statements on proposals run, among 100,000 of them.

use super::{
    Kind,
    database::{self, Database},
    sqlite_plan,
};
use crate::{
    ProposalFilter, ProposalKey, ProposalState, RegistryOptions, SweepBounds, Viewer,
    postgres::Postgres,
    sql::{
        Statement,
        proposals::{self as sql, Old},
    },
    sqlite::Sqlite,
    store::{Store, bind},
};
use handoff_proto::v1::TaskRef;
use sqlx::{AssertSqlSafe, Row as _};

// Every kind and state, each with its columns; one account has nearly all.
fn fill(scope: &str, proposals: u32) -> String {
    format!(
        "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {proposals}),
             p AS (SELECT n, CASE WHEN n % 50 = 0 THEN 'consuming' WHEN n % 10 = 1 THEN 'consumed' WHEN n % 10 = 2 THEN 'declined'
                 WHEN n % 10 < 6 THEN 'draft' ELSE 'committed' END AS state FROM n)
         INSERT INTO proposals (scope, principal, proposal_id, kind, state, body_json, expires_at, base_media_buy_id,
             held_by, buyer_scope, media_buy_id, accepted_at, created_at, updated_at, version)
         SELECT '{scope}', 'agent', 'p' || (1000000 + n), CASE n % 20 WHEN 0 THEN 'media_buy_update' ELSE 'new_media_buy' END,
             state, '{{}}', CASE n % 3 WHEN 0 THEN NULL ELSE n * 1000 END,
             CASE n % 20 WHEN 0 THEN 'base' || n END,
             CASE WHEN state IN ('consuming', 'consumed') THEN 'task_{scope}_' || (1000000 + n) END,
             CASE WHEN state IN ('consuming', 'consumed') THEN '{scope}' END,
             CASE state WHEN 'consumed' THEN 'mb' || n END, CASE state WHEN 'consumed' THEN n END, n * 1000, n * 1000, 1
         FROM p;
         INSERT INTO proposal_history (scope, principal, proposal_id, version, at, event, actor, reason)
         SELECT scope, principal, proposal_id, 1, created_at, 'drafted', '', '' FROM proposals WHERE scope = '{scope}';"
    )
}

async fn filled(database: &Database) {
    database.execute(&super::fill("big", super::TASKS)).await;
    database.execute(&fill("big", super::TASKS)).await;
    database.execute(&fill("small", 100)).await;
    database.execute("ANALYZE").await;
}

fn key() -> ProposalKey {
    ProposalKey { scope: "big".into(), principal: "agent".into(), proposal_id: "p1050000".into() }
}

/// Each statement, the index that it is to walk, and whether that gives its order.
fn statements() -> Vec<(Statement, &'static str)> {
    let buyer = Viewer::Buyer { scope: "big".into(), principal: "agent".into() };
    let reviewer = Viewer::Reviewer { scopes: vec!["big".into()] };
    let filter =
        |viewer: &Viewer| ProposalFilter { viewer: viewer.clone(), state: None, proposal_id: None, after: Some(key()) };
    let task = TaskRef {
        task_id: "task_big_1050000".into(),
        scope: "big".into(),
        principal: "agent".into(),
        ..TaskRef::default()
    };
    let consuming = ProposalFilter { state: Some(ProposalState::Consuming), after: None, ..filter(&Viewer::Operator) };
    let named = ProposalFilter { proposal_id: Some("p1050000".into()), after: None, ..filter(&Viewer::Operator) };
    vec![
        (sql::by_key(&key()), "PRIMARY"),
        (sql::whole(&key()), "PRIMARY"),
        (sql::history(&key()), "PRIMARY"),
        (sql::latest("big", "agent", "mb50001"), "proposals_accepted"),
        (sql::changing("big", "base50000"), "proposals_changing"),
        (sql::made("big", "mb50001"), "proposals_media_buy"),
        (sql::held_by("task_big_1050000"), "proposals_held"),
        (sql::reserved_by(&task), "proposals_held"),
        (sql::list(&filter(&buyer), 100), "PRIMARY"),
        (sql::list(&filter(&reviewer), 100), "PRIMARY"),
        (sql::list(&filter(&Viewer::Operator), 100), "PRIMARY"),
        (sql::walk(Some(&key()), 100), "PRIMARY"),
        (sql::list(&consuming, 100), "proposals_consuming"),
        (sql::list(&named, 100), "proposals_id"),
        (sql::stranded(i64::MAX, 100), "proposals_held"),
    ]
}

fn writes() -> [(Statement, &'static str); 4] {
    let bounds =
        SweepBounds { drafts_before: 50_000, expired_before: 50_000, idle_before: 50_000, reserved_before: 50_000 };
    [
        (sql::delete_old(Old::Drafts, &bounds, 100), "proposals_drafts"),
        (sql::delete_old(Old::Expired, &bounds, 100), "proposals_expiring"),
        (sql::delete_old(Old::Idle, &bounds, 100), "proposals_idle"),
        (sql::revise("big", "mb50001", 7), "proposals_accepted"),
    ]
}

#[tokio::test]
async fn sqlite_finds_proposals_by_their_indexes() {
    database::run(Kind::Sqlite, false, async |database| {
        let store = Sqlite::open(&database.url).await.unwrap();
        filled(&database).await;
        for (statement, index) in statements().into_iter().chain(writes()) {
            let plan = sqlite_plan(&store, &statement).await;
            let index = if index == "PRIMARY" { "sqlite_autoindex_proposal" } else { index };
            assert!(plan.contains(index), "{}\n{plan}", statement.text);
            assert!(!plan.contains("SCAN proposals\n") && !plan.contains("TEMP B-TREE"), "{}\n{plan}", statement.text);
        }
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn postgres_finds_proposals_by_their_indexes() {
    database::run(Kind::Postgres, false, async |database| {
        let store = Postgres::open(&database.url, &RegistryOptions::default()).await.unwrap();
        filled(&database).await;
        for (statement, index) in statements().into_iter().chain(writes()) {
            // Without ANALYZE, which would carry it out.
            let query = sqlx::query(AssertSqlSafe(format!("EXPLAIN {}", statement.text)));
            let rows = bind!(query, statement.binds.clone()).fetch_all(store.pool()).await.unwrap();
            let plan: String = rows.iter().map(|row| row.get::<String, _>(0) + "\n").collect();
            // A whole key is one entry of either.
            let indexes = if index == "PRIMARY" { ["_pkey", "proposals_id"] } else { [index, index] };
            assert!(indexes.into_iter().any(|index| plan.contains(index)), "{}\n{plan}", statement.text);
            assert!(!plan.contains("Seq Scan on proposal"), "{}\n{plan}", statement.text);
        }
        store.close().await;
    })
    .await;
}
