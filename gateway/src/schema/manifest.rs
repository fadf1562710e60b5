//! The protocol's manifest: which schema is which tool's.

use super::SchemaError;
use serde::Deserialize;
use std::{collections::BTreeMap, fs, path::Path};

/// `manifest.json`, as far as it is needed.
#[derive(Debug, Deserialize)]
pub(super) struct Manifest {
    pub(super) adcp_version: String,
    pub(super) tools: BTreeMap<String, Tool>,
    task_result_resolution: TaskResultResolution,
}

/// A tool's schemas, by their paths.
#[derive(Debug, Deserialize)]
pub(super) struct Tool {
    pub(super) request_schema: String,
    pub(super) response_schema: String,
    #[serde(default)]
    async_response_schemas: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct TaskResultResolution {
    #[serde(default)]
    terminal_schema_overrides: BTreeMap<String, String>,
}

// The one business rejection with a schema of its own; the tool's response schema has no place for it.
const REJECTED_PRODUCTS: &str = "media-buy/get-products-rejected.json";

impl Manifest {
    pub(super) fn read(directory: &Path) -> Result<Self, SchemaError> {
        let path = directory.join("manifest.json");
        let told = path.display().to_string();
        let text = fs::read(&path).map_err(|source| SchemaError::Read { path: told.clone(), source })?;
        serde_json::from_slice(&text).map_err(|error| SchemaError::Content { path: told, reason: error.to_string() })
    }

    /// What every schema's URL begins with.
    pub(super) fn url(&self) -> String {
        format!("https://adcontextprotocol.org/schemas/{}/", self.adcp_version)
    }

    /// The schema of an answer with this status. The response schemas of discovery have no submitted arm, and none has a
    /// place for interim answers: those are told apart first.
    pub(super) fn response(&self, tool: &str, status: &str) -> Option<&str> {
        let entry = self.tools.get(tool)?;
        let interim = match status {
            "submitted" => entry.interim("submitted"),
            "working" => entry.interim("working"),
            "input-required" => entry.interim("input-required"),
            _ => None,
        };
        interim.or_else(|| self.result(tool, status))
    }

    /// The schema of a task's end (`task_result_resolution`).
    pub(super) fn result(&self, task_type: &str, status: &str) -> Option<&str> {
        if task_type == "get_products" && status == "rejected" {
            return Some(REJECTED_PRODUCTS);
        }
        let named = self.task_result_resolution.terminal_schema_overrides.get(task_type);
        named.or_else(|| self.tools.get(task_type).map(|tool| &tool.response_schema)).map(String::as_str)
    }
}

impl Tool {
    fn interim(&self, status: &str) -> Option<&str> {
        let suffix = format!("-{status}.json");
        self.async_response_schemas.iter().find(|path| path.ends_with(&suffix)).map(String::as_str)
    }
}
