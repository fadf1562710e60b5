//! What must hold in every state and over every step.

use crate::{
    model::Model,
    state::{Decision, End, Journal, Key, Proposal, Request, Run, State, Task, Word},
    step::{Did, Step},
    transitions::purge,
};

/// What can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Invariant {
    /// Two task keys were accepted for one idempotency key.
    OneAcceptedExecution,
    /// The same, because the key expired while the first was open or paused.
    OneAcceptedExecutionPastTtl,
    /// The seller booked under two tokens.
    OneBooking,
    /// Buyers were told two different ends of one task key.
    OneTerminalAnswer,
    /// The claim of a submitted task was answered anew.
    AnswerNeverChanges,
    /// Callers with one key were told different things about one task key.
    OneAnswer,
    /// A task of which `submitted` was told can't be polled.
    SubmittedCanPoll,
    /// A task was submitted after a refusal was recorded; nobody drives it.
    NoSubmitAfterRefusal,
    /// A task has two terminal events.
    OneTerminalEvent,
    /// A delivered webhook says something else than a poll.
    WebhookAgreesWithPoll,
    /// A recorded end changed.
    EndNeverChanges,
    /// A recorded decision changed.
    DecisionNeverChanges,
    /// Completed, and the proposal is not consumed by it.
    CompletedConsumes,
    /// Failed or canceled, and the proposal is consumed by it.
    FailedNeverConsumes,
    /// Failed or canceled, and the proposal is still CONSUMING.
    FailedReleases,
    /// `reconcile` left a proposal CONSUMING with no run.
    ReconcileReleases,
    /// A lost run leaves something that one `reconcile` now would not finish.
    ReconcileFinishes,
    /// `reconcile` changed something of an open run.
    ReconcileSparesOpenRuns,
    /// `reconcile` left a terminal event with nobody to deliver it.
    ReconcileRedelivers,
    /// A stale step changed claim, proposal, task or events.
    StaleChangesNothing,
    /// A step of one task key took away the claim of the other.
    ClaimReleasedByOwner,
    /// A stale `decide` called the handler.
    StaleCallsNoHandler,
    /// A stale `enqueue` took back a task that another attempt placed.
    StaleEnqueueSparesTask,
    /// A run closed with its claim unanswered.
    ClosedRunAnswered,
    /// A run closed, and something is left to do.
    ClosedRunIsDone,
}

use Invariant::*;

/// Says which invariants a state breaks.
pub(crate) fn of_state(model: &Model, state: &State, broken: &mut Vec<Invariant>) {
    let mut check = |holds: bool, invariant| {
        if !holds {
            broken.push(invariant);
        }
    };
    let two_accepted = Key::ALL.into_iter().all(|key| is_accepted(model, state, key));
    check(!two_accepted || state.expired, OneAcceptedExecution);
    check(!two_accepted || !state.expired, OneAcceptedExecutionPastTtl);
    check(state.expired || !state.requests.iter().all(|request| request.booked), OneBooking);
    for key in Key::ALL {
        let request = state.of(key);
        let told = request.told;
        let said_submitted = told.contains(Word::Submitted);
        let ends = [Word::Completed, Word::Failed, Word::Canceled, Word::Refused];
        check(ends.into_iter().filter(|&word| told.contains(word)).count() <= 1, OneTerminalAnswer);
        let answered_anew = state.claim.is_some_and(|claim| claim.key == key && claim.answer.is_some_and(Word::is_end));
        check(!said_submitted || !answered_anew, AnswerNeverChanges);
        check(!said_submitted || request.task.is_visible() || may_be_missing(model, state, key), SubmittedCanPoll);
        let refused = request.journal == Journal::Decided(Decision::Refuse);
        check(!(refused && request.task.is_open()), NoSubmitAfterRefusal);
        check(request.webhooks.len() <= 1, OneTerminalEvent);
        let agrees = |word| matches!(request.task, Task::Ended(end) if Word::from(end) == word);
        let is_purged = if model.follows_registry() { request.task == Task::Purged } else { state.expired };
        check(is_purged || request.delivered.iter().all(agrees), WebhookAgreesWithPoll);
        proposal(state, key, &mut check);
        if model.follows_registry() {
            check(told.len() <= 1, OneAnswer);
            check(!request.run.is_gone() || finishes(model, state, key), ReconcileFinishes);
            check(request.run != Run::Closed || is_done(model, state, key), ClosedRunIsDone);
        }
    }
}

/// The key was accepted: its outcome is recorded, promised, or booked outside with nobody knowing that it is unknown.
fn is_accepted(model: &Model, state: &State, key: Key) -> bool {
    let request = state.of(key);
    let unknown = model.rules.void && request.journal == Journal::Void && state.holds_claim(key);
    request.journal == Journal::Decided(Decision::Complete)
        || request.task.is_open()
        || request.task == Task::Ended(End::Completed)
        || (request.booked && request.journal != Journal::Decided(Decision::Refuse) && !unknown)
}

/// Only a purge takes away what a buyer was promised.
fn may_be_missing(model: &Model, state: &State, key: Key) -> bool {
    if model.follows_registry() {
        return state.of(key).task == Task::Purged && !state.of(key).webhooks.is_empty();
    }
    state.expired && model.rules.purge_ended_only
}

fn proposal(state: &State, key: Key, check: &mut impl FnMut(bool, Invariant)) {
    let request = state.of(key);
    let consumed = state.proposal == Proposal::Consumed(key);
    check(request.task != Task::Ended(End::Completed) || consumed, CompletedConsumes);
    let answered = request.journal == Journal::Decided(Decision::Complete) && request.task == Task::Absent;
    check(!answered || consumed, CompletedConsumes);
    if matches!(request.task, Task::Ended(End::Failed | End::Canceled)) {
        check(!consumed, FailedNeverConsumes);
        check(state.proposal != Proposal::Reserved(key), FailedReleases);
    }
}

/// Reconciling now would leave nothing to do.
fn finishes(model: &Model, state: &State, key: Key) -> bool {
    let mut after = state.clone();
    model.reconcile(&mut after, key, state.of(key).journal, state.of(key).task);
    is_done(model, &after, key)
}

/// No open task, no reservation, no undelivered event, an answered or released claim, and nothing in the way of a purge.
fn is_done(model: &Model, state: &State, key: Key) -> bool {
    let request = state.of(key);
    let answered = state.claim.is_none_or(|claim| claim.key != key || claim.answer.is_some());
    let driven = request.task.is_open() || request.task == Task::Pending;
    let delivered = request.webhooks == request.delivered;
    let purgeable = !state.holds_claim(key) || purge::may_purge(model, state, key);
    answered && !driven && delivered && purgeable && state.proposal != Proposal::Reserved(key)
}

/// Nothing may be written about it any more.
pub(crate) fn is_over(request: &Request) -> bool {
    match request.task {
        Task::Ended(_) | Task::Discarded | Task::Purged => true,
        Task::Absent => !request.journal.is_open(),
        Task::Pending | Task::Submitted | Task::Working => false,
    }
}

/// Says which invariants a step breaks.
pub(crate) fn of_step(model: &Model, before: &State, step: Step, after: &State, broken: &mut Vec<Invariant>) {
    let mut check = |holds: bool, invariant| {
        if !holds {
            broken.push(invariant);
        }
    };
    let tasks_kept = Key::ALL.into_iter().all(|key| before.of(key).task == after.of(key).task);
    match step {
        Step::Execution { key, did, .. } => {
            let request = before.of(key);
            let driven = matches!(request.task, Task::Submitted | Task::Working | Task::Pending);
            let stale = request.run.is_gone() && !before.holds_claim(key) && !driven;
            if stale && (model.follows_registry() || before.observed.is_none()) {
                let webhooks_kept = Key::ALL.into_iter().all(|key| before.of(key).webhooks == after.of(key).webhooks);
                let kept = before.claim == after.claim && before.proposal == after.proposal;
                check(kept && tasks_kept && webhooks_kept, StaleChangesNothing);
                // No registry stops a call that a transaction allowed a whole TTL ago; its decision finds the claim gone.
                let outlived = model.rules.purge_ended_only && request.task == Task::Purged;
                check(outlived || request.booked == after.of(key).booked, StaleCallsNoHandler);
            }
            if model.follows_registry() && is_over(request) {
                let kept = before.claim == after.claim && before.proposal == after.proposal;
                let recorded = |request: &Request| (request.journal, request.task, request.webhooks);
                let rows_kept = before.requests.each_ref().map(recorded) == after.requests.each_ref().map(recorded);
                check(kept && rows_kept, StaleChangesNothing);
            }
            let others = before.claim.is_some_and(|claim| claim.key != key);
            check(!(model.follows_registry() && others && after.claim.is_none()), ClaimReleasedByOwner);
            if did == Did::UnableDiscards && matches!(request.run, Run::Waiting | Run::Settling) {
                check(tasks_kept, StaleEnqueueSparesTask);
            }
        }
        Step::Reconcile { key, changed: false } => {
            let (was, is) = (before.of(key), after.of(key));
            let kept = was.journal == is.journal && tasks_kept && before.claim == after.claim;
            check(!was.run.is_alive() || kept, ReconcileSparesOpenRuns);
            let reserved = Proposal::Reserved(key);
            let left = before.proposal == reserved && after.proposal == reserved && !is.run.is_alive();
            check(!left, ReconcileReleases);
            let undelivered = is.task.has_ended() && !is.run.is_alive() && is.delivered.is_empty();
            check(!undelivered, ReconcileRedelivers);
        }
        _ => {}
    }
    for key in Key::ALL {
        let (was, is) = (before.of(key), after.of(key));
        let closes = !was.run.is_gone() && is.run == Run::Closed;
        let unanswered = after.claim.is_some_and(|claim| claim.key == key && claim.answer.is_none());
        check(!(closes && unanswered && is.journal.is_open() && is.task == Task::Absent), ClosedRunAnswered);
        if model.follows_registry() && !matches!(step, Step::Purge { .. }) {
            check(!was.task.has_ended() || is.task == was.task, EndNeverChanges);
            let taken_back = was.task == Task::Pending && is.task == Task::Discarded;
            check(was.journal.is_open() || taken_back || is.journal == was.journal, DecisionNeverChanges);
        }
    }
}
