//! Telling webhooks whose run is gone: terminated, timed out, or lost with Temporal's data.

use super::{DESCRIBED_AT_ONCE, Housekeeper, Page, RunSeen, micros_ago};
use crate::{Error, redeliver};
use futures::{StreamExt, stream};
use handoff_proto::{
    v1::{HousekeepingCursor, HousekeepingSummary, TaskRef},
    workflows::redelivery_workflow_id,
};
use handoff_store::{WebhookFilter, WebhookRecord, WebhookState};
use std::{fmt, time::Duration};

/// A pending webhook, as it was seen, and what was done about it.
#[derive(Clone, Debug, PartialEq)]
pub struct ReconciledWebhook {
    /// Whose.
    pub task: TaskRef,
    /// When its task ended, in microseconds since 1970.
    pub created_at: i64,
    /// What Temporal had of the task's run.
    pub run: RunSeen,
    /// What was done, or would have been in a dry run.
    pub action: RedeliverAction,
}

/// What was done about a pending webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedeliverAction {
    /// Nothing: a run tells it.
    Left,
    /// A redelivery was started.
    Redelivered,
    /// It was past its horizon, and is recorded as expired.
    Expired,
    /// It has come to an end meanwhile.
    Changed,
    /// It could not be looked at or told.
    Skipped {
        /// Why.
        reason: String,
    },
}

impl fmt::Display for RedeliverAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Left => "left",
            Self::Redelivered => "redelivered",
            Self::Expired => "expired",
            Self::Changed => "changed",
            Self::Skipped { reason } => return write!(f, "skipped: {reason}"),
        })
    }
}

impl Page<ReconciledWebhook> {
    /// The page in numbers: what the others, which are about requests, do not count.
    pub fn summary(&self) -> HousekeepingSummary {
        let count = |wanted: fn(&RedeliverAction) -> bool| {
            self.requests.iter().filter(|webhook| wanted(&webhook.action)).count() as u64
        };
        HousekeepingSummary {
            redelivered: count(|action| *action == RedeliverAction::Redelivered),
            errors: count(|action| matches!(action, RedeliverAction::Skipped { .. })),
            ..HousekeepingSummary::default()
        }
    }
}

impl Housekeeper {
    /// Looks at up to `limit` pending webhooks of tasks that ended `min_age` ago or earlier, the oldest first, behind `after`.
    pub async fn redelivery_page(
        &self,
        dry_run: bool,
        min_age: Duration,
        after: Option<&HousekeepingCursor>,
        limit: u32,
    ) -> Result<Page<ReconciledWebhook>, Error> {
        let filter = WebhookFilter {
            states: vec![WebhookState::Pending],
            created_before: Some(micros_ago(min_age)),
            after: after.map(|after| (after.updated_at, after.task_id.clone())),
            ..WebhookFilter::default()
        };
        let page = self.registry.webhooks(&filter, limit).await?;
        let Some(last) = page.last() else { return Ok(Page { requests: vec![], next: None }) };
        let next = HousekeepingCursor { updated_at: last.created_at, task_id: last.task.task_id.clone() };
        self.check_namespace().await?;
        let looks = stream::iter(page).map(|webhook| self.redeliver_one(webhook, dry_run));
        Ok(Page { requests: looks.buffered(DESCRIBED_AT_ONCE).collect().await, next: Some(next) })
    }

    async fn redeliver_one(&self, webhook: WebhookRecord, dry_run: bool) -> ReconciledWebhook {
        let (run, action) = match self.look_at_run(&webhook.task).await {
            Ok(run @ (RunSeen::Open | RunSeen::Unknown)) => (run, RedeliverAction::Left),
            Ok(run) => (run, self.tell_anew(&webhook, dry_run).await.unwrap_or_else(skipped)),
            Err(error) => (RunSeen::Unknown, skipped(error)),
        };
        if !dry_run && action != RedeliverAction::Left {
            tracing::info!(task_id = webhook.task.task_id, %run, %action, "a webhook without a run");
        }
        ReconciledWebhook { task: webhook.task, created_at: webhook.created_at, run, action }
    }

    async fn tell_anew(&self, webhook: &WebhookRecord, dry_run: bool) -> Result<RedeliverAction, Error> {
        let task = &webhook.task;
        if self.look_at(redelivery_workflow_id(&task.task_id)).await? == RunSeen::Open {
            return Ok(RedeliverAction::Left);
        }
        // A run that closed a moment ago may have told it as its last act.
        let now = self.registry.webhook_log(&task.task_id).await?;
        if now.is_none_or(|(now, _)| now.state != WebhookState::Pending) {
            return Ok(RedeliverAction::Changed);
        }
        if webhook.expires_at <= micros_ago(Duration::ZERO) {
            if !dry_run {
                let key = &webhook.idempotency_key;
                self.registry.record_webhook(task, key, None, WebhookState::Expired).await?;
            }
            return Ok(RedeliverAction::Expired);
        }
        if !dry_run {
            redeliver::start(&self.temporal, &self.task_queue, self.webhook_horizon, task.clone()).await?;
        }
        Ok(RedeliverAction::Redelivered)
    }
}

fn skipped(error: Error) -> RedeliverAction {
    RedeliverAction::Skipped { reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeRegistry, Say, count, fake_handoff, running, task};
    use prost::Message;
    use temporalio_common::protos::temporal::api::workflowservice::v1::StartWorkflowExecutionResponse;
    use tonic::Status;

    fn owing(expires_at: i64, now: WebhookState) -> FakeRegistry {
        let webhook = WebhookRecord {
            task: task(),
            state: WebhookState::Pending,
            idempotency_key: "whk".into(),
            attempts: 1,
            created_at: 0,
            expires_at,
            updated_at: 0,
        };
        let registry = FakeRegistry::default();
        *registry.webhook.lock().unwrap() = Some((webhook, now));
        registry
    }

    type Saying = fn() -> Say;

    // What Temporal says of the verb's run and then of the redelivery's.
    fn saying(verb: Saying, redelivery: Saying) -> impl Fn(&str, usize) -> Say + Send + Sync + 'static {
        move |name, number| match (name, number) {
            ("DescribeNamespace", _) => Say::Message(vec![]),
            ("DescribeWorkflowExecution", 0) => verb(),
            ("DescribeWorkflowExecution", _) => redelivery(),
            _ => {
                let started = StartWorkflowExecutionResponse { run_id: "run".into(), ..Default::default() };
                Say::Message(started.encode_to_vec())
            }
        }
    }

    fn gone() -> Say {
        Say::Error(Status::not_found("workflow not found"))
    }

    fn denied() -> Say {
        Say::Error(Status::permission_denied("no"))
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_pending_webhook_that_no_run_tells_is_told() {
        use WebhookState::{Delivered, Pending};
        let cases: [(Saying, Saying, WebhookState, RedeliverAction); 4] = [
            (gone, gone, Pending, RedeliverAction::Redelivered),
            (running, gone, Pending, RedeliverAction::Left),
            (gone, running, Pending, RedeliverAction::Left),
            (gone, gone, Delivered, RedeliverAction::Changed),
        ];
        for (verb, redelivery, now, action) in cases {
            for dry_run in [true, false] {
                let (handoff, registry, calls) = fake_handoff(owing(i64::MAX, now), saying(verb, redelivery)).await;
                let report = handoff.reconcile(dry_run, Duration::ZERO).await.unwrap();
                assert_eq!(report.webhooks[0].action, action);
                let started = usize::from(!dry_run && action == RedeliverAction::Redelivered);
                assert_eq!(count(&calls, "StartWorkflowExecution"), started, "{action} {dry_run}");
                assert!(registry.webhooks_recorded.lock().unwrap().is_empty());
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn past_its_horizon_it_is_given_up() {
        for (dry_run, recorded) in [(true, vec![]), (false, vec![WebhookState::Expired])] {
            let (handoff, registry, calls) = fake_handoff(owing(1, WebhookState::Pending), saying(gone, gone)).await;
            let report = handoff.reconcile(dry_run, Duration::ZERO).await.unwrap();
            assert_eq!(report.webhooks[0].action, RedeliverAction::Expired);
            assert_eq!(
                (count(&calls, "StartWorkflowExecution"), registry.webhooks_recorded.lock().unwrap().clone()),
                (0, recorded)
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_temporal_that_cannot_say_starts_nothing() {
        for (verb, redelivery) in [(denied as Saying, gone as Saying), (gone, denied)] {
            let (handoff, _, calls) =
                fake_handoff(owing(i64::MAX, WebhookState::Pending), saying(verb, redelivery)).await;
            let report = handoff.reconcile(false, Duration::ZERO).await.unwrap();
            assert!(report.is_partial(), "{report:?}");
            assert_eq!(count(&calls, "StartWorkflowExecution"), 0);
        }
        let wrong_namespace = |_: &str, _| Say::Error(Status::not_found("namespace not found"));
        let (handoff, _, calls) = fake_handoff(owing(i64::MAX, WebhookState::Pending), wrong_namespace).await;
        assert!(handoff.reconcile(false, Duration::ZERO).await.is_err());
        assert_eq!(count(&calls, "StartWorkflowExecution"), 0);
    }
}
