//! Starts AdCP verbs, answers polls from the registry, and completes, fails, cancels and repairs tasks.
//!
//! - [`Handoff`]: the client. Gateways, workers and tests share it with the CLI.
//! - [`temporal`]: the connection to Temporal.
//! - [`codec`]: what encrypts all that Temporal and the registry store, and the one data converter.
//! - [`housekeeping`]: ending, purging and forgetting requests, and the schedule that does it.
//! - [`Config`]: from flags, the environment or code.
//! - [`jwt`]: whose access tokens are taken, and where their issuer's keys are.
//! - [`sandbox`]: what the compliance controller may do, and clearing it.
//! - [`settings`]: all settings, as `config` shows them.
//! - [`cli`]: the command `handoff`.
//!
//! Invariants:
//! - Only the workflow says `submitted`; this client never does on its own account.
//! - Polls read the registry, never Temporal.
//! - Nothing that a message, log or `Debug` shows holds a password, a key or a body.

mod api_keys;
mod backoff;
mod call;
mod caller;
pub mod cli;
pub mod codec;
mod config;
mod doctor;
pub mod duration;
mod error;
pub mod housekeeping;
pub mod jwt;
mod production;
mod progress;
mod queue;
mod redeliver;
mod reseal;
mod resolve;
mod run_input;
mod runs;
pub mod sandbox;
pub mod settings;
mod tasks;
pub mod temporal;
#[cfg(test)]
mod testing;
mod watch;
mod webhooks;

pub use api_keys::{ApiKeyError, ApiKeys, MIN_API_KEY_BYTES, api_key_file_or_new, generate_api_key, hash_line};
pub use call::{
    Answer, CallError, Direct, DirectContext, DirectOptions, NewKeysLimit, error_body, incomplete_body, sync_deadline,
};
pub use caller::Caller;
pub use config::{Config, ConfigArgs, ConfigError, DEFAULT_REGISTRY_URL, Environment};
pub use doctor::{Check, CheckStatus, doctor};
pub use error::Error;
pub use handoff_store::Viewer;
pub use housekeeping::{
    HousekeepingSettings, PurgeAction, PurgeReport, PurgedRequest, ReconcileAction, ReconcileReport, ReconciledRequest,
    ReconciledWebhook, RedeliverAction, RunSeen,
};
pub use jwt::JwtSettings;
pub use progress::ProgressReport;
pub use reseal::ResealReport;
pub use resolve::Resolved;
pub use tasks::{Tasks, no_such_task};
pub use temporal::{ConnectError, TemporalConfig, TemporalConfigError};
pub use webhooks::{SenderError, SigningSource, WebhookSettings};

use handoff_store::Registry;
use std::{fmt, sync::Arc, time::Duration};
use temporalio_client::Client;

/// A client of one registry and one Temporal namespace. Cheap to clone.
#[derive(Clone)]
pub struct Handoff {
    temporal: Arc<temporal::Place>,
    tasks: Tasks,
    config: Arc<Config>,
    at_work: call::AtWork,
}

impl Handoff {
    /// Connects to Temporal and opens the registry, migrating its schema first.
    pub async fn connect(config: Config) -> Result<Self, Error> {
        config.check()?;
        let temporal = temporal::connect(&config).await?;
        let registry = handoff_store::connect(&config.registry_url, config.registry_options()?).await?;
        Ok(Self::from_parts(temporal, registry, config))
    }

    /// From what is connected already. The client has to have [`codec::data_converter`].
    pub fn from_parts(temporal: Client, registry: Arc<dyn Registry>, config: Config) -> Self {
        let handoff = Self::unconnected(registry, config);
        handoff.temporal.fill(temporal);
        handoff
    }

    /// With a connection to Temporal that is made in the background, for as long as it takes and this client is there. Until
    /// then what needs Temporal is refused as transient. Needs a Tokio runtime.
    pub fn connecting(registry: Arc<dyn Registry>, config: Config) -> Self {
        let handoff = Self::unconnected(registry, config);
        temporal::connect_in_background(&handoff.temporal, handoff.config.clone());
        handoff
    }

    /// Waits until connecting to Temporal was tried once, with or without success, for at most this long. A server that begins to
    /// serve then does not refuse its first requests for a connection that is just being made.
    pub async fn tried_to_connect(&self, patience: Duration) {
        let _ = tokio::time::timeout(patience, self.temporal.tried()).await;
    }

    fn unconnected(registry: Arc<dyn Registry>, config: Config) -> Self {
        Self {
            temporal: Arc::default(),
            tasks: Tasks::new(registry),
            config: Arc::new(config),
            at_work: call::AtWork::default(),
        }
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The registry.
    pub fn registry(&self) -> &Arc<dyn Registry> {
        &self.tasks.registry
    }

    /// The connection to Temporal; an error as long as there never was one.
    pub fn temporal(&self) -> Result<&Client, Error> {
        self.temporal.get().ok_or(Error::NotConnected)
    }
}

impl fmt::Debug for Handoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handoff").field("config", &self.config).finish_non_exhaustive()
    }
}
