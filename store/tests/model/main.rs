//! The life of a verb as an explicit-state model: searched to the end, broken by taking away each rule, and replayed
//! against the real registry on both databases.
//!
//! `reference/model/verb_life.py` is where it began; [`model::Variant`] says where the registry differs.

mod invariants;
mod model;
mod registry;
mod replay;
mod rules;
mod scenarios;
mod search;
mod state;
mod step;
mod transitions;

use invariants::Invariant::{self, *};
use model::{Model, Variant};
use rules::Rules;
use scenarios::Scenario;
use std::collections::BTreeMap;
use step::Step;

#[test]
fn the_reference_is_reproduced() {
    for scenario in scenarios::reference() {
        let states = scenario.states.reference;
        assert_eq!(states, Some(holds(&Model { variant: Variant::Reference, rules: Rules::all(), scenario })));
    }
}

#[test]
fn all_rules_together_hold() {
    for scenario in scenarios::all() {
        let states = scenario.states.registry;
        assert_eq!(states, holds(&Model { variant: Variant::Registry, rules: Rules::all(), scenario }));
    }
}

/// Breaks nothing; says how many states there are.
fn holds(model: &Model) -> usize {
    let explored = search::explore(model);
    println!("{}: {} states", model.scenario.name, explored.states());
    assert!(explored.broken.is_empty(), "{} breaks\n{}", model.scenario.name, explored.report());
    explored.states()
}

/// What breaks without a rule, in the reference and in the registry's variant.
const BREAKS: [(&str, &[Invariant], &[Invariant]); 14] = [
    ("begin_at_once", &[], &[]),
    (
        "void",
        &[OneAcceptedExecution, OneBooking, StaleCallsNoHandler],
        &[OneAcceptedExecution, OneAcceptedExecutionPastTtl, OneBooking, StaleCallsNoHandler],
    ),
    ("pending", &[SubmittedCanPoll], &[OneAnswer, SubmittedCanPoll, DecisionNeverChanges]),
    (
        "settle_closes_journal",
        &[FailedNeverConsumes, FailedReleases],
        &[
            FailedNeverConsumes,
            FailedReleases,
            ReconcileReleases,
            ReconcileFinishes,
            StaleChangesNothing,
            ClosedRunIsDone,
        ],
    ),
    (
        "purge_ended_only",
        &[OneAcceptedExecutionPastTtl, SubmittedCanPoll, NoSubmitAfterRefusal, StaleCallsNoHandler],
        &[
            OneAcceptedExecutionPastTtl,
            OneAnswer,
            SubmittedCanPoll,
            StaleChangesNothing,
            StaleCallsNoHandler,
            ClosedRunIsDone,
        ],
    ),
    (
        "reconcile_if_unchanged",
        &[],
        &[SubmittedCanPoll, WebhookAgreesWithPoll, EndNeverChanges, DecisionNeverChanges, ReconcileFinishes],
    ),
    ("redeliver", &[ReconcileRedelivers], &[ReconcileFinishes, ReconcileRedelivers]),
    ("answer_once", &[AnswerNeverChanges], &[AnswerNeverChanges, OneAnswer]),
    (
        "own_claim_only",
        &[StaleChangesNothing],
        &[SubmittedCanPoll, WebhookAgreesWithPoll, StaleChangesNothing, ClosedRunIsDone],
    ),
    ("release_own_claim_only", &[], &[]),
    (
        "accept_reads_journal",
        &[OneAcceptedExecution, NoSubmitAfterRefusal, FailedNeverConsumes, StaleChangesNothing],
        &[
            OneAcceptedExecution,
            OneAcceptedExecutionPastTtl,
            NoSubmitAfterRefusal,
            WebhookAgreesWithPoll,
            FailedNeverConsumes,
            ReconcileFinishes,
            StaleChangesNothing,
            StaleCallsNoHandler,
            ClosedRunIsDone,
        ],
    ),
    (
        "discard_in_workflow",
        &[StaleChangesNothing, StaleEnqueueSparesTask],
        &[SubmittedCanPoll, WebhookAgreesWithPoll, StaleChangesNothing, StaleEnqueueSparesTask],
    ),
    ("cancel_waits", &[ClosedRunAnswered], &[ClosedRunAnswered, ClosedRunIsDone]),
    (
        "leave_unstarted",
        &[ReconcileSparesOpenRuns],
        &[OneAcceptedExecution, OneAcceptedExecutionPastTtl, OneBooking, ReconcileSparesOpenRuns, StaleCallsNoHandler],
    ),
];

#[test]
fn the_reference_breaks_without_each_rule() {
    for (rule, broken, _) in BREAKS {
        assert_eq!(broken_without(Variant::Reference, &[rule], scenarios::reference()), broken, "without {rule}");
    }
}

#[test]
fn the_registry_breaks_without_each_rule() {
    assert_eq!(BREAKS.map(|(rule, ..)| rule), Rules::NAMES);
    for (rule, _, broken) in BREAKS {
        assert_eq!(broken_without(Variant::Registry, &[rule], scenarios::all()), broken, "without {rule}");
    }
}

/// Two rules break nothing alone, because others stop the same steps: what breaks in addition once those are gone.
const SECOND_LINES: &[(&str, &[&str], &[Invariant])] = &[
    (
        "begin_at_once",
        &["leave_unstarted"],
        &[FailedReleases, ReconcileReleases, ReconcileFinishes, StaleChangesNothing, ClosedRunIsDone],
    ),
    ("release_own_claim_only", &["void", "own_claim_only"], &[ClaimReleasedByOwner]),
];

#[test]
fn the_second_lines_of_defence_are_lines_of_defence() {
    for &(rule, first, broken) in SECOND_LINES {
        let before = broken_without(Variant::Registry, first, scenarios::all());
        let mut after = broken_without(Variant::Registry, &[first, &[rule]].concat(), scenarios::all());
        after.retain(|invariant| !before.contains(invariant));
        assert_eq!(after, broken, "without {first:?} and {rule}");
    }
}

/// Which invariants break, in order; prints a shortest trace to each.
fn broken_without(variant: Variant, rules: &[&str], scenarios: Vec<Scenario>) -> Vec<Invariant> {
    let mut broken: BTreeMap<Invariant, (&str, Vec<Step>)> = BTreeMap::new();
    for scenario in scenarios {
        let name = scenario.name;
        let explored = search::explore(&Model { variant, rules: Rules::without(rules), scenario });
        for (invariant, trace) in explored.broken {
            let shortest = broken.get(&invariant).map_or(usize::MAX, |(_, trace)| trace.len());
            if trace.len() < shortest {
                broken.insert(invariant, (name, trace));
            }
        }
    }
    for (invariant, (name, trace)) in &broken {
        println!("without {rules:?} breaks {invariant:?} in {name}:\n{}", search::text(trace));
    }
    broken.into_keys().collect()
}
