//! The journal: what was decided, and what followed from it.

use super::{Request, Step, purchase, request::End};
use handoff_proto::{
    v1::{AdcpError, Completion, Decision, Standing, completion::Outcome, decision::Kind, decision::Void},
    wire::TaskStatus,
};
use serde_json::json;

/// What a request that is not there, or no longer its task's, stands at.
pub(crate) fn void() -> Standing {
    Standing { decision: Some(Decision { kind: Some(Kind::Void(Void {})) }), ..Default::default() }
}

/// Where a request stands.
pub(crate) fn standing(request: &Request) -> Standing {
    let closed = request.claim_is_gone() || request.is_terminal();
    Standing {
        decision: request.decision().or_else(|| if closed { void().decision } else { None }),
        settlement: request.settlement(),
        submitted: request.visible,
        refusal: request.refusal().cloned(),
    }
}

/// Records the first decision, and what follows from it.
pub(crate) fn record(request: &mut Request, decision: Kind, step: &mut Step) -> Standing {
    if request.may_be_decided() {
        let decision = purchase::admit_decision(request, decision, step);
        request.decide(decision.clone(), step);
        step.log(request, "decided").detail_json = json!({"decision": name(&decision)}).to_string();
        match decision {
            Kind::Complete(complete) => completed(request, complete.result_json, step),
            Kind::HandoffToTask(_) => request.submit(step),
            Kind::HandoffToWorkflow(_) if request.visible => {}
            Kind::HandoffToWorkflow(_) => request.status = Some(TaskStatus::Submitted),
            Kind::Refuse(error) => refused(request, &error, step),
            Kind::Void(_) => {}
        }
    }
    standing(request)
}

/// Makes the task visible, if the journal allows.
pub(crate) fn accept(request: &mut Request, step: &mut Step) -> Standing {
    let may_submit = matches!(&request.journal, None | Some(Kind::HandoffToTask(_) | Kind::HandoffToWorkflow(_)));
    if may_submit && !request.claim_is_gone() {
        request.submit(step);
    }
    standing(request)
}

fn completed(request: &mut Request, result_json: String, step: &mut Step) {
    if !request.visible {
        request.answer(TaskStatus::Completed, result_json, step);
        return;
    }
    let completion = Completion { outcome: Some(Outcome::ResultJson(result_json)), ..Default::default() };
    if let Some(end) = End::of(&completion) {
        request.end(end, step);
    }
}

fn refused(request: &mut Request, error: &AdcpError, step: &mut Step) {
    if request.visible {
        request.end(End::failed(error, "", ""), step);
    } else {
        request.release(step);
    }
}

pub(super) fn name(decision: &Kind) -> &'static str {
    match decision {
        Kind::Complete(_) => "complete",
        Kind::HandoffToTask(_) => "handoff_to_task",
        Kind::HandoffToWorkflow(_) => "handoff_to_workflow",
        Kind::Refuse(_) => "refuse",
        Kind::Void(_) => "void",
    }
}
