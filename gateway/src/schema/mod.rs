//! The protocol's own JSON schemas: what a tool's requests and responses must look like.
//!
//! They are draft-07, refer to each other by absolute URLs, and are read from a directory: `scripts/setup` unpacks them from
//! the protocol's Python package. Nothing is compiled before it is first needed; compiled schemas are kept.
//!
//! Invariants: an issue names places, keywords and what the schema asks for, never a value of what was checked; a schema that
//! can't be used refuses nobody's request.

mod branch;
mod compiled;
mod issue;
mod manifest;
mod slim;
mod strictness;
#[cfg(test)]
mod tests;

pub use strictness::{ParseStrictnessError, Strictness};

use compiled::Compiled;
use handoff_proto::wire::Issue;
use manifest::Manifest;
use serde_json::{Map, Value};
use std::{borrow::Cow, collections::BTreeMap, path::Path};

/// Fields that a server accepts and ignores on every tool whose schema does not have them (the protocol's security
/// implementation guide, "Server-side tool wrapper conformance").
const ENVELOPE: [&str; 5] =
    ["idempotency_key", "context_id", "context", "governance_context", "push_notification_config"];

/// Why the schemas can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// A file can't be read.
    #[error(
        "{path}: {source}; HANDOFF_ADCP_SCHEMAS names the directory of the protocol's schemas, with its manifest.json"
    )]
    Read {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{path} is not as expected: {reason}")]
    Content {
        /// Which.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// The schemas of one version of the protocol. Shared between threads.
#[derive(Debug)]
pub struct Schemas {
    manifest: Manifest,
    tools: BTreeMap<String, ToolSchema>,
    compiled: Compiled,
}

/// What a client is told about a tool.
#[derive(Debug)]
pub struct ToolSchema {
    description: String,
    input: Map<String, Value>,
    /// Top-level fields that the request's schema has; absent if it is open.
    closed: Option<Vec<String>>,
}

impl ToolSchema {
    /// What the tool does, in a sentence or two.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// A slim schema of the tool's arguments: the top-level fields, without what is inside them. Whatever this accepts or
    /// refuses, [`Schemas::check_request`] says what the protocol does.
    pub fn input_schema(&self) -> Map<String, Value> {
        self.input.clone()
    }
}

impl Schemas {
    /// Reads the manifest and the requests' own files; compiles nothing.
    pub fn load(directory: &Path) -> Result<Self, SchemaError> {
        let manifest = Manifest::read(directory)?;
        let compiled = Compiled::new(directory, manifest.url());
        let mut tools = BTreeMap::new();
        for (name, tool) in &manifest.tools {
            let request = compiled.file(&tool.request_schema)?;
            compiled.exists(&tool.response_schema)?;
            let resolve = |reference: &str| compiled.referred(reference);
            let tool = ToolSchema {
                description: slim::description(&request),
                input: slim::input(&request, &resolve),
                closed: closed(&request),
            };
            tools.insert(name.clone(), tool);
        }
        Ok(Self { manifest, tools, compiled })
    }

    /// The version of the protocol.
    pub fn version(&self) -> &str {
        &self.manifest.adcp_version
    }

    /// A tool of the protocol.
    pub fn tool(&self, name: &str) -> Option<&ToolSchema> {
        self.tools.get(name)
    }

    /// The names of the protocol's tools.
    pub fn tools(&self) -> impl Iterator<Item = &str> {
        self.tools.keys().map(String::as_str)
    }

    /// What is wrong with a request; nothing for a tool that the protocol does not have.
    pub fn check_request(&self, tool: &str, request: &Value) -> Vec<Issue> {
        let (Some(entry), Some(schema)) = (self.manifest.tools.get(tool), self.tools.get(tool)) else {
            return Vec::new();
        };
        self.compiled.check(&entry.request_schema, &without_envelope(schema, request)).unwrap_or_default()
    }

    /// What is wrong with the body of an answer, by the arm that its `status` names; nothing for a tool that the protocol
    /// does not have.
    pub fn check_response(&self, tool: &str, response: &Value) -> Vec<Issue> {
        let status = response.get("status").and_then(Value::as_str).unwrap_or_default();
        let path = self.manifest.response(tool, status);
        path.and_then(|path| self.compiled.check(path, response)).unwrap_or_default()
    }

    /// What is wrong with a task's result: the full response that the task ended with.
    pub fn check_result(&self, task_type: &str, result: &Value) -> Vec<Issue> {
        let status = result.get("status").and_then(Value::as_str).unwrap_or_default();
        let path = self.manifest.result(task_type, status);
        path.and_then(|path| self.compiled.check(path, result)).unwrap_or_default()
    }

    /// What is wrong with a value by any of the protocol's schemas, for example `core/error.json`. `None`: there is no such
    /// schema.
    pub fn check(&self, path: &str, value: &Value) -> Option<Vec<Issue>> {
        self.compiled.check(path, value)
    }

    /// How many schemas are compiled.
    #[cfg(test)]
    fn compiled(&self) -> usize {
        self.compiled.count()
    }
}

fn without_envelope<'a>(schema: &ToolSchema, request: &'a Value) -> Cow<'a, Value> {
    let (Some(declared), Some(fields)) = (&schema.closed, request.as_object()) else {
        return Cow::Borrowed(request);
    };
    let undeclared = |field: &str| ENVELOPE.contains(&field) && !declared.iter().any(|name| name == field);
    if !fields.keys().any(|field| undeclared(field)) {
        return Cow::Borrowed(request);
    }
    let kept = fields.iter().filter(|(field, _)| !undeclared(field));
    Cow::Owned(Value::Object(kept.map(|(field, value)| (field.clone(), value.clone())).collect()))
}

fn closed(schema: &Value) -> Option<Vec<String>> {
    let closed = schema.get("additionalProperties") == Some(&Value::Bool(false));
    let names = schema.get("properties").and_then(Value::as_object).map(|fields| fields.keys().cloned().collect());
    closed.then(|| names.unwrap_or_default())
}
