//! Whatever is sent to a run: it is used, or dropped and counted, and never wedges the run. What is encrypted with a key that is
//! missing waits for it: see `encryption`.

use crate::on_both_databases;
use handoff_proto::{
    v1::{Completion, TaskInput, TaskRecord, completion::Outcome},
    wire::TaskStatus,
    workflows::{COMPLETE, FAIL, RESOLVE, VerbWorkflow},
};
use handoff_tests::{Kind, World, eventually, fresh_key, payload, request};
use prost::Message;
use serde_json::json;
use std::collections::BTreeSet;
use temporalio_client::{
    UntypedUpdate, UntypedWorkflow, WorkflowExecutionStatus, WorkflowStartOptions, errors::WorkflowUpdateError,
};
use temporalio_common::{
    data_converters::{PayloadConverter, RawValue},
    protos::temporal::api::common::v1::Payload,
};

const VERB: &str = "create_media_buy";
const RESULT: &str = r#"{"media_buy_id":"mb_by_hand","total_budget":1.10}"#;
const ERROR: &str = r#"{"code":"POLICY_VIOLATION","message":"Not this one.","recovery":"correctable"}"#;

on_both_databases! {
    async fn malformed_signals_are_dropped_counted_and_written_down(world: World) {
        let worker = world.worker().await.unwrap();
        let task_id = world.submit(VERB, json!({"arm": "workflow"})).await;
        let malformed = malformed();
        for (number, (what, name, payloads)) in (1..).zip(malformed.clone()) {
            world.signal(&task_id, name, payloads).await;
            eventually(&format!("{what} is counted"), || async {
                (world.status(&task_id).await.dropped_signals == number).then_some(())
            })
            .await;
        }
        assert_eq!(world.status(&task_id).await.stage, "waiting");
        let reasons = drops_written(&world, &task_id, malformed.len()).await;
        for ((what, name, _), reason) in malformed.iter().zip(reasons) {
            let (signal, why) = reason.split_once(": ").unwrap();
            assert_eq!(signal, *name, "{what}");
            assert!(!why.is_empty(), "{what}");
        }
        world.signal(&task_id, COMPLETE, vec![payload("json/plain", RESULT)]).await;
        assert_eq!(world.reaches(&task_id, TaskStatus::Completed).await.result_json, RESULT);
        world.closed(&task_id).await;
        let summary = world.run(&task_id).get_result(Default::default()).await.unwrap();
        assert_eq!((summary.status.as_str(), summary.dropped_signals as usize), ("completed", malformed.len()));
        worker.stop().await;
    }

    async fn every_documented_form_of_a_decision_settles(world: World) {
        let worker = world.worker().await.unwrap();
        let completion = Completion {
            outcome: Some(Outcome::ResultJson(RESULT.into())),
            decision_id: "decision-7".into(),
            actor: "ops@seller.example".into(),
            reason: "looks good".into(),
        };
        let plain = format!(
            r#"{{"result":{RESULT},"decision_id":"decision-7","actor":"ops@seller.example","reason":"looks good"}}"#
        );
        let canonical = serde_json::to_string(&completion).unwrap();
        for (what, signed, sent) in [
            ("bare result", false, payload("json/plain", RESULT)),
            ("envelope", true, payload("json/plain", plain)),
            ("protobuf JSON", true, payload("json/protobuf", canonical)),
            ("protobuf", true, payload("binary/protobuf", completion.encode_to_vec())),
        ] {
            let task_id = world.submit(VERB, json!({"arm": "workflow"})).await;
            world.signal(&task_id, COMPLETE, vec![payload("json/plain", "garbage")]).await;
            world.signal(&task_id, COMPLETE, vec![sent]).await;
            let task = world.reaches(&task_id, TaskStatus::Completed).await;
            assert_eq!(task.result_json, RESULT, "{what}");
            if signed {
                let by = (task.decision_id.as_str(), task.actor.as_str(), task.reason.as_str());
                assert_eq!(by, ("decision-7", "ops@seller.example", "looks good"), "{what}");
            }
            world.closed(&task_id).await;
            assert_eq!(drops_written(&world, &task_id, 1).await.len(), 1, "{what}");
        }
        let task_id = world.submit(VERB, json!({"arm": "workflow"})).await;
        world.signal(&task_id, FAIL, vec![payload("json/plain", ERROR)]).await;
        let error = world.reaches(&task_id, TaskStatus::Failed).await.error.unwrap();
        assert_eq!(
            (error.code.as_str(), error.message.as_str(), error.recovery.as_str()),
            ("POLICY_VIOLATION", "Not this one.", "correctable")
        );
        worker.stop().await;
    }

    async fn a_flood_of_bad_signals_is_counted_and_bounded(world: World) {
        let worker = world.worker().await.unwrap();
        let task_id = world.submit(VERB, json!({"arm": "workflow"})).await;
        for _ in 0..130 {
            world.signal(&task_id, "surprise", vec![]).await;
        }
        eventually("every signal is counted", || async {
            (world.status(&task_id).await.dropped_signals == 130).then_some(())
        })
        .await;
        world.signal(&task_id, COMPLETE, vec![payload("json/plain", RESULT)]).await;
        world.reaches(&task_id, TaskStatus::Completed).await;
        world.closed(&task_id).await;
        assert_eq!(drops_written(&world, &task_id, 100).await.len(), 100);
        let summary = world.run(&task_id).get_result(Default::default()).await.unwrap();
        assert_eq!(summary.dropped_signals, 130);
        worker.stop().await;
    }

    async fn a_decision_that_comes_early_is_kept(world: World) {
        let worker = world.worker().await.unwrap();
        for (held, lab, works) in [
            ("decide", json!({"arm": "workflow"}), true),
            ("decide", json!({"arm": "task"}), false),
            ("review", json!({"arm": "workflow"}), true),
            // Somebody has the task, whatever the enqueue handler says then.
            ("review", json!({"arm": "workflow", "review": "unable"}), true),
        ] {
            let (gate, mut arm) = (fresh_key(), lab.clone());
            arm["hold"] = json!({held: gate});
            let (task_id, answer) = world.begin(VERB, &request(&fresh_key(), arm)).await;
            world.called(held, &task_id).await;
            // The first that can be used counts; the same again is no other, and a third comes too late.
            for (name, sent) in [(COMPLETE, "garbage"), (COMPLETE, RESULT), (COMPLETE, RESULT), (FAIL, ERROR)] {
                world.signal(&task_id, name, vec![payload("json/plain", sent)]).await;
            }
            world.calls.open(&gate);
            assert_eq!(answer.await.unwrap().unwrap().status, "submitted", "{held} {lab}");
            let task = world.reaches(&task_id, TaskStatus::Completed).await;
            assert_eq!(task.result_json, RESULT, "{held} {lab}");
            world.closed(&task_id).await;
            let dropped = drops_written(&world, &task_id, 2).await;
            assert_eq!(dropped.len(), 2, "{held} {lab}: {dropped:?}");
            assert_eq!(dropped[1], "fail: another decision came first", "{held} {lab}");
            // Once, if at all. An attempt that the signals took too long for is followed by another, which has another number; that
            // of a second call would be the first again.
            let attempts = [world.calls.of("work", &task_id), world.calls.of("review", &task_id)].concat();
            let distinct: BTreeSet<&String> = attempts.iter().collect();
            assert_eq!((!attempts.is_empty(), attempts.len()), (works, distinct.len()), "{held} {lab}: {attempts:?}");
            assert_eq!(world.calls.of("completed", &task_id).len(), 1, "{held} {lab}");
        }
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_a_decision_beats_the_task_handler_that_works() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let worker = world.worker().await.unwrap();
    let task_id = world.submit(VERB, json!({"arm": "task", "steps": 1, "hold": {"step-1": "never"}})).await;
    world.called("step", &task_id).await;
    world.signal(&task_id, "no-such-signal", vec![]).await;
    assert_eq!(drops_written(&world, &task_id, 1).await, ["no-such-signal: no such signal"]);
    world.signal(&task_id, FAIL, vec![payload("json/plain", ERROR)]).await;
    let task = world.reaches(&task_id, TaskStatus::Failed).await;
    assert_eq!(task.error.unwrap().code, "POLICY_VIOLATION");
    world.called("stopped", &task_id).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_malformed_updates_are_rejected_and_leave_no_event() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let worker = world.worker().await.unwrap();
    let task_id = world.submit(VERB, json!({"arm": "workflow"})).await;
    eventually("the run waits", || async { (world.status(&task_id).await.stage == "waiting").then_some(()) }).await;
    let before = world.events(&task_id).await;
    for (what, name, payloads) in malformed() {
        let update = if name == "surprise" { name } else { RESOLVE };
        let error = update_with(&world, &task_id, update, payloads).await.expect_err(what);
        let WorkflowUpdateError::Failed(failure) = error else { panic!("{what}: {error:?}") };
        assert!(!failure.message.is_empty(), "{what}");
    }
    assert_eq!(world.events(&task_id).await, before);
    assert_eq!(world.status(&task_id).await.dropped_signals, 0);
    update_with(&world, &task_id, RESOLVE, vec![payload("json/plain", RESULT)]).await.unwrap();
    world.reaches(&task_id, TaskStatus::Completed).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_a_run_that_was_started_with_garbage_fails_and_does_not_wedge() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let worker = world.worker().await.unwrap();
    let stranger = TaskInput { task: Some(world.reference("nobody-claimed-this")), ..Default::default() };
    let mut of_verb = stranger.clone();
    of_verb.task.as_mut().unwrap().verb = VERB.into();
    for (what, input) in [
        ("nothing", vec![]),
        ("no JSON", vec![payload("json/plain", "garbage")]),
        ("another type", vec![payload("json/plain", "[1]")]),
        ("two inputs", vec![payload("json/plain", "{}"), payload("json/plain", "{}")]),
        ("no protobuf", vec![payload("binary/protobuf", [0xff, 0xff, 0xff])]),
        ("no encoding", vec![Payload::default()]),
        ("no task", vec![payload("json/plain", "{}")]),
        ("no verb", payloads_of(&stranger)),
        ("no claim", payloads_of(&of_verb)),
    ] {
        let options = WorkflowStartOptions::new(world.config().task_queue.clone(), fresh_key()).build();
        let run = world
            .temporal_client
            .start_workflow(UntypedWorkflow::new(VERB), RawValue::new(input), options)
            .await
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        eventually(&format!("a run with {what} has failed"), || async {
            let status = run.describe(Default::default()).await.ok()?.status();
            assert!(matches!(status, WorkflowExecutionStatus::Running | WorkflowExecutionStatus::Failed), "{status:?}");
            (status == WorkflowExecutionStatus::Failed).then_some(())
        })
        .await;
    }
    worker.stop().await;
}

type Sent = (&'static str, &'static str, Vec<Payload>);

/// What no run can use, each with what is wrong, and the name of the signal that it is sent as.
fn malformed() -> Vec<Sent> {
    let huge = format!(r#"{{"media_buy_id":"{}"}}"#, "x".repeat(2_000_000));
    vec![
        ("a number", COMPLETE, vec![payload("json/plain", "3")]),
        ("no JSON", COMPLETE, vec![payload("json/plain", "not json")]),
        ("an empty result", COMPLETE, vec![payload("json/plain", "{}")]),
        ("no payload", COMPLETE, vec![]),
        ("two payloads", COMPLETE, vec![payload("json/plain", RESULT), payload("json/plain", RESULT)]),
        ("a huge result", COMPLETE, vec![payload("json/plain", huge)]),
        ("an unknown field", COMPLETE, vec![payload("json/plain", r#"{"result":{"a":1},"surprise":1}"#)]),
        ("an error without code", FAIL, vec![payload("json/plain", r#"{"error":{"message":"no code"}}"#)]),
        ("result and error", FAIL, vec![payload("json/plain", format!(r#"{{"result":{RESULT},"error":{ERROR}}}"#))]),
        ("an unfinished status", COMPLETE, vec![payload("json/plain", r#"{"status":"working"}"#)]),
        ("an infinite number", COMPLETE, vec![payload("json/plain", r#"{"budget":1e400}"#)]),
        ("too deep", COMPLETE, vec![payload("json/plain", format!(r#"{{"a":{}{}}}"#, "[".repeat(90), "]".repeat(90)))]),
        ("an unknown signal", "surprise", vec![payload("json/plain", RESULT)]),
        ("an unknown encoding", COMPLETE, vec![payload("binary/weird", RESULT)]),
        ("no encoding", COMPLETE, vec![Payload { data: RESULT.into(), ..Default::default() }]),
        ("no protobuf", COMPLETE, vec![payload("binary/protobuf", [0xff, 0x00, 0xfe, 0x01])]),
        ("an empty completion", FAIL, vec![payload("binary/protobuf", [])]),
    ]
}

/// Waits until the registry has this many dropped signals of a task; their texts.
async fn drops_written(world: &World, task_id: &str, number: usize) -> Vec<String> {
    eventually(&format!("{number} dropped signals are written down"), || async {
        let task = world.task(task_id).await?;
        let drops = drops(&task);
        (drops.len() >= number).then_some(drops)
    })
    .await
}

fn drops(task: &TaskRecord) -> Vec<String> {
    let dropped = task.history.iter().filter(|entry| entry.event == "signal_dropped");
    dropped.map(|entry| entry.reason.clone()).collect()
}

async fn update_with(
    world: &World,
    task_id: &str,
    name: &str,
    payloads: Vec<Payload>,
) -> Result<RawValue, WorkflowUpdateError> {
    let update = UntypedUpdate::<VerbWorkflow>::new(name);
    world.run(task_id).execute_update(update, RawValue::new(payloads), Default::default()).await
}

fn payloads_of(input: &TaskInput) -> Vec<Payload> {
    RawValue::from_value(input, &PayloadConverter::default()).payloads
}
