//! What the registry asks of a database: to run statements, inside transactions.

use crate::{
    Backend, RegistryError,
    sql::{
        Dialect, HistoryRow, OpenRow, Row, Statement,
        directives::DirectiveRow,
        governance::GovernanceRow,
        proposals::{EntryRow, ProposalRow},
        webhooks::{AttemptRow, WebhookRow},
    },
};
use async_trait::async_trait;

type Result<T> = std::result::Result<T, RegistryError>;

/// A database with the registry's schema.
#[async_trait]
pub(crate) trait Store: Send + Sync + 'static {
    const BACKEND: Backend;
    const DIALECT: Dialect;
    type Transaction: Transaction;

    /// Begins a transaction that may write. On SQLite it is the only one.
    async fn write(&self) -> Result<Self::Transaction>;

    /// Begins a transaction that only reads, and sees one moment.
    async fn read(&self) -> Result<Self::Transaction>;

    /// Reads requests outside any transaction.
    async fn rows(&self, statement: Statement) -> Result<Vec<Row>>;

    /// Counts open requests outside any transaction.
    async fn open_rows(&self, statement: Statement) -> Result<Vec<OpenRow>>;

    /// Reads webhooks outside any transaction.
    async fn webhooks(&self, statement: Statement) -> Result<Vec<WebhookRow>>;

    /// Reads attempts outside any transaction.
    async fn attempts(&self, statement: Statement) -> Result<Vec<AttemptRow>>;

    /// Reads proposals outside any transaction.
    async fn proposals(&self, statement: Statement) -> Result<Vec<ProposalRow>>;

    /// Reads directives outside any transaction.
    async fn directives(&self, statement: Statement) -> Result<Vec<DirectiveRow>>;

    /// Reads accounts' governance agents outside any transaction.
    async fn governance(&self, statement: Statement) -> Result<Vec<GovernanceRow>>;

    /// The newest migration that was applied.
    async fn schema_version(&self) -> Result<i64>;

    /// Closes all connections.
    async fn close(&self);
}

/// An open transaction. Dropped, it changes nothing.
#[async_trait]
pub(crate) trait Transaction: Send {
    /// How many rows were written.
    async fn execute(&mut self, statement: Statement) -> Result<u64>;

    async fn rows(&mut self, statement: Statement) -> Result<Vec<Row>>;

    async fn history(&mut self, statement: Statement) -> Result<Vec<HistoryRow>>;

    async fn webhooks(&mut self, statement: Statement) -> Result<Vec<WebhookRow>>;

    async fn proposals(&mut self, statement: Statement) -> Result<Vec<ProposalRow>>;

    async fn proposal_history(&mut self, statement: Statement) -> Result<Vec<EntryRow>>;

    async fn directives(&mut self, statement: Statement) -> Result<Vec<DirectiveRow>>;

    async fn governance(&mut self, statement: Statement) -> Result<Vec<GovernanceRow>>;

    async fn number(&mut self, statement: Statement) -> Result<i64>;

    async fn commit(self) -> Result<()>;
}

/// Gives a query of either database its parameters.
macro_rules! bind {
    ($query:expr, $binds:expr) => {{
        let mut query = $query;
        for bind in $binds {
            query = match bind {
                $crate::sql::Bind::Int(value) => query.bind(value),
                $crate::sql::Bind::Text(value) => query.bind(value),
                $crate::sql::Bind::Bool(value) => query.bind(value),
            };
        }
        query
    }};
}
pub(crate) use bind;
