//! Directives, opened and sealed.

use super::{Result, Vault};
use crate::{Directive, Place, RegistryError, sql::directives::DirectiveRow};
use handoff_proto::v1::TaskRef;

/// The column that holds a decision, as a [`Place`].
const DECISION: &str = "directives.decision_json";

impl Vault {
    /// What is stored of a directive's decision.
    pub(crate) async fn seal_directive(&self, task: &TaskRef, decision_json: &str) -> Result<String> {
        self.seal(&place(task, &entry(task)), decision_json).await
    }

    /// A directive's decision in clear, as it is stored.
    pub(crate) async fn open_decision(&self, task: &TaskRef, stored: String) -> Result<String> {
        self.open(&place(task, &entry(task)), stored).await
    }

    /// A directive in clear.
    pub(crate) async fn open_directive(&self, row: DirectiveRow) -> Result<Directive> {
        let task = row.task_ref();
        let decision = self.open_decision(&task, row.decision_json).await?;
        let decision = serde_json::from_str(&decision)
            .map_err(|error| RegistryError::Corrupt(format!("a directive of {}: {error}", task.task_id)))?;
        Ok(Directive { task, decision, id: row.directive_id })
    }
}

fn place<'a>(task: &'a TaskRef, entry: &'a str) -> Place<'a> {
    Place { scope: &task.scope, task_id: &task.task_id, column: DECISION, entry }
}

// No verb has a space in it: no two are the same.
fn entry(task: &TaskRef) -> String {
    format!("{} {}", task.verb, task.principal)
}
