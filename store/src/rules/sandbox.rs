//! Requests that a sandbox's compliance controller decides.

use super::{Request, Step, claim, decide};
use crate::{Claim, Forced, NewClaim};
use handoff_proto::v1::{TaskRef, decision::Kind};

/// Nothing is left to be done for this task, and it is the agent's own.
pub(crate) fn may_replace(request: &Request, task: &TaskRef) -> bool {
    request.task.scope == task.scope && request.task.principal == task.principal && request.stage().is_none()
}

/// The directive is gone: was it this very claim, whose reply was lost, that used it up?
pub(crate) fn used_up(request: Option<&Request>, claim: &NewClaim, now: i64) -> Forced {
    match request.and_then(|request| claim::repeated(request, claim, now)) {
        Some(Claim::InFlight { .. }) => Forced::Claimed { answer: None },
        Some(Claim::Answered { answer, .. }) => Forced::Claimed { answer: Some(answer) },
        _ => Forced::Passed,
    }
}

/// Records the directive's decision for the request that was just claimed.
pub(crate) fn decide(request: &mut Request, decision: Kind, step: &mut Step) -> Forced {
    decide::record(request, decision, step);
    Forced::Claimed { answer: request.answer.clone() }
}
