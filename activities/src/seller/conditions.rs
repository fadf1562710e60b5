//! The conditions that handlers are registered for. Each names what happened, not what to do about it.

use chrono::{DateTime, Utc};
use handoff_proto::{convert::to_datetime, v1, wire::AdcpError};
use serde_json::Value;

/// Something that happened, which handlers may act on.
pub trait Condition: Clone + Send + Sync + 'static {
    /// Its name in logs.
    const NAME: &'static str;
}

/// Which task a condition is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskSummary {
    /// The task; with the condition's name a stable key for what a handler does about it.
    pub task_id: String,
    /// The AdCP verb.
    pub verb: String,
    /// The account.
    pub account: String,
    /// The agent.
    pub principal: String,
    /// The Temporal workflow id.
    pub workflow_id: String,
    /// A test of the buyer's: nothing real may happen.
    pub sandbox: bool,
}

impl TaskSummary {
    pub(crate) fn new(input: &v1::TaskInput) -> Self {
        let task = input.task.clone().unwrap_or_default();
        Self {
            workflow_id: task.workflow_id(),
            task_id: task.task_id,
            verb: task.verb,
            account: task.scope,
            principal: task.principal,
            sandbox: input.sandbox,
        }
    }
}

macro_rules! condition {
    ($(#[$doc:meta])* $type:ident { $($(#[$field_doc:meta])* $field:ident: $field_type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $type {
            /// The task.
            pub task: TaskSummary,
            $($(#[$field_doc])* pub $field: $field_type,)*
        }

        impl Condition for $type {
            const NAME: &'static str = stringify!($type);
        }
    };
}

condition!(
    /// A review waits for its decision, and a reminder was due.
    ReviewReminder {
        /// Which reminder, from 1.
        number: u32,
        /// When the task fails by itself.
        deadline: Option<DateTime<Utc>>,
    }
);
condition!(
    /// A review waits longer than it should.
    ReviewOverdue {
        /// When the task fails by itself.
        deadline: Option<DateTime<Utc>>,
    }
);
condition!(
    /// A task was completed.
    TaskCompleted {
        /// Its result.
        result: Value,
    }
);
condition!(
    /// A task failed.
    TaskFailed {
        /// Why.
        error: AdcpError,
    }
);
condition!(
    /// A task was rejected.
    TaskRejected {
        /// Its result, with `status: rejected`.
        result: Value,
    }
);
condition!(
    /// A task was cancelled.
    TaskCanceled {
        /// Who cancelled it.
        actor: String,
        /// Why.
        reason: String,
    }
);
condition!(
    /// A verb handler decided, but the decision can't be recorded any more: undo what it booked under the task's id.
    DecisionDiscarded {
        /// The idempotency token that the handler was called with.
        idempotency_token: String,
        /// What it decided, as the journal would have kept it.
        decision: Value,
    }
);

/// The condition that a settled task is.
#[derive(Clone, Debug)]
pub(crate) enum Settled {
    Completed(TaskCompleted),
    Failed(TaskFailed),
    Rejected(TaskRejected),
    Canceled(TaskCanceled),
}

impl Settled {
    pub(crate) fn new(task: TaskSummary, settlement: v1::Settlement) -> Self {
        let result = || serde_json::from_str(&settlement.result_json).unwrap_or_default();
        match settlement.status.as_str() {
            "completed" => Self::Completed(TaskCompleted { task, result: result() }),
            "rejected" => Self::Rejected(TaskRejected { task, result: result() }),
            "canceled" => Self::Canceled(TaskCanceled { task, actor: settlement.actor, reason: settlement.reason }),
            _ => Self::Failed(TaskFailed { task, error: settlement.error.unwrap_or_default().to_wire() }),
        }
    }
}

impl ReviewReminder {
    pub(crate) fn new(task: TaskSummary, reminder: &v1::notify_input::ReviewReminder) -> Self {
        Self { task, number: reminder.number, deadline: reminder.deadline.as_ref().and_then(to_datetime) }
    }
}

impl ReviewOverdue {
    pub(crate) fn new(task: TaskSummary, overdue: &v1::notify_input::ReviewOverdue) -> Self {
        Self { task, deadline: overdue.deadline.as_ref().and_then(to_datetime) }
    }
}
