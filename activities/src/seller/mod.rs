//! What a seller writes: async functions for verbs, task handlers, enqueue handlers and handlers of conditions.

mod acknowledgement;
mod conditions;
mod context;
mod decision;
mod dispatcher;
mod enqueue;
mod governance;
mod handlers;
mod hooks;
mod proposal;
mod task;
pub mod testing;
mod tool;
mod verb;

pub use acknowledgement::{Acknowledgement, AcknowledgementKind};
pub use conditions::{
    Condition, DecisionDiscarded, ReviewOverdue, ReviewReminder, TaskCanceled, TaskCompleted, TaskFailed, TaskRejected,
    TaskSummary,
};
pub use context::{Context, RequestContext};
pub use decision::Decision;
pub use dispatcher::{Handler, NullHandler};
pub use enqueue::{EnqueueFunction, EnqueueHandler, EnqueueRegistration, IntoEnqueueHandler, enqueue};
pub use governance::{Approval, Governance, GovernancePolicy};
pub use handlers::{Handlers, HandlersBuilder, WiringError};
pub use handoff_store::ProposalState;
pub use hooks::{Failure, HookContext};
pub use proposal::NamedProposal;
pub use task::{IntoTaskHandler, Progress, TaskContext, TaskFunction, TaskHandler, TaskRegistration, task};
pub use tool::{IntoToolHandler, ToolFunction, ToolHandler, ToolRegistration, tool};
pub use verb::{IntoVerbHandler, VerbFunction, VerbHandler, VerbRegistration, verb};

pub(crate) use conditions::Settled;
pub(crate) use decision::{Prepared, result_json, to_json};
pub(crate) use governance::{GovernanceDesk, Question, unavailable as governance_unavailable};
pub(crate) use hooks::Subject;
pub(crate) use proposal::Proposals;
pub(crate) use task::{Host, Work};
