//! `decide`: look, check and reserve; call the handler; record.

use super::executions::Outcomes;
use crate::{
    model::Model,
    state::{Activity, Decision, End, Execution, Journal, Key, Run, State, Task, Word},
    step::Did,
};

/// `done` is `state` without the execution.
pub(crate) fn outcomes(model: &Model, state: &State, done: State, execution: Execution, outcomes: &mut Outcomes) {
    match execution.next {
        Activity::DecideBegin => outcomes.push(begin(model, state, done, execution)),
        Activity::DecideReserve => outcomes.push(reserve(model, state, done, execution)),
        Activity::DecideCall => call(model, state, execution, outcomes),
        Activity::DecideRecord(decision) => outcomes.push(record(model, done, execution.key, decision)),
        _ => {}
    }
}

/// The execution goes on.
fn then(state: &State, execution: Execution, next: Activity) -> State {
    let mut after = state.clone();
    for other in after.executions.iter_mut().filter(|other| other.id == execution.id) {
        other.next = next;
    }
    after
}

/// The run learns the activity's result, if it still waits for it.
fn report(mut state: State, key: Key, journal: Journal) -> State {
    let request = state.of_mut(key);
    if request.run != Run::Deciding {
        return state;
    }
    match journal {
        Journal::Decided(Decision::Refuse) => {
            request.run = Run::Closed;
            let failed = request.task == Task::Ended(End::Failed);
            request.told.insert(if failed { Word::Failed } else { Word::Refused });
        }
        Journal::Void => request.run = Run::Closed,
        _ if request.task.has_ended() => request.run = Run::Publishing,
        Journal::Decided(Decision::Complete) => {
            request.run = Run::Closed;
            request.told.insert(Word::Completed);
        }
        Journal::Decided(Decision::Workflow) => {
            request.run = Run::Enqueueing;
            state.start(key, Activity::Enqueue);
        }
        Journal::Decided(Decision::Task) => {
            request.run = Run::Running;
            request.told.insert(Word::Submitted);
            state.start(key, Activity::RunTask);
        }
        Journal::Open | Journal::Begun => {}
    }
    state
}

fn begin(model: &Model, state: &State, mut done: State, execution: Execution) -> (Did, State) {
    let key = execution.key;
    let journal = state.of(key).journal;
    if !journal.is_open() {
        return (Did::BeginFinds(journal), report(done, key, journal));
    }
    if !model.rules.begin_at_once {
        return (Did::Begin, then(state, execution, Activity::DecideReserve));
    }
    if model.rules.own_claim_only && !state.holds_claim(key) {
        return (Did::BeginVoid, report(done, key, Journal::Void));
    }
    if model.is_busy(state, key) {
        let refused = Journal::Decided(Decision::Refuse);
        if model.follows_registry() {
            model.record(&mut done, key, Decision::Refuse);
        } else {
            done.of_mut(key).journal = refused;
            model.release_claim(&mut done, key);
        }
        return (Did::BeginProposalBusy, report(done, key, refused));
    }
    let mut after = then(state, execution, Activity::DecideCall);
    if !model.follows_registry() {
        after.of_mut(key).journal = Journal::Begun;
    }
    model.reserve(&mut after, key);
    (Did::Begin, after)
}

fn reserve(model: &Model, state: &State, done: State, execution: Execution) -> (Did, State) {
    let key = execution.key;
    let Journal::Open = state.of(key).journal else {
        if model.rules.leave_unstarted {
            return (Did::ReserveStopped, report(done, key, state.of(key).journal));
        }
        return reserve_unchecked(model, state, execution);
    };
    let stopped = !state.holds_claim(key) || state.of(key).task.has_ended();
    if model.rules.leave_unstarted && stopped {
        return (Did::ReserveStopped, report(done, key, Journal::Void));
    }
    reserve_unchecked(model, state, execution)
}

fn reserve_unchecked(model: &Model, state: &State, execution: Execution) -> (Did, State) {
    if model.is_busy(state, execution.key) {
        let refuse = Activity::DecideRecord(Decision::Refuse);
        return (Did::ReserveConflict, then(state, execution, refuse));
    }
    let mut after = then(state, execution, Activity::DecideCall);
    model.reserve(&mut after, execution.key);
    (Did::Reserve, after)
}

fn call(model: &Model, state: &State, execution: Execution, outcomes: &mut Outcomes) {
    let key = execution.key;
    for &decision in model.scenario.arms {
        if state.of(key).seller.is_some_and(|before| before != decision) {
            continue;
        }
        let mut after = then(state, execution, Activity::DecideRecord(decision));
        after.of_mut(key).seller = Some(decision);
        after.of_mut(key).booked |= decision == Decision::Complete;
        outcomes.push((Did::CallHandler(decision), after));
    }
}

fn record(model: &Model, mut done: State, key: Key, asked: Decision) -> (Did, State) {
    let found = done.of(key);
    if !found.journal.is_open() {
        let journal = found.journal;
        return (Did::RecordFinds { journal, asked }, report(done, key, journal));
    }
    if model.rules.own_claim_only && !done.holds_claim(key) {
        return (Did::RecordVoid { asked }, report(done, key, Journal::Void));
    }
    if model.rules.settle_closes_journal && found.task.has_ended() {
        return (Did::RecordEnded { asked }, report(done, key, Journal::Void));
    }
    model.record(&mut done, key, asked);
    let failed = done.of(key).task == Task::Ended(End::Failed);
    if asked == Decision::Refuse && failed {
        let request = done.of_mut(key);
        if request.run == Run::Deciding {
            request.run = Run::Publishing;
        }
        return (Did::Record(asked), done);
    }
    (Did::Record(asked), report(done, key, Journal::Decided(asked)))
}
