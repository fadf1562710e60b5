//! With workers, Temporal or the database away.

use handoff_tests::{
    Kind, World, eventually,
    front::{Acme, acme_request},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

#[tokio::test(flavor = "multi_thread")]
async fn without_workers_a_request_is_refused_for_now_and_attaches_later() {
    let world = World::new(Kind::Postgres).await.unwrap();
    let acme = Acme::new(&world).unwrap().set("HANDOFF_SYNC_DEADLINE", "1s");
    let front = acme.gateway().await.unwrap();
    let request = acme_request("create_media_buy.non_guaranteed");
    let refused = front.call("create_media_buy", &request).await;
    assert_eq!(refused.code(), "SERVICE_UNAVAILABLE");
    assert!(refused.body["errors"][0]["retry_after"].as_u64().is_some_and(|seconds| seconds > 0));
    assert_eq!(refused.body["adcp_error"]["recovery"], "transient");
    let _worker = acme.worker().unwrap();
    let answer = eventually("the same request is answered", || async {
        let told = front.call("create_media_buy", &request).await;
        (!told.is_error).then_some(told)
    })
    .await;
    assert!(answer.body["media_buy_id"].is_string(), "{}", answer.body);
    let again = front.call("create_media_buy", &request).await;
    assert_eq!(again.body["media_buy_id"], answer.body["media_buy_id"]);
    let buys = json!({"account": request["account"], "media_buy_ids": [answer.body["media_buy_id"]]});
    let found = front.call("get_media_buys", &buys).await;
    assert_eq!(found.body["media_buys"].as_array().map(Vec::len), Some(1), "{}", found.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_temporal_polls_go_on_and_new_work_is_refused() {
    let mut world = World::with_own_temporal(Kind::Sqlite).await.unwrap();
    let (task_id, request) = {
        let acme = Acme::new(&world).unwrap();
        let _worker = acme.worker().unwrap();
        let front = acme.gateway().await.unwrap();
        let request = acme_request("create_media_buy.insertion_order");
        let submitted = front.call("create_media_buy", &request).await;
        (submitted.body["task_id"].as_str().expect("a task").to_owned(), request)
    };
    world.temporal.kill().await.unwrap();
    // One that never saw the server.
    let acme = Acme::new(&world).unwrap().set("HANDOFF_SYNC_DEADLINE", "1s");
    let front = acme.gateway().await.unwrap();
    let polled = front.call("get_task_status", &json!({"task_id": task_id})).await;
    assert_eq!(polled.body["status"], "submitted", "{}", polled.body);
    let listed = front.call("list_tasks", &json!({"account": request["account"]})).await;
    assert_eq!(listed.body["query_summary"]["returned"], 1);
    let new = acme_request("create_media_buy.non_guaranteed");
    let refused = front.call("create_media_buy", &new).await;
    assert_eq!((refused.code(), &refused.body["adcp_error"]["recovery"]), ("SERVICE_UNAVAILABLE", &json!("transient")));
    let mut replay = request.clone();
    replay["context"] = json!({"again": true});
    let ready: Value = serde_json::from_str(&front.get("/readyz").send().await.unwrap().text().await.unwrap()).unwrap();
    assert_eq!(ready, json!({"status": "degraded", "missing": ["temporal", "workers"]}));
    assert!(world.unfinished().await.contains(&task_id));
    assert_eq!(world.unfinished().await.len(), 1, "nothing is claimed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_front_door_that_still_waits_for_temporal_stops_well() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let mut front = Acme::new(&world).unwrap().set("TEMPORAL_ADDRESS", address).gateway().await.unwrap();
    let _connecting = silent.accept().await.unwrap();
    assert!(front.terminate().await.unwrap().success());
}
