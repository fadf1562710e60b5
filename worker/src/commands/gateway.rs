//! The command `gateway`: the buyers' front door.

use anyhow::{Context, Result, bail};
use clap::Args;
use handoff_activities::seller::Handlers;
use handoff_client::{ApiKeys, Config, Environment, duration};
use handoff_gateway::{
    AccountResolver, AnyAccount, ApiKeyAuthenticator, Authenticator, ConfiguredAccounts, Contract, Gateway,
    GatewayParts, GatewaySettings, JwtAuthenticator, RateLimit, RequestSigning, SandboxAccount, SignatureVerifier,
    TokensBeside,
};
use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, sync::Arc, time::Duration};
use tokio::net::TcpListener;

/// What the seller's code brings to the front door; what is absent is shipped.
#[derive(Clone, Default)]
pub(crate) struct FrontDoor {
    pub(crate) authenticator: Option<Arc<dyn Authenticator>>,
    pub(crate) accounts: Option<Arc<dyn AccountResolver>>,
}

/// How the front door behaves
#[derive(Args, Clone, Debug)]
pub(crate) struct GatewayArgs {
    /// Where buyers connect; port 0 is any free one
    #[arg(
        long,
        env = "HANDOFF_GATEWAY_ADDRESS",
        default_value = "127.0.0.1:8080",
        value_name = "IP:PORT",
        global = true,
        help_heading = "Gateway"
    )]
    gateway_address: SocketAddr,
    /// Host names that are answered, beside this machine's own and the public URL's; * is all, as is none where the address is not
    /// this machine's alone
    #[arg(
        long,
        env = "HANDOFF_ALLOWED_HOSTS",
        value_delimiter = ',',
        value_name = "HOST",
        global = true,
        help_heading = "Gateway"
    )]
    allowed_hosts: Vec<String>,
    /// File with the hashed API keys of buyers' agents, one a line; `handoff api-key generate` makes them
    #[arg(long, env = "HANDOFF_API_KEYS_FILE", value_name = "FILE", global = true, help_heading = "Gateway")]
    api_keys_file: Option<PathBuf>,
    /// TOML file with the seller's accounts; without one, in development, every account exists, or, where compliance tests may
    /// control them, each agent's sandbox account alone
    #[arg(long, env = "HANDOFF_ACCOUNTS_FILE", value_name = "FILE", global = true, help_heading = "Gateway")]
    accounts_file: Option<PathBuf>,
    /// TOML file with the agents whose signed requests (RFC 9421) are taken, and how they sign; without one signatures are not looked at
    #[arg(long, env = "HANDOFF_REQUEST_SIGNING_FILE", value_name = "FILE", global = true, help_heading = "Gateway")]
    request_signing_file: Option<PathBuf>,
    /// Requests a second of one agent on this process; 0 is any number
    #[arg(
        long,
        env = "HANDOFF_RATE_LIMIT",
        default_value = "100",
        value_name = "NUMBER",
        global = true,
        help_heading = "Gateway"
    )]
    rate_limit: u32,
    /// Requests of one agent at once, after a pause
    #[arg(
        long,
        env = "HANDOFF_RATE_BURST",
        default_value = "500",
        value_name = "NUMBER",
        global = true,
        help_heading = "Gateway"
    )]
    rate_burst: NonZeroU32,
    /// New idempotency keys a second of one agent for one account on this process; 0 is any number
    #[arg(
        long,
        env = "HANDOFF_NEW_KEYS_LIMIT",
        default_value = "20",
        value_name = "NUMBER",
        global = true,
        help_heading = "Gateway"
    )]
    new_keys_limit: u32,
    /// New idempotency keys of one agent for one account at once, after a pause
    #[arg(
        long,
        env = "HANDOFF_NEW_KEYS_BURST",
        default_value = "1000",
        value_name = "NUMBER",
        global = true,
        help_heading = "Gateway"
    )]
    new_keys_burst: NonZeroU32,
    /// How long a plain tool may take before its caller is told to come back
    #[arg(long, env = "HANDOFF_TOOL_TIMEOUT", default_value = "30s", value_parser = duration::parse, value_name = "DURATION", global = true, help_heading = "Gateway")]
    tool_timeout: Duration,
    /// Whether buyers may give their accounts governance agents, where the seller takes some; those that they gave are asked all the same
    #[arg(long, env = "HANDOFF_GOVERNANCE", default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL", global = true, help_heading = "Gateway")]
    governance: bool,
    /// How long a connection may be without a whole head of a request; longer than a proxy in front keeps idle ones
    #[arg(long, env = "HANDOFF_HEAD_TIMEOUT", default_value = "75s", value_parser = duration::parse, value_name = "DURATION", global = true, help_heading = "Gateway")]
    head_timeout: Duration,
    /// How long a request's body may take to arrive
    #[arg(long, env = "HANDOFF_BODY_TIMEOUT", default_value = "10s", value_parser = duration::parse, value_name = "DURATION", global = true, help_heading = "Gateway")]
    body_timeout: Duration,
}

impl GatewayArgs {
    /// Where the front door is to be.
    pub(crate) fn address(&self) -> SocketAddr {
        self.gateway_address
    }

    fn settings(&self, config: &Config) -> Result<GatewaySettings> {
        for (name, value) in [
            ("HANDOFF_TOOL_TIMEOUT", self.tool_timeout),
            ("HANDOFF_HEAD_TIMEOUT", self.head_timeout),
            ("HANDOFF_BODY_TIMEOUT", self.body_timeout),
        ] {
            if value.is_zero() {
                bail!("{name} must be longer than zero");
            }
        }
        let mut settings = GatewaySettings {
            address: self.gateway_address,
            tool_timeout: self.tool_timeout,
            governance: self.governance,
            head_timeout: self.head_timeout,
            body_timeout: self.body_timeout,
            rate_limit: limit(self.rate_limit, self.rate_burst),
            new_keys: limit(self.new_keys_limit, self.new_keys_burst),
            ..GatewaySettings::default()
        };
        // The check keeps web pages from reaching a server on their reader's own machine.
        let public = !self.gateway_address.ip().is_loopback() && self.allowed_hosts.is_empty();
        if public || self.allowed_hosts.iter().any(|host| host == "*") {
            settings.allowed_hosts.clear();
        } else {
            settings.allowed_hosts.extend(self.allowed_hosts.iter().cloned());
            settings.allowed_hosts.extend(config.public_host());
        }
        Ok(settings)
    }

    // Needs a Tokio runtime.
    fn authenticator(
        &self,
        front: &FrontDoor,
        config: &Config,
        development: Option<&ApiKeys>,
    ) -> Result<Arc<dyn Authenticator>> {
        if let Some(authenticator) = &front.authenticator {
            if config.jwt.is_some() {
                bail!(
                    "HANDOFF_JWT_ISSUER is set, but this seller says itself who calls (Seller::authenticator): unset it"
                );
            }
            return Ok(authenticator.clone());
        }
        let mut keys = match &self.api_keys_file {
            Some(file) => ApiKeys::read(file)?,
            None => ApiKeys::default(),
        };
        keys.extend(development);
        match config.jwt.as_ref().zip(config.resource_url()) {
            Some((settings, resource)) => {
                let tokens = JwtAuthenticator::new(settings, config.environment, resource)
                    .context("access tokens can't be taken")?;
                Ok(Arc::new(TokensBeside::new(tokens, ApiKeyAuthenticator::new(keys))))
            }
            None if keys.is_empty() && self.request_signing_file.is_none() => bail!(
                "nobody could call: set HANDOFF_API_KEYS_FILE to a file with lines of `handoff api-key generate`, HANDOFF_JWT_ISSUER, or HANDOFF_REQUEST_SIGNING_FILE"
            ),
            None => Ok(Arc::new(ApiKeyAuthenticator::new(keys))),
        }
    }

    // Needs a Tokio runtime.
    fn signatures(&self, config: &Config) -> Result<Option<SignatureVerifier>> {
        let Some(file) = &self.request_signing_file else { return Ok(None) };
        let settings = RequestSigning::read(file).context("HANDOFF_REQUEST_SIGNING_FILE can't be used")?;
        let verifier =
            SignatureVerifier::new(settings, config).context("HANDOFF_REQUEST_SIGNING_FILE can't be used")?;
        Ok(Some(verifier))
    }

    fn accounts(&self, front: &FrontDoor, config: &Config) -> Result<Arc<dyn AccountResolver>> {
        Ok(match (&front.accounts, &self.accounts_file) {
            (Some(accounts), _) => accounts.clone(),
            (None, Some(file)) => Arc::new(ConfiguredAccounts::read(file)?),
            (None, None) if config.environment == Environment::Production => {
                bail!(
                    "HANDOFF_ENV=production refuses that every agent may use every account: set HANDOFF_ACCOUNTS_FILE"
                )
            }
            (None, None) if config.compliance_testing => Arc::new(SandboxAccount),
            (None, None) => Arc::new(AnyAccount),
        })
    }
}

fn limit(per_second: u32, burst: NonZeroU32) -> Option<RateLimit> {
    NonZeroU32::new(per_second).map(|per_second| RateLimit { per_second, burst: burst.max(per_second) })
}

/// The front door, ready to be served.
pub(crate) async fn open(
    name: &str,
    args: &GatewayArgs,
    config: &Config,
    handlers: Handlers,
    front: &FrontDoor,
    contract: Contract,
    development: Option<&ApiKeys>,
) -> Result<Gateway> {
    let settings = args.settings(config)?;
    let authenticator = args.authenticator(front, config, development)?;
    let signatures = args.signatures(config)?;
    let accounts = args.accounts(front, config)?;
    let registry = handoff_store::connect(&config.registry_url, config.registry_options()?)
        .await
        .with_context(|| format!("the registry {} can't be opened", config.redacted_registry_url()))?;
    Ok(Gateway::new(GatewayParts {
        name: name.to_owned(),
        config: config.clone(),
        registry,
        handlers,
        authenticator,
        signatures,
        accounts,
        contract,
        settings,
    }))
}

/// Listens where it is told to.
pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("HANDOFF_GATEWAY_ADDRESS {address} can't be listened on"))
}

pub(crate) async fn run(name: &str, args: &GatewayArgs, config: &Config, parts: super::Parts) -> Result<()> {
    config.check()?;
    let super::Parts { handlers, settings, front } = parts;
    let gateway = open(name, args, config, handlers, &front, settings.contract, None).await?;
    let listener = listen(args.address()).await?;
    eprintln!(
        "{name}: gateway at http://{}/mcp, registry {}. Stop it with Ctrl-C or SIGTERM.",
        listener.local_addr()?,
        config.redacted_registry_url()
    );
    let (told, stop) = tokio::sync::oneshot::channel::<()>();
    let serving = gateway.serve(listener, async {
        let _ = stop.await;
    });
    tokio::pin!(serving);
    tokio::select! {
        () = &mut serving => return Ok(()),
        told = super::told_to_stop() => told?,
    }
    eprintln!("{name}: stopping; what was begun is finished.");
    let _ = told.send(());
    serving.await;
    Ok(())
}
