//! What may happen in one search: small enough to be searched to the end, and together everything.

use crate::state::{Budgets, Decision};

/// The bounds of one search.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) clients: usize,
    /// What the seller may decide.
    pub(crate) arms: &'static [Decision],
    pub(crate) budgets: Budgets,
    pub(crate) states: States,
}

/// How many states a scenario has with every rule: what it must stay until somebody changes the model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct States {
    /// As `verb_life.py` counts them; absent where that has no such scenario.
    pub(crate) reference: Option<usize>,
    pub(crate) registry: usize,
}

const NO_TROUBLE: Budgets = Budgets {
    duplicates: 0,
    terminations: 0,
    reconciles: 0,
    cancels: 0,
    externals: 0,
    expiries: 0,
    deadlines: 0,
    late_settles: 0,
    reports: 0,
};

use Decision::{Complete, Refuse, Task, Workflow};

const SYNC: &[Decision] = &[Refuse, Complete];
const WORKFLOW: &[Decision] = &[Workflow];
const TASK: &[Decision] = &[Task];
const REFERENCE: &[Decision] = &[Refuse, Complete, Workflow];
const EVERY: &[Decision] = &[Refuse, Complete, Workflow, Task];

fn scenario(name: &'static str, clients: usize, arms: &'static [Decision], budgets: Budgets) -> Scenario {
    Scenario { name, clients, arms, budgets, states: States { reference: None, registry: 0 } }
}

impl Scenario {
    fn counts(self, reference: impl Into<Option<usize>>, registry: usize) -> Self {
        Self { states: States { reference: reference.into(), registry }, ..self }
    }
}

/// All of them. A to J are those of `verb_life.py`.
pub(crate) fn all() -> Vec<Scenario> {
    let paused = Budgets { duplicates: 1, ..NO_TROUBLE };
    let lost = Budgets { terminations: 1, reconciles: 2, ..NO_TROUBLE };
    vec![
        scenario("A refusal and stale decide", 2, SYNC, paused).counts(264, 264),
        scenario("B terminated in decide, reconciled, retried", 2, SYNC, lost).counts(569, 476),
        scenario("C terminated after the sync deadline", 2, SYNC, Budgets { deadlines: 1, ..lost }).counts(2994, 2479),
        scenario("C2 terminated in the workflow arm", 2, WORKFLOW, Budgets { externals: 1, ..lost }).counts(1143, 1092),
        scenario("D reconcile races attach", 3, SYNC, Budgets { reconciles: 1, ..NO_TROUBLE }).counts(452, 452),
        scenario("E accept races decide", 2, REFERENCE, Budgets { deadlines: 1, ..paused }).counts(4604, 4604),
        scenario(
            "F external decisions, early and late",
            2,
            WORKFLOW,
            Budgets { externals: 2, late_settles: 1, cancels: 1, ..paused },
        )
        .counts(3535, 3451),
        scenario(
            "G workflow arm after the sync deadline",
            2,
            WORKFLOW,
            Budgets { deadlines: 1, externals: 1, cancels: 1, ..paused },
        )
        .counts(12548, 12028),
        scenario("H purge", 2, REFERENCE, Budgets { expiries: 1, deadlines: 1, externals: 1, ..paused })
            .counts(10342, 17857),
        scenario("I terminated after settle", 1, WORKFLOW, Budgets { externals: 1, ..lost }).counts(120, 111),
        scenario("J cancel in decide", 2, SYNC, Budgets { deadlines: 1, cancels: 1, ..paused }).counts(3040, 3040),
        scenario("K terminated in the promoted workflow arm", 2, WORKFLOW, Budgets { deadlines: 1, ..lost })
            .counts(None, 3509),
        scenario("L task arm, stale attempts", 2, TASK, Budgets { deadlines: 1, reports: 1, ..paused })
            .counts(None, 3704),
        scenario("M task arm, lost", 2, TASK, Budgets { deadlines: 1, reports: 1, cancels: 1, ..lost })
            .counts(None, 5796),
        scenario("N purge after reconcile", 2, SYNC, Budgets { expiries: 1, deadlines: 1, ..lost }).counts(None, 6564),
    ]
}

/// Those of `verb_life.py`.
pub(crate) fn reference() -> Vec<Scenario> {
    all().into_iter().filter(|scenario| scenario.states.reference.is_some()).collect()
}

/// Too large to be searched to the end: for random walks.
pub(crate) fn everything() -> Scenario {
    let budgets = Budgets {
        duplicates: 2,
        terminations: 1,
        reconciles: 2,
        cancels: 1,
        externals: 2,
        expiries: 1,
        deadlines: 1,
        late_settles: 1,
        reports: 1,
    };
    scenario("everything", 3, EVERY, budgets)
}
