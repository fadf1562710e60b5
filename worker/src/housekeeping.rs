//! Housekeeping at work: the activities of the workflow `reconcile`, and the schedule that a worker keeps.

use handoff_client::{
    Error,
    housekeeping::{self, Housekeeper, HousekeepingSettings, PAGE, ScheduleChange, SweepAges},
};
use handoff_proto::{
    activities::{ForgetTombstones, PurgeRequests, ReconcileRequests, RedeliverWebhooks, SweepProposals},
    convert::to_duration,
    v1::{HousekeepingCursor, HousekeepingPage, HousekeepingPageResult, HousekeepingSummary, ProtoDuration},
};
use handoff_store::RegistryError;
use handoff_telemetry::Metrics;
use std::{sync::Arc, time::Duration};
use temporalio_client::Client;
use temporalio_common::error::ApplicationFailure;
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use tokio::time::Instant;

const SWEEP: &str = "sweep_proposals";
const DEFAULT_LIMIT: u32 = 1_000;
// An activity that takes longer hands over what is left.
const LONGEST: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The activities of housekeeping. Each takes some requests, and may run twice.
pub(crate) struct HousekeepingActivities {
    keeper: Housekeeper,
    metrics: Metrics,
}

impl HousekeepingActivities {
    pub(crate) fn new(keeper: Housekeeper, metrics: Metrics) -> Self {
        Self { keeper, metrics }
    }
}

// What each one does is said at its definition in handoff-proto.
#[activities]
impl HousekeepingActivities {
    #[activity(name = ReconcileRequests::NAME)]
    pub(crate) async fn reconcile_requests(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: HousekeepingPage,
    ) -> Result<HousekeepingPageResult, ActivityError> {
        self.pages(&ctx, input, Step::Reconcile).await
    }

    #[activity(name = RedeliverWebhooks::NAME)]
    pub(crate) async fn redeliver_webhooks(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: HousekeepingPage,
    ) -> Result<HousekeepingPageResult, ActivityError> {
        self.pages(&ctx, input, Step::Redeliver).await
    }

    #[activity(name = PurgeRequests::NAME)]
    pub(crate) async fn purge_requests(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: HousekeepingPage,
    ) -> Result<HousekeepingPageResult, ActivityError> {
        self.pages(&ctx, input, Step::Purge).await
    }

    #[activity(name = ForgetTombstones::NAME)]
    pub(crate) async fn forget_tombstones(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: HousekeepingPage,
    ) -> Result<HousekeepingPageResult, ActivityError> {
        self.pages(&ctx, input, Step::Forget).await
    }

    #[activity(name = SweepProposals::NAME)]
    pub(crate) async fn sweep_proposals(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: HousekeepingPage,
    ) -> Result<HousekeepingPageResult, ActivityError> {
        let age = |age: &Option<ProtoDuration>| {
            age.as_ref().map(to_duration).ok_or_else(|| failure("INPUT", "an age is missing".to_owned(), true))
        };
        let ages = SweepAges {
            drafts: age(&input.drafts_older_than)?,
            ended: age(&input.older_than)?,
            reserved: age(&input.reserved_older_than)?,
        };
        self.sweep(&ctx, ages).await
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Reconcile,
    Redeliver,
    Purge,
    Forget,
}

impl Step {
    fn as_str(self) -> &'static str {
        match self {
            Self::Reconcile => "reconcile",
            Self::Redeliver => "redeliver",
            Self::Purge => "purge",
            Self::Forget => "forget",
        }
    }
}

impl HousekeepingActivities {
    /// Page after page, until nothing is left, enough was taken, or time is up. The next attempt goes on where this one was.
    async fn pages(
        &self,
        ctx: &ActivityContext,
        input: HousekeepingPage,
        step: Step,
    ) -> Result<HousekeepingPageResult, ActivityError> {
        // Without an age everything would be old enough.
        let Some(age) = input.older_than.as_ref().map(to_duration) else {
            return Err(failure("INPUT", "the activity's input has no older_than".to_owned(), true));
        };
        let mut left = if input.limit == 0 { DEFAULT_LIMIT } else { input.limit };
        let told = ctx.heartbeat_details().deserialize::<HousekeepingPageResult>().ok().flatten();
        let mut done = told.unwrap_or(HousekeepingPageResult { summary: None, next: input.after });
        let mut summary = done.summary.take().unwrap_or_default();
        let begun = Instant::now();
        loop {
            let limit = left.min(PAGE);
            let page = self.page(step, age, done.next.as_ref(), limit);
            let page = with_heartbeats(ctx, &done, page).await;
            let (page, next) = page.map_err(|error| {
                self.metrics.housekeeping().round(step.as_str(), false);
                refused(&error)
            })?;
            self.count(&page);
            summary.add(&page);
            done = HousekeepingPageResult { summary: Some(summary.clone()), next };
            left -= limit;
            if done.next.is_none() || left == 0 || begun.elapsed() > LONGEST {
                self.metrics.housekeeping().round(step.as_str(), true);
                report(step.as_str(), &summary, begun.elapsed());
                return Ok(done);
            }
            if ctx.is_cancelled() {
                return Err(ActivityError::cancelled());
            }
        }
    }

    /// Until nothing is left. What was swept is gone, so that the next attempt needs not know where this one was.
    async fn sweep(&self, ctx: &ActivityContext, ages: SweepAges) -> Result<HousekeepingPageResult, ActivityError> {
        let mut done = HousekeepingPageResult { summary: Some(HousekeepingSummary::default()), next: None };
        let begun = Instant::now();
        loop {
            let page = with_heartbeats(ctx, &done, self.keeper.sweep_page(ages)).await;
            let (page, more) = page.map_err(|error| {
                self.metrics.housekeeping().round(SWEEP, false);
                refused(&error)
            })?;
            let summary = done.summary.get_or_insert_default();
            summary.add(&page);
            if ctx.is_cancelled() {
                return Err(ActivityError::cancelled());
            }
            if !more || begun.elapsed() > LONGEST {
                self.metrics.housekeeping().round(SWEEP, true);
                report(SWEEP, summary, begun.elapsed());
                return Ok(done);
            }
        }
    }

    // A page whose activity dies before this is done, and not counted.
    fn count(&self, page: &HousekeepingSummary) {
        let metrics = self.metrics.housekeeping();
        for (action, number) in [("settled", page.settled), ("discarded", page.discarded), ("voided", page.voided)] {
            if number > 0 {
                metrics.settled(action, number);
            }
        }
        if page.redelivered > 0 {
            metrics.redelivered(page.redelivered);
        }
        if page.purged > 0 {
            metrics.purged(page.purged);
        }
    }

    async fn page(
        &self,
        step: Step,
        age: Duration,
        after: Option<&HousekeepingCursor>,
        limit: u32,
    ) -> Result<(HousekeepingSummary, Option<HousekeepingCursor>), Error> {
        Ok(match step {
            Step::Reconcile => {
                let page = self.keeper.reconcile_page(false, age, after, limit).await?;
                (page.summary(), page.next)
            }
            Step::Redeliver => {
                let page = self.keeper.redelivery_page(false, age, after, limit).await?;
                (page.summary(), page.next)
            }
            Step::Purge => {
                let page = self.keeper.purge_page(false, age, after, limit).await?;
                (page.summary(), page.next)
            }
            Step::Forget => {
                let page = self.keeper.forget_page(false, age, after, limit).await?;
                (page.summary(), page.next)
            }
        })
    }
}

/// What one activity saw and did: the place for whoever counts.
fn report(step: &'static str, summary: &HousekeepingSummary, took: Duration) {
    let took_ms = took.as_millis();
    let oldest_left = summary.oldest_left.as_ref().and_then(handoff_proto::convert::rfc3339).unwrap_or_default();
    macro_rules! say {
        ($level:ident) => {
            tracing::$level!(
                step,
                took_ms,
                examined = summary.examined,
                settled = summary.settled,
                discarded = summary.discarded,
                voided = summary.voided,
                left = summary.left,
                changed = summary.changed,
                redelivered = summary.redelivered,
                purged = summary.purged,
                kept = summary.kept,
                forgotten = summary.forgotten,
                swept = summary.swept,
                released = summary.released,
                errors = summary.errors,
                oldest_left,
                "housekeeping"
            )
        };
    }
    if summary.errors > 0 {
        say!(warn);
    } else if summary.wrote() {
        say!(info);
    } else {
        say!(debug);
    }
}

/// Runs `work` while telling Temporal that this worker lives, and how far it is.
async fn with_heartbeats<T>(ctx: &ActivityContext, done: &HousekeepingPageResult, work: impl Future<Output = T>) -> T {
    let every = ctx.info().heartbeat_timeout.unwrap_or(Duration::from_secs(10)) / 4;
    let mut ticks = tokio::time::interval(every.max(Duration::from_millis(50)));
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            output = &mut work => return output,
            _ = ticks.tick() => {
                if let Err(error) = ctx.record_heartbeat(done.clone()).await {
                    tracing::warn!(%error, "a heartbeat could not be encoded");
                }
            }
        }
    }
}

/// What is down is waited for; what can't be read, no attempt can mend.
fn refused(error: &Error) -> ActivityError {
    let hopeless = matches!(error, Error::Registry(RegistryError::Corrupt(_) | RegistryError::Schema(_)));
    failure("HOUSEKEEPING", error.to_string(), hopeless)
}

fn failure(code: &'static str, message: String, hopeless: bool) -> ActivityError {
    let message: Box<dyn std::error::Error + Send + Sync> = message.into();
    ActivityError::application(
        ApplicationFailure::builder(message).type_name(code.to_owned()).non_retryable(hopeless).build(),
    )
}

/// Makes the schedule what the settings say, however long that takes. The worker's other work does not wait for it.
pub(crate) async fn keep_schedule(temporal: Client, task_queue: String, settings: HousekeepingSettings) {
    let mut pause = FIRST_PAUSE;
    loop {
        match housekeeping::apply_schedule(&temporal, &task_queue, &settings).await {
            Ok(ScheduleChange::Unchanged) => return,
            Ok(change) => {
                tracing::info!(task_queue, ?change, every = ?settings.every, "the schedule of housekeeping");
                return;
            }
            Err(error) => {
                tracing::warn!(task_queue, %error, "the schedule of housekeeping can't be kept; trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}
