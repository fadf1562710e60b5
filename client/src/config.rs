//! What a client, and everything built on it, needs to know: from flags, the environment, or code.

use crate::{
    NewKeysLimit,
    codec::{KeyError, KeySource, RegistryCipher},
    duration,
    jwt::{JwtArgs, JwtSettings},
    temporal::{TemporalConfig, TemporalConfigError},
    webhooks::{WebhookArgs, WebhookSettings},
};
use clap::{Args, FromArgMatches, ValueEnum};
use handoff_proto::workflows::DEFAULT_TASK_QUEUE;
use handoff_store::{Cipher, RegistryOptions};
use handoff_telemetry::Metrics;
use secrecy::SecretString;
use std::{convert::Infallible, fmt, path::PathBuf, sync::Arc, time::Duration};

/// Where the registry is, unless configured.
pub const DEFAULT_REGISTRY_URL: &str = "sqlite:.handoff/registry.db";

// AdCP's `replay_ttl_seconds`.
const PROTOCOL_TTL: (Duration, Duration) = (Duration::from_secs(3_600), Duration::from_secs(604_800));
// A seller without a public URL.
const NOWHERE: &str = "http://localhost/mcp";
const LONGEST_SYNC_DEADLINE: Duration = Duration::from_secs(300);

/// Whether durability and safety are required.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Environment {
    /// On a developer's machine or in a test: what is not durable is allowed.
    #[default]
    #[value(alias = "dev", alias = "test")]
    Development,
    /// For real: what is not durable or not safe is refused.
    #[value(alias = "prod")]
    Production,
}

/// The configuration. Build one with [`Config::from_env`], from [`ConfigArgs`], or from `Default` and by hand.
#[derive(Clone)]
pub struct Config {
    /// How to reach Temporal.
    pub temporal: TemporalConfig,
    /// `sqlite:PATH` or `postgres://…`. May hold a password: show [`Config::redacted_registry_url`] instead.
    pub registry_url: String,
    /// The task queue of verb workflows and their activities.
    pub task_queue: String,
    /// The longest wait before a buyer is answered `submitted`; a request's `time_budget` may shorten it.
    pub sync_deadline: Duration,
    /// How long a recorded answer is replayed.
    pub idempotency_ttl: Duration,
    /// How long a plain tool's handler may take. See [`Config::in_flight_lease`].
    pub in_flight_max: Duration,
    /// How long after its `expires_at` a proposal may still be bought.
    pub proposal_grace: Duration,
    /// How long a review in a sandbox account waits before it approves itself, where the seller says with what.
    pub sandbox_review_delay: Duration,
    /// How many new idempotency keys an agent may bring; none: as many as it likes.
    pub new_keys: Option<Arc<NewKeysLimit>>,
    /// Whether durability and safety are required.
    pub environment: Environment,
    /// The keys that encrypt what Temporal and the registry store. All clients and workers of a namespace need the same.
    pub encryption: KeySource,
    /// Where buyers reach this seller, if they do.
    pub public_url: Option<String>,
    /// The protocol's compliance tests may control sandbox accounts.
    pub compliance_testing: bool,
    /// Which webhooks are taken, and how they are sent.
    pub webhooks: WebhookSettings,
    /// Whose access tokens are taken beside API keys; none: nobody's.
    pub jwt: Option<JwtSettings>,
    /// How much longer than its sync deadline a call waits for an answer, tries included: the time for the run to say
    /// `submitted`. With none, the run is not asked for it.
    pub grace: Duration,
    /// The longest that one try of a call may take before it is repeated with the same ids.
    pub attempt_timeout: Duration,
    /// How long a decision waits to be settled before it is recorded as a signal instead.
    pub resolve_timeout: Duration,
    /// What this process measures: nothing unless told.
    pub metrics: Metrics,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            temporal: TemporalConfig::default(),
            registry_url: DEFAULT_REGISTRY_URL.to_owned(),
            task_queue: DEFAULT_TASK_QUEUE.to_owned(),
            sync_deadline: Duration::from_secs(10),
            idempotency_ttl: RegistryOptions::default().replay_ttl,
            in_flight_max: Duration::from_secs(120),
            proposal_grace: Duration::ZERO,
            sandbox_review_delay: Duration::from_secs(2),
            new_keys: None,
            environment: Environment::Development,
            encryption: KeySource::None,
            public_url: None,
            compliance_testing: false,
            webhooks: WebhookSettings::default(),
            jwt: None,
            grace: Duration::from_secs(5),
            attempt_timeout: Duration::from_secs(5),
            resolve_timeout: Duration::from_secs(5),
            metrics: Metrics::off(),
        }
    }
}

impl Config {
    /// From the environment alone: `HANDOFF_*`, `TEMPORAL_*` and `temporal.toml`.
    pub fn from_env() -> Result<Self, ConfigError> {
        let command = ConfigArgs::augment_args(clap::Command::new("handoff"));
        let matches = command
            .try_get_matches_from(["handoff"])
            .map_err(|error| ConfigError::Environment(first_line(&error.to_string())))?;
        let args = ConfigArgs::from_arg_matches(&matches)
            .map_err(|error| ConfigError::Environment(first_line(&error.to_string())))?;
        let config = Self::from(args);
        config.check()?;
        Ok(config)
    }

    /// Refuses what can't work, and in production what is not durable or not safe, as far as settings alone say so; connecting
    /// looks at the rest.
    pub fn check(&self) -> Result<(), ConfigError> {
        let production = self.environment == Environment::Production;
        let sqlite = self.registry_url.starts_with("sqlite:");
        if !sqlite && !self.registry_url.starts_with("postgres:") && !self.registry_url.starts_with("postgresql:") {
            return Err(ConfigError::RegistryUrl);
        }
        if sqlite && production {
            return Err(ConfigError::SqliteInProduction);
        }
        if self.encryption.load()?.is_none() && production {
            return Err(ConfigError::NoKeysInProduction);
        }
        if self.compliance_testing && production {
            return Err(ConfigError::ComplianceInProduction);
        }
        self.check_public_url(production)?;
        let (least, most) = if production { PROTOCOL_TTL } else { (Duration::from_secs(1), PROTOCOL_TTL.1) };
        within("HANDOFF_IDEMPOTENCY_TTL", self.idempotency_ttl, least, most)?;
        within("HANDOFF_IN_FLIGHT_MAX", self.in_flight_max, Duration::from_secs(1), PROTOCOL_TTL.1)?;
        within("HANDOFF_SYNC_DEADLINE", self.sync_deadline, Duration::from_millis(1), LONGEST_SYNC_DEADLINE)?;
        if self.task_queue.trim().is_empty() {
            return Err(ConfigError::Empty("HANDOFF_TASK_QUEUE"));
        }
        self.webhooks.check(self.environment)?;
        self.jwt.as_ref().map_or(Ok(()), |jwt| jwt.check(self))?;
        self.temporal.check()?;
        Ok(())
    }

    fn check_public_url(&self, production: bool) -> Result<(), ConfigError> {
        let Some(text) = &self.public_url else { return Ok(()) };
        match url::Url::parse(text) {
            Ok(url) if url.scheme() == "https" => Ok(()),
            Ok(url) if url.scheme() == "http" && production => Err(ConfigError::PlainHttpInProduction),
            Ok(url) if url.scheme() == "http" => Ok(()),
            _ => Err(ConfigError::PublicUrl),
        }
    }

    /// The host of the public URL, if there is one.
    pub fn public_host(&self) -> Option<String> {
        url::Url::parse(self.public_url.as_deref()?).ok()?.host_str().map(str::to_owned)
    }

    /// The URL of the MCP endpoint, as buyers call it, if there is a public URL.
    pub fn resource_url(&self) -> Option<url::Url> {
        let url = url::Url::parse(self.public_url.as_deref()?).ok()?;
        url::Url::parse(&format!("{}/mcp", url.as_str().trim_end_matches('/'))).ok()
    }

    /// How this seller calls itself to other agents: the URL of its MCP endpoint; without a public URL, one of this machine's.
    pub fn agent_url(&self) -> String {
        self.resource_url().map_or_else(|| NOWHERE.to_owned(), Into::into)
    }

    /// The registry's URL without its password and parameters, fit to be shown.
    pub fn redacted_registry_url(&self) -> String {
        redact_url(&self.registry_url)
    }

    /// How long a plain tool's handler with an idempotency key may take before it is stopped: AdCP's `in_flight_max_seconds`,
    /// which may not exceed how long an answer is replayed.
    pub fn in_flight_lease(&self) -> Duration {
        self.in_flight_max.min(self.idempotency_ttl)
    }

    /// How the registry is to behave, and what seals it.
    pub fn registry_options(&self) -> Result<RegistryOptions, ConfigError> {
        let cipher = self.encryption.load()?.map(|keys| Arc::new(RegistryCipher::new(keys)) as Arc<dyn Cipher>);
        Ok(RegistryOptions {
            replay_ttl: self.idempotency_ttl,
            cipher,
            watch: self.metrics.watch(),
            webhook_horizon: self.webhooks.horizon,
            proposal_grace: self.proposal_grace,
            ..RegistryOptions::default()
        })
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("temporal", &self.temporal)
            .field("registry_url", &self.redacted_registry_url())
            .field("task_queue", &self.task_queue)
            .field("sync_deadline", &self.sync_deadline)
            .field("idempotency_ttl", &self.idempotency_ttl)
            .field("in_flight_max", &self.in_flight_max)
            .field("proposal_grace", &self.proposal_grace)
            .field("sandbox_review_delay", &self.sandbox_review_delay)
            .field("new_keys", &self.new_keys)
            .field("environment", &self.environment)
            .field("encryption", &self.encryption)
            .field("public_url", &self.public_url.as_deref().map(redact_url))
            .field("compliance_testing", &self.compliance_testing)
            .field("webhooks", &self.webhooks)
            .field("jwt", &self.jwt)
            .field("grace", &self.grace)
            .field("attempt_timeout", &self.attempt_timeout)
            .field("resolve_timeout", &self.resolve_timeout)
            .field("metrics", &self.metrics)
            .finish()
    }
}

/// The configuration as command-line flags, each with its environment variable. Flatten it into a command of your own.
#[derive(Clone, Args)]
pub struct ConfigArgs {
    /// Registry: sqlite:PATH or postgres://USER:PASSWORD@HOST/DATABASE
    #[arg(long = "registry", env = "HANDOFF_REGISTRY_URL", hide_env_values = true, default_value = DEFAULT_REGISTRY_URL, value_name = "URL", global = true, help_heading = "Connection")]
    registry_url: String,
    /// Temporal's address, over what temporal.toml says
    #[arg(long, env = "TEMPORAL_ADDRESS", value_name = "HOST:PORT", global = true, help_heading = "Connection")]
    temporal_address: Option<String>,
    /// Temporal's namespace, over what temporal.toml says
    #[arg(long, env = "TEMPORAL_NAMESPACE", value_name = "NAME", global = true, help_heading = "Connection")]
    temporal_namespace: Option<String>,
    /// Profile in temporal.toml
    #[arg(long, env = "TEMPORAL_PROFILE", value_name = "NAME", global = true, help_heading = "Connection")]
    temporal_profile: Option<String>,
    /// Task queue of the workers
    #[arg(long, env = "HANDOFF_TASK_QUEUE", default_value = DEFAULT_TASK_QUEUE, value_name = "NAME", global = true, help_heading = "Connection")]
    task_queue: String,
    /// Longest wait before a buyer is answered `submitted`
    #[arg(long, env = "HANDOFF_SYNC_DEADLINE", default_value = "10s", value_parser = duration::parse, value_name = "DURATION", global = true, help_heading = "Behaviour")]
    sync_deadline: Duration,
    /// How long a recorded answer is replayed: 1h to 7d
    #[arg(long, env = "HANDOFF_IDEMPOTENCY_TTL", default_value = "24h", value_parser = duration::parse, value_name = "DURATION", global = true, help_heading = "Behaviour")]
    idempotency_ttl: Duration,
    /// How long a plain tool's handler may take before it is stopped; never longer than an answer is replayed
    #[arg(long, env = "HANDOFF_IN_FLIGHT_MAX", default_value = "2m", value_parser = duration::parse, value_name = "DURATION", global = true, help_heading = "Behaviour")]
    in_flight_max: Duration,
    /// How long after its `expires_at` a proposal may still be bought: clocks differ
    #[arg(long, env = "HANDOFF_PROPOSAL_GRACE", default_value = "0s", value_parser = duration::parse, value_name = "DURATION", global = true, help_heading = "Behaviour")]
    proposal_grace: Duration,
    /// How long a review in a sandbox account waits before it approves itself, where the seller says with what
    #[arg(long, env = "HANDOFF_SANDBOX_REVIEW_DELAY", default_value = "2s", value_parser = duration::parse, value_name = "DURATION", global = true, help_heading = "Behaviour")]
    sandbox_review_delay: Duration,
    /// In production, what is not durable or not safe is refused
    #[arg(
        long = "env",
        env = "HANDOFF_ENV",
        default_value = "development",
        value_name = "ENVIRONMENT",
        global = true,
        help_heading = "Behaviour"
    )]
    environment: Environment,
    /// Where buyers reach this seller; https in production
    #[arg(
        long,
        env = "HANDOFF_PUBLIC_URL",
        hide_env_values = true,
        value_name = "URL",
        global = true,
        help_heading = "Behaviour"
    )]
    public_url: Option<String>,
    /// Lets the protocol's compliance tests control sandbox accounts, by the tool comply_test_controller; refused in production
    #[arg(long, env = "HANDOFF_COMPLIANCE_TESTING", default_value = "false", value_parser = clap::builder::BoolishValueParser::new(), action = clap::ArgAction::Set, value_name = "BOOL", global = true, help_heading = "Behaviour")]
    compliance_testing: bool,
    /// Keys that encrypt what Temporal and the registry store, id:base64[,id:base64…]: the first encrypts, all decrypt. Give them by the
    /// environment: flags are seen in process lists
    #[arg(long, env = "HANDOFF_ENCRYPTION_KEYS", hide_env_values = true, value_parser = secret, value_name = "KEYS", global = true, help_heading = "Encryption")]
    encryption_keys: Option<SecretString>,
    /// File with such keys, one a line
    #[arg(long, env = "HANDOFF_ENCRYPTION_KEYS_FILE", value_name = "FILE", global = true, help_heading = "Encryption")]
    encryption_keys_file: Option<PathBuf>,
    #[command(flatten)]
    webhooks: WebhookArgs,
    #[command(flatten)]
    jwt: JwtArgs,
}

impl From<ConfigArgs> for Config {
    fn from(args: ConfigArgs) -> Self {
        Self {
            temporal: TemporalConfig {
                address: args.temporal_address.filter(|address| !address.is_empty()),
                namespace: args.temporal_namespace.filter(|namespace| !namespace.is_empty()),
                profile: args.temporal_profile.filter(|profile| !profile.is_empty()),
                ..TemporalConfig::default()
            },
            registry_url: args.registry_url,
            task_queue: args.task_queue,
            sync_deadline: args.sync_deadline,
            idempotency_ttl: args.idempotency_ttl,
            in_flight_max: args.in_flight_max,
            proposal_grace: args.proposal_grace,
            sandbox_review_delay: args.sandbox_review_delay,
            new_keys: None,
            environment: args.environment,
            encryption: KeySource::from_settings(args.encryption_keys, args.encryption_keys_file),
            public_url: args.public_url.filter(|url| !url.is_empty()),
            compliance_testing: args.compliance_testing,
            webhooks: args.webhooks.into(),
            jwt: args.jwt.into(),
            ..Self::default()
        }
    }
}

impl fmt::Debug for ConfigArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Config::from(self.clone()).fmt(f)
    }
}

/// Why a configuration can't be used; holds no secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A variable or flag can't be read.
    #[error("{0}")]
    Environment(String),
    /// The registry's URL names no database that is supported.
    #[error("HANDOFF_REGISTRY_URL must begin with sqlite: or postgres:")]
    RegistryUrl,
    /// A file is not enough for production.
    #[error(
        "HANDOFF_ENV=production refuses a SQLite registry: set HANDOFF_REGISTRY_URL to a PostgreSQL database (postgres://…)"
    )]
    SqliteInProduction,
    /// Everyone who reads Temporal's storage or UI would read requests and results.
    #[error(
        "HANDOFF_ENV=production refuses to store payloads in clear: set HANDOFF_ENCRYPTION_KEYS or HANDOFF_ENCRYPTION_KEYS_FILE (`handoff codec generate-key` makes a key)"
    )]
    NoKeysInProduction,
    /// A development server is not enough for production.
    #[error(
        "HANDOFF_ENV=production refuses a Temporal server that stores in SQLite: set TEMPORAL_ADDRESS to a server on PostgreSQL, MySQL or Cassandra, or to Temporal Cloud"
    )]
    SqliteTemporalInProduction,
    /// Buyers would send requests and tokens in clear.
    #[error("HANDOFF_ENV=production refuses a public URL without TLS: set HANDOFF_PUBLIC_URL to https://…")]
    PlainHttpInProduction,
    /// Whoever tests could change what is sold and what is owed.
    #[error(
        "HANDOFF_ENV=production refuses to let compliance tests control accounts: unset HANDOFF_COMPLIANCE_TESTING"
    )]
    ComplianceInProduction,
    /// Whoever clears a sandbox has to say that it is there to be tested in.
    #[error(
        "sandbox accounts are cleared only where compliance tests control them: set HANDOFF_COMPLIANCE_TESTING=true, which HANDOFF_ENV=production refuses"
    )]
    NoComplianceTesting,
    /// A buyer could make this seller call its own network.
    #[error("HANDOFF_ENV=production refuses webhooks to private networks: unset HANDOFF_WEBHOOK_ALLOW")]
    PrivateWebhooksInProduction,
    /// The keys that sign webhooks can't be used.
    #[error("the keys that sign webhooks (HANDOFF_WEBHOOK_SIGNING_KEYS or its _FILE) can't be used: {0}")]
    WebhookKeys(#[from] handoff_webhooks::keys::KeyError),
    /// Whoever is between could put keys of its own in the issuer's place.
    #[error("HANDOFF_ENV=production refuses an issuer of access tokens without TLS: set {0} to https://…")]
    PlainIssuerInProduction(&'static str),
    /// The issuer of access tokens, or where its keys are, can't be one.
    #[error("{0} must begin with https:// (or, in development, be http:// on this machine)")]
    IssuerUrl(&'static str),
    /// Tokens would be for nobody, and buyers could not be told how to get one.
    #[error("HANDOFF_JWT_ISSUER needs HANDOFF_PUBLIC_URL: access tokens are for the URL that buyers call")]
    NoResource,
    /// The public URL can't be one.
    #[error("HANDOFF_PUBLIC_URL must begin with https:// (or, in development, http://)")]
    PublicUrl,
    /// The keys can't be used.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// A duration outside its range.
    #[error("{name} is {}, but must be {} to {}", duration::format(*.value), duration::format(*.least), duration::format(*.most))]
    OutOfRange {
        /// Its variable.
        name: &'static str,
        /// What it is.
        value: Duration,
        /// The shortest allowed.
        least: Duration,
        /// The longest allowed.
        most: Duration,
    },
    /// An age at which something is still needed.
    #[error("{name} is {}, but must be at least {}: {why}", duration::format(*.value), duration::format(*.least))]
    TooShort {
        /// Its variable or flag.
        name: &'static str,
        /// What it is.
        value: Duration,
        /// The shortest allowed.
        least: Duration,
        /// Why not shorter.
        why: &'static str,
    },
    /// A name that is empty.
    #[error("{0} is empty")]
    Empty(&'static str),
    /// Temporal's own settings can't be used.
    #[error(transparent)]
    Temporal(#[from] TemporalConfigError),
}

pub(crate) fn within(name: &'static str, value: Duration, least: Duration, most: Duration) -> Result<(), ConfigError> {
    if (least..=most).contains(&value) { Ok(()) } else { Err(ConfigError::OutOfRange { name, value, least, most }) }
}

/// Reads a flag or variable that is not to be shown.
pub(crate) fn secret(text: &str) -> Result<SecretString, Infallible> {
    Ok(SecretString::from(text))
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

// Parameters go too: PostgreSQL takes a password there as well.
pub(crate) fn redact_url(text: &str) -> String {
    if text.starts_with("sqlite:") {
        return text.split('?').next().unwrap_or_default().to_owned();
    }
    let Ok(mut url) = url::Url::parse(text) else { return "(unreadable URL)".to_owned() };
    if url.password().is_some() && url.set_password(Some("***")).is_err() {
        return format!("{}:…", url.scheme());
    }
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Key;
    use secrecy::ExposeSecret;

    #[test]
    fn passwords_are_never_shown() {
        for (url, shown) in [
            ("sqlite:.handoff/registry.db?mode=rwc", "sqlite:.handoff/registry.db"),
            ("postgres://u:s3cret@db:5432/h?password=s3cret", "postgres://u:***@db:5432/h"),
            ("postgres://u@db/h", "postgres://u@db/h"),
            ("postgres://u:s3cret@[", "(unreadable URL)"),
        ] {
            let config = Config { registry_url: url.to_owned(), ..Config::default() };
            assert_eq!(config.redacted_registry_url(), shown);
            assert!(!format!("{config:?}").contains("s3cret"));
        }
    }

    /// What production accepts, as far as settings say.
    fn production() -> Config {
        Config {
            environment: Environment::Production,
            registry_url: "postgres://db/h".into(),
            encryption: KeySource::Text(Key::generate("k").unwrap()),
            public_url: Some("https://ads.seller.example".into()),
            ..Config::default()
        }
    }

    #[test]
    fn production_refuses_what_is_not_durable_or_not_safe() {
        assert!(production().check().is_ok());
        assert!(Config { public_url: None, ..production() }.check().is_ok());
        let sqlite = Config { registry_url: DEFAULT_REGISTRY_URL.into(), ..production() };
        let in_clear = Config { encryption: KeySource::None, ..production() };
        let plain_http = Config { public_url: Some("http://ads.seller.example".into()), ..production() };
        let controlled = Config { compliance_testing: true, ..production() };
        for (refused, variable) in [
            (&controlled, "HANDOFF_COMPLIANCE_TESTING"),
            (&sqlite, "HANDOFF_REGISTRY_URL"),
            (&in_clear, "HANDOFF_ENCRYPTION_KEYS"),
            (&plain_http, "HANDOFF_PUBLIC_URL"),
        ] {
            let error = refused.check().unwrap_err().to_string();
            assert!(error.contains("production refuses") && error.contains(variable), "{error}");
            assert!(Config { environment: Environment::Development, ..refused.clone() }.check().is_ok(), "{error}");
        }
        assert!(matches!(sqlite.check(), Err(ConfigError::SqliteInProduction)));
        assert!(matches!(in_clear.check(), Err(ConfigError::NoKeysInProduction)));
        assert!(matches!(plain_http.check(), Err(ConfigError::PlainHttpInProduction)));
        let brief = Config { idempotency_ttl: Duration::from_secs(60), ..production() };
        let error = brief.check().unwrap_err().to_string();
        assert_eq!(error, "HANDOFF_IDEMPOTENCY_TTL is 1m, but must be 1h to 7d");
        assert!(Config { environment: Environment::Development, ..brief }.check().is_ok());
    }

    #[test]
    fn keys_are_never_shown() {
        let key = Key::generate("k").unwrap();
        let secret = key.expose_secret().split_once(':').unwrap().1.to_owned();
        let command = ConfigArgs::augment_args(clap::Command::new("handoff"));
        let matches = command.get_matches_from(["handoff", "--encryption-keys", key.expose_secret()]);
        let args = ConfigArgs::from_arg_matches(&matches).unwrap();
        let shown = format!("{args:?} {:?}", Config::from(args.clone()));
        assert!(!shown.contains(&secret), "{shown}");
        assert!(Config::from(args).check().is_ok());
        let broken = Config { encryption: KeySource::Text(secret.as_str().into()), ..Config::default() };
        let error = broken.check().unwrap_err();
        assert!(!format!("{error} {error:?}").contains(&secret), "{error}");
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let broken = [
            Config { registry_url: "mysql://h".into(), ..Config::default() },
            Config { sync_deadline: Duration::ZERO, ..Config::default() },
            Config { idempotency_ttl: Duration::from_secs(604_801), ..Config::default() },
            Config { task_queue: " ".into(), ..Config::default() },
            Config { public_url: Some("ads.seller.example".into()), ..Config::default() },
            Config { encryption: KeySource::File("/none/such".into()), ..Config::default() },
        ];
        assert!(broken.iter().all(|config| config.check().is_err()));
    }
}
