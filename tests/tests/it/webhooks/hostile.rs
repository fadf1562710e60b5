//! Receivers that do harm, or nothing: attempts stay short, and the delivery arrives all the same.

use super::{
    rude::{Manner, Rude},
    *,
};
use std::time::Instant;

// Long enough that where the machine stands still the other answers are not missed.
const TIMEOUT: Duration = Duration::from_secs(3);
// A busy machine is slow to notice that the time is up.
const AT_MOST: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_resets_drips_or_floods_gets_the_same_again() {
    let world = world(Kind::Sqlite, |config| config.webhooks.timeout = TIMEOUT).await;
    let worker = started(&world).await;
    for (manner, expected) in [
        (Manner::Reset, &["connection_lost", ""][..]),
        (Manner::DripHead, &["timeout", ""]),
        // What a success says beside its status is nobody's business.
        (Manner::DripBody, &[""]),
        (Manner::Flood, &[""]),
    ] {
        let endpoint = Rude::start([manner]).await;
        let task_id = submit(&world, REGULAR_VERB, &endpoint.url(), json!({"arm": "task"})).await;
        let (webhook, attempts) = ends(&world, &task_id).await;
        assert_eq!((webhook.state, classes(&attempts)), (WebhookState::Delivered, expected.to_vec()), "{manner:?}");
        for attempt in &attempts {
            assert!(attempt.duration < AT_MOST, "{manner:?}: {attempt:?}");
        }
        let came = endpoint.came();
        assert_eq!(came.len(), expected.len(), "{manner:?}");
        assert!(came.iter().all(|body| *body == came[0]), "{manner:?}");
        world.closed(&task_id).await;
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_a_failure_like_others_and_nothing_is_sent_there() {
    let world = world(Kind::Sqlite, |_| ()).await;
    let worker = started(&world).await;
    let elsewhere = Endpoint::on(0, []).await;
    let location: &'static str = Box::leak(elsewhere.url().into_boxed_str());
    let headers: &'static [(&str, &str)] = Box::leak(Box::new([("location", location)]));
    let endpoint = Endpoint::start([Say::With(301, headers)]).await;
    let task_id = submit(&world, REGULAR_VERB, &endpoint.url(), json!({"arm": "task"})).await;
    let (webhook, attempts) = ends(&world, &task_id).await;
    assert_eq!((webhook.state, classes(&attempts)), (WebhookState::Delivered, vec!["redirect", ""]));
    assert_eq!((endpoint.came().len(), elsewhere.came().len()), (2, 0));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_receiver_is_logged_but_what_became_of_it() {
    let world = world(Kind::Sqlite, |_| ()).await;
    let SigningSource::Pem(keys) = &world.config().webhooks.signing else { panic!() };
    let environment = [
        ("HANDOFF_WEBHOOK_SIGNING_KEYS", keys.expose_secret()),
        ("HANDOFF_WEBHOOK_FIRST_RETRY", "50ms"),
        ("HANDOFF_LOG", "info,handoff=trace"),
    ];
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("log");
    let mut worker = world.logging_worker_process(&environment, &file).unwrap();
    let endpoint = Endpoint::start([Say::Status(500)]).await;
    let mut request = registered(&endpoint.url(), json!({"arm": "task"}));
    let secret = "MARK-credentials".repeat(3);
    request["push_notification_config"]["authentication"] = json!({"schemes": ["Bearer"], "credentials": secret});
    let task_id = world.send(REGULAR_VERB, &request).await.unwrap().task_id;
    assert_eq!(ends(&world, &task_id).await.0.state, WebhookState::Delivered);
    world.closed(&task_id).await;
    worker.terminate().await.unwrap();
    let log = std::fs::read_to_string(file).unwrap();
    assert!(log.contains("a webhook") && log.contains(&task_id), "{log}");
    let port = format!(":{}", endpoint.port());
    for never in ["MARK-answer", "key=value", "MARK-credentials", &"t".repeat(16), &port] {
        assert!(!log.contains(never), "{never}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_endpoint_does_not_delay_the_others() {
    let world = world(Kind::Sqlite, |config| config.webhooks.timeout = Duration::from_secs(20)).await;
    // Not waited for in the end: it finishes what is under way.
    let _worker = started(&world).await;
    let dead = Endpoint::start(vec![Say::Hang; 1_000]).await;
    let url = dead.url();
    // At once, so that the first attempts are not over before the other endpoint is told.
    let submits = (0..40).map(|_| submit(&world, REGULAR_VERB, &url, json!({"arm": "task"})));
    let waiting = futures::future::join_all(submits).await;
    eventually("as many are under way as may be", || async { (dead.came().len() >= 16).then_some(()) }).await;
    let alive = Endpoint::start([]).await;
    let begun = Instant::now();
    let task_id = submit(&world, REGULAR_VERB, &alive.url(), json!({"arm": "task"})).await;
    let (webhook, attempts) = ends(&world, &task_id).await;
    assert_eq!((webhook.state, classes(&attempts)), (WebhookState::Delivered, vec![""]));
    let took = begun.elapsed();
    // An attempt at the dead one takes twenty.
    assert!(took < Duration::from_secs(16), "{took:?}");
    for task_id in &waiting {
        assert_eq!(log(&world, task_id).await.0.state, WebhookState::Pending);
    }
}
