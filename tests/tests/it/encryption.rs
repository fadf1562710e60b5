//! What Temporal stores, searched byte by byte; keys that come, change and are missing; and what operators see.

use base64::{Engine, prelude::BASE64_STANDARD};
use handoff::{prelude::*, seller::Handlers};
use handoff_client::{
    Config, ConfigError, Environment, Error, Handoff, Resolved, Viewer,
    codec::{Key, KeySource, data_converter},
    temporal,
};
use handoff_proto::wire::TaskStatus;
use handoff_tests::{Kind, World, binary, decision, eventually, fresh_key, lab::Calls, payload};
use handoff_workflows::{VerbRun, as_workflow_type};
use std::{collections::BTreeSet, path::PathBuf, process::Stdio, time::Duration};
use temporalio_client::{Client, WorkflowHistory};
use temporalio_common::protos::temporal::api::{enums::v1::EventType, history::v1::history_event::Attributes};
use temporalio_sdk::workflow_replayer::{WorkflowReplayer, WorkflowReplayerOptions};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

const VERB: &str = "create_media_buy";
/// What a buyer, handlers and a reviewer write into a run of each arm.
const SECRETS: [&str; 9] =
    ["request", "result", "task-input", "task-result", "error", "heartbeat", "review-input", "decision", "reason"];

/// Recognisable, and several times, so that one is whole wherever the database's pages end.
fn mark(what: &str) -> String {
    format!("MARK-{what}.").repeat(4)
}

fn key(id: &str) -> String {
    use secrecy::ExposeSecret;
    Key::generate(id).unwrap().expose_secret().to_owned()
}

fn ring(text: &str) -> KeySource {
    KeySource::Text(text.into())
}

/// A seller that knows secrets.
fn seller(calls: Calls) -> Handlers {
    Seller::new("secretive", calls)
        .verb(VERB, verb(decide).hands_off_to(["work", "review"]))
        .task("work", task(work).retry(Duration::from_millis(50), Duration::from_millis(200), 5))
        .enqueue("review", review)
        .into_handlers()
        .unwrap()
}

async fn decide(_: Context<Calls>, request: Value) -> Result<Decision, AdcpError> {
    Ok(match request["arm"].as_str() {
        Some("task") => Decision::handoff_to_task("work", json!({"note": mark("task-input"), "hold": request["hold"]})),
        Some("workflow") => Decision::handoff_to_workflow("review", json!({"note": mark("review-input")})),
        _ => Decision::complete(json!({"media_buy_id": mark("result")})),
    })
}

async fn work(context: TaskContext<Calls>, input: Value) -> Result<Value, AdcpError> {
    if context.attempt == 1 {
        return Err(AdcpError::transient("SERVICE_UNAVAILABLE", mark("error")));
    }
    context.heartbeat(mark("heartbeat")).await?;
    if input["hold"] == true {
        context.cancelled().await;
    }
    Ok(json!({"media_buy_id": mark("task-result")}))
}

async fn review(_: Context<Calls>, _: Value) -> Result<Acknowledgement, AdcpError> {
    Ok(Acknowledgement::wilco())
}

fn request(arm: &str, hold: bool) -> Value {
    json!({"idempotency_key": fresh_key(), "arm": arm, "hold": hold, "note": mark("request")})
}

async fn submit(world: &World, arm: &str, hold: bool) -> String {
    let answer = world.send(VERB, &request(arm, hold)).await.unwrap();
    assert_eq!(answer.status, "submitted", "{}", answer.body);
    answer.task_id
}

/// Runs on every arm, the last one in the middle of its work; then the server dies. What is found in its files?
async fn found_after_runs(encryption: KeySource) -> BTreeSet<&'static str> {
    let configure = |config: &mut Config| config.encryption = encryption;
    let mut world = World::with_own_temporal_configured(Kind::Sqlite, configure).await.unwrap();
    let _worker = world.worker_of(world.temporal_client.clone(), seller(world.calls.clone())).await.unwrap();
    let answer = world.send(VERB, &request("complete", false)).await.unwrap();
    assert_eq!(answer.body["media_buy_id"], mark("result"));
    let task_id = submit(&world, "task", false).await;
    let task = world.reaches(&task_id, TaskStatus::Completed).await;
    assert!(task.result_json.contains("MARK-task-result"));
    let task_id = submit(&world, "workflow", false).await;
    let mut completion = decision::complete(&json!({"media_buy_id": mark("decision")}));
    completion.reason = mark("reason");
    let told = world.handoff.resolve(&Viewer::Operator, &task_id, completion).await.unwrap();
    assert!(matches!(told, Resolved::Accepted { .. }), "{told:?}");
    typed_in_clear(&world).await;
    let task_id = submit(&world, "task", true).await;
    eventually("the heartbeat is stored", || async {
        let described = world.run(&task_id).describe(Default::default()).await.ok()?;
        described.raw().pending_activities.iter().any(|activity| activity.heartbeat_details.is_some()).then_some(())
    })
    .await;
    world.temporal.kill().await.unwrap();
    let files = world.temporal.files().unwrap();
    assert!(files.iter().any(|(path, bytes)| path.ends_with("temporal.db") && !bytes.is_empty()));
    let holds = |what: &&str| {
        let marker = format!("MARK-{what}.");
        files.iter().any(|(_, bytes)| bytes.windows(marker.len()).any(|window| window == marker.as_bytes()))
    };
    SECRETS.into_iter().chain(["typed"]).filter(holds).collect()
}

/// A signal as a person types it at a terminal, with whatever keys the workers have.
async fn typed_in_clear(world: &World) {
    let task_id = submit(world, "workflow", false).await;
    let in_clear = world.connect(|config| config.encryption = KeySource::None).await.unwrap();
    let signal = temporalio_client::UntypedSignal::<handoff_proto::workflows::VerbWorkflow>::new("complete");
    let typed = payload("json/plain", json!({"media_buy_id": mark("typed")}).to_string());
    let typed = temporalio_common::data_converters::RawValue::new(vec![typed]);
    let run =
        in_clear.get_workflow_handle::<handoff_proto::workflows::VerbWorkflow>(world.reference(&task_id).workflow_id());
    run.signal(signal, typed, Default::default()).await.unwrap();
    let task = world.reaches(&task_id, TaskStatus::Completed).await;
    assert!(task.result_json.contains("MARK-typed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_keys_temporals_files_hold_nothing_but_what_was_typed_in_clear() {
    let found = found_after_runs(ring(&key("k"))).await;
    assert_eq!(found, BTreeSet::from(["typed"]));
}

// The other test would pass as well if nothing was ever found.
#[tokio::test(flavor = "multi_thread")]
async fn without_keys_they_hold_everything() {
    let found = found_after_runs(KeySource::None).await;
    assert_eq!(found, SECRETS.into_iter().chain(["typed"]).collect());
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

    let wrong = world.connect(|config| config.encryption = ring(&wrong)).await.unwrap();
    let worker = world.worker_of(wrong.clone(), seller(world.calls.clone())).await.unwrap();
    let failure = eventually("the wrong worker fails", || failed_workflow_task(&world, &task_id)).await;
    assert!(failure.contains("\"old\"") && failure.contains("HANDOFF_ENCRYPTION_KEYS"), "{failure}");
    assert_eq!(world.task(&task_id).await.unwrap().status, "submitted");
    worker.stop().await;

    let rotated: Client = world.connect(|config| config.encryption = ring(&format!("{new},{old}"))).await.unwrap();
    let worker = world.worker_of(rotated.clone(), seller(world.calls.clone())).await.unwrap();
    let task = world.reaches(&task_id, TaskStatus::Completed).await;
    assert_eq!(task.result_json, r#"{"media_buy_id":"mb"}"#);
    world.closed(&task_id).await;

    // Whoever reads with the wrong ring is told so, too.
    let asked = wrong
        .get_workflow_handle::<handoff_proto::workflows::VerbWorkflow>(world.reference(&task_id).workflow_id())
        .query(handoff_proto::workflows::StatusQuery, (), Default::default())
        .await;
    let error = asked.unwrap_err().to_string();
    assert!(error.contains("\"wrong\"") || error.contains("\"new\""), "{error}");
    let handoff = Handoff::from_parts(rotated, world.registry.clone(), world.config().clone());
    let caller = handoff_client::Caller::new(handoff_tests::SCOPE, handoff_tests::PRINCIPAL);
    let answer = handoff.call(&caller, VERB, request("complete", false).to_string().as_bytes()).await.unwrap();
    assert_eq!(answer.body["media_buy_id"], mark("result"));
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
