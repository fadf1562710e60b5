//! Sweeping the ledger of proposals.

use super::{Housekeeper, PAGE, micros_ago};
use crate::{Error, Handoff};
use handoff_proto::v1::HousekeepingSummary;
use handoff_store::{Registry, SweepBounds, Swept};
use std::time::Duration;

/// How old is old enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SweepAges {
    /// Of drafts, since they were last written.
    pub drafts: Duration,
    /// Of proposals that have expired, were declined, or are committed without an end.
    pub ended: Duration,
    /// Of reservations whose task has ended or is gone.
    pub reserved: Duration,
}

impl SweepAges {
    fn bounds(self) -> SweepBounds {
        let ended = micros_ago(self.ended);
        SweepBounds {
            drafts_before: micros_ago(self.drafts),
            expired_before: ended,
            idle_before: ended,
            reserved_before: micros_ago(self.reserved),
        }
    }
}

/// Deletes every proposal that nobody will buy, and releases reservations whose task has ended or is gone.
pub(crate) async fn sweep(registry: &dyn Registry, ages: SweepAges) -> Result<Swept, Error> {
    let mut total = Swept::default();
    loop {
        let (page, more) = sweep_page(registry, ages).await?;
        total.drafts += page.drafts;
        total.expired += page.expired;
        total.idle += page.idle;
        total.released.extend(page.released);
        if !more {
            return Ok(total);
        }
    }
}

impl Handoff {
    /// Deletes every proposal that nobody will buy, and releases reservations whose task has ended or is gone.
    pub async fn sweep_proposals(&self, ages: SweepAges) -> Result<Swept, Error> {
        sweep(&**self.registry(), ages).await
    }
}

impl Housekeeper {
    /// Some of each kind. `true`: there may be more.
    pub async fn sweep_page(&self, ages: SweepAges) -> Result<(HousekeepingSummary, bool), Error> {
        let (page, more) = sweep_page(&*self.registry, ages).await?;
        for task_id in &page.released {
            tracing::info!(task_id, "the proposal of a task that has ended or is gone was released");
        }
        let released = u64::try_from(page.released.len()).unwrap_or(u64::MAX);
        let swept = page.drafts + page.expired + page.idle;
        Ok((HousekeepingSummary { swept, released, ..Default::default() }, more))
    }
}

async fn sweep_page(registry: &dyn Registry, ages: SweepAges) -> Result<(Swept, bool), Error> {
    let page = registry.sweep_proposals(&ages.bounds(), PAGE).await?;
    let released = u64::try_from(page.released.len()).unwrap_or(u64::MAX);
    let more = [page.drafts, page.expired, page.idle, released].contains(&u64::from(PAGE));
    Ok((page, more))
}
