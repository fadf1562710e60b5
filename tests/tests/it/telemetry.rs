//! What processes say about themselves: a scrape, one trace, lines of a log; and what is in none of them.

use handoff_client::{Resolved, Viewer};
use handoff_proto::{wire::TaskStatus, workflows::COMPLETE};
use handoff_telemetry::{Metrics, instruments};
use handoff_tests::{
    Collector, Kind, PRINCIPAL, Process, Received, SCOPE, Scrape, World, binary, decision, eventually, fresh_key,
    payload, request,
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs, net::TcpListener, path::Path, process::Stdio, time::Duration};
use tokio::{process::Command, time::Instant};

const VERB: &str = "create_media_buy";
const LATE: Duration = Duration::from_secs(20);

/// A worker that serves its metrics on any port; where.
async fn measured_worker(world: &World, more: &[(&str, &str)], log: &Path) -> (Process, String) {
    let known = world.calls.of("worker", "metrics").len();
    let environment = [&[("HANDOFF_METRICS_ADDRESS", "127.0.0.1:0")], more].concat();
    let worker = world.logging_worker_process(&environment, log).unwrap();
    let address =
        eventually("the worker measures", || async { world.calls.of("worker", "metrics").get(known).cloned() }).await;
    (worker, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_a_scrape_shows_what_happened() {
    let metrics = Metrics::start(None).unwrap();
    let world = World::configured(Kind::Sqlite, |config| config.metrics = metrics.clone()).await.unwrap();
    let log = tempfile::NamedTempFile::new().unwrap();
    let (mut worker, address) = measured_worker(&world, &[], log.path()).await;

    // Answered at once; the same again; another request with its key; refused.
    let request_at_once = request(&fresh_key(), json!({"arm": "complete"}));
    assert_eq!(world.send(VERB, &request_at_once).await.unwrap().status, "completed");
    assert!(world.send(VERB, &request_at_once).await.unwrap().replayed);
    let mut other = request_at_once.clone();
    other["lab"]["arm"] = "task".into();
    world.send(VERB, &other).await.unwrap_err();
    world.call(VERB, json!({"arm": "refuse"})).await.unwrap_err();
    // Two calls at once with one key.
    let gate = fresh_key();
    let held = request(&fresh_key(), json!({"arm": "complete", "hold": {"decide": gate}}));
    let (_, first) = world.begin(VERB, &held).await;
    let second = {
        let (handoff, held) = (world.handoff.clone(), held.to_string());
        let caller = handoff_client::Caller::new(SCOPE, PRINCIPAL);
        tokio::spawn(async move { handoff.call(&caller, VERB, held.as_bytes()).await })
    };
    eventually("the second attaches", || async {
        let scrape = Scrape::parse(&metrics.render().await.unwrap()).unwrap();
        (scrape.value("handoff_claims_total", &[("outcome", "attached")]) == 1.0).then_some(())
    })
    .await;
    world.calls.open(&gate);
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    // The task arm; the workflow arm, with a signal that nobody can read; an end that another one forestalls.
    let task_id = world.submit(VERB, json!({"arm": "task", "fails": 1, "recovery": "transient"})).await;
    world.reaches(&task_id, TaskStatus::Completed).await;
    let task_id = world.submit(VERB, json!({"arm": "workflow"})).await;
    world.signal(&task_id, COMPLETE, vec![payload("json/plain", "garbage")]).await;
    let told = world.handoff.resolve(&Viewer::Operator, &task_id, decision::complete(&json!({"a": 1}))).await.unwrap();
    assert!(matches!(told, Resolved::Accepted { .. }), "{told:?}");
    let told = world.handoff.resolve(&Viewer::Operator, &task_id, decision::complete(&json!({"a": 2}))).await.unwrap();
    assert!(matches!(told, Resolved::Conflict { .. }), "{told:?}");
    let forestalled = world.submit(VERB, json!({"arm": "workflow"})).await;
    let found = world.registry.find(&Viewer::Operator, &forestalled).await.unwrap().unwrap();
    world.registry.settle(&found, &decision::cancel()).await.unwrap();
    world.signal(&forestalled, COMPLETE, vec![payload("json/plain", r#"{"a":1}"#)]).await;
    world.closed(&forestalled).await;
    // One that stays open.
    let open = world.submit(VERB, json!({"arm": "workflow"})).await;
    world.called("review", &open).await;

    let verb = ("verb", VERB);
    let client = Scrape::parse(&metrics.render().await.unwrap()).unwrap();
    for (outcome, number) in [("new", 7.0), ("answered", 1.0), ("conflict", 1.0), ("attached", 1.0)] {
        assert_eq!(client.value("handoff_claims_total", &[verb, ("outcome", outcome)]), number, "{outcome}");
    }
    let calls = |outcome| client.value("handoff_call_duration_seconds_count", &[verb, ("outcome", outcome)]);
    assert_eq!([calls("completed"), calls("replayed"), calls("refused"), calls("submitted")], [2.0, 2.0, 2.0, 4.0]);
    let resolved = |outcome| client.value("handoff_resolve_duration_seconds_count", &[("outcome", outcome)]);
    assert_eq!([resolved("accepted"), resolved("conflict")], [1.0, 1.0]);
    assert!(client.value("handoff_registry_call_duration_seconds_count", &[("operation", "claim")]) >= 10.0);
    assert!(client.has("temporal_request_latency_seconds"), "{}", client.text());

    let scrape = eventually("the open task is counted", || async {
        let scrape = Scrape::of(&address).await.unwrap();
        let open = [verb, ("arm", "workflow"), ("state", "submitted")];
        (scrape.value("handoff_tasks_open", &open) == 1.0).then_some(scrape)
    })
    .await;
    let decided = |decision| scrape.value("handoff_decisions_total", &[verb, ("decision", decision)]);
    assert_eq!(
        [decided("complete"), decided("refuse"), decided("handoff_to_task"), decided("handoff_to_workflow")],
        [2.0, 1.0, 1.0, 3.0]
    );
    let ended =
        |arm, state| scrape.value("handoff_completion_duration_seconds_count", &[verb, ("arm", arm), ("state", state)]);
    assert_eq!(
        [
            ended("sync", "completed"),
            ended("sync", "refused"),
            ended("task", "completed"),
            ended("workflow", "completed")
        ],
        [2.0, 1.0, 1.0, 1.0]
    );
    // This one was ended by the test's own hand.
    assert_eq!(ended("workflow", "canceled"), 0.0);
    assert_eq!(
        client.value("handoff_completion_duration_seconds_count", &[("arm", "workflow"), ("state", "canceled")]),
        1.0
    );
    assert_eq!(scrape.value("handoff_tasks_submitted_total", &[verb, ("arm", "task")]), 1.0);
    assert_eq!(scrape.value("handoff_tasks_submitted_total", &[verb, ("arm", "workflow")]), 3.0);
    assert_eq!(scrape.value("handoff_decision_duration_seconds_count", &[verb]), 7.0);
    // A settle that runs again counts again.
    assert!(scrape.value("handoff_settle_conflicts_total", &[verb]) >= 1.0);
    // The unreadable one, and the decision that came to nothing.
    assert_eq!(scrape.value("handoff_signals_dropped_total", &[verb]), 2.0);
    assert!(scrape.value("handoff_registry_call_duration_seconds_count", &[("operation", "settle")]) >= 3.0);
    assert!(scrape.value("handoff_oldest_open_task_age_seconds", &[verb, ("arm", "workflow")]) > 0.0);
    for name in instruments::OF_THE_SDK {
        assert!(scrape.has(name), "{name} is not in {}", scrape.text());
    }
    worker.terminate().await.unwrap();
}

/// A command of the CLI as a process that traces.
async fn handoff(world: &World, collector: &str, arguments: &[&str]) -> std::process::Output {
    Command::new(binary("handoff"))
        .args(["--json"])
        .args(arguments)
        .envs(world.environment())
        // What the lab is answered with is none of the protocol's results.
        .env("HANDOFF_VALIDATION", "off")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector)
        // Long enough that a busy machine does not promote by accident.
        .env("HANDOFF_SYNC_DEADLINE", "30s")
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap()
}

fn call(file: &Path) -> Vec<String> {
    let file = file.display().to_string();
    let words = ["verb", "call", VERB, "--account", SCOPE, "--principal", PRINCIPAL, "--file", &file];
    words.map(str::to_owned).to_vec()
}

async fn one(collector: &Collector, name: &str) -> Received {
    let mut found = eventually(&format!("the span {name}"), || async {
        let found = collector.named(name);
        (!found.is_empty()).then_some(found)
    })
    .await;
    assert_eq!(found.len(), 1, "{name}: {found:#?}");
    found.remove(0)
}

/// Client, two workers one after the other, and a reviewer: one trace and a link, readable lines, and nothing that anybody sent.
#[tokio::test(flavor = "multi_thread")]
async fn sqlite_one_trace_readable_lines_and_nothing_that_was_sent() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let collector = Collector::start().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let settings = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url()),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ("HANDOFF_LOG", "info,handoff=trace"),
        ("HANDOFF_LOG_FORMAT", "json"),
    ];
    let (mut first, address) = measured_worker(&world, &settings, &file("first.log")).await;
    let mut body = request(&fresh_key(), json!({"arm": "workflow", "panics": {"decide": 1}, "note": "MARK-body"}));
    body["context"] = json!({"note": "MARK-context"});
    fs::write(file("request.json"), body.to_string()).unwrap();
    let arguments = call(&file("request.json"));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let called = handoff(&world, collector.url(), &arguments).await;
    let answer: Value = serde_json::from_slice(&called.stdout).unwrap();
    let task_id = answer["task_id"].as_str().unwrap().to_owned();
    eventually("the first worker's spans are there", || async {
        (!collector.named("accept").is_empty()).then_some(())
    })
    .await;
    let mut shown = Scrape::of(&address).await.unwrap().text().to_owned();
    first.kill().await.unwrap();
    let (mut second, address) = measured_worker(&world, &settings, &file("second.log")).await;
    let result = r#"{"media_buy_id":"MARK-result"}"#;
    let complete = ["task", "complete", &task_id, "--result", result, "--reason", "MARK-reason", "--actor", "ann"];
    let completed = handoff(&world, collector.url(), &complete).await;
    assert!(completed.status.success(), "{completed:?}");
    world.closed(&task_id).await;
    shown += Scrape::of(&address).await.unwrap().text();
    assert!(second.terminate().await.unwrap().success());

    let call = one(&collector, &format!("call {VERB}")).await;
    let run = one(&collector, &format!("run {VERB}")).await;
    assert_eq!((call.service.as_str(), run.service.as_str()), ("handoff", "lab-seller"));
    assert!(call.span.parent_span_id.is_empty());
    assert_eq!(run.span.parent_span_id, call.span.span_id);
    for name in ["begin", "enqueue", "accept", "settle", "notify"] {
        let activity = one(&collector, name).await;
        assert_eq!(activity.span.parent_span_id, run.span.span_id, "{name}");
        assert_eq!(activity.attribute("task_id"), Some(task_id.as_str()), "{name}");
        assert_eq!(activity.attribute("correlation_id"), call.attribute("correlation_id"), "{name}");
    }
    let decides = collector.named("decide");
    assert_eq!(decides.len(), 2, "one attempt panicked: {decides:#?}");
    let ours: BTreeSet<Vec<u8>> = collector
        .spans()
        .into_iter()
        .filter(|received| received.span.name != "resolve")
        .map(|received| received.span.trace_id)
        .collect();
    assert_eq!(ours, BTreeSet::from([call.span.trace_id.clone()]), "one trace");
    let resolve = one(&collector, "resolve").await;
    assert_eq!(resolve.attribute("outcome"), Some("accepted"));
    let links: Vec<_> = resolve.span.links.iter().map(|link| (&link.trace_id, &link.span_id)).collect();
    assert_eq!(links, [(&call.span.trace_id, &call.span.span_id)]);

    let logs = fs::read_to_string(file("first.log")).unwrap() + &fs::read_to_string(file("second.log")).unwrap();
    let lines: Vec<Value> = logs.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let panicked = lines.iter().find(|line| line["message"] == "a handler panicked").expect("the panic is logged");
    let run_id = run.attribute("run_id").unwrap();
    let expected = json!({
        "level": "ERROR", "task_id": task_id, "scope": SCOPE, "verb": VERB, "run_id": run_id, "attempt": 1,
        "workflow_id": format!("{SCOPE}/{task_id}"), "correlation_id": call.attribute("correlation_id"),
        "activity": "decide",
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&panicked[name], value, "{name} of {panicked:#}");
    }
    assert!(panicked["trace_id"].is_string() && panicked["timestamp"].is_string(), "{panicked:#}");
    assert!(lines.iter().any(|line| line["target"].as_str().is_some_and(|target| target.starts_with("temporalio"))));

    let spans = format!("{:?}", collector.spans());
    for (what, text) in [("log", &logs), ("metrics", &shown), ("spans", &spans)] {
        assert!(!text.contains("MARK-"), "the {what} holds what was sent: {text}");
    }
    assert!(!shown.contains(SCOPE) && !shown.contains(&task_id));
}

/// A collector that accepts and never answers, and one that is not there.
#[tokio::test(flavor = "multi_thread")]
async fn sqlite_a_dead_collector_stops_nothing() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_url = format!("http://{}", silent.local_addr().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let settings = [("OTEL_EXPORTER_OTLP_ENDPOINT", silent_url.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "100")];
    let (mut worker, _) = measured_worker(&world, &settings, &log).await;
    let file = directory.path().join("request.json");
    for collector in [silent_url.as_str(), "http://127.0.0.1:9"] {
        fs::write(&file, request(&fresh_key(), json!({"arm": "complete"})).to_string()).unwrap();
        let arguments = call(&file);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let called = handoff(&world, collector, &arguments).await;
        assert!(called.status.success(), "{collector}: {called:?}");
    }
    let began = Instant::now();
    assert!(worker.terminate().await.unwrap().success());
    assert!(began.elapsed() < LATE, "{:?}", began.elapsed());
}
