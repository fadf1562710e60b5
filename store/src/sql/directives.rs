//! Statements on directives.

use super::{Dialect, Statement};
use crate::Directive;
use handoff_proto::v1::TaskRef;

const COLUMNS: &str = "scope, principal, verb, task_id, directive_id, decision_json";

/// A row of `directives`.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct DirectiveRow {
    scope: String,
    principal: String,
    verb: String,
    task_id: String,
    pub(crate) directive_id: String,
    pub(crate) decision_json: String,
}

impl DirectiveRow {
    pub(crate) fn task_ref(&self) -> TaskRef {
        TaskRef {
            task_id: self.task_id.clone(),
            scope: self.scope.clone(),
            principal: self.principal.clone(),
            verb: self.verb.clone(),
        }
    }
}

/// Puts a directive in the place of an earlier one.
pub(crate) fn put(directive: &Directive, decision_json: &str) -> Statement {
    let task = &directive.task;
    let mut statement = Statement::new(format!("INSERT INTO directives ({COLUMNS}) VALUES ("));
    statement.bind_all([&task.scope, &task.principal, &task.verb, &task.task_id, &directive.id]);
    statement.push(", ").bind(decision_json);
    statement.push(
        ") ON CONFLICT (scope, principal, verb) DO UPDATE SET task_id = excluded.task_id, \
         directive_id = excluded.directive_id, decision_json = excluded.decision_json",
    );
    statement
}

/// The directive that waits for a request like this.
pub(crate) fn waiting(request: &TaskRef) -> Statement {
    let mut statement = Statement::new(format!("SELECT {COLUMNS} FROM directives"));
    push_key(&mut statement, request);
    statement
}

/// The same, locked.
pub(crate) fn lock(dialect: Dialect, request: &TaskRef) -> Statement {
    let mut statement = waiting(request);
    statement.push(dialect.lock());
    statement
}

/// All of them.
pub(crate) fn all() -> Statement {
    Statement::new(format!("SELECT {COLUMNS} FROM directives ORDER BY scope, principal, verb"))
}

/// Writes the decision of a locked directive anew.
pub(crate) fn update_decision(request: &TaskRef, decision_json: &str) -> Statement {
    let mut statement = Statement::new("UPDATE directives SET decision_json = ");
    statement.bind(decision_json);
    push_key(&mut statement, request);
    statement
}

/// A directive is used up.
pub(crate) fn delete(request: &TaskRef) -> Statement {
    let mut statement = Statement::new("DELETE FROM directives");
    push_key(&mut statement, request);
    statement
}

fn push_key(statement: &mut Statement, request: &TaskRef) {
    statement.push(" WHERE scope = ").bind(&request.scope).push(" AND principal = ").bind(&request.principal);
    statement.push(" AND verb = ").bind(&request.verb);
}
