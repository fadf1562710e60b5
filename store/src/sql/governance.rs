//! Statements on the governance agents of accounts.

use super::{Dialect, Statement};
use crate::GovernanceBinding;

const COLUMNS: &str = "scope, principal, url, credentials, sandbox";

/// A row of `governance_agents`.
#[derive(Clone, sqlx::FromRow)]
pub(crate) struct GovernanceRow {
    pub(crate) scope: String,
    pub(crate) principal: String,
    pub(crate) url: String,
    pub(crate) credentials: String,
    pub(crate) sandbox: bool,
}

/// Puts an agent in the place of an earlier one.
pub(crate) fn put(binding: &GovernanceBinding, credentials: &str) -> Statement {
    let mut statement = Statement::new(format!("INSERT INTO governance_agents ({COLUMNS}) VALUES ("));
    statement.bind_all([&binding.scope, &binding.principal, &binding.url]);
    statement.push(", ").bind(credentials).push(", ").bind(binding.sandbox);
    statement.push(
        ") ON CONFLICT (scope) DO UPDATE SET principal = excluded.principal, url = excluded.url, \
         credentials = excluded.credentials, sandbox = excluded.sandbox",
    );
    statement
}

/// The agent of an account.
pub(crate) fn of(scope: &str) -> Statement {
    let mut statement = Statement::new(format!("SELECT {COLUMNS} FROM governance_agents WHERE scope = "));
    statement.bind(scope);
    statement
}

/// The same, locked.
pub(crate) fn lock(dialect: Dialect, scope: &str) -> Statement {
    let mut statement = of(scope);
    statement.push(dialect.lock());
    statement
}

/// Some of them, after this account.
pub(crate) fn walk(after: &str, limit: u32) -> Statement {
    let mut statement = Statement::new(format!("SELECT {COLUMNS} FROM governance_agents WHERE scope > "));
    statement.bind(after).push(" ORDER BY scope LIMIT ").bind(i64::from(limit));
    statement
}

/// Writes the credentials of a locked row anew.
pub(crate) fn update_credentials(scope: &str, credentials: &str) -> Statement {
    let mut statement = Statement::new("UPDATE governance_agents SET credentials = ");
    statement.bind(credentials).push(" WHERE scope = ").bind(scope);
    statement
}
