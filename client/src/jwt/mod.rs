//! Whose access tokens are taken beside API keys: the settings, and where the issuer's keys are read.

mod source;

pub use source::{JwksError, JwksSource};

use crate::{
    Config, ConfigError, Environment,
    config::{redact_url, within},
    duration,
};
use clap::{Args, ValueEnum};
use handoff_webhooks::egress::Networks;
use std::{fmt, path::PathBuf, time::Duration};
use url::{Host, Url};

const DEFAULT_CLAIM: &str = "sub";
const MILLISECOND: Duration = Duration::from_millis(1);
const LONGEST_LEEWAY: Duration = Duration::from_secs(300);
const LONGEST_COOLDOWN: Duration = Duration::from_secs(300);
const DAY: Duration = Duration::from_secs(86_400);

/// How the agents are named that come with tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PrincipalNames {
    /// `ISSUER|CLAIM`, the issuer without its scheme: never an agent that an API key stands for.
    #[default]
    Scoped,
    /// The claim alone: the agent that an API key of this name stands for, too.
    Plain,
}

/// Whose access tokens are taken, and how they are checked.
#[derive(Clone)]
pub struct JwtSettings {
    /// Who issues them: to the letter what their `iss` is.
    pub issuer: String,
    /// What their `aud` must be or have; `None`: the URL of this seller's MCP endpoint.
    pub audience: Option<String>,
    /// Where the issuer's keys are; `None`: where its metadata says.
    pub jwks_url: Option<String>,
    /// The claim that names the agent.
    pub principal_claim: String,
    /// How agents are named.
    pub principals: PrincipalNames,
    /// How much clocks may differ.
    pub leeway: Duration,
    /// How often the keys are read.
    pub refresh: Duration,
    /// How long after a read a token that names an unknown key does not cause another.
    pub cooldown: Duration,
    /// How long keys are good for when they can't be read again.
    pub keep: Duration,
    /// Private addresses at which the issuer may be; `None`: in development this machine's own, in production none.
    pub allowed: Option<Networks>,
    /// Certificates in PEM that are trusted beside the system's.
    pub roots: Option<PathBuf>,
}

impl JwtSettings {
    /// Those of this issuer, as they are unless set.
    pub fn of(issuer: impl Into<String>) -> Self {
        Self {
            issuer: issuer.into(),
            audience: None,
            jwks_url: None,
            principal_claim: DEFAULT_CLAIM.to_owned(),
            principals: PrincipalNames::Scoped,
            leeway: Duration::from_secs(30),
            refresh: Duration::from_secs(300),
            cooldown: Duration::from_secs(10),
            keep: DAY,
            allowed: None,
            roots: None,
        }
    }

    /// Refuses what can't work, or is not safe in production.
    pub(crate) fn check(&self, config: &Config) -> Result<(), ConfigError> {
        let production = config.environment == Environment::Production;
        if self.issuer.is_empty() {
            return Err(ConfigError::Empty("HANDOFF_JWT_ISSUER"));
        }
        if self.principal_claim.is_empty() {
            return Err(ConfigError::Empty("HANDOFF_JWT_PRINCIPAL_CLAIM"));
        }
        let urls = [("HANDOFF_JWT_ISSUER", Some(&self.issuer)), ("HANDOFF_JWT_JWKS_URL", self.jwks_url.as_ref())];
        for (name, text) in urls.into_iter().filter_map(|(name, text)| Some((name, text?))) {
            match Url::parse(text) {
                Ok(url) if may_be_read(&url, production) => {}
                Ok(url) if url.scheme() == "http" && production => {
                    return Err(ConfigError::PlainIssuerInProduction(name));
                }
                _ => return Err(ConfigError::IssuerUrl(name)),
            }
        }
        if config.resource_url().is_none() {
            return Err(ConfigError::NoResource);
        }
        let (shortest_refresh, shortest_cooldown) =
            if production { (Duration::from_secs(10), Duration::from_secs(1)) } else { (MILLISECOND, MILLISECOND) };
        within("HANDOFF_JWT_LEEWAY", self.leeway, Duration::ZERO, LONGEST_LEEWAY)?;
        within("HANDOFF_JWT_JWKS_REFRESH", self.refresh, shortest_refresh, DAY)?;
        within("HANDOFF_JWT_JWKS_COOLDOWN", self.cooldown, shortest_cooldown, LONGEST_COOLDOWN)?;
        within("HANDOFF_JWT_JWKS_KEEP", self.keep, self.refresh, 7 * DAY)
    }

    /// What reads the issuer's keys.
    pub fn source(&self, environment: Environment) -> Result<JwksSource, JwksError> {
        JwksSource::new(self, environment == Environment::Production)
    }

    /// What stands before the claim in an agent's name.
    pub fn name_prefix(&self) -> String {
        match self.principals {
            PrincipalNames::Scoped => {
                format!("{}|", self.issuer.split_once("://").map_or(self.issuer.as_str(), |(_, rest)| rest))
            }
            PrincipalNames::Plain => String::new(),
        }
    }
}

/// May documents be read there: by https, or, in development, from this machine?
fn may_be_read(url: &Url, production: bool) -> bool {
    let here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => return false,
    };
    let scheme = url.scheme() == "https" || (url.scheme() == "http" && here && !production);
    scheme && url.username().is_empty() && url.password().is_none()
}

impl fmt::Debug for JwtSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtSettings")
            .field("issuer", &redact_url(&self.issuer))
            .field("audience", &self.audience)
            .field("jwks_url", &self.jwks_url.as_deref().map(redact_url))
            .field("principal_claim", &self.principal_claim)
            .field("principals", &self.principals)
            .field("leeway", &self.leeway)
            .field("refresh", &self.refresh)
            .field("cooldown", &self.cooldown)
            .field("keep", &self.keep)
            .field("allowed", &self.allowed)
            .field("roots", &self.roots)
            .finish()
    }
}

/// The same as flags.
#[derive(Args, Clone)]
pub(crate) struct JwtArgs {
    /// Whose access tokens (JWT) are taken beside API keys: the issuer's URL, to the letter as tokens have it in `iss`. Needs
    /// HANDOFF_PUBLIC_URL
    #[arg(
        long,
        env = "HANDOFF_JWT_ISSUER",
        hide_env_values = true,
        value_name = "URL",
        global = true,
        help_heading = "Access tokens"
    )]
    jwt_issuer: Option<String>,
    /// What tokens have to be for, in `aud`; unless given, the public URL's /mcp
    #[arg(long, env = "HANDOFF_JWT_AUDIENCE", value_name = "AUDIENCE", global = true, help_heading = "Access tokens")]
    jwt_audience: Option<String>,
    /// Where the issuer's keys are; unless given, where its metadata says. https, or, in development, this machine
    #[arg(
        long,
        env = "HANDOFF_JWT_JWKS_URL",
        hide_env_values = true,
        value_name = "URL",
        global = true,
        help_heading = "Access tokens"
    )]
    jwt_jwks_url: Option<String>,
    /// The claim that names the agent
    #[arg(long, env = "HANDOFF_JWT_PRINCIPAL_CLAIM", default_value = DEFAULT_CLAIM, value_name = "CLAIM", global = true, help_heading = "Access tokens")]
    jwt_principal_claim: String,
    /// How the agent is named: scoped (ISSUER|CLAIM, never an agent with an API key) or plain (the claim alone, also the agent whose API
    /// key has this name)
    #[arg(
        long,
        env = "HANDOFF_JWT_PRINCIPALS",
        default_value = "scoped",
        value_name = "NAMES",
        global = true,
        help_heading = "Access tokens"
    )]
    jwt_principals: PrincipalNames,
    /// How much this clock and the issuer's may differ: up to 5m
    #[arg(long, env = "HANDOFF_JWT_LEEWAY", default_value = "30s", value_parser = duration::parse, value_name = "DURATION", global = true, help_heading = "Access tokens")]
    jwt_leeway: Duration,
    /// How often the issuer's keys are read: 10s to 1d
    #[arg(long, env = "HANDOFF_JWT_JWKS_REFRESH", default_value = "5m", value_parser = duration::parse, value_name = "DURATION", global = true, help_heading = "Access tokens")]
    jwt_jwks_refresh: Duration,
    /// How long after the keys were read, or could not be, a token of an unknown key does not cause another try: 1s to 5m
    #[arg(long, env = "HANDOFF_JWT_JWKS_COOLDOWN", default_value = "10s", value_parser = duration::parse, value_name = "DURATION", global = true, help_heading = "Access tokens")]
    jwt_jwks_cooldown: Duration,
    /// How long keys stay good when the issuer can't be reached: up to 7d
    #[arg(long, env = "HANDOFF_JWT_JWKS_KEEP", default_value = "1d", value_parser = duration::parse, value_name = "DURATION", global = true, help_heading = "Access tokens")]
    jwt_jwks_keep: Duration,
    /// Private networks in which the issuer may be, such as 10.1.0.0/16; unless given, this machine's own in development
    #[arg(long, env = "HANDOFF_JWT_ALLOW", value_name = "NETWORKS", global = true, help_heading = "Access tokens")]
    jwt_allow: Option<Networks>,
    /// File with certificates in PEM that the issuer may have beside those that the system trusts
    #[arg(long, env = "HANDOFF_JWT_CA_FILE", value_name = "FILE", global = true, help_heading = "Access tokens")]
    jwt_ca_file: Option<PathBuf>,
}

impl From<JwtArgs> for Option<JwtSettings> {
    fn from(args: JwtArgs) -> Self {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let (issuer, audience, jwks_url) = (given(args.jwt_issuer), given(args.jwt_audience), given(args.jwt_jwks_url));
        // Where the issuer alone was forgotten, nobody is to believe that tokens are taken: the check refuses it.
        if issuer.is_none() && audience.is_none() && jwks_url.is_none() {
            return None;
        }
        Some(JwtSettings {
            issuer: issuer.unwrap_or_default(),
            audience,
            jwks_url,
            principal_claim: args.jwt_principal_claim,
            principals: args.jwt_principals,
            leeway: args.jwt_leeway,
            refresh: args.jwt_jwks_refresh,
            cooldown: args.jwt_jwks_cooldown,
            keep: args.jwt_jwks_keep,
            allowed: args.jwt_allow,
            roots: args.jwt_ca_file,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Key, KeySource};
    use clap::FromArgMatches;

    fn read(words: &[&str]) -> Option<JwtSettings> {
        let command = JwtArgs::augment_args(clap::Command::new("handoff"));
        let matches = command.get_matches_from([&["handoff"], words].concat());
        JwtArgs::from_arg_matches(&matches).unwrap().into()
    }

    fn config(environment: Environment, settings: JwtSettings) -> Config {
        Config {
            environment,
            registry_url: "postgres://db/h".into(),
            encryption: KeySource::Text(Key::generate("k").unwrap()),
            public_url: Some("https://ads.seller.example/".into()),
            jwt: Some(settings),
            ..Config::default()
        }
    }

    #[test]
    fn an_issuer_is_enough_and_nothing_is_without_one() {
        assert!(read(&[]).is_none());
        let settings = read(&["--jwt-issuer", "https://issuer.example/realms/a"]).unwrap();
        let (defaults, given) = (JwtSettings::of("https://issuer.example/realms/a"), format!("{settings:?}"));
        assert_eq!(given, format!("{defaults:?}"), "the flags' defaults are the code's");
        assert_eq!(settings.name_prefix(), "issuer.example/realms/a|");
        assert_eq!(JwtSettings { principals: PrincipalNames::Plain, ..settings }.name_prefix(), "");
        let forgotten = read(&["--jwt-jwks-url", "https://issuer.example/jwks"]).unwrap();
        let error = config(Environment::Development, forgotten).check().unwrap_err();
        assert_eq!(error.to_string(), "HANDOFF_JWT_ISSUER is empty");
    }

    #[test]
    fn keys_come_by_https_or_in_development_from_this_machine() {
        let with = |issuer: &str, jwks_url: Option<&str>| JwtSettings {
            jwks_url: jwks_url.map(Into::into),
            ..JwtSettings::of(issuer)
        };
        let good = "https://issuer.example";
        for (settings, development, production) in [
            (with(good, None), true, true),
            (with(good, Some("https://10.0.0.1/jwks")), true, true),
            (with(good, Some("http://localhost:9000/jwks")), true, false),
            (with("http://127.0.0.1:9000", Some("http://[::1]:9000/jwks")), true, false),
            (with(good, Some("http://issuer.example/jwks")), false, false),
            (with("http://issuer.example", None), false, false),
            (with(good, Some("https://user:s3cret@issuer.example/jwks")), false, false),
            (with("issuer.example", None), false, false),
            (with(good, Some("file:///etc/jwks")), false, false),
        ] {
            for (environment, fine) in [(Environment::Development, development), (Environment::Production, production)]
            {
                let config = config(environment, settings.clone());
                assert_eq!(config.check().is_ok(), fine, "{environment:?} {settings:?}");
                let told = format!("{config:?} {:?}", config.check());
                assert!(!told.contains("s3cret"), "{told}");
            }
        }
        let plain = config(Environment::Production, with(good, Some("http://localhost/jwks"))).check().unwrap_err();
        let plain = plain.to_string();
        assert!(plain.contains("production refuses") && plain.contains("HANDOFF_JWT_JWKS_URL"), "{plain}");
    }

    #[test]
    fn tokens_are_for_the_public_url_and_times_have_limits() {
        let settings = JwtSettings::of("https://issuer.example");
        let nowhere = Config { public_url: None, ..config(Environment::Development, settings.clone()) };
        let error = nowhere.check().unwrap_err().to_string();
        assert!(error.contains("HANDOFF_PUBLIC_URL"), "{error}");
        let url = config(Environment::Development, settings.clone()).resource_url().unwrap();
        assert_eq!(url.as_str(), "https://ads.seller.example/mcp");
        for (settings, name) in [
            (JwtSettings { leeway: Duration::from_secs(301), ..settings.clone() }, "HANDOFF_JWT_LEEWAY"),
            (JwtSettings { refresh: Duration::from_secs(9), ..settings.clone() }, "HANDOFF_JWT_JWKS_REFRESH"),
            (JwtSettings { cooldown: Duration::ZERO, ..settings.clone() }, "HANDOFF_JWT_JWKS_COOLDOWN"),
            (JwtSettings { keep: Duration::from_secs(299), ..settings.clone() }, "HANDOFF_JWT_JWKS_KEEP"),
            (JwtSettings { principal_claim: String::new(), ..settings }, "HANDOFF_JWT_PRINCIPAL_CLAIM"),
        ] {
            let error = config(Environment::Production, settings).check().unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
