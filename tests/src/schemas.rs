//! AdCP's own JSON schemas, where `make test` has unpacked them.

use serde_json::Value;
use std::path::PathBuf;

const VARIABLE: &str = "HANDOFF_ADCP_SCHEMAS";

/// The protocol's schemas.
#[derive(Debug)]
pub struct Schemas(handoff_gateway::schema::Schemas);

impl Schemas {
    /// Those in the directory that `HANDOFF_ADCP_SCHEMAS` names, if it does.
    pub fn find() -> Option<Self> {
        let directory = PathBuf::from(std::env::var_os(VARIABLE).filter(|directory| !directory.is_empty())?);
        let schemas = handoff_gateway::schema::Schemas::load(&directory);
        Some(Self(schemas.unwrap_or_else(|error| panic!("{VARIABLE}: {error}"))))
    }

    /// Panics unless the value is valid against the schema at this path, for example `core/error.json`.
    pub fn check(&self, path: &str, value: &Value) {
        let issues = self.0.check(path, value).unwrap_or_else(|| panic!("{path} is no schema"));
        assert!(issues.is_empty(), "{path}: {issues:#?}\n{value:#}");
    }
}
