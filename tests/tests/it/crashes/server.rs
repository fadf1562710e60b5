//! A Temporal server that dies by SIGKILL while runs are at every stage, and comes back on its database. Nothing is lost.

use super::{REGULAR_VERB, ended_once, last_heartbeat, raw};
use handoff_proto::{wire::TaskStatus, workflows::CompleteSignal};
use handoff_tests::{
    Kind, World, eventually, fresh_key,
    lab::{Fault, Moment},
    request,
};
use serde_json::json;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_temporal_server_loses_nothing_at_any_stage_on_sqlite() {
    a_killed_temporal_server_loses_nothing(Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_temporal_server_loses_nothing_at_any_stage_on_postgres() {
    a_killed_temporal_server_loses_nothing(Kind::Postgres).await;
}

async fn a_killed_temporal_server_loses_nothing(kind: Kind) {
    let patient = Duration::from_secs(60);
    let world = World::with_own_temporal_configured(kind, |config| config.sync_deadline = patient).await;
    let mut world = world.unwrap();
    // What is settled is recorded, and the run does not hear of it before the gate is open.
    let held = Fault { transaction: "settle".into(), moment: Moment::Held };
    let _worker = world.faulty_worker_process(&held).unwrap();

    let waiting = world.submit(REGULAR_VERB, json!({"arm": "workflow"})).await;
    // Their handlers go on while the server is away, and when it is back.
    let at_work = |gate: &str| json!({"arm": "task", "steps": 2, "hold": {"step-1": gate}});
    let working = world.submit(REGULAR_VERB, at_work("meanwhile")).await;
    let pausing = world.submit(REGULAR_VERB, at_work("afterwards")).await;
    for task_id in [&working, &pausing] {
        eventually("Temporal has the heartbeat of step 1", || async {
            (last_heartbeat(&world, task_id).await? == b"1").then_some(())
        })
        .await;
    }
    let asked = request(&fresh_key(), json!({"arm": "complete", "hold": {"decide": "meanwhile"}}));
    let (deciding, decided) = world.begin(REGULAR_VERB, &asked).await;
    let asked = request(&fresh_key(), json!({"arm": "workflow", "hold": {"review": "meanwhile"}}));
    let (enqueueing, enqueued) = world.begin(REGULAR_VERB, &asked).await;
    world.called("review", &enqueueing).await;
    let settling = world.submit(REGULAR_VERB, json!({"arm": "task"})).await;
    world.reaches(&settling, TaskStatus::Completed).await;
    world.temporal.kill().await.unwrap();

    // Polls don't need it.
    let seen = [(&waiting, "submitted"), (&working, "working"), (&pausing, "working"), (&settling, "completed")];
    for (task_id, status) in seen {
        assert_eq!(world.task(task_id).await.unwrap().status, status);
    }
    for task_id in [&deciding, &enqueueing] {
        assert!(world.task(task_id).await.is_none(), "nobody was told submitted");
    }
    // Nor do handlers that are at work.
    world.calls.open("meanwhile");
    world.called("returned", &working).await;
    eventually("what was decided is recorded", || async {
        world.registry.standing(&world.reference(&deciding)).await.ok()?.decision.map(|_| ())
    })
    .await;
    assert!(world.calls.tasks("completed").is_empty(), "nobody is notified before the run knows");
    world.calls.open("fault");
    world.temporal.restart().await.unwrap();
    world.calls.open("afterwards");

    let answer = decided.await.unwrap().unwrap();
    assert_eq!((answer.status.as_str(), &answer.task_id, answer.replayed), ("completed", &deciding, false));
    let answer = enqueued.await.unwrap().unwrap();
    assert_eq!((answer.status.as_str(), &answer.task_id), ("submitted", &enqueueing));
    for task_id in [&waiting, &enqueueing] {
        let result = json!({"media_buy_id": format!("mb_{task_id}")});
        eventually("the restarted server takes the decision", || async {
            world.run(task_id).signal(CompleteSignal, raw(&result), Default::default()).await.ok()
        })
        .await;
    }
    for (stage, task_id) in [
        ("waiting", &waiting),
        ("working", &working),
        ("pausing", &pausing),
        ("enqueueing", &enqueueing),
        ("settling", &settling),
    ] {
        world.reaches(task_id, TaskStatus::Completed).await;
        world.closed(task_id).await;
        let task = world.task(task_id).await.unwrap();
        assert!(task.result_json.contains(&format!("mb_{task_id}")), "{stage}: {}", task.result_json);
        ended_once(stage, &task);
        assert!(!world.calls.of("completed", task_id).is_empty(), "{stage}: nobody was notified");
        assert_eq!(world.calls.of("decide", task_id), ["1"], "{stage}");
    }
    world.closed(&deciding).await;
    assert!(world.task(&deciding).await.is_none(), "it was answered at once");
    assert_eq!(world.calls.of("decide", &deciding), ["1"], "what was recorded was decided again");

    // What Temporal has heard of is not done again.
    for task_id in [&working, &pausing] {
        let steps = world.calls.of("step", task_id);
        let goes_on = steps[0] == "1" && steps[1..].iter().all(|step| step == "2");
        assert!(goes_on, "not from the last heartbeat: {steps:?}");
    }
    assert_eq!(world.calls.of("work", &settling), ["1"]);
    world.asked_once("review", &waiting);
    let reviewed = world.calls.tasks("review");
    assert!(reviewed.iter().all(|task_id| [&waiting, &enqueueing].contains(&task_id)), "{reviewed:?}");
}
