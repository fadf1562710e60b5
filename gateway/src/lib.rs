//! The buyers' front door: an AdCP agent over MCP.
//!
//! - [`Gateway`]: what is served, made of [`GatewayParts`].
//! - [`Authenticator`] says who calls, by API keys ([`ApiKeyAuthenticator`]) or access tokens ([`JwtAuthenticator`]),
//!   [`SignatureVerifier`] who signed, and [`AccountResolver`] for which account.
//!
//! Invariants:
//! - A replica keeps nothing: any of them answers any request.
//! - Only the workflow says `submitted`; polls read the registry alone.
//! - What another agent or account has looks like what nobody has: the same answer, at the same cost.
//! - No secret, query string or body is logged.

mod account;
mod auth;
mod compliance;
mod contract;
mod discovery;
mod door;
mod governance;
mod http;
mod json_check;
mod jwks;
mod jwt;
mod mcp;
mod resource;
pub mod schema;
mod settings;
mod signing;
mod tools;
mod version;

pub use account::{
    Account, AccountRef, AccountResolver, AccountsFileError, AnyAccount, Brand, ConfiguredAccounts, NaturalKey,
    SandboxAccount,
};
pub use auth::{ADCP_AUTH, ApiKeyAuthenticator, AuthError, Authenticator, Principal, presented_key};
pub use contract::Contract;
pub use jwt::{JwtAuthenticator, TokensBeside};
pub use resource::ProtectedResource;
pub use schema::{Schemas, Strictness};
pub use settings::{GatewaySettings, RateLimit};
pub use signing::{Counterparty, KeySource, RequestSigning, SignatureVerifier, SigningFileError, VerifierError};

use axum::Router;
use door::{Door, Limiter};
use handoff_activities::{Activities, ActivityTimeouts, GovernanceAgents, seller::Handlers};
use handoff_client::{Config, Handoff, NewKeysLimit, Tasks};
use handoff_store::Registry;
use rustls::ServerConfig;
use std::{pin::pin, sync::Arc, time::Duration};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

// Longer, and polls would wait for a Temporal that is away.
const FIRST_CONNECTION: Duration = Duration::from_secs(5);

/// What a front door is made of.
pub struct GatewayParts {
    /// The seller's name.
    pub name: String,
    /// How to reach Temporal, and how calls behave.
    pub config: Config,
    /// The registry.
    pub registry: Arc<dyn Registry>,
    /// The seller's handlers.
    pub handlers: Handlers,
    /// Says who calls.
    pub authenticator: Arc<dyn Authenticator>,
    /// Verifies requests that buyers sign; none: signatures are not looked at.
    pub signatures: Option<SignatureVerifier>,
    /// Says for which account.
    pub accounts: Arc<dyn AccountResolver>,
    /// What requests and answers are checked against.
    pub contract: Contract,
    /// How it behaves.
    pub settings: GatewaySettings,
}

/// The front door.
#[derive(Clone)]
pub struct Gateway {
    door: Arc<Door>,
}

impl Gateway {
    /// Puts the parts together, and begins to connect to Temporal in the background. Needs a Tokio runtime.
    pub fn new(parts: GatewayParts) -> Self {
        let GatewayParts {
            name,
            mut config,
            registry,
            handlers,
            authenticator,
            signatures,
            accounts,
            contract,
            settings,
        } = parts;
        let governed = settings.governance && handlers.governance().is_some();
        let catalog = tools::Catalog::new(&handlers, &contract, config.compliance_testing, governed);
        let mut capabilities = tools::compose_capabilities(&handlers, &catalog, &config);
        let well_known = http::WellKnown::new(&config, signatures.is_some());
        well_known.declare(&mut capabilities);
        if let Some(signatures) = &signatures {
            signatures.declare(&mut capabilities, catalog.names());
        }
        config.new_keys = settings.new_keys.map(|limit| Arc::new(NewKeysLimit::new(limit.per_second, limit.burst)));
        let timeouts = ActivityTimeouts { sandbox_review: config.sandbox_review_delay, ..ActivityTimeouts::default() };
        let activities =
            Activities::new(registry.clone(), handlers, timeouts).checking(Some(Arc::new(contract.clone())));
        let activities = activities.with_governance(Some(agents(&registry, &config)));
        let resource = authenticator.protected_resource();
        let door = Door {
            name,
            authenticator,
            challenges: http::Challenges::new(resource.as_ref(), signatures.as_ref()),
            resource,
            signatures,
            accounts,
            capabilities,
            catalog,
            contract,
            activities,
            tasks: Tasks::new(registry.clone()),
            metrics: config.metrics.clone(),
            handoff: Handoff::connecting(registry, config),
            well_known,
            limiter: Limiter::new(settings.rate_limit),
            settings,
        };
        Self { door: Arc::new(door) }
    }

    /// Everything that is served, to be mounted elsewhere.
    pub fn router(&self) -> Router {
        http::router(&self.door)
    }

    /// Serves until `stop`, then finishes what was begun.
    pub async fn serve(self, listener: TcpListener, stop: impl Future<Output = ()>) {
        self.serve_over(listener, None, stop).await;
    }

    /// The same over TLS: for a developer's machine, where no proxy is in front.
    pub async fn serve_tls(self, listener: TcpListener, tls: Arc<ServerConfig>, stop: impl Future<Output = ()>) {
        self.serve_over(listener, Some(tls.into()), stop).await;
    }

    async fn serve_over(self, listener: TcpListener, tls: Option<TlsAcceptor>, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        // Who calls meanwhile waits.
        tokio::select! {
            () = self.door.handoff.tried_to_connect(FIRST_CONNECTION) => {}
            () = &mut stop => return,
        }
        http::serve(listener, tls, self.router(), self.door.settings.head_timeout, stop).await;
        // Their buyers hung up; what they came to is still to be recorded.
        self.door.handoff.direct_done().await;
    }
}

/// What binds governance agents to accounts, and asks them.
fn agents(registry: &Arc<dyn Registry>, config: &Config) -> GovernanceAgents {
    let egress = config.webhooks.egress(config.environment);
    let egress = egress.inspect_err(|error| tracing::warn!(%error, "this gateway takes no governance agents"));
    GovernanceAgents::new(registry.clone(), egress.ok(), config.agent_url())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use handoff_activities::seller::{Context, Decision, HandlersBuilder};
    use handoff_client::TemporalConfig;
    use handoff_proto::wire::AdcpError;
    use serde_json::{Value, json};
    use std::future::ready;

    #[tokio::test]
    async fn told_to_stop_it_does_not_wait_for_temporal() {
        let mut handlers = HandlersBuilder::new(());
        let decide = |_: Context<()>, _: Value| async { Ok::<_, AdcpError>(Decision::complete(json!({}))) };
        handlers.verb("get_products", decide);
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", directory.path().join("registry.db").display());
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let temporal = TemporalConfig::at(silent.local_addr().unwrap().to_string(), "n");
        let gateway = Gateway::new(GatewayParts {
            name: "seller".to_owned(),
            config: Config { temporal, ..Config::default() },
            registry: handoff_store::connect(&url, Default::default()).await.unwrap(),
            handlers: handlers.build().unwrap(),
            authenticator: Arc::new(ApiKeyAuthenticator::new(Default::default())),
            signatures: None,
            accounts: Arc::new(AnyAccount),
            contract: Contract::default(),
            settings: GatewaySettings::default(),
        });
        assert!(gateway.serve(listener, ready(())).now_or_never().is_some(), "it waits for something");
    }
}
