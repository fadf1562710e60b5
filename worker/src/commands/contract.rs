//! What requests and results are checked against.

use anyhow::Result;
use clap::Args;
use handoff_gateway::{Contract, Schemas, Strictness};
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
        let directory = self.adcp_schemas.as_ref().filter(|directory| !directory.as_os_str().is_empty());
        let schemas = match directory {
            Some(directory) if self.validation != Strictness::Off => Some(Arc::new(Schemas::load(directory)?)),
            // The tools are still listed with what they take.
            Some(directory) => Schemas::load(directory).ok().map(Arc::new),
            None => None,
        };
        if schemas.is_none() && self.validation != Strictness::Off {
            eprintln!(
                "{name}: nothing is checked against the protocol's schemas: set HANDOFF_ADCP_SCHEMAS, or HANDOFF_VALIDATION=off"
            );
        }
        Ok(Contract { schemas, strictness: self.validation })
    }
}
