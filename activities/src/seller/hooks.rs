//! What a seller does when a request of a verb has its result, or will have none.

use super::{TaskSummary, verb::VerbRegistration};
use futures::future::BoxFuture;
use handoff_proto::{
    errors,
    v1::{CallContext, Settlement, TaskInput, TaskRef},
    wire::{AdcpError, TaskStatus},
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{ops::Deref, sync::Arc};

/// The task that a hook is about, and the seller's own state.
pub struct HookContext<S> {
    state: Arc<S>,
    subject: Subject,
}

impl<S> HookContext<S> {
    pub(crate) fn new(state: Arc<S>, subject: Subject) -> Self {
        Self { state, subject }
    }

    /// What the seller was built with.
    pub fn state(&self) -> &S {
        &self.state
    }

    /// The same each time that a hook is called for this task, and that its handlers had; different for every other task.
    pub fn idempotency_token(&self) -> &str {
        &self.subject.task.task_id
    }

    /// Ties the logs of this call together; may be shown to the buyer.
    pub fn correlation_id(&self) -> &str {
        &self.subject.correlation_id
    }
}

impl<S> Deref for HookContext<S> {
    type Target = TaskSummary;

    fn deref(&self) -> &TaskSummary {
        &self.subject.task
    }
}

/// Why a request has no result.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Failure {
    /// The handler refused it, or its success could not be recorded, before there was a task that the buyer knows.
    Refused(AdcpError),
    /// Its task failed.
    Failed(AdcpError),
    /// It was turned down; the result with `status: rejected`.
    Rejected(Value),
    /// Its task was cancelled.
    Canceled {
        /// By whom.
        actor: String,
        /// Why.
        reason: String,
    },
}

impl Failure {
    /// `None`: the task was completed.
    pub(crate) fn of(settlement: &Settlement) -> Option<Self> {
        Some(match settlement.status.parse() {
            Ok(TaskStatus::Completed) => return None,
            Ok(TaskStatus::Rejected) => {
                Self::Rejected(serde_json::from_str(&settlement.result_json).unwrap_or_default())
            }
            Ok(TaskStatus::Canceled) => {
                Self::Canceled { actor: settlement.actor.clone(), reason: settlement.reason.clone() }
            }
            _ => Self::Failed(settlement.error.clone().unwrap_or_default().to_wire()),
        })
    }
}

/// Which task a hook is called for.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) task: TaskSummary,
    pub(crate) correlation_id: String,
}

impl Subject {
    pub(crate) fn of_input(input: &TaskInput) -> Self {
        Self { task: TaskSummary::new(input), correlation_id: input.correlation_id.clone() }
    }

    /// For activities that are not given the call's input.
    pub(crate) fn new(task: &TaskRef, call: Option<&CallContext>) -> Self {
        let CallContext { correlation_id, sandbox, .. } = call.cloned().unwrap_or_default();
        let task = task.clone();
        let task = TaskSummary {
            workflow_id: task.workflow_id(),
            task_id: task.task_id,
            verb: task.verb,
            account: task.scope,
            principal: task.principal,
            sandbox,
        };
        Self { task, correlation_id }
    }
}

pub(crate) type OnComplete<S> =
    Arc<dyn Fn(HookContext<S>, Value) -> BoxFuture<'static, Result<(), AdcpError>> + Send + Sync>;
pub(crate) type OnFailure<S> = Arc<dyn Fn(HookContext<S>, Failure) -> BoxFuture<'static, ()> + Send + Sync>;

impl<S: Send + Sync + 'static> VerbRegistration<S> {
    /// Called with the result of every request of the verb, of whichever arm, before it is recorded: who polls `completed` can
    /// rely on it. An error is recorded in the result's place; one with `recovery: transient` on a task is retried for some
    /// minutes first.
    ///
    /// Called at least once, always with the same idempotency token, and not for a task that has ended otherwise meanwhile. It
    /// should be done within a second: what takes longer belongs in a task handler.
    #[must_use]
    pub fn on_complete<F, Fut, R>(mut self, hook: F) -> Self
    where
        F: Fn(HookContext<S>, R) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), AdcpError>> + Send + 'static,
        R: DeserializeOwned,
    {
        let hook = Arc::new(hook);
        self.on_complete = Some(Arc::new(move |context, result| {
            let hook = hook.clone();
            // Called in the future, where a panic is caught.
            Box::pin(async move {
                let called = hook(context, serde_json::from_value(result).map_err(errors::result_invalid)?);
                called.await
            })
        }));
        self
    }

    /// Called when the verb's handler refused a request or its success could not be recorded, or when its task failed, was
    /// rejected or cancelled: at least once, as far as there is a worker to do it. What it does changes nothing about the task; a
    /// panic is logged.
    ///
    /// Not called for what was refused before the handler was asked, such as a proposal that can't be reserved, nor for a run that
    /// Temporal no longer has: `reconcile` ends that.
    #[must_use]
    pub fn on_failure<F, Fut>(mut self, hook: F) -> Self
    where
        F: Fn(HookContext<S>, Failure) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let hook = Arc::new(hook);
        self.on_failure = Some(Arc::new(move |context, failure| {
            let hook = hook.clone();
            Box::pin(async move { hook(context, failure).await })
        }));
        self
    }
}
