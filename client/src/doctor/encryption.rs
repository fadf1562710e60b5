//! Encryption: keys are there, and they work.

use super::Check;
use crate::{
    Config, Environment,
    codec::{EncryptingCodec, KeyProvider},
};
use std::sync::Arc;
use temporalio_common::protos::temporal::api::common::v1::Payload;

const NAME: &str = "encryption";
pub(super) const MEND: &str =
    "Make a key with `handoff codec generate-key`, and set HANDOFF_ENCRYPTION_KEYS for every worker and client.";

pub(super) async fn check(config: &Config) -> Check {
    match config.encryption.load() {
        Err(error) => {
            Check::fail(NAME, error.to_string(), "Correct the keys. `handoff codec generate-key` makes a key.")
        }
        Ok(None) => {
            let found = "payloads in Temporal are not encrypted";
            match config.environment {
                Environment::Production => Check::fail(NAME, found, MEND),
                Environment::Development => Check::warn(NAME, found, MEND),
            }
        }
        Ok(Some(keys)) => match works(keys).await {
            Ok(id) => Check::ok(NAME, format!("payloads in Temporal are encrypted with key {id:?}")),
            Err(problem) => Check::fail(NAME, problem, "Check the key service and this process's access to it."),
        },
    }
}

/// Encrypts and decrypts something, and says with which key.
async fn works(keys: Arc<dyn KeyProvider>) -> Result<String, String> {
    let active = keys.active().await.map_err(|error| error.to_string())?;
    let codec = EncryptingCodec::new(keys);
    let probe = vec![Payload { data: b"doctor".to_vec(), ..Default::default() }];
    let sealed = codec.seal(probe.clone()).await.map_err(|error| error.to_string())?;
    match codec.open(sealed).await {
        Ok(opened) if opened == probe => Ok(active.id().to_owned()),
        Ok(_) => Err(format!("what key {:?} encrypted came back changed", active.id())),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        CheckStatus,
        codec::{Key, KeySource},
    };

    #[tokio::test]
    async fn keys_are_tried_and_their_absence_is_judged_by_the_environment() {
        let keys = KeySource::Text(Key::generate("k7").unwrap());
        for (encryption, environment, status, part) in [
            (keys, Environment::Production, CheckStatus::Ok, "k7"),
            (KeySource::None, Environment::Development, CheckStatus::Warn, "not encrypted"),
            (KeySource::None, Environment::Production, CheckStatus::Fail, "not encrypted"),
            (KeySource::Text("k:c2hvcnQ=".into()), Environment::Development, CheckStatus::Fail, "must have 32"),
        ] {
            let check = check(&Config { encryption, environment, ..Config::default() }).await;
            assert!(check.status == status && check.found.contains(part), "{check:?}");
        }
    }
}
