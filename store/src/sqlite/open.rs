//! Opening a SQLite file, and migrating it.

use super::{Sqlite, refused};
use crate::RegistryError;
use sqlx::{
    SqliteConnection,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
    {ConnectOptions, Connection},
};
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

static MIGRATOR: Migrator = sqlx::migrate!("migrations/sqlite");

// How long a writer waits for another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
// How long a start waits for another one that migrates.
const OPEN_TIMEOUT: Duration = Duration::from_secs(60);
const OPEN_RETRY: Duration = Duration::from_millis(20);
const READERS: u32 = 4;

impl Sqlite {
    /// Opens `sqlite:PATH`, creating the file and its folder.
    pub(crate) async fn open(url: &str) -> Result<Self, RegistryError> {
        let path = path(url)?;
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)
                .map_err(|error| RegistryError::Database(format!("{}: {error}", folder.display())))?;
        }
        let options = options(&path);
        prepare(&options).await?;
        let writer = SqlitePoolOptions::new().max_connections(1);
        let readers = SqlitePoolOptions::new().max_connections(READERS);
        Ok(Self {
            writer: writer.connect_with(options.clone()).await.map_err(refused)?,
            readers: readers.connect_with(options.pragma("query_only", "ON")).await.map_err(refused)?,
        })
    }
}

fn path(url: &str) -> Result<PathBuf, RegistryError> {
    let path = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:")).unwrap_or_default();
    match path {
        "" => Err(RegistryError::InvalidUrl("sqlite: needs the path of a file, as in sqlite:registry.db")),
        // Its connections would each have their own, and it would forget everything.
        ":memory:" => Err(RegistryError::InvalidUrl("a registry in memory would forget what it said; name a file")),
        path if path.contains('?') => Err(RegistryError::InvalidUrl("sqlite: takes a path without parameters")),
        path => Ok(Path::new(path).to_owned()),
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .foreign_keys(true)
        .journal_mode(SqliteJournalMode::Wal)
        // What was answered must survive a power cut, not only a crash.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
}

/// Migrates the file. Another process may be at the same: SQLite does not wait where the journal mode changes, so this
/// does.
async fn prepare(options: &SqliteConnectOptions) -> Result<(), RegistryError> {
    let deadline = Instant::now() + OPEN_TIMEOUT;
    loop {
        let error = match migrate(options).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if !error.is_transient() || Instant::now() > deadline {
            return Err(error);
        }
        tracing::debug!(%error, "another process is opening the registry");
        tokio::time::sleep(OPEN_RETRY).await;
    }
}

async fn migrate(options: &SqliteConnectOptions) -> Result<(), RegistryError> {
    let mut connection = options.connect().await.map_err(refused)?;
    let migrated = migrate_locked(&mut connection).await;
    connection.close().await.map_err(refused)?;
    migrated
}

// sqlx takes no lock on SQLite. One transaction around all migrations is one.
async fn migrate_locked(connection: &mut SqliteConnection) -> Result<(), RegistryError> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(refused)?;
    // `run` is the same, but its future can't be sent between threads.
    let migrated = MIGRATOR.run_direct(None, &mut *transaction, false).await;
    migrated.map_err(|error| RegistryError::from_migration(error, refused))?;
    transaction.commit().await.map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_a_file_in_every_spelling() {
        for (url, expected) in [
            ("sqlite:a.db", "a.db"),
            ("sqlite:///var/a.db", "/var/a.db"),
            ("sqlite:/var/a.db", "/var/a.db"),
            ("sqlite://a%20b.db", "a%20b.db"),
        ] {
            assert_eq!(path(url).unwrap(), Path::new(expected), "{url}");
        }
        for url in ["sqlite:", "sqlite://", "sqlite::memory:", "sqlite://:memory:", "sqlite:a.db?mode=memory"] {
            assert!(matches!(path(url), Err(RegistryError::InvalidUrl(_))), "{url}");
        }
    }
}
