//! Keys that come, change and are missing, and what operators see.

use crate::at_rest::{VERB, mark, request, seller};
use base64::{Engine, prelude::BASE64_STANDARD};
use handoff::prelude::*;
use handoff_client::{
    Config, ConfigError, Environment, Error, Resolved, Viewer,
    codec::{Key, KeySource, data_converter},
    temporal,
};
use handoff_proto::{
    wire::{GetTaskStatusRequest, TaskStatus},
    workflows::{COMPLETE, VerbWorkflow},
};
use handoff_tests::{Kind, World, binary, decision, eventually, payload};
use handoff_workflows::{VerbRun, as_workflow_type};
use std::{path::PathBuf, process::Stdio, time::Duration};
use temporalio_client::{UntypedSignal, WorkflowHistory};
use temporalio_common::{
    data_converters::RawValue,
    protos::temporal::api::{enums::v1::EventType, history::v1::history_event::Attributes},
};
use temporalio_sdk::workflow_replayer::{WorkflowReplayer, WorkflowReplayerOptions};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

pub(crate) fn key(id: &str) -> String {
    use secrecy::ExposeSecret;
    Key::generate(id).unwrap().expose_secret().to_owned()
}

pub(crate) fn ring(text: &str) -> KeySource {
    KeySource::Text(text.into())
}

async fn submit(world: &World, arm: &str, hold: bool) -> String {
    let answer = world.send(VERB, &request(arm, hold)).await.unwrap();
    assert_eq!(answer.status, "submitted", "{}", answer.body);
    answer.task_id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_ring_loses_nothing_and_a_rotated_one_finishes_the_run() {
    let (old, new, wrong) = (key("old"), key("new"), key("wrong"));
    let world = World::configured(Kind::Sqlite, |config| config.encryption = ring(&old)).await.unwrap();
    let worker = world.worker_of(world.temporal_client.clone(), seller(world.calls.clone())).await.unwrap();
    let closed = world.send(VERB, &request("complete", false)).await.unwrap().task_id;
    world.closed(&closed).await;
    let task_id = submit(&world, "workflow", false).await;
    worker.stop().await;
    let history = || world.run(&closed).fetch_history(Default::default());
    assert_eq!(replay(history(), ring(&format!("{new},{old}"))).await, None);
    let unread = replay(history(), ring(&new)).await.expect("without the old key it can't be replayed");
    assert!(unread.contains("old") && unread.contains("not in the key ring"), "{unread}");

    let hasty = world.client(|config| config.resolve_timeout = Duration::from_millis(500));
    let completion = decision::complete(&json!({"media_buy_id": "mb"}));
    let told = hasty.resolve(&Viewer::Operator, &task_id, completion).await.unwrap();
    assert!(matches!(told, Resolved::Recorded { .. }), "{told:?}");

    let with_wrong = |config: &mut Config| config.encryption = ring(&wrong);
    let worker = world.worker_with(with_wrong, seller(world.calls.clone())).await.unwrap();
    let failure = eventually("the wrong worker fails", || failed_workflow_task(&world, &task_id)).await;
    assert!(failure.contains("\"old\"") && failure.contains("HANDOFF_ENCRYPTION_KEYS"), "{failure}");
    let blind = world.connected(with_wrong).await.unwrap();
    let unread = blind.tasks().task(&Viewer::Operator, &task_id, true).await.unwrap_err().to_string();
    assert!(unread.contains("\"old\"") && unread.contains("HANDOFF_ENCRYPTION_KEYS"), "{unread}");
    // A buyer is told that it may try again, and nothing of keys.
    let poll = GetTaskStatusRequest { task_id: task_id.clone(), ..Default::default() };
    let told = blind.get_task_status(&Viewer::Operator, &poll).await.unwrap_err().to_adcp();
    assert!(told.is_transient() && !told.to_json().to_string().contains("old"), "{told}");
    assert_eq!(world.task(&task_id).await.unwrap().status, "submitted");
    worker.stop().await;

    let with_both = |config: &mut Config| config.encryption = ring(&format!("{new},{old}"));
    let worker = world.worker_with(with_both, seller(world.calls.clone())).await.unwrap();
    let rotated = world.connected(with_both).await.unwrap();
    let task = eventually("the task is completed", || async {
        let task = rotated.tasks().task(&Viewer::Operator, &task_id, true).await.ok()??;
        (task.status == "completed").then_some(task)
    })
    .await;
    assert_eq!(task.result_json, r#"{"media_buy_id":"mb"}"#);
    world.closed(&task_id).await;
    let before = rotated.tasks().reseal(true).await.unwrap();
    let keys: Vec<_> = before.values.into_keys().flatten().collect();
    assert_eq!(keys, ["new", "old"]);

    // Whoever reads with the wrong ring is told so, too.
    let asked = blind
        .temporal()
        .unwrap()
        .get_workflow_handle::<VerbWorkflow>(world.reference(&task_id).workflow_id())
        .query(handoff_proto::workflows::StatusQuery, (), Default::default())
        .await;
    let error = asked.unwrap_err().to_string();
    assert!(error.contains("\"wrong\"") || error.contains("\"new\""), "{error}");
    let caller = handoff_client::Caller::new(handoff_tests::SCOPE, handoff_tests::PRINCIPAL);
    let answer = rotated.call(&caller, VERB, request("complete", false).to_string().as_bytes()).await.unwrap();
    assert_eq!(answer.body["media_buy_id"], mark("result"));

    // Sealed anew, the registry needs the old key no longer.
    let resealed = Command::new(binary("handoff"))
        .args(["--json", "registry", "reseal"])
        .envs(world.environment())
        .env("HANDOFF_ENCRYPTION_KEYS", format!("{new},{old}"))
        .output()
        .await
        .unwrap();
    let told: Value = serde_json::from_slice(&resealed.stdout).unwrap();
    assert!(resealed.status.success() && told["resealed"].as_u64() > Some(0) && told["unreadable"] == 0, "{told}");
    let renewed = world.connected(|config| config.encryption = ring(&new)).await.unwrap();
    assert_eq!(renewed.tasks().task(&Viewer::Operator, &task_id, true).await.unwrap(), Some(task));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_keys_loses_nothing() {
    let keys = key("k");
    let world = World::configured(Kind::Sqlite, |config| config.encryption = ring(&keys)).await.unwrap();
    let worker = world.worker_of(world.temporal_client.clone(), seller(world.calls.clone())).await.unwrap();
    let task_id = submit(&world, "workflow", false).await;
    worker.stop().await;
    let hasty = world.client(|config| config.resolve_timeout = Duration::from_millis(500));
    let completion = decision::complete(&json!({"media_buy_id": "mb"}));
    let told = hasty.resolve(&Viewer::Operator, &task_id, completion).await.unwrap();
    assert!(matches!(told, Resolved::Recorded { .. }), "{told:?}");

    let keyless = |config: &mut Config| config.encryption = KeySource::None;
    let worker = world.worker_with(keyless, seller(world.calls.clone())).await.unwrap();
    let (known, handoff) = (world.unfinished().await, world.handoff.clone());
    let fresh = request("complete", false).to_string();
    let asked = tokio::spawn(async move {
        let caller = handoff_client::Caller::new(handoff_tests::SCOPE, handoff_tests::PRINCIPAL);
        handoff.call(&caller, VERB, fresh.as_bytes()).await
    });
    let begun = eventually("the next request is claimed", || async {
        world.unfinished().await.into_iter().find(|task_id| !known.contains(task_id))
    })
    .await;
    for task_id in [&task_id, &begun] {
        let failure = eventually("the worker fails a workflow task", || failed_workflow_task(&world, task_id)).await;
        assert!(failure.contains("\"k\"") && failure.contains("HANDOFF_ENCRYPTION_KEYS"), "{failure}");
    }
    worker.stop().await;

    let worker = world.worker_of(world.temporal_client.clone(), seller(world.calls.clone())).await.unwrap();
    assert_eq!(asked.await.unwrap().unwrap().body["media_buy_id"], mark("result"));
    let task = world.reaches(&task_id, TaskStatus::Completed).await;
    assert_eq!(task.result_json, r#"{"media_buy_id":"mb"}"#);
    for task_id in [&task_id, &begun] {
        world.closed(task_id).await;
    }
    worker.stop().await;
}

/// Whoever may write to Temporal can hold a run with what nobody can open, as it could terminate it. Reset to before that, the
/// run goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_a_forged_signal_holds_is_freed_by_a_reset() {
    is_freed_by_a_reset(ring(&key("k")), "altered").await;
    // Who has no keys can't tell a forged one from one that another process could read.
    is_freed_by_a_reset(KeySource::None, "not in the key ring").await;
}

async fn is_freed_by_a_reset(keys: KeySource, complaint: &str) {
    let world = World::configured(Kind::Sqlite, |config| config.encryption = keys).await.unwrap();
    let worker = world.worker().await.unwrap();
    let task_id = world.submit(VERB, json!({"arm": "workflow"})).await;
    eventually("the run waits", || async { (world.status(&task_id).await.stage == "waiting").then_some(()) }).await;
    let mut forged = payload("binary/encrypted", [1; 64]);
    forged.metadata.insert("encryption-key-id".into(), b"k".to_vec());
    // This world's own client would encrypt it once more.
    let stranger = world.connected(|config| config.encryption = KeySource::None).await.unwrap();
    let run = world.reference(&task_id).workflow_id();
    let run = stranger.temporal().unwrap().get_workflow_handle::<VerbWorkflow>(run);
    let signal = UntypedSignal::<VerbWorkflow>::new(COMPLETE);
    run.signal(signal, RawValue::new(vec![forged]), Default::default()).await.unwrap();
    let failure = eventually("it holds the run", || failed_workflow_task(&world, &task_id)).await;
    assert!(failure.contains("\"k\"") && failure.contains(complaint), "{failure}");
    assert_eq!(world.task(&task_id).await.unwrap().status, "submitted", "polls answer meanwhile");

    let (run, address) = (world.reference(&task_id).workflow_id(), world.temporal.address());
    let reset =
        ["workflow", "reset", "--type", "LastWorkflowTask", "--reapply-exclude", "Signal", "--reason", "forged"];
    let (_, log) = temporal_cli(&[&reset[..], &["--workflow-id", &run, "--address", &address]].concat()).await;
    assert!(!log.to_lowercase().contains("error"), "{log}");
    let completion = decision::complete(&json!({"media_buy_id": "mb"}));
    eventually("the run takes decisions again", || async {
        let told = world.handoff.resolve(&Viewer::Operator, &task_id, completion.clone()).await.ok()?;
        matches!(told, Resolved::Accepted { .. } | Resolved::Duplicate { .. }).then_some(())
    })
    .await;
    let task = world.reaches(&task_id, TaskStatus::Completed).await;
    assert_eq!(task.result_json, r#"{"media_buy_id":"mb"}"#);
    world.closed(&task_id).await;
    world.asked_once("review", &task_id);
    worker.stop().await;
}

/// Why a history does not replay with these keys.
async fn replay(history: WorkflowHistory, encryption: KeySource) -> Option<String> {
    let converter = data_converter(encryption.load().unwrap());
    let mut options = WorkflowReplayerOptions::new().data_converter(converter).build();
    as_workflow_type(VERB, || options.register_workflow::<VerbRun>().map(|_| ())).unwrap();
    let mut replayed = WorkflowReplayer::new(options).unwrap().replay_workflows([history]).await.unwrap();
    replayed.remove(0).replay_failure.map(|failure| format!("{failure:?}"))
}

/// What a run's first failed workflow task says.
async fn failed_workflow_task(world: &World, task_id: &str) -> Option<String> {
    let history = world.run(task_id).fetch_history(Default::default()).into_events().await.ok()?;
    let failed = history.into_iter().find(|event| event.event_type() == EventType::WorkflowTaskFailed)?;
    match failed.attributes? {
        Attributes::WorkflowTaskFailedEventAttributes(failed) => Some(failed.failure?.message),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn temporals_own_cli_reads_and_writes_through_the_codec_endpoint() {
    let (keys, token) = (key("k"), "the token of this test");
    let world = World::configured(Kind::Sqlite, |config| config.encryption = ring(&keys)).await.unwrap();
    let _worker = world.worker_of(world.temporal_client.clone(), seller(world.calls.clone())).await.unwrap();
    let task_id = submit(&world, "workflow", false).await;
    let mut serving = Command::new(binary("handoff"))
        .args(["--json", "codec", "serve", "--listen", "127.0.0.1:0", "--cors-origin", "http://localhost:8233"])
        .env("HANDOFF_ENCRYPTION_KEYS", &keys)
        .env("HANDOFF_CODEC_TOKEN", token)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let line = BufReader::new(serving.stdout.take().unwrap()).lines().next_line().await.unwrap().unwrap();
    let url = serde_json::from_str::<Value>(&line).unwrap()["url"].as_str().unwrap().to_owned();

    let run = world.reference(&task_id).workflow_id();
    let address = world.temporal.address();
    let show = ["workflow", "show", "--output", "json", "--workflow-id", &run, "--address", &address];
    let authorization = format!("Bearer {token}");
    let codec = ["--codec-endpoint", &url, "--codec-auth", &authorization];
    let (shown, log) = temporal_cli(&show).await;
    assert!(shown.contains("WORKFLOW_EXECUTION_STARTED") && !in_clear(&shown).contains("MARK-"), "{shown}\n{log}");
    let (shown, log) = temporal_cli(&[&show[..], &codec].concat()).await;
    let shown = in_clear(&shown);
    assert!(shown.contains("MARK-request") && shown.contains("MARK-review-input"), "{shown}\n{log}");

    let signal = ["workflow", "signal", "--name", "complete", "--input", r#"{"media_buy_id":"by cli"}"#];
    let run = ["--workflow-id", &run, "--address", &address];
    temporal_cli(&[&signal[..], &run, &codec].concat()).await;
    let task = world.reaches(&task_id, TaskStatus::Completed).await;
    assert_eq!(task.result_json, r#"{"media_buy_id":"by cli"}"#);
    let pid = serving.id().unwrap().to_string();
    Command::new("kill").args(["-TERM", &pid]).status().await.unwrap();
    assert!(serving.wait().await.unwrap().success(), "it stops when told");
}

/// Output and log of Temporal's command line.
async fn temporal_cli(arguments: &[&str]) -> (String, String) {
    let program = std::env::var_os("HANDOFF_TEMPORAL_BIN").map_or(PathBuf::from("temporal"), PathBuf::from);
    let done = Command::new(program).args(arguments).output().await.unwrap();
    (String::from_utf8_lossy(&done.stdout).into_owned(), String::from_utf8_lossy(&done.stderr).into_owned())
}

/// The payloads' data in a history as JSON, one after the other.
fn in_clear(history: &str) -> String {
    fn collect(value: &Value, found: &mut String) {
        match value {
            Value::Object(fields) => {
                if let Some(bytes) = fields.get("data").and_then(Value::as_str).map(|data| BASE64_STANDARD.decode(data))
                {
                    found.push_str(&String::from_utf8_lossy(&bytes.unwrap_or_default()));
                }
                fields.values().for_each(|value| collect(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| collect(value, found)),
            _ => {}
        }
    }
    let mut found = String::new();
    collect(&serde_json::from_str(history).unwrap_or_default(), &mut found);
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn production_refuses_the_development_server() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let config = Config {
        environment: Environment::Production,
        registry_url: "postgres://db/handoff".into(),
        encryption: ring(&key("k")),
        ..world.config().clone()
    };
    config.check().unwrap();
    let refused = temporal::connect(&config).await.map(|_| ()).unwrap_err();
    assert!(matches!(refused, Error::Config(ConfigError::SqliteTemporalInProduction)), "{refused}");
}
