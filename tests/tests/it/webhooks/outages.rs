//! What dies or is away while a webhook is told: the worker, the receiver, Temporal. It arrives, with the same key and body.

use super::*;
use handoff_proto::wire::TaskStatus;
use handoff_tests::Process;
use handoff_worker::Role;

/// A worker as a process that sends as this world's configuration says.
fn process(world: &World, more: &[(&str, &str)]) -> Process {
    let SigningSource::Pem(keys) = &world.config().webhooks.signing else { panic!() };
    let first_retry = format!("{}ms", FIRST_RETRY.as_millis());
    let own = [("HANDOFF_WEBHOOK_SIGNING_KEYS", keys.expose_secret()), ("HANDOFF_WEBHOOK_FIRST_RETRY", &first_retry)];
    world.worker_process_with(&[&own[..], more].concat()).unwrap()
}

/// What was sent is one delivery, and the one that the registry knows.
async fn is_one_delivery(world: &World, task_id: &str, endpoints: &[&Endpoint]) {
    let came: Vec<_> = endpoints.iter().flat_map(|endpoint| endpoint.came()).collect();
    assert!(!came.is_empty() && came.iter().all(|delivery| delivery.body == came[0].body));
    let (webhook, _) = log(world, task_id).await;
    assert_eq!(came[0].json()["idempotency_key"], json!(webhook.idempotency_key));
    assert_eq!(came[0].json()["result"], polled(world, task_id).await["result"]);
}

// The attempt of a dead worker is missed after the activity's 30 seconds.
async fn arrives(world: &World, task_id: &str) {
    eventually_within(Duration::from_secs(120), "it arrives", || async {
        (log(world, task_id).await.0.state == WebhookState::Delivered).then_some(())
    })
    .await;
    world.closed(task_id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_before_sending_leaves_it_to_the_next() {
    let world = world(Kind::Postgres, |_| ()).await;
    let endpoint = Endpoint::start([]).await;
    let mut doomed = process(&world, &[("LAB_FAULT", "after:webhook_delivery")]);
    let task_id = submit(&world, REGULAR_VERB, &endpoint.url(), json!({"arm": "task"})).await;
    assert!(!doomed.wait().await.unwrap().success());
    assert!(endpoint.came().is_empty());
    let _successor = process(&world, &[]);
    arrives(&world, &task_id).await;
    assert_eq!(endpoint.came().len(), 1);
    is_one_delivery(&world, &task_id, &[&endpoint]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_while_sending_sends_the_same_bytes_again() {
    let world = world(Kind::Postgres, |_| ()).await;
    let endpoint = Endpoint::start([Say::Hang]).await;
    let mut doomed = process(&world, &[]);
    let task_id = submit(&world, REGULAR_VERB, &endpoint.url(), json!({"arm": "task"})).await;
    eventually("the request is out", || async { (endpoint.came().len() == 1).then_some(()) }).await;
    doomed.kill().await.unwrap();
    assert_eq!(log(&world, &task_id).await.1, Vec::new());
    let _successor = process(&world, &[]);
    arrives(&world, &task_id).await;
    assert_eq!(endpoint.came().len(), 2);
    is_one_delivery(&world, &task_id, &[&endpoint]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_was_down_for_a_day_gets_what_it_got_before() {
    let world = world(Kind::Sqlite, |_| ()).await;
    let worker = started(&world).await;
    let mut before = Endpoint::start(vec![Say::Status(500); 100]).await;
    let (url, port) = (before.url(), before.port());
    let task_id = submit(&world, REGULAR_VERB, &url, json!({"arm": "task"})).await;
    // Once, unless the machine is too busy for the receiver to go at once.
    eventually("it came", || async { (!before.came().is_empty()).then_some(()) }).await;
    // Pauses double from 50 ms as they do from 2 s: eight attempts later a real receiver would have been down for ten minutes,
    // and sixteen later for a day. A day's pauses are an hour at most, which the schedule's own tests show.
    before.close().await;
    eventually("it is missed for long", || async {
        let (_, attempts) = log(&world, &task_id).await;
        let missed = classes(&attempts).last() == Some(&"connect");
        (attempts.len() >= 7 && missed).then_some(())
    })
    .await;
    let after = Endpoint::on(port, []).await;
    let (webhook, attempts) = ends(&world, &task_id).await;
    assert_eq!((webhook.state, classes(&attempts).last()), (WebhookState::Delivered, Some(&"")));
    assert_eq!(after.came().len(), 1);
    is_one_delivery(&world, &task_id, &[&before, &after]).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_temporal_that_restarts_goes_on_telling() {
    let mut world = World::with_own_temporal_configured(Kind::Sqlite, configure).await.unwrap();
    let _worker = process(&world, &[]);
    let endpoint = Endpoint::start(vec![Say::Status(500); 7]).await;
    let task_id = submit(&world, REGULAR_VERB, &endpoint.url(), json!({"arm": "task"})).await;
    world.reaches(&task_id, TaskStatus::Completed).await;
    eventually("it was tried", || async { (endpoint.came().len() >= 3).then_some(()) }).await;
    world.temporal.kill().await.unwrap();
    assert_eq!(log(&world, &task_id).await.0.state, WebhookState::Pending);
    world.temporal.restart().await.unwrap();
    arrives(&world, &task_id).await;
    assert!(endpoint.came().len() >= 8);
    is_one_delivery(&world, &task_id, &[&endpoint]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_publisher_sends_and_the_engine_needs_no_way_out() {
    let world = world(Kind::Sqlite, |_| ()).await;
    let engine = world.worker_in_role(Role::Engine).await.unwrap();
    let endpoint = Endpoint::start([]).await;
    let task_id = submit(&world, REGULAR_VERB, &endpoint.url(), json!({"arm": "task"})).await;
    world.reaches(&task_id, TaskStatus::Completed).await;
    eventually("the run would send", || async { (world.status(&task_id).await.stage == "publishing").then_some(()) })
        .await;
    assert_eq!((log(&world, &task_id).await.0.state, endpoint.came().len()), (WebhookState::Pending, 0));
    let publisher = world.worker_in_role(Role::Publisher).await.unwrap();
    assert_eq!(ends(&world, &task_id).await.0.state, WebhookState::Delivered);
    world.closed(&task_id).await;
    publisher.stop().await;
    engine.stop().await;
}
