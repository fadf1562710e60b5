//! What a request costs Temporal. Each event is work for the server and space for thirty days, each workflow task a turn
//! through the server, each action money; so each is pinned, and a change that raises one should say why.

use handoff::{prelude::*, seller::Handlers};
use handoff_client::Viewer;
use handoff_proto::{wire::GetTaskStatusRequest, wire::ListTasksRequest, workflows::COMPLETE};
use handoff_tests::{Counts, InProcessWorker, Kind, PRINCIPAL, SCOPE, World, eventually, fresh_key, payload, request};
use std::collections::BTreeMap;

const QUICK: &str = "update_media_buy";
const REGULAR: &str = "create_media_buy";

/// Of one request, from the first call to the closed run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cost {
    workflow_tasks: usize,
    /// Regular ones: local activities are part of their workflow task.
    activities: usize,
    events: usize,
    actions: u64,
}

/// The budget, before anybody is notified of a task's end: 10 events for a quick answer, 16 for a quick task, 22 for a
/// quick review, 7 more for a regular decision (`docs/decisions/013-what-a-request-costs.md`).
#[tokio::test(flavor = "multi_thread")]
async fn each_arm_costs_what_it_did() {
    let world = World::with_own_temporal(Kind::Sqlite).await.unwrap().of_lasting_workers();
    let silent = worker(&world, seller()).await;
    for (verb, arm, expected) in [
        (QUICK, "complete", Cost { workflow_tasks: 1, activities: 0, events: 8, actions: 3 }),
        (QUICK, "task", Cost { workflow_tasks: 2, activities: 1, events: 15, actions: 5 }),
        (QUICK, "workflow", Cost { workflow_tasks: 3, activities: 1, events: 22, actions: 8 }),
        (REGULAR, "complete", Cost { workflow_tasks: 2, activities: 1, events: 14, actions: 4 }),
        (REGULAR, "task", Cost { workflow_tasks: 3, activities: 2, events: 21, actions: 6 }),
        (REGULAR, "workflow", Cost { workflow_tasks: 4, activities: 2, events: 28, actions: 9 }),
    ] {
        assert_cost(&world, verb, arm, expected).await;
    }
    silent.stop().await;

    // Handlers of a task's end are told in an activity of its own.
    let notifying = worker(&world, seller().on(|_: TaskCompleted| async { Acknowledgement::roger() })).await;
    let expected = Cost { workflow_tasks: 3, activities: 2, events: 21, actions: 6 };
    assert_cost(&world, QUICK, "task", expected).await;
    notifying.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_and_answered_duplicates_cost_temporal_nothing() {
    let world = World::with_own_temporal(Kind::Sqlite).await.unwrap();
    let running = worker(&world, seller()).await;
    let (answered, submitted) = (request(&fresh_key(), json!({})), request(&fresh_key(), json!({"arm": "workflow"})));
    world.send(QUICK, &answered).await.unwrap();
    let task_id = world.send(QUICK, &submitted).await.unwrap().task_id;
    // A worker asks for work all the time; without one, whatever the server counts is the client's.
    running.stop().await;

    let before = world.counts().await.unwrap();
    let buyer = Viewer::Buyer { scope: SCOPE.into(), principal: PRINCIPAL.into() };
    let poll = GetTaskStatusRequest { task_id: task_id.clone(), include_history: true, ..Default::default() };
    for _ in 0..20 {
        let status = world.handoff.get_task_status(&buyer, &poll).await.unwrap();
        assert_eq!(status["status"], "submitted");
        let list = world.handoff.list_tasks(&buyer, &ListTasksRequest::default()).await.unwrap();
        assert_eq!(list["tasks"][0]["task_id"], json!(task_id));
        for (duplicate, status) in [(&answered, "completed"), (&submitted, "submitted")] {
            let again = world.send(QUICK, duplicate).await.unwrap();
            assert_eq!((again.status.as_str(), again.replayed), (status, true));
        }
    }
    assert_eq!(world.counts().await.unwrap().since(&before), Counts::default());
    // What would have been seen: the same counters count one signal.
    world.signal(&task_id, COMPLETE, vec![payload("json/plain", "{}")]).await;
    let seen = world.counts().await.unwrap().since(&before);
    assert_eq!(seen.requests, BTreeMap::from([("SignalWorkflowExecution".to_owned(), 1)]));
}

/// Decides as `lab.arm` says; nobody is notified.
fn seller() -> Seller<()> {
    let decide = |_: Context<()>, request: Value| async move {
        Ok(match request["lab"]["arm"].as_str() {
            Some("task") => Decision::handoff_to_task("work", json!({})),
            Some("workflow") => Decision::handoff_to_workflow("review", json!({})),
            _ => Decision::complete(json!({"media_buy_id": "mb"})),
        })
    };
    let hands_off_to = ["work", "review"];
    Seller::new("budget", ())
        .verb(QUICK, verb(decide).hands_off_to(hands_off_to).quick())
        .verb(REGULAR, verb(decide).hands_off_to(hands_off_to))
        .task("work", |_: TaskContext<()>, _: Value| async { Ok(json!({"media_buy_id": "mb"})) })
        .enqueue("review", |_: Context<()>, _: Value| async { Ok(Acknowledgement::wilco()) })
}

async fn worker(world: &World, seller: Seller<()>) -> InProcessWorker {
    let handlers: Handlers = seller.into_handlers().unwrap();
    world.worker_of(world.temporal_client.clone(), handlers).await.unwrap()
}

/// What a machine that stands still does not do in time is done another way, at another price: once. A change that costs
/// more does so each time.
async fn assert_cost(world: &World, verb: &str, arm: &str, expected: Cost) {
    if cost(world, verb, arm).await != expected {
        assert_eq!(cost(world, verb, arm).await, expected, "{verb} {arm}");
    }
}

async fn cost(world: &World, verb: &str, arm: &str) -> Cost {
    let before = world.counts().await.unwrap();
    let task_id = world.call(verb, json!({"arm": arm})).await.unwrap().task_id;
    if arm == "workflow" {
        // A decision may come sooner, but this is the shape that nearly every task has.
        eventually("the run waits", || async {
            let events = world.events(&task_id).await;
            events.last().is_some_and(|event| event == "TIMER_STARTED").then_some(())
        })
        .await;
        world.signal(&task_id, COMPLETE, vec![payload("json/plain", r#"{"media_buy_id":"mb"}"#)]).await;
    }
    let history = world.closed(&task_id).await;
    let actions = world.counts().await.unwrap().since(&before).actions;
    let count = |name: &str| history.iter().filter(|event| *event == name).count();
    println!("{verb} {arm}: {actions:?} {history:?}");
    Cost {
        workflow_tasks: count("WORKFLOW_TASK_COMPLETED"),
        activities: count("ACTIVITY_TASK_COMPLETED"),
        events: history.len(),
        actions: actions.values().sum(),
    }
}
