//! A seller's hooks of a verb: each result passes one before it is recorded, and what has no result is told to the other.

use crate::on_both_databases;
use handoff_client::{CallError, Viewer};
use handoff_proto::{
    wire::{AdcpError, Recovery, TaskStatus},
    workflows::{COMPLETE, FAIL},
};
use handoff_tests::{
    Kind, World, decision, eventually, fresh_key,
    lab::{HOOKED_VERB, handlers},
    payload, request,
};
use serde_json::{Value, json};

const TAKEN: &str = r#"{"catalogs":[]}"#;

on_both_databases! {
    async fn each_arms_result_passes_the_hook_before_it_is_recorded(world: World) {
        let worker = world.worker().await.unwrap();
        let answered = world.call(HOOKED_VERB, json!({"arm": "complete"})).await.unwrap();
        assert_eq!(world.calls.of("on_complete", &answered.task_id), [""]);
        for arm in ["task", "workflow"] {
            let gate = fresh_key();
            let result = json!({"catalogs": [], "ext": {"hold": gate}});
            let task_id = world.submit(HOOKED_VERB, json!({"arm": arm, "result": result})).await;
            if arm == "workflow" {
                world.called("review", &task_id).await;
                world.signal(&task_id, COMPLETE, vec![payload("json/plain", result.to_string())]).await;
            }
            world.called("on_complete", &task_id).await;
            let task = world.task(&task_id).await.unwrap();
            assert_ne!(task.status, "completed", "{arm}: recorded before its hook was done");
            world.calls.open(&gate);
            world.reaches(&task_id, TaskStatus::Completed).await;
            world.closed(&task_id).await;
        }
        assert_eq!(world.calls.tasks("on_failure"), [] as [String; 0]);
        worker.stop().await;
    }

    async fn a_hook_that_fails_is_recorded_in_the_results_place(world: World) {
        let worker = world.worker().await.unwrap();
        let failing = |told: Value| json!({"catalogs": [], "ext": told});
        for (told, code) in [
            (json!({"fail": "correctable"}), "POLICY_VIOLATION"),
            (json!({"fail": "transient"}), "SERVICE_UNAVAILABLE"),
            (json!({"panic": true}), "SERVICE_UNAVAILABLE"),
            (json!({"panic": "at once"}), "SERVICE_UNAVAILABLE"),
        ] {
            let refused = world.call(HOOKED_VERB, json!({"arm": "complete", "result": failing(told.clone())})).await;
            let Err(CallError::Refused(error)) = refused else { panic!("{told}: {refused:?}") };
            if told.get("panic").is_some() {
                assert_eq!(error.recovery, Recovery::Transient, "{told}");
                assert!(!error.to_json().to_string().contains("the lab was told"), "{error:?}");
            } else {
                assert_eq!(error.code, code, "{told}");
            }
        }
        assert_eq!(world.calls.tasks("on_failure").len(), 4);
        for arm in ["task", "workflow"] {
            let result = failing(json!({"fail": "correctable"}));
            let task_id = world.submit(HOOKED_VERB, json!({"arm": arm, "result": result})).await;
            if arm == "workflow" {
                world.called("review", &task_id).await;
                world.signal(&task_id, COMPLETE, vec![payload("json/plain", result.to_string())]).await;
            }
            let task = world.reaches(&task_id, TaskStatus::Failed).await;
            assert_eq!((task.error.unwrap().code.as_str(), task.result_json.as_str()), ("POLICY_VIOLATION", ""), "{arm}");
            world.closed(&task_id).await;
            assert_eq!(world.calls.of("on_complete", &task_id).len(), 1, "{arm}");
            assert_eq!(world.calls.of("on_failure", &task_id), ["failed POLICY_VIOLATION"], "{arm}");
        }
        worker.stop().await;
    }

    async fn each_way_to_have_no_result_is_told(world: World) {
        let worker = world.worker().await.unwrap();
        let refused = world.call(HOOKED_VERB, json!({"arm": "refuse"})).await;
        assert!(matches!(refused, Err(CallError::Refused(_))), "{refused:?}");
        let unable = world.call(HOOKED_VERB, json!({"arm": "workflow", "review": "unable"})).await;
        assert!(matches!(unable, Err(CallError::Refused(_))), "{unable:?}");
        let told = |number: usize| {
            let task_id = world.calls.tasks("on_failure")[number].clone();
            world.calls.of("on_failure", &task_id)
        };
        eventually("both were told", || async { (world.calls.tasks("on_failure").len() == 2).then_some(()) }).await;
        assert_eq!((told(0), told(1)), (vec!["refused BUDGET_TOO_LOW".into()], vec!["refused RATE_LIMITED".into()]));

        let failed = world.submit(HOOKED_VERB, json!({"arm": "task", "fails": 9})).await;
        world.reaches(&failed, TaskStatus::Failed).await;
        world.called("on_failure", &failed).await;
        assert_eq!(world.calls.of("on_failure", &failed), ["failed POLICY_VIOLATION"]);
        let error = json!({"code": "TERMS_REJECTED", "message": "No.", "recovery": "correctable"});
        let rejection = json!({"status": "rejected", "reason": "Not our kind."});
        for (signal, words, status, expected) in [
            (FAIL, &error, TaskStatus::Failed, "failed TERMS_REJECTED"),
            (COMPLETE, &rejection, TaskStatus::Rejected, "rejected \"Not our kind.\""),
        ] {
            let task_id = world.submit(HOOKED_VERB, json!({"arm": "workflow"})).await;
            world.called("review", &task_id).await;
            world.signal(&task_id, signal, vec![payload("json/plain", words.to_string())]).await;
            world.reaches(&task_id, status).await;
            world.called("on_failure", &task_id).await;
            assert_eq!(world.calls.of("on_failure", &task_id), [expected]);
        }
        let canceled = world.submit(HOOKED_VERB, json!({"arm": "workflow"})).await;
        world.called("review", &canceled).await;
        world.handoff.resolve(&Viewer::Operator, &canceled, decision::cancel()).await.unwrap();
        world.called("on_failure", &canceled).await;
        assert!(world.calls.of("on_failure", &canceled)[0].starts_with("canceled"));
        assert_eq!(world.calls.tasks("on_complete"), [] as [String; 0]);
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_can_be_tried_again_is() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let worker = world.worker().await.unwrap();
    let result = json!({"catalogs": [], "ext": {"fail_once": "transient"}});
    let task_id = world.submit(HOOKED_VERB, json!({"arm": "task", "result": result})).await;
    world.reaches(&task_id, TaskStatus::Completed).await;
    assert_eq!(world.calls.of("on_complete", &task_id).len(), 2);
    assert_eq!(world.calls.tasks("on_failure"), [] as [String; 0]);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_in_a_hook_calls_it_again_with_the_same_token() {
    for arm in ["complete", "task"] {
        let world = World::new(Kind::Sqlite).await.unwrap();
        let mut worker = world.worker_process().unwrap();
        let asked = json!({"arm": arm, "result": {"catalogs": [], "ext": {"die_once": true}}});
        let asked = request(&fresh_key(), asked);
        let (task_id, answer) = world.begin(HOOKED_VERB, &asked).await;
        worker.wait().await.unwrap();
        let next = world.worker_process().unwrap();
        if arm == "complete" {
            assert_eq!(answer.await.unwrap().unwrap().status, "completed");
        } else {
            world.reaches(&task_id, TaskStatus::Completed).await;
        }
        assert_eq!(world.calls.of("on_complete", &task_id).len(), 2, "{arm}");
        drop(next);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_ended_otherwise_passes_no_hook() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let worker = world.worker_with(|_| {}, handlers(world.calls.clone())).await.unwrap();
    let task_id = world.submit(HOOKED_VERB, json!({"arm": "workflow"})).await;
    world.called("review", &task_id).await;
    let error = AdcpError::correctable("TERMS_REJECTED", "No.");
    let ended = world.handoff.registry().settle(&world.reference(&task_id), &decision::fail(error)).await.unwrap();
    assert_eq!(ended.unwrap().status, "failed");
    world.signal(&task_id, COMPLETE, vec![payload("json/plain", TAKEN)]).await;
    world.closed(&task_id).await;
    assert_eq!(world.calls.of("on_complete", &task_id), [] as [String; 0]);
    // Told as it is recorded.
    world.called("on_failure", &task_id).await;
    assert_eq!(world.calls.of("on_failure", &task_id), ["failed TERMS_REJECTED"]);
    worker.stop().await;
}
