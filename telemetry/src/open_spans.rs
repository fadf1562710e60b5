//! Spans that have not ended. A library's thread may hold a span for a moment longer than the work took that it is of: what
//! answers a query for SQLite enters the caller's span, answers, and leaves it only then.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};
use tracing::{Subscriber, span};
use tracing_subscriber::{Layer, layer::Context};

/// Counts them; belongs around the layer that exports, so that whoever is counted out was exported before.
#[derive(Clone, Debug, Default)]
pub(crate) struct OpenSpans(Arc<(Mutex<usize>, Condvar)>);

impl OpenSpans {
    /// Blocks until all have ended; false if some have not by then.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        let (count, changed) = &*self.0;
        let count = count.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = changed.wait_timeout_while(count, timeout, |count| *count > 0);
        *waited.unwrap_or_else(PoisonError::into_inner).0 == 0
    }

    fn change(&self, by: impl FnOnce(usize) -> usize) {
        let (count, changed) = &*self.0;
        let mut count = count.lock().unwrap_or_else(PoisonError::into_inner);
        *count = by(*count);
        changed.notify_all();
    }
}

impl<S: Subscriber> Layer<S> for OpenSpans {
    fn on_new_span(&self, _: &span::Attributes<'_>, _: &span::Id, _: Context<'_, S>) {
        self.change(|count| count + 1);
    }

    fn on_close(&self, _: span::Id, _: Context<'_, S>) {
        self.change(|count| count.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::mpsc, thread};
    use tracing_subscriber::layer::SubscriberExt;

    #[test]
    fn a_span_that_another_thread_holds_is_waited_for() {
        let open = OpenSpans::default();
        let subscriber = tracing_subscriber::registry().with(open.clone());
        assert!(open.wait(Duration::ZERO));
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::error_span!("resolve");
            let held = span.clone();
            let (release, released) = mpsc::channel::<()>();
            let holder = thread::spawn(move || {
                let _ = released.recv();
                drop(held);
            });
            drop(span);
            assert!(!open.wait(Duration::from_millis(1)));
            drop(release);
            assert!(open.wait(Duration::from_secs(60)));
            holder.join().unwrap();
        });
    }
}
