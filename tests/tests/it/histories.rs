//! Runs that were recorded must go on under today's workflow code: their histories replay, and a run that one worker
//! left ends on another.
//!
//! `HANDOFF_RECORD_HISTORIES=1` records the runs anew, which is only right for a life that no open run can have; the name of
//! a life records that one.

use crate::webhooks::Endpoint;
use handoff_client::{HousekeepingSettings, Resolved, SigningSource};
use handoff_proto::{
    v1::{Completion, completion::Outcome},
    verbs::VERBS,
    wire::TaskStatus,
    workflows::{COMPLETE, ReconcileWorkflow, RedeliveryWorkflow, redelivery_workflow_id},
};
use handoff_store::Viewer;
use handoff_tests::{Kind, World, eventually, fresh_key, lab::QUICK_VERB, payload, request};
use handoff_webhooks::keys::{Algorithm, LocalKey};
use handoff_workflows::{Reconcile, Redelivery, VerbRun, as_workflow_type};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};
use temporalio_client::{WorkflowHistory, WorkflowStartOptions};
use temporalio_sdk::workflow_replayer::{WorkflowReplayFailure, WorkflowReplayer, WorkflowReplayerOptions};

const VERB: &str = "create_media_buy";

/// Every kind of life that a run can have; each is a file in `tests/histories`.
const LIVES: [&str; 16] = [
    "canceled_while_running",
    "canceled_while_waiting",
    "complete",
    "complete_quick",
    "deadline_with_reminders",
    "dropped_signals",
    "housekeeping",
    "promoted",
    "refused",
    "resolved_by_update",
    "task_with_retry",
    "unable",
    "waiting",
    "webhook_redelivery",
    "webhook_told",
    "workflow_with_signal",
];

/// Lives as runs still live them that were started by earlier builds, never recorded anew: with a timer for the sync deadline,
/// and a round of housekeeping that looks at no webhook.
const EARLIER: [&str; 2] = ["before_redelivery", "sync_deadline_timer"];

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_every_recorded_run_replays() {
    if let Ok(wanted) = std::env::var("HANDOFF_RECORD_HISTORIES") {
        record(&wanted).await;
    }
    let recorded = recorded();
    for life in LIVES {
        assert!(recorded.contains_key(life), "{life} is not recorded: run this test with HANDOFF_RECORD_HISTORIES=1");
    }
    for (life, text) in &recorded {
        if let Some(failure) = replay(text).await {
            panic!("{life} does not replay: {failure}");
        }
    }
}

/// What the test above would say if the workflow's code did something else than was recorded.
#[tokio::test(flavor = "multi_thread")]
async fn sqlite_a_run_of_other_code_does_not_replay() {
    let recorded = recorded();
    for (life, was, is) in [
        ("complete", r#""name":"decide""#, r#""name":"decided""#),
        ("task_with_retry", r#""name":"run_task""#, r#""name":"enqueue""#),
        ("workflow_with_signal", r#""name":"enqueue""#, r#""name":"run_task""#),
        ("deadline_with_reminders", r#""name":"notify""#, r#""name":"decide""#),
        ("sync_deadline_timer/complete", r#""name":"decide""#, r#""name":"decided""#),
        ("housekeeping", r#""name":"redeliver_webhooks""#, r#""name":"purge_requests""#),
        ("before_redelivery/housekeeping", r#""name":"purge_requests""#, r#""name":"forget_tombstones""#),
        ("webhook_told", r#""name":"deliver_webhook""#, r#""name":"notify""#),
        ("webhook_redelivery", r#""name":"deliver_webhook""#, r#""name":"expire_webhook""#),
    ] {
        let text = &recorded[life];
        assert!(text.contains(was), "{life} has no {was}");
        let failure = replay(&text.replace(was, is)).await;
        assert!(matches!(failure, Some(WorkflowReplayFailure::Nondeterminism { .. })), "{life}: {failure:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_a_waiting_run_ends_on_another_worker() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let mut first = world.worker_process().unwrap();
    let tasks = [
        world.submit(VERB, json!({"arm": "workflow"})).await,
        world.submit(VERB, json!({"arm": "workflow", "remind_ms": [100], "deadline_ms": 600_000})).await,
    ];
    world.called("reminded", &tasks[1]).await;
    assert!(first.terminate().await.unwrap().success());
    for task_id in &tasks {
        world.signal(task_id, COMPLETE, vec![payload("json/plain", r#"{"media_buy_id":"m"}"#)]).await;
    }
    let mut second = world.worker_process().unwrap();
    for task_id in &tasks {
        world.reaches(task_id, TaskStatus::Completed).await;
        let events = world.closed(task_id).await;
        assert!(!events.iter().any(|event| event == "WORKFLOW_TASK_FAILED"), "{events:?}");
        assert_eq!(world.calls.of("review", task_id), ["1"]);
        assert_eq!(world.calls.of("completed", task_id).len(), 1);
    }
    second.terminate().await.unwrap();
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("histories")
}

/// The recorded histories by their file's name, those of earlier builds by directory and name.
fn recorded() -> BTreeMap<String, String> {
    let mut histories = BTreeMap::new();
    for directory in EARLIER.map(|earlier| directory().join(earlier)).into_iter().chain([directory()]) {
        for file in fs::read_dir(&directory).expect("the histories are there") {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let name = path.strip_prefix(self::directory()).unwrap().with_extension("");
                histories.insert(name.to_string_lossy().into_owned(), fs::read_to_string(path).unwrap());
            }
        }
    }
    histories
}

async fn replay(history: &str) -> Option<WorkflowReplayFailure> {
    let mut options =
        WorkflowReplayerOptions::new().data_converter(handoff_client::codec::data_converter(None)).build();
    for verb in VERBS {
        as_workflow_type(verb.name, || options.register_workflow::<VerbRun>().map(|_| ())).unwrap();
    }
    options.register_workflow::<Reconcile>().unwrap();
    options.register_workflow::<Redelivery>().unwrap();
    let replayer = WorkflowReplayer::new(options).unwrap();
    let mut history: Value = serde_json::from_str(history).unwrap();
    spell_numbers(&mut history);
    let history = WorkflowHistory::from_json(history.to_string().as_bytes()).unwrap();
    replayer.replay_workflows([history]).await.unwrap().remove(0).replay_failure
}

// The SDK reads a retry policy's numbers through a detour that serde_json's arbitrary_precision breaks; strings it
// also reads.
fn spell_numbers(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(spell_numbers),
        Value::Object(fields) => fields.iter_mut().for_each(|(name, value)| match (name.as_str(), &value) {
            ("backoffCoefficient" | "maximumAttempts", Value::Number(number)) => *value = number.to_string().into(),
            _ => spell_numbers(value),
        }),
        _ => {}
    }
}

/// Lives each life once, and writes its history down.
async fn record(wanted: &str) {
    let world = World::configured(Kind::Sqlite, |config| {
        config.webhooks.signing = SigningSource::Pem(LocalKey::generate_pem(Algorithm::Ed25519).unwrap());
    });
    let world = world.await.unwrap();
    let worker = world.worker().await.unwrap();
    for life in LIVES {
        if wanted != "1" && wanted != life {
            continue;
        }
        let text = match life {
            "housekeeping" => housekeeping(&world).await,
            "webhook_redelivery" => redelivery(&world).await,
            _ => {
                let task_id = live(&world, life).await;
                if life != "waiting" {
                    world.closed(&task_id).await;
                }
                world.run(&task_id).fetch_history(Default::default()).to_json().await.unwrap()
            }
        };
        fs::write(directory().join(format!("{life}.json")), text).unwrap();
    }
    worker.stop().await;
}

/// A round in which a task has lost its run, and another is to be purged.
async fn housekeeping(world: &World) -> Vec<u8> {
    let lost = waiting(world).await;
    world.run(&lost).terminate(Default::default()).await.unwrap();
    let id = format!("recorded-{}", fresh_key());
    let options = WorkflowStartOptions::new(world.config().task_queue.clone(), id).build();
    let input = HousekeepingSettings { reconcile_after: Duration::ZERO, ..Default::default() }.input();
    let handle = world.temporal_client.start_workflow(ReconcileWorkflow, input, options).await.unwrap();
    let summary = handle.get_result(Default::default()).await.unwrap();
    assert_eq!(summary.settled, 1, "{summary:?}");
    handle.fetch_history(Default::default()).to_json().await.unwrap()
}

/// A webhook that is told once more.
async fn redelivery(world: &World) -> Vec<u8> {
    let endpoint = Endpoint::start([]).await;
    let task_id = told(world, &endpoint).await;
    assert!(world.handoff.redeliver_webhook(&task_id).await.unwrap());
    let id = redelivery_workflow_id(&task_id);
    let handle = world.temporal_client.get_workflow_handle::<RedeliveryWorkflow>(id);
    let end = handle.get_result(Default::default()).await.unwrap();
    assert_eq!((end.state.as_str(), endpoint.came().len()), ("delivered", 2));
    handle.fetch_history(Default::default()).to_json().await.unwrap()
}

async fn live(world: &World, life: &str) -> String {
    match life {
        "complete" => world.call(VERB, json!({"arm": "complete"})).await.unwrap().task_id,
        "complete_quick" => world.call(QUICK_VERB, json!({"arm": "complete"})).await.unwrap().task_id,
        "refused" => refused(world, json!({"arm": "refuse"})).await,
        "unable" => refused(world, json!({"arm": "workflow", "review": "unable"})).await,
        "task_with_retry" => {
            let lab = json!({"arm": "task", "steps": 2, "fails": 1, "recovery": "transient"});
            ends(world, world.submit(VERB, lab).await, TaskStatus::Completed).await
        }
        "workflow_with_signal" => {
            let task_id = waiting(world).await;
            complete(world, &task_id).await;
            ends(world, task_id, TaskStatus::Completed).await
        }
        "resolved_by_update" => {
            let task_id = waiting(world).await;
            let outcome = Outcome::ResultJson(r#"{"media_buy_id":"m"}"#.into());
            let completion = Completion { outcome: Some(outcome), ..Default::default() };
            let resolved = world.handoff.resolve(&Viewer::Operator, &task_id, completion).await.unwrap();
            assert!(matches!(resolved, Resolved::Accepted { .. }), "{resolved:?}");
            task_id
        }
        "deadline_with_reminders" => {
            let lab = json!({
                "arm": "workflow", "remind_ms": [1_000, 2_500], "escalate_ms": 4_000, "deadline_ms": 6_000,
            });
            ends(world, world.submit(VERB, lab).await, TaskStatus::Failed).await
        }
        "promoted" => {
            let gate = fresh_key();
            let mut hurried = request(&fresh_key(), json!({"arm": "task", "hold": {"decide": gate}}));
            hurried["time_budget"] = json!({"interval": 1, "unit": "seconds"});
            let (task_id, answer) = world.begin(VERB, &hurried).await;
            assert_eq!(answer.await.unwrap().unwrap().status, "submitted");
            world.calls.open(&gate);
            ends(world, task_id, TaskStatus::Completed).await
        }
        "canceled_while_waiting" => {
            let task_id = waiting(world).await;
            world.run(&task_id).cancel(Default::default()).await.unwrap();
            ends(world, task_id, TaskStatus::Canceled).await
        }
        "canceled_while_running" => {
            let lab = json!({"arm": "task", "steps": 1, "hold": {"step-1": "never"}});
            let task_id = world.submit(VERB, lab).await;
            world.called("step", &task_id).await;
            world.run(&task_id).cancel(Default::default()).await.unwrap();
            ends(world, task_id, TaskStatus::Canceled).await
        }
        "dropped_signals" => {
            let task_id = waiting(world).await;
            for bad in ["3", "garbage", r#"{"result":{"a":1},"surprise":1}"#] {
                world.signal(&task_id, COMPLETE, vec![payload("json/plain", bad)]).await;
            }
            eventually("the signals are dropped", || async {
                (world.status(&task_id).await.dropped_signals == 3).then_some(())
            })
            .await;
            complete(world, &task_id).await;
            ends(world, task_id, TaskStatus::Completed).await
        }
        "waiting" => waiting(world).await,
        "webhook_told" => told(world, &Endpoint::start([]).await).await,
        other => panic!("nobody knows how to live {other}"),
    }
}

async fn waiting(world: &World) -> String {
    let task_id = world.submit(VERB, json!({"arm": "workflow"})).await;
    eventually("the run waits", || async { (world.status(&task_id).await.stage == "waiting").then_some(()) }).await;
    task_id
}

/// A task whose end its buyer is told.
async fn told(world: &World, endpoint: &Endpoint) -> String {
    let mut request = request(&fresh_key(), json!({"arm": "task"}));
    request["push_notification_config"] = json!({"url": endpoint.url(), "operation_id": "op-1"});
    let task_id = world.send(VERB, &request).await.unwrap().task_id;
    world.closed(&task_id).await;
    assert_eq!(endpoint.came().len(), 1);
    task_id
}

async fn complete(world: &World, task_id: &str) {
    world.signal(task_id, COMPLETE, vec![payload("json/plain", r#"{"media_buy_id":"m"}"#)]).await;
}

async fn ends(world: &World, task_id: String, status: TaskStatus) -> String {
    world.reaches(&task_id, status).await;
    task_id
}

/// The id of a request that is refused: it is only to be had while the handler decides.
async fn refused(world: &World, mut lab: Value) -> String {
    let gate = fresh_key();
    lab["hold"] = json!({"decide": gate});
    let (task_id, answer) = world.begin(VERB, &request(&fresh_key(), lab)).await;
    world.calls.open(&gate);
    assert!(answer.await.unwrap().is_err());
    task_id
}
