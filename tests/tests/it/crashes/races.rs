//! What comes to a run while it is busy with something else: a signal or a cancellation within a quick decision, a reviewer's
//! decision behind a deadline that was settled.

use super::{REGULAR_VERB, raw};
use crate::on_both_databases;
use handoff_proto::workflows::CompleteSignal;
use handoff_tests::{
    World, fresh_key,
    lab::{Fault, Moment, QUICK_VERB},
    request,
};
use serde_json::json;

// How often a moment may be missed.
const MISSES: usize = 5;

/// Between the end of a quick `decide` and the end of its workflow task something else happens to the run: the server refuses
/// the workflow task, whose local activities run again.
async fn disturbed_while_deciding(world: &World, disturb: impl AsyncFn(&World, &str)) {
    let _worker = world.worker_process().unwrap();
    for _ in 0..MISSES {
        let gate = fresh_key();
        let asked = request(&fresh_key(), json!({"arm": "complete", "hold": {"decide": gate}}));
        let (task_id, answer) = world.begin(QUICK_VERB, &asked).await;
        disturb(world, &task_id).await;
        world.calls.open(&gate);
        let answer = answer.await.unwrap().unwrap();
        assert_eq!(answer.body["media_buy_id"], format!("mb_{task_id}"), "it was decided otherwise");
        let events = world.closed(&task_id).await;
        // Too late on a machine that is too busy: a regular activity has decided, outside of any workflow task.
        if events.iter().any(|event| event == "ACTIVITY_TASK_SCHEDULED") {
            continue;
        }
        assert!(events.iter().any(|event| event == "WORKFLOW_TASK_FAILED"), "the server did not refuse: {events:?}");
        assert_eq!(world.calls.of("decide", &task_id).len(), 1, "the handler was called again");
        return;
    }
    panic!("no decision was disturbed in time");
}

on_both_databases! {
    async fn a_signal_during_a_quick_decision_does_not_call_the_handler_twice(world: World) {
        disturbed_while_deciding(&world, async |world, task_id| {
            let stray = raw(&json!({"media_buy_id": "stray"}));
            world.run(task_id).signal(CompleteSignal, stray, Default::default()).await.unwrap();
        })
        .await;
    }

    // When it is decided there is nothing left to cancel.
    async fn a_cancel_during_a_quick_decision_does_not_call_the_handler_twice(world: World) {
        disturbed_while_deciding(&world, async |world, task_id| {
            world.run(task_id).cancel(Default::default()).await.unwrap();
        })
        .await;
    }

    async fn a_deadline_that_settled_beats_a_decision_that_came_after_it(world: World) {
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
        let error = task.error.unwrap();
        assert_eq!((task.status.as_str(), error.code.as_str()), ("failed", "X_HANDOFF_DEADLINE_EXCEEDED"));
        let summary = world.run(&task_id).get_result(Default::default()).await.unwrap();
        assert_eq!(summary.status, "failed", "the run goes by what is recorded");
        assert_eq!(world.calls.of("failed", &task_id), ["X_HANDOFF_DEADLINE_EXCEEDED"]);
        assert!(world.calls.of("completed", &task_id).is_empty());
    }
}
