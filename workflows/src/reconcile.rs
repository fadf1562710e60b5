//! A housekeeping round: ends requests whose run is gone, has webhooks told whose run is gone, purges what has ended long ago,
//! deletes old tombstones, and sweeps proposals.
//!
//! Pages are activities that are tried until they succeed: a registry or a Temporal that is down makes a round wait. What
//! can't succeed is given up, named in the result, and does not hold the steps after it.

use handoff_proto::{
    activities::{ForgetTombstones, PurgeRequests, ReconcileRequests, RedeliverWebhooks, SweepProposals},
    payload,
    v1::{
        HousekeepingInput, HousekeepingPage, HousekeepingPageResult, HousekeepingProgress, HousekeepingSummary,
        housekeeping_progress::Step,
    },
};
use std::time::Duration;
use temporalio_workflow::{
    ActivityExecutionError, ActivityOptions, ContinueAsNewOptions, RetryPolicy, WorkflowContext, WorkflowResult,
    WorkflowTermination,
    common::{ActivityDefinition, data_converters::RawValue, error::ApplicationFailure},
    workflow, workflow_methods,
};

// A page is a thousand requests, each asked for at Temporal.
const PAGE_TIMEOUT: Duration = Duration::from_secs(1800);
// A worker that died is noticed after this long.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(10);
// Some six events each: a history stays far below what Temporal warns of.
const PAGES_A_RUN: u32 = 50;
// Rounds that began before webhooks were looked at end without.
const REDELIVERS: &str = "redeliver_webhooks";

/// A run of the workflow `reconcile`.
#[workflow]
#[derive(Default)]
pub struct Reconcile;

#[workflow_methods]
impl Reconcile {
    /// Lives a round. The input is raw, because one that can't be decoded would fail the workflow task for ever.
    #[run(name = handoff_proto::workflows::RECONCILE)]
    pub async fn run(ctx: &mut WorkflowContext<Self>, input: RawValue) -> WorkflowResult<HousekeepingSummary> {
        let mut input = read(&input).map_err(|reason| failed("X_HANDOFF_INPUT_INVALID", reason))?;
        let mut progress = input.progress.take().unwrap_or_default();
        let mut summary = progress.summary.take().unwrap_or_default();
        let mut pages = 0;
        loop {
            if pages >= PAGES_A_RUN || (pages > 0 && ctx.continue_as_new_suggested()) {
                let progress = HousekeepingProgress { summary: Some(summary), ..progress };
                let next = HousekeepingInput { progress: Some(progress), ..input };
                ctx.continue_as_new(write(&next)?, ContinueAsNewOptions::default())?;
                unreachable!("a run that continues as new has ended");
            }
            pages += 1;
            match page(ctx, &input, &progress).await {
                Ok(result) => {
                    summary.add(&result.summary.unwrap_or_default());
                    progress.cursor = result.next;
                }
                Err(ActivityExecutionError::Cancelled(_)) => return Err(WorkflowTermination::cancelled()),
                Err(error) => {
                    let why = error.reason().map_or_else(|| error.to_string(), ToString::to_string);
                    summary.problems.push(format!("{}: {why}", progress.step().as_str_name().to_lowercase()));
                    progress.cursor = None;
                }
            }
            if progress.cursor.is_none() {
                match after(ctx, progress.step(), &input) {
                    Some(step) => progress.set_step(step),
                    None => return Ok(summary),
                }
            }
        }
    }
}

type Ctx = WorkflowContext<Reconcile>;

// A round that an earlier build started knows nothing of proposals.
fn after(ctx: &Ctx, step: Step, input: &HousekeepingInput) -> Option<Step> {
    match step {
        Step::Reconcile if ctx.patched(REDELIVERS) => Some(Step::Redeliver),
        Step::Reconcile | Step::Redeliver => Some(Step::Purge),
        Step::Purge => Some(Step::Forget),
        Step::Forget => input.proposal_retention.map(|_| Step::SweepProposals),
        Step::SweepProposals => None,
    }
}

async fn page(
    ctx: &Ctx,
    input: &HousekeepingInput,
    progress: &HousekeepingProgress,
) -> Result<HousekeepingPageResult, ActivityExecutionError> {
    let page = |older_than: &Option<handoff_proto::v1::ProtoDuration>| HousekeepingPage {
        older_than: *older_than,
        after: progress.cursor.clone(),
        limit: input.page_size,
        ..Default::default()
    };
    match progress.step() {
        Step::Reconcile => call(ctx, ReconcileRequests, page(&input.reconcile_after)).await,
        Step::Redeliver => call(ctx, RedeliverWebhooks, page(&input.reconcile_after)).await,
        Step::Purge => call(ctx, PurgeRequests, page(&input.retention)).await,
        Step::Forget => call(ctx, ForgetTombstones, page(&input.tombstone_retention)).await,
        Step::SweepProposals => {
            let sweep = HousekeepingPage {
                drafts_older_than: input.draft_retention,
                reserved_older_than: input.reconcile_after,
                ..page(&input.proposal_retention)
            };
            call(ctx, SweepProposals, sweep).await
        }
    }
}

async fn call<A>(
    ctx: &Ctx,
    activity: A,
    page: HousekeepingPage,
) -> Result<HousekeepingPageResult, ActivityExecutionError>
where
    A: ActivityDefinition<Input = HousekeepingPage, Output = HousekeepingPageResult>,
{
    let retry = RetryPolicy::builder()
        .initial_interval(Duration::from_secs(1))
        .backoff_coefficient(2.0)
        .maximum_interval(Duration::from_secs(60))
        .build();
    let options = ActivityOptions::with_start_to_close_timeout(PAGE_TIMEOUT)
        .heartbeat_timeout(HEARTBEAT_TIMEOUT)
        .retry_policy(retry)
        .build();
    ctx.execute_activity(activity, page, options).await
}

fn read(input: &RawValue) -> Result<HousekeepingInput, String> {
    let [payload] = input.payloads.as_slice() else {
        return Err(format!("expected one payload, found {}", input.payloads.len()));
    };
    payload::decode(payload).map_err(|error| format!("not a handoff.v1.HousekeepingInput: {error}"))
}

fn write(input: &HousekeepingInput) -> Result<RawValue, WorkflowTermination> {
    let payload = payload::encode(input).map_err(|error| failed("X_HANDOFF_INPUT_INVALID", error.to_string()))?;
    Ok(RawValue::new(vec![payload]))
}

fn failed(code: &str, message: String) -> WorkflowTermination {
    let message: Box<dyn std::error::Error + Send + Sync> = message.into();
    WorkflowTermination::failed_application(
        ApplicationFailure::builder(message).type_name(code.to_owned()).non_retryable(true).build(),
    )
}
