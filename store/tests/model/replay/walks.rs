//! Which traces are replayed: random ones, and a shortest one to each situation that those do not meet.

use super::{follow, model_of, models};
use crate::{
    model::Model,
    scenarios, search,
    state::{Journal, Key, Proposal, State, Task},
    step::{Did, Step},
};
use std::collections::{BTreeMap, BTreeSet};

/// Longer than any walk that the budgets allow.
const MOST_STEPS: usize = 200;

/// A trace, and how to find it again.
pub(crate) struct Walk {
    pub(crate) origin: String,
    pub(crate) model: Model,
    pub(crate) steps: Vec<Step>,
}

/// The traces, and how many situations they meet: all that can be reached.
pub(crate) struct Walks {
    pub(crate) chosen: Vec<Walk>,
    pub(crate) situations: usize,
}

/// A step that the registry sees, by what it does and whose the proposal is, with the journal and the task that it finds.
type Situation = (String, Option<(Journal, Task)>);

fn situation(state: &State, step: Step) -> Option<Situation> {
    let (what, key) = match step {
        Step::Claim { key, .. } => ("claim".to_owned(), Some(key)),
        Step::Attach { key, .. } => ("attach".to_owned(), Some(key)),
        Step::Replay { key, told, .. } => (format!("replay {told:?}"), Some(key)),
        Step::Expired { .. } => ("expired".to_owned(), state.claim.map(|claim| claim.key)),
        Step::Observe { key, .. } => ("observe".to_owned(), Some(key)),
        Step::Reconcile { key, changed } => {
            let observed = state.observed.map(|observed| (observed.journal, observed.task));
            (format!("reconcile {observed:?} {changed}"), Some(key))
        }
        Step::TtlPasses { key } => ("ttl".to_owned(), Some(key)),
        Step::Purge { key } => ("purge".to_owned(), Some(key)),
        Step::Execution {
            did: Did::CallHandler(_) | Did::Unable | Did::FinishTask(_) | Did::Wilco { accepts: false },
            ..
        } => return None,
        Step::Execution { key, did, .. } => (format!("{} {did:?}", did.activity()), Some(key)),
        _ => return None,
    };
    let what = format!("{what}, proposal {}", key.map_or("", |key| whose(state, key)));
    Some((what, key.map(|key| (state.of(key).journal, state.of(key).task))))
}

fn whose(state: &State, key: Key) -> &'static str {
    match state.proposal {
        Proposal::Free => "free",
        Proposal::Reserved(holder) if holder == key => "reserved",
        Proposal::Consumed(holder) if holder == key => "consumed",
        Proposal::Reserved(_) => "another's",
        Proposal::Consumed(_) => "consumed by another",
    }
}

/// Random walks, and as many others as it takes to meet every situation, and every combination of journal and task.
pub(crate) fn choose(random: u64) -> Walks {
    let mut chosen: Vec<Walk> = (0..random).map(random_walk).collect();
    let mut met = BTreeSet::new();
    for walk in &chosen {
        meet(walk, &mut met);
    }
    let mut reachable = BTreeSet::new();
    let mut rows = BTreeSet::new();
    for model in models() {
        let mut nearest = BTreeMap::new();
        let explored = search::explore_with(&model, |index, state, step| {
            rows.extend(state.requests.iter().map(|request| (request.journal, request.task)));
            if let Some(situation) = situation(state, step) {
                nearest.entry(situation).or_insert((index, step));
            }
        });
        assert!(explored.broken.is_empty(), "{} breaks\n{}", model.scenario.name, explored.report());
        for (situation, (index, step)) in nearest {
            if !met.contains(&situation) {
                let mut steps = explored.trace(index);
                steps.push(step);
                let origin = format!("nearest to {situation:?} in {}", model.scenario.name);
                let walk = Walk { origin, model: model.clone(), steps };
                meet(&walk, &mut met);
                chosen.push(walk);
            }
            reachable.insert(situation);
        }
    }
    assert!(reachable.is_subset(&met), "not replayed: {:#?}", reachable.difference(&met).collect::<Vec<_>>());
    let rows_met: BTreeSet<_> = met.iter().filter_map(|(_, rows)| *rows).collect();
    assert!(rows.is_subset(&rows_met), "not replayed: {:?}", rows.difference(&rows_met).collect::<Vec<_>>());
    Walks { chosen, situations: met.len() }
}

fn meet(walk: &Walk, met: &mut BTreeSet<Situation>) {
    let mut state = walk.model.initial();
    for &step in &walk.steps {
        met.extend(situation(&state, step));
        state = follow(&walk.model, &state, step);
    }
}

fn random_walk(seed: u64) -> Walk {
    let model = model_of(scenarios::everything());
    let mut random = Random(seed);
    let mut state = model.initial();
    let mut steps = Vec::new();
    loop {
        let mut next = model.successors(&state);
        if next.is_empty() {
            break;
        }
        let (step, after) = next.swap_remove(random.below(next.len()));
        steps.push(step);
        state = after;
        assert!(steps.len() < MOST_STEPS, "seed {seed}: the walk does not end");
    }
    Walk { origin: format!("seed {seed}"), model, steps }
}

/// SplitMix64: the same walks everywhere and for ever.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        (mixed % bound as u64) as usize
    }
}
