//! Governance agents' credentials, opened and sealed: each opens only for the account and the URL that it was given for.

use super::{Result, Vault};
use crate::{GovernanceBinding, Place, sql::governance::GovernanceRow};

/// The column that holds them, as a [`Place`].
const CREDENTIALS: &str = "governance_agents.credentials";

impl Vault {
    /// What is stored of an agent's credentials.
    pub(crate) async fn seal_credentials(&self, scope: &str, url: &str, credentials: &str) -> Result<String> {
        self.seal(&place(scope, url), credentials).await
    }

    /// An agent's binding in clear.
    pub(crate) async fn open_binding(&self, row: GovernanceRow) -> Result<GovernanceBinding> {
        let credentials = self.open(&place(&row.scope, &row.url), row.credentials).await?;
        Ok(GovernanceBinding {
            scope: row.scope,
            principal: row.principal,
            url: row.url,
            credentials,
            sandbox: row.sandbox,
        })
    }
}

fn place<'a>(scope: &'a str, url: &'a str) -> Place<'a> {
    Place { scope, task_id: "", column: CREDENTIALS, entry: url }
}
