//! The registry: what is true. Claims, the decision journal, tasks and their history, on SQLite and PostgreSQL.
//!
//! One row per request, keyed by its task id, holds its claim, its journal entry and its task; a second table holds the
//! append-only history. A third holds the ledger of proposals ([`ProposalStore`]), with a history of its own; a fourth what a sandbox's compliance
//! controller wants of the next request ([`SandboxStore`]); a fifth the nonces of signed requests ([`NonceStore`]); a sixth which governance agent an account has
//! ([`GovernanceStore`]). Each method of [`Registry`] is one transaction that first locks that row.
//!
//! Invariants:
//! - Every write is idempotent and guarded by state: it may run twice, late, and on two workers.
//! - The first committed settle is the decision. What a caller finds recorded beats what it was about to record.
//! - Scope and principal are part of every buyer's predicate; what does not match does not exist.
//! - The transaction that ends a request consumes or releases the proposal that it names.
//! - JSON bodies are kept as the text that they came as.
//! - With a [`Cipher`], bodies are opened on load and sealed on write: the rules never see a sealed value, the database
//!   never sees a clear one.
//! - An [`Observer`] is told of a transition once it is committed, and only by the call that wrote it.

mod check;
mod cipher;
mod engine;
mod error;
mod governance;
mod nonces;
mod observe;
mod observed;
#[cfg(test)]
mod plans;
mod postgres;
mod proposals;
mod registry;
mod reseal;
mod rules;
mod sandbox;
mod sql;
mod sqlite;
mod store;
mod types;
mod vault;

pub use cipher::{Cipher, CipherError, Place, Sealed};
pub use error::RegistryError;
pub use governance::{GovernanceBinding, GovernanceStore};
pub use nonces::{NonceStore, NonceUse, UsedNonce};
pub use observe::{Arm, CallOutcome, Event, Observer, Transition, Watch};
pub use proposals::{
    KeptProposals, Proposal, ProposalCause, ProposalEntry, ProposalFilter, ProposalKey, ProposalRecord, ProposalRef,
    ProposalState, ProposalStore, ProposalUse, Ruled, SweepBounds, Swept,
};
pub use registry::{Registry, connect};
pub use sandbox::{Cleared, Directive, Forced, SandboxRequest, SandboxStore, Seen};
pub use types::{
    Answer, Backend, Candidate, Claim, ClaimView, DirectView, Health, Lease, NewClaim, Notification, Observation,
    ObservedStage, OpenTasks, Reconciled, RegistryOptions, Resealed, TaskPage, Viewer, Webhook, WebhookAttempt,
    WebhookDelivery, WebhookFilter, WebhookRecord, WebhookState,
};
