//! The registry: reachable, of this build's schema, and durable.

use super::Check;
use crate::{Config, duration};
use handoff_store::{Backend, RegistryError};
use std::time::Duration;

const NAME: &str = "registry";
const TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn checks(config: &Config) -> Vec<Check> {
    vec![tokio::time::timeout(TIMEOUT, check(config)).await.unwrap_or_else(|_| {
        let found = format!("{}: no answer within {}", config.redacted_registry_url(), duration::format(TIMEOUT));
        Check::fail(NAME, found, "Check that the database runs and that HANDOFF_REGISTRY_URL names it.")
    })]
}

async fn check(config: &Config) -> Check {
    let url = config.redacted_registry_url();
    let registry = match handoff_store::connect(&config.registry_url, config.registry_options()).await {
        Ok(registry) => registry,
        Err(error) => return Check::fail(NAME, format!("{url}: {error}"), mend(&error)),
    };
    let health = registry.health().await;
    registry.close().await;
    match health {
        Err(error) => Check::fail(NAME, format!("{url}: {error}"), mend(&error)),
        Ok(health) => {
            let found = |backend| format!("{url}: {backend}, schema version {}", health.schema_version);
            match health.backend {
                Backend::Postgres => Check::ok(NAME, found("PostgreSQL")),
                Backend::Sqlite => Check::warn(
                    NAME,
                    found("SQLite"),
                    "In production use PostgreSQL: HANDOFF_REGISTRY_URL=postgres://USER:PASSWORD@HOST/DATABASE.",
                ),
            }
        }
    }
}

fn mend(error: &RegistryError) -> &'static str {
    match error {
        RegistryError::Schema(_) => "Run a build of Handoff at least as new as the one that migrated this database.",
        RegistryError::UnsupportedUrl | RegistryError::InvalidUrl(_) => {
            "Set HANDOFF_REGISTRY_URL to sqlite:PATH or postgres://USER:PASSWORD@HOST/DATABASE."
        }
        _ => "Check that the database runs, that HANDOFF_REGISTRY_URL names it, and that its user may create tables.",
    }
}
