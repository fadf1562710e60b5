//! Stopping on purpose: running work finishes within the grace period, or is handed over.

use handoff_proto::wire::TaskStatus;
use handoff_tests::{Kind, World, eventually, front::Acme};
use serde_json::json;

const VERB: &str = "create_media_buy";

#[tokio::test(flavor = "multi_thread")]
async fn running_work_finishes_within_the_grace_period() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let mut worker = world.worker_process().unwrap();
    let task_id = world.submit(VERB, json!({"arm": "task", "steps": 2, "hold": {"step-1": "g"}})).await;
    world.called("step", &task_id).await;
    let stopped = worker.terminate();
    let released = async { world.calls.open("g") };
    let (stopped, ()) = futures::join!(stopped, released);
    assert!(stopped.unwrap().success(), "a worker that was told to stop ends well");
    assert_eq!(world.calls.of("step", &task_id), ["1", "2"]);
    // The run's next step is for the next worker.
    let _next = world.worker_process().unwrap();
    world.reaches(&task_id, TaskStatus::Completed).await;
    assert_eq!(world.calls.of("work", &task_id).len(), 1, "nothing was done twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_does_not_finish_is_handed_over() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let mut worker = world.worker_process().unwrap();
    let task_id = world.submit(VERB, json!({"arm": "task", "steps": 3, "hold": {"step-2": "g"}})).await;
    eventually("the second step", || async { (world.calls.of("step", &task_id).len() == 2).then_some(()) }).await;
    assert!(worker.terminate().await.unwrap().success());
    assert_eq!(world.calls.of("stopped", &task_id).len(), 1, "the handler was told");
    world.calls.open("g");
    let _next = world.worker_process().unwrap();
    world.reaches(&task_id, TaskStatus::Completed).await;
    assert_eq!(world.calls.of("step", &task_id), ["1", "2", "3"], "the next attempt went on where this one stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_review_does_not_hold_a_shutdown() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let mut worker = world.worker_process().unwrap();
    let task_id = world.submit(VERB, json!({"arm": "workflow"})).await;
    assert!(worker.terminate().await.unwrap().success());
    assert_eq!(world.task(&task_id).await.unwrap().status, "submitted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_blocks_for_ever_does_not_hold_a_shutdown() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let lab = Acme::lab(&world).unwrap().set("HANDOFF_SHUTDOWN_GRACE", "1s");
    let mut worker = lab.worker().unwrap();
    let task_id = world.submit(VERB, json!({"arm": "task", "blocks": true})).await;
    world.called("blocked", &task_id).await;
    assert!(worker.terminate().await.unwrap().success());
    assert_eq!(world.calls.of("stopped", &task_id).len(), 1, "the handler was told");
}
