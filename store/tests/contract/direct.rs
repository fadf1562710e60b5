//! Requests whose handler is called outside any workflow.

use crate::{database::Database, support::*};
use chrono::Utc;
use handoff_proto::v1::TaskRef;
use handoff_store::{Claim, ClaimView, DirectView, Lease, Observation, ObservedStage, Reconciled, Registry};
use std::{sync::Arc, time::Duration};

const HOUR: i64 = 3_600_000_000;

fn lease(from_now: i64, rerunnable: bool) -> Lease {
    Lease { until: Utc::now().timestamp_micros() + from_now, rerunnable }
}

/// A request that is claimed with this lease, and a key of its own.
async fn leased(registry: &dyn Registry, lease: &Lease) -> TaskRef {
    let task = TaskRef { verb: "sync_accounts".into(), ..new_task() };
    let claim = claim_of(&task, Some(&format!("key-{}", task.task_id)));
    assert_eq!(registry.claim_directly(&claim, lease).await.unwrap(), Claim::New);
    // Its reply was lost.
    assert_eq!(registry.claim_directly(&claim, lease).await.unwrap(), Claim::New);
    task
}

async fn again(registry: &dyn Registry, task: &TaskRef) -> Claim {
    let other = TaskRef { task_id: new_task().task_id, ..task.clone() };
    registry.claim(&claim_of(&other, Some(&format!("key-{}", task.task_id)))).await.unwrap()
}

async fn view(registry: &dyn Registry, task: &TaskRef) -> DirectView {
    registry.direct_view(task).await.unwrap()
}

async fn observe(registry: &dyn Registry, task: &TaskRef) -> Option<Observation> {
    let all = registry.unfinished(i64::MAX, None, 100).await.unwrap();
    all.into_iter().find(|observed| observed.task == *task)
}

pub(crate) async fn direct_completion_answers_the_claim(database: Arc<Database>) {
    let registry = registry(&database).await;
    let held = lease(HOUR, false);
    let task = leased(&*registry, &held).await;
    assert_eq!(view(&*registry, &task).await, DirectView::Leased);
    assert_eq!(again(&*registry, &task).await, Claim::InFlight { task_id: task.task_id.clone() });
    let standing = registry.record_direct(&task, &complete(r#"{"n":1.10}"#), &held).await.unwrap();
    assert_eq!(standing.decision, Some(complete(r#"{"n":1.10}"#)));
    // Later words, of the same call or of another's, change nothing.
    for late in [complete("{}"), refuse("LATE"), to_task()] {
        let standing = registry.record_direct(&task, &late, &held).await.unwrap();
        assert_eq!(standing.decision, Some(complete(r#"{"n":1.10}"#)));
    }
    let DirectView::Ended(ClaimView::Answered(answer)) = view(&*registry, &task).await else { panic!() };
    assert_eq!((answer.status.as_str(), answer.body_json.as_str()), ("completed", r#"{"n":1.10}"#));
    assert!(matches!(again(&*registry, &task).await, Claim::Answered { .. }));
    assert_eq!(status(&*registry, &task).await, None, "a plain answer is no task");
    assert_eq!(observe(&*registry, &task).await, None);
    registry.close().await;
}

pub(crate) async fn direct_refusal_releases_only_under_its_own_lease(database: Arc<Database>) {
    let registry = registry(&database).await;
    let held = lease(HOUR, false);
    let task = leased(&*registry, &held).await;
    let other = Lease { until: held.until + 1, ..held };
    registry.record_direct(&task, &refuse("NOT_MINE"), &other).await.unwrap();
    assert_eq!(view(&*registry, &task).await, DirectView::Leased);
    registry.record_direct(&task, &refuse("NO"), &held).await.unwrap();
    assert!(matches!(view(&*registry, &task).await, DirectView::Ended(ClaimView::Refused { .. })));
    assert_eq!(again(&*registry, &task).await, Claim::New);
    registry.close().await;
}

pub(crate) async fn lapsed_lease_of_a_rerunnable_handler_is_taken_once(database: Arc<Database>) {
    let registry = registry(&database).await;
    let (running, lapsed) = (lease(HOUR, true), lease(-1, true));
    let task = leased(&*registry, &running).await;
    assert!(!registry.take_over(&task, &lease(HOUR, true)).await.unwrap(), "still at work");
    let task = leased(&*registry, &lapsed).await;
    assert_eq!(view(&*registry, &task).await, DirectView::Lapsed { rerunnable: true });
    let takers = (0..10).map(|number| {
        let (registry, task) = (Arc::clone(&registry), task.clone());
        tokio::spawn(async move {
            let new = lease(HOUR + number, true);
            registry.take_over(&task, &new).await.unwrap().then_some(new)
        })
    });
    let takers = futures::future::join_all(takers).await.into_iter().filter_map(Result::unwrap).collect::<Vec<_>>();
    assert_eq!(takers.len(), 1);
    // What the first did not do, the second may yet do.
    registry.record_direct(&task, &refuse("LATE"), &lapsed).await.unwrap();
    assert_eq!(view(&*registry, &task).await, DirectView::Leased);
    // What the first did is done.
    registry.record_direct(&task, &complete(r#"{"by":1}"#), &lapsed).await.unwrap();
    let standing = registry.record_direct(&task, &complete(r#"{"by":2}"#), &takers[0]).await.unwrap();
    assert_eq!(standing.decision, Some(complete(r#"{"by":1}"#)));
    assert!(!registry.take_over(&task, &lease(HOUR, true)).await.unwrap(), "answered");
    registry.close().await;
}

pub(crate) async fn lapsed_lease_of_another_handler_releases_nothing(database: Arc<Database>) {
    let registry = registry(&database).await;
    let lapsed = lease(-1, false);
    let task = leased(&*registry, &lapsed).await;
    assert_eq!(view(&*registry, &task).await, DirectView::Lapsed { rerunnable: false });
    assert!(!registry.take_over(&task, &lease(HOUR, false)).await.unwrap());
    assert_eq!(again(&*registry, &task).await, Claim::InFlight { task_id: task.task_id.clone() });
    // A late completion is still the truth, and the answer.
    registry.record_direct(&task, &complete("{}"), &lapsed).await.unwrap();
    assert!(matches!(again(&*registry, &task).await, Claim::Answered { .. }));
    registry.close().await;
}

pub(crate) async fn direct_handoff_is_pending_until_its_run_accepts(database: Arc<Database>) {
    let registry = registry(&database).await;
    for decision in [to_task(), to_workflow()] {
        let held = lease(HOUR, true);
        let task = leased(&*registry, &held).await;
        let standing = registry.record_direct(&task, &decision, &held).await.unwrap();
        assert_eq!((standing.decision.as_ref(), standing.submitted), (Some(&decision), false));
        assert_eq!(view(&*registry, &task).await, DirectView::Driven);
        assert_eq!(status(&*registry, &task).await, None, "nobody drives it yet");
        assert_eq!(again(&*registry, &task).await, Claim::InFlight { task_id: task.task_id.clone() });
        assert_eq!(observe(&*registry, &task).await.unwrap().stage, ObservedStage::Pending);
        let standing = registry.accept(&task).await.unwrap();
        assert!(standing.submitted && standing.decision == Some(decision));
        assert_eq!(status(&*registry, &task).await.as_deref(), Some("submitted"));
        assert!(matches!(again(&*registry, &task).await, Claim::Answered { .. }));
    }
    registry.close().await;
}

pub(crate) async fn undecided_request_is_handed_over_by_its_holder_or_past_its_lease(database: Arc<Database>) {
    let registry = registry(&database).await;
    let held = lease(HOUR, true);
    let task = leased(&*registry, &held).await;
    registry.hand_over(&task, None).await.unwrap();
    registry.hand_over(&task, Some(&lease(2 * HOUR, true))).await.unwrap();
    assert_eq!(view(&*registry, &task).await, DirectView::Leased);
    for _ in 0..2 {
        registry.hand_over(&task, Some(&held)).await.unwrap();
        assert_eq!(view(&*registry, &task).await, DirectView::Driven);
        assert_eq!(registry.standing(&task).await.unwrap().decision, None, "the run decides");
        assert_eq!(observe(&*registry, &task).await.unwrap().stage, ObservedStage::Claimed);
    }
    // The dropped handler's hand-off or refusal would be a second decision.
    registry.record_direct(&task, &to_task(), &held).await.unwrap();
    registry.record_direct(&task, &refuse("LATE"), &held).await.unwrap();
    assert_eq!(registry.standing(&task).await.unwrap().decision, None);
    let lapsed = leased(&*registry, &lease(-1, true)).await;
    registry.hand_over(&lapsed, None).await.unwrap();
    assert_eq!(view(&*registry, &lapsed).await, DirectView::Driven);
    let missing = new_task();
    registry.hand_over(&missing, None).await.unwrap();
    assert_eq!(view(&*registry, &missing).await, DirectView::Ended(ClaimView::Missing));
    registry.close().await;
}

pub(crate) async fn reconcile_leaves_direct_answers_that_may_still_come(database: Arc<Database>) {
    let registry = registry(&database).await;
    for (lease, stage, done) in [
        (lease(HOUR, false), ObservedStage::Leased, Reconciled::Changed),
        (lease(HOUR, true), ObservedStage::Leased, Reconciled::Changed),
        (lease(-1, true), ObservedStage::Leased, Reconciled::Changed),
        (lease(-1, false), ObservedStage::Lapsed, Reconciled::Voided),
        // Nobody came back for a whole TTL.
        (lease(-25 * HOUR, true), ObservedStage::Lapsed, Reconciled::Voided),
    ] {
        let task = leased(&*registry, &lease).await;
        let observed = observe(&*registry, &task).await.unwrap();
        assert_eq!(observed.stage, stage, "{lease:?}");
        let before = everything(&*registry, &task).await;
        assert_eq!(registry.reconcile(&observed, &error("GONE")).await.unwrap(), done, "{lease:?}");
        if done == Reconciled::Changed {
            assert_eq!(everything(&*registry, &task).await, before);
            continue;
        }
        // Never released: the handler may have done it.
        assert_eq!(again(&*registry, &task).await, Claim::OutcomeUnknown { task_id: task.task_id.clone() });
        let late = registry.record_direct(&task, &complete("{}"), &lease).await.unwrap();
        assert_eq!(late.decision, void());
        assert!(!registry.take_over(&task, &self::lease(HOUR, true)).await.unwrap());
    }
    // Taken over in between: another version.
    let task = leased(&*registry, &lease(-25 * HOUR, true)).await;
    let observed = observe(&*registry, &task).await.unwrap();
    assert!(registry.take_over(&task, &lease(HOUR, true)).await.unwrap());
    assert_eq!(registry.reconcile(&observed, &error("GONE")).await.unwrap(), Reconciled::Changed);
    registry.close().await;
}

pub(crate) async fn direct_answers_are_purged_too(database: Arc<Database>) {
    let registry = registry_with_ttl(&database, Duration::ZERO).await;
    let (held, lapsed) = (lease(HOUR, false), lease(-1, false));
    let answered = leased(&*registry, &held).await;
    registry.record_direct(&answered, &complete("{}"), &held).await.unwrap();
    let refused = leased(&*registry, &held).await;
    registry.record_direct(&refused, &refuse("NO"), &held).await.unwrap();
    let open = leased(&*registry, &held).await;
    let voided = leased(&*registry, &lapsed).await;
    assert!(!registry.purge(&open).await.unwrap() && !registry.purge(&voided).await.unwrap());
    let observed = observe(&*registry, &voided).await.unwrap();
    registry.reconcile(&observed, &error("GONE")).await.unwrap();
    for task in [answered, refused, voided] {
        assert!(registry.purge(&task).await.unwrap());
        assert_eq!(view(&*registry, &task).await, DirectView::Ended(ClaimView::Missing));
    }
    registry.close().await;
}
