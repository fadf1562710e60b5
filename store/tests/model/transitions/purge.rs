//! The end of a key's TTL, and purge.

use super::Next;
use crate::{
    model::Model,
    state::{Decision, Journal, Key, State, Task, Word},
    step::Step,
};

pub(crate) fn successors(model: &Model, state: &State, next: &mut Next) {
    let Some(claim) = state.claim else { return };
    if !model.follows_registry() {
        if state.budgets.expiries > 0 && claim.key == Key(0) && may_purge(model, state, claim.key) {
            let mut after = purged(state, claim.key, Task::Absent);
            after.expired = true;
            after.budgets.expiries -= 1;
            next.push((Step::Purge { key: claim.key }, after));
        }
        return;
    }
    // The TTL counts from the recorded answer.
    if state.budgets.expiries > 0 && (claim.answer.is_some() || !model.rules.purge_ended_only) {
        let mut after = state.clone();
        after.expired = true;
        after.budgets.expiries -= 1;
        next.push((Step::TtlPasses { key: claim.key }, after));
    }
    if state.expired && may_purge(model, state, claim.key) {
        next.push((Step::Purge { key: claim.key }, purged(state, claim.key, Task::Purged)));
    }
}

/// The request has ended and no run is open.
pub(crate) fn may_purge(model: &Model, state: &State, key: Key) -> bool {
    let request = state.of(key);
    let unknown = model.follows_registry() && state.claim.is_some_and(|claim| claim.answer == Some(Word::Unknown));
    let ended = request.task.has_ended() || request.journal == Journal::Decided(Decision::Complete) || unknown;
    !model.rules.purge_ended_only || (ended && !request.run.is_alive())
}

fn purged(state: &State, key: Key, task: Task) -> State {
    let mut after = state.clone();
    after.claim = None;
    after.of_mut(key).journal = Journal::Open;
    after.of_mut(key).task = task;
    after
}
