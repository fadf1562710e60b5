//! The registry: reachable, of this build's schema, durable, and sealed with keys that are there.

use super::Check;
use crate::{Config, Environment, duration};
use handoff_store::{Backend, Registry, RegistryError, Resealed};
use std::time::Duration;

const NAME: &str = "registry";
const ENCRYPTION: &str = "registry encryption";
const TIMEOUT: Duration = Duration::from_secs(10);
// The oldest are the likeliest to need an old key.
const LOOKED_AT: u32 = 100;

pub(super) async fn checks(config: &Config) -> Vec<Check> {
    tokio::time::timeout(TIMEOUT, looked_at(config)).await.unwrap_or_else(|_| {
        let found = format!("{}: no answer within {}", config.redacted_registry_url(), duration::format(TIMEOUT));
        vec![Check::fail(NAME, found, "Check that the database runs and that HANDOFF_REGISTRY_URL names it.")]
    })
}

async fn looked_at(config: &Config) -> Vec<Check> {
    let url = config.redacted_registry_url();
    let options = match config.registry_options() {
        Ok(options) => options,
        Err(error) => return vec![Check::fail(NAME, error.to_string(), "Correct the keys.")],
    };
    let registry = match handoff_store::connect(&config.registry_url, options).await {
        Ok(registry) => registry,
        Err(error) => return vec![Check::fail(NAME, format!("{url}: {error}"), mend(config, &error))],
    };
    let checks = vec![check(config, &url, registry.health().await), encryption(config, &*registry).await];
    registry.close().await;
    checks
}

async fn encryption(config: &Config, registry: &dyn Registry) -> Check {
    const RESEAL: &str = "Run `handoff registry reseal` before you remove an old key.";
    let found = match registry.reseal(None, LOOKED_AT, true).await {
        Ok(found) => found,
        Err(error) => return Check::fail(ENCRYPTION, error.to_string(), "Check the keys, and `handoff doctor` again."),
    };
    let told = told(&found);
    if found.unreadable > 0 {
        let told = format!("{told}; {} tasks can't be read with the keys of this process", found.unreadable);
        return Check::fail(ENCRYPTION, told, "Add the missing keys to HANDOFF_ENCRYPTION_KEYS.");
    }
    match (config.encryption.is_none(), config.environment) {
        (true, Environment::Production) => Check::fail(ENCRYPTION, "there are no keys", super::encryption::MEND),
        (true, Environment::Development) => Check::warn(ENCRYPTION, "there are no keys", super::encryption::MEND),
        (false, _) if found.resealed > 0 => Check::warn(ENCRYPTION, told, RESEAL),
        (false, _) => Check::ok(ENCRYPTION, told),
    }
}

fn told(found: &Resealed) -> String {
    let keys = found.values.iter().map(|(key, values)| match key {
        Some(key) => format!("{values} values are sealed with key {key:?}"),
        None => format!("{values} values are in clear"),
    });
    let keys = keys.collect::<Vec<_>>().join(", ");
    let keys = if keys.is_empty() { "nothing is stored yet".to_owned() } else { keys };
    let all = if found.next.is_some() { format!("of the oldest {LOOKED_AT} tasks, ") } else { String::new() };
    format!("{all}{keys}")
}

fn check(config: &Config, url: &str, health: Result<handoff_store::Health, RegistryError>) -> Check {
    match health {
        Err(error) => Check::fail(NAME, format!("{url}: {error}"), mend(config, &error)),
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

fn mend(config: &Config, error: &RegistryError) -> &'static str {
    match error {
        RegistryError::Schema(_) => {
            "Run a build of Handoff at least as new as the one that migrated this database, or name another database in \
             HANDOFF_REGISTRY_URL."
        }
        RegistryError::UnsupportedUrl | RegistryError::InvalidUrl(_) => {
            "Set HANDOFF_REGISTRY_URL to sqlite:PATH or postgres://USER:PASSWORD@HOST/DATABASE."
        }
        _ if config.registry_url.starts_with("sqlite:") => {
            "Let HANDOFF_REGISTRY_URL=sqlite:PATH name a file in a directory that this user may write to, on a disk with space."
        }
        // PostgreSQL's own words.
        RegistryError::Database(message) if message.contains("authentication failed") => {
            "Correct user and password in HANDOFF_REGISTRY_URL; in a password write %40 for @, %2F for /, %3A for :."
        }
        RegistryError::Database(message) if message.contains("does not exist") => {
            "Create what is missing (`createdb DATABASE`), or correct HANDOFF_REGISTRY_URL."
        }
        _ => "Check that the database runs, that HANDOFF_REGISTRY_URL names it, and that its user may create tables.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        CheckStatus,
        codec::{Key, KeySource},
    };
    use handoff_proto::{releases::Release, v1::TaskRef};
    use handoff_store::NewClaim;
    use secrecy::ExposeSecret;

    #[tokio::test]
    async fn it_says_which_keys_the_values_need() {
        let folder = std::env::temp_dir().join(format!("handoff-doctor-{}", uuid::Uuid::now_v7().simple()));
        let key = |id: &str| Key::generate(id).unwrap().expose_secret().to_owned();
        let (old, new) = (key("old"), key("new"));
        let with = |keys: &str| Config {
            registry_url: format!("sqlite:{}", folder.join("registry.db").display()),
            encryption: if keys.is_empty() { KeySource::None } else { KeySource::Text(keys.into()) },
            ..Config::default()
        };
        let claim = |task_id: &str| NewClaim {
            task: TaskRef { task_id: task_id.into(), scope: "a".into(), principal: "p".into(), verb: "v".into() },
            protocol: "media-buy".into(),
            idempotency_key: None,
            request_hash: String::new(),
            context_json: Some("{}".into()),
            webhook: None,
            proposal: None,
            release: Release::LATEST,
            sandbox: false,
        };
        for (keys, task_id) in [("", "t1"), (&old, "t2")] {
            let config = with(keys);
            let registry =
                handoff_store::connect(&config.registry_url, config.registry_options().unwrap()).await.unwrap();
            registry.claim(&claim(task_id)).await.unwrap();
            registry.close().await;
        }
        for (keys, status, parts) in [
            (
                &*format!("{new},{old}"),
                CheckStatus::Warn,
                ["1 values are in clear", "1 values are sealed with key \"old\""],
            ),
            (&*new, CheckStatus::Fail, ["1 tasks can't be read", "sealed with key \"old\""]),
            ("", CheckStatus::Fail, ["1 tasks can't be read", "sealed with key \"old\""]),
        ] {
            let checks = checks(&with(keys)).await;
            let check = checks.into_iter().find(|check| check.name == ENCRYPTION).unwrap();
            assert!(check.status == status && parts.iter().all(|part| check.found.contains(part)), "{check:?}");
        }
        let config = with(&format!("{new},{old}"));
        crate::Tasks::connect(&config).await.unwrap().reseal(false).await.unwrap();
        let check = checks(&with(&new)).await.into_iter().find(|check| check.name == ENCRYPTION).unwrap();
        assert!(
            check.status == CheckStatus::Ok && check.found.contains("2 values are sealed with key \"new\""),
            "{check:?}"
        );
        std::fs::remove_dir_all(folder).unwrap();
    }
}
