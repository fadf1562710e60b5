//! Migrations of a registry that are killed.

use handoff_tests::{Database, Kind, Process, binary, eventually};
use sqlx::{Connection, PgConnection, query, query_scalar};
use tokio::process::Command;

// A name that a migration gives, in its middle.
const TAKE_A_NAME: &str = "CREATE TABLE requests_scope_status (taken INT)";
const MIGRATED: &str = "SELECT COUNT(*) FROM _sqlx_migrations WHERE success";
const WAITING: &str = "SELECT wait_event FROM pg_stat_activity \
    WHERE datname = current_database() AND wait_event_type = 'Lock' ORDER BY wait_event";
const INDEXES: &str = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY indexdef";

/// The server goes on with what a killed process had told it, and that process is not there to say that it is whole.
#[tokio::test(flavor = "multi_thread")]
async fn postgres_a_migration_that_was_killed_is_made_by_the_next_process() {
    let (database, unharmed) =
        (Database::create(Kind::Postgres).await.unwrap(), Database::create(Kind::Postgres).await.unwrap());
    let mut looking = PgConnection::connect(database.url()).await.unwrap();
    let mut holding = PgConnection::connect(database.url()).await.unwrap();
    let mut held = holding.begin().await.unwrap();
    query(TAKE_A_NAME).execute(&mut *held).await.unwrap();

    let mut first = migrating(&database);
    waiting(&database, &["transactionid"]).await;
    let before: i64 = query_scalar(MIGRATED).fetch_one(&mut looking).await.unwrap();
    first.kill().await.unwrap();
    let mut next = migrating(&database);
    waiting(&database, &["advisory", "transactionid"]).await;
    held.rollback().await.unwrap();

    assert!(next.wait().await.unwrap().success());
    assert!(migrating(&unharmed).wait().await.unwrap().success());
    let after: i64 = query_scalar(MIGRATED).fetch_one(&mut looking).await.unwrap();
    assert!(before > 0 && after > before, "{before} migrations, then {after}");
    let found = indexes(&database).await;
    assert!(found.iter().any(|index| index.contains("requests_scope_status")), "{found:#?}");
    assert_eq!(found, indexes(&unharmed).await);
}

/// A process that opens the registry, and ends.
fn migrating(database: &Database) -> Process {
    let mut command = Command::new(binary("handoff"));
    Process::start(command.args(["--json", "task", "list"]).env("HANDOFF_REGISTRY_URL", database.url())).unwrap()
}

/// Waits until exactly these locks are waited for.
async fn waiting(database: &Database, expected: &[&str]) {
    eventually("the migrations wait", || async {
        let mut connection = PgConnection::connect(database.url()).await.ok()?;
        let found: Vec<String> = query_scalar(WAITING).fetch_all(&mut connection).await.ok()?;
        (found == expected).then_some(())
    })
    .await;
}

async fn indexes(database: &Database) -> Vec<String> {
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    query_scalar(INDEXES).fetch_all(&mut connection).await.unwrap()
}
