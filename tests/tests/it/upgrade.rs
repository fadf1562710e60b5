//! What an earlier build began, on a registry that it made: this build finishes it. Which build, `tests/previous-build` says.

use handoff_proto::{wire::TaskStatus, workflows::COMPLETE};
use handoff_tests::{Kind, World, eventually, fresh_key, payload, request};
use serde_json::{Value, json};

const VERB: &str = "create_media_buy";
const RESULT: &str = r#"{"media_buy_id":"m"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_what_the_previous_build_parked_ends_on_this_one() {
    what_the_previous_build_parked_ends_on_this_one(Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_what_the_previous_build_parked_ends_on_this_one() {
    what_the_previous_build_parked_ends_on_this_one(Kind::Postgres).await;
}

async fn what_the_previous_build_parked_ends_on_this_one(kind: Kind) {
    // This build migrates the registry under the earlier one's worker, as the first of its processes does in a rolling upgrade.
    let (world, mut previous) = World::of_the_previous_build(kind).await.unwrap();
    let asked = request(&fresh_key(), json!({"arm": "complete"}));
    let answered = world.send(VERB, &asked).await.unwrap();
    let reviewed = world.submit(VERB, json!({"arm": "workflow"})).await;
    let reminded = world.submit(VERB, json!({"arm": "workflow", "remind_ms": [100], "deadline_ms": 600_000})).await;
    let working = world.submit(VERB, json!({"arm": "task", "steps": 2, "hold": {"step-2": "step"}})).await;
    let undecided = request(&fresh_key(), json!({"arm": "complete", "hold": {"decide": "decide"}}));
    let (deciding, answer) = world.begin(VERB, &undecided).await;
    world.called("reminded", &reminded).await;
    world.called("step", &working).await;
    // Else the reminder would be told once more.
    eventually("Temporal knows of the reminder", || async {
        let events = world.events(&reminded).await;
        let rung = events.iter().position(|event| event == "TIMER_FIRED")?;
        events[rung..].iter().any(|event| event == "ACTIVITY_TASK_COMPLETED").then_some(())
    })
    .await;
    previous.kill().await.unwrap();

    for task_id in [&reviewed, &reminded] {
        world.signal(task_id, COMPLETE, vec![payload("json/plain", RESULT)]).await;
    }
    for gate in ["step", "decide"] {
        world.calls.open(gate);
    }
    let _worker = world.worker_process().unwrap();
    let answer = answer.await.unwrap().unwrap();
    assert_eq!((answer.task_id.as_str(), &answer.body["media_buy_id"]), (&*deciding, &json!(format!("mb_{deciding}"))));
    for task_id in [&reviewed, &reminded, &working] {
        world.reaches(task_id, TaskStatus::Completed).await;
    }
    for task_id in [&reviewed, &reminded, &working, &deciding, &answered.task_id] {
        let events = world.closed(task_id).await;
        assert!(!events.iter().any(|event| event == "WORKFLOW_TASK_FAILED"), "{events:?}");
    }
    for task_id in [&reviewed, &reminded] {
        assert_eq!(world.task(task_id).await.unwrap().result_json, RESULT);
        world.asked_once("review", task_id);
        assert_eq!(world.calls.of("completed", task_id).len(), 1);
    }
    assert_eq!(world.calls.of("reminded", &reminded).len(), 1, "the timer that has rung does not ring again");
    assert_eq!(world.calls.of("work", &working).len(), 2, "the task handler goes on in its next attempt");
    // The claims of the earlier build hold.
    let again = world.send(VERB, &asked).await.unwrap();
    assert_eq!((again.task_id, without_replay(again.body)), (answered.task_id, without_replay(answered.body)));
}

fn without_replay(mut body: Value) -> Value {
    if let Some(fields) = body.as_object_mut() {
        fields.remove("replayed");
    }
    body
}
