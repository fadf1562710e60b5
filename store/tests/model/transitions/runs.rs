//! The workflow, its operators and its reviewers.

use super::Next;
use crate::{
    model::Model,
    state::{Activity, End, Key, Run, State},
    step::Step,
};

pub(crate) fn successors(model: &Model, state: &State, next: &mut Next) {
    for key in Key::ALL {
        retry(state, key, next);
        decide_outside(state, key, next);
        if state.of(key).run.is_alive() {
            interrupt(model, state, key, next);
        }
        deliver(state, key, next);
    }
}

/// Attempts that begin although an earlier one may still move.
fn retry(state: &State, key: Key, next: &mut Next) {
    let request = state.of(key);
    let retried = match request.run {
        Run::Deciding => Some((Step::RetryDecide { key }, Activity::DecideBegin)),
        Run::Enqueueing => Some((Step::RetryEnqueue { key }, Activity::Enqueue)),
        Run::Running => Some((Step::RetryTask { key }, Activity::RunTask)),
        _ => None,
    };
    if let Some((step, activity)) = retried
        && state.budgets.duplicates > 0
    {
        let mut after = state.clone();
        after.budgets.duplicates -= 1;
        after.start(key, activity);
        next.push((step, after));
    }
    if request.run == Run::Deciding && state.budgets.deadlines > 0 && !request.promoted {
        let mut after = state.clone();
        after.budgets.deadlines -= 1;
        after.start(key, Activity::Accept);
        next.push((Step::SyncDeadline { key }, after));
    }
}

fn decide_outside(state: &State, key: Key, next: &mut Next) {
    let request = state.of(key);
    let reachable = matches!(request.run, Run::Enqueueing | Run::Waiting | Run::Deciding);
    let known = request.enqueued || request.task.is_open();
    if !reachable || !known || state.budgets.externals == 0 {
        return;
    }
    for end in [End::Completed, End::Failed] {
        let mut after = state.clone();
        after.budgets.externals -= 1;
        after.of_mut(key).external.insert(end);
        if request.run == Run::Waiting {
            settle(&mut after, key, end);
        }
        next.push((Step::External { key, end, during: request.run }, after));
    }
}

/// The workflow schedules a settle.
pub(crate) fn settle(state: &mut State, key: Key, end: End) {
    state.of_mut(key).run = Run::Settling;
    state.start(key, Activity::Settle(end));
}

fn interrupt(model: &Model, state: &State, key: Key, next: &mut Next) {
    let request = state.of(key);
    if state.budgets.terminations > 0 {
        let mut after = state.clone();
        after.budgets.terminations -= 1;
        after.of_mut(key).run = Run::Terminated;
        next.push((Step::Terminate { key }, after));
    }
    let may_cancel = match request.run {
        Run::Enqueueing | Run::Waiting | Run::Running => true,
        Run::Deciding => !model.rules.cancel_waits || request.task.is_open(),
        _ => false,
    };
    if may_cancel && state.budgets.cancels > 0 {
        let mut after = state.clone();
        after.budgets.cancels -= 1;
        settle(&mut after, key, End::Canceled);
        next.push((Step::Cancel { key }, after));
    }
}

fn deliver(state: &State, key: Key, next: &mut Next) {
    if state.of(key).run != Run::Publishing {
        return;
    }
    for told in state.of(key).webhooks.iter() {
        let mut after = state.clone();
        after.of_mut(key).run = Run::Closed;
        after.of_mut(key).delivered.insert(told);
        next.push((Step::Deliver { key, told }, after));
    }
}
