//! Counting the open requests, at a rate that no scrape changes.

use crate::Metrics;
use handoff_store::{Registry, WebhookFilter, WebhookState};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{task::AbortHandle, time::MissedTickBehavior};

const EVERY: Duration = Duration::from_secs(15);

/// Counts until it is dropped.
pub struct OpenTasksWatch(Option<AbortHandle>);

impl Metrics {
    /// Counts the registry's open requests every 15 seconds, by one query of an index. Needs a Tokio runtime; does nothing when
    /// metrics are off.
    pub fn watch_open_tasks(&self, registry: Arc<dyn Registry>) -> OpenTasksWatch {
        if self.address().is_none() {
            return OpenTasksWatch(None);
        }
        let metrics = self.clone();
        let counting = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                match registry.open_tasks().await {
                    Ok(groups) => metrics.counted(&groups, SystemTime::now()),
                    // What was counted last stays, and its timestamp tells its age.
                    Err(error) => tracing::warn!(%error, "the open tasks were not counted"),
                }
                let pending = WebhookFilter { states: vec![WebhookState::Pending], ..WebhookFilter::default() };
                match registry.webhooks(&pending, 1).await {
                    Ok(webhooks) => {
                        let oldest = webhooks.first().map(|webhook| webhook.created_at);
                        metrics.oldest_pending_webhook(oldest, SystemTime::now());
                    }
                    Err(error) => tracing::warn!(%error, "the oldest webhook was not looked for"),
                }
            }
        });
        OpenTasksWatch(Some(counting.abort_handle()))
    }
}

impl Drop for OpenTasksWatch {
    fn drop(&mut self) {
        if let Some(counting) = &self.0 {
            counting.abort();
        }
    }
}
