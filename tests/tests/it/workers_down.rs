//! With every worker down: polls answer, progress is recorded, and decisions are kept until a worker returns.

use crate::on_both_databases;
use handoff_client::{Handoff, ProgressReport, Resolved, Viewer};
use handoff_proto::{
    errors,
    v1::{Completion, Progress},
    wire::{AdcpError, GetTaskStatusRequest, ListTasksRequest, TaskStatus},
};
use handoff_tests::{Kind, PRINCIPAL, SCOPE, World, decision, eventually};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const VERB: &str = "create_media_buy";
// How long a decision waits for a worker here.
const RESOLVE_TIMEOUT: Duration = Duration::from_millis(500);
// How much longer a busy machine may take for it; less than the usual client waits.
const SLACK: Duration = Duration::from_secs(20);

on_both_databases! {
    async fn polls_and_lists_answer(world: World) {
        let task_id = left_alone(&world, json!({"arm": "workflow"})).await;
        let body = poll(&world, &task_id).await;
        assert_eq!((&body["task_id"], &body["status"]), (&json!(task_id), &json!("submitted")));
        let list = world.handoff.list_tasks(&buyer(), &ListTasksRequest::default()).await.unwrap();
        assert_eq!(list["tasks"][0]["task_id"], json!(task_id));
        assert_eq!(list["query_summary"]["returned"], 1);
        let history = world.handoff.history(&Viewer::Operator, &task_id).await.unwrap().unwrap();
        assert_eq!(history.last().unwrap().event, "submitted");
    }

    async fn a_decision_is_recorded_and_takes_effect_when_a_worker_returns(world: World) {
        for (completion, status) in [
            (decision::complete(&json!({"media_buy_id": "mb"})), TaskStatus::Completed),
            (decision::fail(AdcpError::correctable("POLICY_VIOLATION", "no")), TaskStatus::Failed),
            (decision::cancel(), TaskStatus::Canceled),
        ] {
            let task_id = left_alone(&world, json!({"arm": "workflow"})).await;
            let completion = Completion { decision_id: format!("d-{task_id}"), ..completion };
            let begun = Instant::now();
            let told = resolve(&world, &task_id, &completion).await;
            assert_eq!(told, Resolved::Recorded { decision_id: completion.decision_id.clone() }, "{status}");
            assert!(begun.elapsed() < RESOLVE_TIMEOUT + SLACK, "after {:?}", begun.elapsed());
            // Nothing is settled yet, and the same decision again is safe.
            assert_eq!(poll(&world, &task_id).await["status"], "submitted");
            assert!(matches!(resolve(&world, &task_id, &completion).await, Resolved::Recorded { .. }), "{status}");
            let worker = world.worker().await.unwrap();
            let task = world.reaches(&task_id, status).await;
            assert_eq!((&task.decision_id, task.actor.as_str()), (&completion.decision_id, "reviewer"));
            assert!(matches!(resolve(&world, &task_id, &completion).await, Resolved::Accepted { .. }), "{status}");
            world.closed(&task_id).await;
            worker.stop().await;
        }
    }

    async fn of_two_recorded_decisions_the_first_counts(world: World) {
        let task_id = left_alone(&world, json!({"arm": "workflow"})).await;
        let (first, second) = (decision::complete(&json!({"media_buy_id": "first"})), decision::cancel());
        assert!(matches!(resolve(&world, &task_id, &first).await, Resolved::Recorded { .. }));
        assert!(matches!(resolve(&world, &task_id, &second).await, Resolved::Recorded { .. }));
        let _worker = world.worker().await.unwrap();
        let task = world.reaches(&task_id, TaskStatus::Completed).await;
        assert_eq!(task.result_json, r#"{"media_buy_id":"first"}"#);
        world.closed(&task_id).await;
        // Whoever asks again is told; the history says that there was another.
        assert!(matches!(resolve(&world, &task_id, &second).await, Resolved::Conflict { .. }));
        let history = world.task(&task_id).await.unwrap().history;
        assert!(history.iter().any(|entry| entry.event == "signal_dropped"), "{history:?}");
    }

    async fn progress_goes_straight_to_the_registry(world: World) {
        let task_id = left_alone(&world, json!({"arm": "workflow"})).await;
        for (number, status) in [(1, "working"), (2, "working")] {
            let progress = Progress {
                percentage: Some(f64::from(number) * 25.5),
                step_number: Some(number),
                total_steps: Some(4),
                current_step: format!("step {number}"),
                message: "by hand".into(),
                ..Default::default()
            };
            let told = world.handoff.report_progress(&Viewer::Operator, &task_id, &progress).await.unwrap();
            assert_eq!(told, ProgressReport::Recorded);
            let body = poll(&world, &task_id).await;
            assert_eq!(body["status"], status);
            assert_eq!(body["progress"], json!({
                "percentage": f64::from(number) * 25.5, "current_step": format!("step {number}"), "total_steps": 4,
                "step_number": number, "message": "by hand",
            }));
        }
        let _worker = world.worker().await.unwrap();
        let completion = decision::complete(&json!({"media_buy_id": "mb"}));
        let told = world.handoff.resolve(&Viewer::Operator, &task_id, completion).await.unwrap();
        assert!(matches!(told, Resolved::Accepted { .. }), "{told:?}");
        let late = Progress { percentage: Some(1.0), ..Default::default() };
        let told = world.handoff.report_progress(&Viewer::Operator, &task_id, &late).await.unwrap();
        assert_eq!(told, ProgressReport::Dropped);
    }

    async fn a_deadline_that_passed_is_settled_when_a_worker_returns(world: World) {
        // Long enough for the worker to be gone before its timer fires.
        let task_id = left_alone(&world, json!({"arm": "workflow", "deadline_ms": 4_000})).await;
        eventually("the deadline's timer has fired", || async {
            world.events(&task_id).await.contains(&"TIMER_FIRED".to_owned()).then_some(())
        })
        .await;
        assert_eq!(poll(&world, &task_id).await["status"], "submitted");
        let _worker = world.worker().await.unwrap();
        let task = world.reaches(&task_id, TaskStatus::Failed).await;
        assert_eq!(task.error.unwrap().code, errors::DEADLINE_EXCEEDED);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_temporal_down_too_polls_answer_and_decisions_are_refused_as_transient() {
    let mut world = World::with_own_temporal(Kind::Sqlite).await.unwrap();
    let task_id = left_alone(&world, json!({"arm": "workflow"})).await;
    world.temporal.kill().await.unwrap();
    assert_eq!(poll(&world, &task_id).await["status"], "submitted");
    let progress = Progress { percentage: Some(50.0), ..Default::default() };
    let reported = world.handoff.report_progress(&Viewer::Operator, &task_id, &progress).await.unwrap();
    assert_eq!(reported, ProgressReport::Recorded);
    let completion = decision::complete(&json!({"media_buy_id": "mb"}));
    let refused = hasty(&world).resolve(&Viewer::Operator, &task_id, completion.clone()).await;
    assert!(refused.as_ref().is_err_and(handoff_client::Error::is_transient), "{refused:?}");
    world.temporal.restart().await.unwrap();
    let _worker = world.worker_process().unwrap();
    eventually("the restarted server takes the decision", || async {
        world.handoff.resolve(&Viewer::Operator, &task_id, completion.clone()).await.ok()
    })
    .await;
    world.reaches(&task_id, TaskStatus::Completed).await;
}

/// A submitted task, and no worker any more: the last one is dead, not shut down.
async fn left_alone(world: &World, lab: Value) -> String {
    let mut worker = world.worker_process().unwrap();
    let task_id = world.submit(VERB, lab).await;
    // So that what comes next is not held by a workflow task that the dead worker took.
    eventually("the run waits", || async {
        let events = world.events(&task_id).await;
        (events.last().is_some_and(|event| event == "TIMER_STARTED" || event == "WORKFLOW_TASK_COMPLETED")
            && events.contains(&"TIMER_STARTED".to_owned()))
        .then_some(())
    })
    .await;
    worker.kill().await.unwrap();
    task_id
}

/// A client that does not wait long for a worker.
fn hasty(world: &World) -> Handoff {
    world.client(|config| config.resolve_timeout = RESOLVE_TIMEOUT)
}

async fn resolve(world: &World, task_id: &str, completion: &Completion) -> Resolved {
    hasty(world).resolve(&Viewer::Operator, task_id, completion.clone()).await.expect("there is an answer")
}

async fn poll(world: &World, task_id: &str) -> Value {
    let request = GetTaskStatusRequest { task_id: task_id.to_owned(), ..Default::default() };
    world.handoff.get_task_status(&buyer(), &request).await.expect("polls are answered")
}

fn buyer() -> Viewer {
    Viewer::Buyer { scope: SCOPE.into(), principal: PRINCIPAL.into() }
}
