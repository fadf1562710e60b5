//! Names that do not fit together: a seller that names them in its wiring does not start, and one that names them only
//! when it decides refuses the request, until it is mended.

use crate::on_both_databases;
use handoff::{prelude::*, seller::Handlers};
use handoff_client::{Answer, CallError, Caller, Viewer};
use handoff_proto::{
    errors,
    wire::{ListTasksRequest, TaskStatus},
    workflows::COMPLETE,
};
use handoff_tests::{
    InProcessWorker, Kind, PRINCIPAL, SCOPE, World, binary, eventually, fresh_key, lab::Calls, payload, request,
};
use std::{path::Path, process::Output, time::Duration};
use temporalio_client::WorkflowExecutionStatus;
use temporalio_common::protos::temporal::api::failure::v1::failure::FailureInfo;
use tokio::process::Command;

const REGULAR: &str = "create_media_buy";
const QUICK: &str = "update_media_buy";
// Longer than a program takes that does not start.
const PATIENCE: Duration = Duration::from_secs(60);
// The exit code of a program that is put together wrongly.
const USAGE: i32 = 2;

on_both_databases! {
    async fn a_hand_off_to_a_name_that_is_not_there_is_refused_until_the_seller_is_mended(world: World) {
        let worker = worker(&world, Build::Broken).await;
        let mut refusals = Vec::new();
        for verb in [REGULAR, QUICK] {
            for (arm, name) in [
                ("task", "nobody"),
                ("workflow", "nobody"),
                // Each is there, and the other kind of handler.
                ("task", "review"),
                ("workflow", "book"),
                // Nobody said that this verb hands off to it.
                ("task", "unnamed"),
            ] {
                let asked = request(&fresh_key(), json!({arm: name}));
                let error = refused(world.send(verb, &asked).await);
                is_missing(&error);
                let task_id = world.calls.tasks("decide").pop().expect("the verb handler was called");
                world.closed(&task_id).await;
                let status = world.run(&task_id).describe(Default::default()).await.unwrap().status();
                assert_eq!(status, WorkflowExecutionStatus::Failed, "{verb} {arm} {name}");
                assert!(world.task(&task_id).await.is_none(), "{verb} {arm} {name}");
                refusals.push((verb, asked));
            }
        }
        for handler in ["book", "review"] {
            assert_eq!(world.calls.tasks(handler), [] as [String; 0]);
        }
        let visible = world.registry.list(&Viewer::Operator, &ListTasksRequest::default()).await.unwrap();
        assert_eq!(visible.tasks, []);
        assert!(world.unfinished().await.is_empty());

        // Who was told `submitted` before it was decided sees it fail with the same.
        let gate = fresh_key();
        let slow = request(&fresh_key(), json!({"task": "nobody", "hold": gate}));
        let submitted = promptly(&world, &slow).await.unwrap();
        assert_eq!(submitted.status, "submitted", "{}", submitted.body);
        world.calls.open(&gate);
        let failed = world.reaches(&submitted.task_id, TaskStatus::Failed).await;
        is_missing(&failed.error.unwrap().to_wire());
        world.closed(&submitted.task_id).await;
        worker.stop().await;

        // The same keys again, once it is mended; but for the one that has its answer.
        let worker = self::worker(&world, Build::Sound).await;
        for (verb, asked) in refusals {
            let answer = world.send(verb, &asked).await.unwrap();
            assert_eq!((answer.status.as_str(), answer.replayed), ("submitted", false), "{verb} {asked}");
            world.reaches(&answer.task_id, TaskStatus::Completed).await;
        }
        let again = world.send(REGULAR, &slow).await.unwrap();
        assert_eq!((again.status.as_str(), again.replayed, &again.task_id), ("submitted", true, &submitted.task_id));
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_whose_handler_only_a_newer_build_has_waits_for_it() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    for (arm, handler) in [("task", "book"), ("workflow", "review")] {
        let newer = worker(&world, Build::Sound).await;
        let gate = fresh_key();
        let asked = request(&fresh_key(), json!({arm: handler, "hold_once": gate}));
        let task_id = promptly(&world, &asked).await.unwrap().task_id;
        world.called(handler, &task_id).await;
        newer.stop().await;

        let older = worker(&world, Build::WithoutHandlers).await;
        eventually("the older build was asked", || lacks_handler(&world, &task_id)).await;
        assert_eq!(world.task(&task_id).await.unwrap().status, "submitted", "{arm}");
        older.stop().await;

        let newer = worker(&world, Build::Sound).await;
        eventually("the handler is called again", || async {
            (world.calls.of(handler, &task_id).len() == 2).then_some(())
        })
        .await;
        if arm == "workflow" {
            world.signal(&task_id, COMPLETE, vec![payload("json/plain", r#"{"media_buy_id":"mb"}"#)]).await;
        }
        world.reaches(&task_id, TaskStatus::Completed).await;
        world.closed(&task_id).await;
        newer.stop().await;
    }
}

#[tokio::test]
async fn a_wrongly_wired_program_does_not_start_and_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    for command in ["worker", "gateway", "dev"] {
        let ran = lab_seller(directory.path(), command, true).await;
        let said = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(USAGE), "{command}: {said}");
        for told in [
            "lab-seller can't start: its wiring has 4 mistake(s).",
            "\"get_products\" hands off to \"nobody\", which is not registered; register it with .task(\"nobody\", …)",
            "the verb \"get_products\" is registered twice; keep one of them",
            "\"create_media_bye\" is no asynchronous AdCP verb; register one of: accept_proposal,",
            "two handlers are named \"review\"; task and enqueue handlers share one set of names, so rename one",
        ] {
            assert!(said.contains(told), "{command}: {told:?} is not in {said}");
        }
    }
    let left = std::fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(left, 0, "nothing was made before it was refused");
    // It is the wiring that was refused.
    let sound = lab_seller(directory.path(), "--version", false).await;
    assert!(sound.status.success(), "{}", String::from_utf8_lossy(&sound.stderr));
}

/// The lab seller's program with this command, wired wrongly or not.
async fn lab_seller(directory: &Path, command: &str, miswired: bool) -> Output {
    let mut lab_seller = Command::new(binary("lab-seller"));
    lab_seller.arg(command).current_dir(directory).env("LAB_DIR", directory).kill_on_drop(true);
    if miswired {
        lab_seller.env("LAB_MISWIRED", "true");
    }
    let ended = tokio::time::timeout(PATIENCE, lab_seller.output()).await;
    ended.unwrap_or_else(|_| panic!("{command} goes on")).expect("it runs")
}

/// What a seller's program has been built from.
#[derive(Clone, Copy)]
enum Build {
    /// It hands off to the name that the request says, whichever that is.
    Broken,
    /// It hands off to what it has.
    Sound,
    /// It has nothing to hand off to.
    WithoutHandlers,
}

/// A request says in `lab` to whom it is handed off, as a `task` or a `workflow`, and which gate holds its verb handler
/// (`hold`), or the first call of the other one (`hold_once`).
fn seller(calls: Calls, build: Build) -> Handlers {
    let decide = move |context: Context<Calls>, request: Value| async move {
        let lab = request["lab"].clone();
        context.state().record("decide", &context.task_id, &context.attempt.to_string());
        if let Some(gate) = lab["hold"].as_str() {
            context.state().pass(gate).await;
        }
        Ok(match (build, lab["task"].as_str(), lab["workflow"].as_str()) {
            (Build::Broken, Some(name), _) => Decision::handoff_to_task(name, &lab),
            (Build::Broken, None, Some(name)) => Decision::handoff_to_workflow(name, &lab),
            (_, None, Some("review")) => Decision::handoff_to_workflow("review", &lab),
            _ => Decision::handoff_to_task("book", &lab),
        })
    };
    let seller = Seller::new("wired", calls);
    if matches!(build, Build::WithoutHandlers) {
        return seller.verb(REGULAR, decide).verb(QUICK, decide).into_handlers().unwrap();
    }
    let (pause, patience) = (Duration::from_millis(50), Duration::from_secs(5));
    let hands_off_to = ["book", "review"];
    seller
        .verb(REGULAR, verb(decide).hands_off_to(hands_off_to))
        .verb(QUICK, verb(decide).hands_off_to(hands_off_to).quick())
        .task("book", task(book).heartbeat_timeout(patience).retry(pause, pause, 0))
        .task("unnamed", book)
        .enqueue("review", enqueue(review).attempt_timeout(patience).retry(pause, pause))
        .into_handlers()
        .unwrap()
}

async fn book(context: TaskContext<Calls>, lab: Value) -> Result<Value, AdcpError> {
    let calls = context.state();
    calls.record("book", &context.task_id, &context.attempt.to_string());
    if let Some(gate) = lab["hold_once"].as_str()
        && calls.first_time(gate)
    {
        context.cancelled().await;
    }
    Ok(json!({"media_buy_id": "mb"}))
}

async fn review(context: Context<Calls>, lab: Value) -> Result<Acknowledgement, AdcpError> {
    let calls = context.state();
    calls.record("review", &context.task_id, &context.attempt.to_string());
    if let Some(gate) = lab["hold_once"].as_str()
        && calls.first_time(gate)
    {
        calls.pass(gate).await;
    }
    Ok(Acknowledgement::wilco())
}

async fn worker(world: &World, build: Build) -> InProcessWorker {
    world.worker_of(world.temporal_client.clone(), seller(world.calls.clone(), build)).await.unwrap()
}

/// Sends a request as a buyer who is told `submitted` rather than wait.
async fn promptly(world: &World, request: &Value) -> Result<Answer, CallError> {
    let prompt = world.prompt(Duration::from_millis(100));
    prompt.call(&Caller::new(SCOPE, PRINCIPAL), REGULAR, request.to_string().as_bytes()).await
}

/// The last attempt of the task's activity found no handler in its worker.
async fn lacks_handler(world: &World, task_id: &str) -> Option<()> {
    let described = world.run(task_id).describe(Default::default()).await.ok()?;
    let failure = described.raw().pending_activities.first()?.last_failure.clone()?;
    let Some(FailureInfo::ApplicationFailureInfo(info)) = failure.failure_info else { return None };
    (info.r#type == errors::HANDLER_MISSING).then_some(())
}

fn refused(answer: Result<Answer, CallError>) -> AdcpError {
    match answer {
        Err(CallError::Refused(error)) => error,
        other => panic!("{other:?}"),
    }
}

// The buyer is told whom to turn to, and nothing of the seller's names: those are in its log.
fn is_missing(error: &AdcpError) {
    let told = (error.code.as_str(), error.recovery, error.message.as_str());
    let message = "The seller is not set up for this request.";
    assert_eq!(told, (errors::HANDLER_MISSING, Recovery::Terminal, message), "{error:?}");
}
