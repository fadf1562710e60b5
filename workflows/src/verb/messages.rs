//! Signals, updates and the query of a verb workflow. What can't be read is counted or refused; nothing fails the workflow task.

use super::{Ctx, Run, VerbRun};
use futures_util::future::{FutureExt, LocalBoxFuture};
use handoff_proto::{
    completion::{self, Intent},
    v1, workflows,
};
use std::error::Error;
use temporalio_workflow::{
    SyncWorkflowContext, WaitConditionOptions, WorkflowCancellationToken, WorkflowContextView,
    common::{
        QueryDefinition, SignalDefinition, UpdateDefinition,
        data_converters::{RawValue, TemporalDeserializable, TemporalSerializable},
        protos::temporal::api::common::v1::Payload,
    },
    workflows::{ExecutableAsyncUpdate, ExecutableQuery, ExecutableSyncSignal},
};

type BoxError = Box<dyn Error + Send + Sync>;

/// A signal of any name.
pub(super) struct AnySignal;

/// Its name and raw payloads.
pub(super) struct SignalInput {
    pub(super) name: String,
    pub(super) payloads: Vec<Payload>,
}

// Never converted: it is made where the signal is dispatched.
impl TemporalSerializable for SignalInput {}
impl TemporalDeserializable for SignalInput {}

impl SignalDefinition for AnySignal {
    type Workflow = Run;
    type Input = SignalInput;

    fn name(&self) -> &str {
        "*"
    }
}

impl ExecutableSyncSignal<AnySignal> for VerbRun {
    fn handle(&mut self, _: &mut SyncWorkflowContext<Self>, signal: SignalInput) {
        let intent = match signal.name.as_str() {
            workflows::COMPLETE => Intent::Complete,
            workflows::FAIL => Intent::Fail,
            workflows::PROMOTE => return self.state.ask_for_submitted(),
            _ => return self.state.drop_signal(&signal.name, "no such signal"),
        };
        match completion::from_payloads(&signal.payloads, intent) {
            Ok(completion) => {
                if let Err(reason) = self.state.offer(completion) {
                    self.state.drop_signal(&signal.name, reason);
                }
            }
            Err(error) => self.state.drop_signal(&signal.name, &error.0),
        }
    }
}

/// The update `outcome`.
pub(super) struct Outcome;

impl Outcome {
    pub(super) const NAME: &'static str = workflows::OUTCOME;
}

impl UpdateDefinition for Outcome {
    type Workflow = Run;
    type Input = RawValue;
    type Output = v1::Outcome;

    fn name(&self) -> &str {
        Self::NAME
    }
}

impl ExecutableAsyncUpdate<Outcome> for VerbRun {
    fn handle(ctx: Ctx, _: RawValue) -> LocalBoxFuture<'static, Result<v1::Outcome, BoxError>> {
        async move {
            ctx.wait_condition_with_options(|run| run.state.outcome().is_some(), detached()).await?;
            Ok(ctx.state(|run| run.state.outcome().cloned()).unwrap_or_default())
        }
        .boxed_local()
    }
}

/// The update `resolve`.
pub(super) struct Resolve;

impl Resolve {
    pub(super) const NAME: &'static str = workflows::RESOLVE;
}

impl UpdateDefinition for Resolve {
    type Workflow = Run;
    type Input = RawValue;
    type Output = v1::Resolution;

    fn name(&self) -> &str {
        Self::NAME
    }
}

impl ExecutableAsyncUpdate<Resolve> for VerbRun {
    fn handle(ctx: Ctx, raw: RawValue) -> LocalBoxFuture<'static, Result<v1::Resolution, BoxError>> {
        async move {
            let mut completion = completion::from_payloads(&raw.payloads, Intent::Complete)?;
            if completion.decision_id.is_empty() {
                completion.decision_id = ctx.uuid4();
            }
            // Whether this one is taken or another came first: the answer is what was settled.
            let _ = ctx.state_mut(|run| run.state.offer(completion.clone()));
            ctx.wait_condition_with_options(|run| run.state.is_settled_or_closed(), detached()).await?;
            Ok(ctx.state(|run| run.state.resolution_of(&completion)))
        }
        .boxed_local()
    }

    fn validate(&self, _: &WorkflowContextView, raw: &RawValue) -> Result<(), BoxError> {
        completion::from_payloads(&raw.payloads, Intent::Complete)?;
        Ok(())
    }
}

/// The query `status`.
pub(super) struct Status;

impl Status {
    pub(super) const NAME: &'static str = workflows::STATUS;
}

impl QueryDefinition for Status {
    type Workflow = Run;
    type Input = RawValue;
    type Output = v1::WorkflowStatus;

    fn name(&self) -> &str {
        Self::NAME
    }
}

impl ExecutableQuery<Status> for VerbRun {
    fn handle(&self, _: &WorkflowContextView, _: RawValue) -> Result<v1::WorkflowStatus, BoxError> {
        Ok(self.state.status())
    }
}

// A cancelled workflow still answers.
fn detached() -> WaitConditionOptions {
    WaitConditionOptions::builder().cancellation_token(WorkflowCancellationToken::new()).build()
}
