//! What workflows are called and take: types, signals, updates and query.
//!
//! Inputs of the run, of signals and of `resolve` are raw payloads: a typed input that can't be decoded fails the workflow task
//! for ever, where a raw one can be refused.

use crate::v1;
use temporalio_common_wasm::{
    HasWorkflowDefinition, QueryDefinition, SignalDefinition, UpdateDefinition, WorkflowDefinition,
    data_converters::RawValue,
};

/// The workflow type of a verb, by the verb's name. Its input is a [`v1::TaskInput`].
#[derive(Clone, Debug)]
pub struct VerbWorkflow(String);

impl VerbWorkflow {
    /// The workflow type of this verb.
    pub fn new(verb: impl Into<String>) -> Self {
        Self(verb.into())
    }
}

impl WorkflowDefinition for VerbWorkflow {
    type Input = v1::TaskInput;
    type Output = v1::RunSummary;

    fn name(&self) -> &str {
        &self.0
    }
}

impl HasWorkflowDefinition for VerbWorkflow {
    type Run = Self;
}

/// The workflow type of a housekeeping round.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReconcileWorkflow;

impl WorkflowDefinition for ReconcileWorkflow {
    type Input = v1::HousekeepingInput;
    type Output = v1::HousekeepingSummary;

    fn name(&self) -> &str {
        RECONCILE
    }
}

impl HasWorkflowDefinition for ReconcileWorkflow {
    type Run = Self;
}

/// The workflow type that tells an ended task's webhook once more.
#[derive(Clone, Copy, Debug, Default)]
pub struct RedeliveryWorkflow;

impl WorkflowDefinition for RedeliveryWorkflow {
    type Input = v1::RedeliveryInput;
    type Output = v1::WebhookEnd;

    fn name(&self) -> &str {
        REDELIVERY
    }
}

impl HasWorkflowDefinition for RedeliveryWorkflow {
    type Run = Self;
}

/// The update `outcome`: answers once the buyer's answer is known. It only reads what the run has done.
#[derive(Clone, Copy, Debug)]
pub struct OutcomeUpdate;

impl UpdateDefinition for OutcomeUpdate {
    type Workflow = VerbWorkflow;
    type Input = ();
    type Output = v1::Outcome;

    fn name(&self) -> &str {
        OUTCOME
    }
}

/// The update `resolve`: an external decision, answered after it was settled. Its input is a [`v1::Completion`].
#[derive(Clone, Copy, Debug)]
pub struct ResolveUpdate;

impl UpdateDefinition for ResolveUpdate {
    type Workflow = VerbWorkflow;
    type Input = v1::Completion;
    type Output = v1::Resolution;

    fn name(&self) -> &str {
        RESOLVE
    }
}

/// The signal `complete`: an external decision, durable whether or not a worker is alive.
#[derive(Clone, Copy, Debug)]
pub struct CompleteSignal;

impl SignalDefinition for CompleteSignal {
    type Workflow = VerbWorkflow;
    type Input = RawValue;

    fn name(&self) -> &str {
        COMPLETE
    }
}

/// The signal `fail`: likewise; a bare object is an AdCP error.
#[derive(Clone, Copy, Debug)]
pub struct FailSignal;

impl SignalDefinition for FailSignal {
    type Workflow = VerbWorkflow;
    type Input = RawValue;

    fn name(&self) -> &str {
        FAIL
    }
}

/// The signal `promote`: the caller's sync deadline has passed, and it waits to be told `submitted`. For callers only; its
/// input says nothing.
#[derive(Clone, Copy, Debug)]
pub struct PromoteSignal;

impl SignalDefinition for PromoteSignal {
    type Workflow = VerbWorkflow;
    type Input = ();

    fn name(&self) -> &str {
        PROMOTE
    }
}

/// The query `status`, for debugging.
#[derive(Clone, Copy, Debug)]
pub struct StatusQuery;

impl QueryDefinition for StatusQuery {
    type Workflow = VerbWorkflow;
    type Input = ();
    type Output = v1::WorkflowStatus;

    fn name(&self) -> &str {
        STATUS
    }
}

/// Name of [`ReconcileWorkflow`].
pub const RECONCILE: &str = "reconcile";

/// The id of the schedule that starts [`ReconcileWorkflow`] on a task queue; also what its runs' ids begin with.
pub fn housekeeping_schedule_id(task_queue: &str) -> String {
    format!("{RECONCILE}-{task_queue}")
}

/// Name of [`RedeliveryWorkflow`].
pub const REDELIVERY: &str = "webhook_redelivery";

/// The id of the run that tells a task's webhook once more. It can't be another task's verb run: a scope is never empty.
pub fn redelivery_workflow_id(task_id: &str) -> String {
    format!("{REDELIVERY}/{task_id}")
}

/// Name of [`OutcomeUpdate`].
pub const OUTCOME: &str = "outcome";
/// Name of [`ResolveUpdate`].
pub const RESOLVE: &str = "resolve";
/// Name of [`CompleteSignal`].
pub const COMPLETE: &str = "complete";
/// Name of [`FailSignal`].
pub const FAIL: &str = "fail";
/// Name of [`PromoteSignal`].
pub const PROMOTE: &str = "promote";
/// Name of [`StatusQuery`].
pub const STATUS: &str = "status";

/// Search attribute (Keyword) with the scope, set at start.
pub const SCOPE_ATTRIBUTE: &str = "HandoffScope";
/// Search attribute (Keyword) with the verb, set at start.
pub const TASK_TYPE_ATTRIBUTE: &str = "HandoffTaskType";

/// The task queue of verb workflows and their activities, unless configured.
pub const DEFAULT_TASK_QUEUE: &str = "handoff";

/// The task queue of those who send webhooks for this one's runs.
pub fn publish_task_queue(task_queue: &str) -> String {
    format!("{task_queue}-publish")
}
