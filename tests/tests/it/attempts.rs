//! Handlers that hang or fail until nothing is left of their attempts or of their time: what buyers are told then, and
//! what becomes of an answer that comes later.

use crate::on_both_databases;
use handoff::{prelude::*, seller::Handlers};
use handoff_activities::ActivityTimeouts;
use handoff_client::{Answer, CallError, Caller, HousekeepingSettings, Viewer};
use handoff_proto::{
    errors,
    v1::TaskRecord,
    wire::{ListTasksRequest, TaskStatus},
    workflows::COMPLETE,
};
use handoff_tests::{InProcessWorker, Kind, PRINCIPAL, SCOPE, World, fresh_key, lab::Calls, payload, request};
use handoff_worker::WorkerSettings;
use std::time::Duration;

const VERB: &str = "create_media_buy";
// Of a verb handler, all attempts together: so long that `submitted` is said by then, on a busy machine, too.
const DECIDE_TIMEOUT: Duration = Duration::from_secs(10);
const PANIC: &str = "the handler was told to panic";

on_both_databases! {
    async fn an_attempt_that_hangs_is_abandoned_and_the_next_goes_on_from_its_heartbeat(world: World) {
        let worker = worker(&world).await;
        let task_id = world.submit(VERB, json!({"task": "resume"})).await;
        let ended = world.reaches(&task_id, TaskStatus::Completed).await;
        assert!(ended.result_json.contains("by attempt 2"), "{}", ended.result_json);
        assert_eq!(world.calls.of("resume", &task_id), ["1 None", "2 Some(7)"]);
        world.closed(&task_id).await;
        // What the first one returns now is nobody's any more.
        world.calls.open(&task_id);
        worker.stop().await;
        assert_eq!(world.task(&task_id).await.unwrap(), ended);
    }

    async fn a_task_fails_when_its_handlers_attempts_or_time_are_used_up(world: World) {
        let worker = worker(&world).await;
        let mut tasks = Vec::new();
        for handler in ["spend", "outlast"] {
            let asked = request(&fresh_key(), json!({"task": handler}));
            let answer = world.send(VERB, &asked).await.unwrap();
            assert_eq!(answer.status, "submitted", "{handler}");
            tasks.push((handler, asked, answer.task_id));
        }
        for (handler, asked, task_id) in tasks {
            let task = world.reaches(&task_id, TaskStatus::Failed).await;
            assert_eq!(error_of(&task), errors::task_failed(), "{handler}");
            world.closed(&task_id).await;
            assert_eq!(world.calls.of("failed", &task_id), [errors::TASK_FAILED], "{handler}");
            let attempts = world.calls.of("hang", &task_id);
            assert!(attempts.starts_with(&["1".to_owned(), "2".to_owned()]), "{handler}: {attempts:?}");
            // Two are all that one of them has; the other has as many as its time allows.
            assert!(handler == "outlast" || attempts.len() == 2, "{attempts:?}");
            // The key's answer is recorded: only a new one is another request.
            let again = world.send(VERB, &asked).await.unwrap();
            let told = (again.status.as_str(), again.replayed, again.task_id.as_str());
            assert_eq!(told, ("submitted", true, task_id.as_str()), "{handler}");
        }
        worker.stop().await;
    }

    async fn a_verb_handler_that_gives_no_decision_in_its_time_is_given_up(world: World) {
        let worker = hasty_worker(&world).await;
        let (gate, key, other_key) = (fresh_key(), fresh_key(), fresh_key());
        let hanging = request(&key, json!({"hold": gate}));
        let hanging_and_submitted = request(&fresh_key(), json!({"hold": gate}));
        let panicking = request(&other_key, json!({"panics": true}));
        let (hung, submitted, panicked) = futures::join!(
            world.send(VERB, &hanging),
            promptly(&world, &hanging_and_submitted),
            world.send(VERB, &panicking),
        );

        // Nobody was told `submitted`: refused, and the key is free.
        assert_eq!(refused(hung), errors::decide_failed());
        let error = refused(panicked);
        assert_eq!((error.code.as_str(), error.is_transient()), (errors::HANDLER_FAILED, true), "{error:?}");
        assert!(!error.message.contains(PANIC), "{error:?}");
        for key in [&key, &other_key] {
            let again = world.send(VERB, &request(key, json!({}))).await.unwrap();
            assert_eq!((again.status.as_str(), again.replayed), ("completed", false));
        }
        // Somebody was: the task fails.
        let submitted = submitted.unwrap();
        assert_eq!(submitted.status, "submitted", "{}", submitted.body);
        let failed = world.reaches(&submitted.task_id, TaskStatus::Failed).await;
        assert_eq!(error_of(&failed), errors::decide_failed());
        assert_eq!(visible(&world).await, [submitted.task_id.as_str()]);
        assert!(world.unfinished().await.is_empty());

        // A handler is not called again for being slow, and what it decides later is handed back to the seller.
        let late = world.calls.tasks("hang");
        assert_eq!(late.len(), 2, "{late:?}");
        assert!(late.contains(&submitted.task_id), "{late:?}");
        world.calls.open(&gate);
        for task_id in &late {
            world.called("discarded", task_id).await;
            world.closed(task_id).await;
        }
        worker.stop().await;
        assert_eq!(world.task(&submitted.task_id).await.unwrap(), failed);
        assert_eq!(visible(&world).await, [submitted.task_id.as_str()]);
    }
}

/// It is asked again and again, for a minute at least, however short the review's own deadline is.
#[tokio::test(flavor = "multi_thread")]
async fn sqlite_an_enqueue_handler_that_never_answers_is_given_up() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let worker = worker(&world).await;
    let forgotten = || request(&fresh_key(), json!({"review": "forget"}));
    let key = fresh_key();
    let patient = world.client(|config| config.sync_deadline = Duration::from_secs(200));
    let caller = Caller::new(SCOPE, PRINCIPAL);
    let body = request(&key, json!({"review": "forget"})).to_string();
    let undecided = forgotten();
    let submitted = async {
        let task_id = promptly(&world, &undecided).await.unwrap().task_id;
        let decided = promptly(&world, &forgotten()).await.unwrap().task_id;
        // Somebody has seen it, although nobody said so.
        world.signal(&decided, COMPLETE, vec![payload("json/plain", r#"{"media_buy_id":"early"}"#)]).await;
        (task_id, decided)
    };
    let (unanswered, (task_id, decided)) = futures::join!(patient.call(&caller, VERB, body.as_bytes()), submitted);

    // Nobody was told `submitted`: refused, and the key is free.
    assert_eq!(refused(unanswered), errors::enqueue_failed());
    let again = world.send(VERB, &request(&key, json!({}))).await.unwrap();
    assert_eq!((again.status.as_str(), again.replayed), ("completed", false));
    // Somebody was: the task fails, unless it was decided meanwhile.
    let failed = world.reaches(&task_id, TaskStatus::Failed).await;
    assert_eq!(error_of(&failed), errors::enqueue_failed());
    let again = world.send(VERB, &undecided).await.unwrap();
    assert_eq!((again.status.as_str(), again.replayed, &again.task_id), ("submitted", true, &task_id));
    let completed = world.reaches(&decided, TaskStatus::Completed).await;
    assert!(completed.result_json.contains("early"), "{}", completed.result_json);

    let called = world.calls.tasks("forget");
    for asked in &called {
        world.closed(asked).await;
        let attempts = world.calls.of("forget", asked);
        assert!(attempts.starts_with(&["1".to_owned(), "2".to_owned()]), "{attempts:?}");
    }
    assert!(called.contains(&task_id) && called.contains(&decided), "{called:?}");
    assert_eq!(visible(&world).await.len(), 2);
    assert!(world.unfinished().await.is_empty());
    worker.stop().await;
}

/// A request says in `lab` who has it (`task`, `review`), or what its verb handler does (`hold` a gate's name, `panics`).
fn seller(calls: Calls) -> Handlers {
    let (pause, second) = (Duration::from_millis(50), Duration::from_secs(1));
    let (failed, discarded) = (calls.clone(), calls.clone());
    Seller::new("patient", calls)
        .verb(VERB, verb(decide).hands_off_to(["resume", "spend", "outlast", "forget"]))
        .task("resume", task(resume).attempt_timeout(6 * second).retry(pause, pause, 0))
        .task("spend", task(hang).attempt_timeout(3 * second).retry(pause, pause, 2))
        .task("outlast", task(hang).attempt_timeout(3 * second).deadline(10 * second).retry(pause, pause, 0))
        .enqueue("forget", enqueue(forget).attempt_timeout(20 * second).retry(pause, pause))
        .on(move |event: TaskFailed| record(failed.clone(), "failed", event.task.task_id, event.error.code))
        .on(move |event: DecisionDiscarded| record(discarded.clone(), "discarded", event.task.task_id, String::new()))
        .into_handlers()
        .unwrap()
}

async fn decide(context: Context<Calls>, request: Value) -> Result<Decision, AdcpError> {
    let lab = &request["lab"];
    if let Some(gate) = lab["hold"].as_str() {
        context.state().record("hang", &context.task_id, &context.attempt.to_string());
        context.state().pass(gate).await;
    }
    assert_ne!(lab["panics"], true, "{PANIC}");
    Ok(match (lab["task"].as_str(), lab["review"].as_str()) {
        (Some(handler), _) => Decision::handoff_to_task(handler, json!({})),
        (None, Some(handler)) => Decision::handoff_to_workflow(handler, json!({})).deadline(Duration::from_secs(1)),
        (None, None) => Decision::complete(json!({"media_buy_id": "mb"})),
    })
}

async fn resume(context: TaskContext<Calls>, _: Value) -> Result<Value, AdcpError> {
    let last: Option<u32> = context.last_heartbeat();
    context.state().record("resume", &context.task_id, &format!("{} {last:?}", context.attempt));
    if context.attempt == 1 {
        context.heartbeat(7).await?;
        // Whatever it is told.
        context.state().pass(&context.task_id).await;
    }
    Ok(json!({"media_buy_id": format!("by attempt {}", context.attempt)}))
}

async fn hang(context: TaskContext<Calls>, _: Value) -> Result<Value, AdcpError> {
    context.state().record("hang", &context.task_id, &context.attempt.to_string());
    context.cancelled().await;
    Err(AdcpError::transient("CANCELED", "stopped"))
}

async fn forget(context: Context<Calls>, _: Value) -> Result<Acknowledgement, AdcpError> {
    context.state().record("forget", &context.task_id, &context.attempt.to_string());
    std::future::pending().await
}

async fn record(calls: Calls, what: &'static str, task_id: String, detail: String) -> Acknowledgement {
    calls.record(what, &task_id, &detail);
    Acknowledgement::roger()
}

async fn worker(world: &World) -> InProcessWorker {
    world.worker_of(world.temporal_client.clone(), seller(world.calls.clone())).await.unwrap()
}

/// A worker that gives verb handlers [`DECIDE_TIMEOUT`].
async fn hasty_worker(world: &World) -> InProcessWorker {
    let config = world.config();
    let settings = WorkerSettings {
        task_queue: config.task_queue.clone(),
        sticky_timeout: Duration::from_secs(1),
        shutdown_grace: Duration::from_secs(2),
        timeouts: ActivityTimeouts { decide: DECIDE_TIMEOUT, ..Default::default() },
        housekeeping: HousekeepingSettings { every: None, ..Default::default() },
        webhooks: config.webhooks.clone(),
        ..WorkerSettings::default()
    };
    let registry = handoff_store::connect(&config.registry_url, config.registry_options().unwrap()).await.unwrap();
    let handlers = seller(world.calls.clone());
    InProcessWorker::start(world.temporal_client.clone(), registry, handlers, settings).await.unwrap()
}

/// Sends a request as a buyer who is told `submitted` rather than wait.
async fn promptly(world: &World, request: &Value) -> Result<Answer, CallError> {
    let prompt = world.prompt(Duration::from_millis(100));
    prompt.call(&Caller::new(SCOPE, PRINCIPAL), VERB, request.to_string().as_bytes()).await
}

async fn visible(world: &World) -> Vec<String> {
    let page = world.registry.list(&Viewer::Operator, &ListTasksRequest::default()).await.unwrap();
    page.tasks.into_iter().map(|task| task.task.unwrap_or_default().task_id).collect()
}

fn refused(answer: Result<Answer, CallError>) -> AdcpError {
    match answer {
        Err(CallError::Refused(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn error_of(task: &TaskRecord) -> AdcpError {
    task.error.as_ref().expect("an error").to_wire()
}
