//! A receiver that polls as soon as it is told.

use super::*;
use axum::{Router, body::Bytes, extract::State, http::StatusCode};
use futures::{StreamExt, stream};
use handoff_client::{Tasks, Viewer};
use handoff_proto::{v1::Completion, wire::AdcpError};
use handoff_tests::{PRINCIPAL, SCOPE, decision};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};
use tokio::net::TcpListener;

/// How many tasks are told. 1,000 take some minutes where the processor is shared.
const TOLD: &str = "HANDOFF_TEST_WEBHOOKS";
const TOLD_UNLESS_SAID: usize = 200;
const AT_ONCE: usize = 16;
const PATIENCE: Duration = Duration::from_secs(600);

/// A buyer: what it was told by key, and where a poll said otherwise.
#[derive(Clone)]
struct Buyer {
    tasks: Tasks,
    told: Arc<Mutex<BTreeMap<String, Bytes>>>,
    wrong: Arc<Mutex<Vec<String>>>,
}

impl Buyer {
    async fn poll(&self, told: &Value) -> Value {
        let viewer = Viewer::Buyer { scope: SCOPE.into(), principal: PRINCIPAL.into() };
        let task_id = told["task_id"].as_str().unwrap_or_default().to_owned();
        let poll = GetTaskStatusRequest { task_id, include_result: true, ..Default::default() };
        self.tasks.get_task_status(&viewer, &poll).await.expect("its own task")
    }
}

async fn take(State(buyer): State<Buyer>, body: Bytes) -> StatusCode {
    let told: Value = serde_json::from_slice(&body).expect("JSON");
    let poll = buyer.poll(&told).await;
    for (said, polled) in [
        ("status", "status"),
        ("result", "result"),
        ("task_type", "task_type"),
        ("protocol", "protocol"),
        ("timestamp", "completed_at"),
    ] {
        if told.get(said) != poll.get(polled) {
            buyer.wrong.lock().unwrap().push(format!("{said} of {told}, but {poll}"));
        }
    }
    let key = told["idempotency_key"].as_str().unwrap_or_default().to_owned();
    match buyer.told.lock().unwrap().insert(key, body.clone()) {
        // Every fifth is told again.
        None if told["task_id"].as_str().is_some_and(|id| id.bytes().map(u32::from).sum::<u32>() % 5 == 0) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Some(before) if before != body => {
            buyer.wrong.lock().unwrap().push(format!("another body: {told}"));
            StatusCode::CONFLICT
        }
        _ => StatusCode::OK,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_after_a_webhook_always_agrees() {
    let world = world(Kind::Postgres, |_| ()).await;
    let worker = started(&world).await;
    let number = std::env::var(TOLD).ok().map_or(TOLD_UNLESS_SAID, |number| number.parse().expect("a number"));
    let buyer = Buyer { tasks: Tasks::new(world.registry.clone()), told: Arc::default(), wrong: Arc::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://127.0.0.1:{}/hook", listener.local_addr().unwrap().port());
    let router = Router::new().fallback(take).with_state(buyer.clone());
    let serving = tokio::spawn(async move { drop(axum::serve(listener, router).await) });
    let lives = stream::iter(0..number).map(|number| live(&world, &url, number));
    let tasks: Vec<String> = lives.buffer_unordered(AT_ONCE).collect().await;
    eventually_within(PATIENCE, "each is told", || async {
        (buyer.told.lock().unwrap().len() >= number).then_some(())
    })
    .await;
    let mut statuses: BTreeMap<String, usize> = BTreeMap::new();
    for task_id in &tasks {
        let (webhook, _) = ends(&world, task_id).await;
        assert_eq!(webhook.state, WebhookState::Delivered);
        *statuses.entry(world.task(task_id).await.unwrap().status).or_default() += 1;
    }
    let wrong = buyer.wrong.lock().unwrap().clone();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!((buyer.told.lock().unwrap().len(), tasks.len()), (number, number), "one key a task");
    println!("{number} told: {statuses:?}");
    assert_eq!(statuses.keys().collect::<Vec<_>>(), ["canceled", "completed", "failed", "rejected"]);
    serving.abort();
    worker.stop().await;
}

/// A task that ends in one of the ways there are.
async fn live(world: &World, url: &str, number: usize) -> String {
    let result = json!({"media_buy_id": format!("mb_{number}"), "price": 1.10, "note": "ä".repeat(number % 50)});
    let (lab, decision): (Value, Option<Completion>) = match number % 7 {
        0 => (json!({"arm": "task", "steps": 1}), None),
        1 => (json!({"arm": "task", "fails": 9}), None),
        2 => (json!({"arm": "workflow", "deadline_ms": 100}), None),
        3 => (json!({"arm": "workflow"}), Some(decision::complete(&result))),
        4 => (json!({"arm": "workflow"}), Some(decision::complete(&json!({"status": "rejected", "reason": "no"})))),
        5 => (json!({"arm": "workflow"}), Some(decision::fail(AdcpError::terminal("POLICY_VIOLATION", "no")))),
        _ => (json!({"arm": "workflow"}), Some(decision::cancel())),
    };
    let verb = LAB_VERBS[number % LAB_VERBS.len()];
    let task_id = submit(world, verb, url, lab).await;
    if let Some(decision) = decision {
        world.handoff.resolve(&Viewer::Operator, &task_id, decision).await.unwrap();
    }
    task_id
}
