//! What a handler gets and gives.

use handoff_proto::{
    convert,
    v1::{Decision, TaskInput},
};
use serde_json::Value;
use std::{fmt, time::Duration};

/// A handler's answer, besides an `AdcpError`.
#[derive(Clone, Debug)]
pub enum Direct {
    /// The result: an object.
    Complete(Value),
    /// Only of discovery: this decision is carried out by a workflow, and the buyer is told `submitted`.
    HandOff(Decision),
}

/// What a seller declared about a tool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirectOptions {
    /// The handler may be called again with the same token when nobody knows whether it did its work: it looks what the first
    /// call did, or does nothing that lasts. Discovery, and tools for which the protocol requires no key, always are.
    pub rerunnable: bool,
    /// How long the caller of a plain tool waits for its handler; unless told, as long as for anything else.
    pub patience: Option<Duration>,
}

/// The request that a handler works for.
#[derive(Clone)]
pub struct DirectContext {
    input: TaskInput,
}

impl DirectContext {
    pub(super) fn new(input: TaskInput) -> Self {
        Self { input }
    }

    /// What a workflow's activities would get.
    pub fn input(&self) -> &TaskInput {
        &self.input
    }

    /// For downstream calls: the same each time this request's handler is called, and different for every other request. Also
    /// the task's id, if there comes to be a task.
    pub fn idempotency_token(&self) -> &str {
        self.input.task.as_ref().map_or("", |task| &task.task_id)
    }

    /// Ties the logs of this call together; may be shown to the buyer.
    pub fn correlation_id(&self) -> &str {
        &self.input.correlation_id
    }

    /// How long the buyer is willing to wait.
    pub fn time_budget(&self) -> Duration {
        self.input.sync_deadline.as_ref().map(convert::to_duration).unwrap_or_default()
    }

    /// A test of the buyer's: nothing real may happen.
    pub fn sandbox(&self) -> bool {
        self.input.sandbox
    }

    /// The `context` that the buyer sent.
    pub fn buyer_context(&self) -> Option<Value> {
        let request: Value = serde_json::from_str(&self.input.request_json).ok()?;
        super::super::request::context_of(&request).cloned()
    }
}

// The request may hold anything; logs don't get it.
impl fmt::Debug for DirectContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirectContext")
            .field("task", &self.input.task)
            .field("correlation_id", &self.input.correlation_id)
            .field("sandbox", &self.input.sandbox)
            .finish_non_exhaustive()
    }
}
