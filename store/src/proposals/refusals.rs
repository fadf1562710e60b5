//! What the protocol says where the ledger says no: all of it in one place (enums/error-code.json).

use super::ProposalState;
use handoff_proto::wire::AdcpError;

// A purchase may be in review for days; a buyer who asks every minute is told soon enough.
const RETRY_AFTER: u32 = 60;

/// Why a proposal can't be bought, declined or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There is none, or none of this scope: the same answer.
    NotFound,
    /// It has other terms than the buyer accepts. Id and digest together name a snapshot, and there is none.
    OtherTerms,
    /// It is a draft.
    NotCommitted,
    /// Its time is over.
    Expired,
    /// It was bought or declined, or is not in a state for this.
    State(ProposalState),
    /// Another task is buying it.
    Held,
    /// Another amendment of the same buy is being bought.
    BuyHeld,
    /// Its insertion order is not signed.
    IoRequired,
    /// This verb only buys new media buys.
    AcceptInstead,
    /// It amends another media buy, or none.
    OtherBuy,
    /// The buy was cancelled.
    BuyEnded,
    /// The buy has another revision than the amendment is for.
    OtherRevision,
}

impl Refusal {
    /// As the buyer is told; `field` is where the request names the proposal.
    pub(crate) fn error(self, field: &str) -> AdcpError {
        let field = if field.is_empty() { "proposal_id" } else { field };
        let correctable = |code: &str, message: &str| AdcpError::correctable(code, message).field(field);
        match self {
            Self::NotFound => correctable("PROPOSAL_NOT_FOUND", "There is no such proposal.")
                .suggestion("Request and finalize a new proposal."),
            Self::OtherTerms => {
                AdcpError::correctable("PROPOSAL_NOT_FOUND", "There is no such proposal with these terms.")
                    .field("proposal_terms_digest")
                    .suggestion("Send the terms_digest of the committed proposal, as the seller gave it.")
            }
            Self::NotCommitted => correctable("PROPOSAL_NOT_COMMITTED", "The proposal is a draft.")
                .suggestion("Finalize it first, through refine_proposals or the refine action of get_products."),
            Self::Expired => correctable("PROPOSAL_EXPIRED", "The proposal has expired.")
                .suggestion("Request and finalize a new proposal."),
            Self::State(ProposalState::Declined) => correctable("INVALID_STATE", "The proposal was declined."),
            Self::State(ProposalState::Consumed) => correctable("INVALID_STATE", "The proposal was executed already."),
            Self::State(state) => correctable("INVALID_STATE", &format!("The proposal is {}.", state.as_str())),
            Self::Held => AdcpError::transient("CONFLICT", "Another request is buying the proposal.")
                .field(field)
                .retry_after(RETRY_AFTER),
            Self::BuyHeld => AdcpError::transient("CONFLICT", "Another request is changing the proposal's media buy.")
                .field(field)
                .retry_after(RETRY_AFTER),
            Self::IoRequired => AdcpError::correctable("IO_REQUIRED", "The proposal's insertion order must be signed.")
                .field("io_acceptance")
                .suggestion("Review the proposal's insertion_order, and send io_acceptance with its io_id."),
            Self::AcceptInstead => correctable("INVALID_REQUEST", "The proposal changes an existing media buy.")
                .suggestion("Accept it with accept_proposal."),
            Self::OtherBuy => correctable("INVALID_STATE", "The proposal is not one of this media buy."),
            Self::BuyEnded => correctable("INVALID_STATE", "The proposal's media buy was cancelled."),
            Self::OtherRevision => {
                AdcpError::transient("CONFLICT", "The media buy has changed since the proposal was made.")
                    .field(field)
                    .suggestion("Refine the media buy's accepted proposal anew, and accept the result.")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_recoveries_and_fields_are_the_protocols() {
        for (refusal, code, recovery, field) in [
            (Refusal::NotFound, "PROPOSAL_NOT_FOUND", "correctable", "refine[0].proposal_id"),
            (Refusal::OtherTerms, "PROPOSAL_NOT_FOUND", "correctable", "proposal_terms_digest"),
            (Refusal::NotCommitted, "PROPOSAL_NOT_COMMITTED", "correctable", "refine[0].proposal_id"),
            (Refusal::Expired, "PROPOSAL_EXPIRED", "correctable", "refine[0].proposal_id"),
            (Refusal::State(ProposalState::Consumed), "INVALID_STATE", "correctable", "refine[0].proposal_id"),
            (Refusal::Held, "CONFLICT", "transient", "refine[0].proposal_id"),
            (Refusal::OtherRevision, "CONFLICT", "transient", "refine[0].proposal_id"),
            (Refusal::IoRequired, "IO_REQUIRED", "correctable", "io_acceptance"),
        ] {
            let error = refusal.error("refine[0].proposal_id");
            let told = (error.code.as_str(), error.recovery.as_str(), error.field.as_deref());
            assert_eq!(told, (code, recovery, Some(field)));
        }
        assert_eq!(Refusal::NotFound.error("").field.as_deref(), Some("proposal_id"));
        assert_eq!(Refusal::Held.error("").retry_after, Some(60));
        assert_eq!(Refusal::BuyHeld.error("").retry_after, Some(60));
    }
}
