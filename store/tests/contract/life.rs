//! Random lives: steps in any order, twice, late. Whatever happened, what was promised holds.

use crate::{database::Database, support::*};
use handoff_proto::v1::{Decision, Settlement, TaskRef, decision::Kind};
use handoff_store::{ClaimView, Registry};
use std::sync::Arc;

/// A linear congruential generator: the same lives on every run.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// What was seen of a request, and may never be taken back.
#[derive(Default)]
struct Promises {
    decision: Option<Decision>,
    settlement: Option<Settlement>,
    answer: Option<ClaimView>,
    submitted: bool,
}

pub(crate) async fn random_lives_keep_their_promises(database: Arc<Database>) {
    let registry = registry(&database).await;
    for seed in 0..60 {
        let mut dice = Dice(seed);
        let task = claimed(&*registry).await;
        let mut promises = Promises::default();
        let mut told = Vec::new();
        for _ in 0..14 {
            told.push(step(&*registry, &task, &mut dice).await);
            check(&*registry, &task, &mut promises, &format!("seed {seed}: {told:?}")).await;
        }
    }
    registry.close().await;
}

async fn step(registry: &dyn Registry, task: &TaskRef, dice: &mut Dice) -> &'static str {
    match dice.roll(12) {
        0 => registry.record_decision(task, &complete("{}")).await.map(|_| "complete"),
        1 => registry.record_decision(task, &to_task()).await.map(|_| "to task"),
        2 | 3 => registry.record_decision(task, &to_workflow()).await.map(|_| "to workflow"),
        4 => registry.record_decision(task, &refuse("NO")).await.map(|_| "refuse"),
        5 | 6 => registry.accept(task).await.map(|_| "accept"),
        7 => registry.update_progress(task, &Default::default()).await.map(|_| "progress"),
        8 => registry.settle(task, &result("{}")).await.map(|_| "settle"),
        9 => registry.settle(task, &cancellation()).await.map(|_| "cancel"),
        10 => registry.discard(task, &error("UNABLE")).await.map(|_| "discard"),
        _ => {
            let observed = registry.unfinished(i64::MAX, None, 1_000).await.unwrap();
            match observed.iter().find(|observed| observed.task == *task) {
                Some(observed) if dice.roll(2) == 0 => {
                    registry.reconcile(observed, &error("GONE")).await.map(|_| "reconcile")
                }
                _ => Ok("nothing"),
            }
        }
    }
    .unwrap()
}

async fn check(registry: &dyn Registry, task: &TaskRef, promises: &mut Promises, told: &str) {
    let (standing, claim, record, _) = everything(registry, task).await;
    if let Some(decision) = &promises.decision {
        // Only a pending handoff may become a refusal, while nobody was told.
        let taken_back = matches!(decision.kind, Some(Kind::HandoffToWorkflow(_)))
            && !promises.submitted
            && standing.refusal.is_some();
        assert!(taken_back || standing.decision.as_ref() == Some(decision), "the journal changed, {told}");
    }
    if promises.settlement.is_some() {
        assert_eq!(standing.settlement, promises.settlement, "the end changed, {told}");
    }
    if let Some(answer) = &promises.answer {
        assert_eq!(claim, *answer, "the answer changed, {told}");
    }
    assert!(!promises.submitted || standing.submitted, "submitted was said, and is not so, {told}");
    assert_eq!(standing.submitted, record.is_some(), "a poll disagrees, {told}");
    if let Some(record) = &record {
        let status = standing.settlement.as_ref().map(|settlement| settlement.status.as_str());
        assert!(status.is_none_or(|status| status == record.status), "a poll disagrees, {told}");
        assert!(matches!(claim, ClaimView::Answered(_)), "a task without an answered claim, {told}");
        assert_eq!(standing.refusal, None, "refused and submitted, {told}");
    }
    if standing.settlement.is_some() {
        assert!(standing.decision.is_some(), "ended with an open journal, {told}");
    }
    promises.decision = standing.decision;
    promises.settlement = standing.settlement;
    promises.submitted = standing.submitted;
    promises.answer = matches!(claim, ClaimView::Answered(_)).then_some(claim);
}
