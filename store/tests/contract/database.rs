//! A fresh database for one test, gone after it.

use futures::FutureExt;
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Executor, postgres::PgConnectOptions, sqlite::SqliteConnectOptions,
};
use std::{
    panic::{AssertUnwindSafe, resume_unwind},
    sync::Arc,
};

const SERVER: &str = "HANDOFF_TEST_POSTGRES_URL";

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
}

/// An empty database.
pub(crate) struct Database {
    pub(crate) kind: Kind,
    /// The registry in it has keys.
    pub(crate) sealed: bool,
    pub(crate) url: String,
    name: String,
    _folder: tempfile::TempDir,
}

/// Runs a test on a database of its own, and drops that even if the test panics.
pub(crate) async fn run<Test, Done>(kind: Kind, sealed: bool, test: Test)
where
    Test: FnOnce(Arc<Database>) -> Done,
    Done: Future<Output = ()>,
{
    let database = Arc::new(Database::create(kind, sealed).await);
    let outcome = AssertUnwindSafe(test(Arc::clone(&database))).catch_unwind().await;
    database.drop_it().await;
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
}

impl Database {
    async fn create(kind: Kind, sealed: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let name = format!("handoff_test_{}", uuid::Uuid::now_v7().simple());
        let url = match kind {
            Kind::Sqlite => format!("sqlite:{}", folder.path().join("registry.db").display()),
            Kind::Postgres => {
                on_server(&format!("CREATE DATABASE {name}")).await;
                with_database(&server(), &name)
            }
        };
        Self { kind, sealed, url, name, _folder: folder }
    }

    async fn drop_it(&self) {
        if self.kind == Kind::Postgres {
            on_server(&format!("DROP DATABASE {} WITH (FORCE)", self.name)).await;
        }
    }

    /// Runs SQL beside the registry.
    pub(crate) async fn execute(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        match self.kind {
            Kind::Sqlite => {
                let path = self.url.trim_start_matches("sqlite:");
                let mut connection = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
                connection.execute(sqlx::raw_sql(sql)).await.unwrap();
                connection.close().await.unwrap();
            }
            Kind::Postgres => {
                let mut connection = self.url.parse::<PgConnectOptions>().unwrap().connect().await.unwrap();
                connection.execute(sqlx::raw_sql(sql)).await.unwrap();
                connection.close().await.unwrap();
            }
        }
    }
}

fn server() -> String {
    std::env::var(SERVER).unwrap_or_else(|_| panic!("run make test, or set {SERVER}"))
}

async fn on_server(sql: &str) {
    let mut connection = server().parse::<PgConnectOptions>().unwrap().connect().await.unwrap();
    connection.execute(AssertSqlSafe(sql.to_owned())).await.unwrap();
    connection.close().await.unwrap();
}

fn with_database(url: &str, name: &str) -> String {
    let (url, parameters) = match url.split_once('?') {
        Some((url, parameters)) => (url, format!("?{parameters}")),
        None => (url, String::new()),
    };
    let authority = url.find("://").map_or(0, |at| at + 3);
    let end = url[authority..].find('/').map_or(url.len(), |at| authority + at);
    format!("{}/{name}{parameters}", &url[..end])
}
