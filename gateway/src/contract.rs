//! The protocol's schemas, where there are any: what is checked, and what tools look like.

use crate::{Strictness, door::Asked};
use handoff_proto::wire::{AdcpError, Issue};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// What the protocol says that requests and answers look like.
pub trait Schemas: Send + Sync + 'static {
    /// The shape of a tool's arguments, slim enough to be listed, and what the tool is for.
    fn tool(&self, name: &str) -> Option<(Map<String, Value>, Option<String>)>;

    /// The protocol, in kebab case, that a tool belongs to.
    fn protocol_of(&self, tool: &str) -> Option<String>;

    /// What is wrong with a request.
    fn check_request(&self, tool: &str, request: &Value) -> Vec<Issue>;

    /// What is wrong with an answer.
    fn check_response(&self, tool: &str, response: &Value) -> Vec<Issue>;
}

/// The schemas, and how strictly they are taken.
pub(crate) struct Contract {
    pub(crate) schemas: Option<Arc<dyn Schemas>>,
    pub(crate) strictness: Strictness,
}

impl Contract {
    /// The shape of a tool's arguments: any object, where nothing is known.
    pub(crate) fn tool(&self, name: &str) -> (Map<String, Value>, Option<String>) {
        self.schemas.as_ref().and_then(|schemas| schemas.tool(name)).unwrap_or_else(|| {
            let any = Map::from_iter([("type".to_owned(), json!("object"))]);
            (any, None)
        })
    }

    pub(crate) fn protocol_of(&self, tool: &str) -> Option<String> {
        self.schemas.as_ref()?.protocol_of(tool)
    }

    pub(crate) fn check_request(&self, asked: &Asked) -> Result<(), AdcpError> {
        let (tool, id) = (&asked.call.tool, &asked.call.correlation_id);
        let issues = self.issues(|schemas| schemas.check_request(tool, &asked.request));
        if issues.is_empty() {
            return Ok(());
        }
        if self.strictness == Strictness::Warn {
            tracing::warn!(tool, correlation_id = id, ?issues, "a request is not as the protocol's schema says");
            return Ok(());
        }
        let first = &issues[0];
        let message =
            format!("The request is not as the protocol's schema says: {}: {}.", first.pointer, first.message);
        Err(AdcpError::correctable("VALIDATION_ERROR", message).field(field_of(&first.pointer)).issues(issues))
    }

    /// An answer that is not as it must be is the seller's mistake: the buyer gets an error instead.
    pub(crate) fn check_response(&self, asked: &Asked, response: &Value) -> Result<(), AdcpError> {
        let (tool, id) = (&asked.call.tool, &asked.call.correlation_id);
        let issues = self.issues(|schemas| schemas.check_response(tool, response));
        if issues.is_empty() {
            return Ok(());
        }
        tracing::error!(tool, correlation_id = id, ?issues, "the seller's answer is not as the protocol's schema says");
        if self.strictness == Strictness::Warn {
            return Ok(());
        }
        Err(handoff_proto::errors::result_invalid(format_args!(
            "it is not as the protocol's schema says (correlation id {id})"
        )))
    }

    fn issues(&self, check: impl FnOnce(&dyn Schemas) -> Vec<Issue>) -> Vec<Issue> {
        match &self.schemas {
            Some(schemas) if self.strictness != Strictness::Off => check(&**schemas),
            _ => Vec::new(),
        }
    }
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
