//! Ending requests whose run is gone: terminated, timed out, or lost with Temporal's data.

use super::{DESCRIBED_AT_ONCE, Housekeeper, PAGE, Page, ReconciledWebhook, RedeliverAction, RunSeen, micros_ago};
use crate::{Error, Handoff};
use chrono::DateTime;
use futures::{StreamExt, stream};
use handoff_proto::{
    convert::to_timestamp,
    errors,
    v1::{HousekeepingCursor, HousekeepingSummary, TaskRef},
};
use handoff_store::{Observation, ObservedStage, Reconciled};
use std::{fmt, time::Duration};

/// What reconciling saw and did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReconcileReport {
    /// Nothing was written.
    pub dry_run: bool,
    /// Every unfinished request that is old enough, by task id.
    pub requests: Vec<ReconciledRequest>,
    /// Every pending webhook that is old enough, the oldest first.
    pub webhooks: Vec<ReconciledWebhook>,
}

impl ReconcileReport {
    /// How many requests ended thus.
    pub fn count(&self, action: &ReconcileAction) -> usize {
        self.requests.iter().filter(|request| request.action == *action).count()
    }

    /// Something could not be looked at: the same call again may reach it.
    pub fn is_partial(&self) -> bool {
        self.requests.iter().any(|request| matches!(request.action, ReconcileAction::Skipped { .. }))
            || self.webhooks.iter().any(|webhook| matches!(webhook.action, RedeliverAction::Skipped { .. }))
    }
}

/// One request, as it was seen, and what was done about it.
#[derive(Clone, Debug, PartialEq)]
pub struct ReconciledRequest {
    /// Which.
    pub task: TaskRef,
    /// How far it was in the registry.
    pub stage: ObservedStage,
    /// When it was last changed, in microseconds since 1970.
    pub updated_at: i64,
    /// What Temporal had.
    pub run: RunSeen,
    /// What was done, or would have been in a dry run.
    pub action: ReconcileAction,
}

/// What was done about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReconcileAction {
    /// Nothing: its run is at work, or the buyer's retry starts it.
    Left,
    /// The task was settled as failed.
    Settled,
    /// The task that nobody was told about was taken back, and its key released.
    Discarded,
    /// The key answers "outcome unknown" until its TTL.
    Voided,
    /// It has moved on meanwhile.
    Changed,
    /// It could not be looked at or written.
    Skipped {
        /// Why.
        reason: String,
    },
}

impl fmt::Display for ReconcileAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Left => "left",
            Self::Settled => "settled",
            Self::Discarded => "discarded",
            Self::Voided => "voided",
            Self::Changed => "changed",
            Self::Skipped { reason } => return write!(f, "skipped: {reason}"),
        })
    }
}

impl Page<ReconciledRequest> {
    /// The page in numbers.
    pub fn summary(&self) -> HousekeepingSummary {
        let mut summary = HousekeepingSummary { examined: self.requests.len() as u64, ..Default::default() };
        for request in &self.requests {
            match request.action {
                ReconcileAction::Left => summary.left += 1,
                ReconcileAction::Settled => summary.settled += 1,
                ReconcileAction::Discarded => summary.discarded += 1,
                ReconcileAction::Voided => summary.voided += 1,
                ReconcileAction::Changed => summary.changed += 1,
                ReconcileAction::Skipped { .. } => summary.errors += 1,
            }
        }
        let left = self.requests.iter().filter(|request| request.action == ReconcileAction::Left);
        let oldest = left.map(|request| request.updated_at).min();
        summary.oldest_left = oldest.and_then(DateTime::from_timestamp_micros).map(to_timestamp);
        summary
    }
}

impl Handoff {
    /// Looks at every unfinished request that has not changed for `min_age`, and ends those whose run is gone. A claim whose run
    /// never started is left alone: the buyer's retry starts it with the same ids. Then at every pending webhook whose task ended
    /// so long ago, and starts a redelivery of those whose run is gone.
    pub async fn reconcile(&self, dry_run: bool, min_age: Duration) -> Result<ReconcileReport, Error> {
        let housekeeper = self.housekeeper()?;
        let mut report = ReconcileReport { dry_run, ..ReconcileReport::default() };
        let mut after = None;
        loop {
            let page = housekeeper.reconcile_page(dry_run, min_age, after.as_ref(), PAGE).await?;
            report.requests.extend(page.requests);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        loop {
            let page = housekeeper.redelivery_page(dry_run, min_age, after.as_ref(), PAGE).await?;
            report.webhooks.extend(page.requests);
            after = page.next;
            if after.is_none() {
                return Ok(report);
            }
        }
    }
}

impl Housekeeper {
    /// Looks at up to `limit` unfinished requests, by task id, behind `after`.
    pub async fn reconcile_page(
        &self,
        dry_run: bool,
        min_age: Duration,
        after: Option<&HousekeepingCursor>,
        limit: u32,
    ) -> Result<Page<ReconciledRequest>, Error> {
        self.check_namespace().await?;
        let after = after.map(|after| after.task_id.as_str());
        let page = self.registry.unfinished(micros_ago(min_age), after, limit).await?;
        let next = page.last().map(|last| HousekeepingCursor { updated_at: 0, task_id: last.task.task_id.clone() });
        let looks = stream::iter(page).map(|observed| self.reconcile_one(observed, dry_run));
        Ok(Page { requests: looks.buffered(DESCRIBED_AT_ONCE).collect().await, next })
    }

    async fn reconcile_one(&self, observed: Observation, dry_run: bool) -> ReconciledRequest {
        let looked = match observed.stage {
            // No run is, or was, part of it.
            ObservedStage::Leased | ObservedStage::Lapsed => Ok(RunSeen::Missing),
            _ => self.look_at_run(&observed.task).await,
        };
        let (run, mut action) = match looked {
            Ok(run) => {
                let action = plan(observed.stage, &run);
                (run, action)
            }
            Err(error) => (RunSeen::Unknown, ReconcileAction::Skipped { reason: error.to_string() }),
        };
        if !dry_run && !matches!(action, ReconcileAction::Left | ReconcileAction::Skipped { .. }) {
            action = match self.registry.reconcile(&observed, &errors::run_lost().into()).await {
                Ok(Reconciled::Changed) => ReconcileAction::Changed,
                Ok(Reconciled::Settled) => ReconcileAction::Settled,
                Ok(Reconciled::Discarded) => ReconcileAction::Discarded,
                Ok(Reconciled::Voided) => ReconcileAction::Voided,
                Err(error) => ReconcileAction::Skipped { reason: error.to_string() },
            };
            tracing::info!(task_id = observed.task.task_id, %run, %action, "reconciled");
        }
        ReconciledRequest { task: observed.task, stage: observed.stage, updated_at: observed.updated_at, run, action }
    }
}

// What the registry will do if the row is unchanged.
fn plan(stage: ObservedStage, run: &RunSeen) -> ReconcileAction {
    match (run, stage) {
        (_, ObservedStage::Leased) => ReconcileAction::Left,
        (_, ObservedStage::Lapsed) => ReconcileAction::Voided,
        (RunSeen::Open | RunSeen::Unknown, _) | (RunSeen::Missing, ObservedStage::Claimed) => ReconcileAction::Left,
        (RunSeen::Closed(_) | RunSeen::Missing, ObservedStage::Submitted) => ReconcileAction::Settled,
        (RunSeen::Closed(_) | RunSeen::Missing, ObservedStage::Pending) => ReconcileAction::Discarded,
        (RunSeen::Closed(_), ObservedStage::Claimed) => ReconcileAction::Voided,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::seen, *};
    use crate::testing::{Say, fake_handoff};
    use temporalio_client::WorkflowExecutionStatus;
    use tonic::Status;

    #[test]
    fn only_what_has_lost_its_run_is_ended() {
        use ObservedStage::{Claimed, Lapsed, Leased, Pending, Submitted};
        let closed = RunSeen::Closed("terminated");
        for (stage, run, action) in [
            (Claimed, RunSeen::Open, ReconcileAction::Left),
            (Submitted, RunSeen::Open, ReconcileAction::Left),
            (Submitted, RunSeen::Unknown, ReconcileAction::Left),
            (Claimed, RunSeen::Missing, ReconcileAction::Left),
            (Leased, RunSeen::Missing, ReconcileAction::Left),
            (Lapsed, RunSeen::Missing, ReconcileAction::Voided),
            (Claimed, closed.clone(), ReconcileAction::Voided),
            (Pending, RunSeen::Missing, ReconcileAction::Discarded),
            (Pending, closed.clone(), ReconcileAction::Discarded),
            (Submitted, RunSeen::Missing, ReconcileAction::Settled),
            (Submitted, closed, ReconcileAction::Settled),
        ] {
            assert_eq!(plan(stage, &run), action, "{stage:?} {run}");
        }
        assert_eq!(seen(WorkflowExecutionStatus::Unknown), RunSeen::Open);
        assert_eq!(seen(WorkflowExecutionStatus::Paused), RunSeen::Open);
    }

    fn unfinished(stage: ObservedStage) -> crate::testing::FakeRegistry {
        let registry = crate::testing::FakeRegistry::default();
        let observed = Observation { task: crate::testing::task(), stage, version: 1, updated_at: 0 };
        *registry.unfinished.lock().unwrap() = vec![observed];
        registry
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_task_is_ended_unless_it_is_a_dry_run() {
        let lost = |name: &str, _| match name {
            "DescribeNamespace" => Say::Message(vec![]),
            _ => Say::Error(Status::not_found("workflow not found")),
        };
        for (dry_run, written) in [(true, 0), (false, 1)] {
            let (handoff, registry, _) = fake_handoff(unfinished(ObservedStage::Submitted), lost).await;
            let report = handoff.reconcile(dry_run, Duration::ZERO).await.unwrap();
            assert_eq!(report.count(&ReconcileAction::Settled), 1);
            assert_eq!(registry.reconciled.lock().unwrap().len(), written);
        }
        let (handoff, registry, _) = fake_handoff(unfinished(ObservedStage::Claimed), lost).await;
        assert_eq!(handoff.reconcile(false, Duration::ZERO).await.unwrap().count(&ReconcileAction::Left), 1);
        assert!(registry.reconciled.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_temporal_that_cannot_say_ends_nothing() {
        let denied = |name: &str, _| match name {
            "DescribeNamespace" => Say::Message(vec![]),
            _ => Say::Error(Status::permission_denied("no")),
        };
        let (handoff, registry, _) = fake_handoff(unfinished(ObservedStage::Submitted), denied).await;
        assert!(handoff.reconcile(false, Duration::ZERO).await.unwrap().is_partial());
        assert!(registry.reconciled.lock().unwrap().is_empty());
        let wrong_namespace = |_: &str, _| Say::Error(Status::not_found("namespace not found"));
        let (handoff, registry, _) = fake_handoff(unfinished(ObservedStage::Submitted), wrong_namespace).await;
        assert!(handoff.reconcile(false, Duration::ZERO).await.is_err());
        assert!(registry.reconciled.lock().unwrap().is_empty());
    }
}
