//! Requests that name a proposal: reserved before the seller is called, consumed or released with the request's end.

use crate::{database::Database, ledger_support::*, support::*};
use handoff_proto::{
    errors,
    v1::{Completion, Decision, TaskRef, completion::Outcome, decision::Kind},
    wire::OfferedProposal,
};
use handoff_store::{Claim, ClaimView, ProposalState, Reconciled, Registry};
use std::{sync::Arc, time::Duration};

const BOUGHT: &str = r#"{"media_buy_id":"mb_1","revision":3}"#;

async fn ready(registry: &dyn Registry) {
    commit(registry, &offer("p")).await;
}

async fn observed(registry: &dyn Registry, task: &TaskRef) -> handoff_store::Observation {
    let all = registry.unfinished(i64::MAX, None, 1_000).await.unwrap();
    all.into_iter().find(|observed| observed.task == *task).unwrap()
}

fn code_of(decision: Option<Decision>) -> String {
    match decision.and_then(|decision| decision.kind) {
        Some(Kind::Refuse(error)) => error.code,
        other => panic!("{other:?} is no refusal"),
    }
}

pub(crate) async fn begin_reserves_before_the_seller_is_called(database: Arc<Database>) {
    let registry = registry(&database).await;
    ready(&*registry).await;
    let task = claimed_with(&*registry, uses("p")).await;
    assert_eq!(stands(&*registry, "p").await, (ProposalState::Committed, None));
    for _ in 0..2 {
        assert_eq!(registry.begin(&task).await.unwrap(), Default::default());
        assert_eq!(stands(&*registry, "p").await, (ProposalState::Consuming, Some(task.task_id.clone())));
        let reserved = registry.get_reserved(&task).await.unwrap().unwrap();
        assert_eq!((reserved.proposal.key, reserved.body_json), (at("p").key, offer("p").body_json));
    }
    for foreign in [
        TaskRef { scope: "acct_2".into(), ..task.clone() },
        TaskRef { principal: "agent_2".into(), ..task.clone() },
        TaskRef { scope: "acct_1\0".into(), ..task.clone() },
        new_task(),
    ] {
        assert_eq!(registry.get_reserved(&foreign).await.unwrap(), None);
    }
    for _ in 0..2 {
        let standing = registry.record_decision(&task, &complete(BOUGHT)).await.unwrap();
        assert_eq!(standing.decision, Some(complete(BOUGHT)));
        assert_eq!(registry.begin(&task).await.unwrap(), standing);
    }
    assert_eq!(registry.get_reserved(&task).await.unwrap(), None, "it is bought");
    let bought = found(&*registry, "p").await.unwrap();
    assert_eq!((bought.state, bought.held_by.as_ref()), (ProposalState::Consumed, Some(&task.task_id)));
    assert_eq!((bought.media_buy_id.as_deref(), bought.media_buy_revision), (Some("mb_1"), Some(3)));
    assert_eq!(told(&*registry, "p").await, ["committed", "reserved", "consumed"]);
    let history = registry.proposal_history(&at("p")).await.unwrap().unwrap();
    assert!(history[1..].iter().all(|entry| entry.task_id.as_ref() == Some(&task.task_id)));
    // Requests without a proposal find what they always found.
    let plain = claimed(&*registry).await;
    assert_eq!(registry.begin(&plain).await.unwrap(), Default::default());
    assert_eq!(registry.begin(&new_task()).await.unwrap().decision, void());
    registry.close().await;
}

/// How a request comes to the point where it ends.
#[derive(Clone, Copy, Debug)]
enum Way {
    Undecided,
    Promoted,
    ToTask,
    Pending,
    ToWorkflow,
}

impl Way {
    const ALL: [Self; 5] = [Self::Undecided, Self::Promoted, Self::ToTask, Self::Pending, Self::ToWorkflow];

    async fn go(self, registry: &dyn Registry, task: &TaskRef) {
        let decision = match self {
            Self::Undecided => return,
            Self::Promoted => return assert!(registry.accept(task).await.unwrap().submitted),
            Self::ToTask => to_task(),
            Self::Pending | Self::ToWorkflow => to_workflow(),
        };
        registry.record_decision(task, &decision).await.unwrap();
        if let Self::ToWorkflow = self {
            registry.accept(task).await.unwrap();
        }
    }
}

/// How a request ends without a purchase.
#[derive(Clone, Copy, Debug)]
enum Failure {
    Refused,
    OtherArm,
    SettledFailed,
    Canceled,
    Rejected,
    Discarded,
    Reconciled,
}

impl Failure {
    const ALL: [Self; 7] = [
        Self::Refused,
        Self::OtherArm,
        Self::SettledFailed,
        Self::Canceled,
        Self::Rejected,
        Self::Discarded,
        Self::Reconciled,
    ];

    /// A decision needs an open journal, a settlement a task.
    fn follows(self, way: Way) -> bool {
        match self {
            Self::Refused | Self::OtherArm => matches!(way, Way::Undecided | Way::Promoted),
            Self::SettledFailed | Self::Canceled | Self::Rejected => !matches!(way, Way::Undecided),
            Self::Discarded | Self::Reconciled => true,
        }
    }

    async fn happen(self, registry: &dyn Registry, task: &TaskRef) {
        match self {
            Self::Refused => drop(registry.record_decision(task, &refuse("NO")).await.unwrap()),
            Self::OtherArm => {
                let failed = r#"{"status":"failed","errors":[{"code":"NO"}],"media_buy_id":"mb_1"}"#;
                registry.record_decision(task, &complete(failed)).await.unwrap();
            }
            Self::SettledFailed => drop(registry.settle(task, &failure("NO")).await.unwrap()),
            Self::Canceled => drop(registry.settle(task, &cancellation()).await.unwrap()),
            Self::Rejected => {
                let rejected = result(r#"{"status":"rejected","reason":"no"}"#);
                assert_eq!(ended(&registry.settle(task, &rejected).await.unwrap()), "rejected");
            }
            Self::Discarded => drop(registry.discard(task, &error("UNABLE")).await.unwrap()),
            Self::Reconciled => {
                let unfinished = registry.unfinished(i64::MAX, None, 1_000).await.unwrap();
                if let Some(observed) = unfinished.iter().find(|observed| observed.task == *task) {
                    registry.reconcile(observed, &error("GONE")).await.unwrap();
                }
            }
        }
    }
}

pub(crate) async fn every_end_without_a_purchase_releases(database: Arc<Database>) {
    let registry = registry(&database).await;
    ready(&*registry).await;
    let mut ends = 0;
    for way in Way::ALL {
        for end in Failure::ALL.into_iter().filter(|end| end.follows(way)) {
            let task = begun(&*registry, "p").await;
            way.go(&*registry, &task).await;
            assert_eq!(stands(&*registry, "p").await.0, ProposalState::Consuming, "{way:?} {end:?}");
            end.happen(&*registry, &task).await;
            let released = (ProposalState::Committed, None);
            assert_eq!(stands(&*registry, "p").await, released, "{way:?} {end:?}");
            let before = (all_of(&*registry, &at("p")).await, everything(&*registry, &task).await);
            end.happen(&*registry, &task).await;
            registry.begin(&task).await.unwrap();
            let after = (all_of(&*registry, &at("p")).await, everything(&*registry, &task).await);
            assert_eq!(after, before, "{way:?} {end:?}, twice");
            ends += 1;
        }
    }
    assert_eq!(ends, 2 * 2 + 4 * 3 + 5 * 2);
    // The buyer can retry at once.
    let task = begun(&*registry, "p").await;
    registry.record_decision(&task, &complete(BOUGHT)).await.unwrap();
    registry.close().await;
}

pub(crate) async fn a_success_consumes_on_every_arm(database: Arc<Database>) {
    let registry = registry(&database).await;
    for (number, way) in Way::ALL.into_iter().enumerate() {
        let (id, media_buy) = (format!("p{number}"), format!("mb_{number}"));
        commit(&*registry, &offer(&id)).await;
        let task = begun(&*registry, &id).await;
        way.go(&*registry, &task).await;
        let body = format!(r#"{{"media_buy_id":"{media_buy}","revision":1}}"#);
        for _ in 0..2 {
            match way {
                Way::Undecided | Way::Promoted => {
                    let standing = registry.record_decision(&task, &complete(&body)).await.unwrap();
                    assert_eq!(standing.decision, Some(complete(&body)), "{way:?}");
                }
                _ => assert_eq!(ended(&registry.settle(&task, &result(&body)).await.unwrap()), "completed", "{way:?}"),
            }
            assert_eq!(stands(&*registry, &id).await, (ProposalState::Consumed, Some(task.task_id.clone())), "{way:?}");
        }
        let before = (all_of(&*registry, &at(&id)).await, everything(&*registry, &task).await);
        for late in Failure::ALL {
            if !matches!(late, Failure::Rejected) {
                late.happen(&*registry, &task).await;
            }
        }
        assert_eq!((all_of(&*registry, &at(&id)).await, everything(&*registry, &task).await), before, "{way:?}");
        let record = registry.get_by_media_buy_id(SCOPE, PRINCIPAL, &media_buy).await.unwrap().unwrap();
        assert_eq!(record.proposal.key.proposal_id, id);
    }
    registry.close().await;
}

pub(crate) async fn a_success_that_cannot_be_finalised_fails_and_releases(database: Arc<Database>) {
    let registry = registry(&database).await;
    commit(&*registry, &offer("other")).await;
    buy(&*registry, "other", "taken", 1).await;
    ready(&*registry).await;
    let released = (ProposalState::Committed, None);
    for body in
        ["{}", r#"{"media_buy_id":""}"#, r#"{"media_buy_id":"taken","revision":1}"#, r#"{"media_buy_id":"a\u0000"}"#]
    {
        // At once: a refusal that frees the key.
        let task = begun(&*registry, "p").await;
        for _ in 0..2 {
            let standing = registry.record_decision(&task, &complete(body)).await.unwrap();
            assert_eq!(code_of(standing.decision), errors::NOT_FINALIZED, "{body}");
            assert_eq!(standing.refusal.unwrap().recovery, "terminal");
            assert_eq!(stands(&*registry, "p").await, released, "{body}");
        }
        assert!(matches!(registry.claim_view(&task).await.unwrap(), ClaimView::Refused { .. }));
        // After `submitted`: the task fails, and says who decided.
        for way in [Way::Promoted, Way::ToTask, Way::Pending, Way::ToWorkflow] {
            let task = begun(&*registry, "p").await;
            way.go(&*registry, &task).await;
            let settlement = match way {
                Way::Promoted => registry.record_decision(&task, &complete(body)).await.unwrap().settlement,
                _ => registry.settle(&task, &result(body)).await.unwrap(),
            };
            let settlement = settlement.unwrap();
            assert_eq!((settlement.status.as_str(), settlement.result_json.as_str()), ("failed", ""), "{way:?}");
            assert_eq!(settlement.error.unwrap().code, errors::NOT_FINALIZED);
            let expected = if matches!(way, Way::Promoted) { ("", "") } else { ("d-1", "ann") };
            assert_eq!((settlement.decision_id.as_str(), settlement.actor.as_str()), expected, "{way:?}");
            assert_eq!(stands(&*registry, "p").await, released, "{way:?} {body}");
            let late = registry.settle(&task, &result(BOUGHT)).await.unwrap();
            assert_eq!((ended(&late), stands(&*registry, "p").await), ("failed", released.clone()));
        }
    }
    registry.close().await;
}

pub(crate) async fn a_purchase_without_its_reservation_fails(database: Arc<Database>) {
    let registry = registry(&database).await;
    ready(&*registry).await;
    // Taken away by hand, and then another's.
    let task = begun(&*registry, "p").await;
    registry.release_proposal(&at("p"), &task.task_id, &nobody()).await.unwrap();
    let other = begun(&*registry, "p").await;
    let standing = registry.record_decision(&task, &complete(BOUGHT)).await.unwrap();
    assert_eq!(code_of(standing.decision), errors::NOT_FINALIZED);
    assert_eq!(stands(&*registry, "p").await, (ProposalState::Consuming, Some(other.task_id)));
    // Never made.
    let task = claimed_with(&*registry, uses("missing")).await;
    registry.accept(&task).await.unwrap();
    assert_eq!(ended(&registry.settle(&task, &result(BOUGHT)).await.unwrap()), "failed");
    registry.close().await;
}

pub(crate) async fn what_cannot_be_reserved_is_refused(database: Arc<Database>) {
    let registry = registry(&database).await;
    registry.put_draft(&at("draft"), &offer("draft"), &nobody()).await.unwrap().unwrap();
    commit(&*registry, &OfferedProposal { expires_at: Some(1), ..offer("expired") }).await;
    commit(&*registry, &offer("sold")).await;
    buy(&*registry, "sold", "mb", 1).await;
    for (id, expected) in [
        ("missing", "PROPOSAL_NOT_FOUND"),
        ("draft", "PROPOSAL_NOT_COMMITTED"),
        ("expired", "PROPOSAL_EXPIRED"),
        ("sold", "INVALID_STATE"),
    ] {
        let before = registry.proposal_history(&at(id)).await.unwrap();
        let task = new_task();
        let mut claim = claim_of(&task, Some(id));
        claim.proposal = Some(uses(id));
        assert_eq!(registry.claim(&claim).await.unwrap(), Claim::New);
        for _ in 0..2 {
            let standing = registry.begin(&task).await.unwrap();
            assert_eq!(standing.refusal.as_ref().map(|error| error.code.as_str()), Some(expected));
            assert_eq!(code_of(standing.decision), expected);
        }
        assert!(matches!(registry.claim_view(&task).await.unwrap(), ClaimView::Refused { .. }), "{id}");
        claim.task = new_task();
        assert_eq!(registry.claim(&claim).await.unwrap(), Claim::New, "the key is free");
        // A buyer who was told `submitted` is told by the task.
        let promoted = claimed_with(&*registry, uses(id)).await;
        registry.accept(&promoted).await.unwrap();
        let standing = registry.begin(&promoted).await.unwrap();
        assert_eq!((standing.submitted, ended(&standing.settlement)), (true, "failed"));
        assert_eq!(record(&*registry, &promoted).await.unwrap().error.unwrap().code, expected);
        assert_eq!(registry.proposal_history(&at(id)).await.unwrap(), before);
    }
    registry.close().await;
}

pub(crate) async fn a_hundred_buys_have_one_winner(database: Arc<Database>) {
    let registry = registry(&database).await;
    ready(&*registry).await;
    let mut tasks = Vec::new();
    for _ in 0..100 {
        tasks.push(claimed_with(&*registry, uses("p")).await);
    }
    let calls = tasks.iter().cloned().map(|task| {
        let registry = Arc::clone(&registry);
        tokio::spawn(async move { (task.clone(), registry.begin(&task).await.unwrap()) })
    });
    let begun: Vec<_> = futures::future::join_all(calls).await.into_iter().map(Result::unwrap).collect();
    let (winners, losers): (Vec<_>, Vec<_>) = begun.into_iter().partition(|(_, standing)| standing.decision.is_none());
    assert_eq!(winners.len(), 1);
    for (_, standing) in &losers {
        let error = standing.refusal.as_ref().unwrap();
        assert_eq!(
            (error.code.as_str(), error.recovery.as_str(), error.retry_after),
            ("CONFLICT", "transient", Some(60))
        );
    }
    let winner = &winners[0].0;
    registry.record_decision(winner, &complete(BOUGHT)).await.unwrap();
    // Whoever lost finds it executed, and the winner's key its answer.
    let late = claimed_with(&*registry, uses("p")).await;
    assert_eq!(registry.begin(&late).await.unwrap().refusal.unwrap().code, "INVALID_STATE");
    let again =
        claim_of(&TaskRef { verb: winner.verb.clone(), ..new_task() }, Some(&format!("key-{}", winner.task_id)));
    assert!(
        matches!(registry.claim(&again).await.unwrap(), Claim::Answered { task_id, .. } if task_id == winner.task_id)
    );
    registry.close().await;
}

pub(crate) async fn late_steps_leave_anothers_reservation(database: Arc<Database>) {
    let registry = registry(&database).await;
    ready(&*registry).await;
    let refused = begun(&*registry, "p").await;
    registry.record_decision(&refused, &refuse("NO")).await.unwrap();
    let lost = begun(&*registry, "p").await;
    let seen = observed(&*registry, &lost).await;
    assert_eq!(registry.reconcile(&seen, &error("GONE")).await.unwrap(), Reconciled::Voided);
    let holder = begun(&*registry, "p").await;
    let before = all_of(&*registry, &at("p")).await;
    for late in [&refused, &lost] {
        registry.begin(late).await.unwrap();
        for decision in [complete(BOUGHT), refuse("NO"), to_task()] {
            registry.record_decision(late, &decision).await.unwrap();
        }
        for completion in [result(BOUGHT), failure("NO"), cancellation()] {
            registry.settle(late, &completion).await.unwrap();
        }
        registry.discard(late, &error("NO")).await.unwrap();
        registry.release_proposal(&at("p"), &late.task_id, &nobody()).await.unwrap();
    }
    assert_eq!(registry.reconcile(&seen, &error("GONE")).await.unwrap(), Reconciled::Changed);
    assert_eq!(all_of(&*registry, &at("p")).await, before);
    registry.record_decision(&holder, &complete(BOUGHT)).await.unwrap();
    assert_eq!(stands(&*registry, "p").await, (ProposalState::Consumed, Some(holder.task_id)));
    registry.close().await;
}

pub(crate) async fn the_first_settle_decides_for_the_proposal_too(database: Arc<Database>) {
    let registry = registry(&database).await;
    for number in 0..10 {
        let (id, media_buy) = (format!("p{number}"), format!("mb_{number}"));
        commit(&*registry, &offer(&id)).await;
        let task = begun(&*registry, &id).await;
        registry.record_decision(&task, &to_task()).await.unwrap();
        let calls = (0..12).map(|call| {
            let (registry, task) = (Arc::clone(&registry), task.clone());
            let success = Outcome::ResultJson(format!(r#"{{"media_buy_id":"{media_buy}","revision":1}}"#));
            tokio::spawn(async move {
                let completion = match call % 3 {
                    0 => failure("NO"),
                    1 => cancellation(),
                    _ => Completion { outcome: Some(success), ..Default::default() },
                };
                ended(&registry.settle(&task, &completion).await.unwrap()).to_owned()
            })
        });
        let told: Vec<_> = futures::future::join_all(calls).await.into_iter().map(Result::unwrap).collect();
        assert!(told.iter().all(|status| *status == told[0]));
        let expected = if told[0] == "completed" { ProposalState::Consumed } else { ProposalState::Committed };
        assert_eq!(stands(&*registry, &id).await.0, expected, "{}", told[0]);
    }
    registry.close().await;
}

pub(crate) async fn another_scopes_request_reserves_nothing(database: Arc<Database>) {
    let registry = registry(&database).await;
    ready(&*registry).await;
    let task = claimed_with(&*registry, uses("p")).await;
    let before = all_of(&*registry, &at("p")).await;
    for (scope, principal) in [("acct_2", "agent_1"), ("acct_1", "agent_2"), ("acct_1\0", "agent_1")] {
        let foreign = TaskRef { scope: scope.into(), principal: principal.into(), ..task.clone() };
        assert_eq!(registry.begin(&foreign).await.unwrap(), registry.begin(&new_task()).await.unwrap());
        // Its own request for it finds no proposal.
        if !scope.contains('\0') {
            let mut claim = claim_of(&TaskRef { task_id: new_task().task_id, ..foreign }, None);
            claim.proposal = Some(uses("p"));
            registry.claim(&claim).await.unwrap();
            assert_eq!(registry.begin(&claim.task).await.unwrap().refusal.unwrap().code, "PROPOSAL_NOT_FOUND");
        }
    }
    assert_eq!(all_of(&*registry, &at("p")).await, before);
    registry.close().await;
}

pub(crate) async fn a_purged_request_leaves_its_purchase(database: Arc<Database>) {
    let registry = registry_with_ttl(&database, Duration::ZERO).await;
    ready(&*registry).await;
    let task = begun(&*registry, "p").await;
    registry.record_decision(&task, &complete(BOUGHT)).await.unwrap();
    let before = all_of(&*registry, &at("p")).await;
    assert!(registry.purge(&task).await.unwrap() && registry.forget(&task).await.unwrap());
    assert_eq!(all_of(&*registry, &at("p")).await, before);
    // A reservation that outlived its request, however that came to be, goes with it.
    commit(&*registry, &offer("q")).await;
    let ended = claimed(&*registry).await;
    registry.record_decision(&ended, &refuse("NO")).await.unwrap();
    registry.try_reserve(&ended, &uses("q")).await.unwrap().unwrap();
    assert!(registry.purge(&ended).await.unwrap());
    assert_eq!(stands(&*registry, "q").await, (ProposalState::Committed, None));
    registry.close().await;
}
