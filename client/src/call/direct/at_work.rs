//! Counting the handlers that are at work.

use std::sync::Arc;
use tokio::sync::watch;

/// How many handlers with an idempotency key are at work in this process.
#[derive(Clone, Debug)]
pub(crate) struct AtWork(Arc<watch::Sender<usize>>);

/// One of them; until it is dropped.
pub(crate) struct Working(Arc<watch::Sender<usize>>);

impl AtWork {
    pub(super) fn begin(&self) -> Working {
        self.0.send_modify(|count| *count += 1);
        Working(self.0.clone())
    }

    pub(super) async fn done(&self) {
        // The sender is here: it can't be gone.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

impl Default for AtWork {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
