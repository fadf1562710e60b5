//! What comes to a run while it is busy with something else: a signal or a cancellation within a quick decision, a reviewer's
//! decision behind a deadline that was settled.

use super::{REGULAR_VERB, raw};
use handoff_client::Answer;
use handoff_proto::workflows::CompleteSignal;
use handoff_tests::{
    Kind, World, eventually,
    lab::{Fault, Moment, QUICK_VERB},
};
use serde_json::json;

/// Between the end of a quick `decide` and the end of its workflow task something else happens to the run: the server refuses
/// the workflow task, whose local activities run again.
async fn disturbed_while_deciding(disturb: impl AsyncFn(&World, &str)) -> (World, Answer) {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let _worker = world.worker_process().unwrap();
    let asked = world.call(QUICK_VERB, json!({"arm": "complete", "hold": {"decide": "g"}}));
    let disturbed = async {
        let task_id = eventually("the handler is called", || async {
            let unfinished = world.registry.unfinished(i64::MAX, None, 10).await.unwrap();
            let task_id = unfinished.into_iter().next()?.task.task_id;
            (!world.calls.of("decide", &task_id).is_empty()).then_some(task_id)
        })
        .await;
        disturb(&world, &task_id).await;
        world.calls.open("g");
    };
    let (answer, ()) = futures::join!(asked, disturbed);
    let answer = answer.unwrap();
    let events = world.closed(&answer.task_id).await;
    assert!(events.iter().any(|event| event == "WORKFLOW_TASK_FAILED"), "the server did not refuse: {events:?}");
    assert_eq!(world.calls.of("decide", &answer.task_id).len(), 1, "the handler was called again");
    (world, answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_during_a_quick_decision_does_not_call_the_handler_twice() {
    let (_, answer) = disturbed_while_deciding(async |world, task_id| {
        let stray = raw(&json!({"media_buy_id": "stray"}));
        world.run(task_id).signal(CompleteSignal, stray, Default::default()).await.unwrap();
    })
    .await;
    assert_eq!(answer.body["media_buy_id"], format!("mb_{}", answer.task_id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_during_a_quick_decision_does_not_call_the_handler_twice() {
    let (_, answer) = disturbed_while_deciding(async |world, task_id| {
        world.run(task_id).cancel(Default::default()).await.unwrap();
    })
    .await;
    assert_eq!(answer.body["media_buy_id"], format!("mb_{}", answer.task_id), "there was nothing left to cancel");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_settled_beats_a_decision_that_came_after_it() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let fault = Fault { transaction: "settle".into(), moment: Moment::After };
    let mut doomed = world.faulty_worker_process(&fault).unwrap();
    let task_id = world.submit(REGULAR_VERB, json!({"arm": "workflow", "deadline_ms": 300})).await;
    // The deadline was settled, and the worker died before Temporal heard of it.
    assert!(!doomed.wait().await.unwrap().success());
    let late = raw(&json!({"media_buy_id": "mb"}));
    world.run(&task_id).signal(CompleteSignal, late, Default::default()).await.unwrap();
    let _successor = world.worker_process().unwrap();
    world.closed(&task_id).await;
    let task = world.task(&task_id).await.unwrap();
    assert_eq!((task.status.as_str(), task.error.unwrap().code.as_str()), ("failed", "X_HANDOFF_DEADLINE_EXCEEDED"));
    let summary = world.run(&task_id).get_result(Default::default()).await.unwrap();
    assert_eq!(summary.status, "failed", "the run goes by what is recorded");
    assert_eq!(world.calls.of("failed", &task_id), ["X_HANDOFF_DEADLINE_EXCEEDED"]);
    assert!(world.calls.of("completed", &task_id).is_empty());
}
