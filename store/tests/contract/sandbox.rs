//! What a sandbox's compliance controller wants of the next request.

use crate::{database::Database, support::*};
use handoff_proto::v1::{Decision, HandoffToWorkflow, TaskRef, decision::Kind};
use handoff_store::{Answer, Claim, ClaimView, DirectView, Directive, Forced, NewClaim, ObservedStage, Registry, Seen};
use std::sync::Arc;

const FORCED: &str = "task_async_signed_io_q2";

fn forced_decision() -> Decision {
    decision(Kind::HandoffToWorkflow(HandoffToWorkflow::forced(Some("Awaiting a signature"), None)))
}

fn directive_of(task: &TaskRef, decision: Decision) -> Directive {
    Directive { task: task.clone(), decision, id: new_task().task_id }
}

/// A directive for the next request of the usual buyer.
fn submitting() -> Directive {
    directive_of(&TaskRef { task_id: FORCED.into(), ..new_task() }, forced_decision())
}

async fn put(registry: &dyn Registry, directive: &Directive) {
    assert!(registry.put_directive(directive).await.unwrap());
    assert_eq!(registry.directive(&directive.task).await.unwrap().as_ref(), Some(directive));
}

fn in_sandbox(claim: NewClaim) -> NewClaim {
    NewClaim { sandbox: true, ..claim }
}

fn claim_under(directive: &Directive, key: Option<&str>) -> NewClaim {
    in_sandbox(claim_of(&directive.task, key))
}

async fn force(registry: &dyn Registry, directive: &Directive, key: Option<&str>) -> Forced {
    registry.claim_forced(&claim_under(directive, key), directive, None).await.unwrap()
}

async fn waits(registry: &dyn Registry, directive: &Directive) -> bool {
    registry.directive(&directive.task).await.unwrap().is_some_and(|waiting| waiting.id == directive.id)
}

async fn claim_anew(registry: &dyn Registry, key: &str) -> Claim {
    registry.claim(&claim_of(&new_task(), Some(key))).await.unwrap()
}

pub(crate) async fn a_directive_is_used_up_by_the_next_new_request(database: Arc<Database>) {
    let registry = registry(&database).await;
    let registry = &*registry;
    for key in [Some("key-1"), None] {
        let directive = match key {
            Some(_) => submitting(),
            None => directive_of(&TaskRef { task_id: "task_keyless".into(), ..new_task() }, forced_decision()),
        };
        put(registry, &directive).await;
        let task = &directive.task;
        // The second time its reply was lost.
        for _ in 0..2 {
            assert_eq!(force(registry, &directive, key).await, Forced::Claimed { answer: None });
            assert!(!waits(registry, &directive).await);
        }
        let standing = registry.standing(task).await.unwrap();
        assert_eq!((standing.decision, standing.submitted), (Some(forced_decision()), false));
        assert_eq!(registry.direct_view(task).await.unwrap(), DirectView::Driven);
        assert_eq!(status(registry, task).await, None, "nobody was told yet");
        let observed = registry.unfinished(i64::MAX, None, 10).await.unwrap();
        let observed = observed.into_iter().find(|observed| observed.task == *task).unwrap();
        assert_eq!(observed.stage, ObservedStage::Pending);
        // Another request comes too late for it.
        assert_eq!(force(registry, &directive, Some("key-2")).await, Forced::Passed);
        assert!(registry.accept(task).await.unwrap().submitted);
        assert_eq!(events(registry, task).await, ["claimed", "decided", "submitted"]);
        let ClaimView::Answered(answer) = registry.claim_view(task).await.unwrap() else { panic!() };
        assert_eq!(answer.status, "submitted");
        assert!(answer.body_json.contains(&task.task_id) && answer.body_json.contains("Awaiting a signature"));
        assert_eq!(force(registry, &directive, key).await, Forced::Claimed { answer: Some(answer.clone()) });
        if let Some(key) = key {
            assert_eq!(claim_anew(registry, key).await, Claim::Answered { task_id: FORCED.into(), answer });
        }
    }
    registry.close().await;
}

pub(crate) async fn what_a_directive_answers_at_once_is_the_recorded_answer(database: Arc<Database>) {
    let registry = registry(&database).await;
    let body = r#"{"status":"rejected","reason":"no"}"#;
    let directive = directive_of(&new_task(), complete(body));
    put(&*registry, &directive).await;
    let answer = Answer { status: "completed".into(), body_json: body.into() };
    for _ in 0..2 {
        let forced = force(&*registry, &directive, Some("key-1")).await;
        assert_eq!(forced, Forced::Claimed { answer: Some(answer.clone()) });
    }
    let task_id = directive.task.task_id.clone();
    assert_eq!(claim_anew(&*registry, "key-1").await, Claim::Answered { task_id, answer });
    assert_eq!(status(&*registry, &directive.task).await, None, "there is no task");
    assert!(!waits(&*registry, &directive).await);
    registry.close().await;
}

pub(crate) async fn a_known_key_leaves_the_directive(database: Arc<Database>) {
    let registry = registry(&database).await;
    let task = new_task();
    registry.claim(&claim_of(&task, Some("key-1"))).await.unwrap();
    let directive = submitting();
    put(&*registry, &directive).await;
    // In flight, answered, and used for another request.
    assert_eq!(force(&*registry, &directive, Some("key-1")).await, Forced::Passed);
    registry.record_decision(&task, &complete("{}")).await.unwrap();
    assert_eq!(force(&*registry, &directive, Some("key-1")).await, Forced::Passed);
    let other = NewClaim { request_hash: "other".into(), ..claim_under(&directive, Some("key-1")) };
    assert_eq!(registry.claim_forced(&other, &directive, None).await.unwrap(), Forced::Passed);
    assert!(waits(&*registry, &directive).await);
    assert_eq!(registry.find(&buyer(), FORCED).await.unwrap(), None);
    // Its own key, once it is answered.
    assert_eq!(force(&*registry, &directive, Some("key-2")).await, Forced::Claimed { answer: None });
    registry.accept(&directive.task).await.unwrap();
    registry.settle(&directive.task, &result("{}")).await.unwrap();
    let again = submitting();
    put(&*registry, &again).await;
    assert_eq!(registry.claim_forced(&claim_under(&again, Some("key-2")), &again, None).await.unwrap(), Forced::Passed);
    assert!(waits(&*registry, &again).await);
    assert_eq!(status(&*registry, &again.task).await.as_deref(), Some("completed"));
    registry.close().await;
}

pub(crate) async fn the_last_directive_is_the_one(database: Arc<Database>) {
    let registry = registry(&database).await;
    let (first, second) = (submitting(), directive_of(&new_task(), complete("{}")));
    put(&*registry, &first).await;
    put(&*registry, &second).await;
    assert_eq!(force(&*registry, &first, Some("key-1")).await, Forced::Passed);
    assert!(matches!(force(&*registry, &second, Some("key-1")).await, Forced::Claimed { answer: Some(_) }));
    registry.close().await;
}

pub(crate) async fn directives_of_scopes_principals_and_verbs_are_apart(database: Arc<Database>) {
    let registry = registry(&database).await;
    let directive = submitting();
    put(&*registry, &directive).await;
    for other in [
        TaskRef { scope: "acct_2".into(), ..directive.task.clone() },
        TaskRef { principal: "agent_2".into(), ..directive.task.clone() },
        TaskRef { verb: "get_products".into(), ..directive.task.clone() },
        TaskRef { scope: "acct_1\0".into(), ..directive.task.clone() },
    ] {
        assert_eq!(registry.directive(&other).await.unwrap(), None);
        if !other.scope.contains('\0') {
            let claim = in_sandbox(claim_of(&other, Some("key-1")));
            assert_eq!(registry.claim_forced(&claim, &directive, None).await.unwrap(), Forced::Passed);
        }
    }
    assert!(waits(&*registry, &directive).await);
    registry.close().await;
}

pub(crate) async fn a_forced_task_is_replaced_and_nothing_of_it_is_left(database: Arc<Database>) {
    let registry = registry(&database).await;
    for stage in ["pending", "submitted", "ended"] {
        let task_id = format!("forced_{stage}");
        let forcing = || directive_of(&TaskRef { task_id: task_id.clone(), ..new_task() }, forced_decision());
        let (old, new) = (format!("old-{stage}"), format!("new-{stage}"));
        let first = forcing();
        put(&*registry, &first).await;
        let webhook = webhook(r#"{"url":"https://buyer.example","operation_id":"op"}"#, false);
        let claim = NewClaim { webhook, ..claim_under(&first, Some(&old)) };
        registry.claim_forced(&claim, &first, None).await.unwrap();
        if stage != "pending" {
            registry.accept(&first.task).await.unwrap();
        }
        if stage == "ended" {
            registry.settle(&first.task, &result("{}")).await.unwrap();
            assert!(registry.webhook_delivery(&first.task).await.unwrap().is_some());
        }

        let second = forcing();
        put(&*registry, &second).await;
        let before = everything(&*registry, &second.task).await;
        let Forced::Held { seen } = force(&*registry, &second, Some(&new)).await else { panic!("{stage}") };
        assert_eq!(force(&*registry, &second, Some(&new)).await, Forced::Held { seen });
        assert!(waits(&*registry, &second).await);
        assert_eq!(everything(&*registry, &second.task).await, before);
        let claim = claim_under(&second, Some(&new));
        for _ in 0..2 {
            let forced = registry.claim_forced(&claim, &second, Some(seen)).await.unwrap();
            assert_eq!(forced, Forced::Claimed { answer: None });
        }
        assert_eq!(status(&*registry, &second.task).await, None, "nobody was told of the new one yet");
        assert_eq!(registry.webhook_log(&task_id).await.unwrap(), None);
        registry.accept(&second.task).await.unwrap();
        assert_eq!(events(&*registry, &second.task).await, ["claimed", "decided", "submitted"]);
        assert_eq!(claim_anew(&*registry, &old).await, Claim::New, "the earlier request is forgotten");
    }
    registry.close().await;
}

pub(crate) async fn a_task_that_changed_after_it_was_seen_is_not_replaced(database: Arc<Database>) {
    let registry = registry(&database).await;
    let first = submitting();
    put(&*registry, &first).await;
    force(&*registry, &first, Some("key-1")).await;
    registry.accept(&first.task).await.unwrap();
    let second = submitting();
    put(&*registry, &second).await;
    let Forced::Held { seen } = force(&*registry, &second, Some("key-2")).await else { panic!() };
    // A reviewer's decision comes before the claim.
    registry.settle(&first.task, &result("{}")).await.unwrap();
    let claim = claim_under(&second, Some("key-2"));
    let forced = registry.claim_forced(&claim, &second, Some(seen)).await.unwrap();
    let Forced::Held { seen: now } = forced else { panic!("{forced:?}") };
    assert_ne!(now, seen);
    assert_eq!(status(&*registry, &first.task).await.as_deref(), Some("completed"));
    assert!(waits(&*registry, &second).await);
    let forced = registry.claim_forced(&claim, &second, Some(now)).await.unwrap();
    assert_eq!(forced, Forced::Claimed { answer: None });
    // What was seen of the one before says nothing of this one.
    let third = submitting();
    put(&*registry, &third).await;
    let forced = registry.claim_forced(&claim_under(&third, Some("key-3")), &third, Some(now)).await.unwrap();
    assert!(matches!(forced, Forced::Held { seen } if seen != now), "{forced:?}");
    registry.close().await;
}

pub(crate) async fn what_another_or_nobody_forced_is_not_replaced(database: Arc<Database>) {
    let registry = registry(&database).await;
    let seen = Seen { created_at: 0, version: 1 };
    // One id has the engine's own form, the other's task is live. Both came after the directive was put.
    for (task, sandbox) in [(new_task(), true), (TaskRef { task_id: "live".into(), ..new_task() }, false)] {
        let directive = directive_of(&task, forced_decision());
        put(&*registry, &directive).await;
        let own = format!("key-{}", task.task_id);
        registry.claim(&NewClaim { sandbox, ..claim_of(&task, Some(&own)) }).await.unwrap();
        let before = everything(&*registry, &task).await;
        for replaces in [None, Some(seen)] {
            let claim = claim_under(&directive, Some("key-2"));
            assert_eq!(registry.claim_forced(&claim, &directive, replaces).await.unwrap(), Forced::Taken);
        }
        assert_eq!(everything(&*registry, &task).await, before);
        assert!(waits(&*registry, &directive).await);
        assert!(!registry.put_directive(&directive_of(&task, forced_decision())).await.unwrap());
    }
    let directive = submitting();
    put(&*registry, &directive).await;
    let live = NewClaim { sandbox: false, ..claim_under(&directive, Some("key-3")) };
    assert!(registry.claim_forced(&live, &directive, None).await.is_err());
    // Put while the id was free; by the time of its request it is another's.
    let stranger = TaskRef { principal: "agent_2".into(), ..directive.task.clone() };
    let late = directive_of(&stranger, forced_decision());
    put(&*registry, &late).await;
    assert_eq!(force(&*registry, &directive, Some("key-3")).await, Forced::Claimed { answer: None });
    assert_eq!(force(&*registry, &late, Some("key-4")).await, Forced::Taken);
    for stranger in [TaskRef { scope: "acct_2".into(), ..directive.task.clone() }, stranger] {
        assert!(!registry.put_directive(&directive_of(&stranger, forced_decision())).await.unwrap());
    }
    assert!(waits(&*registry, &late).await, "the one that was put before is still there");
    put(&*registry, &submitting()).await;
    registry.close().await;
}

pub(crate) async fn concurrent_claims_use_a_directive_up_once(database: Arc<Database>) {
    let registry = registry(&database).await;
    let directive = submitting();
    put(&*registry, &directive).await;
    let claims = (0..10).map(|number| {
        let (registry, directive) = (Arc::clone(&registry), directive.clone());
        tokio::spawn(async move { force(&*registry, &directive, Some(&format!("key-{number}"))).await })
    });
    let outcomes = futures::future::join_all(claims).await.into_iter().map(Result::unwrap).collect::<Vec<_>>();
    let claimed = outcomes.iter().filter(|forced| **forced == Forced::Claimed { answer: None }).count();
    assert_eq!((claimed, outcomes.iter().filter(|forced| **forced == Forced::Passed).count()), (1, 9));
    registry.close().await;
}

pub(crate) async fn directives_are_sealed_and_resealed(database: Arc<Database>) {
    let old = registry_with_keys(&database, &["old"]).await;
    let directive = submitting();
    put(&*old, &directive).await;
    old.close().await;
    let both = registry_with_keys(&database, &["new", "old"]).await;
    assert!(waits(&*both, &directive).await);
    for (dry_run, key) in [(true, "old"), (false, "old"), (true, "new")] {
        let resealed = both.reseal(None, 10, dry_run).await.unwrap();
        assert_eq!(resealed.values, [(Some(key.to_owned()), 1)].into(), "{dry_run}");
        assert_eq!((resealed.next, resealed.unreadable), (None, 0));
    }
    both.close().await;
    let new = registry_with_keys(&database, &["new"]).await;
    assert_eq!(new.directive(&directive.task).await.unwrap().as_ref(), Some(&directive));
    new.close().await;
    let lost = registry_with_keys(&database, &["other"]).await;
    assert!(lost.directive(&directive.task).await.is_err());
    assert_eq!(lost.reseal(None, 10, false).await.unwrap().unreadable, 1);
    put(&*lost, &submitting()).await;
    lost.close().await;
    // Moved to another agent, it does not open.
    let moved = registry_with_keys(&database, &["other"]).await;
    database.execute("UPDATE directives SET principal = 'agent_2'").await;
    let stranger = TaskRef { principal: "agent_2".into(), ..directive.task.clone() };
    assert!(moved.directive(&stranger).await.is_err());
    moved.close().await;
}

pub(crate) async fn what_no_database_can_store_of_a_directive_is_refused(database: Arc<Database>) {
    let registry = registry(&database).await;
    let good = submitting();
    for bad in [
        directive_of(&TaskRef { task_id: "a\0".into(), ..good.task.clone() }, forced_decision()),
        directive_of(&TaskRef { task_id: "x".repeat(600), ..good.task.clone() }, forced_decision()),
        directive_of(&TaskRef { scope: String::new(), ..good.task.clone() }, forced_decision()),
        directive_of(&TaskRef { verb: String::new(), ..good.task.clone() }, forced_decision()),
        directive_of(&good.task, Decision::default()),
        Directive { id: String::new(), ..good.clone() },
    ] {
        assert!(registry.put_directive(&bad).await.is_err(), "{bad:?}");
    }
    assert_eq!(registry.directive(&good.task).await.unwrap(), None);
    registry.close().await;
}
