//! How a request and the proposal that it names go together, in the request's own transactions.

use super::{
    Request, Step, decide,
    proposals::{self, Change, Surroundings},
    request::End,
};
use crate::Proposal;
use handoff_proto::{
    errors,
    v1::{Standing, completion::Outcome, decision::Kind},
    wire::{self, ProposalNews},
};

/// What a transaction knows of the ledger, and what it writes to it.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// The proposal that the request names, locked; `None` if there is none, or if it was not looked for.
    pub(crate) named: Option<Proposal>,
    pub(crate) around: Surroundings,
    /// How long after its end a proposal may be bought, in microseconds.
    pub(crate) grace: i64,
    pub(crate) change: Option<Change>,
    /// What the recorded result says of other proposals.
    pub(crate) news: ProposalNews,
}

/// Reserves the proposal of a request that may still be decided. What the protocol refuses is recorded as its refusal.
pub(crate) fn begin(request: &mut Request, step: &mut Step) -> Standing {
    let Some(wanted) = request.proposal.clone().filter(|_| request.may_be_decided()) else {
        return decide::standing(request);
    };
    let ledger = &mut step.ledger;
    let clock = (step.now, ledger.grace);
    match proposals::reserve(ledger.named.as_ref(), &wanted, &request.task, &ledger.around, clock) {
        Ok(change) => {
            ledger.change = change;
            decide::standing(request)
        }
        Err(refusal) => {
            let error = refusal.error(&wanted.field);
            decide::record(request, Kind::Refuse(error.into()), step)
        }
    }
}

/// The decision, but a success that can't be recorded for the request's proposal is a refusal.
pub(super) fn admit_decision(request: &Request, decision: Kind, step: &Step) -> Kind {
    match &decision {
        Kind::Complete(complete) => match unfit(request, &complete.result_json, step) {
            Some(why) => Kind::Refuse(errors::not_finalized(why).into()),
            None => decision,
        },
        _ => decision,
    }
}

/// The same for the end of a task.
pub(super) fn admit_end(request: &Request, outcome: Option<&Outcome>, end: End, step: &Step) -> End {
    match outcome {
        Some(Outcome::ResultJson(result)) => match unfit(request, result, step) {
            Some(why) => end.failing(&errors::not_finalized(why).into()),
            None => end,
        },
        _ => end,
    }
}

fn unfit(request: &Request, result_json: &str, step: &Step) -> Option<&'static str> {
    request.proposal.as_ref()?;
    let bought = wire::purchase(result_json)?;
    proposals::unfit(step.ledger.named.as_ref(), &request.task.task_id, &bought, step.ledger.around.taken)
}

/// The ledger follows the request: an end consumes or releases what was reserved, and a success says what is offered.
pub(crate) fn follow(before: &Request, after: &Request, step: &mut Step) {
    if !has_just_ended(before, after) {
        return;
    }
    let result = after.success();
    let task_id = &after.task.task_id;
    if let Some(named) = step.ledger.named.as_ref().filter(|named| named.is_held_by(task_id)) {
        step.ledger.change = match result.and_then(wire::purchase) {
            Some(bought) => Some(proposals::consume(named, &bought, &step.ledger.around, step.now)),
            None => proposals::release(named, task_id, step.now),
        };
    }
    if let Some(result) = result {
        step.ledger.news = wire::proposal_news(&after.task.verb, result);
    }
}

/// This transaction ended it.
pub(crate) fn has_just_ended(before: &Request, after: &Request) -> bool {
    before.stage().is_some() && after.stage().is_none()
}
