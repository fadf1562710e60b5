//! AdCP's own JSON schemas, where `make test` has unpacked them.

use handoff_proto::wire::Issue;
use serde_json::Value;
use std::{fs, path::PathBuf};

const VARIABLE: &str = "HANDOFF_ADCP_SCHEMAS";

/// The protocol's schemas.
#[derive(Debug)]
pub struct Schemas {
    directory: PathBuf,
    compiled: handoff_gateway::schema::Schemas,
}

impl Schemas {
    /// Those in the directory that `HANDOFF_ADCP_SCHEMAS` names, if it does.
    pub fn find() -> Option<Self> {
        let directory = PathBuf::from(std::env::var_os(VARIABLE).filter(|directory| !directory.is_empty())?);
        let compiled = handoff_gateway::schema::Schemas::load(&directory);
        Some(Self { compiled: compiled.unwrap_or_else(|error| panic!("{VARIABLE}: {error}")), directory })
    }

    /// Panics unless the value is valid against the schema at this path, for example `core/error.json`.
    pub fn check(&self, path: &str, value: &Value) {
        let issues = self.issues(path, value);
        assert!(issues.is_empty(), "{path}: {issues:#?}\n{value:#}");
    }

    /// What is wrong with a value by the schema at this path.
    pub fn issues(&self, path: &str, value: &Value) -> Vec<Issue> {
        self.compiled.check(path, value).unwrap_or_else(|| panic!("{path} is no schema"))
    }

    /// The file at this path.
    pub fn read(&self, path: &str) -> Value {
        let path = self.directory.join(path);
        let text = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}
