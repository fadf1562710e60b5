//! Housekeeping: what nobody drives is ended and what nobody needs is purged, by themselves, once, and no more than that.

use crate::on_both_databases;
use handoff_client::{
    CheckStatus, HousekeepingSettings,
    codec::{Key, KeySource},
    housekeeping::{ScheduleChange, ScheduleStatus, apply_schedule, schedule_status},
};
use handoff_proto::{
    errors,
    releases::Release,
    v1::{HousekeepingInput, HousekeepingSummary, TaskRef},
    wire::TaskStatus,
    workflows::{ReconcileWorkflow, housekeeping_schedule_id},
};
use handoff_store::{Claim, NewClaim, Viewer};
use handoff_tests::{
    Kind, PRINCIPAL, SCOPE, World, binary, decision, eventually, fresh_key,
    lab::{Fault, Moment},
    request,
};
use serde_json::{Value, json};
use std::time::Duration;
use temporalio_client::{Client, WorkflowExecutionStatus, WorkflowHandle, WorkflowStartOptions};
use tokio::process::Command;

const VERB: &str = "create_media_buy";
const DAY: i64 = 86_400_000_000;

on_both_databases! {
    async fn a_lost_run_is_settled_by_the_schedule(world: World) {
        let settings = HousekeepingSettings { reconcile_after: Duration::ZERO, ..every(1) };
        let worker = world.keeping_worker(settings).await.unwrap();
        let task_id = waiting(&world).await;
        let other = waiting(&world).await;
        world.run(&task_id).terminate(Default::default()).await.unwrap();
        let task = world.reaches(&task_id, TaskStatus::Failed).await;
        assert_eq!((task.actor.as_str(), task.error.unwrap().code.as_str()), ("reconcile", errors::RUN_LOST));
        // What is at work is left alone, and a round says so.
        let round = eventually("a round after it", || async {
            status(&world).await?.last?.summary.filter(|summary| summary.left == 1 && summary.examined == 1)
        })
        .await;
        assert!(round.oldest_left.is_some(), "{round:?}");
        assert_eq!(world.task(&other).await.unwrap().status, "submitted");
        eventually("the doctor is content", || async {
            let checks = handoff_client::doctor(world.config()).await;
            let check = checks.into_iter().find(|check| check.name == "housekeeping")?;
            (check.status == CheckStatus::Ok && check.found.starts_with("every 1s")).then_some(())
        })
        .await;
        remove(&world).await;
        worker.stop().await;
    }

    async fn the_schedule_purges_what_is_old_and_over(world: World) {
        let worker = world.keeping_worker(every(1)).await.unwrap();
        let (young, old, replayed, running) =
            (waiting(&world).await, waiting(&world).await, waiting(&world).await, waiting(&world).await);
        let key = fresh_key();
        let keyed = world.send(VERB, &request(&key, json!({"arm": "complete"}))).await.unwrap().task_id;
        for task_id in [&young, &old, &replayed] {
            complete(&world, task_id).await;
        }
        // Its task has ended, and its run does not know yet.
        let settled = decision::complete(&json!({"media_buy_id": "mb"}));
        world.registry.settle(&world.reference(&running), &settled).await.unwrap();
        backdate(&world, &young, 29, 1).await;
        backdate(&world, &replayed, 31, -1).await;
        for task_id in [&old, &running, &keyed] {
            backdate(&world, task_id, 31, 1).await;
        }
        eventually("the old ones are purged", || async {
            let purged = world.task(&old).await.is_none() && is_purged(&world, &keyed).await;
            purged.then_some(())
        })
        .await;
        // A whole round later nothing else is.
        let before = status(&world).await.unwrap().last.unwrap().workflow_id;
        eventually("another round, in which one is kept", || async {
            let last = status(&world).await?.last?;
            (last.workflow_id != before && last.summary.is_some_and(|summary| summary.kept == 1)).then_some(())
        })
        .await;
        for task_id in [&young, &replayed, &running] {
            assert_eq!(world.task(task_id).await.expect("it is kept").status, "completed");
        }
        let again = world.send(VERB, &request(&key, json!({"arm": "complete"}))).await.unwrap_err();
        assert!(again.to_string().contains("IDEMPOTENCY_EXPIRED"), "{again}");
        // The tombstone goes, and the key is free.
        backdate(&world, &keyed, 91, 90).await;
        eventually("the tombstone is gone", || async {
            let found = world.registry.find(&Viewer::Operator, &keyed).await.unwrap();
            found.is_none().then_some(())
        })
        .await;
        let anew = world.send(VERB, &request(&key, json!({"arm": "complete"}))).await.unwrap();
        assert_ne!(anew.task_id, keyed);
        // Once its run has closed, the last one goes too.
        world.signal(&running, "complete", vec![handoff_tests::payload("json/plain", r#"{"media_buy_id":"mb"}"#)]).await;
        world.closed(&running).await;
        eventually("it is purged", || async { world.task(&running).await.is_none().then_some(()) }).await;
        remove(&world).await;
        worker.stop().await;
    }

    async fn a_round_survives_the_kill_of_its_worker(world: World) {
        let mut worker = world.worker_process().unwrap();
        let lost = [waiting(&world).await, waiting(&world).await, waiting(&world).await];
        let old = [waiting(&world).await, waiting(&world).await];
        for task_id in &old {
            complete(&world, task_id).await;
            backdate(&world, task_id, 31, 1).await;
        }
        for task_id in &lost {
            world.run(task_id).terminate(Default::default()).await.unwrap();
        }
        worker.terminate().await.unwrap();
        for transaction in ["reconcile", "purge"] {
            let fault = Fault { transaction: transaction.into(), moment: Moment::After };
            world.calls.once_more("fault");
            let mut doomed = world.faulty_worker_process(&fault).unwrap();
            if transaction == "reconcile" {
                begin(&world, HousekeepingInput { page_size: 2, ..input() }).await;
            }
            assert!(!doomed.wait().await.unwrap().success());
        }
        let _successor = world.worker_process().unwrap();
        let summary = handle(&world).get_result(Default::default()).await.unwrap();
        assert_eq!((summary.errors, summary.problems.len()), (0, 0), "{summary:?}");
        for task_id in &lost {
            let task = world.task(task_id).await.unwrap();
            let ends = task.history.iter().filter(|entry| entry.event == "failed").count();
            assert_eq!((task.status.as_str(), ends), ("failed", 1), "{:?}", task.history);
            assert_eq!(task.history.iter().filter(|entry| entry.event == "reconciled").count(), 1);
        }
        for task_id in &old {
            assert!(world.task(task_id).await.is_none());
        }
    }

    async fn the_command_purges_no_more_than_the_schedule_would(world: World) {
        let worker = world.worker().await.unwrap();
        let (young, old) = (waiting(&world).await, waiting(&world).await);
        for task_id in [&young, &old] {
            complete(&world, task_id).await;
        }
        backdate(&world, &old, 31, 1).await;
        let would = purge(&world, &["--dry-run"], 0).await;
        assert_eq!((&would["dry_run"], &would["purged"], &would["forgotten"]), (&json!(true), &json!(1), &json!(0)));
        assert_eq!((&would["requests"][0]["task_id"], &would["requests"][0]["action"]), (&json!(old), &json!("purged")));
        assert!(world.task(&old).await.is_some());
        for (refused, why) in [
            (["--older-than", "6d"], "webhooks"),
            (["--tombstones-older-than", "23h"], "HANDOFF_IDEMPOTENCY_TTL"),
        ] {
            let said = purge(&world, &refused, 2).await.to_string();
            assert!(said.contains(why), "{said}");
        }
        let did = purge(&world, &["--older-than", "7d"], 0).await;
        assert_eq!((&did["purged"], &did["kept"]), (&json!(1), &json!(0)));
        assert!(world.task(&old).await.is_none() && world.task(&young).await.is_some());
        assert_eq!(purge(&world, &[], 0).await["requests"], json!([]));
        backdate(&world, &old, 91, 90).await;
        assert_eq!(purge(&world, &[], 0).await["forgotten"], 1);
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_round_goes_on_in_new_runs() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let worker = world.worker().await.unwrap();
    for number in 0..60 {
        let task = TaskRef { verb: VERB.into(), ..world.reference(&format!("task_{number:03}")) };
        let claim = NewClaim {
            task,
            protocol: "media-buy".into(),
            idempotency_key: None,
            request_hash: String::new(),
            context_json: None,
            webhook: None,
            proposal: None,
            release: Release::LATEST,
            sandbox: false,
        };
        assert_eq!(world.registry.claim(&claim).await.unwrap(), Claim::New);
    }
    let first = begin(&world, HousekeepingInput { page_size: 1, ..input() }).await;
    let summary = handle(&world).get_result(Default::default()).await.unwrap();
    // Their runs never started: the buyer's retry would start them.
    let expected =
        HousekeepingSummary { examined: 60, left: 60, oldest_left: summary.oldest_left, ..Default::default() };
    assert_eq!(summary, expected);
    assert_eq!(first.describe(Default::default()).await.unwrap().status(), WorkflowExecutionStatus::ContinuedAsNew);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_does_not_hold_the_rest() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let worker = world.worker().await.unwrap();
    let (broken, old) = (waiting(&world).await, waiting(&world).await);
    complete(&world, &old).await;
    backdate(&world, &old, 31, 1).await;
    world.execute(&format!("UPDATE requests SET task_status = 'nonsense' WHERE task_id = '{broken}'")).await.unwrap();
    begin(&world, input()).await;
    let summary = handle(&world).get_result(Default::default()).await.unwrap();
    assert_eq!(summary.purged, 1, "{summary:?}");
    assert!(matches!(summary.problems.as_slice(), [problem] if problem.starts_with("reconcile: ")), "{summary:?}");
    assert!(world.task(&old).await.is_none());
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_waits_for_a_temporal_that_is_down() {
    let mut world = World::with_own_temporal(Kind::Sqlite).await.unwrap();
    let _worker = world.worker_process().unwrap();
    let lost = waiting(&world).await;
    world.run(&lost).terminate(Default::default()).await.unwrap();
    begin(&world, input()).await;
    world.temporal.kill().await.unwrap();
    world.temporal.restart().await.unwrap();
    world.reaches(&lost, TaskStatus::Failed).await;
    eventually("the round completes", || async {
        handle(&world).get_result(Default::default()).await.ok().filter(|summary| summary.problems.is_empty())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schedule_is_one_and_as_the_last_settings_say() {
    let keys = KeySource::Text(Key::generate("k").unwrap());
    let world = World::configured(Kind::Sqlite, |config| config.encryption = keys).await.unwrap();
    let apply = async |settings: HousekeepingSettings| {
        apply_schedule(&world.temporal_client, &world.config().task_queue, &settings).await.unwrap()
    };
    assert_eq!(status(&world).await, None);
    let at_once = futures::future::join_all((0..8).map(|_| apply(every(3600)))).await;
    assert_eq!(at_once.iter().filter(|change| **change == ScheduleChange::Created).count(), 1, "{at_once:?}");
    assert!(at_once.iter().all(|change| matches!(change, ScheduleChange::Created | ScheduleChange::Unchanged)));
    assert_eq!(apply(every(3600)).await, ScheduleChange::Unchanged);
    assert_eq!(apply(every(7200)).await, ScheduleChange::Updated);
    eventually("the new interval", || async {
        (status(&world).await?.every == Some(Duration::from_secs(7200))).then_some(())
    })
    .await;
    assert_eq!(apply(every(7200)).await, ScheduleChange::Unchanged);
    // Whoever paused it had a reason.
    let id = housekeeping_schedule_id(&world.config().task_queue);
    let schedule = world.temporal_client.get_schedule_handle(id);
    schedule.pause(Some("holidays"), Default::default()).await.unwrap();
    eventually("it is paused", || async { status(&world).await?.paused.then_some(()) }).await;
    let longer = HousekeepingSettings { retention: Duration::from_secs(40 * 86_400), ..every(7200) };
    assert_eq!(apply(longer).await, ScheduleChange::Updated);
    eventually("the new retention", || async { (apply(longer).await == ScheduleChange::Unchanged).then_some(()) })
        .await;
    assert!(status(&world).await.unwrap().paused);
    assert_eq!(apply(HousekeepingSettings { every: None, ..every(1) }).await, ScheduleChange::Removed);
    eventually("it is gone", || async { status(&world).await.is_none().then_some(()) }).await;
    assert_eq!(apply(HousekeepingSettings { every: None, ..every(1) }).await, ScheduleChange::Unchanged);
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_keep_the_schedule_as_they_are_told() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let told = |every| [("HANDOFF_HOUSEKEEPING_EVERY", every)];
    let interval = async |seconds| {
        eventually(&format!("a round every {seconds} s"), || async {
            (status(&world).await?.every == Some(Duration::from_secs(seconds))).then_some(())
        })
        .await;
    };
    let (first, second) =
        (world.worker_process_with(&told("1h")).unwrap(), world.worker_process_with(&told("1h")).unwrap());
    interval(3600).await;
    let _third = world.worker_process_with(&told("2h")).unwrap();
    interval(7200).await;
    drop((first, second));
    let _fourth = world.worker_process_with(&told("off")).unwrap();
    eventually("it is gone", || async { status(&world).await.is_none().then_some(()) }).await;
}

fn every(seconds: u64) -> HousekeepingSettings {
    HousekeepingSettings { every: Some(Duration::from_secs(seconds)), ..HousekeepingSettings::default() }
}

fn input() -> HousekeepingInput {
    HousekeepingSettings { reconcile_after: Duration::ZERO, ..HousekeepingSettings::default() }.input()
}

fn round_id(world: &World) -> String {
    format!("round-{}", world.config().task_queue)
}

/// Begins a round by hand; the handle is of its first run.
async fn begin(world: &World, input: HousekeepingInput) -> WorkflowHandle<Client, ReconcileWorkflow> {
    let options = WorkflowStartOptions::new(world.config().task_queue.clone(), round_id(world)).build();
    let started = world.temporal_client.start_workflow(ReconcileWorkflow, input, options).await;
    started.expect("a round begins")
}

/// The round that was begun by hand, whichever run it is in.
fn handle(world: &World) -> WorkflowHandle<Client, ReconcileWorkflow> {
    world.temporal_client.get_workflow_handle(round_id(world))
}

async fn status(world: &World) -> Option<ScheduleStatus> {
    // A busy machine may make a call take too long: that is for the caller to repeat.
    eventually("Temporal answers", || async {
        match schedule_status(&world.temporal_client, &world.config().task_queue).await {
            Ok(status) => Some(status),
            Err(error) => {
                assert!(error.is_transient(), "{error}");
                None
            }
        }
    })
    .await
}

pub(crate) async fn remove(world: &World) {
    let off = HousekeepingSettings { every: None, ..every(1) };
    eventually("Temporal answers", || async {
        apply_schedule(&world.temporal_client, &world.config().task_queue, &off).await.ok()
    })
    .await;
}

async fn waiting(world: &World) -> String {
    let task_id = world.submit(VERB, json!({"arm": "workflow"})).await;
    eventually("the run waits", || async { (world.status(&task_id).await.stage == "waiting").then_some(()) }).await;
    task_id
}

async fn complete(world: &World, task_id: &str) {
    let completion = decision::complete(&json!({"media_buy_id": "mb"}));
    world.handoff.resolve(&Viewer::Operator, task_id, completion).await.unwrap();
    world.closed(task_id).await;
}

/// As if the request had ended this many days ago, and been good to be replayed until some days ago.
async fn backdate(world: &World, task_id: &str, ended: i64, expired: i64) {
    let now = chrono::Utc::now().timestamp_micros();
    let (updated_at, expires_at) = (now - ended * DAY, now - expired * DAY);
    let set = format!("UPDATE requests SET updated_at = {updated_at}, expires_at = {expires_at}");
    world.execute(&format!("{set} WHERE task_id = '{task_id}'")).await.unwrap();
}

async fn is_purged(world: &World, task_id: &str) -> bool {
    let task = TaskRef { scope: SCOPE.into(), principal: PRINCIPAL.into(), ..world.reference(task_id) };
    world.registry.claim_view(&task).await.unwrap() == handoff_store::ClaimView::Missing
}

/// What `handoff purge --json` prints.
async fn purge(world: &World, flags: &[&str], exit: i32) -> Value {
    let mut command = Command::new(binary("handoff"));
    command.envs(world.environment()).args(["purge", "--json"]).args(flags);
    let output = command.output().await.unwrap();
    assert_eq!(output.status.code(), Some(exit), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}
