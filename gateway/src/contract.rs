//! The protocol's schemas, where there are any: what is checked, and what tools look like.

use crate::{
    door::Asked,
    schema::{Schemas, Strictness},
    version,
};
use handoff_activities::ResultCheck;
use handoff_proto::{
    errors, tools, verbs,
    wire::{self, AdcpError, Issue},
};
use serde_json::{Map, Value, json};
use std::{fmt, sync::Arc};

/// The schemas, and how strictly they are taken: what the front door checks requests with, and front door and workers the
/// seller's results.
#[derive(Clone, Default)]
pub struct Contract {
    /// Without them nothing is checked.
    pub schemas: Option<Arc<Schemas>>,
    /// What happens to what is not as they say.
    pub strictness: Strictness,
}

impl Contract {
    /// The shape of a tool's arguments: any object, where nothing is known.
    pub(crate) fn tool(&self, name: &str) -> (Map<String, Value>, Option<String>) {
        match self.schemas.as_ref().and_then(|schemas| schemas.tool(name)) {
            Some(tool) => (tool.input_schema(), Some(tool.description().to_owned())),
            None => (Map::from_iter([("type".to_owned(), json!("object"))]), None),
        }
    }

    /// Refuses a request that is not as the protocol's schema for this tool says.
    pub(crate) fn check_request(&self, tool: &str, asked: &Asked) -> Result<(), AdcpError> {
        let issues = self.issues(|schemas| schemas.check_request(tool, &version::as_latest(tool, &asked.request)));
        if issues.is_empty() {
            return Ok(());
        }
        if self.strictness == Strictness::Warn {
            let id = &asked.call.correlation_id;
            tracing::warn!(
                tool,
                correlation_id = id,
                issues = told(&issues),
                "a request is not as the protocol's schema says"
            );
            return Ok(());
        }
        let first = &issues[0];
        let message = format!("The request is not as the protocol's schema says: {}: {}", first.pointer, first.message);
        Err(AdcpError::correctable("VALIDATION_ERROR", message).field(field_of(&first.pointer)).issues(issues))
    }

    /// What is wrong with a result that is to be this tool's, for whoever sent it.
    pub(crate) fn problems(&self, tool: &str, result: &Value) -> Option<String> {
        let issues = self.result_issues(tool, result);
        (!issues.is_empty() && self.strictness == Strictness::Strict).then(|| told(&issues))
    }

    /// What is wrong with a result that is to be this tool's, as the buyer would get it; nothing where nothing is checked.
    pub fn result_issues(&self, tool: &str, result: &Value) -> Vec<Issue> {
        self.issues(|schemas| match tools::find(tool) {
            Some(plain) if !plain.status_in_result => schemas.check_response(tool, result),
            _ => schemas.check_response(tool, &wire::completed_body(verbs::find(tool), result.clone())),
        })
    }

    fn issues(&self, check: impl FnOnce(&Schemas) -> Vec<Issue>) -> Vec<Issue> {
        match &self.schemas {
            Some(schemas) if self.strictness != Strictness::Off => check(schemas),
            _ => Vec::new(),
        }
    }
}

/// A result that is not as it must be is the seller's mistake: the buyer gets an error instead.
impl ResultCheck for Contract {
    fn check(&self, tool: &str, result: &Value, correlation_id: &str) -> Result<(), AdcpError> {
        let issues = self.result_issues(tool, result);
        if issues.is_empty() {
            return Ok(());
        }
        tracing::error!(
            tool,
            correlation_id,
            issues = told(&issues),
            "the seller's answer is not as the protocol's schema says"
        );
        if self.strictness == Strictness::Warn {
            return Ok(());
        }
        let why = format!("it is not as the protocol's schema says (correlation id {correlation_id})");
        Err(errors::result_invalid(why))
    }
}

impl fmt::Debug for Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.schemas.as_ref().map(|schemas| schemas.version());
        f.debug_struct("Contract").field("version", &version).field("strictness", &self.strictness).finish()
    }
}

// Issues hold places and what the schema asks for, no value.
fn told(issues: &[Issue]) -> String {
    issues.iter().map(|issue| format!("{}: {}", issue.pointer, issue.message)).collect::<Vec<_>>().join("; ")
}

// "/packages/0/budget" is packages[0].budget.
fn field_of(pointer: &str) -> String {
    let mut field = String::new();
    for part in pointer.split('/').skip(1).map(|part| part.replace("~1", "/").replace("~0", "~")) {
        if !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) {
            field.push_str(&format!("[{part}]"));
        } else {
            if !field.is_empty() {
                field.push('.');
            }
            field.push_str(&part);
        }
    }
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_becomes_the_protocols_path() {
        for (pointer, field) in [("", ""), ("/brand", "brand"), ("/packages/0/a~1b/12", "packages[0].a/b[12]")] {
            assert_eq!(field_of(pointer), field);
        }
    }
}
