//! Whose key a signature names.

use super::file::{Counterparty, KeySource};
use crate::jwks::{Cache, KeySet, Times, Unavailable};
use futures::future::join_all;
use handoff_client::{
    Environment,
    jwt::{JwksError, JwksSource},
};
use handoff_webhooks::{egress::Networks, keys::Jwk};
use serde::Deserialize;
use serde_json::Value;
use std::{path::Path, sync::Arc, time::Duration};
use tokio::task::AbortHandle;

// The protocol's: not longer than lists of revoked keys are good for, and half a minute between two tries.
const TIMES: Times =
    Times { refresh: Duration::from_secs(300), cooldown: Duration::from_secs(30), keep: Duration::from_secs(3_600) };

/// The agents that may sign.
pub(super) struct Signers(Vec<Signer>);

/// One of them.
pub(super) struct Signer {
    pub(super) counterparty: Counterparty,
    published: Option<(Arc<Cache<Published>>, AbortHandle)>,
}

/// Why nobody was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotFound {
    /// Nobody has the key, or more than one.
    Unknown,
    /// Somebody who may have it can't be asked.
    Unavailable,
}

impl Signers {
    /// Reads keys in the background, for as long as this value lives. Needs a Tokio runtime.
    pub(super) fn new(
        counterparties: Vec<Counterparty>,
        allowed: Option<&Networks>,
        roots: Option<&Path>,
        environment: Environment,
    ) -> Result<Self, JwksError> {
        let signer = |counterparty: Counterparty| -> Result<Signer, JwksError> {
            let published = match &counterparty.keys {
                KeySource::Told(_) => None,
                KeySource::Published(url) => {
                    let source = JwksSource::at(url, allowed, roots.map(Path::to_owned), environment)?;
                    let cache = Cache::new(&counterparty.principal, source, TIMES);
                    let fresh = cache.keep_fresh();
                    Some((cache, fresh))
                }
            };
            Ok(Signer { counterparty, published })
        };
        counterparties.into_iter().map(signer).collect::<Result<_, _>>().map(Self)
    }

    /// Who has the key of this id. What the operator wrote down goes first: nobody takes another's key over by publishing its id. Of
    /// those who publish keys exactly one must have it.
    pub(super) async fn find(&self, keyid: &str) -> Result<(&Signer, Jwk), NotFound> {
        for signer in &self.0 {
            if let Some(key) = signer.counterparty.told().iter().find(|key| key.kid == keyid) {
                return Ok((signer, key.clone()));
            }
        }
        let caches = || self.0.iter().filter_map(|signer| Some((signer, &signer.published.as_ref()?.0)));
        let pick = |keys: &Published| keys.of(keyid);
        let mut found: Vec<_> =
            caches().flat_map(|(signer, cache)| cache.known(pick).into_iter().map(move |key| (signer, key))).collect();
        let mut in_doubt = false;
        if found.is_empty() {
            // All at once; each is asked once in a while.
            let asked = join_all(caches().map(|(signer, cache)| async move { (signer, cache.find(pick).await) })).await;
            for (signer, keys) in asked {
                match keys {
                    Ok(keys) => found.extend(keys.into_iter().map(|key| (signer, key))),
                    Err(Unavailable) => in_doubt = true,
                }
            }
        }
        match found.pop() {
            Some(one) if found.is_empty() => Ok(one),
            Some(_) => {
                tracing::warn!("several counterparties publish a key of one id: its signatures are refused");
                Err(NotFound::Unknown)
            }
            None if in_doubt => Err(NotFound::Unavailable),
            None => Err(NotFound::Unknown),
        }
    }
}

impl Drop for Signer {
    fn drop(&mut self) {
        if let Some((_, fresh)) = &self.published {
            fresh.abort();
        }
    }
}

/// The keys of one counterparty that can be read here.
struct Published(Vec<Jwk>);

impl Published {
    /// An id that is there twice names none.
    fn of(&self, keyid: &str) -> Vec<Jwk> {
        let keys: Vec<Jwk> = self.0.iter().filter(|key| key.kid == keyid).cloned().collect();
        if keys.len() == 1 { keys } else { Vec::new() }
    }
}

impl KeySet for Published {
    /// Keys of other kinds, and broken ones, are left out.
    fn read(published: &[Value]) -> Self {
        Self(published.iter().filter_map(|key| Jwk::deserialize(key).ok()).collect())
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jwks::Source;
    use async_trait::async_trait;
    use serde_json::json;

    struct Fixed(Option<Vec<Value>>);

    #[async_trait]
    impl Source for Fixed {
        async fn fetch(&self) -> Result<Vec<Value>, JwksError> {
            self.0.clone().ok_or(JwksError::NoKeys)
        }
    }

    fn key(kid: &str) -> Value {
        json!({"kid": kid, "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "x": "AAAA"})
    }

    fn signer(principal: &str, keys: KeySource, published: Option<Option<Vec<Value>>>) -> Signer {
        let published = published.map(|published| {
            let cache = Cache::new(principal, Fixed(published), TIMES);
            let fresh = cache.keep_fresh();
            (cache, fresh)
        });
        let counterparty = Counterparty { principal: principal.into(), keys, revoked: Vec::new(), nonces_per_key: 1 };
        Signer { counterparty, published }
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_of_one_counterparty_or_of_none() {
        let told = |kid: &str| KeySource::Told(vec![serde_json::from_value(key(kid)).unwrap()]);
        let at = || KeySource::Published("https://a.example".into());
        let publishing =
            |keys: &[&str]| Some(Some(keys.iter().map(|kid| key(kid)).chain([json!({"kty": "RSA"})]).collect()));
        let mut signers = Signers(vec![
            signer("told", told("k1"), None),
            signer("a", at(), publishing(&["k1", "k2", "k3", "k4", "k4"])),
            signer("b", at(), publishing(&["k3", "k5"])),
        ]);
        for (kid, owner) in
            [("k1", Some("told")), ("k2", Some("a")), ("k5", Some("b")), ("k3", None), ("k4", None), ("", None)]
        {
            let found = signers.find(kid).await;
            match (found, owner) {
                (Ok((signer, key)), Some(owner)) => {
                    assert_eq!((signer.counterparty.principal.as_str(), key.kid.as_str()), (owner, kid));
                }
                (Err(NotFound::Unknown), None) => {}
                (found, _) => panic!("{kid}: {:?}", found.map(|(signer, _)| signer.counterparty.principal.clone())),
            }
        }
        // Of one who can't be asked nobody knows what it has.
        signers.0.push(signer("away", at(), Some(None)));
        assert_eq!(signers.find("k9").await.map(|_| ()), Err(NotFound::Unavailable));
        assert!(signers.find("k2").await.is_ok() && signers.find("k1").await.is_ok());
    }
}
