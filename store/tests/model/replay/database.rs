//! A database of this test's own.

use handoff_store::{Registry, RegistryOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, SqliteConnection, postgres::PgConnectOptions};
use std::{str::FromStr, sync::Arc};

/// A registry, and a way into its tables past it.
#[derive(Clone)]
pub(crate) struct Database {
    pub(crate) registry: Arc<dyn Registry>,
    url: String,
    place: Place,
}

#[derive(Clone)]
enum Place {
    /// Removed with the last copy.
    Directory {
        _directory: Arc<tempfile::TempDir>,
    },
    Server {
        admin_url: String,
        name: String,
    },
}

impl Database {
    pub(crate) async fn sqlite() -> Self {
        let directory = tempfile::tempdir().expect("a directory for the database");
        let url = format!("sqlite:{}", directory.path().join("registry.db").display());
        Self::open(url, Place::Directory { _directory: Arc::new(directory) }).await
    }

    pub(crate) async fn postgres() -> Self {
        let admin_url = std::env::var("HANDOFF_TEST_POSTGRES_URL").unwrap_or_default();
        assert!(!admin_url.is_empty(), "run make test, or set HANDOFF_TEST_POSTGRES_URL");
        let name = format!("handoff_model_{}", uuid::Uuid::now_v7().simple());
        administer(&admin_url, format!("CREATE DATABASE {name}")).await;
        let options = PgConnectOptions::from_str(&admin_url).expect("HANDOFF_TEST_POSTGRES_URL is a URL");
        let url = options.database(&name).to_url_lossy().to_string();
        Self::open(url, Place::Server { admin_url, name }).await
    }

    async fn open(url: String, place: Place) -> Self {
        let registry = handoff_store::connect(&url, RegistryOptions::default()).await.expect("the registry opens");
        Self { registry, url, place }
    }

    /// Runs a test with the database, and removes the database whatever becomes of the test.
    pub(crate) async fn with<F>(self, test: impl FnOnce(Self) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let outcome = tokio::spawn(test(self.clone())).await;
        self.registry.close().await;
        if let Place::Server { admin_url, name } = &self.place {
            administer(admin_url, format!("DROP DATABASE {name} WITH (FORCE)")).await;
        }
        if let Err(failure) = outcome {
            std::panic::resume_unwind(failure.into_panic());
        }
    }

    /// Makes the TTL of a request's claim pass.
    pub(crate) async fn expire(&self, task_id: &str) -> Result<(), String> {
        // No clock is injected into the registry: what it stored is moved into the past instead.
        let rows = match self.place {
            Place::Directory { .. } => {
                let mut connection = SqliteConnection::connect(&self.url).await.map_err(|error| error.to_string())?;
                let update = sqlx::query("UPDATE requests SET expires_at = 1 WHERE task_id = ?").bind(task_id);
                update.execute(&mut connection).await.map(|done| done.rows_affected())
            }
            Place::Server { .. } => {
                let mut connection = PgConnection::connect(&self.url).await.map_err(|error| error.to_string())?;
                let update = sqlx::query("UPDATE requests SET expires_at = 1 WHERE task_id = $1").bind(task_id);
                update.execute(&mut connection).await.map(|done| done.rows_affected())
            }
        };
        match rows {
            Ok(1) => Ok(()),
            other => Err(format!("the claim of {task_id} can't be made to expire: {other:?}")),
        }
    }
}

async fn administer(url: &str, statement: String) {
    let mut connection = PgConnection::connect(url).await.expect("HANDOFF_TEST_POSTGRES_URL is reachable");
    sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await.expect("the test may create databases");
}
