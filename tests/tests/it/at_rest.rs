//! What is left of a story where it is stored, shown and logged: Temporal's files and HTTP API, the registry, the logs. All
//! searched byte by byte, in clear and in base64, for what buyers, the seller and reviewers wrote.

use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};
use handoff::{prelude::*, seller::Handlers};
use handoff_client::{CallError, Config, Resolved, Viewer, codec::KeySource};
use handoff_proto::{errors, v1::Completion, wire::TaskStatus};
use handoff_tests::{Kind, Temporal, World, decision, eventually, fresh_key, lab::Calls, payload};
use sqlx::Connection;
use std::{
    borrow::Cow,
    collections::BTreeSet,
    io::Write,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

pub(crate) const VERB: &str = "create_media_buy";

/// What everybody writes.
const SECRETS: [&str; 18] = [
    "key",
    "request",
    "context",
    "result",
    "refusal",
    "task-input",
    "progress",
    "error",
    "heartbeat",
    "task-result",
    "review-input",
    "decision",
    "actor",
    "reason",
    "rejection",
    "failure",
    "token",
    "credentials",
];
/// What only a webhook has: without keys it is refused.
const WEBHOOK: [&str; 2] = ["token", "credentials"];
const TYPED: &str = "typed";

/// Recognisable, and several times, so that one is whole wherever a database's pages end.
pub(crate) fn mark(what: &str) -> String {
    format!("MARK-{what}.").repeat(4)
}

/// A seller that knows secrets.
pub(crate) fn seller(calls: Calls) -> Handlers {
    Seller::new("secretive", calls)
        .verb(VERB, verb(decide).hands_off_to(["work", "review"]))
        .task("work", task(work).retry(Duration::from_millis(50), Duration::from_millis(200), 5))
        .enqueue("review", review)
        .into_handlers()
        .unwrap()
}

async fn decide(context: Context<Calls>, request: Value) -> Result<Decision, AdcpError> {
    let seen = request.to_string();
    assert!(WEBHOOK.iter().all(|what| !seen.contains(&format!("MARK-{what}"))), "no handler sees a webhook's secret");
    context.state().record("decide", &context.task_id, &request["push_notification_config"].to_string());
    Ok(match request["arm"].as_str() {
        Some("task") => Decision::handoff_to_task("work", json!({"note": mark("task-input"), "hold": request["hold"]})),
        Some("workflow") => Decision::handoff_to_workflow("review", json!({"note": mark("review-input")})),
        Some("refuse") => return Err(AdcpError::correctable("POLICY_VIOLATION", mark("refusal"))),
        _ => Decision::complete(json!({"media_buy_id": mark("result")})),
    })
}

async fn work(context: TaskContext<Calls>, input: Value) -> Result<Value, AdcpError> {
    context.progress(Progress::step(1, 2, mark("progress"))).await;
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

pub(crate) fn request(arm: &str, hold: bool) -> Value {
    json!({
        "idempotency_key": format!("{}MARK-key.", fresh_key()), "arm": arm, "hold": hold, "note": mark("request"),
        "context": {"note": mark("context")},
    })
}

fn with_webhook(mut request: Value) -> Value {
    request["push_notification_config"] = json!({
        "url": "https://buyer.example/hook", "operation_id": "op-1", "token": mark("token"),
        "authentication": {"schemes": ["Bearer"], "credentials": mark("credentials")},
    });
    request
}

/// The story of a test: what it is told with, and what was logged.
struct Story {
    world: World,
    with_keys: bool,
    log: Log,
}

impl Story {
    async fn begin(kind: Kind, encryption: KeySource) -> Self {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_env_filter("info,handoff=trace").with_ansi(false);
        // Each test is a process of its own.
        let _ = subscriber.with_writer(move || writer.clone()).try_init();
        let with_keys = !encryption.is_none();
        let temporal = Temporal::own_with_ui().await.unwrap();
        let configure = |config: &mut Config| config.encryption = encryption;
        Self { world: World::on(temporal, kind, configure).await.unwrap(), with_keys, log }
    }

    async fn submit(&self, arm: &str, hold: bool) -> String {
        let request = request(arm, hold);
        let request = if self.with_keys { with_webhook(request) } else { request };
        let answer = self.world.send(VERB, &request).await.unwrap();
        assert_eq!(answer.status, "submitted", "{}", answer.body);
        answer.task_id
    }

    async fn decide(&self, mut completion: Completion) -> String {
        let task_id = self.submit("workflow", false).await;
        (completion.actor, completion.reason) = (mark("actor"), mark("reason"));
        let told = self.world.handoff.resolve(&Viewer::Operator, &task_id, completion).await.unwrap();
        assert!(matches!(told, Resolved::Accepted { .. }), "{told:?}");
        task_id
    }

    /// Every arm and every end, the last task in the middle of its work.
    async fn tell(&self) {
        let world = &self.world;
        let answer = world.send(VERB, &request("complete", false)).await.unwrap();
        assert_eq!(answer.body["media_buy_id"], mark("result"));
        let refused = world.send(VERB, &request("refuse", false)).await.unwrap_err();
        assert!(refused.to_string().contains("MARK-refusal"));
        self.webhooks_secrets().await;
        let task_id = self.submit("task", false).await;
        let task = world.reaches(&task_id, TaskStatus::Completed).await;
        assert!(task.result_json.contains("MARK-task-result") && task.context_json.contains("MARK-context"));
        self.decide(decision::complete(&json!({"media_buy_id": mark("decision")}))).await;
        let rejected = decision::complete(&json!({"status": "rejected", "rejection_reason": mark("rejection")}));
        let task_id = self.decide(rejected).await;
        world.reaches(&task_id, TaskStatus::Rejected).await;
        self.decide(decision::fail(AdcpError::correctable("POLICY_VIOLATION", mark("failure")))).await;
        self.typed_in_clear().await;
        let task_id = self.submit("task", true).await;
        eventually("the heartbeat is stored", || async {
            let described = world.run(&task_id).describe(Default::default()).await.ok()?;
            described.raw().pending_activities.iter().any(|activity| activity.heartbeat_details.is_some()).then_some(())
        })
        .await;
    }

    /// They are kept for the webhook, as they came first, and the seller does not see them; or they are refused.
    async fn webhooks_secrets(&self) {
        let world = &self.world;
        let mut request = with_webhook(request("workflow", false));
        let told = world.send(VERB, &request).await;
        if !self.with_keys {
            let Err(CallError::Refused(error)) = told else { panic!("{told:?}") };
            assert_eq!(error.code, errors::KEYS_REQUIRED);
            assert!(error.suggestion.unwrap().contains("HANDOFF_ENCRYPTION_KEYS"));
            return;
        }
        let task = world.reference(&told.unwrap().task_id);
        let registered = request["push_notification_config"].to_string();
        request["push_notification_config"]["authentication"]["credentials"] = json!(mark("other"));
        assert!(world.send(VERB, &request).await.unwrap().replayed);
        assert_eq!(world.registry.webhook(&task).await.unwrap(), Some(registered));
        let seen =
            r#"{"url":"https://buyer.example/hook","operation_id":"op-1","authentication":{"schemes":["Bearer"]}}"#;
        assert_eq!(world.calls.of("decide", &task.task_id), [seen]);
    }

    /// A signal as a person types it at a terminal, with whatever keys the workers have.
    async fn typed_in_clear(&self) {
        let task_id = self.submit("workflow", false).await;
        let in_clear = self.world.connect(|config| config.encryption = KeySource::None).await.unwrap();
        let signal = temporalio_client::UntypedSignal::<handoff_proto::workflows::VerbWorkflow>::new("complete");
        let typed = payload("json/plain", json!({"media_buy_id": mark(TYPED)}).to_string());
        let typed = temporalio_common::data_converters::RawValue::new(vec![typed]);
        let run = in_clear.get_workflow_handle::<handoff_proto::workflows::VerbWorkflow>(
            self.world.reference(&task_id).workflow_id(),
        );
        run.signal(signal, typed, Default::default()).await.unwrap();
        let task = self.world.reaches(&task_id, TaskStatus::Completed).await;
        assert!(task.result_json.contains("MARK-typed"));
    }

    /// What Temporal's HTTP API says of every run, as its UI asks.
    async fn shown_by_temporal(&self) -> Vec<u8> {
        let ui = self.world.temporal.ui_address().unwrap();
        let mut shown = get(&ui, "/api/v1/namespaces/default/workflows").await;
        let tasks = self.world.registry.list(&Viewer::Operator, &Default::default()).await.unwrap().tasks;
        assert!(tasks.len() >= 5);
        for task in tasks {
            let run = task.task.unwrap().workflow_id().replace('/', "%2F");
            let history = get(&ui, &format!("/api/v1/namespaces/default/workflows/{run}/history")).await;
            assert!(readable(&history).contains("WORKFLOW_EXECUTION_STARTED"), "{}", readable(&history));
            shown.extend(history);
            shown.extend(get(&ui, &format!("/api/v1/namespaces/default/workflows/{run}")).await);
        }
        shown
    }

    /// Runs on every arm; then the server dies. What is found, and where?
    async fn found(mut self) -> [(&'static str, BTreeSet<&'static str>); 4] {
        let worker = self.world.worker_of(self.world.temporal_client.clone(), seller(self.world.calls.clone()));
        let _worker = worker.await.unwrap();
        self.tell().await;
        let shown = self.shown_by_temporal().await;
        let registry = stored_in_registry(&self.world).await;
        self.world.temporal.kill().await.unwrap();
        let files = self.world.temporal.files().unwrap();
        assert!(files.iter().any(|(path, bytes)| path.ends_with("temporal.db") && !bytes.is_empty()));
        let files: Vec<u8> = files.into_iter().flat_map(|(_, bytes)| bytes).collect();
        let log = self.log.0.lock().unwrap().clone();
        assert!(!log.is_empty());
        [("Temporal's files", files), ("Temporal's API", shown), ("registry", registry), ("log", log)].map(
            |(place, bytes)| {
                let bytes = readable(&bytes);
                let found = SECRETS.into_iter().chain([TYPED]).filter(|what| holds(&bytes, &format!("MARK-{what}.")));
                (place, found.collect())
            },
        )
    }
}

/// The registry's files, or its tables.
pub(crate) async fn stored_in_registry(world: &World) -> Vec<u8> {
    let url = &world.config().registry_url;
    if let Some(path) = url.strip_prefix("sqlite:") {
        let files = std::fs::read_dir(Path::new(path).parent().unwrap()).unwrap();
        return files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
    }
    let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
    let tables = ["requests", "request_history", "webhooks", "webhook_attempts"];
    let rows = tables.map(|table| format!("SELECT t::text FROM {table} t")).join(" UNION ALL ");
    let rows: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(rows)).fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    rows.concat().into_bytes()
}

async fn get(address: &str, path: &str) -> Vec<u8> {
    let mut connection = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nAccept: application/json\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.unwrap();
    assert!(
        answer.starts_with(b"HTTP/1.0 200") || answer.starts_with(b"HTTP/1.1 200"),
        "{path}: {}",
        String::from_utf8_lossy(&answer)
    );
    answer
}

/// The bytes as text, in which what is searched for, being ASCII, stays as it is.
pub(crate) fn readable(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// Is the text in there, as it is or in base64, wherever its first byte falls?
pub(crate) fn holds(bytes: &str, text: &str) -> bool {
    let aligned = (0..3).map(|skip| {
        let part = &text.as_bytes()[skip..];
        BASE64_STANDARD_NO_PAD.encode(&part[..part.len() / 3 * 3])
    });
    bytes.contains(text) || aligned.into_iter().any(|spelled| bytes.contains(&spelled))
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_search_finds_what_is_there() {
    for before in ["", "1", "12", "123"] {
        let text = format!("{before}MARK-request.");
        assert!(holds(&text, "MARK-request."));
        assert!(holds(&BASE64_STANDARD_NO_PAD.encode(&text), "MARK-request."), "{before}");
    }
    assert!(!holds("MARK-reques", "MARK-request."));
}

async fn nothing_is_found_with_keys(kind: Kind) {
    let story = Story::begin(kind, super::encryption::ring(&super::encryption::key("k"))).await;
    for (place, found) in story.found().await {
        // What is typed in clear is stored so by Temporal, and by nobody else.
        let expected = if place.starts_with("Temporal") { BTreeSet::from([TYPED]) } else { BTreeSet::new() };
        assert_eq!(found, expected, "{place}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_keys_nothing_shows_beside_sqlite() {
    nothing_is_found_with_keys(Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_keys_nothing_shows_beside_postgres() {
    nothing_is_found_with_keys(Kind::Postgres).await;
}

// The other tests would pass as well if nothing was ever found.
#[tokio::test(flavor = "multi_thread")]
async fn without_keys_everything_shows_but_webhooks_secrets_and_keys() {
    let story = Story::begin(Kind::Sqlite, KeySource::None).await;
    let found = story.found().await;
    let without = |missing: &[&str]| -> BTreeSet<&str> {
        let all = SECRETS.into_iter().chain([TYPED]).filter(|what| !WEBHOOK.contains(what));
        all.filter(|what| !missing.contains(what)).collect()
    };
    assert_eq!(found[0], ("Temporal's files", without(&["progress"])));
    let in_api = &found[1].1;
    assert!(in_api.is_superset(&BTreeSet::from(["request", "context", "task-input", "decision", TYPED])), "{in_api:?}");
    assert_eq!(found[2], ("registry", without(&["key", "request", "error", "heartbeat"])));
    assert!(found[3].1.is_empty(), "logs hold nothing of it, ever: {:?}", found[3].1);
}
