//! AdCP's own JSON schemas, where `make test` has unpacked them.

use anyhow::{Context, Result};
use jsonschema::{Retrieve, Uri, Validator};
use serde_json::Value;
use std::{error::Error, fs, path::PathBuf};

const VARIABLE: &str = "HANDOFF_ADCP_SCHEMAS";

/// The protocol's schemas.
#[derive(Clone, Debug)]
pub struct Schemas {
    directory: PathBuf,
}

impl Schemas {
    /// Those in the directory that `HANDOFF_ADCP_SCHEMAS` names, if it does.
    pub fn find() -> Option<Self> {
        let directory = PathBuf::from(std::env::var_os(VARIABLE).filter(|directory| !directory.is_empty())?);
        assert!(directory.is_dir(), "{VARIABLE} names {}, which is no directory", directory.display());
        Some(Self { directory })
    }

    /// Panics unless the value is valid against the schema at this path, for example `core/error.json`.
    pub fn check(&self, path: &str, value: &Value) {
        let validator = self.validator(path);
        let problems: Vec<String> =
            validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(problems.is_empty(), "{path}: {problems:#?}\n{value:#}");
    }

    /// The schema at this path, ready to validate.
    pub fn validator(&self, path: &str) -> Validator {
        let schema = self.read(path).unwrap_or_else(|error| panic!("{path}: {error:#}"));
        let options = jsonschema::options().with_retriever(self.clone());
        options.build(&schema).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// The file at this path.
    pub fn read(&self, path: &str) -> Result<Value> {
        let path = self.directory.join(path);
        let text = fs::read(&path).with_context(|| path.display().to_string())?;
        Ok(serde_json::from_slice(&text)?)
    }
}

// References are absolute: https://adcontextprotocol.org/schemas/VERSION/PATH.
impl Retrieve for Schemas {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn Error + Send + Sync>> {
        let path = uri.path().as_str().trim_start_matches("/schemas/");
        let (_version, path) = path.split_once('/').ok_or("not a schema of the protocol")?;
        Ok(self.read(path)?)
    }
}
