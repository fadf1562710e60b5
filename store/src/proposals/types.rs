//! What goes into and comes out of the ledger.

use crate::Viewer;
use handoff_proto::wire::ProposalKind;
use serde::{Deserialize, Serialize};

/// How far a proposal is. That it has expired is no state: it follows from `expires_at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProposalState {
    /// Offered, and not yet firm.
    Draft,
    /// Ready to be bought.
    Committed,
    /// Reserved by a task that is buying it.
    Consuming,
    /// Bought.
    Consumed,
    /// Declined by the buyer, for good.
    Declined,
}

impl ProposalState {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Draft, Self::Committed, Self::Consuming, Self::Consumed, Self::Declined];

    /// As it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Committed => "committed",
            Self::Consuming => "consuming",
            Self::Consumed => "consumed",
            Self::Declined => "declined",
        }
    }

    /// The state of this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// Where a proposal stands in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProposalKey {
    /// The account that it was offered to, or the scope of agent and brand where the request named no account.
    pub scope: String,
    /// The agent that it was offered to.
    pub principal: String,
    /// The seller's id.
    pub proposal_id: String,
}

/// Which proposal somebody means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProposalRef {
    /// Looked for in this scope.
    pub key: ProposalKey,
    /// And in this one if it is not there: the scope that the request would have without an account.
    pub brand_scope: Option<String>,
}

impl ProposalRef {
    /// The proposal of this id, in this scope alone.
    pub fn new(scope: impl Into<String>, principal: impl Into<String>, proposal_id: impl Into<String>) -> Self {
        let key = ProposalKey { scope: scope.into(), principal: principal.into(), proposal_id: proposal_id.into() };
        Self { key, brand_scope: None }
    }

    /// The same, or the one of the brand's scope.
    #[must_use]
    pub fn or_of_brand(self, brand_scope: Option<String>) -> Self {
        Self { brand_scope, ..self }
    }
}

/// A proposal that a request buys, and what has to be true of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProposalUse {
    /// The seller's id.
    pub proposal_id: String,
    /// Where the request names it: the `field` of a refusal. Empty: `proposal_id`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
    /// The scope that the request would have without an account: a proposal that was offered there is adopted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brand_scope: Option<String>,
    /// The digest of the terms that the buyer accepts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms_digest: Option<String>,
    /// The insertion order that the buyer signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_id: Option<String>,
    /// The media buy that an amendment has to be of, if the request names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_buy_id: Option<String>,
    /// The revision that this buy has now, if the caller knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_buy_revision: Option<i64>,
}

/// A proposal, without its body. Times are microseconds since 1970.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// Where it stands.
    pub key: ProposalKey,
    /// What accepting it does.
    pub kind: ProposalKind,
    /// How far it is.
    pub state: ProposalState,
    /// The digest of its terms.
    pub terms_digest: Option<String>,
    /// When it can no longer be bought, but for a grace.
    pub expires_at: Option<i64>,
    /// The insertion order that has to be signed to buy it.
    pub io_id: Option<String>,
    /// The proposal that it was refined from.
    pub parent_proposal_id: Option<String>,
    /// The media buy that it amends or cancels.
    pub base_media_buy_id: Option<String>,
    /// The revision of that buy which its terms are for.
    pub base_media_buy_revision: Option<i64>,
    /// The task that has reserved or bought it.
    pub held_by: Option<String>,
    /// The scope of that task: another one than its own if it was adopted.
    pub buyer_scope: Option<String>,
    /// The media buy that it made, amended or cancelled.
    pub media_buy_id: Option<String>,
    /// The newest revision of that buy that is known here.
    pub media_buy_revision: Option<i64>,
    /// When it was bought.
    pub accepted_at: Option<i64>,
    /// When it was first offered.
    pub created_at: i64,
    /// When it last changed.
    pub updated_at: i64,
    /// Counts its transitions.
    pub version: i64,
}

/// A proposal and its body.
#[derive(Clone, Debug, PartialEq)]
pub struct ProposalRecord {
    /// All but the body.
    pub proposal: Proposal,
    /// As the seller offered it, as JSON text.
    pub body_json: String,
}

/// On whose account a transition happens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProposalCause {
    /// The task that brought it about.
    pub task_id: Option<String>,
    /// Who, if a person or a schedule did.
    pub actor: String,
    /// Why.
    pub reason: String,
}

impl ProposalCause {
    /// A task's doing.
    pub fn task(task_id: impl Into<String>) -> Self {
        Self { task_id: Some(task_id.into()), ..Self::default() }
    }
}

/// A transition of a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProposalEntry {
    /// When, in microseconds since 1970.
    pub at: i64,
    /// drafted, committed, reserved, released, consumed, declined or, in a sandbox, expired.
    pub event: String,
    /// The task that brought it about.
    pub task_id: Option<String>,
    /// Who, if a person or a schedule did.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// Which proposals are listed.
#[derive(Clone, Debug, PartialEq)]
pub struct ProposalFilter {
    /// What the viewer may see.
    pub viewer: Viewer,
    /// In this state; `None`: in any.
    pub state: Option<ProposalState>,
    /// With this id, in whatever scope the viewer may see.
    pub proposal_id: Option<String>,
    /// After this one.
    pub after: Option<ProposalKey>,
}

/// What became of the proposals that a result speaks of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptProposals {
    /// Written, as drafts or committed.
    pub written: Vec<String>,
    /// Declined.
    pub declined: Vec<String>,
    /// Left as they were, because they are being bought, were bought or declined, or because their ids can't be stored.
    pub left: Vec<String>,
}

/// What a sweep takes. Times are microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SweepBounds {
    /// Drafts that were last written before.
    pub drafts_before: i64,
    /// Drafts and committed proposals that expired before.
    pub expired_before: i64,
    /// Committed proposals without an end, and declined ones, that were last written before.
    pub idle_before: i64,
    /// Reservations that were made before, if their task has ended or is gone.
    pub reserved_before: i64,
}

/// What a sweep did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Drafts that were deleted for their age.
    pub drafts: u64,
    /// Proposals that were deleted because they had expired.
    pub expired: u64,
    /// Committed and declined proposals that were deleted for their age.
    pub idle: u64,
    /// Reservations that were released: their tasks.
    pub released: Vec<String>,
}
