//! Keys that somebody publishes, as they are known here: read in the background, and once more where somebody names an unknown one.

use async_trait::async_trait;
use handoff_client::jwt::{JwksError, JwksSource};
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

/// Reads published keys.
#[async_trait]
pub(crate) trait Source: Send + Sync + 'static {
    /// As they are published now.
    async fn fetch(&self) -> Result<Vec<Value>, JwksError>;
}

#[async_trait]
impl Source for JwksSource {
    async fn fetch(&self) -> Result<Vec<Value>, JwksError> {
        Self::fetch(self).await
    }
}

/// Keys that were read.
pub(crate) trait KeySet: Send + Sync + Sized + 'static {
    /// Those of what is published that can be used.
    fn read(published: &[Value]) -> Self;

    /// How many there are.
    fn len(&self) -> usize;
}

/// How long what was read is good for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// How often it is read.
    pub(crate) refresh: Duration,
    /// How long after a try nobody causes another.
    pub(crate) cooldown: Duration,
    /// How long it is good for when it can't be read again.
    pub(crate) keep: Duration,
}

/// The keys can't be told at the moment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unavailable;

/// The keys of one publisher.
pub(crate) struct Cache<K> {
    /// Whose keys they are, for the log.
    whose: String,
    source: Box<dyn Source>,
    times: Times,
    known: RwLock<Known<K>>,
    /// Held by whoever reads the keys, so that there is one at a time.
    turn: Arc<Mutex<()>>,
}

struct Known<K> {
    keys: Option<(Arc<K>, Instant)>,
    tried: Option<Instant>,
    failed: bool,
}

impl<K: KeySet> Cache<K> {
    pub(crate) fn new(whose: impl Into<String>, source: impl Source, times: Times) -> Arc<Self> {
        let known = RwLock::new(Known { keys: None, tried: None, failed: false });
        Arc::new(Self { whose: whose.into(), source: Box::new(source), times, known, turn: Arc::default() })
    }

    /// What is picked of the keys, nothing if there are none such. What is not known is asked for, unless that was done just now.
    pub(crate) async fn find<T>(self: &Arc<Self>, pick: impl Fn(&K) -> Vec<T>) -> Result<Vec<T>, Unavailable> {
        let found = self.known(&pick);
        if !found.is_empty() {
            return Ok(found);
        }
        self.ask().await;
        match self.known(&pick) {
            found if !found.is_empty() => Ok(found),
            // It may be one that is published, had its publisher been reached.
            _ if self.is_in_doubt() => Err(Unavailable),
            _ => Ok(Vec::new()),
        }
    }

    /// The same of what is known now.
    pub(crate) fn known<T>(&self, pick: impl Fn(&K) -> Vec<T>) -> Vec<T> {
        self.current().map(|keys| pick(&keys)).unwrap_or_default()
    }

    /// Reads the keys now and from now on, until the handle is aborted.
    pub(crate) fn keep_fresh(self: &Arc<Self>) -> AbortHandle {
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

    fn current(&self) -> Option<Arc<K>> {
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
        let fetched = self.source.fetch().await.map(|published| K::read(&published));
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        known.tried = Some(now);
        let failed_before = std::mem::replace(&mut known.failed, fetched.is_err());
        match fetched {
            Ok(keys) => {
                let before = known.keys.as_ref().map(|(keys, _)| keys.len());
                if failed_before || before != Some(keys.len()) {
                    tracing::info!(of = self.whose, keys = keys.len(), "published keys were read");
                }
                known.keys = Some((Arc::new(keys), now));
            }
            // Once for as long as it lasts.
            Err(error) if !failed_before => {
                tracing::warn!(of = self.whose, %error, "published keys can't be read; what is known of them is used");
            }
            Err(error) => tracing::debug!(of = self.whose, %error, "published keys still can't be read"),
        }
    }
}
