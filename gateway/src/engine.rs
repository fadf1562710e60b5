//! The connection to Temporal, which may come and go: the front door opens without it.

use handoff_client::{Config, Handoff, temporal};
use handoff_proto::wire::AdcpError;
use handoff_store::Registry;
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const RETRY_AFTER: u32 = 10;

/// What starts runs.
pub(crate) struct Engine {
    handoff: OnceLock<Handoff>,
}

impl Engine {
    /// Connects in the background, for as long as it takes.
    pub(crate) fn connect(config: Config, registry: Arc<dyn Registry>) -> Arc<Self> {
        let engine = Arc::new(Self { handoff: OnceLock::new() });
        let connecting = Arc::downgrade(&engine);
        tokio::spawn(async move {
            let mut pause = FIRST_PAUSE;
            loop {
                let connected = temporal::connect(&config).await;
                let Some(engine) = connecting.upgrade() else { return };
                match connected {
                    Ok(client) => {
                        let _ = engine.handoff.set(Handoff::from_parts(client, registry, config));
                        return;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "not connected to Temporal yet: new work is refused, polls are answered")
                    }
                }
                drop(engine);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        });
        engine
    }

    /// The client, once it is connected.
    pub(crate) fn handoff(&self) -> Result<&Handoff, AdcpError> {
        self.handoff.get().ok_or_else(|| {
            AdcpError::transient("SERVICE_UNAVAILABLE", "The seller can't take new work at the moment.")
                .suggestion("Send the same request again, with the same idempotency_key if it has one.")
                .retry_after(RETRY_AFTER)
        })
    }

    /// Does Temporal answer, and do workers poll?
    pub(crate) async fn look(&self, patience: Duration) -> (bool, bool) {
        let Some(handoff) = self.handoff.get() else { return (false, false) };
        match tokio::time::timeout(patience, handoff.has_workers()).await {
            Ok(Ok(workers)) => (true, workers),
            _ => (false, false),
        }
    }
}
