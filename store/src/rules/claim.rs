//! What a key means that was claimed before.

use super::{ClaimState, Request};
use crate::{Claim, ClaimView, NewClaim};

/// Another request has the key.
pub(crate) fn known(request: &Request, claim: &NewClaim, now: i64) -> Claim {
    let expired = request.expires_at.is_some_and(|expires_at| expires_at <= now);
    if request.claim == ClaimState::Purged || (request.claim != ClaimState::InFlight && expired) {
        // Also for another request: what the key stood for is not compared any more.
        return Claim::Expired;
    }
    if !is_same_request(request, claim) {
        return Claim::Conflict;
    }
    meaning(request)
}

/// The very same call again, because its reply was lost: `None` if the row is another call's.
pub(crate) fn repeated(request: &Request, claim: &NewClaim, now: i64) -> Option<Claim> {
    let same_owner = request.task.scope == claim.task.scope && request.task.principal == claim.task.principal;
    let same_key = request.idempotency_key == claim.idempotency_key || request.claim == ClaimState::Released;
    if !same_owner || !same_key {
        return None;
    }
    let untouched = request.claim == ClaimState::InFlight && request.journal.is_none() && request.status.is_none();
    Some(match request.claim {
        _ if untouched && is_same_request(request, claim) => Claim::New,
        // Refused meanwhile, because another call attached to this task and drove it: this one attaches too, and reads
        // why.
        ClaimState::Released => Claim::InFlight { task_id: request.task.task_id.clone() },
        _ => known(request, claim, now),
    })
}

/// The claim of a task, for those who wait for its answer.
pub(crate) fn view(request: &Request) -> ClaimView {
    match request.claim {
        ClaimState::InFlight => ClaimView::InFlight,
        ClaimState::Answered => match &request.answer {
            Some(answer) => ClaimView::Answered(answer.clone()),
            None => ClaimView::OutcomeUnknown,
        },
        ClaimState::Unknown => ClaimView::OutcomeUnknown,
        ClaimState::Released => match request.refusal().map(serde_json::to_string) {
            Some(Ok(error_json)) => ClaimView::Refused { error_json },
            _ => ClaimView::OutcomeUnknown,
        },
        ClaimState::Purged => ClaimView::Missing,
    }
}

fn is_same_request(request: &Request, claim: &NewClaim) -> bool {
    request.task.verb == claim.task.verb && request.request_hash == claim.request_hash
}

fn meaning(request: &Request) -> Claim {
    let task_id = request.task.task_id.clone();
    match (request.claim, &request.answer) {
        (ClaimState::InFlight, _) => Claim::InFlight { task_id },
        (ClaimState::Answered, Some(answer)) => Claim::Answered { task_id, answer: answer.clone() },
        (ClaimState::Answered, None) | (ClaimState::Unknown, _) => Claim::OutcomeUnknown { task_id },
        // No key leads to a released claim.
        (ClaimState::Released | ClaimState::Purged, _) => Claim::Expired,
    }
}
