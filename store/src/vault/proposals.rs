//! Proposals and their history, opened and sealed.

use super::{Result, Vault};
use crate::{
    Place, ProposalCause, ProposalKey,
    sql::proposals::{EntryRow, HISTORY_SEALED},
};

/// As a [`Place`], the column of a proposal's body, and those of its history.
const BODY: &str = "proposals.body_json";
const HISTORY: [&str; HISTORY_SEALED.len()] = ["proposal_history.actor", "proposal_history.reason"];

impl Vault {
    /// What is stored of a proposal's body.
    pub(crate) async fn seal_body(&self, key: &ProposalKey, body: &str) -> Result<String> {
        self.seal(&place(key, BODY, &key.principal), body).await
    }

    /// A proposal's body in clear.
    pub(crate) async fn open_body(&self, key: &ProposalKey, stored: String) -> Result<String> {
        self.open(&place(key, BODY, &key.principal), stored).await
    }

    /// What is written into the history of a proposal's version.
    pub(crate) async fn seal_cause(
        &self,
        key: &ProposalKey,
        version: i64,
        cause: &ProposalCause,
    ) -> Result<ProposalCause> {
        let entry = entry(key, version);
        let mut sealed = cause.clone();
        for (column, text) in HISTORY.into_iter().zip([&mut sealed.actor, &mut sealed.reason]) {
            *text = self.seal(&place(key, column, &entry), text).await?;
        }
        Ok(sealed)
    }

    /// An entry of a proposal's history, in clear.
    pub(crate) async fn open_entry(&self, key: &ProposalKey, mut row: EntryRow) -> Result<EntryRow> {
        let entry = entry(key, row.version);
        for (column, text) in HISTORY.into_iter().zip(row.bodies()) {
            *text = self.open(&place(key, column, &entry), std::mem::take(text)).await?;
        }
        Ok(row)
    }

    /// An entry's texts, opened and sealed with the active key.
    pub(crate) async fn reseal_entry(&self, key: &ProposalKey, row: EntryRow) -> Result<[String; 2]> {
        let version = row.version;
        let mut opened = self.open_entry(key, row).await?;
        let [actor, reason] = opened.bodies().map(std::mem::take);
        let cause = self.seal_cause(key, version, &ProposalCause { task_id: None, actor, reason }).await?;
        Ok([cause.actor, cause.reason])
    }
}

fn place<'a>(key: &'a ProposalKey, column: &'static str, entry: &'a str) -> Place<'a> {
    Place { scope: &key.scope, task_id: &key.proposal_id, column, entry }
}

// Digits only before the space: no two are the same.
fn entry(key: &ProposalKey, version: i64) -> String {
    format!("{version} {}", key.principal)
}
