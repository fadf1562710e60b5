//! Sizes and shapes: what is too large, too deep or no result is refused early and clearly; what fits arrives to the
//! byte.

use crate::on_both_databases;
use handoff_client::{Answer, CallError, Resolved};
use handoff_proto::{
    errors,
    v1::{Completion, TaskRecord, completion::Outcome},
    wire::{AdcpError, GetTaskStatusRequest, TaskStatus},
    workflows::COMPLETE,
};
use handoff_store::Viewer;
use handoff_tests::{
    Kind, PRINCIPAL, SCOPE, World, fresh_key,
    lab::{LAB_VERBS, QUICK_VERB},
    payload, request,
};
use serde_json::{Value, json};

const VERB: &str = "create_media_buy";

/// Numbers that a double would change, keys out of order, escapes.
const EXACT: &str = concat!(
    r#"{"z":1.10,"a":12345678901234567890123,"e":1e+2,"m":-0.000,"#,
    r#""text":"\"quoted\" \\ é 😀","nested":{"y":[1.0],"b":null}}"#
);

/// So many quotes in a result need twice their number of bytes as JSON, and four times when Temporal carries them: just
/// below what is allowed.
const QUOTES: usize = 444_000;

on_both_databases! {
    async fn a_result_arrives_to_the_byte(world: World) {
        let worker = world.worker().await.unwrap();
        for verb in LAB_VERBS {
            let answer = world.call(verb, json!({"arm": "complete", "result": exact()})).await.unwrap();
            assert!(answer.body.to_string().contains(inner(EXACT)), "{verb}: {}", answer.body);
        }
        let by_handler = world.submit(VERB, json!({"arm": "task", "result": exact()})).await;
        let by_signal = world.submit(VERB, json!({"arm": "workflow"})).await;
        world.signal(&by_signal, COMPLETE, vec![payload("json/plain", EXACT)]).await;
        let by_update = world.submit(VERB, json!({"arm": "workflow"})).await;
        resolve(&world, &by_update, EXACT).await;
        for task_id in [by_handler, by_signal, by_update] {
            assert_eq!(world.reaches(&task_id, TaskStatus::Completed).await.result_json, EXACT);
            let polled = poll(&world, &task_id).await;
            assert!(polled["result"].to_string().contains(inner(EXACT)), "{polled}");
            world.closed(&task_id).await;
            assert_eq!(world.calls.of("completed", &task_id).len(), 1);
        }
        worker.stop().await;
    }

    async fn a_result_just_below_the_limit_is_kept_however_it_was_made(world: World) {
        let worker = world.worker().await.unwrap();
        let quotes = "\"".repeat(QUOTES);
        let big = json!({"filler": "\"", "result_bytes": QUOTES});
        for verb in [VERB, QUICK_VERB] {
            let answer = world.call(verb, big.clone()).await.unwrap();
            assert_eq!(answer.body["ext"]["filler"], quotes, "{verb}");
            let events = world.closed(&answer.task_id).await;
            assert_eq!(events.last().unwrap(), "WORKFLOW_EXECUTION_COMPLETED", "{verb}");
        }
        let by_handler = world.submit(VERB, json!({"arm": "task", "filler": "\"", "result_bytes": QUOTES})).await;
        keeps(&world, &by_handler, &quotes).await;
        let result = json!({"ext": {"filler": quotes}}).to_string();
        let by_signal = world.submit(VERB, json!({"arm": "workflow"})).await;
        world.signal(&by_signal, COMPLETE, vec![payload("json/plain", result.clone())]).await;
        keeps(&world, &by_signal, &quotes).await;
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_a_reviewer_may_resolve_with_a_result_just_below_the_limit() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let worker = world.worker().await.unwrap();
    let quotes = "\"".repeat(QUOTES);
    let task_id = world.submit(VERB, json!({"arm": "workflow"})).await;
    resolve(&world, &task_id, &json!({"ext": {"filler": quotes}}).to_string()).await;
    keeps(&world, &task_id, &quotes).await;
    worker.stop().await;
}

/// Accepting, settling and telling the handlers come in one go then.
#[tokio::test(flavor = "multi_thread")]
async fn sqlite_an_early_decision_may_have_a_result_just_below_the_limit() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let worker = world.worker().await.unwrap();
    let quotes = "\"".repeat(QUOTES);
    let lab = json!({"arm": "workflow", "notes": "\"".repeat(195_000), "hold": {"review": "review"}});
    let (task_id, answer) = world.begin(VERB, &request(&fresh_key(), lab)).await;
    world.called("review", &task_id).await;
    let result = json!({"ext": {"filler": quotes}}).to_string();
    world.signal(&task_id, COMPLETE, vec![payload("json/plain", result)]).await;
    world.calls.open("review");
    assert_eq!(answer.await.unwrap().unwrap().status, "submitted");
    keeps(&world, &task_id, &quotes).await;
    worker.stop().await;
}

/// Each of them fits; what the run hands to an activity may hold several.
#[tokio::test(flavor = "multi_thread")]
async fn sqlite_a_large_request_may_have_a_large_result() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let worker = world.worker().await.unwrap();
    let quotes = "\"".repeat(QUOTES);
    let large = |lab: Value| {
        let mut request = request(&fresh_key(), lab);
        request["notes"] = json!("\"".repeat(400_000));
        request
    };
    let big = json!({"filler": "\"", "result_bytes": QUOTES});
    for verb in [VERB, QUICK_VERB] {
        let answer = world.send(verb, &large(big.clone())).await.unwrap();
        assert_eq!(answer.body["ext"]["filler"], quotes, "{verb}");
    }
    let task = json!({"arm": "task", "filler": "\"", "result_bytes": QUOTES});
    let task_id = world.send(VERB, &large(task)).await.unwrap().task_id;
    keeps(&world, &task_id, &quotes).await;
    worker.stop().await;
}

/// A decision is refused if its activity could not be called.
#[tokio::test(flavor = "multi_thread")]
async fn sqlite_a_large_request_may_have_a_large_handler_input() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let worker = world.worker().await.unwrap();
    for arm in ["task", "workflow"] {
        // The lab seller hands its whole instructions on.
        let lab = json!({"arm": arm, "notes": "\"".repeat(400_000)});
        match world.call(VERB, lab).await {
            Ok(answer) => {
                assert_eq!(answer.status, "submitted", "{arm}");
                if arm == "workflow" {
                    world.signal(&answer.task_id, COMPLETE, vec![payload("json/plain", EXACT)]).await;
                }
                world.reaches(&answer.task_id, TaskStatus::Completed).await;
                let events = world.closed(&answer.task_id).await;
                assert_eq!(events.last().unwrap(), "WORKFLOW_EXECUTION_COMPLETED", "{arm}");
            }
            Err(CallError::Refused(error)) => assert_eq!(error.code, errors::RESULT_TOO_LARGE, "{arm}: {error:?}"),
            Err(error) => panic!("{arm}: {error:?}"),
        }
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_a_request_that_can_not_be_taken_is_refused_before_anything_is_claimed() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let worker = world.worker().await.unwrap();
    for (what, says, notes) in [
        ("too large", "at most 1000000 are allowed", json!("x".repeat(1_000_000))),
        ("too large once it is escaped", "too large", json!("\"".repeat(480_000))),
        ("too deep", "nested deeper than 64 levels", nested(70)),
        ("far too deep", "recursion limit", nested(200)),
    ] {
        let key = fresh_key();
        let mut unusable = request(&key, json!({}));
        unusable["notes"] = notes;
        let error = refused(world.send(VERB, &unusable).await);
        assert_eq!(error.code, "INVALID_REQUEST", "{what}");
        assert!(error.message.contains(says), "{what}: {}", error.message);
        assert!(error.message.len() < 500, "{what}: the request is not repeated");
        assert!(world.unfinished().await.is_empty(), "{what}");
        let answer = world.send(VERB, &request(&key, json!({}))).await.unwrap();
        assert_eq!((answer.status.as_str(), answer.replayed), ("completed", false), "{what}");
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_a_result_that_can_not_be_kept_is_refused_and_fails_a_task() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let worker = world.worker().await.unwrap();
    for (what, code, lab) in [
        ("too large", errors::RESULT_TOO_LARGE, json!({"result_bytes": 1_000_000})),
        ("too large once it is escaped", errors::RESULT_TOO_LARGE, json!({"result_bytes": 460_000, "filler": "\""})),
        ("no object", errors::RESULT_INVALID, json!({"result": [1, 2]})),
        ("null", errors::RESULT_INVALID, json!({"result": null})),
        ("too deep", errors::RESULT_INVALID, json!({"result_json": json!({"a": nested(70)}).to_string()})),
        ("an infinite number", errors::RESULT_INVALID, json!({"result_json": r#"{"budget":1e400}"#})),
    ] {
        for verb in [VERB, QUICK_VERB] {
            let error = refused(world.call(verb, lab.clone()).await);
            assert_eq!(error.code, code, "{what} {verb}");
        }
        let mut arm = lab.clone();
        arm["arm"] = json!("task");
        let task_id = world.submit(VERB, arm).await;
        let task = world.reaches(&task_id, TaskStatus::Failed).await;
        assert_eq!(task.error.as_ref().unwrap().code, code, "{what}");
        assert_eq!(world.calls.of("work", &task_id), ["1"], "{what}");
        world.closed(&task_id).await;
        assert_eq!(world.calls.of("failed", &task_id), [code], "{what}");
    }
    worker.stop().await;
}

/// An error is an answer, too. One that can't be carried must not keep the request from its end.
#[tokio::test(flavor = "multi_thread")]
async fn sqlite_an_error_that_is_too_large_ends_the_request_all_the_same() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let worker = world.worker().await.unwrap();
    let refusing = json!({"arm": "refuse", "error_bytes": 2_500_000});
    let unable = json!({"arm": "workflow", "review": "error", "error_bytes": 2_500_000});
    for (verb, lab, code) in [
        (VERB, &refusing, "BUDGET_TOO_LOW"),
        (QUICK_VERB, &refusing, "BUDGET_TOO_LOW"),
        (VERB, &unable, "POLICY_VIOLATION"),
    ] {
        let (gate, mut held) = (fresh_key(), lab.clone());
        held["hold"] = json!({"decide": gate});
        let (task_id, answer) = world.begin(verb, &request(&fresh_key(), held)).await;
        world.calls.open(&gate);
        let error = refused(answer.await.unwrap());
        assert!([code, errors::RESULT_TOO_LARGE].contains(&error.code.as_str()), "{verb}: {}", error.code);
        world.closed(&task_id).await;
    }
    for (recovery, code) in [("correctable", "POLICY_VIOLATION"), ("transient", "SERVICE_UNAVAILABLE")] {
        let lab = json!({"arm": "task", "fails": 9, "recovery": recovery, "error_bytes": 2_500_000});
        let task_id = world.submit(VERB, lab).await;
        let error = world.reaches(&task_id, TaskStatus::Failed).await.error.unwrap();
        assert!([code, errors::RESULT_TOO_LARGE].contains(&error.code.as_str()), "{recovery}: {}", error.code);
        world.closed(&task_id).await;
    }
    worker.stop().await;
}

fn exact() -> Value {
    serde_json::from_str(EXACT).unwrap()
}

/// An object's text without its braces: others may add fields of their own.
fn inner(object: &str) -> &str {
    &object[1..object.len() - 1]
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(Value::Null, |inner, _| json!([inner]))
}

async fn resolve(world: &World, task_id: &str, result: &str) {
    let completion = Completion { outcome: Some(Outcome::ResultJson(result.into())), ..Default::default() };
    let resolved = world.handoff.resolve(&Viewer::Operator, task_id, completion).await.unwrap();
    assert!(matches!(resolved, Resolved::Accepted { .. }), "{resolved:?}");
}

/// Waits until the task is completed with this filler, seen by polls and told to the handlers, and its run ended well.
async fn keeps(world: &World, task_id: &str, filler: &str) -> TaskRecord {
    let task = world.reaches(task_id, TaskStatus::Completed).await;
    assert!(poll(world, task_id).await["result"]["ext"]["filler"] == filler, "{task_id} has another result");
    let events = world.closed(task_id).await;
    assert_eq!(events.last().unwrap(), "WORKFLOW_EXECUTION_COMPLETED", "{events:?}");
    assert_eq!(world.calls.of("completed", task_id).len(), 1);
    task
}

async fn poll(world: &World, task_id: &str) -> Value {
    let buyer = Viewer::Buyer { scope: SCOPE.into(), principal: PRINCIPAL.into() };
    let request = GetTaskStatusRequest { task_id: task_id.into(), include_result: true, ..Default::default() };
    world.handoff.get_task_status(&buyer, &request).await.unwrap()
}

fn refused(answer: Result<Answer, CallError>) -> AdcpError {
    match answer {
        Err(CallError::Refused(error)) => error,
        other => panic!("{other:?}"),
    }
}
