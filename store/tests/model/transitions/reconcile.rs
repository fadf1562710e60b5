//! `reconcile`: it reads the registry, then Temporal, then writes; anything may happen in between.

use super::Next;
use crate::{
    model::Model,
    state::{Key, Observed, Run, State},
    step::Step,
};

pub(crate) fn successors(model: &Model, state: &State, next: &mut Next) {
    match state.observed {
        None if state.budgets.reconciles > 0 => {
            next.extend(Key::ALL.into_iter().filter_map(|key| observe(model, state, key)));
        }
        None => {}
        Some(observed) => next.push(act(model, state, observed)),
    }
}

fn observe(model: &Model, state: &State, key: Key) -> Option<(Step, State)> {
    let request = state.of(key);
    let left_alone = model.rules.leave_unstarted && request.run == Run::NotStarted;
    if key.0 >= state.keys_claimed || request.run.is_alive() || left_alone {
        return None;
    }
    let mut after = state.clone();
    after.budgets.reconciles -= 1;
    after.observed = Some(Observed { key, journal: request.journal, task: request.task });
    Some((Step::Observe { key, run: request.run }, after))
}

fn act(model: &Model, state: &State, observed: Observed) -> (Step, State) {
    let Observed { key, journal, task } = observed;
    let found = state.of(key);
    let changed = model.rules.reconcile_if_unchanged && (journal, task) != (found.journal, found.task);
    let mut after = state.clone();
    after.observed = None;
    if !changed {
        let (journal, task) = if model.follows_registry() { (journal, task) } else { (found.journal, found.task) };
        model.reconcile(&mut after, key, journal, task);
    }
    (Step::Reconcile { key, changed }, after)
}
