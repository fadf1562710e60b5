//! A worker that dies by SIGKILL right before or right after each registry transaction, and inside each handler; one that is
//! paused through its own timeout; and a Temporal server that dies. Everything ends right, once.

mod paused;
mod races;
mod server;

use crate::on_both_databases;
use futures::future::{FutureExt, LocalBoxFuture};
use handoff_client::{Answer, CallError, Caller};
use handoff_proto::{
    v1::{TaskRecord, completion::Outcome},
    wire::TaskStatus,
    workflows::CompleteSignal,
};
use handoff_store::Viewer;
use handoff_tests::{
    Kind, PRINCIPAL, Process, SCOPE, World, eventually, few_at_once, fresh_key,
    lab::{Fault, Moment, QUICK_VERB},
    request,
};
use serde_json::{Value, json};
use std::time::Duration;
use temporalio_common::data_converters::{PayloadConverter, RawValue};

const REGULAR_VERB: &str = "create_media_buy";

/// How a request ends when nothing dies.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Answered,
    Refused,
    Task,
    Reviewed,
}

/// Runs one request while the first worker dies, and checks that it ends as if nothing had.
async fn survives(kind: Kind, verb: &'static str, lab: Value, fault: Option<Fault>, end: End) {
    let name = format!("{verb} {lab} {fault:?}");
    let world = World::new(kind).await.expect("a world");
    let doomed = match &fault {
        Some(fault) => world.faulty_worker_process(fault),
        None => world.worker_process(),
    };
    let replaced = replaced(&world, &name, doomed.expect("a worker"));
    let asked = async {
        let answer = world.call(verb, lab.clone()).await;
        if end == End::Reviewed {
            approve(&world, &answer).await;
        }
        answer
    };
    let (answer, _successor) = futures::join!(asked, replaced);
    check(&world, &name, answer, end).await;
    if let Some(fault) = fault.filter(|fault| fault.transaction == "record_decision") {
        is_decided_again_only_if_lost(&world, &name, fault.moment).await;
    }
}

/// Another worker, once this one is dead.
async fn replaced(world: &World, name: &str, mut doomed: Process) -> Process {
    let ended = doomed.wait().await.expect("the worker can be waited for");
    assert!(!ended.success(), "{name}: the worker stopped by itself");
    world.worker_process().expect("another worker")
}

/// The journal answers for a handler whose decision was recorded. One whose decision was lost is called again for the same task.
async fn is_decided_again_only_if_lost(world: &World, name: &str, moment: Moment) {
    let task_id = world.called_for("decide").await;
    // The registry may answer the buyer before the run goes on.
    world.closed(&task_id).await;
    let asked = world.calls.tasks("decide");
    assert!(asked.iter().all(|other| *other == task_id), "{name}: {asked:?}");
    match moment {
        Moment::Before => assert!(asked.len() > 1, "{name}: what was lost was not decided again"),
        Moment::After | Moment::Held => assert_eq!(asked.len(), 1, "{name}: what was recorded was decided again"),
    }
}

async fn approve(world: &World, answer: &Result<Answer, CallError>) {
    let task_id = &answer.as_ref().expect("submitted").task_id;
    let completion = handoff_proto::v1::Completion {
        outcome: Some(Outcome::ResultJson(json!({"media_buy_id": format!("mb_{task_id}")}).to_string())),
        actor: "reviewer".into(),
        ..Default::default()
    };
    world.handoff.resolve(&Viewer::Operator, task_id, completion).await.expect("the decision is taken");
}

async fn check(world: &World, name: &str, answer: Result<Answer, CallError>, end: End) {
    match end {
        End::Answered => {
            let answer = answer.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(answer.body["media_buy_id"], format!("mb_{}", answer.task_id), "{name}");
            assert!(world.task(&answer.task_id).await.is_none(), "{name}");
        }
        End::Refused => {
            let Err(CallError::Refused(error)) = answer else { panic!("{name}: {answer:?}") };
            assert!(["BUDGET_TOO_LOW", "RATE_LIMITED"].contains(&error.code.as_str()), "{name}: {error}");
        }
        End::Task | End::Reviewed => {
            let answer = answer.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(answer.status, "submitted", "{name}");
            let task = world.reaches(&answer.task_id, TaskStatus::Completed).await;
            assert!(task.result_json.contains(&format!("mb_{}", answer.task_id)), "{name}: {}", task.result_json);
            world.closed(&answer.task_id).await;
            ended_once(name, &world.task(&answer.task_id).await.expect("the task"));
            assert!(!world.calls.of("completed", &answer.task_id).is_empty(), "{name}: nobody was notified");
        }
    }
}

fn ended_once(name: &str, task: &TaskRecord) {
    let ends = task.history.iter().filter(|entry| entry.event == task.status).count();
    assert_eq!(ends, 1, "{name}: {:?}", task.history);
    let others = ["completed", "failed", "rejected", "canceled"];
    let other = task.history.iter().find(|entry| others.contains(&entry.event.as_str()) && entry.event != task.status);
    assert_eq!(other, None, "{name}");
}

fn faults(transactions: &[&str]) -> Vec<Option<Fault>> {
    transactions
        .iter()
        .flat_map(|transaction| {
            [Moment::Before, Moment::After].map(|moment| Some(Fault { transaction: (*transaction).to_owned(), moment }))
        })
        .collect()
}

/// The same request, once with a kill before and once with one after each of these transactions.
fn kills(
    kind: Kind,
    verb: &'static str,
    lab: Value,
    transactions: &[&str],
    end: End,
) -> impl Iterator<Item = LocalBoxFuture<'static, ()>> + use<> {
    faults(transactions).into_iter().map(move |fault| survives(kind, verb, lab.clone(), fault, end).boxed_local())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_at_once_survives_a_kill_around_each_transaction() {
    let (complete, refuse) = (json!({"arm": "complete"}), json!({"arm": "refuse"}));
    let transactions = ["begin", "record_decision"];
    let answered = [REGULAR_VERB, QUICK_VERB]
        .into_iter()
        .flat_map(|verb| kills(Kind::Sqlite, verb, complete.clone(), &transactions, End::Answered));
    few_at_once(answered.chain(kills(Kind::Sqlite, REGULAR_VERB, refuse, &["record_decision"], End::Refused))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quick_decision_survives_a_kill_around_its_record_on_every_other_arm() {
    let arms = [
        (json!({"arm": "refuse"}), End::Refused),
        (json!({"arm": "task", "steps": 1}), End::Task),
        (json!({"arm": "workflow"}), End::Reviewed),
    ];
    let kills = arms.into_iter().flat_map(|(lab, end)| kills(Kind::Sqlite, QUICK_VERB, lab, &["record_decision"], end));
    few_at_once(kills).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_task_arm_survives_a_kill_around_each_transaction() {
    let lab = json!({"arm": "task", "steps": 2});
    let transactions = ["begin", "record_decision", "update_progress", "settle"];
    few_at_once(kills(Kind::Sqlite, REGULAR_VERB, lab, &transactions, End::Task)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_workflow_arm_survives_a_kill_around_each_transaction() {
    let (lab, unable) = (json!({"arm": "workflow"}), json!({"arm": "workflow", "review": "unable"}));
    let transactions = ["begin", "record_decision", "accept", "settle"];
    let taken_back = [REGULAR_VERB, QUICK_VERB]
        .into_iter()
        .flat_map(|verb| kills(Kind::Sqlite, verb, unable.clone(), &["discard"], End::Refused));
    few_at_once(kills(Kind::Sqlite, REGULAR_VERB, lab, &transactions, End::Reviewed).chain(taken_back)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgresql_too() {
    let of = |verb, lab, transactions: &[&str], end| kills(Kind::Postgres, verb, lab, transactions, end);
    let task = json!({"arm": "task", "steps": 1});
    let unable = json!({"arm": "workflow", "review": "unable"});
    few_at_once(
        of(REGULAR_VERB, json!({"arm": "complete"}), &["begin", "record_decision"], End::Answered)
            .chain(of(REGULAR_VERB, task, &["update_progress", "settle"], End::Task))
            .chain(of(QUICK_VERB, json!({"arm": "workflow"}), &["accept", "settle"], End::Reviewed))
            .chain(of(REGULAR_VERB, unable, &["discard"], End::Refused)),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_inside_each_handler_calls_it_again_under_the_same_task_id() {
    let deaths = [
        (REGULAR_VERB, json!({"arm": "complete", "die_in": "decide"}), End::Answered),
        (QUICK_VERB, json!({"arm": "complete", "die_in": "decide"}), End::Answered),
        (REGULAR_VERB, json!({"arm": "task", "die_in": "work"}), End::Task),
        (REGULAR_VERB, json!({"arm": "workflow", "die_in": "review"}), End::Reviewed),
    ];
    let on_both = deaths.into_iter().flat_map(|(verb, lab, end)| {
        [Kind::Sqlite, Kind::Postgres].map(|kind| survives(kind, verb, lab.clone(), None, end).boxed_local())
    });
    few_at_once(on_both).await;
}

on_both_databases! {
    async fn a_killed_task_handler_goes_on_from_its_last_heartbeat(world: World) {
        let mut doomed = world.worker_process().unwrap();
        let lab = json!({"arm": "task", "steps": 5, "hold": {"step-3": "never"}});
        let task_id = world.submit(REGULAR_VERB, lab).await;
        eventually("Temporal has the heartbeat of step 3", || async {
            (last_heartbeat(&world, &task_id).await? == b"3").then_some(())
        })
        .await;
        doomed.kill().await.unwrap();
        let _successor = world.worker_process().unwrap();
        world.reaches(&task_id, TaskStatus::Completed).await;
        assert_eq!(world.calls.of("step", &task_id), ["1", "2", "3", "4", "5"], "no step is done twice");
        assert_eq!(world.calls.of("work", &task_id).len(), 2);
    }

    async fn a_worker_killed_while_a_review_waits_is_not_missed(world: World) {
        let mut first = world.worker_process().unwrap();
        let task_id = world.submit(REGULAR_VERB, json!({"arm": "workflow"})).await;
        first.kill().await.unwrap();
        let _second = world.worker_process().unwrap();
        let answer = world.task(&task_id).await.expect("the poll answers");
        assert_eq!(answer.status, "submitted");
        let decision = raw(&json!({"media_buy_id": "mb"}));
        world.run(&task_id).signal(CompleteSignal, decision, Default::default()).await.unwrap();
        world.reaches(&task_id, TaskStatus::Completed).await;
        world.closed(&task_id).await;
        ended_once("a review", &world.task(&task_id).await.expect("the task"));
        world.asked_once("review", &task_id);
    }
}

async fn last_heartbeat(world: &World, task_id: &str) -> Option<Vec<u8>> {
    let described = world.run(task_id).describe(Default::default()).await.ok()?;
    let details = described.raw().pending_activities.first()?.heartbeat_details.as_ref()?;
    Some(details.payloads.first()?.data.clone())
}

/// The worker dies while it tells a buyer `submitted` whose sync deadline has passed. The decision is still out.
async fn is_promoted_in_spite_of_a_kill(kind: Kind, arm: &str, moment: Moment) {
    let fault = Fault { transaction: "accept".into(), moment };
    let name = format!("{kind:?} {arm} {fault}");
    let world = World::new(kind).await.expect("a world");
    let doomed = world.faulty_worker_process(&fault).expect("a worker");
    let asked = request(&fresh_key(), json!({"arm": arm, "hold": {"decide": "g"}}));
    let (task_id, first) = world.begin(REGULAR_VERB, &asked).await;
    // The same call by a client that waits no longer, now that the handler is at work.
    let (prompt, caller) = (world.prompt(Duration::from_millis(100)), Caller::new(SCOPE, PRINCIPAL));
    let body = asked.to_string();
    let again = prompt.call(&caller, REGULAR_VERB, body.as_bytes());
    let (first, again, _successor) = futures::join!(first, again, replaced(&world, &name, doomed));
    for answer in [first.expect("the first call ends"), again] {
        let answer = answer.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((answer.status.as_str(), &answer.task_id), ("submitted", &task_id), "{name}");
    }
    eventually("the handler is called again", || async {
        (world.calls.of("decide", &task_id).len() == 2).then_some(())
    })
    .await;
    assert_eq!(world.task(&task_id).await.expect("the poll answers").status, "submitted", "{name}");
    world.calls.open("g");
    if arm == "workflow" {
        world.called("review", &task_id).await;
        let decision = raw(&json!({"media_buy_id": format!("mb_{task_id}")}));
        world.run(&task_id).signal(CompleteSignal, decision, Default::default()).await.expect("the run is open");
    }
    let task = world.reaches(&task_id, TaskStatus::Completed).await;
    assert!(task.result_json.contains(&format!("mb_{task_id}")), "{name}: {}", task.result_json);
    world.closed(&task_id).await;
    let task = world.task(&task_id).await.expect("the task");
    let events: Vec<&str> = task.history.iter().map(|entry| entry.event.as_str()).collect();
    assert_eq!(events, ["claimed", "submitted", "decided", "completed"], "{name}");
    assert_eq!(world.calls.of("decide", &task_id).len(), 2, "{name}");
    assert!(!world.calls.of("completed", &task_id).is_empty(), "{name}: nobody was notified");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_at_the_sync_deadline_survives_a_kill_around_its_acceptance() {
    let kills = [
        (Kind::Sqlite, "complete", Moment::Before),
        (Kind::Sqlite, "workflow", Moment::After),
        (Kind::Postgres, "workflow", Moment::Before),
        (Kind::Postgres, "complete", Moment::After),
    ];
    few_at_once(kills.into_iter().map(|(kind, arm, moment)| is_promoted_in_spite_of_a_kill(kind, arm, moment))).await;
}

fn raw(value: &Value) -> RawValue {
    RawValue::from_value(value, &PayloadConverter::default())
}
