//! The registry in a SQLite file.
//!
//! One connection writes, so that writers of this process queue in order instead of contending for the file's lock;
//! others read beside it (write-ahead log). Other processes may share the file.

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
use sqlx::{AssertSqlSafe, SqlitePool};

type Result<T> = std::result::Result<T, RegistryError>;

/// A SQLite file with the registry's schema.
pub(crate) struct Sqlite {
    writer: SqlitePool,
    readers: SqlitePool,
}

#[async_trait]
impl Store for Sqlite {
    const BACKEND: Backend = Backend::Sqlite;
    const DIALECT: Dialect = Dialect::Sqlite;
    type Transaction = Transaction;

    async fn write(&self) -> Result<Transaction> {
        // Takes the file's lock now: a transaction that reads first and writes then can fail where no retry helps.
        Ok(Transaction(self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(refused)?))
    }

    async fn read(&self) -> Result<Transaction> {
        Ok(Transaction(self.readers.begin().await.map_err(refused)?))
    }

    async fn rows(&self, statement: Statement) -> Result<Vec<Row>> {
        let query = sqlx::query_as(AssertSqlSafe(statement.text));
        bind!(query, statement.binds).fetch_all(&self.readers).await.map_err(refused)
    }

    async fn open_rows(&self, statement: Statement) -> Result<Vec<OpenRow>> {
        let query = sqlx::query_as(AssertSqlSafe(statement.text));
        bind!(query, statement.binds).fetch_all(&self.readers).await.map_err(refused)
    }

    async fn webhooks(&self, statement: Statement) -> Result<Vec<WebhookRow>> {
        let query = sqlx::query_as(AssertSqlSafe(statement.text));
        bind!(query, statement.binds).fetch_all(&self.readers).await.map_err(refused)
    }

    async fn attempts(&self, statement: Statement) -> Result<Vec<AttemptRow>> {
        let query = sqlx::query_as(AssertSqlSafe(statement.text));
        bind!(query, statement.binds).fetch_all(&self.readers).await.map_err(refused)
    }

    async fn proposals(&self, statement: Statement) -> Result<Vec<ProposalRow>> {
        let query = sqlx::query_as(AssertSqlSafe(statement.text));
        bind!(query, statement.binds).fetch_all(&self.readers).await.map_err(refused)
    }

    async fn directives(&self, statement: Statement) -> Result<Vec<DirectiveRow>> {
        let query = sqlx::query_as(AssertSqlSafe(statement.text));
        bind!(query, statement.binds).fetch_all(&self.readers).await.map_err(refused)
    }

    async fn governance(&self, statement: Statement) -> Result<Vec<GovernanceRow>> {
        let query = sqlx::query_as(AssertSqlSafe(statement.text));
        bind!(query, statement.binds).fetch_all(&self.readers).await.map_err(refused)
    }

    async fn schema_version(&self) -> Result<i64> {
        sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations")
            .fetch_one(&self.readers)
            .await
            .map_err(refused)
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// A transaction on the file.
pub(crate) struct Transaction(sqlx::Transaction<'static, sqlx::Sqlite>);

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

/// What an error of SQLite means.
fn refused(error: sqlx::Error) -> RegistryError {
    match &error {
        sqlx::Error::Database(database) if is_transient(database.code().as_deref()) => {
            RegistryError::Unavailable(database.message().to_owned())
        }
        _ => RegistryError::from_sqlx(error),
    }
}

// The lowest byte of an extended result code is the primary one (https://sqlite.org/rescode.html).
fn is_transient(code: Option<&str>) -> bool {
    const BUSY: i32 = 5;
    const LOCKED: i32 = 6;
    const IOERR: i32 = 10;
    const FULL: i32 = 13;
    const PROTOCOL: i32 = 15;
    let primary = code.and_then(|code| code.parse::<i32>().ok()).map(|code| code & 0xff);
    matches!(primary, Some(BUSY | LOCKED | IOERR | FULL | PROTOCOL))
}

#[cfg(test)]
impl Sqlite {
    /// For tests that look at how statements run.
    pub(crate) fn readers(&self) -> &SqlitePool {
        &self.readers
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn busy_and_full_are_worth_another_attempt() {
        for (code, transient) in [("5", true), ("517", true), ("13", true), ("2067", false), ("1", false), ("x", false)]
        {
            assert_eq!(super::is_transient(Some(code)), transient, "{code}");
        }
    }
}
