//! Requests that a sandbox's compliance controller decides.

use super::{Request, Step, claim, decide};
use crate::{Claim, Forced, NewClaim, Seen};
use handoff_proto::{
    TaskId,
    v1::{TaskRef, decision::Kind},
};

/// The agent made this id up itself, for the same account: another task may have it, however far this one is.
pub(crate) fn may_replace(request: &Request, task: &TaskRef) -> bool {
    let own = request.task.scope == task.scope && request.task.principal == task.principal;
    own && request.sandbox && !TaskId::from(&*request.task.task_id).is_generated()
}

/// How a request is found.
pub(crate) fn seen(request: &Request) -> Seen {
    Seen { created_at: request.created_at, version: request.version }
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
