//! Starts AdCP verbs, answers polls from the registry, and completes, fails, cancels and repairs tasks.
//!
//! - [`Handoff`]: the client. Gateways, workers and tests share it with the CLI.
//! - [`temporal`]: the connection to Temporal, and the one data converter.
//! - [`Config`]: from flags, the environment or code.
//! - [`cli`]: the command `handoff`.
//!
//! Invariants:
//! - Only the workflow says `submitted`; this client never does on its own account.
//! - Polls read the registry, never Temporal.
//! - Nothing that a message, log or `Debug` shows holds a password, a key or a body.

mod backoff;
mod caller;
mod config;
pub mod duration;
mod error;
pub mod temporal;

pub use caller::Caller;
pub use config::{Config, ConfigArgs, ConfigError, DEFAULT_REGISTRY_URL, Environment};
pub use error::Error;
pub use temporal::{ConnectError, TemporalConfig, TemporalConfigError};
pub mod cli {
    //! temp
    /// temp
    pub fn run() -> std::process::ExitCode {
        std::process::ExitCode::SUCCESS
    }
}
