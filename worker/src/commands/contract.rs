//! What requests and results are checked against.

use anyhow::Result;
use clap::Args;
use handoff_client::cli::ReviewCheck;
use handoff_gateway::{Contract, Schemas, Strictness};
use handoff_proto::wire::Issue;
use serde_json::Value;
use std::{path::PathBuf, sync::Arc};

/// What requests and results are checked against
#[derive(Args, Clone, Debug)]
pub(crate) struct ContractArgs {
    /// Directory of the protocol's JSON schemas: adcp/_schemas/3.2 of the PyPI package adcp; without one nothing is checked
    #[arg(long, env = "HANDOFF_ADCP_SCHEMAS", value_name = "DIRECTORY", global = true, help_heading = "Validation")]
    adcp_schemas: Option<PathBuf>,
    /// What becomes of requests and results that are not as the schemas say: strict refuses, warn logs, off does not look
    #[arg(
        long,
        env = "HANDOFF_VALIDATION",
        default_value = "strict",
        value_name = "STRICTNESS",
        global = true,
        help_heading = "Validation"
    )]
    validation: Strictness,
}

impl ContractArgs {
    /// Reads the schemas' list, if there is one; they are compiled when they are first needed.
    pub(crate) fn load(&self, name: &str) -> Result<Contract> {
        let contract = self.read()?;
        if contract.schemas.is_none() && self.validation != Strictness::Off {
            eprintln!(
                "{name}: nothing is checked against the protocol's schemas: set HANDOFF_ADCP_SCHEMAS, or HANDOFF_VALIDATION=off"
            );
        }
        Ok(contract)
    }

    fn read(&self) -> Result<Contract> {
        let directory = self.adcp_schemas.as_ref().filter(|directory| !directory.as_os_str().is_empty());
        let schemas = match directory {
            Some(directory) if self.validation != Strictness::Off => Some(Arc::new(Schemas::load(directory)?)),
            // The tools are still listed with what they take.
            Some(directory) => Schemas::load(directory).ok().map(Arc::new),
            None => None,
        };
        Ok(Contract { schemas, strictness: self.validation })
    }
}

impl ReviewCheck for ContractArgs {
    fn issues(&self, verb: &str, result: &Value) -> Result<Vec<Issue>, String> {
        if self.validation == Strictness::Off {
            return Ok(Vec::new());
        }
        let contract = self.read().map_err(|error| format!("{error:#}"))?;
        Ok(contract.result_issues(verb, result))
    }

    fn refuses(&self) -> bool {
        self.validation == Strictness::Strict
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::path::Path;

    const REVIEWS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/acme-seller/reviews");

    fn checks(validation: Strictness) -> ContractArgs {
        let schemas = std::env::var_os("HANDOFF_ADCP_SCHEMAS").filter(|directory| !directory.is_empty());
        let schemas = schemas.expect("the protocol's schemas are not here: run make test, or set HANDOFF_ADCP_SCHEMAS");
        ContractArgs { adcp_schemas: Some(schemas.into()), validation }
    }

    fn review(name: &str) -> Value {
        let text = std::fs::read(Path::new(REVIEWS).join(name)).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    #[test]
    fn the_examples_reviews_pass_and_what_is_wrong_is_named() {
        let strict = checks(Strictness::Strict);
        for (verb, name) in [
            ("create_media_buy", "approve_insertion_order.json"),
            ("create_media_buy", "reject_insertion_order.json"),
            ("update_media_buy", "approve_amendment.json"),
            ("sync_creatives", "approve_creatives.json"),
        ] {
            assert_eq!(strict.issues(verb, &review(name)), Ok(Vec::new()), "{name}");
        }
        let mut wrong = review("approve_insertion_order.json");
        wrong["revision"] = json!("one");
        let places = |checks: &ContractArgs, result: &Value| {
            let issues = checks.issues("create_media_buy", result).unwrap();
            issues.into_iter().map(|issue| issue.pointer).collect::<Vec<_>>()
        };
        assert_eq!(places(&strict, &wrong), ["/revision"]);
        assert_eq!(places(&strict, &json!({"media_buy": 1}))[0], "/media_buy_id");
        assert_eq!(places(&checks(Strictness::Warn), &wrong), ["/revision"]);
        assert_eq!(places(&checks(Strictness::Off), &wrong), [""; 0]);
    }

    #[test]
    fn without_schemas_nothing_is_wrong_and_with_none_to_be_read_nothing_is_said() {
        let none = ContractArgs { adcp_schemas: Some("".into()), validation: Strictness::Strict };
        assert_eq!(none.issues("create_media_buy", &json!({"a": 1})), Ok(Vec::new()));
        let lost = ContractArgs { adcp_schemas: Some("/none/such".into()), validation: Strictness::Strict };
        let error = lost.issues("create_media_buy", &json!({"a": 1})).unwrap_err();
        assert!(error.contains("/none/such") && error.contains("HANDOFF_ADCP_SCHEMAS"), "{error}");
    }
}
