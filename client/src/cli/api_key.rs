//! `handoff api-key`.

use super::{exit::Exit, input, output::Output, problem::Problem};
use crate::{ApiKeyError, generate_api_key, hash_line};
use clap::{Args, Subcommand};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

#[derive(Debug, Subcommand)]
pub(super) enum ApiKeyCommand {
    /// Print a fresh key for an agent, and the line for HANDOFF_API_KEYS_FILE by which it is known
    Generate(AgentArgs),
    /// Print the line by which a key of your own is known; the key is read from stdin
    Hash(AgentArgs),
}

/// Whose key.
#[derive(Debug, Args)]
pub(super) struct AgentArgs {
    /// The agent's name, without blanks
    #[arg(long)]
    principal: String,
}

pub(super) fn run(command: ApiKeyCommand, output: &Output) -> Result<Exit, Problem> {
    let refused = |error: ApiKeyError| Problem::usage(error.to_string());
    match command {
        ApiKeyCommand::Generate(AgentArgs { principal }) => {
            let key = generate_api_key().map_err(refused)?;
            let line = hash_line(&principal, &key).map_err(refused)?;
            output.data(&json!({"principal": principal, "api_key": key.expose_secret(), "line": line}), || {
                format!("{}\n{line}", key.expose_secret())
            });
            output
                .talk("the key is for the agent and not kept anywhere; the second line goes to HANDOFF_API_KEYS_FILE");
        }
        ApiKeyCommand::Hash(AgentArgs { principal }) => {
            let key = String::from_utf8(input::read("-")?).map_err(|_| Problem::usage("the key is not UTF-8"))?;
            let line = hash_line(&principal, &SecretString::from(key.trim())).map_err(refused)?;
            output.data(&json!({"principal": principal, "line": line}), || line.clone());
        }
    }
    Ok(Exit::Ok)
}
