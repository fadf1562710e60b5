//! Time and patience: deadlines, reminders, cancellation at each stage, promotion at the sync deadline, and retries.

use crate::on_both_databases;
use handoff_client::{Answer, CallError};
use handoff_proto::{
    errors,
    v1::TaskRecord,
    wire::{AdcpError, ListTasksRequest, TaskStatus},
    workflows::FailSignal,
};
use handoff_store::Viewer;
use handoff_tests::{Kind, World, eventually, fresh_key, payload, request};
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};
use std::time::Duration;
use temporalio_client::errors::WorkflowInteractionError;
use temporalio_common::data_converters::RawValue;

const VERB: &str = "create_media_buy";

on_both_databases! {
    async fn a_review_that_nobody_decides_fails_at_its_deadline(world: World) {
        let worker = world.worker().await.unwrap();
        let task_id = world.submit(VERB, json!({"arm": "workflow", "deadline_ms": 300})).await;
        let task = world.reaches(&task_id, TaskStatus::Failed).await;
        assert_eq!(code(&task), errors::DEADLINE_EXCEEDED);
        assert_eq!((task.actor.as_str(), task.reason.as_str()), ("handoff", "deadline"));
        world.closed(&task_id).await;
        assert_eq!(world.calls.of("failed", &task_id), [errors::DEADLINE_EXCEEDED]);
        assert_eq!(transitions(&task), ["claimed", "decided", "submitted", "failed"]);
        worker.stop().await;
    }

    async fn reminders_and_escalation_ring_in_order_until_the_decision(world: World) {
        let worker = world.worker().await.unwrap();
        let lab = json!({
            "arm": "workflow", "deadline_ms": 60_000, "remind_ms": [900, 300, 30_000], "escalate_ms": 1_500,
        });
        let task_id = world.submit(VERB, lab).await;
        world.called("overdue", &task_id).await;
        assert_eq!(world.calls.of("reminded", &task_id), ["1", "2"]);
        complete(&world, &task_id).await;
        world.reaches(&task_id, TaskStatus::Completed).await;
        let events = world.closed(&task_id).await;
        assert_eq!(count(&events, "TIMER_FIRED"), 3, "two reminders and the escalation: {events:?}");
        assert_eq!(world.calls.of("reminded", &task_id), ["1", "2"]);
        assert_eq!(world.calls.of("overdue", &task_id).len(), 1);
        assert_eq!(world.calls.of("completed", &task_id).len(), 1);
        worker.stop().await;
    }

    async fn a_cancellation_before_acceptance_waits_for_the_decision(world: World) {
        let worker = world.worker().await.unwrap();
        for way in WAYS {
            for arm in ["task", "workflow"] {
                let (task_id, answer) = cancelled_while_deciding(&world, way, arm).await;
                let answer = answer.unwrap();
                assert_eq!(answer.status, "submitted", "{way:?} {arm}: {}", answer.body);
                let task = ends_canceled(&world, &task_id, way).await;
                assert_eq!(transitions(&task), ["claimed", "decided", "submitted", "canceled"], "{way:?} {arm}");
                for handler in ["work", "review"] {
                    assert!(world.calls.of(handler, &task_id).is_empty(), "{way:?} {arm}: {handler} was called");
                }
            }
            // What was answered at once stands, and so does a refusal.
            let (task_id, answer) = cancelled_while_deciding(&world, way, "complete").await;
            assert_eq!(answer.unwrap().status, "completed", "{way:?}");
            world.closed(&task_id).await;
            assert!(world.task(&task_id).await.is_none(), "{way:?}");
            let (task_id, answer) = cancelled_while_deciding(&world, way, "refuse").await;
            assert_eq!(refused(answer).code, "BUDGET_TOO_LOW", "{way:?}");
            world.closed(&task_id).await;
            assert!(world.task(&task_id).await.is_none(), "{way:?}");
        }
        worker.stop().await;
    }

    async fn a_cancellation_of_a_promoted_request_settles_at_once(world: World) {
        let worker = world.worker().await.unwrap();
        let mut canceled = Vec::new();
        for way in WAYS {
            let gate = fresh_key();
            let (task_id, answer) = world.begin(VERB, &hurried(json!({"hold": {"decide": gate}}))).await;
            assert_eq!(answer.await.unwrap().unwrap().status, "submitted", "{way:?}");
            way.cancel(&world, &task_id).await;
            // The handler is still held.
            ends_canceled(&world, &task_id, way).await;
            assert!(world.calls.of("discarded", &task_id).is_empty(), "{way:?}");
            world.calls.open(&gate);
            world.called("discarded", &task_id).await;
            canceled.push(task_id);
        }
        // Every activity has ended then.
        worker.stop().await;
        for task_id in canceled {
            assert_eq!(world.calls.of("discarded", &task_id).len(), 1);
            assert_eq!(world.calls.of("decide", &task_id), ["1"]);
            assert_eq!(world.task(&task_id).await.unwrap().status, "canceled");
        }
    }

    async fn a_cancellation_reaches_a_task_at_every_stage(world: World) {
        let worker = world.worker().await.unwrap();
        for way in WAYS {
            // While the enqueue handler is held.
            let gate = fresh_key();
            let lab = json!({"arm": "workflow", "hold": {"review": gate}});
            let (task_id, answer) = world.begin(VERB, &request(&fresh_key(), lab)).await;
            world.called("review", &task_id).await;
            way.cancel(&world, &task_id).await;
            assert_eq!(answer.await.unwrap().unwrap().status, "submitted", "{way:?}");
            let task = ends_canceled(&world, &task_id, way).await;
            assert_eq!(transitions(&task), ["claimed", "decided", "submitted", "canceled"], "{way:?}");
            world.calls.open(&gate);

            // While waiting.
            let task_id = world.submit(VERB, json!({"arm": "workflow"})).await;
            way.cancel(&world, &task_id).await;
            let ended = ends_canceled(&world, &task_id, way).await;
            assert_eq!(world.calls.of("review", &task_id), ["1"], "{way:?}");

            // After the end.
            for late in WAYS {
                // Temporal refuses it, or takes note of it and does nothing.
                let _ = late.try_cancel(&world, &task_id).await;
            }
            assert_eq!(world.task(&task_id).await.unwrap(), ended, "{way:?}");
            assert_eq!(world.calls.of("canceled", &task_id).len(), 1, "{way:?}");

            // While the task handler works: it is told to stop.
            let gate = fresh_key();
            let lab = json!({"arm": "task", "steps": 2, "hold": {"step-1": gate}});
            let task_id = world.submit(VERB, lab).await;
            world.called("step", &task_id).await;
            way.cancel(&world, &task_id).await;
            ends_canceled(&world, &task_id, way).await;
            world.called("stopped", &task_id).await;
            assert_eq!(world.calls.of("step", &task_id), ["1"], "{way:?}");
        }
        worker.stop().await;
    }

    async fn a_task_that_was_not_taken_leaves_no_trace(world: World) {
        let worker = world.worker().await.unwrap();
        for (review, code, retry_after) in
            [("unable", "RATE_LIMITED", Some(30)), ("error", "POLICY_VIOLATION", None)]
        {
            let key = fresh_key();
            let lab = json!({"arm": "workflow", "review": review});
            let error = refused(world.send(VERB, &request(&key, lab)).await);
            assert_eq!((error.code.as_str(), error.retry_after), (code, retry_after));
            let visible = world.registry.list(&Viewer::Operator, &ListTasksRequest::default()).await.unwrap();
            assert_eq!(visible.tasks, [], "{review}");
            assert!(world.unfinished().await.is_empty(), "{review}");
            let again = world.send(VERB, &request(&key, json!({"arm": "complete"}))).await.unwrap();
            assert_eq!((again.status.as_str(), again.replayed), ("completed", false), "{review}");
        }
        worker.stop().await;
    }

    async fn an_enqueue_with_an_unknown_end_is_called_again_for_the_same_task(world: World) {
        let worker = world.worker().await.unwrap();
        for lab in [
            json!({"arm": "workflow", "panics": {"review": 1}}),
            json!({"arm": "workflow", "review": "slow_once"}),
        ] {
            let task_id = world.submit(VERB, lab.clone()).await;
            assert_eq!(world.calls.of("review", &task_id), ["1", "2"], "{lab}");
            complete(&world, &task_id).await;
            world.reaches(&task_id, TaskStatus::Completed).await;
        }
        worker.stop().await;
    }

    async fn a_slow_decision_is_promoted_and_its_outcome_is_the_tasks(world: World) {
        let worker = world.worker().await.unwrap();
        let mut promoted = Vec::new();
        for lab in [
            json!({"arm": "complete"}),
            json!({"arm": "refuse"}),
            json!({"arm": "task"}),
            json!({"arm": "workflow"}),
            json!({"arm": "workflow", "review": "unable"}),
        ] {
            let mut held = lab.clone();
            held["hold"] = json!({"decide": "promotion"});
            let (task_id, answer) = world.begin(VERB, &hurried(held)).await;
            promoted.push((lab, task_id, answer));
        }
        let mut tasks = Vec::new();
        for (lab, task_id, answer) in promoted {
            let answer = answer.await.unwrap().unwrap();
            assert_eq!((answer.status.as_str(), &answer.task_id), ("submitted", &task_id), "{lab}");
            assert_eq!(world.task(&task_id).await.unwrap().status, "submitted", "{lab}");
            tasks.push(task_id);
        }
        world.calls.open("promotion");
        let [completed, refused, task, workflow, unable] = tasks.as_slice() else { panic!("{tasks:?}") };

        let ended = world.reaches(completed, TaskStatus::Completed).await;
        assert!(ended.result_json.contains(&format!("mb_{completed}")), "{}", ended.result_json);
        assert_eq!(transitions(&ended), ["claimed", "submitted", "decided", "completed"]);
        let ended = world.reaches(refused, TaskStatus::Failed).await;
        assert_eq!(code(&ended), "BUDGET_TOO_LOW");
        let ended = world.reaches(task, TaskStatus::Completed).await;
        assert_eq!(ended.actor, "work");
        world.called("review", workflow).await;
        complete(&world, workflow).await;
        world.reaches(workflow, TaskStatus::Completed).await;
        let ended = world.reaches(unable, TaskStatus::Failed).await;
        assert_eq!(code(&ended), "RATE_LIMITED");

        for task_id in [completed, refused, task, workflow, unable] {
            world.closed(task_id).await;
            assert_eq!(world.calls.of("decide", task_id), ["1"]);
            let told = world.calls.of("completed", task_id).len() + world.calls.of("failed", task_id).len();
            assert_eq!(told, 1, "the end of each task is told once");
        }
        worker.stop().await;
    }

    async fn failures_of_a_task_handler_are_retried_as_they_ask(world: World) {
        let worker = world.worker().await.unwrap();
        let attempts = |n: u32| (1..=n).map(|attempt| attempt.to_string()).collect::<Vec<_>>();
        for (lab, expected, error) in [
            (json!({"fails": 2, "recovery": "transient"}), 3, None),
            (json!({"fails": 9, "recovery": "transient"}), 5, Some("SERVICE_UNAVAILABLE")),
            (json!({"fails": 9, "recovery": "correctable"}), 1, Some("POLICY_VIOLATION")),
            (json!({"panics": {"work": 2}}), 3, None),
            (json!({"panics": {"work": 9}}), 5, Some(errors::HANDLER_FAILED)),
        ] {
            let mut arm = lab.clone();
            arm["arm"] = json!("task");
            let task_id = world.submit(VERB, arm).await;
            let end = if error.is_some() { TaskStatus::Failed } else { TaskStatus::Completed };
            let task = world.reaches(&task_id, end).await;
            assert_eq!(task.error.as_ref().map(|error| error.code.as_str()), error, "{lab}");
            if error == Some("SERVICE_UNAVAILABLE") {
                assert_eq!(task.error.as_ref().unwrap().message, "The order system is away.");
            }
            assert_eq!(world.calls.of("work", &task_id), attempts(expected), "{lab}");
            world.closed(&task_id).await;
        }
        worker.stop().await;
    }

    async fn progress_is_seen_at_once(world: World) {
        let worker = world.worker().await.unwrap();
        let task_id = world.submit(VERB, json!({"arm": "task", "steps": 2, "hold": {"step-1": "progress"}})).await;
        world.called("step", &task_id).await;
        let task = world.task(&task_id).await.unwrap();
        let progress = task.progress.unwrap();
        assert_eq!((task.status.as_str(), progress.step_number, progress.total_steps), ("working", Some(1), Some(2)));
        assert_eq!(progress.current_step, "step 1");
        world.calls.open("progress");
        world.reaches(&task_id, TaskStatus::Completed).await;
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_a_request_that_may_not_be_submitted_is_answered_later_by_its_key() {
    // Long enough that the run gets a word in on a busy machine, where timers ring late.
    let world = World::configured(Kind::Sqlite, |config| config.grace = Duration::from_secs(3)).await.unwrap();
    let worker = world.worker().await.unwrap();
    let held = |mut extra: Value| {
        let mut request = hurried(json!({"at_once": true, "hold": {"decide": "at-once"}}));
        request.as_object_mut().unwrap().append(extra.as_object_mut().unwrap());
        request
    };
    let buy = held(json!({}));
    let wholesale = held(json!({"buying_mode": "wholesale"}));

    let (bought, answer) = world.begin(VERB, &buy).await;
    let error = refused(answer.await.unwrap());
    assert_eq!((error.code.as_str(), error.retry_after), ("SERVICE_UNAVAILABLE", Some(10)));
    assert!(error.is_transient(), "{error:?}");
    let (listed, answer) = world.begin("get_products", &wholesale).await;
    let answer = answer.await.unwrap().unwrap();
    assert_eq!((answer.status.as_str(), &answer.body["products"]), ("completed", &json!([])), "{}", answer.body);
    assert_eq!(answer.body["incomplete"][0]["scope"], "products");
    for task_id in [&bought, &listed] {
        assert!(world.task(task_id).await.is_none(), "nobody was told submitted");
    }
    // The same call attaches, and is told the same while the handler is busy.
    assert_eq!(refused(world.send(VERB, &buy).await).code, "SERVICE_UNAVAILABLE");

    world.calls.open("at-once");
    for (verb, request, task_id) in [(VERB, &buy, &bought), ("get_products", &wholesale, &listed)] {
        let answer = answered(&world, verb, request).await;
        assert_eq!((answer.status.as_str(), answer.replayed), ("completed", true), "{verb}: {}", answer.body);
        assert_eq!(answer.body["media_buy_id"], format!("mb_{task_id}"), "{verb}");
        assert_eq!(world.calls.of("decide", task_id), ["1"], "{verb}");
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_a_hand_off_of_a_request_that_must_be_answered_at_once_is_refused() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let worker = world.worker().await.unwrap();
    for arm in ["task", "workflow"] {
        let error = refused(world.call(VERB, json!({"at_once": true, "arm": arm})).await);
        assert_eq!(error.code, errors::ASYNC_NOT_ALLOWED, "{arm}");
    }
    worker.stop().await;
}

/// What it decides is lost with the worker; another asks it again.
#[tokio::test(flavor = "multi_thread")]
async fn sqlite_a_verb_handler_that_hangs_does_not_hold_its_worker() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let mut worker = world.worker_process().unwrap();
    let (task_id, answer) = world.begin(VERB, &hurried(json!({"hold": {"decide": "hang"}}))).await;
    assert_eq!(answer.await.unwrap().unwrap().status, "submitted");
    let stopped = tokio::time::timeout(Duration::from_secs(45), worker.terminate()).await;
    assert!(stopped.is_ok(), "its worker does not stop");
    let worker = world.worker().await.unwrap();
    eventually("the handler is asked again", || async {
        (world.calls.of("decide", &task_id).len() == 2).then_some(())
    })
    .await;
    world.calls.open("hang");
    world.reaches(&task_id, TaskStatus::Completed).await;
    worker.stop().await;
}

/// A local activity holds the workflow task. What it can't do soon becomes a regular one, which waits outside.
#[tokio::test(flavor = "multi_thread")]
async fn sqlite_a_registry_that_refuses_for_long_does_not_hold_the_workflow_task() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let worker = world.worker().await.unwrap();
    let task_id = world.submit(VERB, json!({"arm": "workflow"})).await;
    let mut database = SqliteConnection::connect(&world.config().registry_url).await.unwrap();
    sqlx::query("ALTER TABLE requests RENAME TO requests_away").execute(&mut database).await.unwrap();
    complete(&world, &task_id).await;
    eventually("settling is a regular activity", || async {
        let regular = count(&world.events(&task_id).await, "ACTIVITY_TASK_SCHEDULED");
        // After decide and enqueue.
        (regular == 3).then_some(())
    })
    .await;
    sqlx::query("ALTER TABLE requests_away RENAME TO requests").execute(&mut database).await.unwrap();
    world.reaches(&task_id, TaskStatus::Completed).await;
    world.closed(&task_id).await;
    assert_eq!(world.calls.of("completed", &task_id).len(), 1);
    worker.stop().await;
}

/// The ways in which a task can be cancelled.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// Temporal's own cancellation of the run.
    Native,
    /// The signal `fail` with a completion that cancels.
    Signal,
}

pub(crate) const WAYS: [Way; 2] = [Way::Native, Way::Signal];

impl Way {
    pub(crate) async fn cancel(self, world: &World, task_id: &str) {
        self.try_cancel(world, task_id).await.expect("the run is open");
    }

    async fn try_cancel(self, world: &World, task_id: &str) -> Result<(), WorkflowInteractionError> {
        let run = world.run(task_id);
        match self {
            Self::Native => run.cancel(Default::default()).await,
            Self::Signal => {
                let completion = json!({"cancellation": {}, "actor": "ops", "reason": "the buyer called"});
                let input = RawValue::new(vec![payload("json/plain", completion.to_string())]);
                run.signal(FailSignal, input, Default::default()).await
            }
        }
    }

    fn actor(self) -> &'static str {
        match self {
            Self::Native => "temporal",
            Self::Signal => "ops",
        }
    }
}

/// Cancels while the handler is held; then lets it decide.
async fn cancelled_while_deciding(world: &World, way: Way, arm: &str) -> (String, Result<Answer, CallError>) {
    let gate = fresh_key();
    let lab = json!({"arm": arm, "hold": {"decide": gate}});
    let (task_id, answer) = world.begin(VERB, &request(&fresh_key(), lab)).await;
    way.cancel(world, &task_id).await;
    world.calls.open(&gate);
    (task_id, answer.await.unwrap())
}

/// Waits until the task is cancelled and its run closed; the handlers are told once, and by whom.
async fn ends_canceled(world: &World, task_id: &str, way: Way) -> TaskRecord {
    let task = world.reaches(task_id, TaskStatus::Canceled).await;
    assert_eq!(task.actor, way.actor());
    world.closed(task_id).await;
    assert_eq!(world.calls.of("canceled", task_id), [way.actor()]);
    task
}

/// A request of a buyer who waits a second at most.
fn hurried(lab: Value) -> Value {
    let mut request = request(&fresh_key(), lab);
    request["time_budget"] = json!({"interval": 1, "unit": "seconds"});
    request
}

/// Repeats a call until it is answered in full.
async fn answered(world: &World, verb: &str, request: &Value) -> Answer {
    eventually("the call is answered", || async {
        let answer = world.send(verb, request).await.ok()?;
        answer.body.get("incomplete").is_none().then_some(answer)
    })
    .await
}

async fn complete(world: &World, task_id: &str) {
    world.signal(task_id, "complete", vec![payload("json/plain", r#"{"media_buy_id":"by-hand"}"#)]).await;
}

fn refused(answer: Result<Answer, CallError>) -> AdcpError {
    match answer {
        Err(CallError::Refused(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn code(task: &TaskRecord) -> &str {
    task.error.as_ref().map_or("", |error| error.code.as_str())
}

fn transitions(task: &TaskRecord) -> Vec<&str> {
    task.history.iter().map(|entry| entry.event.as_str()).collect()
}

fn count(events: &[String], name: &str) -> usize {
    events.iter().filter(|event| *event == name).count()
}
