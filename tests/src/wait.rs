//! Waiting: for a condition, with a limit; for many worlds, a few at a time.

use futures::{StreamExt, stream};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};

const LIMIT: Duration = Duration::from_secs(60);
// More worlds, each with processes of its own, would wait for each other on a small machine longer than a call waits.
const WORLDS_AT_ONCE: usize = 4;

/// Lives through all of these, a few at a time.
pub async fn few_at_once(worlds: impl IntoIterator<Item = impl Future<Output = ()>>) {
    // A world is too much for a stack.
    stream::iter(worlds.into_iter().map(Box::pin)).buffer_unordered(WORLDS_AT_ONCE).collect::<()>().await;
}

/// Asks until there is an answer; panics with `what` when there is none within a minute.
pub async fn eventually<T, F, Fut>(what: &str, ask: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    eventually_within(LIMIT, what, ask).await
}

/// Asks until there is an answer; panics with `what` when there is none within `limit`.
pub async fn eventually_within<T, F, Fut>(limit: Duration, what: &str, mut ask: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let give_up = Instant::now() + limit;
    let mut ticks = tokio::time::interval(Duration::from_millis(25));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < give_up, "after {limit:?} still not: {what}");
    }
}
