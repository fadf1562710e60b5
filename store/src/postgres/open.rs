//! Connecting to a PostgreSQL server, and migrating its database.

use super::{Postgres, refused};
use crate::{RegistryError, RegistryOptions};
use sqlx::{
    ConnectOptions, Connection, Executor,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use std::time::Duration;

static MIGRATOR: Migrator = sqlx::migrate!("migrations/postgres");

const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

// A worker that is stopped in the middle of a transaction must not hold up everyone else for ever: others give up
// waiting, and the server ends it. Set here and not in the connection string, because poolers refuse unknown startup
// parameters.
const SESSION: &str = "SET lock_timeout = '10s'; SET statement_timeout = '30s'; \
     SET idle_in_transaction_session_timeout = '30s'";

impl Postgres {
    /// Connects to `postgres://…`.
    pub(crate) async fn open(url: &str, options: &RegistryOptions) -> Result<Self, RegistryError> {
        // The parser's own message may hold parts of the URL.
        let connect: PgConnectOptions =
            url.parse().map_err(|_| RegistryError::InvalidUrl("the PostgreSQL URL can't be read"))?;
        let connect = connect.application_name("handoff");
        migrate(&connect).await?;
        let pool = PgPoolOptions::new()
            .max_connections(options.max_connections.max(1))
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .after_connect(|connection, _| {
                Box::pin(async move {
                    connection.execute(SESSION).await?;
                    Ok(())
                })
            })
            .connect_with(connect)
            .await
            .map_err(refused)?;
        Ok(Self { pool })
    }
}

// On a connection of its own, without the limits above: it may have to wait for another process that migrates. sqlx
// holds an advisory lock meanwhile, which ends with the connection.
async fn migrate(options: &PgConnectOptions) -> Result<(), RegistryError> {
    let mut connection = options.connect().await.map_err(refused)?;
    // `run` is the same, but its future can't be sent between threads.
    let migrated = MIGRATOR.run_direct(None, &mut connection, false).await;
    let closed = connection.close().await;
    migrated.map_err(|error| RegistryError::from_migration(error, refused))?;
    closed.map_err(refused)
}
