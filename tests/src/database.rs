//! A registry database of a test's own.

use anyhow::{Context, Result};
use sqlx::{ConnectOptions, Connection, PgConnection, sqlite::SqliteConnectOptions};
use std::{sync::mpsc, time::Duration};
use tempfile::TempDir;

const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
const DROP_PATIENCE: Duration = Duration::from_secs(2);

/// Which database a test runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    Sqlite,
    /// A database on the server that `make test` started.
    Postgres,
}

/// A database, removed with this value.
pub struct Database {
    url: String,
    kind: Holder,
}

enum Holder {
    Sqlite { _directory: TempDir },
    Postgres { server: String, name: String },
}

impl Database {
    /// A fresh database.
    pub async fn create(kind: Kind) -> Result<Self> {
        match kind {
            Kind::Sqlite => {
                let directory = tempfile::tempdir()?;
                let url = format!("sqlite:{}", directory.path().join("registry.db").display());
                Ok(Self { url, kind: Holder::Sqlite { _directory: directory } })
            }
            Kind::Postgres => {
                let server = std::env::var("HANDOFF_TEST_POSTGRES_URL").context(
                    "run make test, or set HANDOFF_TEST_POSTGRES_URL to a superuser's URL of a PostgreSQL server",
                )?;
                let name = format!("it_{}", uuid::Uuid::now_v7().simple());
                let mut connection = PgConnection::connect(&server).await?;
                sqlx::query(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut connection).await?;
                let (base, _) = server.rsplit_once('/').context("the URL names no database")?;
                Ok(Self { url: format!("{base}/{name}"), kind: Holder::Postgres { server, name } })
            }
        }
    }

    /// Runs a statement on it, past the registry.
    pub async fn execute(&self, sql: &str) -> Result<()> {
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        if let Some(path) = self.url.strip_prefix("sqlite:") {
            let options = SqliteConnectOptions::new().filename(path).busy_timeout(BUSY_TIMEOUT);
            sqlx::query(sql).execute(&mut options.connect().await?).await?;
        } else {
            sqlx::query(sql).execute(&mut PgConnection::connect(&self.url).await?).await?;
        }
        Ok(())
    }

    /// Takes no connection, and loses those that it has; or takes them again. PostgreSQL alone.
    pub async fn away(&self, away: bool) -> Result<()> {
        let Holder::Postgres { server, name } = &self.kind else { anyhow::bail!("a file is always there") };
        let mut connection = PgConnection::connect(server).await?;
        for sql in [
            format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {}", !away),
            format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND {away}"),
        ] {
            sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await?;
        }
        Ok(())
    }

    /// Its registry URL.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let Holder::Postgres { server, name } = &self.kind else { return };
        let (server, statement) = (server.clone(), format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
        // A destructor can't await, and the test's runtime may be gone.
        let (done, waiting) = mpsc::channel();
        std::thread::spawn(move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
            runtime.block_on(async move {
                if let Ok(mut connection) = PgConnection::connect(&server).await {
                    let _ = sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await;
                }
            });
            let _ = done.send(());
        });
        // Not for long: the server waits for all of its connections to take note, and one that is just being made may be this very
        // task's, which stands still meanwhile. The thread goes on.
        let _ = waiting.recv_timeout(DROP_PATIENCE);
    }
}
