//! The issuer's keys as they are known here: read in the background, and once more where a token names an unknown one.

use super::keys::{Key, Keys};
use async_trait::async_trait;
use handoff_client::jwt::{JwksError, JwksSource};
use jsonwebtoken::Algorithm;
use serde_json::Value;
use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    task::AbortHandle,
    time::Instant,
};

/// Reads an issuer's keys.
#[async_trait]
pub(super) trait Source: Send + Sync + 'static {
    /// As the issuer publishes them now.
    async fn fetch(&self) -> Result<Vec<Value>, JwksError>;
}

#[async_trait]
impl Source for JwksSource {
    async fn fetch(&self) -> Result<Vec<Value>, JwksError> {
        Self::fetch(self).await
    }
}

/// How long what was read is good for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// How often it is read.
    pub(super) refresh: Duration,
    /// How long after a try nobody's token causes another.
    pub(super) cooldown: Duration,
    /// How long it is good for when it can't be read again.
    pub(super) keep: Duration,
}

/// The keys can't be told at the moment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unavailable;

pub(super) struct Cache {
    source: Box<dyn Source>,
    times: Times,
    known: RwLock<Known>,
    /// Held by whoever reads the keys, so that there is one at a time.
    turn: Arc<Mutex<()>>,
}

#[derive(Default)]
struct Known {
    keys: Option<(Arc<Keys>, Instant)>,
    tried: Option<Instant>,
    failed: bool,
}

impl Cache {
    pub(super) fn new(source: impl Source, times: Times) -> Arc<Self> {
        Arc::new(Self { source: Box::new(source), times, known: RwLock::default(), turn: Arc::default() })
    }

    /// The keys that may have signed a token, none if the issuer has none such. What is not known is asked for, unless the issuer was
    /// asked just now.
    pub(super) async fn keys(
        self: &Arc<Self>,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Vec<Arc<Key>>, Unavailable> {
        let found = self.find(id, algorithm);
        if !found.is_empty() {
            return Ok(found);
        }
        self.ask().await;
        match self.find(id, algorithm) {
            found if !found.is_empty() => Ok(found),
            // It may be one that the issuer has, had it been reached.
            _ if self.is_in_doubt() => Err(Unavailable),
            _ => Ok(Vec::new()),
        }
    }

    /// Reads the keys now and from now on, until the handle is aborted.
    pub(super) fn keep_fresh(self: &Arc<Self>) -> AbortHandle {
        let cache = self.clone();
        let running = tokio::spawn(async move {
            loop {
                let turn = cache.turn.clone().lock_owned().await;
                if cache.was_tried_lately() {
                    // Not for as long as the pause.
                    drop(turn);
                } else {
                    cache.read(turn).await;
                }
                let Times { refresh, cooldown, .. } = cache.times;
                let pause = if cache.is_in_doubt() { cooldown.min(refresh) } else { refresh };
                tokio::time::sleep(pause).await;
            }
        });
        running.abort_handle()
    }

    fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Vec<Arc<Key>> {
        self.current().map(|keys| keys.of(id, algorithm)).unwrap_or_default()
    }

    fn current(&self) -> Option<Arc<Keys>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let (keys, read_at) = known.keys.as_ref()?;
        (read_at.elapsed() < self.times.keep).then(|| keys.clone())
    }

    fn is_in_doubt(&self) -> bool {
        self.current().is_none() || self.known.read().unwrap_or_else(PoisonError::into_inner).failed
    }

    fn was_tried_lately(&self) -> bool {
        let tried = self.known.read().unwrap_or_else(PoisonError::into_inner).tried;
        tried.is_some_and(|tried| tried.elapsed() < self.times.cooldown)
    }

    // Of many who want it at once, the first asks, and the others wait for what comes of it.
    async fn ask(self: &Arc<Self>) {
        let turn = self.turn.clone().lock_owned().await;
        if self.was_tried_lately() {
            return;
        }
        let cache = self.clone();
        // It goes on where the caller hangs up: else who hangs up could make the next one ask again.
        let _ = tokio::spawn(async move { cache.read(turn).await }).await;
    }

    async fn read(&self, _turn: OwnedMutexGuard<()>) {
        let fetched = self.source.fetch().await.map(|published| Keys::read(&published));
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        known.tried = Some(now);
        let failed_before = std::mem::replace(&mut known.failed, fetched.is_err());
        match fetched {
            Ok(keys) => {
                let before = known.keys.as_ref().map(|(keys, _)| keys.len());
                if failed_before || before != Some(keys.len()) {
                    tracing::info!(keys = keys.len(), "the issuer's keys were read");
                }
                known.keys = Some((Arc::new(keys), now));
            }
            // Once for as long as it lasts.
            Err(error) if !failed_before => {
                tracing::warn!(%error, "the issuer's keys can't be read; what is known of them is used");
            }
            Err(error) => tracing::debug!(%error, "the issuer's keys still can't be read"),
        }
    }
}
