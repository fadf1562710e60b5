//! What Temporal runs: one method an activity, under the names in `handoff_proto::activities`.

mod decide;
mod direct;
mod enqueue;
mod guard;
mod hooks;
mod notifier;
mod notify;
mod proposals;
mod run_task;
mod settle;
mod spans;
mod webhooks;

pub use notifier::Notifier;
pub use webhooks::WebhookActivities;

use crate::{
    GovernanceAgents,
    seller::{Governance, GovernanceDesk, Handlers, RequestContext},
};
use handoff_proto::{
    activities::{
        Accept, Begin, Decide, Discard, Enqueue, ExpireWebhook, Notify, RecordDroppedSignals, RenewWebhook, RunTask,
        Settle,
    },
    errors, v1,
    wire::AdcpError,
};
use handoff_store::Registry;
use serde_json::Value;
use spans::Spans;
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

/// How long the engine gives a seller's verb handlers.
#[derive(Clone, Copy, Debug)]
pub struct ActivityTimeouts {
    /// A quick handler, before it is invoked again the regular way. Below the 3 seconds that the workflow allows.
    pub quick: Duration,
    /// Any other verb handler, all attempts together.
    pub decide: Duration,
    /// After this long without a sign of life from its worker an attempt to decide is given up.
    pub heartbeat: Duration,
    /// How long a review in a sandbox account waits before it approves itself, where the seller says with what.
    pub sandbox_review: Duration,
}

impl Default for ActivityTimeouts {
    fn default() -> Self {
        Self {
            quick: Duration::from_secs(2),
            decide: Duration::from_secs(3600),
            heartbeat: Duration::from_secs(10),
            sandbox_review: Duration::from_secs(2),
        }
    }
}

/// The activities of verb workflows.
#[derive(Clone)]
pub struct Activities {
    registry: Arc<dyn Registry>,
    handlers: Arc<Handlers>,
    timeouts: ActivityTimeouts,
    check: Option<Arc<dyn ResultCheck>>,
    webhooks: Option<v1::WebhookPlan>,
    notifier: Option<Notifier>,
    governance: Option<GovernanceAgents>,
}

/// Says what is wrong with a seller's result, before it is recorded or told.
pub trait ResultCheck: Send + Sync + 'static {
    /// An error: the result is not what the protocol says that this tool's answer is. What is wrong is logged by the check, with
    /// the correlation id; the error goes to the buyer.
    fn check(&self, tool: &str, result: &Value, correlation_id: &str) -> Result<(), AdcpError>;
}

impl Activities {
    /// With the registry to ask and the seller's handlers to call.
    pub fn new(registry: Arc<dyn Registry>, handlers: Handlers, timeouts: ActivityTimeouts) -> Self {
        Self {
            registry,
            handlers: Arc::new(handlers),
            timeouts,
            check: None,
            webhooks: None,
            notifier: None,
            governance: None,
        }
    }

    /// The same, with a check of what the seller's handlers answer.
    #[must_use]
    pub fn checking(self, check: Option<Arc<dyn ResultCheck>>) -> Self {
        Self { check, ..self }
    }

    fn check_result(&self, tool: &str, result: &Value, correlation_id: &str) -> Result<(), AdcpError> {
        self.check.as_ref().map_or(Ok(()), |check| check.check(tool, result, correlation_id))
    }

    // A result as JSON text.
    fn check_text(&self, tool: &str, result: &str, correlation_id: &str) -> Result<(), AdcpError> {
        let Some(check) = &self.check else { return Ok(()) };
        let result: Value = serde_json::from_str(result).map_err(errors::result_invalid)?;
        check.check(tool, &result, correlation_id)
    }

    /// Tells webhooks, by this plan.
    #[must_use]
    pub fn with_webhooks(mut self, plan: v1::WebhookPlan) -> Self {
        self.webhooks = Some(plan);
        self
    }

    /// Lets handlers ask accounts' governance agents.
    #[must_use]
    pub fn with_governance(self, governance: Option<GovernanceAgents>) -> Self {
        Self { governance, ..self }
    }

    /// What binds governance agents to accounts, and asks them.
    pub fn governance(&self) -> Option<&GovernanceAgents> {
        self.governance.as_ref()
    }

    // What a handler of this request may ask its account's agent.
    fn governed(&self, request: RequestContext, body: &Value) -> RequestContext {
        let desk = self.governance.clone().map(|agents| Arc::new(agents) as Arc<dyn GovernanceDesk>);
        let governance = Governance::new(desk, &request.account, body);
        request.with_governance(governance)
    }

    /// Tells webhooks how far tasks are, too.
    #[must_use]
    pub fn with_notifier(self, notifier: Option<Notifier>) -> Self {
        Self { notifier, ..self }
    }
}

// What each one does is said at its definition in handoff-proto.
#[activities]
impl Activities {
    #[activity(name = Begin::NAME)]
    pub async fn begin(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: v1::TaskInput,
    ) -> Result<v1::BeginOutput, ActivityError> {
        let (spans, began) = (Spans::of_input(ctx.info(), Some(&input)), SystemTime::now());
        let begun = spans.within(self.begin_deciding(input)).await;
        spans.write_run(began);
        begun
    }

    #[activity(name = Decide::NAME)]
    pub async fn decide(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: v1::DecideInput,
    ) -> Result<v1::Standing, ActivityError> {
        let spans = Spans::of_input(ctx.info(), input.input.as_ref());
        spans.within(self.decide_regularly(ctx, input)).await
    }

    #[activity(name = Accept::NAME)]
    pub async fn accept(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: v1::TaskInput,
    ) -> Result<v1::Standing, ActivityError> {
        Spans::of_input(ctx.info(), Some(&input)).within(self.accept_task(input)).await
    }

    #[activity(name = RunTask::NAME)]
    pub async fn run_task(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: v1::RunTaskInput,
    ) -> Result<v1::Completion, ActivityError> {
        let spans = Spans::of_input(ctx.info(), input.input.as_ref());
        spans.within(self.run_task_handler(ctx, input)).await
    }

    #[activity(name = Enqueue::NAME)]
    pub async fn enqueue(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: v1::EnqueueInput,
    ) -> Result<v1::Acknowledgement, ActivityError> {
        let spans = Spans::of_input(ctx.info(), input.input.as_ref());
        spans.within(self.call_enqueue_handler(ctx, input)).await
    }

    #[activity(name = Settle::NAME)]
    pub async fn settle(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: v1::SettleInput,
    ) -> Result<v1::SettleOutput, ActivityError> {
        let spans = Spans::new(ctx.info(), input.task.as_ref(), input.call.as_ref());
        spans.within(self.settle_task(&ctx, input)).await
    }

    #[activity(name = Discard::NAME)]
    pub async fn discard(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: v1::DiscardInput,
    ) -> Result<v1::DiscardOutput, ActivityError> {
        let spans = Spans::new(ctx.info(), input.task.as_ref(), input.call.as_ref());
        spans.within(self.discard_task(input)).await
    }

    #[activity(name = RecordDroppedSignals::NAME)]
    pub async fn record_dropped_signals(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: v1::RecordDroppedSignalsInput,
    ) -> Result<(), ActivityError> {
        let spans = Spans::new(ctx.info(), input.task.as_ref(), input.call.as_ref());
        spans.within(self.append_dropped_signals(input)).await
    }

    #[activity(name = ExpireWebhook::NAME)]
    pub async fn expire_webhook(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: v1::WebhookInput,
    ) -> Result<v1::WebhookEnd, ActivityError> {
        let spans = Spans::new(ctx.info(), input.task.as_ref(), input.call.as_ref());
        spans.within(self.give_webhook_up(input)).await
    }

    #[activity(name = RenewWebhook::NAME)]
    pub async fn renew_webhook(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: v1::WebhookInput,
    ) -> Result<v1::WebhookEnd, ActivityError> {
        let spans = Spans::new(ctx.info(), input.task.as_ref(), input.call.as_ref());
        spans.within(self.begin_webhook_anew(input)).await
    }

    #[activity(name = Notify::NAME)]
    pub async fn notify(self: Arc<Self>, ctx: ActivityContext, input: v1::NotifyInput) -> Result<(), ActivityError> {
        let spans = Spans::of_input(ctx.info(), input.input.as_ref());
        spans.within(self.dispatch_condition(input)).await
    }
}
