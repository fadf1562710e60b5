//! Schemas as validators: compiled when first needed, then kept.

use super::{SchemaError, issue};
use handoff_proto::wire::Issue;
use jsonschema::{Draft, PatternOptions, Retrieve, Uri, Validator};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    error::Error,
    fmt, fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

// Some of the protocol's patterns look ahead, which takes an engine that backtracks: bounded, for hostile text.
const BACKTRACK_LIMIT: usize = 10_000;

/// The schemas in a directory.
pub(super) struct Compiled {
    files: Files,
    validators: Mutex<HashMap<String, Arc<OnceLock<Option<Validator>>>>>,
}

impl Compiled {
    pub(super) fn new(directory: &Path, url: String) -> Self {
        let files = Files { directory: directory.to_owned(), url: url.into() };
        Self { files, validators: Mutex::default() }
    }

    /// What is wrong with a value. `None`: the schema can't be compiled, which is logged.
    pub(super) fn check(&self, path: &str, value: &Value) -> Option<Vec<Issue>> {
        let validator = {
            let mut validators = self.validators.lock().unwrap_or_else(PoisonError::into_inner);
            match validators.get(path) {
                Some(validator) => Arc::clone(validator),
                None => Arc::clone(validators.entry(path.to_owned()).or_default()),
            }
        };
        // Outside the lock: others compile theirs meanwhile, and who needs the same waits for it.
        let validator = validator.get_or_init(|| self.compile(path)).as_ref()?;
        Some(if validator.is_valid(value) { Vec::new() } else { issue::issues(validator, value) })
    }

    fn compile(&self, path: &str) -> Option<Validator> {
        let compiled = jsonschema::options()
            .with_draft(Draft::Draft7)
            .with_retriever(self.files.clone())
            .with_pattern_options(PatternOptions::fancy_regex().backtrack_limit(BACKTRACK_LIMIT))
            .should_validate_formats(true)
            .build(&json!({"$ref": format!("{}{path}", self.files.url)}));
        compiled.inspect_err(|error| tracing::error!(schema = path, %error, "a schema can't be used")).ok()
    }

    pub(super) fn file(&self, path: &str) -> Result<Value, SchemaError> {
        self.files.read(path)
    }

    pub(super) fn exists(&self, path: &str) -> Result<(), SchemaError> {
        let path = self.files.directory.join(path);
        match fs::metadata(&path) {
            Ok(_) => Ok(()),
            Err(source) => Err(SchemaError::Read { path: path.display().to_string(), source }),
        }
    }

    /// What an absolute reference refers to.
    pub(super) fn referred(&self, reference: &str) -> Option<Value> {
        let (document, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let document = self.files.read(document.strip_prefix(&*self.files.url)?).ok()?;
        document.pointer(fragment).cloned()
    }

    /// How many schemas were asked for, compiled or not.
    #[cfg(test)]
    pub(super) fn asked(&self) -> usize {
        self.validators.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        let validators = self.validators.lock().unwrap_or_else(PoisonError::into_inner);
        validators.values().filter(|validator| matches!(validator.get(), Some(Some(_)))).count()
    }
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiled").field("directory", &self.files.directory).finish_non_exhaustive()
    }
}

/// Finds what a schema refers to among the files, by its absolute URL.
#[derive(Clone)]
struct Files {
    directory: PathBuf,
    url: Arc<str>,
}

impl Files {
    fn read(&self, path: &str) -> Result<Value, SchemaError> {
        let path = self.directory.join(path);
        let text = fs::read(&path).map_err(|source| SchemaError::Read { path: path.display().to_string(), source })?;
        serde_json::from_slice(&text)
            .map_err(|error| SchemaError::Content { path: path.display().to_string(), reason: error.to_string() })
    }
}

impl Retrieve for Files {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn Error + Send + Sync>> {
        let path = uri.as_str().strip_prefix(&*self.url).ok_or("none of the protocol's schemas")?;
        Ok(self.read(path)?)
    }
}
