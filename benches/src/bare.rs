//! The bare peer: the shapes of the three arms as one writes them by hand in this SDK, with no registry, no claim, no seller.
//! `tests/programs/bench_worker.py` is the same in Python, under the same names.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use temporalio_client::Client;
use temporalio_common::telemetry::TelemetryOptions;
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, LocalActivityOptions, Runtime, SyncWorkflowContext, TimerOptions, WaitConditionOptions, Worker,
    WorkerOptions, WorkflowCancellationToken, WorkflowContext, WorkflowContextView, WorkflowResult,
    WorkflowTermination,
    activities::{ActivityContext, ActivityError},
    runtime::RuntimeOptions,
    workflows::select,
};

const ATTEMPT: Duration = Duration::from_secs(10);
const DEADLINE: Duration = Duration::from_secs(7 * 24 * 3600);

/// What a run is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct BareInput {
    /// `answer`, `task` or `workflow`.
    pub(crate) shape: String,
    /// As large as a buyer's.
    pub(crate) request: Value,
}

/// Activities that do nothing but give something back.
pub(crate) struct BareActivities;

#[activities]
impl BareActivities {
    #[activity(name = "bare_decide")]
    pub(crate) async fn decide(self: Arc<Self>, _: ActivityContext, input: BareInput) -> Result<Value, ActivityError> {
        Ok(json!({"shape": input.shape, "media_buy_id": "mb"}))
    }

    #[activity(name = "bare_work")]
    pub(crate) async fn work(self: Arc<Self>, _: ActivityContext, decision: Value) -> Result<Value, ActivityError> {
        Ok(decision)
    }

    #[activity(name = "bare_record")]
    pub(crate) async fn record(self: Arc<Self>, _: ActivityContext, result: Value) -> Result<Value, ActivityError> {
        Ok(result)
    }
}

/// One run, in the shape that its input names.
#[workflow]
pub(crate) struct Bare {
    input: BareInput,
    outcome: Option<Value>,
    completion: Option<Value>,
}

#[workflow_methods]
impl Bare {
    #[init]
    fn new(_: &WorkflowContextView, input: BareInput) -> Self {
        Self { input, outcome: None, completion: None }
    }

    #[run(name = "bare")]
    pub(crate) async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<Value> {
        let input = ctx.state(|run| run.input.clone());
        let decision = ctx.execute_local_activity(BareActivities::decide, input.clone(), local()).await?;
        let result = match input.shape.as_str() {
            "task" => {
                ctx.state_mut(|run| run.outcome = Some(json!("submitted")));
                let options = ActivityOptions::with_start_to_close_timeout(ATTEMPT).build();
                let done = ctx.execute_activity(BareActivities::work, decision, options).await?;
                ctx.execute_local_activity(BareActivities::record, done, local()).await?
            }
            "workflow" => {
                let options = ActivityOptions::with_start_to_close_timeout(ATTEMPT).build();
                let taken = ctx.execute_activity(BareActivities::work, decision, options).await?;
                ctx.execute_local_activity(BareActivities::record, taken, local()).await?;
                ctx.state_mut(|run| run.outcome = Some(json!("submitted")));
                let completion = Self::wait(ctx).await?;
                ctx.execute_local_activity(BareActivities::record, completion, local()).await?
            }
            _ => {
                ctx.state_mut(|run| run.outcome = Some(decision.clone()));
                decision
            }
        };
        let drained = ctx.clone();
        let detached = WaitConditionOptions::builder().cancellation_token(WorkflowCancellationToken::new()).build();
        let _ = ctx.wait_condition_with_options(move |_| drained.all_handlers_finished(), detached).await;
        Ok(result)
    }

    async fn wait(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<Value> {
        let token = ctx.cancellation_token().child_token();
        let mut deadline = ctx.timer(TimerOptions::builder(DEADLINE).cancellation_token(token.clone()).build());
        select! {
            decided = ctx.wait_condition(|run| run.completion.is_some()) => {
                decided.map_err(|_| WorkflowTermination::cancelled())?;
            }
            _ = deadline => return Err(WorkflowTermination::cancelled()),
        }
        token.cancel();
        Ok(ctx.state(|run| run.completion.clone()).unwrap_or_default())
    }

    #[update(name = "outcome")]
    pub(crate) async fn outcome(ctx: &mut WorkflowContext<Self>) -> Value {
        let _ = ctx.wait_condition(|run| run.outcome.is_some()).await;
        ctx.state(|run| run.outcome.clone()).unwrap_or_default()
    }

    #[signal(name = "complete")]
    pub(crate) fn complete(&mut self, _: &mut SyncWorkflowContext<Self>, result: Value) {
        self.completion = Some(result);
    }
}

fn local() -> LocalActivityOptions {
    LocalActivityOptions::builder().start_to_close_timeout(ATTEMPT).schedule_to_close_timeout(ATTEMPT).build()
}

/// Runs a worker of these until the process is killed.
pub(crate) async fn work(client: Client, task_queue: &str, max_cached_workflows: usize) -> anyhow::Result<()> {
    let telemetry = TelemetryOptions::builder().build();
    let options = RuntimeOptions::builder().telemetry_options(telemetry).build();
    let runtime = Runtime::from_current_tokio(options.map_err(|error| anyhow::anyhow!("no runtime: {error}"))?)?;
    let mut options = WorkerOptions::new(task_queue.to_owned())
        .max_cached_workflows(max_cached_workflows)
        .register_activities(BareActivities)
        .build();
    options.register_workflow::<Bare>()?;
    Worker::new(&runtime, client, options)?.run().await?;
    Ok(())
}
