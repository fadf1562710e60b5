//! The ledger of proposals: from draft to consumed, never twice, never stuck.
//!
//! A request that names a proposal (a [`ProposalUse`] in its claim) reserves it before the seller is called, and the registry's
//! own transactions consume or release it with the request's end: see [`crate::Registry::begin`]. What a completed result offers
//! or declines is written by the transaction that records it. The methods of [`ProposalStore`] are for everybody else.

mod refusals;
mod types;

pub(crate) use refusals::Refusal;
pub use types::{
    KeptProposals, Proposal, ProposalCause, ProposalEntry, ProposalFilter, ProposalKey, ProposalRecord, ProposalRef,
    ProposalState, ProposalUse, SweepBounds, Swept,
};

use crate::RegistryError;
use async_trait::async_trait;
use handoff_proto::{
    v1::TaskRef,
    wire::{AdcpError, Bought, OfferedProposal},
};

type Result<T> = std::result::Result<T, RegistryError>;

/// What a proposal is now, or why the protocol refuses.
pub type Ruled = std::result::Result<Proposal, AdcpError>;

/// What is true about every proposal. Each method is one transaction that first locks the proposal's row; called twice, it
/// changes nothing the second time.
///
/// A [`ProposalRef`] matches only with scope and principal; a row that does not match does not exist.
#[async_trait]
pub trait ProposalStore: Send + Sync + 'static {
    /// Writes a draft, over an earlier draft or a committed proposal that has expired. Anything else stays: `INVALID_STATE`.
    async fn put_draft(&self, proposal: &ProposalRef, offer: &OfferedProposal, cause: &ProposalCause) -> Result<Ruled>;

    /// Writes a committed proposal, over a draft or an earlier committed one. Anything else stays: `INVALID_STATE`.
    async fn commit_proposal(
        &self,
        proposal: &ProposalRef,
        offer: &OfferedProposal,
        cause: &ProposalCause,
    ) -> Result<Ruled>;

    /// A proposal with its body.
    async fn get_proposal(&self, proposal: &ProposalRef) -> Result<Option<ProposalRecord>>;

    /// The proposal that a task has reserved, with its body.
    async fn get_reserved(&self, task: &TaskRef) -> Result<Option<ProposalRecord>>;

    /// The proposal that made a media buy, or the amendment or cancellation of it that was accepted last, with its body.
    async fn get_by_media_buy_id(
        &self,
        scope: &str,
        principal: &str,
        media_buy_id: &str,
    ) -> Result<Option<ProposalRecord>>;

    /// Reserves a committed proposal for a task. The same task's retry is the same reservation; another task's is a conflict. A
    /// proposal of the request's brand scope is adopted.
    async fn try_reserve(&self, task: &TaskRef, proposal: &ProposalUse) -> Result<Ruled>;

    /// Consumes a proposal that this task has reserved. A purchase of a new media buy needs a `media_buy_id` that no other
    /// proposal of the account has; an amendment must be one of its own buy.
    async fn finalize_proposal(
        &self,
        proposal: &ProposalRef,
        task_id: &str,
        bought: &Bought,
        cause: &ProposalCause,
    ) -> Result<Ruled>;

    /// Ends this task's reservation; another's stays as it is. `None`: there is no such proposal.
    async fn release_proposal(
        &self,
        proposal: &ProposalRef,
        task_id: &str,
        cause: &ProposalCause,
    ) -> Result<Option<Proposal>>;

    /// Declines a draft or a committed proposal for good.
    async fn decline_proposal(&self, proposal: &ProposalRef, cause: &ProposalCause) -> Result<Ruled>;

    /// Ends the time of a committed proposal now, as if its `expires_at` had passed. For the compliance controller: in life time
    /// passes by itself.
    async fn expire_proposal(&self, proposal: &ProposalRef, cause: &ProposalCause) -> Result<Ruled>;

    /// Deletes a draft, or a proposal that was declined, with its history. `false`: there is none, or it is neither.
    async fn discard_proposal(&self, proposal: &ProposalRef) -> Result<bool>;

    /// Writes what a completed result says about proposals, for a result that no request's row records: `task` says whose it is,
    /// and `sandbox` whether its account is one.
    async fn keep_proposals(&self, task: &TaskRef, result_json: &str, sandbox: bool) -> Result<KeptProposals>;

    /// Proposals by scope, principal and id, at most `limit`, without bodies.
    async fn list_proposals(&self, filter: &ProposalFilter, limit: u32) -> Result<Vec<Proposal>>;

    /// What happened to a proposal, in order; `None`: there is none.
    async fn proposal_history(&self, proposal: &ProposalRef) -> Result<Option<Vec<ProposalEntry>>>;

    /// Deletes proposals that nobody will buy, and releases reservations whose task has ended or is gone. Of each kind at most
    /// `limit`; call it again while it finds that many. A reservation of a task that is still open is never touched.
    async fn sweep_proposals(&self, bounds: &SweepBounds, limit: u32) -> Result<Swept>;
}
