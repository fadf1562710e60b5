//! A worker that dies by SIGKILL right before or right after each registry transaction, and inside each handler; one that is
//! paused through its own timeout; and a Temporal server that dies. Everything ends right, once.

use futures::future::join_all;
use handoff_client::{Answer, CallError};
use handoff_proto::{
    v1::{TaskRecord, completion::Outcome},
    wire::TaskStatus,
};
use handoff_store::Viewer;
use handoff_tests::{
    Kind, Process, World, eventually, eventually_within,
    lab::{Fault, Moment, QUICK_VERB},
};
use serde_json::{Value, json};
use std::time::Duration;

const REGULAR_VERB: &str = "create_media_buy";

/// How a request ends when nothing dies.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Answered,
    Refused,
    Task,
    Reviewed,
}

/// Runs one request while the first worker dies, and checks that it ends as if nothing had.
async fn survives(kind: Kind, verb: &str, lab: Value, fault: Option<Fault>, end: End) {
    let name = format!("{verb} {lab} {fault:?}");
    let world = World::new(kind).await.expect("a world");
    let doomed = match &fault {
        Some(fault) => world.faulty_worker_process(fault),
        None => world.worker_process(),
    };
    let mut doomed = doomed.expect("a worker");
    let replaced = async {
        let ended = doomed.wait().await.expect("the worker can be waited for");
        assert!(!ended.success(), "{name}: the worker stopped by itself");
        world.worker_process().expect("another worker")
    };
    let asked = async {
        let answer = world.call(verb, lab.clone()).await;
        if end == End::Reviewed {
            approve(&world, &answer).await;
        }
        answer
    };
    let (answer, _successor): (_, Process) = futures::join!(asked, replaced);
    check(&world, &name, answer, end).await;
}

async fn approve(world: &World, answer: &Result<Answer, CallError>) {
    let task_id = &answer.as_ref().expect("submitted").task_id;
    let completion = handoff_proto::v1::Completion {
        outcome: Some(Outcome::ResultJson(json!({"media_buy_id": format!("mb_{task_id}")}).to_string())),
        actor: "reviewer".into(),
        ..Default::default()
    };
    world.handoff.resolve(&Viewer::Operator, task_id, completion).await.expect("the decision is taken");
}

async fn check(world: &World, name: &str, answer: Result<Answer, CallError>, end: End) {
    match end {
        End::Answered => {
            let answer = answer.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(answer.body["media_buy_id"], format!("mb_{}", answer.task_id), "{name}");
            assert!(world.task(&answer.task_id).await.is_none(), "{name}");
        }
        End::Refused => {
            let Err(CallError::Refused(error)) = answer else { panic!("{name}: {answer:?}") };
            assert!(["BUDGET_TOO_LOW", "RATE_LIMITED"].contains(&error.code.as_str()), "{name}: {error}");
        }
        End::Task | End::Reviewed => {
            let answer = answer.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(answer.status, "submitted", "{name}");
            let task = world.reaches(&answer.task_id, TaskStatus::Completed).await;
            assert!(task.result_json.contains(&format!("mb_{}", answer.task_id)), "{name}: {}", task.result_json);
            world.closed(&answer.task_id).await;
            ended_once(name, &world.task(&answer.task_id).await.expect("the task"));
            assert!(!world.calls.of("completed", &answer.task_id).is_empty(), "{name}: nobody was notified");
        }
    }
}

fn ended_once(name: &str, task: &TaskRecord) {
    let ends = task.history.iter().filter(|entry| entry.event == task.status).count();
    assert_eq!(ends, 1, "{name}: {:?}", task.history);
    let others = ["completed", "failed", "rejected", "canceled"];
    let other = task.history.iter().find(|entry| others.contains(&entry.event.as_str()) && entry.event != task.status);
    assert_eq!(other, None, "{name}");
}

fn faults(transactions: &[&str]) -> Vec<Option<Fault>> {
    transactions
        .iter()
        .flat_map(|transaction| {
            [Moment::Before, Moment::After].map(|moment| Some(Fault { transaction: (*transaction).to_owned(), moment }))
        })
        .collect()
}

async fn survives_all(kind: Kind, verb: &str, lab: Value, transactions: &[&str], end: End) {
    let runs = faults(transactions).into_iter().map(|fault| survives(kind, verb, lab.clone(), fault, end));
    join_all(runs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_at_once_survives_a_kill_around_each_transaction() {
    futures::join!(
        survives_all(
            Kind::Sqlite,
            REGULAR_VERB,
            json!({"arm": "complete"}),
            &["begin", "record_decision"],
            End::Answered
        ),
        survives_all(
            Kind::Sqlite,
            QUICK_VERB,
            json!({"arm": "complete"}),
            &["begin", "record_decision"],
            End::Answered
        ),
        survives_all(Kind::Sqlite, REGULAR_VERB, json!({"arm": "refuse"}), &["record_decision"], End::Refused),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_task_arm_survives_a_kill_around_each_transaction() {
    let lab = json!({"arm": "task", "steps": 2});
    let transactions = ["begin", "record_decision", "update_progress", "settle"];
    survives_all(Kind::Sqlite, REGULAR_VERB, lab, &transactions, End::Task).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_workflow_arm_survives_a_kill_around_each_transaction() {
    let lab = json!({"arm": "workflow"});
    let transactions = ["begin", "record_decision", "accept", "settle"];
    futures::join!(
        survives_all(Kind::Sqlite, REGULAR_VERB, lab.clone(), &transactions, End::Reviewed),
        survives_all(
            Kind::Sqlite,
            QUICK_VERB,
            json!({"arm": "workflow", "review": "unable"}),
            &["discard"],
            End::Refused
        ),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgresql_too() {
    futures::join!(
        survives_all(Kind::Postgres, REGULAR_VERB, json!({"arm": "complete"}), &["record_decision"], End::Answered),
        survives_all(Kind::Postgres, REGULAR_VERB, json!({"arm": "task", "steps": 1}), &["settle"], End::Task),
        survives_all(Kind::Postgres, QUICK_VERB, json!({"arm": "workflow"}), &["accept", "settle"], End::Reviewed),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_inside_each_handler_calls_it_again_under_the_same_task_id() {
    let regular = |lab| survives(Kind::Sqlite, REGULAR_VERB, lab, None, End::Answered);
    futures::join!(
        regular(json!({"arm": "complete", "die_in": "decide"})),
        survives(Kind::Sqlite, QUICK_VERB, json!({"arm": "complete", "die_in": "decide"}), None, End::Answered),
        survives(Kind::Sqlite, REGULAR_VERB, json!({"arm": "task", "die_in": "work"}), None, End::Task),
        survives(Kind::Sqlite, REGULAR_VERB, json!({"arm": "workflow", "die_in": "review"}), None, End::Reviewed),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_task_handler_goes_on_from_its_last_heartbeat() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let mut doomed = world.worker_process().unwrap();
    let lab = json!({"arm": "task", "steps": 5, "hold": {"step-3": "never"}});
    let task_id = world.submit(REGULAR_VERB, lab).await;
    eventually("Temporal has the heartbeat of step 3", || async {
        (last_heartbeat(&world, &task_id).await? == b"3").then_some(())
    })
    .await;
    doomed.kill().await.unwrap();
    let _successor = world.worker_process().unwrap();
    world.reaches(&task_id, TaskStatus::Completed).await;
    assert_eq!(world.calls.of("step", &task_id), ["1", "2", "3", "4", "5"], "no step is done twice");
    assert_eq!(world.calls.of("work", &task_id).len(), 2);
}

async fn last_heartbeat(world: &World, task_id: &str) -> Option<Vec<u8>> {
    let described = world.run(task_id).describe(Default::default()).await.ok()?;
    let details = described.raw().pending_activities.first()?.heartbeat_details.as_ref()?;
    Some(details.payloads.first()?.data.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_while_a_review_waits_is_not_missed() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let mut first = world.worker_process().unwrap();
    let task_id = world.submit(REGULAR_VERB, json!({"arm": "workflow"})).await;
    first.kill().await.unwrap();
    let _second = world.worker_process().unwrap();
    let answer = world.task(&task_id).await.expect("the poll answers");
    assert_eq!(answer.status, "submitted");
    world
        .run(&task_id)
        .signal(handoff_proto::workflows::CompleteSignal, raw(&json!({"media_buy_id": "mb"})), Default::default())
        .await
        .unwrap();
    world.reaches(&task_id, TaskStatus::Completed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_workers_late_writes_change_nothing() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let paused = world.worker_process().unwrap();
    let lab = json!({"arm": "task", "steps": 1, "hold": {"work": "g"}});
    let task_id = world.submit(REGULAR_VERB, lab).await;
    world.called("work", &task_id).await;
    paused.pause().await.unwrap();
    // Its heartbeats stop; past the timeout another worker gets the task, and finishes it.
    let mut other = world.worker_process().unwrap();
    // Each poll that the paused one has left open may take an attempt with it, until that one's heartbeats are missed, too.
    eventually_within(Duration::from_secs(180), "the other worker runs the task", || async {
        (world.calls.of("work", &task_id).len() == 2).then_some(())
    })
    .await;
    world.calls.open("g");
    let settled = world.reaches(&task_id, TaskStatus::Completed).await;
    world.closed(&task_id).await;
    other.kill().await.unwrap();
    paused.resume().await.unwrap();
    // The first attempt goes on: it reports progress and returns a result.
    eventually("the paused worker goes on", || async {
        (world.calls.of("returned", &task_id).len() >= 2).then_some(())
    })
    .await;
    let after = world.task(&task_id).await.unwrap();
    assert_eq!(
        (after.status, after.result_json, after.history),
        (settled.status, settled.result_json, settled.history)
    );
    assert_eq!(after.progress, settled.progress);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_temporal_server_loses_nothing() {
    let mut world = World::with_own_temporal(Kind::Sqlite).await.unwrap();
    let worker = world.worker_process().unwrap();
    let reviewed = world.submit(REGULAR_VERB, json!({"arm": "workflow"})).await;
    let working = world.submit(REGULAR_VERB, json!({"arm": "task", "steps": 2, "hold": {"step-2": "g"}})).await;
    world.called("step", &working).await;
    world.temporal.kill().await.unwrap();
    // Polls don't need it.
    assert_eq!(world.task(&reviewed).await.unwrap().status, "submitted");
    world.calls.open("g");
    world.temporal.restart().await.unwrap();
    let signal = json!({"media_buy_id": "mb"});
    eventually("the restarted server takes the decision", || async {
        let signal = raw(&signal);
        world.run(&reviewed).signal(handoff_proto::workflows::CompleteSignal, signal, Default::default()).await.ok()
    })
    .await;
    world.reaches(&reviewed, TaskStatus::Completed).await;
    world.reaches(&working, TaskStatus::Completed).await;
    drop(worker);
}

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
        world.run(task_id).signal(handoff_proto::workflows::CompleteSignal, stray, Default::default()).await.unwrap();
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
    world.run(&task_id).signal(handoff_proto::workflows::CompleteSignal, late, Default::default()).await.unwrap();
    let _successor = world.worker_process().unwrap();
    world.closed(&task_id).await;
    let task = world.task(&task_id).await.unwrap();
    assert_eq!((task.status.as_str(), task.error.unwrap().code.as_str()), ("failed", "X_HANDOFF_DEADLINE_EXCEEDED"));
    let summary = world.run(&task_id).get_result(Default::default()).await.unwrap();
    assert_eq!(summary.status, "failed", "the run goes by what is recorded");
    assert_eq!(world.calls.of("failed", &task_id), ["X_HANDOFF_DEADLINE_EXCEEDED"]);
    assert!(world.calls.of("completed", &task_id).is_empty());
}

fn raw(value: &Value) -> temporalio_common::data_converters::RawValue {
    let converter = temporalio_common::data_converters::PayloadConverter::default();
    temporalio_common::data_converters::RawValue::from_value(value, &converter)
}
