//! Breadth-first search to the end, so that the first trace that breaks an invariant is a shortest one.

use crate::{
    invariants::{self, Invariant},
    model::Model,
    state::State,
    step::Step,
};
use std::{
    collections::{BTreeMap, HashSet},
    fmt::Write,
};

/// More states than any scenario has: a mistake in the model shall not fill the memory.
const MOST_STATES: usize = 400_000;

/// Everything that can be reached.
pub(crate) struct Explored {
    states: Vec<Visit>,
    /// Each broken invariant with a shortest trace.
    pub(crate) broken: BTreeMap<Invariant, Vec<Step>>,
}

struct Visit {
    parent: usize,
    step: Option<Step>,
}

impl Explored {
    pub(crate) fn states(&self) -> usize {
        self.states.len()
    }

    /// A shortest way to a state.
    pub(crate) fn trace(&self, mut index: usize) -> Vec<Step> {
        let mut steps = Vec::new();
        while let Some(step) = self.states[index].step {
            steps.push(step);
            index = self.states[index].parent;
        }
        steps.reverse();
        steps
    }

    fn note(&mut self, broken: &[Invariant], index: usize, last: Option<Step>) {
        for invariant in broken {
            if !self.broken.contains_key(invariant) {
                let mut trace = self.trace(index);
                trace.extend(last);
                self.broken.insert(*invariant, trace);
            }
        }
    }

    /// The broken invariants with their traces, to read.
    pub(crate) fn report(&self) -> String {
        let mut text = String::new();
        for (invariant, trace) in &self.broken {
            let _ = writeln!(text, "  {invariant:?}:\n{}", self::text(trace));
        }
        text
    }
}

/// A trace to read, one step a line.
pub(crate) fn text(trace: &[Step]) -> String {
    trace.iter().map(|step| format!("    {step}\n")).collect()
}

/// Visits every state of the model.
pub(crate) fn explore(model: &Model) -> Explored {
    explore_with(model, |_, _, _| {})
}

/// Visits every state of the model; `see` gets every step, with its first state and that state's number.
pub(crate) fn explore_with(model: &Model, mut see: impl FnMut(usize, &State, Step)) -> Explored {
    let initial = model.initial();
    let mut explored = Explored { states: vec![Visit { parent: 0, step: None }], broken: BTreeMap::new() };
    let mut known = HashSet::from([initial.clone()]);
    let mut layer = vec![(0, initial)];
    let mut broken = Vec::new();
    while !layer.is_empty() {
        let mut following = Vec::new();
        for (index, state) in layer {
            invariants::of_state(model, &state, &mut broken);
            explored.note(&broken, index, None);
            broken.clear();
            for (step, next) in model.successors(&state) {
                see(index, &state, step);
                invariants::of_step(model, &state, step, &next, &mut broken);
                explored.note(&broken, index, Some(step));
                broken.clear();
                if !known.insert(next.clone()) {
                    continue;
                }
                let number = explored.states.len();
                assert!(number < MOST_STATES, "{}: more than {MOST_STATES} states", model.scenario.name);
                explored.states.push(Visit { parent: index, step: Some(step) });
                following.push((number, next));
            }
        }
        layer = following;
    }
    explored
}
