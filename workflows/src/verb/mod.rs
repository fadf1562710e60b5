//! The verb workflow: its state, and how Temporal's runtime reaches it.
//!
//! One type serves every verb: the workflow type's name comes from the table in `handoff_proto::verbs`, and any signal name is
//! accepted, so that an unknown one is counted rather than lost.

mod decide;
mod life;
mod messages;
mod state;
pub(crate) mod steps;
mod task_arm;
mod workflow_arm;

use futures_util::future::{FutureExt, LocalBoxFuture};
use messages::{AnySignal, Outcome, Resolve, SignalInput, Status};
use state::State;
use std::{any::Any, cell::RefCell};
use temporalio_workflow::{
    WorkflowContext, WorkflowContextView, WorkflowTermination,
    common::{
        HasWorkflowDefinition, WorkflowDefinition,
        data_converters::{PayloadConverter, RawValue},
        protos::temporal::api::common::v1::Payloads,
    },
    workflow_interceptors::WorkflowOutputValue,
    workflows::{
        ExecutableAsyncUpdate, ExecutableQuery, ExecutableSyncSignal, UpdateDefinitionDescriptor,
        WorkflowDefinitionDescriptor, WorkflowError, WorkflowImplementation,
    },
};

/// A run of a verb workflow.
pub struct VerbRun {
    state: State,
}

thread_local! {
    static REGISTERING: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Registers [`VerbRun`] under a verb's name: the SDK asks a type for its definition once, inside `register`.
pub fn as_workflow_type<R>(verb: &str, register: impl FnOnce() -> R) -> R {
    REGISTERING.with(|name| verb.clone_into(&mut name.borrow_mut()));
    register()
}

type Ctx = WorkflowContext<VerbRun>;

/// What starts a run: raw, because an input that can't be decoded would fail the workflow task for ever.
pub struct Run;

impl WorkflowDefinition for Run {
    type Input = RawValue;
    type Output = handoff_proto::v1::RunSummary;

    fn name(&self) -> &str {
        "verb"
    }
}

impl HasWorkflowDefinition for Run {
    type Run = Self;
}

impl WorkflowImplementation for VerbRun {
    type Run = Run;
    const HAS_INIT: bool = true;
    const INIT_TAKES_INPUT: bool = true;

    fn name() -> &'static str {
        "verb"
    }

    fn definition() -> WorkflowDefinitionDescriptor {
        let update = |name: &str, has_validator| UpdateDefinitionDescriptor { name: name.to_owned(), has_validator };
        WorkflowDefinitionDescriptor {
            workflow_type: REGISTERING.with(|name| name.borrow().clone()),
            has_init: true,
            init_takes_input: true,
            signals: vec![],
            queries: vec![],
            updates: vec![update(Outcome::NAME, false), update(Resolve::NAME, true)],
        }
    }

    fn init(_: WorkflowContextView, input: Option<RawValue>) -> Self {
        Self { state: State::new(input) }
    }

    fn run(
        ctx: Ctx,
        _: Option<RawValue>,
    ) -> LocalBoxFuture<'static, Result<Box<dyn WorkflowOutputValue>, WorkflowTermination>> {
        async move { life::run(&ctx).await }.boxed_local()
    }

    fn decode_signal_input(
        name: &str,
        payloads: Payloads,
        _: &PayloadConverter,
    ) -> Result<Option<Box<dyn Any>>, WorkflowError> {
        Ok(Some(Box::new(SignalInput { name: name.to_owned(), payloads: payloads.payloads })))
    }

    fn dispatch_signal(ctx: Ctx, _: &str, input: Box<dyn Any>) -> LocalBoxFuture<'static, Result<(), WorkflowError>> {
        <Self as ExecutableSyncSignal<AnySignal>>::dispatch(ctx, input)
    }

    fn decode_query_input(
        name: &str,
        payloads: &Payloads,
        _: &PayloadConverter,
    ) -> Result<Option<Box<dyn Any>>, WorkflowError> {
        Ok((name == Status::NAME).then(|| Box::new(RawValue::new(payloads.payloads.clone())) as Box<dyn Any>))
    }

    fn dispatch_query(
        &self,
        ctx: WorkflowContextView,
        _: &str,
        input: Box<dyn Any>,
    ) -> Result<Box<dyn WorkflowOutputValue>, WorkflowError> {
        <Self as ExecutableQuery<Status>>::dispatch(self, &ctx, input)
    }

    fn decode_update_input(
        name: &str,
        payloads: Payloads,
        _: &PayloadConverter,
    ) -> Result<Option<Box<dyn Any>>, WorkflowError> {
        let known = name == Outcome::NAME || name == Resolve::NAME;
        Ok(known.then(|| Box::new(RawValue::new(payloads.payloads)) as Box<dyn Any>))
    }

    fn dispatch_update(
        ctx: Ctx,
        name: &str,
        input: Box<dyn Any>,
    ) -> LocalBoxFuture<'static, Result<Box<dyn WorkflowOutputValue>, WorkflowError>> {
        if name == Resolve::NAME {
            <Self as ExecutableAsyncUpdate<Resolve>>::dispatch(ctx, input)
        } else {
            <Self as ExecutableAsyncUpdate<Outcome>>::dispatch(ctx, input)
        }
    }

    fn validate_update(&self, ctx: WorkflowContextView, name: &str, input: Box<dyn Any>) -> Result<(), WorkflowError> {
        if name == Resolve::NAME {
            <Self as ExecutableAsyncUpdate<Resolve>>::dispatch_validate(self, &ctx, input)
        } else {
            Ok(())
        }
    }
}
