//! The connection to Temporal.

use crate::{Config, backoff::Backoff, codec, duration, production};
use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};
use temporalio_client::{
    Client, ClientOptions, Connection, ConnectionOptions, GrpcCompression,
    envconfig::{ClientConfigProfile, ConfigError as EnvConfigError, LoadClientConfigProfileOptions},
    errors::ClientConnectError,
};
use temporalio_common::envconfig::load_client_config_profile;
use tokio::sync::SetOnce;

// Somebody in a shell without the export lines of `dev` would start a second, empty server.
const CHECK_SERVER: &str = "Is `YOUR-SELLER dev` running, and does this shell have the export lines that it printed \
    (TEMPORAL_ADDRESS is one)? Otherwise check that a server runs (`temporal server start-dev` starts an empty one) and that \
    TEMPORAL_ADDRESS names it";
const CHECK_KEY: &str = "Check TEMPORAL_API_KEY and the TLS settings";
pub(crate) const DEFAULT_NAMESPACE: &str = "default";

/// How to reach Temporal. By default as its own tools do: `TEMPORAL_*` variables over the profile in `temporal.toml`, over
/// `localhost:7233` and namespace `default`, with TLS and API key from there.
#[derive(Clone)]
pub struct TemporalConfig {
    /// `HOST:PORT` or a URL, over everything else.
    pub address: Option<String>,
    /// The namespace, over everything else.
    pub namespace: Option<String>,
    /// The profile in `temporal.toml`, over `TEMPORAL_PROFILE`.
    pub profile: Option<String>,
    /// Whether `TEMPORAL_*` and `temporal.toml` are read at all.
    pub use_environment: bool,
    /// How this process calls itself in Temporal's histories; `handoff@PID` unless told.
    pub identity: Option<String>,
    /// How long connecting may take.
    pub connect_timeout: Duration,
}

impl Default for TemporalConfig {
    fn default() -> Self {
        Self {
            address: None,
            namespace: None,
            profile: None,
            use_environment: true,
            identity: None,
            connect_timeout: Duration::from_secs(10),
        }
    }
}

impl TemporalConfig {
    /// Exactly this server, without TLS; the environment is not read.
    pub fn at(address: impl Into<String>, namespace: impl Into<String>) -> Self {
        Self {
            address: Some(address.into()),
            namespace: Some(namespace.into()),
            use_environment: false,
            ..Self::default()
        }
    }

    /// Refuses settings that can't be used.
    pub fn check(&self) -> Result<(), TemporalConfigError> {
        self.options().map(|_| ())
    }

    fn options(&self) -> Result<(ConnectionOptions, String), TemporalConfigError> {
        let mut profile = self.load()?;
        if let Some(address) = &self.address {
            profile.address = Some(address.clone());
        }
        let namespace = self.namespace.clone().or(profile.namespace.take()).unwrap_or(DEFAULT_NAMESPACE.to_owned());
        let mut options = ConnectionOptions::try_from(profile).map_err(|error| TemporalConfigError::new(&error))?;
        options.connect_timeout = Some(self.connect_timeout);
        // What is large is compressed by the payload codec, and what is encrypted can't be compressed any more: on each request
        // gzip cost a twentieth of a worker's CPU for nothing.
        options.grpc_compression = GrpcCompression::None;
        options.identity = self.identity.clone().unwrap_or_else(|| format!("handoff@{}", std::process::id()));
        Ok((options, namespace))
    }

    /// What the environment and `temporal.toml` say.
    pub(crate) fn load(&self) -> Result<ClientConfigProfile, TemporalConfigError> {
        if !self.use_environment {
            return Ok(ClientConfigProfile::default());
        }
        let options = LoadClientConfigProfileOptions::builder().maybe_config_file_profile(self.profile.clone()).build();
        load_client_config_profile(options, None).map_err(|error| TemporalConfigError::new(&error))
    }
}

impl fmt::Debug for TemporalConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TemporalConfig")
            .field("address", &self.address)
            .field("namespace", &self.namespace)
            .field("profile", &self.profile)
            .field("use_environment", &self.use_environment)
            .finish_non_exhaustive()
    }
}

/// Temporal's own settings can't be used; holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Temporal's settings (TEMPORAL_* variables, temporal.toml) can't be used: {0}")]
pub struct TemporalConfigError(String);

impl TemporalConfigError {
    // Only the first line: the rest of a TOML error quotes the file, keys and all.
    fn new(error: &EnvConfigError) -> Self {
        Self(error.to_string().lines().next().unwrap_or_default().to_owned())
    }
}

/// Temporal can't be reached: where it was looked for, and what to do.
#[derive(Clone, Debug, thiserror::Error)]
#[error("Temporal at {address} can't be reached: {reason}. {help}.")]
pub struct ConnectError {
    /// Where it was looked for.
    pub address: String,
    /// What happened.
    pub reason: String,
    /// What to do.
    pub help: &'static str,
    transient: bool,
}

impl ConnectError {
    /// May a later attempt succeed?
    pub fn is_transient(&self) -> bool {
        self.transient
    }

    fn new(address: &str, error: &ClientConnectError) -> Self {
        let (reason, help, transient) = match error {
            ClientConnectError::SystemInfoCallError(status) => {
                let denied = matches!(status.code(), tonic::Code::Unauthenticated | tonic::Code::PermissionDenied);
                let reason = format!("{} ({:?})", innermost(status), status.code());
                (reason, if denied { CHECK_KEY } else { CHECK_SERVER }, !denied)
            }
            // Their own text holds the header's value.
            ClientConnectError::InvalidHeaders(_) => {
                ("a header or the API key is not valid in gRPC".to_owned(), CHECK_KEY, false)
            }
            ClientConnectError::InvalidUri(_) => ("the address is not valid".to_owned(), CHECK_SERVER, false),
            ClientConnectError::InvalidConfig(reason) => (reason.clone(), CHECK_SERVER, false),
            other => (innermost(other), CHECK_SERVER, true),
        };
        Self { address: address.to_owned(), reason, help, transient }
    }
}

/// Connects, with [`codec::data_converter`] and the configured keys. In production a server that is not durable is refused.
pub async fn connect(config: &Config) -> Result<Client, crate::Error> {
    let client = open(config).await?;
    production::admit(config, &client).await?;
    Ok(client)
}

/// Where the connection is, once there is one.
#[derive(Default)]
pub(crate) struct Place {
    client: OnceLock<Client>,
    tried: SetOnce<()>,
}

impl Place {
    pub(crate) fn get(&self) -> Option<&Client> {
        self.client.get()
    }

    pub(crate) fn fill(&self, client: Client) {
        let _ = self.client.set(client);
        let _ = self.tried.set(());
    }

    /// Until connecting was tried once, with or without success.
    pub(crate) async fn tried(&self) {
        self.tried.wait().await;
    }
}

/// Fills the place of a connection, for as long as it takes and somebody has the place.
pub(crate) fn connect_in_background(place: &Arc<Place>, config: Arc<Config>) {
    let place = Arc::downgrade(place);
    tokio::spawn(async move {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            let connected = connect(&config).await;
            let Some(place) = place.upgrade() else { return };
            match connected {
                Ok(client) => return place.fill(client),
                Err(error) => {
                    tracing::warn!(%error, "not connected to Temporal yet: new work is refused, polls are answered");
                    let _ = place.tried.set(());
                }
            }
            drop(place);
            tokio::time::sleep(backoff.pause()).await;
        }
    });
}

/// Connects with whatever is there.
pub(crate) async fn open(config: &Config) -> Result<Client, crate::Error> {
    let keys = config.encryption.load().map_err(crate::ConfigError::from)?;
    let meter = config.metrics.connection_meter();
    let config = &config.temporal;
    let (mut options, namespace) = config.options().map_err(crate::ConfigError::from)?;
    options.metrics_meter = meter;
    let address = options.target.to_string();
    let connecting = Connection::connect(options);
    let connection = tokio::time::timeout(config.connect_timeout, connecting)
        .await
        .map_err(|_| ConnectError {
            address: address.clone(),
            reason: format!("no answer within {}", duration::format(config.connect_timeout)),
            help: CHECK_SERVER,
            transient: true,
        })?
        .map_err(|error| ConnectError::new(&address, &error))?;
    let options = ClientOptions::new(namespace).data_converter(codec::data_converter(keys)).build();
    Ok(Client::new(connection, options)
        .map_err(|error| ConnectError::new(&address, &ClientConnectError::InvalidConfig(error.to_string())))?)
}

// The outer layers only say "transport error".
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    match cause.downcast_ref::<tonic::Status>() {
        Some(status) => status.message().to_owned(),
        None => cause.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_unreachable_server_is_named() {
        let temporal =
            TemporalConfig { connect_timeout: Duration::from_millis(300), ..TemporalConfig::at("127.0.0.1:1", "n") };
        let config = Config { temporal, ..Config::default() };
        let error = connect(&config).await.unwrap_err();
        assert!(error.is_transient());
        let text = error.to_string();
        assert!(text.contains("127.0.0.1:1") && text.contains("TEMPORAL_ADDRESS"), "{text}");
        let (dev, server) = (text.find("` running").unwrap(), text.find("start-dev").unwrap());
        assert!(dev < server, "what is there already is looked for first: {text}");
    }

    #[tokio::test]
    async fn a_server_waits_for_the_first_attempt_and_not_for_a_connection() {
        let unreachable = Config { temporal: TemporalConfig::at("127.0.0.1:1", "n"), ..Config::default() };
        let registry = Arc::new(crate::testing::FakeRegistry::default());
        let handoff = crate::Handoff::connecting(registry, unreachable);
        tokio::time::timeout(Duration::from_secs(60), handoff.tried_to_connect(Duration::MAX)).await.unwrap();
        assert!(handoff.temporal().is_err());
        let (connected, _, _) =
            crate::testing::fake_handoff(Default::default(), |_, _| crate::testing::Say::Nothing).await;
        connected.tried_to_connect(Duration::MAX).await;
        // Where nothing comes of it for long, only so long.
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = silent.local_addr().unwrap().to_string();
        let config = Config { temporal: TemporalConfig::at(address, "n"), ..Config::default() };
        let handoff = crate::Handoff::connecting(Arc::new(crate::testing::FakeRegistry::default()), config);
        handoff.tried_to_connect(Duration::from_millis(50)).await;
        assert!(handoff.temporal().is_err());
    }

    #[test]
    fn code_can_name_a_server_exactly() {
        let (options, namespace) = TemporalConfig::at("127.0.0.1:7300", "n").options().unwrap();
        assert_eq!((options.target.as_str(), namespace.as_str()), ("http://127.0.0.1:7300/", "n"));
        assert!(TemporalConfig::at("://", "n").check().is_err());
    }
}
