//! Webhooks that arrive: what is sent, when, how often, and what is never reached.

mod agreement;
mod command;
mod endpoint;
mod hostile;
mod lost;
mod outages;
mod progress;
mod releases;
mod rude;
mod story;

use endpoint::Buyer;
pub(crate) use endpoint::{Endpoint, Say};
use handoff_client::{
    CallError, Config, SigningSource,
    codec::{Key, KeySource},
};
use handoff_proto::wire::{GetTaskStatusRequest, TaskStatus, task_status_body};
use handoff_store::{WebhookAttempt, WebhookRecord, WebhookState};
use handoff_tests::{InProcessWorker, Kind, Schemas, World, eventually, eventually_within, fresh_key, lab::LAB_VERBS};
use handoff_webhooks::{
    OperationIdPolicy,
    keys::{Algorithm, LocalKey, SigningKeys, jwks_document},
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use std::time::Duration;

const REGULAR_VERB: &str = "create_media_buy";
const FIRST_RETRY: Duration = Duration::from_millis(50);

fn pem(algorithm: Algorithm) -> SecretString {
    LocalKey::generate_pem(algorithm).unwrap()
}

fn configure(config: &mut Config) {
    config.encryption = KeySource::Text(Key::generate("k").unwrap());
    config.webhooks.signing = SigningSource::Pem(pem(Algorithm::Ed25519));
    config.webhooks.first_retry = FIRST_RETRY;
}

async fn world(kind: Kind, more: impl FnOnce(&mut Config)) -> World {
    let configured = World::configured(kind, |config| {
        configure(config);
        more(config);
    });
    configured.await.unwrap()
}

/// What is not delivered at once is given up: the first pause would outlast the horizon, which is longer than a busy
/// machine needs for the first attempt.
fn impatient(config: &mut Config) {
    config.webhooks.horizon = Duration::from_secs(30);
    config.webhooks.first_retry = Duration::from_secs(60);
}

fn registered(url: &str, lab: Value) -> Value {
    let mut request = handoff_tests::request(&fresh_key(), lab);
    request["push_notification_config"] = json!({"url": url, "operation_id": "op-1", "token": "t".repeat(16)});
    request
}

async fn submit(world: &World, verb: &str, url: &str, lab: Value) -> String {
    world.submitted(verb, &registered(url, lab)).await
}

async fn log(world: &World, task_id: &str) -> (WebhookRecord, Vec<WebhookAttempt>) {
    world.registry.webhook_log(task_id).await.unwrap().unwrap()
}

async fn ends(world: &World, task_id: &str) -> (WebhookRecord, Vec<WebhookAttempt>) {
    eventually("the webhook comes to an end", || async {
        let (webhook, attempts) = world.registry.webhook_log(task_id).await.unwrap()?;
        (webhook.state != WebhookState::Pending).then_some((webhook, attempts))
    })
    .await
}

fn classes(attempts: &[WebhookAttempt]) -> Vec<&str> {
    attempts.iter().map(|attempt| attempt.error_class.as_deref().unwrap_or("")).collect()
}

async fn polled(world: &World, task_id: &str) -> Value {
    let poll = GetTaskStatusRequest { task_id: task_id.into(), include_result: true, ..Default::default() };
    task_status_body(&world.task(task_id).await.unwrap(), &poll)
}

async fn started(world: &World) -> InProcessWorker {
    world.worker().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_end_is_told_once_as_a_poll_says_it_sqlite() {
    every_end_is_told_once(Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_end_is_told_once_as_a_poll_says_it_postgres() {
    every_end_is_told_once(Kind::Postgres).await;
}

async fn every_end_is_told_once(kind: Kind) {
    let world = world(kind, |_| ()).await;
    let worker = started(&world).await;
    let endpoint = Endpoint::start([]).await;
    let url = endpoint.url();
    // Answered at once, and refused: nothing is sent, then or later.
    let at_once = world.send(REGULAR_VERB, &registered(&url, json!({"arm": "complete"}))).await.unwrap();
    assert!(world.send(REGULAR_VERB, &registered(&url, json!({"arm": "refuse"}))).await.is_err());
    let mut told = Vec::new();
    for verb in LAB_VERBS {
        told.push((submit(&world, verb, &url, json!({"arm": "task"})).await, TaskStatus::Completed));
        told.push((submit(&world, verb, &url, json!({"arm": "task", "fails": 9})).await, TaskStatus::Failed));
        let deadline = json!({"arm": "workflow", "deadline_ms": 200});
        told.push((submit(&world, verb, &url, deadline).await, TaskStatus::Failed));
    }
    let replayed = registered(&url, json!({"arm": "task"}));
    let first = world.send(REGULAR_VERB, &replayed).await.unwrap();
    told.push((first.task_id.clone(), TaskStatus::Completed));
    for (task_id, status) in &told {
        world.reaches(task_id, *status).await;
        world.closed(task_id).await;
        let (webhook, attempts) = log(&world, task_id).await;
        assert_eq!((webhook.state, classes(&attempts)), (WebhookState::Delivered, vec![""]));
    }
    assert!(world.send(REGULAR_VERB, &replayed).await.unwrap().replayed);
    assert_eq!(world.registry.webhook_log(&at_once.task_id).await.unwrap(), None);
    let came = endpoint.came();
    assert_eq!(came.len(), told.len());
    let schemas = Schemas::find().expect("the protocol's schemas");
    for (task_id, status) in &told {
        let body = came.iter().map(endpoint::Delivery::json).find(|body| body["task_id"] == **task_id).unwrap();
        let poll = polled(&world, task_id).await;
        assert_eq!((&body["status"], &body["result"]), (&json!(status.as_str()), &poll["result"]));
        assert_eq!((&body["task_type"], &body["protocol"]), (&poll["task_type"], &poll["protocol"]));
        assert_eq!((&body["operation_id"], &body["token"]), (&json!("op-1"), &json!("t".repeat(16))));
        assert_eq!(body["context"], body["result"]["context"]);
        schemas.check("core/mcp-webhook-payload.json", &body);
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_buyer_has_no_operation_id_the_task_may_stand_in() {
    let world = world(Kind::Sqlite, |config| config.webhooks.operation_id = OperationIdPolicy::Assigned).await;
    let worker = started(&world).await;
    let endpoint = Endpoint::start([]).await;
    for (named, key) in [(false, fresh_key()), (true, fresh_key())] {
        let mut request = handoff_tests::request(&key, json!({"arm": "task"}));
        request["push_notification_config"] = json!({"url": endpoint.url()});
        if named {
            request["push_notification_config"]["operation_id"] = json!("op-1");
        }
        let task_id = world.send(REGULAR_VERB, &request).await.unwrap().task_id;
        ends(&world, &task_id).await;
        let body = endpoint.came().pop().unwrap().json();
        assert_eq!(body["operation_id"], if named { json!("op-1") } else { json!(task_id) });
        assert_eq!(world.send(REGULAR_VERB, &request).await.unwrap().task_id, task_id, "the same request still");
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_adds_at_most_six_events() {
    let world = world(Kind::Sqlite, |_| ()).await.of_lasting_workers();
    let worker = started(&world).await;
    for lab in
        [json!({"arm": "task"}), json!({"arm": "task", "fails": 9}), json!({"arm": "workflow", "deadline_ms": 1_500})]
    {
        let mut chances = 2;
        loop {
            let endpoint = Endpoint::start([Say::Status(500), Say::Status(503)]).await;
            let without = world.submit(REGULAR_VERB, lab.clone()).await;
            let with = submit(&world, REGULAR_VERB, &endpoint.url(), lab.clone()).await;
            let (without, with) = (world.closed(&without).await, world.closed(&with).await);
            assert_eq!(endpoint.came().len(), 3);
            assert!(with.contains(&"ACTIVITY_TASK_SCHEDULED".to_owned()), "{lab}");
            chances -= 1;
            // Its activity is three, and so is the workflow task that hears of its end.
            if with.len() <= without.len() + 6 {
                break;
            }
            // What a machine that stands still does not do in time is done another way, which has other events: once.
            assert!(chances > 0, "{lab}: {with:?} {without:?}");
        }
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_tried_again_with_the_same_bytes_and_a_fresh_signature() {
    // Long enough that where the machine stands still the other answers are not missed.
    let world = world(Kind::Postgres, |config| config.webhooks.timeout = Duration::from_secs(3)).await;
    let worker = started(&world).await;
    let plan = [Say::Status(500), Say::With(503, &[("retry-after", "0")]), Say::Hang, Say::Status(404), Say::Huge];
    let endpoint = Endpoint::start(plan).await;
    let task_id = submit(&world, REGULAR_VERB, &endpoint.url(), json!({"arm": "task"})).await;
    let (webhook, attempts) = ends(&world, &task_id).await;
    assert_eq!(webhook.state, WebhookState::Delivered);
    assert_eq!(classes(&attempts), ["status", "status", "timeout", "status", ""]);
    let statuses: Vec<_> = attempts.iter().map(|attempt| attempt.status).collect();
    assert_eq!(statuses, [Some(500), Some(503), None, Some(404), Some(200)]);
    let came = endpoint.came();
    assert_eq!(came.len(), 5);
    assert!(came.iter().all(|delivery| delivery.body == came[0].body));
    let signatures: std::collections::BTreeSet<_> = came.iter().map(|one| one.header("signature")).collect();
    assert_eq!(signatures.len(), 5, "each attempt has a nonce of its own");
    world.closed(&task_id).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_wants_no_more_gets_no_more_and_redirects_lead_nowhere() {
    let world = world(Kind::Sqlite, impatient).await;
    let worker = started(&world).await;
    let refusal = &[("www-authenticate", "Signature error=\"webhook_signature_invalid\"")];
    for (say, class) in [(Say::Status(409), "conflict"), (Say::With(401, refusal), "signature_refused")] {
        let endpoint = Endpoint::start([say]).await;
        let task_id = submit(&world, REGULAR_VERB, &endpoint.url(), json!({"arm": "task"})).await;
        let (webhook, attempts) = ends(&world, &task_id).await;
        assert_eq!((webhook.state, classes(&attempts)), (WebhookState::Stopped, vec![class]));
        world.closed(&task_id).await;
        assert_eq!(endpoint.came().len(), 1);
    }
    // Elsewhere is never asked, and the delivery is given up.
    let endpoint = Endpoint::start(vec![Say::With(307, &[("location", "http://127.0.0.1:1/elsewhere")]); 100]).await;
    let task_id = submit(&world, REGULAR_VERB, &endpoint.url(), json!({"arm": "task"})).await;
    let (webhook, attempts) = ends(&world, &task_id).await;
    assert_eq!(webhook.state, WebhookState::Expired);
    assert!(!attempts.is_empty() && classes(&attempts).iter().all(|class| *class == "redirect"));
    world.closed(&task_id).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_private_is_not_reached() {
    let world = world(Kind::Sqlite, |config| {
        config.webhooks.allowed = Some(Default::default());
        impatient(config);
    })
    .await;
    let worker = started(&world).await;
    let endpoint = Endpoint::start([]).await;
    for host in ["127.0.0.1", "2130706433", "0x7f.1", "0177.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "10.0.0.1"] {
        let url = format!("http://{host}:{}/hook", endpoint.port());
        let refused = world.send(REGULAR_VERB, &registered(&url, json!({"arm": "task"}))).await;
        let Err(CallError::Refused(error)) = refused else { panic!("{host}: {refused:?}") };
        assert_eq!(error.field.as_deref(), Some("push_notification_config.url"), "{host}");
    }
    // A name that leads to a private address is found out when it is resolved.
    let url = format!("http://localhost:{}/hook", endpoint.port());
    let task_id = submit(&world, REGULAR_VERB, &url, json!({"arm": "task"})).await;
    let (webhook, attempts) = ends(&world, &task_id).await;
    assert_eq!(webhook.state, WebhookState::Expired);
    assert!(!attempts.is_empty() && classes(&attempts).iter().all(|class| *class == "address_refused"));
    assert!(endpoint.came().is_empty());
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_down_is_waited_for() {
    let world = world(Kind::Sqlite, |_| ()).await;
    let worker = started(&world).await;
    let endpoint = Endpoint::start([]).await;
    let (url, port) = (endpoint.url(), endpoint.port());
    drop(endpoint);
    let task_id = submit(&world, REGULAR_VERB, &url, json!({"arm": "task"})).await;
    eventually("some attempts failed", || async {
        let (_, attempts) = world.registry.webhook_log(&task_id).await.unwrap()?;
        (attempts.len() >= 2).then_some(())
    })
    .await;
    let endpoint = Endpoint::on(port, []).await;
    let (webhook, attempts) = ends(&world, &task_id).await;
    assert_eq!((webhook.state, classes(&attempts)[0]), (WebhookState::Delivered, "connect"));
    assert_eq!(endpoint.came().len(), 1);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_after_sending_sends_the_same_bytes_again() {
    let world = world(Kind::Postgres, |_| ()).await;
    let SigningSource::Pem(keys) = &world.config().webhooks.signing else { panic!() };
    let endpoint = Endpoint::start([]).await;
    let environment = [("HANDOFF_WEBHOOK_SIGNING_KEYS", keys.expose_secret()), ("LAB_FAULT", "before:record_webhook")];
    let mut doomed = world.worker_process_with(&environment).unwrap();
    let task_id = submit(&world, REGULAR_VERB, &endpoint.url(), json!({"arm": "task"})).await;
    assert!(!doomed.wait().await.unwrap().success());
    assert_eq!((endpoint.came().len(), log(&world, &task_id).await.1.len()), (1, 0));
    let _successor = world.worker_process_with(&environment[..1]).unwrap();
    eventually_within(Duration::from_secs(120), "it is sent again", || async {
        (log(&world, &task_id).await.0.state == WebhookState::Delivered).then_some(())
    })
    .await;
    let came = endpoint.came();
    assert_eq!((came.len(), &came[0].body), (2, &came[1].body));
    world.closed(&task_id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_protocols_own_receiver_takes_what_is_signed() {
    let directory = tempfile::tempdir().unwrap();
    for algorithm in Algorithm::ALL {
        let keys = pem(algorithm);
        let published = SigningKeys::from_pem(&keys).unwrap();
        let mut buyer = Buyer::start(directory.path(), &jwks_document(published.published()), None).await.unwrap();
        let world = world(Kind::Sqlite, |config| {
            config.webhooks.signing = SigningSource::Pem(keys);
            config.webhooks.roots = Some(directory.path().join("ca.pem"));
        })
        .await;
        let worker = started(&world).await;
        let task_id = submit(&world, REGULAR_VERB, &buyer.url(), json!({"arm": "task"})).await;
        let came = buyer.next().await.unwrap();
        assert_eq!((&came["status"], &came["fresh"], &came["rejected"]), (&json!(200), &json!(true), &Value::Null));
        assert_eq!(came["sender"], json!(published.signer().public_key().kid));
        let body: Value = serde_json::from_str(came["body"].as_str().unwrap()).unwrap();
        assert_eq!((&body["task_id"], &body["result"]), (&json!(task_id), &polled(&world, &task_id).await["result"]));
        assert_eq!(ends(&world, &task_id).await.0.state, WebhookState::Delivered);
        world.closed(&task_id).await;
        // Told once more it is the same delivery, and the receiver knows it.
        world.handoff.redeliver_webhook(&task_id).await.unwrap();
        let again = buyer.next().await.unwrap();
        assert_eq!((&again["status"], &again["fresh"], &again["body"]), (&json!(200), &json!(false), &came["body"]));
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn older_ways_to_authenticate_are_honoured_and_an_unknown_authority_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let secret = "s".repeat(32);
    let mut buyer = Buyer::start(directory.path(), &jwks_document(&[]), Some(&secret)).await.unwrap();
    let world = world(Kind::Sqlite, |config| config.webhooks.roots = Some(directory.path().join("ca.pem"))).await;
    let worker = started(&world).await;
    let mut request = registered(&buyer.url(), json!({"arm": "task"}));
    let authentication = |scheme: &str| json!({"schemes": [scheme], "credentials": secret});
    request["push_notification_config"]["authentication"] = authentication("HMAC-SHA256");
    let task_id = world.send(REGULAR_VERB, &request).await.unwrap().task_id;
    let came = buyer.next().await.unwrap();
    assert_eq!((&came["status"], &came["sender"]), (&json!(200), &json!("seller")), "{came}");
    assert_eq!(ends(&world, &task_id).await.0.state, WebhookState::Delivered);
    let endpoint = Endpoint::start([]).await;
    let mut request = registered(&endpoint.url(), json!({"arm": "task"}));
    request["push_notification_config"]["authentication"] = authentication("Bearer");
    let task_id = world.send(REGULAR_VERB, &request).await.unwrap().task_id;
    assert_eq!(ends(&world, &task_id).await.0.state, WebhookState::Delivered);
    let came = endpoint.came();
    assert_eq!(came[0].header("authorization"), format!("Bearer {secret}"));
    assert!(came[0].headers.get("signature").is_none() && !came[0].json().to_string().contains(&secret));
    worker.stop().await;
    // Its certificate is nobody's that this worker trusts.
    let world = self::world(Kind::Sqlite, impatient).await;
    let worker = started(&world).await;
    let task_id = submit(&world, REGULAR_VERB, &buyer.url(), json!({"arm": "task"})).await;
    let (webhook, attempts) = ends(&world, &task_id).await;
    assert_eq!((webhook.state, classes(&attempts)[0]), (WebhookState::Expired, "tls"));
    worker.stop().await;
}
