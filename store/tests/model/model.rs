//! The transition system.

use crate::{
    rules::Rules,
    scenarios::Scenario,
    state::State,
    step::Step,
    transitions::{clients, executions, purge, reconcile, runs},
};

/// Which text the model follows where the two differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variant {
    /// `verb_life.py`, so that the state counts can be compared.
    Reference,
    /// The registry's contract: `begin` writes nothing into the journal; settling a pending task answers its claim with
    /// `submitted`; `reconcile` acts on the stage that it observed; the TTL passes before a purge, for every answer; a
    /// client of an expired key is told so. More invariants are checked of it.
    Registry,
}

/// Rules, bounds and text.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) variant: Variant,
    pub(crate) rules: Rules,
    pub(crate) scenario: Scenario,
}

impl Model {
    pub(crate) fn initial(&self) -> State {
        State::new(self.scenario.clients, self.scenario.budgets)
    }

    /// Everything that may happen next.
    pub(crate) fn successors(&self, state: &State) -> Vec<(Step, State)> {
        let mut next = Vec::with_capacity(8);
        clients::successors(self, state, &mut next);
        runs::successors(self, state, &mut next);
        reconcile::successors(self, state, &mut next);
        purge::successors(self, state, &mut next);
        executions::successors(self, state, &mut next);
        next
    }

    pub(crate) fn follows_registry(&self) -> bool {
        self.variant == Variant::Registry
    }
}
