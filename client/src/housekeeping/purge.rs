//! Purging requests that ended long ago, and deleting the tombstones that were left of others.

use super::{DESCRIBED_AT_ONCE, Housekeeper, PAGE, Page, RunSeen, micros_ago};
use crate::{Error, Handoff};
use futures::{StreamExt, stream};
use handoff_proto::{
    limits::WEBHOOK_HORIZON,
    v1::{HousekeepingCursor, HousekeepingSummary, TaskRef},
};
use handoff_store::{Candidate, RegistryError};
use std::{fmt, time::Duration};

/// What purging saw and did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PurgeReport {
    /// Nothing was written.
    pub dry_run: bool,
    /// Ended requests and tombstones that are old enough, the oldest first.
    pub requests: Vec<PurgedRequest>,
}

impl PurgeReport {
    /// How many requests ended thus.
    pub fn count(&self, action: &PurgeAction) -> usize {
        self.requests.iter().filter(|request| request.action == *action).count()
    }

    /// Some requests could not be looked at: the same call again may reach them.
    pub fn is_partial(&self) -> bool {
        self.requests.iter().any(|request| matches!(request.action, PurgeAction::Skipped { .. }))
    }
}

/// One request, and what was done about it.
#[derive(Clone, Debug, PartialEq)]
pub struct PurgedRequest {
    /// Which.
    pub task: TaskRef,
    /// When it was last changed, in microseconds since 1970.
    pub updated_at: i64,
    /// What was done, or would have been in a dry run.
    pub action: PurgeAction,
}

/// What was done about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PurgeAction {
    /// Only a tombstone is left.
    Purged,
    /// The tombstone is deleted, and the key free again.
    Forgotten,
    /// Nothing: its run is still open.
    Kept,
    /// It could not be looked at or written.
    Skipped {
        /// Why.
        reason: String,
    },
}

impl fmt::Display for PurgeAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Purged => "purged",
            Self::Forgotten => "forgotten",
            Self::Kept => "kept",
            Self::Skipped { reason } => return write!(f, "skipped: {reason}"),
        })
    }
}

impl Page<PurgedRequest> {
    /// The page in numbers.
    pub fn summary(&self) -> HousekeepingSummary {
        let mut summary = HousekeepingSummary::default();
        for request in &self.requests {
            match request.action {
                PurgeAction::Purged => summary.purged += 1,
                PurgeAction::Forgotten => summary.forgotten += 1,
                PurgeAction::Kept => summary.kept += 1,
                PurgeAction::Skipped { .. } => summary.errors += 1,
            }
        }
        summary
    }
}

impl Handoff {
    /// Purges every ended request that is older than `older_than` and past its TTL, and deletes tombstones that are older than
    /// `tombstones_older_than`. A request whose run is open is kept; so is everything within the horizon of webhooks.
    pub async fn purge(
        &self,
        dry_run: bool,
        older_than: Duration,
        tombstones_older_than: Duration,
    ) -> Result<PurgeReport, Error> {
        let housekeeper = self.housekeeper()?;
        let mut report = PurgeReport { dry_run, requests: Vec::new() };
        let mut after = None;
        loop {
            let page = housekeeper.purge_page(dry_run, older_than, after.as_ref(), PAGE).await?;
            report.requests.extend(page.requests);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        loop {
            let page = housekeeper.forget_page(dry_run, tombstones_older_than, after.as_ref(), PAGE).await?;
            report.requests.extend(page.requests);
            after = page.next;
            if after.is_none() {
                return Ok(report);
            }
        }
    }
}

impl Housekeeper {
    /// Purges up to `limit` ended requests, the oldest first, behind `after`.
    pub async fn purge_page(
        &self,
        dry_run: bool,
        older_than: Duration,
        after: Option<&HousekeepingCursor>,
        limit: u32,
    ) -> Result<Page<PurgedRequest>, Error> {
        let before = micros_ago(older_than.max(WEBHOOK_HORIZON));
        let page = self.registry.purgeable(before, after.map(candidate).as_ref(), limit).await?;
        if page.is_empty() {
            return Ok(Page { requests: vec![], next: None });
        }
        self.check_namespace().await?;
        let next = page.last().map(cursor);
        let purged = stream::iter(page).map(|candidate| self.purge_one(candidate, dry_run));
        Ok(Page { requests: purged.buffered(DESCRIBED_AT_ONCE).collect().await, next })
    }

    /// Deletes up to `limit` tombstones, the oldest first, behind `after`.
    pub async fn forget_page(
        &self,
        dry_run: bool,
        older_than: Duration,
        after: Option<&HousekeepingCursor>,
        limit: u32,
    ) -> Result<Page<PurgedRequest>, Error> {
        let page = self.registry.tombstones(micros_ago(older_than), after.map(candidate).as_ref(), limit).await?;
        let next = page.last().map(cursor);
        let mut requests = Vec::with_capacity(page.len());
        for Candidate { task, updated_at } in page {
            let forgotten = if dry_run { Ok(true) } else { self.registry.forget(&task).await };
            // Another round was faster: it is gone all the same.
            let action = forgotten.map_or_else(skipped, |_| PurgeAction::Forgotten);
            requests.push(PurgedRequest { task, updated_at, action });
        }
        Ok(Page { requests, next })
    }

    async fn purge_one(&self, candidate: Candidate, dry_run: bool) -> PurgedRequest {
        let Candidate { task, updated_at } = candidate;
        let action = match self.look_at_run(&task).await {
            Ok(RunSeen::Closed(_) | RunSeen::Missing) if dry_run => PurgeAction::Purged,
            Ok(RunSeen::Closed(_) | RunSeen::Missing) => match self.registry.purge(&task).await {
                Ok(true) => PurgeAction::Purged,
                Ok(false) => PurgeAction::Kept,
                Err(error) => skipped(error),
            },
            Ok(RunSeen::Open | RunSeen::Unknown) => PurgeAction::Kept,
            Err(error) => PurgeAction::Skipped { reason: error.to_string() },
        };
        tracing::debug!(task_id = task.task_id, %action, dry_run, "looked at for a purge");
        PurgedRequest { task, updated_at, action }
    }
}

fn skipped(error: RegistryError) -> PurgeAction {
    PurgeAction::Skipped { reason: error.to_string() }
}

fn cursor(candidate: &Candidate) -> HousekeepingCursor {
    HousekeepingCursor { updated_at: candidate.updated_at, task_id: candidate.task.task_id.clone() }
}

fn candidate(cursor: &HousekeepingCursor) -> Candidate {
    let task = TaskRef { task_id: cursor.task_id.clone(), ..TaskRef::default() };
    Candidate { task, updated_at: cursor.updated_at }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeRegistry, Say, fake_handoff, running, task};
    use tonic::Status;

    fn purgeable() -> FakeRegistry {
        let registry = FakeRegistry::default();
        *registry.purgeable.lock().unwrap() = vec![Candidate { task: task(), updated_at: 0 }];
        registry
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_request_whose_run_is_gone_is_purged() {
        let gone = |name: &str, _| match name {
            "DescribeNamespace" => Say::Message(vec![]),
            _ => Say::Error(Status::not_found("workflow not found")),
        };
        for (dry_run, written) in [(true, 0), (false, 1)] {
            let (handoff, registry, _) = fake_handoff(purgeable(), gone).await;
            let report = handoff.purge(dry_run, Duration::ZERO, Duration::ZERO).await.unwrap();
            assert_eq!(report.count(&PurgeAction::Purged), 1);
            assert_eq!(registry.purged.lock().unwrap().len(), written);
        }
        let open = |name: &str, _| match name {
            "DescribeNamespace" => Say::Message(vec![]),
            _ => running(),
        };
        let denied = |name: &str, _| match name {
            "DescribeNamespace" => Say::Message(vec![]),
            _ => Say::Error(Status::permission_denied("no")),
        };
        let wrong_namespace = |_: &str, _| Say::Error(Status::not_found("namespace not found"));
        let (handoff, registry, _) = fake_handoff(purgeable(), open).await;
        let report = handoff.purge(false, Duration::ZERO, Duration::ZERO).await.unwrap();
        assert_eq!(report.count(&PurgeAction::Kept), 1, "{report:?}");
        assert!(registry.purged.lock().unwrap().is_empty());
        let (handoff, registry, _) = fake_handoff(purgeable(), denied).await;
        assert!(handoff.purge(false, Duration::ZERO, Duration::ZERO).await.unwrap().is_partial());
        assert!(registry.purged.lock().unwrap().is_empty());
        let (handoff, registry, _) = fake_handoff(purgeable(), wrong_namespace).await;
        assert!(handoff.purge(false, Duration::ZERO, Duration::ZERO).await.is_err());
        assert!(registry.purged.lock().unwrap().is_empty());
    }
}
