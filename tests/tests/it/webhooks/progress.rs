//! Notifications of progress: only where they are wanted, so many, once each, and never after the end.

use super::*;
use handoff_proto::wire::TaskStatus;

const AT_MOST: u32 = 3;
// In microseconds: whoever sends a notification began to count before the registry did, and gives it up so much sooner at most.
const MOMENT: i64 = 3_000_000;

/// A task of five steps, each of which goes on when its gate opens.
fn steps(gate: &str) -> Value {
    let hold: serde_json::Map<String, Value> =
        (1..=5).map(|step| (format!("step-{step}"), json!(format!("{gate}-{step}")))).collect();
    json!({"arm": "task", "steps": 5, "hold": hold})
}

fn statuses(endpoint: &Endpoint) -> Vec<String> {
    endpoint.came().iter().map(|delivery| delivery.json()["status"].as_str().unwrap().to_owned()).collect()
}

async fn comes(endpoint: &Endpoint, number: usize) {
    eventually(&format!("{number} came"), || async { (endpoint.came().len() >= number).then_some(()) }).await;
}

/// Whether the seller's own handler and the webhook, told of the end side by side, are heard of in one workflow task or in two
/// is Temporal's affair. So is the order of what they leave.
fn beside_workflow_tasks(mut events: Vec<String>) -> Vec<String> {
    events.retain(|event| !event.starts_with("WORKFLOW_TASK_"));
    events.sort();
    events
}

/// Waits until the task's notification of this number is over.
async fn is_told(world: &World, task_id: &str, number: usize) {
    eventually(&format!("{number} is told"), || async {
        let progress = world.task(task_id).await?.progress?;
        (progress.notifications as usize == number && progress.notified_until == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_told_so_often_and_costs_no_event() {
    let plain = world(Kind::Sqlite, |_| ()).await;
    let telling = world(Kind::Postgres, |config| config.webhooks.progress = AT_MOST).await;
    let mut events = Vec::new();
    for (world, expected) in [(&plain, 0), (&telling, AT_MOST as usize)] {
        let worker = started(world).await;
        let endpoint = Endpoint::start([]).await;
        let gate = handoff_tests::fresh_key();
        let task_id = submit(world, REGULAR_VERB, &endpoint.url(), steps(&gate)).await;
        for step in 1..=5 {
            if step <= expected {
                is_told(world, &task_id, step).await;
            }
            world.calls.open(&format!("{gate}-{step}"));
        }
        events.push(beside_workflow_tasks(world.closed(&task_id).await));
        let told = [vec!["working"; expected], vec!["completed"]].concat();
        assert_eq!(statuses(&endpoint), told);
        let (webhook, attempts) = log(world, &task_id).await;
        assert_eq!((webhook.state, classes(&attempts)), (WebhookState::Delivered, vec![""]), "of the end alone");
        let came = endpoint.came();
        let keys: std::collections::BTreeSet<_> =
            came.iter().map(|delivery| delivery.json()["idempotency_key"].to_string()).collect();
        assert_eq!(keys.len(), came.len());
        let schemas = Schemas::find().expect("the protocol's schemas");
        for (step, delivery) in came[..expected].iter().enumerate() {
            let body = delivery.json();
            schemas.check("core/mcp-webhook-payload.json", &body);
            schemas.check("media-buy/create-media-buy-async-response-working.json", &body["result"]);
            assert_eq!((&body["task_id"], &body["result"]["step_number"]), (&json!(task_id), &json!(step + 1)));
            assert_eq!((&body["operation_id"], &body["token"]), (&json!("op-1"), &json!("t".repeat(16))));
            assert!(!delivery.header("signature").is_empty());
        }
        worker.stop().await;
    }
    assert_eq!(events[0], events[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_is_not_repeated() {
    let world = world(Kind::Sqlite, |config| config.webhooks.progress = 1).await;
    let worker = started(&world).await;
    let endpoint = Endpoint::start([Say::Status(500)]).await;
    let gate = handoff_tests::fresh_key();
    let task_id = submit(&world, REGULAR_VERB, &endpoint.url(), steps(&gate)).await;
    comes(&endpoint, 1).await;
    for step in 1..=5 {
        world.calls.open(&format!("{gate}-{step}"));
    }
    assert_eq!(ends(&world, &task_id).await.0.state, WebhookState::Delivered);
    world.closed(&task_id).await;
    assert_eq!(statuses(&endpoint), ["working", "completed"]);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_waits_for_one_that_is_on_its_way() {
    let world = world(Kind::Postgres, |config| config.webhooks.progress = AT_MOST).await;
    let worker = started(&world).await;
    let endpoint = Endpoint::start([Say::Hang]).await;
    let task_id = submit(&world, REGULAR_VERB, &endpoint.url(), steps("never")).await;
    comes(&endpoint, 1).await;
    // 0, where the machine stood still for so long that it is over.
    let until = world.task(&task_id).await.unwrap().progress.map_or(0, |progress| progress.notified_until);
    world.run(&task_id).cancel(Default::default()).await.unwrap();
    world.reaches(&task_id, TaskStatus::Canceled).await;
    let (webhook, attempts) = ends(&world, &task_id).await;
    assert_eq!(webhook.state, WebhookState::Delivered);
    assert_eq!(statuses(&endpoint), ["working", "canceled"]);
    assert!(attempts[0].at + MOMENT > until, "{attempts:?} {until}");
    world.closed(&task_id).await;
    // Whoever was late with more of it told nobody.
    assert_eq!(endpoint.came().len(), 2);
    worker.stop().await;
}
