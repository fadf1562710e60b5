//! Which webhooks are taken, and how they are sent.

use crate::{
    ConfigError, Environment,
    codec::create_private,
    config::{secret, within},
    duration,
};
use clap::Args;
use handoff_proto::limits::{MAX_NOTIFICATIONS, WEBHOOK_HORIZON};
use handoff_webhooks::{
    Egress, EgressOptions, OperationIdPolicy, Policy, Sender,
    egress::{Networks, SetupError},
    keys::{Algorithm, KeyError, LocalKey, SigningKeys},
    retry::Schedule,
};
use secrecy::{ExposeSecret, SecretString};
use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

// AdCP's `delivery_retry_horizon_seconds`.
const PROTOCOL_HORIZON: (Duration, Duration) = (Duration::from_secs(86_400), WEBHOOK_HORIZON);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(20);
const LONGEST_FIRST_RETRY: Duration = Duration::from_secs(60);
// Answers that say the request is wrong are waited out this much longer.
const SLOWER: u32 = 30;
const LOOPBACK: &str = "127.0.0.0/8,::1";

/// Where the private keys are that sign webhooks.
#[derive(Clone, Default)]
pub enum SigningSource {
    /// There are none: nothing is signed.
    #[default]
    None,
    /// PEM, the key that signs first.
    Pem(SecretString),
    /// A file with the same.
    File(PathBuf),
    /// Made in code, with keys that may be in a key service.
    Keys(SigningKeys),
}

impl SigningSource {
    /// Are there none?
    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// The keys in this file, which is made with one fresh key if it is not there; only its owner may read it.
    pub fn file_or_new(path: &Path) -> Result<Self, KeyError> {
        let key = LocalKey::generate_pem(Algorithm::Ed25519)?;
        create_private(path, key.expose_secret())
            .map_err(|source| KeyError::File { path: path.display().to_string(), source })?;
        Ok(Self::File(path.to_owned()))
    }

    /// Reads them.
    pub fn load(&self) -> Result<Option<SigningKeys>, KeyError> {
        match self {
            Self::None => Ok(None),
            Self::Pem(text) => SigningKeys::from_pem(text).map(Some),
            Self::File(path) => SigningKeys::read(path).map(Some),
            Self::Keys(keys) => Ok(Some(keys.clone())),
        }
    }
}

impl fmt::Debug for SigningSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Pem(_) => f.write_str("Pem"),
            Self::Keys(_) => f.write_str("Keys"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// Which webhooks are taken, and how they are sent.
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    /// What signs.
    pub signing: SigningSource,
    /// How long a webhook is sent until it arrives, from when its task ended.
    pub horizon: Duration,
    /// What is done with a registration without `operation_id`.
    pub operation_id: OperationIdPolicy,
    /// Are HMAC-SHA256 and Bearer taken, where a buyer asks for them?
    pub legacy_authentication: bool,
    /// Private addresses that may be reached; `None`: in development this machine's own, in production none.
    pub allowed: Option<Networks>,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// How long after the first failure the second attempt is made; each later pause is twice as long.
    pub first_retry: Duration,
    /// Certificates in PEM that are trusted beside the system's.
    pub roots: Option<PathBuf>,
    /// How often a webhook is told of its task's progress, at most; 0: never.
    pub progress: u32,
}

impl Default for WebhookSettings {
    fn default() -> Self {
        Self {
            signing: SigningSource::None,
            horizon: Duration::from_secs(3 * 86_400),
            operation_id: OperationIdPolicy::Required,
            legacy_authentication: true,
            allowed: None,
            timeout: EgressOptions::default().timeout,
            first_retry: Schedule::default().first,
            roots: None,
            progress: 0,
        }
    }
}

impl WebhookSettings {
    /// Refuses what can't work, or is not safe in production.
    pub(crate) fn check(&self, environment: Environment) -> Result<(), ConfigError> {
        let production = environment == Environment::Production;
        if production && self.allowed.as_ref().is_some_and(|allowed| !allowed.is_empty()) {
            return Err(ConfigError::PrivateWebhooksInProduction);
        }
        let (least, most) = if production { PROTOCOL_HORIZON } else { (Duration::from_secs(1), PROTOCOL_HORIZON.1) };
        within("HANDOFF_WEBHOOK_HORIZON", self.horizon, least, most)?;
        within("HANDOFF_WEBHOOK_TIMEOUT", self.timeout, Duration::from_millis(10), LONGEST_TIMEOUT)?;
        within("HANDOFF_WEBHOOK_FIRST_RETRY", self.first_retry, Duration::from_millis(10), LONGEST_FIRST_RETRY)?;
        self.signing.load()?;
        Ok(())
    }

    /// Which registrations are taken.
    pub fn policy(&self, environment: Environment) -> Policy {
        let production = environment == Environment::Production;
        Policy {
            https_only: production,
            operation_id: self.operation_id,
            signed_only: !self.legacy_authentication,
            // In development a buyer may register first, and the key come later.
            unsigned_only: production && self.signing.is_none(),
            allowed: self.allowed(environment),
        }
    }

    /// The way out, for whatever a buyer named.
    pub fn egress(&self, environment: Environment) -> Result<Egress, SetupError> {
        Egress::new(&EgressOptions {
            https_only: environment == Environment::Production,
            allowed: self.allowed(environment),
            roots: self.roots.clone(),
            connect_timeout: self.timeout,
            timeout: self.timeout,
            ..EgressOptions::default()
        })
    }

    /// What sends them.
    pub fn sender(&self, environment: Environment) -> Result<Sender, SenderError> {
        let egress = self.egress(environment)?;
        Ok(Sender::new(egress, self.signing.load()?))
    }

    /// When they are sent again.
    pub fn schedule(&self) -> Schedule {
        Schedule { first: self.first_retry, first_slow: self.first_retry * SLOWER, ..Schedule::default() }
    }

    fn allowed(&self, environment: Environment) -> Networks {
        match &self.allowed {
            Some(allowed) => allowed.clone(),
            None if environment == Environment::Production => Networks::default(),
            None => LOOPBACK.parse().unwrap_or_default(),
        }
    }
}

/// Why webhooks can't be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SenderError {
    /// The keys can't be used.
    #[error("the keys that sign webhooks can't be used: {0}")]
    Keys(#[from] KeyError),
    /// There is no client.
    #[error(transparent)]
    Setup(#[from] SetupError),
}

/// The same as flags.
#[derive(Args, Clone)]
pub(crate) struct WebhookArgs {
    /// Private keys in PEM that sign webhooks: the first signs, all are published. Give them by the environment: flags are seen in
    /// process lists
    #[arg(long, env = "HANDOFF_WEBHOOK_SIGNING_KEYS", hide_env_values = true, value_parser = secret, value_name = "PEM", global = true, help_heading = "Webhooks")]
    webhook_signing_keys: Option<SecretString>,
    /// File with such keys
    #[arg(
        long,
        env = "HANDOFF_WEBHOOK_SIGNING_KEYS_FILE",
        value_name = "FILE",
        global = true,
        help_heading = "Webhooks"
    )]
    webhook_signing_keys_file: Option<PathBuf>,
    /// How long a webhook is sent until it arrives: 1d to 7d
    #[arg(long, env = "HANDOFF_WEBHOOK_HORIZON", default_value = "3d", value_parser = duration::parse, value_name = "DURATION", global = true, help_heading = "Webhooks")]
    webhook_horizon: Duration,
    /// What is done with a webhook that is registered without operation_id: required (it is refused), tolerated (nothing is ever
    /// sent to it) or assigned (the task's id stands in its place)
    #[arg(
        long,
        env = "HANDOFF_WEBHOOK_OPERATION_ID",
        default_value_t = OperationIdPolicy::Required,
        value_name = "POLICY",
        global = true,
        help_heading = "Webhooks"
    )]
    webhook_operation_id: OperationIdPolicy,
    /// Whether webhooks may be registered that are not signed, but authenticated by HMAC-SHA256 or Bearer
    #[arg(long, env = "HANDOFF_WEBHOOK_LEGACY_AUTHENTICATION", default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL", global = true, help_heading = "Webhooks")]
    webhook_legacy_authentication: bool,
    /// Private networks that webhooks may reach, such as 10.1.0.0/16,127.0.0.0/8; unless given, this machine's own in development.
    /// Refused in production
    #[arg(long, env = "HANDOFF_WEBHOOK_ALLOW", value_name = "NETWORKS", global = true, help_heading = "Webhooks")]
    webhook_allow: Option<Networks>,
    /// How long one attempt at a webhook may take: up to 20s
    #[arg(long, env = "HANDOFF_WEBHOOK_TIMEOUT", default_value = "10s", value_parser = duration::parse, value_name = "DURATION", global = true, help_heading = "Webhooks")]
    webhook_timeout: Duration,
    /// Pause after a webhook's first failure, up to 1m; each later one is twice as long, up to 1h
    #[arg(long, env = "HANDOFF_WEBHOOK_FIRST_RETRY", default_value = "2s", value_parser = duration::parse, value_name = "DURATION", global = true, help_heading = "Webhooks")]
    webhook_first_retry: Duration,
    /// File with certificates in PEM that webhooks' receivers may have beside those that the system trusts
    #[arg(long, env = "HANDOFF_WEBHOOK_CA_FILE", value_name = "FILE", global = true, help_heading = "Webhooks")]
    webhook_ca_file: Option<PathBuf>,
    /// How often a webhook is told of its task's progress before the task ends, at most: up to 100; 0: never
    #[arg(long, env = "HANDOFF_WEBHOOK_PROGRESS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=i64::from(MAX_NOTIFICATIONS)), value_name = "NUMBER", global = true, help_heading = "Webhooks")]
    webhook_progress: u32,
}

impl From<WebhookArgs> for WebhookSettings {
    fn from(args: WebhookArgs) -> Self {
        let signing = match (args.webhook_signing_keys, args.webhook_signing_keys_file) {
            (Some(pem), _) => SigningSource::Pem(pem),
            (None, Some(file)) => SigningSource::File(file),
            (None, None) => SigningSource::None,
        };
        Self {
            signing,
            horizon: args.webhook_horizon,
            operation_id: args.webhook_operation_id,
            legacy_authentication: args.webhook_legacy_authentication,
            allowed: args.webhook_allow,
            timeout: args.webhook_timeout,
            first_retry: args.webhook_first_retry,
            roots: args.webhook_ca_file,
            progress: args.webhook_progress,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn production_reaches_no_private_network_and_signs_or_refuses() {
        let settings = WebhookSettings::default();
        settings.check(Environment::Production).unwrap();
        let production = settings.policy(Environment::Production);
        assert!(production.https_only && production.unsigned_only && production.allowed.is_empty());
        let development = settings.policy(Environment::Development);
        assert!(!development.unsigned_only && development.allowed.contains("127.0.0.1".parse().unwrap()));
        let private = WebhookSettings { allowed: Some("10.0.0.0/8".parse().unwrap()), ..settings.clone() };
        let error = private.check(Environment::Production).unwrap_err().to_string();
        assert!(error.contains("production refuses") && error.contains("HANDOFF_WEBHOOK_ALLOW"), "{error}");
        private.check(Environment::Development).unwrap();
        let none = WebhookSettings { allowed: Some(Networks::default()), ..settings.clone() };
        none.check(Environment::Production).unwrap();
        assert!(none.policy(Environment::Development).allowed.is_empty());
        let brief = WebhookSettings { horizon: Duration::from_secs(60), ..settings };
        assert!(brief.check(Environment::Production).is_err() && brief.check(Environment::Development).is_ok());
    }

    #[test]
    fn keys_are_never_shown() {
        let settings =
            WebhookSettings { signing: SigningSource::Pem("s3cret".to_owned().into()), ..WebhookSettings::default() };
        let error = settings.check(Environment::Development).unwrap_err();
        assert!(!format!("{settings:?} {error} {error:?}").contains("s3cret"));
        assert!(error.to_string().contains("generate-key"), "{error}");
    }
}
