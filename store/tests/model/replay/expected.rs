//! What the real registry must say in a state of the model.

use crate::state::{Decision, End, Journal, Key, Proposal, State, Task, Word};
use handoff_proto::v1::{Standing, decision::Kind};
use handoff_store::{ClaimView, ObservedStage, ProposalState};

/// A claim view without its bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    Missing,
    InFlight,
    Answered(Word),
    Refused,
    OutcomeUnknown,
    /// Something that the model does not know.
    Other,
}

impl From<&ClaimView> for View {
    fn from(view: &ClaimView) -> Self {
        match view {
            ClaimView::Missing => Self::Missing,
            ClaimView::InFlight => Self::InFlight,
            ClaimView::Answered(answer) => match answer.status.as_str() {
                "submitted" => Self::Answered(Word::Submitted),
                "completed" => Self::Answered(Word::Completed),
                _ => Self::Other,
            },
            ClaimView::Refused { .. } => Self::Refused,
            ClaimView::OutcomeUnknown => Self::OutcomeUnknown,
        }
    }
}

/// The view of a key's claim.
pub(crate) fn view(state: &State, key: Key) -> View {
    let request = state.of(key);
    if key.0 >= state.keys_claimed || request.task == Task::Purged {
        return View::Missing;
    }
    match state.claim.filter(|claim| claim.key == key).map(|claim| claim.answer) {
        Some(None) => View::InFlight,
        Some(Some(Word::Unknown)) => View::OutcomeUnknown,
        Some(Some(answer)) => View::Answered(answer),
        None if request.journal == Journal::Decided(Decision::Refuse) => View::Refused,
        None => View::Other,
    }
}

/// A standing without its bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stands {
    pub(crate) journal: Journal,
    pub(crate) end: Option<&'static str>,
    pub(crate) submitted: bool,
    pub(crate) refused: bool,
}

impl From<&Standing> for Stands {
    fn from(standing: &Standing) -> Self {
        let journal = match standing.decision.as_ref().and_then(|decision| decision.kind.as_ref()) {
            None => Journal::Open,
            Some(Kind::Void(_)) => Journal::Void,
            Some(Kind::Complete(_)) => Journal::Decided(Decision::Complete),
            Some(Kind::Refuse(_)) => Journal::Decided(Decision::Refuse),
            Some(Kind::HandoffToTask(_)) => Journal::Decided(Decision::Task),
            Some(Kind::HandoffToWorkflow(_)) => Journal::Decided(Decision::Workflow),
        };
        Self {
            journal,
            end: standing.settlement.as_ref().map(|settlement| known_end(&settlement.status)),
            submitted: standing.submitted,
            refused: standing.refusal.is_some(),
        }
    }
}

/// A settlement's status, if it is one that the model knows.
pub(crate) fn known_end(status: &str) -> &'static str {
    let known = [End::Completed, End::Failed, End::Canceled].map(end_name);
    known.into_iter().find(|name| *name == status).unwrap_or("unexpected")
}

/// How the registry writes an end.
pub(crate) fn end_name(end: End) -> &'static str {
    match end {
        End::Completed => "completed",
        End::Failed => "failed",
        End::Canceled => "canceled",
    }
}

/// A key's standing.
pub(crate) fn stands(state: &State, key: Key) -> Stands {
    let request = state.of(key);
    if key.0 >= state.keys_claimed || request.task == Task::Purged {
        return Stands { journal: Journal::Void, end: None, submitted: false, refused: false };
    }
    Stands {
        journal: request.journal,
        end: end(state, key),
        submitted: request.task.is_visible(),
        refused: request.journal == Journal::Decided(Decision::Refuse) && !request.task.is_visible(),
    }
}

/// The proposal's state, and whose it is.
pub(crate) fn proposal(state: &State) -> (ProposalState, Option<Key>) {
    match state.proposal {
        Proposal::Free => (ProposalState::Committed, None),
        Proposal::Reserved(key) => (ProposalState::Consuming, Some(key)),
        Proposal::Consumed(key) => (ProposalState::Consumed, Some(key)),
    }
}

/// How a key's task ended.
pub(crate) fn end(state: &State, key: Key) -> Option<&'static str> {
    match state.of(key).task {
        Task::Ended(end) => Some(end_name(end)),
        _ => None,
    }
}

/// The status that a poll finds.
pub(crate) fn polled(state: &State, key: Key) -> Option<&'static str> {
    match state.of(key).task {
        Task::Submitted => Some("submitted"),
        Task::Working => Some("working"),
        Task::Ended(end) => Some(end_name(end)),
        Task::Absent | Task::Pending | Task::Discarded | Task::Purged => None,
    }
}

/// The stage of an unfinished request.
pub(crate) fn stage(state: &State, key: Key) -> Option<ObservedStage> {
    let request = state.of(key);
    match request.task {
        Task::Submitted | Task::Working => Some(ObservedStage::Submitted),
        Task::Pending => Some(ObservedStage::Pending),
        Task::Absent if request.journal.is_open() => Some(ObservedStage::Claimed),
        _ => None,
    }
}

/// The registry would purge it, if no run were open; a second purge is no other than the first.
pub(crate) fn may_purge(state: &State, key: Key) -> bool {
    let request = state.of(key);
    let past_ttl = state.expired && state.claim.is_some_and(|claim| claim.key == key);
    request.task == Task::Purged || (past_ttl && stage(state, key).is_none())
}
