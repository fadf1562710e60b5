//! The whole story with the protocol's own package on the buyer's side: its client buys over MCP, a reviewer decides, and its
//! receiver takes what was signed, over TLS, with the keys that the seller publishes.

use super::*;
use crate::gateway::clients::{self, REVIEWS};
use handoff_tests::front::{Acme, acme_request};

#[tokio::test(flavor = "multi_thread")]
async fn a_buy_over_mcp_is_told_to_the_protocols_own_receiver_ed25519() {
    a_buy_is_told(Algorithm::Ed25519).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buy_over_mcp_is_told_to_the_protocols_own_receiver_es256() {
    a_buy_is_told(Algorithm::Es256).await;
}

async fn a_buy_is_told(algorithm: Algorithm) {
    let directory = tempfile::tempdir().unwrap();
    let world = world(Kind::Postgres, |_| ()).await;
    let acme = Acme::new(&world)
        .unwrap()
        .set("HANDOFF_WEBHOOK_SIGNING_KEYS", pem(algorithm).expose_secret())
        .set("HANDOFF_WEBHOOK_CA_FILE", directory.path().join("ca.pem").display().to_string())
        .set("HANDOFF_PUBLIC_URL", "https://seller.example");
    let front = acme.gateway().await.unwrap();
    let jwks: Value = front.get("/.well-known/jwks.json").send().await.unwrap().json().await.unwrap();
    let mut receiver = Buyer::start(directory.path(), &jwks, None).await.unwrap();
    // It reads the receiver's authority, which is there by now.
    let _worker = acme.worker().unwrap();

    let mut buyer = clients::Buyer::python(&front).await.unwrap();
    let capabilities = buyer.call("get_adcp_capabilities", &json!({})).await;
    let signing = &capabilities["data"]["webhook_signing"];
    assert_eq!((&signing["supported"], &signing["algorithms"]), (&json!(true), &json!([algorithm.name()])));
    let mut request = acme_request("create_media_buy.insertion_order");
    request["push_notification_config"] =
        json!({"url": receiver.url(), "operation_id": "op-story", "token": "t".repeat(32)});
    let submitted = buyer.call("create_media_buy", &request).await;
    assert_eq!(submitted["data"]["status"], "submitted", "{submitted}");
    let task_id = submitted["data"]["task_id"].as_str().unwrap().to_owned();
    let review = format!("{REVIEWS}approve_insertion_order.json");
    acme.handoff(&["task", "complete", &task_id, "--file", &review]).await.unwrap();

    let came = receiver.next().await.unwrap();
    assert_eq!(
        (&came["status"], &came["fresh"], &came["rejected"]),
        (&json!(200), &json!(true), &Value::Null),
        "{came}"
    );
    assert_eq!(came["sender"], jwks["keys"][0]["kid"]);
    let body: Value = serde_json::from_str(came["body"].as_str().unwrap()).unwrap();
    assert_eq!((&body["task_id"], &body["status"]), (&json!(task_id), &json!("completed")));
    assert_eq!((&body["operation_id"], &body["token"]), (&json!("op-story"), &json!("t".repeat(32))));
    let poll = json!({"task_id": task_id, "include_result": true});
    assert_eq!(body["result"], front.call("get_task_status", &poll).await.body["result"]);
    let client_polled = buyer.call("get_task_status", &poll).await;
    assert_eq!(client_polled["data"]["result"]["media_buy_id"], body["result"]["media_buy_id"], "{client_polled}");

    // Once more by hand: the same delivery, which the receiver knows.
    acme.handoff(&["webhook", "redeliver", &task_id]).await.unwrap();
    let again = receiver.next().await.unwrap();
    assert_eq!((&again["status"], &again["fresh"], &again["body"]), (&json!(200), &json!(false), &came["body"]));
    let shown = eventually("it is delivered again", || async {
        let shown = acme.handoff(&["webhook", "show", &task_id]).await.unwrap();
        (shown["state"] == "delivered" && shown["attempts"] == 2).then_some(shown)
    })
    .await;
    assert!(!shown.to_string().contains("key=value") && shown["log"].as_array().unwrap().len() == 2, "{shown}");
    // Asked again, the buyer is answered as before, and nobody is told anything.
    let replayed = buyer.call("create_media_buy", &request).await;
    assert_eq!(replayed["data"]["task_id"], json!(task_id), "{replayed}");
    let shown = acme.handoff(&["webhook", "show", &task_id]).await.unwrap();
    assert_eq!(shown["attempts"], 2);
}
