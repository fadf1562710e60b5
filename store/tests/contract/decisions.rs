//! The journal.

use crate::{database::Database, support::*};
use handoff_proto::v1::{Decision, HandoffToTask, RetryPolicy, decision::Kind, decision::Void};
use handoff_store::{Answer, ClaimView, RegistryError};
use std::sync::Arc;

pub(crate) async fn completion_answers_the_claim(database: Arc<Database>) {
    let registry = registry(&database).await;
    let task = claimed(&*registry).await;
    assert_eq!(registry.standing(&task).await.unwrap(), Default::default());
    let standing = registry.record_decision(&task, &complete(r#"{"a":1}"#)).await.unwrap();
    assert_eq!(standing.decision, Some(complete(r#"{"a":1}"#)));
    assert_eq!((standing.submitted, standing.settlement, standing.refusal), (false, None, None));
    let answer = Answer { status: "completed".into(), body_json: r#"{"a":1}"#.into() };
    assert_eq!(registry.claim_view(&task).await.unwrap(), ClaimView::Answered(answer));
    assert_eq!(record(&*registry, &task).await, None);
    registry.close().await;
}

pub(crate) async fn task_arm_submits_at_once(database: Arc<Database>) {
    let registry = registry(&database).await;
    let task = claimed(&*registry).await;
    let standing = registry.record_decision(&task, &to_task()).await.unwrap();
    assert!(standing.submitted);
    let answer = Answer { status: "submitted".into(), body_json: submitted_body(&task) };
    assert_eq!(registry.claim_view(&task).await.unwrap(), ClaimView::Answered(answer));
    let record = record(&*registry, &task).await.unwrap();
    assert_eq!((record.status.as_str(), record.task.as_ref()), ("submitted", Some(&task)));
    assert_eq!((record.protocol.as_str(), record.context_json.as_str()), ("media-buy", r#"{"trace":"t-1"}"#));
    assert!(record.created_at.is_some() && record.updated_at.is_some() && record.completed_at.is_none());
    assert_eq!(registry.accept(&task).await.unwrap(), standing);
    registry.close().await;
}

pub(crate) async fn workflow_arm_is_pending_until_accepted(database: Arc<Database>) {
    let registry = registry(&database).await;
    let task = claimed(&*registry).await;
    let standing = registry.record_decision(&task, &to_workflow()).await.unwrap();
    assert_eq!((standing.decision.clone(), standing.submitted), (Some(to_workflow()), false));
    assert_eq!(registry.claim_view(&task).await.unwrap(), ClaimView::InFlight);
    assert_eq!(record(&*registry, &task).await, None);
    for _ in 0..2 {
        assert!(registry.accept(&task).await.unwrap().submitted);
        assert_eq!(status(&*registry, &task).await.as_deref(), Some("submitted"));
    }
    assert!(matches!(registry.claim_view(&task).await.unwrap(), ClaimView::Answered(_)));
    registry.close().await;
}

pub(crate) async fn refusal_releases_the_claim(database: Arc<Database>) {
    let registry = registry(&database).await;
    let task = claimed(&*registry).await;
    let standing = registry.record_decision(&task, &refuse("NO")).await.unwrap();
    assert_eq!((standing.decision, standing.refusal), (Some(refuse("NO")), Some(error("NO"))));
    assert!(!standing.submitted && standing.settlement.is_none());
    assert!(matches!(registry.claim_view(&task).await.unwrap(), ClaimView::Refused { .. }));
    registry.close().await;
}

pub(crate) async fn first_decision_stays(database: Arc<Database>) {
    let registry = registry(&database).await;
    let all = [complete("{}"), to_task(), to_workflow(), refuse("NO")];
    for first in &all {
        let task = claimed(&*registry).await;
        registry.record_decision(&task, first).await.unwrap();
        let before = everything(&*registry, &task).await;
        for late in &all {
            assert_eq!(registry.record_decision(&task, late).await.unwrap(), before.0);
        }
        assert_eq!(everything(&*registry, &task).await, before);
    }
    registry.close().await;
}

pub(crate) async fn decision_without_claim_is_void(database: Arc<Database>) {
    let registry = registry(&database).await;
    let nobody = new_task();
    assert_eq!(registry.standing(&nobody).await.unwrap().decision, void());
    assert_eq!(registry.record_decision(&nobody, &to_task()).await.unwrap().decision, void());
    assert_eq!(registry.accept(&nobody).await.unwrap().decision, void());
    assert_eq!(registry.claim_view(&nobody).await.unwrap(), ClaimView::Missing);
    let task = promoted(&*registry).await;
    registry.settle(&task, &cancellation()).await.unwrap();
    let standing = registry.record_decision(&task, &complete("{}")).await.unwrap();
    assert_eq!((standing.decision, ended(&standing.settlement)), (void(), "canceled"));
    registry.close().await;
}

pub(crate) async fn no_decision_is_refused(database: Arc<Database>) {
    let registry = registry(&database).await;
    let task = claimed(&*registry).await;
    for nothing in [Decision::default(), decision(Kind::Void(Void {})), complete("\0")] {
        let error = registry.record_decision(&task, &nothing).await.unwrap_err();
        assert!(matches!(error, RegistryError::InvalidQuery { .. }), "{error}");
    }
    assert_eq!(registry.standing(&task).await.unwrap(), Default::default());
    registry.close().await;
}

pub(crate) async fn accept_before_the_decision_submits(database: Arc<Database>) {
    let registry = registry(&database).await;
    let task = claimed(&*registry).await;
    let standing = registry.accept(&task).await.unwrap();
    assert_eq!((standing.submitted, standing.decision), (true, None));
    assert_eq!(status(&*registry, &task).await.as_deref(), Some("submitted"));
    let before = everything(&*registry, &task).await;
    registry.accept(&task).await.unwrap();
    assert_eq!(everything(&*registry, &task).await, before);
    registry.close().await;
}

pub(crate) async fn accept_writes_nothing_after_completion_refusal_or_void(database: Arc<Database>) {
    let registry = registry(&database).await;
    for decision in [complete("{}"), refuse("NO")] {
        let task = claimed(&*registry).await;
        registry.record_decision(&task, &decision).await.unwrap();
        let before = everything(&*registry, &task).await;
        assert!(!registry.accept(&task).await.unwrap().submitted);
        assert_eq!(everything(&*registry, &task).await, before);
    }
    let task = claimed(&*registry).await;
    let observed = registry.unfinished(i64::MAX, None, 10).await.unwrap();
    let observed = observed.iter().find(|observed| observed.task == task).unwrap();
    registry.reconcile(observed, &error("GONE")).await.unwrap();
    let before = everything(&*registry, &task).await;
    assert_eq!(registry.accept(&task).await.unwrap().decision, void());
    assert_eq!(registry.record_decision(&task, &to_task()).await.unwrap().decision, void());
    assert_eq!(registry.settle(&task, &result("{}")).await.unwrap(), None);
    assert_eq!(registry.discard(&task, &error("LATE")).await.unwrap(), None);
    assert_eq!(everything(&*registry, &task).await, before);
    registry.close().await;
}

pub(crate) async fn promoted_completion_settles(database: Arc<Database>) {
    let registry = registry(&database).await;
    let task = promoted(&*registry).await;
    let standing = registry.record_decision(&task, &complete(r#"{"z":1.10}"#)).await.unwrap();
    assert_eq!((standing.submitted, ended(&standing.settlement)), (true, "completed"));
    let record = record(&*registry, &task).await.unwrap();
    assert_eq!((record.status.as_str(), record.result_json.as_str()), ("completed", r#"{"z":1.10}"#));
    assert!(record.completed_at.is_some());
    registry.close().await;
}

pub(crate) async fn promoted_rejection_settles_as_rejected(database: Arc<Database>) {
    let registry = registry(&database).await;
    let task = promoted(&*registry).await;
    let rejected = r#"{"status":"rejected","reason":"no"}"#;
    let standing = registry.record_decision(&task, &complete(rejected)).await.unwrap();
    assert_eq!(ended(&standing.settlement), "rejected");
    assert_eq!(status(&*registry, &task).await.as_deref(), Some("rejected"));
    registry.close().await;
}

pub(crate) async fn promoted_refusal_fails_the_task(database: Arc<Database>) {
    let registry = registry(&database).await;
    let task = promoted(&*registry).await;
    let standing = registry.record_decision(&task, &refuse("NO")).await.unwrap();
    assert_eq!((standing.submitted, ended(&standing.settlement)), (true, "failed"));
    assert_eq!(standing.refusal, None);
    assert_eq!(record(&*registry, &task).await.unwrap().error, Some(error("NO")));
    // The key keeps its answer: the buyer was told `submitted`.
    assert!(matches!(registry.claim_view(&task).await.unwrap(), ClaimView::Answered(_)));
    registry.close().await;
}

pub(crate) async fn promoted_handoffs_leave_the_task(database: Arc<Database>) {
    let registry = registry(&database).await;
    for decision in [to_task(), to_workflow()] {
        let task = promoted(&*registry).await;
        let standing = registry.record_decision(&task, &decision).await.unwrap();
        assert_eq!((standing.decision, standing.submitted), (Some(decision), true));
        assert_eq!(status(&*registry, &task).await.as_deref(), Some("submitted"));
        assert_eq!(events(&*registry, &task).await, ["claimed", "submitted", "decided"]);
    }
    registry.close().await;
}

pub(crate) async fn concurrent_decisions_have_one_winner(database: Arc<Database>) {
    let registry = registry(&database).await;
    let task = claimed(&*registry).await;
    let calls = (0..20).map(|number| {
        let (registry, task) = (Arc::clone(&registry), task.clone());
        tokio::spawn(async move {
            let decision = match number % 3 {
                0 => complete(&format!(r#"{{"number":{number}}}"#)),
                1 => refuse(&format!("NO_{number}")),
                _ => to_task(),
            };
            registry.record_decision(&task, &decision).await.unwrap().decision
        })
    });
    let told: Vec<_> = futures::future::join_all(calls).await.into_iter().map(Result::unwrap).collect();
    assert!(told.iter().all(|decision| *decision == told[0] && decision.is_some()));
    registry.close().await;
}

pub(crate) async fn recorded_answer_never_changes(database: Arc<Database>) {
    let registry = registry(&database).await;
    let task = submitted(&*registry).await;
    let answer = registry.claim_view(&task).await.unwrap();
    registry.settle(&task, &result(r#"{"late":"answer"}"#)).await.unwrap();
    registry.accept(&task).await.unwrap();
    registry.record_decision(&task, &complete("{}")).await.unwrap();
    assert_eq!(registry.claim_view(&task).await.unwrap(), answer);
    registry.close().await;
}

pub(crate) async fn decisions_come_back_as_recorded(database: Arc<Database>) {
    let registry = registry(&database).await;
    let seconds = |seconds| Some(pbjson_types::Duration { seconds, nanos: 500_000_000 });
    let handoff = HandoffToTask {
        handler: "book".into(),
        input_json: r#"{"z":1.10,"a":1E400}"#.into(),
        retry_policy: Some(RetryPolicy {
            initial_interval: seconds(1),
            backoff_coefficient: 2.5,
            maximum_interval: seconds(60),
            maximum_attempts: 7,
        }),
        attempt_timeout: seconds(30),
        heartbeat_timeout: seconds(5),
        deadline: seconds(3_000_000),
    };
    for decision in [decision(Kind::HandoffToTask(handoff)), complete("{\"a\":\"\\u0000\"}"), refuse("NO")] {
        let task = claimed(&*registry).await;
        registry.record_decision(&task, &decision).await.unwrap();
        assert_eq!(registry.standing(&task).await.unwrap().decision, Some(decision));
    }
    registry.close().await;
}
