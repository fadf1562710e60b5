//! A front door that dies by SIGKILL while it claims a forced request, and a worker that dies while a review in the sandbox approves
//! itself. The next call finds what was forced, and everything ends once.

use crate::sandbox::{complete, completion, force, is_forced, send, submitting, unique, waits};
use handoff_proto::wire::TaskStatus;
use handoff_tests::{
    Kind, Process, World, few_at_once, fresh_key,
    lab::{Fault, Moment, QUICK_VERB},
    request,
};
use serde_json::json;
use temporalio_client::WorkflowExecutionStatus;

const VERB: &str = "create_media_buy";
/// Its delay.
const SOON: (&str, &str) = ("HANDOFF_SANDBOX_REVIEW_DELAY", "50ms");

fn fault(moment: Moment, transaction: &str) -> Fault {
    Fault { transaction: transaction.into(), moment }
}

/// A call whose process dies there, and the same call once more. `held`: an open task has the id.
async fn a_killed_call_is_taken_up_by_the_next(kind: Kind, held: bool, fault: Fault) {
    let name = format!("{kind:?}, held: {held}, {fault}");
    let world = World::new(kind).await.expect("a world");
    let _worker = world.worker().await.expect("a worker");
    let forced = unique("task_killed");
    let earlier = request(&fresh_key(), json!({}));
    if held {
        force(&world, VERB, submitting(&forced)).await;
        is_forced(&send(&world, VERB, &earlier).await, &forced);
    }
    force(&world, VERB, submitting(&forced)).await;
    let request = request(&fresh_key(), json!({}));
    let mut doomed = world.faulty_call_process(VERB, &request, &fault).expect("a process");
    let ended = doomed.wait().await.expect("it can be waited for");
    assert!(!ended.success() && !world.calls.first_time("fault"), "{name}: it did not die there");

    let claimed = fault.moment == Moment::After && (!held || fault.transaction == "replace_forced");
    assert_eq!(waits(&world, VERB).await, !claimed, "{name}");
    match world.task(&forced).await {
        Some(task) => {
            assert!(held && !claimed && task.status == "submitted", "{name}: {task:?}");
            let run = world.run(&forced).describe(Default::default()).await.expect("its run");
            let closed = fault.transaction == "replace_forced";
            let expected = if closed { WorkflowExecutionStatus::Terminated } else { WorkflowExecutionStatus::Running };
            assert_eq!(run.status(), expected, "{name}");
        }
        None => assert!(!held || claimed, "{name}: it is gone"),
    }

    let answer = send(&world, VERB, &request).await;
    assert_eq!((answer.status.as_str(), &answer.task_id), ("submitted", &forced), "{name}");
    assert!(!waits(&world, VERB).await, "{name}");
    assert_eq!(send(&world, VERB, &request).await.task_id, forced, "{name}: a replay");
    let result = json!({"media_buy_id": "mb", "packages": []});
    let done = complete(&world, &forced, &result).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(done, completion("submitted", "completed"), "{name}");
    world.closed(&forced).await;
    assert_eq!(world.unfinished().await, Vec::<String>::new(), "{name}");
    if held {
        // Nothing is left of the earlier one.
        assert_eq!(send(&world, VERB, &earlier).await.status, "completed", "{name}");
    }
}

async fn killed_calls(kind: Kind) {
    let kills = [
        (false, fault(Moment::Before, "claim_forced")),
        (false, fault(Moment::After, "claim_forced")),
        // Its run is not closed yet; closed, and the claim to come; and claimed.
        (true, fault(Moment::After, "claim_forced")),
        (true, fault(Moment::Before, "replace_forced")),
        (true, fault(Moment::After, "replace_forced")),
    ];
    few_at_once(kills.into_iter().map(|(held, fault)| a_killed_call_is_taken_up_by_the_next(kind, held, fault))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forced_claim_survives_a_kill_on_sqlite() {
    killed_calls(Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forced_claim_survives_a_kill_on_postgres() {
    killed_calls(Kind::Postgres).await;
}

/// One that a handler, or a transaction of its worker, does not survive.
async fn a_review_approves_itself_in_spite_of(kind: Kind, verb: &str, fault: Option<Fault>) {
    let name = format!("{kind:?}, {verb}, {fault:?}");
    let world = World::new(kind).await.expect("a world");
    let approval = json!({"media_buy_id": "mb_approved", "packages": []});
    let mut lab = json!({"arm": "workflow", "approval": approval});
    let told = fault.as_ref().map(Fault::to_string);
    let doomed = match &told {
        Some(fault) => world.worker_process_with(&[SOON, ("LAB_FAULT", fault.as_str())]),
        None => {
            lab["die_in"] = "review".into();
            world.worker_process_with(&[SOON])
        }
    };
    let mut doomed = doomed.expect("a worker");
    let replaced = async {
        let ended = doomed.wait().await.expect("it can be waited for");
        assert!(!ended.success(), "{name}: the worker stopped by itself");
        world.worker_process_with(&[SOON]).expect("another worker")
    };
    let request = request(&fresh_key(), lab);
    let (answer, _successor): (_, Process) = futures::join!(send(&world, verb, &request), replaced);
    assert_eq!(answer.status, "submitted", "{name}");
    let task = world.reaches(&answer.task_id, TaskStatus::Completed).await;
    assert_eq!((&task.result_json, task.reason.as_str()), (&approval.to_string(), "sandbox"), "{name}");
    world.closed(&answer.task_id).await;
    let task = world.task(&answer.task_id).await.expect("the task");
    let ends = task.history.iter().filter(|entry| entry.event == "completed").count();
    assert_eq!(ends, 1, "{name}: {:?}", task.history);
    world.called("completed", &answer.task_id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_review_that_approves_itself_survives_a_kill() {
    let mut kills = vec![(Kind::Sqlite, VERB, None)];
    for transaction in ["record_decision", "accept", "settle"] {
        for moment in [Moment::Before, Moment::After] {
            kills.push((Kind::Sqlite, VERB, Some(fault(moment, transaction))));
        }
    }
    kills.push((Kind::Sqlite, QUICK_VERB, Some(fault(Moment::After, "settle"))));
    kills.push((Kind::Postgres, VERB, Some(fault(Moment::Before, "settle"))));
    kills.push((Kind::Postgres, VERB, Some(fault(Moment::After, "settle"))));
    few_at_once(kills.into_iter().map(|(kind, verb, fault)| a_review_approves_itself_in_spite_of(kind, verb, fault)))
        .await;
}
