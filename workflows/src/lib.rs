//! Handoff's deterministic code: the life of a verb, the redelivery of a webhook, and a housekeeping round, as Temporal
//! workflows.
//!
//! Invariants: nothing here can do I/O (the crate depends on `temporalio-workflow`, not on the SDK); no clock, environment,
//! network, randomness or database; only the SDK's own futures; every exit drains the update handlers; no input, whatever it
//! is, fails a workflow task.

mod deliver;
// What the SDK's macro adds has no documentation.
#[allow(missing_docs)]
mod reconcile;
#[allow(missing_docs)]
mod redelivery;
mod verb;

pub use reconcile::Reconcile;
pub use redelivery::Redelivery;
pub use verb::{VerbRun, as_workflow_type};
