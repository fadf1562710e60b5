//! Handoff: a durable engine for AdCP sellers, on Temporal. The one crate that a seller depends on.
//!
//! A seller writes async functions that decide; [`Seller`] makes a binary of them. Everything a handler needs is in
//! [`prelude`].

/// For implementing the traits in [`seller`].
pub use async_trait::async_trait;
pub use handoff_activities::seller;
pub use handoff_activities::seller::testing;
pub use handoff_client as client;
pub use handoff_gateway as gateway;
pub use handoff_proto as proto;
pub use handoff_store as store;
pub use handoff_telemetry as telemetry;
pub use handoff_webhooks as webhooks;
pub use handoff_worker::{Role, Seller, Worker, WorkerSettings};

/// What a seller's code begins with: `use handoff::prelude::*;`
pub mod prelude {
    pub use crate::Seller;
    pub use handoff_activities::seller::{
        Acknowledgement, Context, Decision, DecisionDiscarded, Failure, GovernancePolicy, Handler, HookContext,
        Progress, RequestContext, ReviewOverdue, ReviewReminder, TaskCanceled, TaskCompleted, TaskContext, TaskFailed,
        TaskRejected, TaskSummary, enqueue, task, verb,
    };
    pub use handoff_proto::wire::{AdcpError, Recovery};
    pub use serde_json::{Value, json};
}
