//! Each arm for several verbs.

use crate::on_both_databases;
use handoff_client::CallError;
use handoff_proto::wire::TaskStatus;
use handoff_tests::lab::{LAB_VERBS, QUICK_VERB};
use serde_json::json;

on_both_databases! {
    async fn a_decision_to_complete_is_the_answer(world: World) {
        let worker = world.worker().await.unwrap();
        for verb in LAB_VERBS {
            let answer = world.call(verb, json!({"arm": "complete"})).await.unwrap();
            assert_eq!(answer.status, "completed", "{verb}");
            assert_eq!(answer.body["media_buy_id"], format!("mb_{}", answer.task_id), "{verb}");
            assert_eq!(answer.body["status"], "completed", "{verb}");
            assert_eq!(answer.body["context"]["correlation_id"], "it", "{verb}");
            assert_eq!(world.calls.of("decide", &answer.task_id), ["1"], "{verb}");
            // Answered at once: there is no task to poll.
            assert!(world.task(&answer.task_id).await.is_none(), "{verb}");
            let events = world.closed(&answer.task_id).await;
            let tasks = events.iter().filter(|event| *event == "WORKFLOW_TASK_COMPLETED").count();
            assert_eq!(tasks, if verb == QUICK_VERB { 1 } else { 2 }, "{verb}: {events:?}");
        }
        worker.stop().await;
    }

    async fn a_refusal_is_the_answer_and_frees_the_key(world: World) {
        let worker = world.worker().await.unwrap();
        for verb in LAB_VERBS {
            let key = handoff_tests::fresh_key();
            let refused = world.send(verb, &handoff_tests::request(&key, json!({"arm": "refuse"}))).await;
            let Err(CallError::Refused(error)) = refused else { panic!("{verb}: {refused:?}") };
            assert_eq!((error.code.as_str(), error.field.as_deref()), ("BUDGET_TOO_LOW", Some("total_budget.amount")), "{verb}");
            let again = world.send(verb, &handoff_tests::request(&key, json!({"arm": "complete"}))).await.unwrap();
            assert!(!again.replayed, "{verb}");
        }
        worker.stop().await;
    }

    async fn the_task_arm_ends_with_the_handlers_result(world: World) {
        let worker = world.worker().await.unwrap();
        for verb in LAB_VERBS {
            let task_id = world.submit(verb, json!({"arm": "task", "steps": 2})).await;
            let task = world.reaches(&task_id, TaskStatus::Completed).await;
            assert!(task.result_json.contains(&format!("mb_{task_id}")), "{verb}: {}", task.result_json);
            assert_eq!(task.actor, "work", "{verb}");
            world.closed(&task_id).await;
            assert_eq!(world.calls.of("work", &task_id), ["1"], "{verb}");
            assert_eq!(world.calls.of("step", &task_id), ["1", "2"], "{verb}");
            assert_eq!(world.calls.of("completed", &task_id).len(), 1, "{verb}");
            let events: Vec<&str> = task.history.iter().map(|entry| entry.event.as_str()).collect();
            assert_eq!(events, ["claimed", "decided", "submitted", "working", "completed"], "{verb}");
        }
        worker.stop().await;
    }
}
