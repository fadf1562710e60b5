//! Whether everything is there that Handoff needs, and how to mend what is not.

mod encryption;
mod housekeeping;
mod issuer;
mod registry;
mod runs;
mod temporal;

use crate::{Config, Environment, settings};
use serde::Serialize;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckStatus {
    /// As it should be.
    Ok,
    /// Works, but not as it should in production.
    Warn,
    /// Does not work.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// How it came out.
    pub status: CheckStatus,
    /// What was found.
    pub found: String,
    /// What to do about it; empty if nothing.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mend: String,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, status: CheckStatus::Ok, found: found.into(), mend: String::new() }
    }

    fn warn(name: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { name, status: CheckStatus::Warn, found: found.into(), mend: mend.into() }
    }

    fn fail(name: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { name, status: CheckStatus::Fail, found: found.into(), mend: mend.into() }
    }
}

/// Runs every check that can be run; one that fails does not stop the others. Opening the registry creates and migrates it.
pub async fn doctor(config: &Config) -> Vec<Check> {
    let (temporal, registry, issuer) =
        futures::join!(temporal::checks(config), registry::checks(config), issuer::check(config));
    let mut checks = vec![configuration(config)];
    checks.extend(variables(settings::of_this_process()));
    checks.extend(registry);
    checks.extend(temporal);
    checks.push(encryption::check(config).await);
    checks.extend(issuer);
    checks
}

fn configuration(config: &Config) -> Check {
    let name = "configuration";
    match (config.check(), config.environment) {
        (Err(error), _) => Check::fail(name, error.to_string(), "Correct the setting and run `handoff doctor` again."),
        (Ok(()), Environment::Production) => Check::ok(name, "production"),
        (Ok(()), Environment::Development) => Check::warn(
            name,
            "development: what is not durable is allowed",
            "In production set HANDOFF_ENV=production.",
        ),
    }
}

// Nothing is said where nothing is wrong: those who configure by code have no variables at all.
fn variables(names: Vec<String>) -> Option<Check> {
    let unknown = settings::unknown_variables(names);
    let found: Vec<String> = unknown.iter().map(ToString::to_string).collect();
    let mend = "Correct the name, or unset it; `handoff config` lists all settings.";
    (!found.is_empty()).then(|| Check::warn("variables", found.join("; "), mend))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TemporalConfig;
    use std::time::Duration;

    #[tokio::test]
    async fn without_any_server_every_check_still_speaks() {
        let temporal =
            TemporalConfig { connect_timeout: Duration::from_millis(200), ..TemporalConfig::at("127.0.0.1:1", "n") };
        let config = Config {
            temporal,
            registry_url: "postgres://u:s3cret@127.0.0.1:1/none?connect_timeout=1".into(),
            ..Config::default()
        };
        let checks = tokio::time::timeout(Duration::from_secs(60), doctor(&config)).await.unwrap();
        let status = |name: &str| checks.iter().find(|check| check.name == name).map(|check| check.status);
        assert_eq!(status("temporal"), Some(CheckStatus::Fail));
        assert_eq!(status("registry"), Some(CheckStatus::Fail));
        assert!(checks.iter().all(|check| check.status == CheckStatus::Ok || !check.mend.is_empty()));
        assert!(!format!("{checks:?}").contains("s3cret"));
    }
}
