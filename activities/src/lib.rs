//! Side effects: the activities of a verb workflow, and what a seller gives them to call.
//!
//! - [`seller`]: the seller's side: verbs, task handlers, enqueue handlers, handlers of conditions, and their contexts.
//! - [`Activities`]: the engine's side: what Temporal runs.
//! - [`GovernanceAgents`]: whom handlers ask before they sell.
//!
//! Invariants: every activity may run twice, late, and on two workers, and asks the registry before it acts; a handler is called
//! with the same idempotency token every time; a panic or an unexpected error of a handler reaches the buyer as a sanitised
//! error with a correlation id.

#[allow(missing_docs)] // the macro makes public items without documentation
mod activities;
mod governance;
pub mod seller;

pub use activities::{Activities, ActivityTimeouts, Notifier, ResultCheck, WebhookActivities};
pub use governance::GovernanceAgents;
