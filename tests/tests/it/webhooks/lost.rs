//! Webhooks whose run is gone: a round of housekeeping has them told, once.

use super::*;
use handoff_client::HousekeepingSettings;
use handoff_proto::{
    releases::Release,
    v1::{Completion, Decision, HandoffToTask, completion::Outcome, decision},
    wire::TaskStatus,
    workflows::{RedeliveryWorkflow, redelivery_workflow_id},
};
use handoff_store::{NewClaim, Webhook};
use handoff_tests::binary;
use tokio::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn the_command_has_a_webhook_told_whose_run_was_terminated_sqlite() {
    the_command_has_it_told(Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_has_a_webhook_told_whose_run_was_terminated_postgres() {
    the_command_has_it_told(Kind::Postgres).await;
}

async fn the_command_has_it_told(kind: Kind) {
    // Nobody tries a second time before the test is over.
    let world = world(kind, |config| config.webhooks.first_retry = Duration::from_secs(60)).await;
    let worker = started(&world).await;
    let endpoint = Endpoint::start([Say::Status(500)]).await;
    let terminated = submit(&world, REGULAR_VERB, &endpoint.url(), json!({"arm": "task"})).await;
    tried(&world, &terminated).await;
    world.run(&terminated).terminate(Default::default()).await.unwrap();
    // Beside it: a run that is still at it, one that Temporal has forgotten, and one that is past its horizon.
    let down = Endpoint::start(vec![Say::Status(500); 100]).await;
    let at_work = submit(&world, REGULAR_VERB, &down.url(), json!({"arm": "task"})).await;
    tried(&world, &at_work).await;
    let forgotten = ended_without_a_run(&world, &endpoint.url()).await;
    let late = ended_without_a_run(&world, &endpoint.url()).await;
    world.execute(&format!("UPDATE webhooks SET expires_at = 1 WHERE task_id = '{late}'")).await.unwrap();

    assert_eq!(reconcile(&world, &["--min-age", "1h"]).await, Vec::new(), "they are not old enough");
    let told = |task_id: &str, run: &str, action: &str| (task_id.to_owned(), run.to_owned(), action.to_owned());
    let mut expected = vec![
        told(&terminated, "terminated", "redelivered"),
        told(&at_work, "open", "left"),
        told(&forgotten, "missing", "redelivered"),
        told(&late, "missing", "expired"),
    ];
    expected.sort();
    assert_eq!(reconcile(&world, &["--min-age", "0s", "--dry-run"]).await, expected);
    assert_eq!((endpoint.came().len(), log(&world, &late).await.0.state), (1, WebhookState::Pending));
    // Two at once start one run.
    let (one, other) = futures::join!(reconcile(&world, &["--min-age", "0s"]), reconcile(&world, &["--min-age", "0s"]));
    for (task_id, run) in [(&terminated, "terminated"), (&forgotten, "missing")] {
        let begun = told(task_id, run, "redelivered");
        assert!(one.contains(&begun) || other.contains(&begun), "{one:?} {other:?}");
        assert_eq!(ends(&world, task_id).await.0.state, WebhookState::Delivered);
        let id = redelivery_workflow_id(task_id);
        let run = world.temporal_client.get_workflow_handle::<RedeliveryWorkflow>(id);
        assert_eq!(run.get_result(Default::default()).await.unwrap().state, "delivered");
    }
    assert_eq!(log(&world, &late).await.0.state, WebhookState::Expired);
    assert_eq!(reconcile(&world, &["--min-age", "0s"]).await, [told(&at_work, "open", "left")]);
    let of = |task_id: &String| {
        let came = endpoint.came().into_iter().filter(|delivery| delivery.json()["task_id"] == **task_id);
        came.map(|delivery| delivery.body).collect::<Vec<_>>()
    };
    let bodies = of(&terminated);
    assert_eq!((bodies.len(), &bodies[0]), (2, &bodies[1]));
    assert_eq!((of(&forgotten).len(), of(&late).len()), (1, 0));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_lost_its_run_is_ended_and_told_by_the_schedule_sqlite() {
    the_schedule_ends_and_tells(Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_lost_its_run_is_ended_and_told_by_the_schedule_postgres() {
    the_schedule_ends_and_tells(Kind::Postgres).await;
}

async fn the_schedule_ends_and_tells(kind: Kind) {
    let world = world(kind, |_| ()).await;
    let every = HousekeepingSettings {
        every: Some(Duration::from_secs(1)),
        reconcile_after: Duration::ZERO,
        ..HousekeepingSettings::default()
    };
    let worker = world.keeping_worker(every).await.unwrap();
    let endpoint = Endpoint::start([]).await;
    let task_id = submit(&world, REGULAR_VERB, &endpoint.url(), json!({"arm": "workflow"})).await;
    world.run(&task_id).terminate(Default::default()).await.unwrap();
    world.reaches(&task_id, TaskStatus::Failed).await;
    let (webhook, attempts) = ends(&world, &task_id).await;
    assert_eq!((webhook.state, classes(&attempts)), (WebhookState::Delivered, vec![""]));
    let body = endpoint.came()[0].json();
    assert_eq!((&body["status"], &body["result"]), (&json!("failed"), &polled(&world, &task_id).await["result"]));
    crate::housekeeping::remove(&world).await;
    worker.stop().await;
}

async fn tried(world: &World, task_id: &str) {
    eventually("it was tried", || async {
        let (_, attempts) = world.registry.webhook_log(task_id).await.unwrap()?;
        (!attempts.is_empty()).then_some(())
    })
    .await;
}

/// As when Temporal's data is lost.
async fn ended_without_a_run(world: &World, url: &str) -> String {
    let task_id: String = handoff_proto::TaskId::generate().into();
    let task = handoff_proto::v1::TaskRef { verb: REGULAR_VERB.into(), ..world.reference(&task_id) };
    let config = json!({"url": url, "operation_id": "op-1"});
    let claim = NewClaim {
        task: task.clone(),
        protocol: "media-buy".into(),
        idempotency_key: None,
        request_hash: String::new(),
        context_json: None,
        webhook: Some(Webhook { config_json: config.to_string(), has_secret: false }),
        proposal: None,
        release: Release::LATEST,
        sandbox: false,
    };
    world.registry.claim(&claim).await.unwrap();
    let decision = Decision { kind: Some(decision::Kind::HandoffToTask(HandoffToTask::default())) };
    world.registry.record_decision(&task, &decision).await.unwrap();
    let outcome = Some(Outcome::ResultJson(r#"{"media_buy_id":"mb"}"#.into()));
    world.registry.settle(&task, &Completion { outcome, ..Default::default() }).await.unwrap();
    task_id
}

/// What `handoff reconcile --json` says of webhooks: task, run and action.
async fn reconcile(world: &World, flags: &[&str]) -> Vec<(String, String, String)> {
    let mut command = Command::new(binary("handoff"));
    command.envs(world.environment()).args(["reconcile", "--json"]).args(flags);
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |webhook: &Value, name: &str| webhook[name].as_str().unwrap().to_owned();
    let mut webhooks: Vec<_> = told["webhooks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|webhook| (text(webhook, "task_id"), text(webhook, "run"), text(webhook, "action")))
        .collect();
    webhooks.sort();
    webhooks
}
