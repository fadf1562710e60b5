//! The registry on a PostgreSQL server.

mod open;

use crate::{
    Backend, RegistryError,
    sql::{
        Dialect, HistoryRow, OpenRow, Row, Statement,
        directives::DirectiveRow,
        governance::GovernanceRow,
        proposals::{EntryRow, ProposalRow},
        webhooks::{AttemptRow, WebhookRow},
    },
    store::{self, Store, bind},
};
use async_trait::async_trait;
use sqlx::{AssertSqlSafe, PgPool};

type Result<T> = std::result::Result<T, RegistryError>;

/// A PostgreSQL database with the registry's schema.
pub(crate) struct Postgres {
    pool: PgPool,
}

#[async_trait]
impl Store for Postgres {
    const BACKEND: Backend = Backend::Postgres;
    const DIALECT: Dialect = Dialect::Postgres;
    type Transaction = Transaction;

    async fn write(&self) -> Result<Transaction> {
        // Whatever the server's default: a statement after a lock must see what the lock waited for.
        let begin = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
        Ok(Transaction(self.pool.begin_with(begin).await.map_err(refused)?))
    }

    async fn read(&self) -> Result<Transaction> {
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        Ok(Transaction(self.pool.begin_with(begin).await.map_err(refused)?))
    }

    async fn rows(&self, statement: Statement) -> Result<Vec<Row>> {
        let query = sqlx::query_as(AssertSqlSafe(statement.text));
        bind!(query, statement.binds).fetch_all(&self.pool).await.map_err(refused)
    }

    async fn open_rows(&self, statement: Statement) -> Result<Vec<OpenRow>> {
        let query = sqlx::query_as(AssertSqlSafe(statement.text));
        bind!(query, statement.binds).fetch_all(&self.pool).await.map_err(refused)
    }

    async fn webhooks(&self, statement: Statement) -> Result<Vec<WebhookRow>> {
        let query = sqlx::query_as(AssertSqlSafe(statement.text));
        bind!(query, statement.binds).fetch_all(&self.pool).await.map_err(refused)
    }

    async fn attempts(&self, statement: Statement) -> Result<Vec<AttemptRow>> {
        let query = sqlx::query_as(AssertSqlSafe(statement.text));
        bind!(query, statement.binds).fetch_all(&self.pool).await.map_err(refused)
    }

    async fn proposals(&self, statement: Statement) -> Result<Vec<ProposalRow>> {
        let query = sqlx::query_as(AssertSqlSafe(statement.text));
        bind!(query, statement.binds).fetch_all(&self.pool).await.map_err(refused)
    }

    async fn directives(&self, statement: Statement) -> Result<Vec<DirectiveRow>> {
        let query = sqlx::query_as(AssertSqlSafe(statement.text));
        bind!(query, statement.binds).fetch_all(&self.pool).await.map_err(refused)
    }

    async fn governance(&self, statement: Statement) -> Result<Vec<GovernanceRow>> {
        let query = sqlx::query_as(AssertSqlSafe(statement.text));
        bind!(query, statement.binds).fetch_all(&self.pool).await.map_err(refused)
    }

    async fn schema_version(&self) -> Result<i64> {
        sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations")
            .fetch_one(&self.pool)
            .await
            .map_err(refused)
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

/// A transaction on the server.
pub(crate) struct Transaction(sqlx::Transaction<'static, sqlx::Postgres>);

#[async_trait]
impl store::Transaction for Transaction {
    async fn execute(&mut self, statement: Statement) -> Result<u64> {
        let query = sqlx::query(AssertSqlSafe(statement.text));
        let done = bind!(query, statement.binds).execute(&mut *self.0).await.map_err(refused)?;
        Ok(done.rows_affected())
    }

    async fn rows(&mut self, statement: Statement) -> Result<Vec<Row>> {
        let query = sqlx::query_as(AssertSqlSafe(statement.text));
        bind!(query, statement.binds).fetch_all(&mut *self.0).await.map_err(refused)
    }

    async fn history(&mut self, statement: Statement) -> Result<Vec<HistoryRow>> {
        let query = sqlx::query_as(AssertSqlSafe(statement.text));
        bind!(query, statement.binds).fetch_all(&mut *self.0).await.map_err(refused)
    }

    async fn webhooks(&mut self, statement: Statement) -> Result<Vec<WebhookRow>> {
        let query = sqlx::query_as(AssertSqlSafe(statement.text));
        bind!(query, statement.binds).fetch_all(&mut *self.0).await.map_err(refused)
    }

    async fn proposals(&mut self, statement: Statement) -> Result<Vec<ProposalRow>> {
        let query = sqlx::query_as(AssertSqlSafe(statement.text));
        bind!(query, statement.binds).fetch_all(&mut *self.0).await.map_err(refused)
    }

    async fn proposal_history(&mut self, statement: Statement) -> Result<Vec<EntryRow>> {
        let query = sqlx::query_as(AssertSqlSafe(statement.text));
        bind!(query, statement.binds).fetch_all(&mut *self.0).await.map_err(refused)
    }

    async fn directives(&mut self, statement: Statement) -> Result<Vec<DirectiveRow>> {
        let query = sqlx::query_as(AssertSqlSafe(statement.text));
        bind!(query, statement.binds).fetch_all(&mut *self.0).await.map_err(refused)
    }

    async fn governance(&mut self, statement: Statement) -> Result<Vec<GovernanceRow>> {
        let query = sqlx::query_as(AssertSqlSafe(statement.text));
        bind!(query, statement.binds).fetch_all(&mut *self.0).await.map_err(refused)
    }

    async fn number(&mut self, statement: Statement) -> Result<i64> {
        let query = sqlx::query_scalar(AssertSqlSafe(statement.text));
        bind!(query, statement.binds).fetch_one(&mut *self.0).await.map_err(refused)
    }

    async fn commit(self) -> Result<()> {
        self.0.commit().await.map_err(refused)
    }
}

/// What an error of PostgreSQL means.
fn refused(error: sqlx::Error) -> RegistryError {
    match &error {
        sqlx::Error::Database(database) if database.code().is_some_and(|code| is_transient(&code)) => {
            RegistryError::Unavailable(database.message().to_owned())
        }
        // Another transaction was faster, where no row could be locked: the next attempt sees what it did.
        sqlx::Error::Database(database) if database.constraint().is_some_and(|name| RACED.contains(&name)) => {
            RegistryError::Unavailable(database.message().to_owned())
        }
        _ => RegistryError::from_sqlx(error),
    }
}

// The unique indexes on proposals that are looked into first, and may change right after.
const RACED: [&str; 2] = ["proposals_media_buy", "proposals_changing"];

// https://www.postgresql.org/docs/current/errcodes-appendix.html
fn is_transient(code: &str) -> bool {
    // Lost connections, serialization failures and deadlocks, too few resources, operators at work, system errors.
    let classes = ["08", "40", "53", "57", "58"];
    // A lock that is held too long; a transaction that was silent too long; a server that was a primary until just now; a
    // database that takes no connections at the moment.
    let codes = ["55P03", "25P03", "25006", "55000"];
    classes.iter().any(|class| code.starts_with(class)) || codes.contains(&code)
}

#[cfg(test)]
impl Postgres {
    /// For tests that look at how statements run.
    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn lost_connections_and_conflicts_are_worth_another_attempt() {
        for code in ["08006", "40001", "40P01", "53300", "55P03", "57P01", "57P03", "25006", "55000"] {
            assert!(super::is_transient(code), "{code}");
        }
        for code in ["23505", "42P01", "28P01", "22021", "25001"] {
            assert!(!super::is_transient(code), "{code}");
        }
    }
}
