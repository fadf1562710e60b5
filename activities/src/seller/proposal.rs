//! The proposals that a request names, as its handler sees them.

use handoff_store::ProposalState;
use serde_json::Value;
use std::sync::Arc;

/// A proposal that was offered to this agent, for this account.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedProposal {
    /// Its id.
    pub proposal_id: String,
    /// How far it is, when the handler was called. Expiry is no state: the body has `expires_at`.
    pub state: ProposalState,
    /// The proposal as it was offered last. A sandbox's compliance controller may have let its `expires_at` pass.
    pub body: Value,
}

/// What a request says of proposals.
#[derive(Clone, Default)]
pub(crate) struct Proposals {
    /// The one that it buys.
    pub(crate) bought: Option<Arc<Value>>,
    /// Those that it refines, finalizes or declines, as far as there are such.
    pub(crate) named: Arc<[NamedProposal]>,
}
