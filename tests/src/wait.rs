//! Waiting for a condition, with a limit.

use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};

const LIMIT: Duration = Duration::from_secs(60);

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
