//! How many new idempotency keys an agent may bring for an account: each is a row that stays for as long as it is replayed.

use handoff_proto::{v1::TaskRef, wire::AdcpError};
use std::{
    collections::HashMap,
    fmt,
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

// Those whose debts are paid are forgotten when there are this many.
const MANY: usize = 10_000;

/// A limit on the new idempotency keys of one agent for one account, in this process.
///
/// Only a key that was not there is counted, and only once it is: who asks for a recorded answer owes nothing. What was claimed
/// at once and in too great a number is a debt, and until it is paid the agent's keyed requests are refused.
pub struct NewKeysLimit {
    interval: Duration,
    tolerance: Duration,
    /// When the debt of each (scope, principal) is paid.
    paid: Mutex<HashMap<(String, String), Instant>>,
}

impl NewKeysLimit {
    /// In the long run, and at once after a pause.
    pub fn new(per_second: NonZeroU32, burst: NonZeroU32) -> Self {
        let interval = Duration::from_secs(1) / per_second.get();
        Self { interval, tolerance: interval * burst.get(), paid: Mutex::default() }
    }

    /// Refuses an agent that brought too many.
    pub(super) fn admit(&self, task: &TaskRef) -> Result<(), AdcpError> {
        let now = Instant::now();
        let paid = self.lock().get(&whose(task)).copied().unwrap_or(now);
        let debt = paid.saturating_duration_since(now);
        if debt < self.tolerance {
            return Ok(());
        }
        let wait = (debt - self.tolerance).as_secs().saturating_add(1);
        Err(AdcpError::transient("RATE_LIMITED", "Too many requests with a new idempotency_key.")
            .retry_after(u32::try_from(wait).unwrap_or(u32::MAX)))
    }

    /// Counts a key that was not there.
    pub(super) fn count(&self, task: &TaskRef) {
        let now = Instant::now();
        let mut debts = self.lock();
        if debts.len() >= MANY {
            debts.retain(|_, paid| *paid > now);
        }
        let paid = debts.entry(whose(task)).or_insert(now);
        *paid = (*paid).max(now) + self.interval;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(String, String), Instant>> {
        self.paid.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for NewKeysLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewKeysLimit")
            .field("interval", &self.interval)
            .field("tolerance", &self.tolerance)
            .finish_non_exhaustive()
    }
}

fn whose(task: &TaskRef) -> (String, String) {
    (task.scope.clone(), task.principal.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(scope: &str) -> TaskRef {
        TaskRef { scope: scope.into(), principal: "agent".into(), ..TaskRef::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn new_keys_are_a_debt_that_time_pays() {
        let limit = NewKeysLimit::new(NonZeroU32::new(10).unwrap(), NonZeroU32::new(3).unwrap());
        let (one, other) = (task("one"), task("other"));
        for _ in 0..3 {
            limit.admit(&one).unwrap();
            limit.count(&one);
        }
        let refused = limit.admit(&one).unwrap_err();
        assert_eq!((refused.code.as_str(), refused.retry_after), ("RATE_LIMITED", Some(1)));
        limit.admit(&other).unwrap();
        tokio::time::advance(Duration::from_millis(101)).await;
        limit.admit(&one).unwrap();
        // A flood that was let in all at once is paid for before anything else is.
        for _ in 0..100 {
            limit.count(&one);
        }
        assert!(limit.admit(&one).unwrap_err().retry_after.is_some_and(|seconds| seconds >= 9));
        tokio::time::advance(Duration::from_secs(10)).await;
        limit.admit(&one).unwrap();
    }
}
