//! A cancellation that comes when the end is decided already: while it is recorded, and while it is told. The end stands.

use crate::{
    on_both_databases,
    timers::{WAYS, Way},
};
use handoff::{prelude::*, seller::Handlers};
use handoff_client::{Resolved, Viewer};
use handoff_proto::{
    v1::TaskRecord,
    wire::TaskStatus,
    workflows::{COMPLETE, ResolveUpdate},
};
use handoff_tests::{
    InProcessWorker, World, binary, decision, eventually, fresh_key,
    lab::{Calls, HOOKED_VERB, seller},
    payload,
};
use temporalio_client::WorkflowExecutionStatus;
use tokio::process::Command;

const VERB: &str = "create_media_buy";
// The exit code of `handoff` for a task that has ended otherwise.
const CONFLICT: i32 = 5;
// How often a moment may be missed.
const MISSES: usize = 5;

on_both_databases! {
    async fn a_cancellation_while_the_end_is_recorded_changes_nothing(world: World) {
        let worker = world.worker().await.unwrap();
        // Side by side: each takes as long as the workflow has patience with a local activity.
        let cases = ["task", "workflow"].into_iter().flat_map(|arm| LATE.map(|late| (arm, late)));
        futures::future::join_all(cases.map(|(arm, late)| canceled_while_recorded(&world, arm, late))).await;
        worker.stop().await;
    }

    async fn a_cancellation_that_keeps_the_run_from_closing_changes_nothing(world: World) {
        // Nobody wants to be told of this end, so that the workflow task that records it is the last one. The server refuses it
        // for what came meanwhile, and the next one finds the cancellation before the end, which is recorded already.
        let quiet = quiet(world.calls.clone());
        let worker = world.worker_of(world.temporal_client.clone(), quiet).await.unwrap();
        for way in WAYS {
            let mut refused = 0;
            for _ in 0..MISSES {
                let task_id = world.submit(VERB, json!({})).await;
                world.called("on_complete", &task_id).await;
                way.cancel(&world, &task_id).await;
                world.calls.open(&task_id);
                let ended = world.reaches(&task_id, TaskStatus::Completed).await;
                stands(&world, &task_id, &ended).await;
                assert_eq!(world.calls.of("told", &task_id), [] as [String; 0], "{way:?}");
                refused = count(&world.events(&task_id).await, "WORKFLOW_TASK_FAILED");
                // On a machine that is too busy the end is recorded outside of a workflow task.
                if refused > 0 {
                    break;
                }
            }
            assert!(refused > 0, "{way:?}: the server refused no workflow task");
        }
        worker.stop().await;
    }

    async fn a_cancellation_while_the_end_is_told_changes_nothing(world: World) {
        let worker = telling_slowly(&world).await;
        for (lab, end) in [
            (json!({"arm": "task"}), TaskStatus::Completed),
            (json!({"arm": "task", "fails": 9}), TaskStatus::Failed),
            (json!({"arm": "workflow"}), TaskStatus::Rejected),
        ] {
            let task_id = world.submit(VERB, lab).await;
            if end == TaskStatus::Rejected {
                let rejection = json!({"status": "rejected", "reason": "Not our kind."});
                world.signal(&task_id, COMPLETE, vec![payload("json/plain", rejection.to_string())]).await;
            }
            world.called("told", &task_id).await;
            let ended = world.reaches(&task_id, end).await;
            assert_eq!(world.status(&task_id).await.stage, "publishing", "{end}");

            for way in WAYS {
                way.cancel(&world, &task_id).await;
            }
            let run = world.run(&task_id);
            let told = run.execute_update(ResolveUpdate, decision::cancel(), Default::default()).await.unwrap();
            let recorded = told.recorded.expect("what is recorded");
            assert_eq!((told.status.as_str(), recorded.status.as_str()), ("conflict", end.as_str()));
            let told = world.handoff.resolve(&Viewer::Operator, &task_id, decision::cancel()).await.unwrap();
            let Resolved::Conflict { recorded } = told else { panic!("{end}: {told:?}") };
            assert_eq!(recorded.status, end.as_str());
            let (code, told) = canceled_by_command(&world, &task_id).await;
            assert_eq!((code, &told["status"]), (Some(CONFLICT), &json!("conflict")), "{end}: {told}");
            assert_eq!(told["recorded"]["status"], end.as_str(), "{told}");

            world.calls.open(&task_id);
            // The signal is written down. Temporal's own cancellation asks for nothing that can be refused.
            assert_eq!(stands(&world, &task_id, &ended).await, 1, "{end}");
            assert_eq!(world.calls.of("told", &task_id), [end.as_str()]);
        }
        worker.stop().await;
    }
}

/// How a run is asked to cancel.
#[derive(Clone, Copy, Debug)]
enum Late {
    Temporal(Way),
    /// The update, whose answer says what became of it.
    Update,
}

const LATE: [Late; 3] = [Late::Temporal(Way::Native), Late::Temporal(Way::Signal), Late::Update];

async fn canceled_while_recorded(world: &World, arm: &str, late: Late) {
    let gate = fresh_key();
    let result = json!({"catalogs": [], "ext": {"hold": gate}});
    let task_id = world.submit(HOOKED_VERB, json!({"arm": arm, "result": result})).await;
    if arm == "workflow" {
        world.signal(&task_id, COMPLETE, vec![payload("json/plain", result.to_string())]).await;
    }
    // A local activity holds its workflow task, and with it whatever else happens to the run. A regular one waits outside.
    eventually("a regular activity records the end", || async {
        // After `decide`, and the arm's own.
        let regular = count(&world.events(&task_id).await, "ACTIVITY_TASK_SCHEDULED");
        (regular >= 3 && world.status(&task_id).await.stage == "settling").then_some(())
    })
    .await;
    match late {
        Late::Temporal(way) => {
            way.cancel(world, &task_id).await;
            eventually("a workflow task has brought it to the run", || async {
                let events = world.events(&task_id).await;
                let asked = events.iter().rposition(|event| {
                    event == "WORKFLOW_EXECUTION_CANCEL_REQUESTED" || event == "WORKFLOW_EXECUTION_SIGNALED"
                })?;
                (count(&events[asked..], "WORKFLOW_TASK_COMPLETED") > 0).then_some(())
            })
            .await;
            world.calls.open(&gate);
        }
        Late::Update => {
            let earlier = count(&world.events(&task_id).await, "WORKFLOW_EXECUTION_UPDATE_ACCEPTED");
            let viewer = Viewer::Operator;
            let resolving = world.handoff.resolve(&viewer, &task_id, decision::cancel());
            let released = async {
                eventually("the run has it", || async {
                    let accepted = count(&world.events(&task_id).await, "WORKFLOW_EXECUTION_UPDATE_ACCEPTED");
                    (accepted > earlier).then_some(())
                })
                .await;
                world.calls.open(&gate);
            };
            let (told, ()) = futures::join!(resolving, released);
            let told = told.unwrap();
            let Resolved::Conflict { recorded } = told else { panic!("{arm}: {told:?}") };
            assert_eq!(recorded.status, "completed", "{arm}");
        }
    }
    let ended = world.reaches(&task_id, TaskStatus::Completed).await;
    let unused = match (late, arm) {
        (Late::Temporal(Way::Native), _) => 0,
        // Its caller is told, and a decision that the run had first is not replaced.
        (Late::Update, "workflow") => 0,
        // Kept, as any first decision is, and not used.
        _ => 1,
    };
    assert_eq!(stands(world, &task_id, &ended).await, unused, "{arm} {late:?}");
    assert_eq!(world.calls.of("completed", &task_id).len(), 1, "{arm} {late:?}");
}

/// The run closes as that of a task that ended so, nothing about the end has changed, and nobody is told that it was cancelled.
/// Returns how many requests to cancel are written down as not used.
async fn stands(world: &World, task_id: &str, ended: &TaskRecord) -> u32 {
    world.closed(task_id).await;
    let described = world.run(task_id).describe(Default::default()).await.unwrap();
    assert_eq!(described.status(), WorkflowExecutionStatus::Completed, "{task_id}");
    let summary = world.run(task_id).get_result(Default::default()).await.unwrap();
    assert_eq!(summary.status, ended.status, "{task_id}");

    let task = world.task(task_id).await.unwrap();
    let events: Vec<&str> = task.history.iter().map(|entry| entry.event.as_str()).collect();
    assert!(!events.contains(&"canceled"), "{events:?}");
    assert_eq!(events.iter().filter(|event| **event == ended.status).count(), 1, "{events:?}");
    let dropped = events.iter().filter(|event| **event == "signal_dropped").count();
    assert_eq!(u32::try_from(dropped), Ok(summary.dropped_signals), "{events:?}");
    assert_eq!(without_history(&task), without_history(ended));

    assert_eq!(world.calls.of("canceled", task_id), [] as [String; 0]);
    let told = world.calls.of("on_failure", task_id);
    assert!(!told.iter().any(|told| told.starts_with("canceled")), "{told:?}");
    summary.dropped_signals
}

// What is written down about a signal is no change of the task.
fn without_history(task: &TaskRecord) -> TaskRecord {
    TaskRecord { history: Vec::new(), updated_at: None, ..task.clone() }
}

fn count(events: &[String], name: &str) -> usize {
    events.iter().filter(|event| *event == name).count()
}

async fn canceled_by_command(world: &World, task_id: &str) -> (Option<i32>, Value) {
    let mut command = Command::new(binary("handoff"));
    command.args(["task", "cancel", task_id, "--json"]).envs(world.environment()).kill_on_drop(true);
    let ran = command.output().await.expect("it runs");
    let told = serde_json::from_slice(&ran.stdout);
    (ran.status.code(), told.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&ran.stderr))))
}

/// The lab seller, and one more who wants to be told of an end, and is not done until the test lets it: by the task's id.
async fn telling_slowly(world: &World) -> InProcessWorker {
    let (completed, failed, rejected) = (world.calls.clone(), world.calls.clone(), world.calls.clone());
    let seller = seller(world.calls.clone())
        .on(move |event: TaskCompleted| hold(completed.clone(), event.task.task_id, "completed"))
        .on(move |event: TaskFailed| hold(failed.clone(), event.task.task_id, "failed"))
        .on(move |event: TaskRejected| hold(rejected.clone(), event.task.task_id, "rejected"));
    world.worker_of(world.temporal_client.clone(), seller.into_handlers().unwrap()).await.unwrap()
}

async fn hold(calls: Calls, task_id: String, end: &'static str) -> Acknowledgement {
    calls.record("told", &task_id, end);
    calls.pass(&task_id).await;
    Acknowledgement::roger()
}

/// A seller with a hook, where nobody wants to be told of an end but a cancellation. The hook waits until the test lets it: by the
/// task's id.
fn quiet(calls: Calls) -> Handlers {
    let canceled = calls.clone();
    Seller::new("quiet", calls)
        .verb(VERB, verb(decide).hands_off_to(["work"]).on_complete(note))
        .task("work", work)
        .on(move |event: TaskCanceled| hold(canceled.clone(), event.task.task_id, "canceled"))
        .into_handlers()
        .unwrap()
}

async fn decide(_: Context<Calls>, _: Value) -> Result<Decision, AdcpError> {
    Ok(Decision::handoff_to_task("work", json!({})))
}

async fn work(_: TaskContext<Calls>, _: Value) -> Result<Value, AdcpError> {
    Ok(json!({"media_buy_id": "mb"}))
}

async fn note(context: HookContext<Calls>, _: Value) -> Result<(), AdcpError> {
    let (calls, task_id) = (context.state(), context.idempotency_token());
    calls.record("on_complete", task_id, "");
    calls.pass(task_id).await;
    Ok(())
}
