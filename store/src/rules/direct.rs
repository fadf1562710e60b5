//! Requests whose handler is called outside any workflow: by the process that serves the buyer, under a lease.
//!
//! The end of a lease releases nothing. It lets others call a handler again that may be called again, or have a workflow call
//! it; of a handler that may not, it says that nobody knows what it did.

use super::{Request, Step, claim, decide};
use crate::{ClaimView, DirectView, Lease};
use handoff_proto::{
    v1::{Standing, decision::Kind},
    wire::TaskStatus,
};
use serde_json::json;

/// How far a request is, for those who wait for its answer.
pub(crate) fn view(request: &Request, now: i64) -> DirectView {
    match (claim::view(request), request.running_lease()) {
        (ClaimView::InFlight, Some(lease)) if lease.until > now => DirectView::Leased,
        (ClaimView::InFlight, Some(lease)) => DirectView::Lapsed { rerunnable: lease.rerunnable },
        (ClaimView::InFlight, None) => DirectView::Driven,
        (ended, _) => DirectView::Ended(ended),
    }
}

/// Another may call the handler.
pub(crate) fn take_over(request: &mut Request, lease: &Lease, step: &mut Step) -> bool {
    let free = request.running_lease().is_some_and(|held| held.rerunnable && held.until <= step.now);
    if free {
        request.lease = Some(*lease);
    }
    free
}

/// Records what the handler decided. Whatever it completed is true; what it did not do may have been done under a later lease.
pub(crate) fn record(request: &mut Request, decision: Kind, lease: &Lease, step: &mut Step) -> Standing {
    match decision {
        Kind::Complete(_) => return decide::record(request, decision, step),
        _ if request.running_lease() != Some(*lease) => {}
        Kind::HandoffToTask(_) | Kind::HandoffToWorkflow(_) => {
            // Pending on either arm: `submitted` is said by the run, once there is one.
            request.decide(decision.clone(), step);
            step.log(request, "decided").detail_json = json!({"decision": decide::name(&decision)}).to_string();
            request.status = Some(TaskStatus::Submitted);
            request.lease = None;
        }
        _ => return decide::record(request, decision, step),
    }
    decide::standing(request)
}

/// A workflow is to decide.
pub(crate) fn hand_over(request: &mut Request, lease: Option<&Lease>, step: &mut Step) {
    let free = request.running_lease().is_some_and(|held| Some(&held) == lease || held.until <= step.now);
    if free {
        request.lease = None;
    }
}
