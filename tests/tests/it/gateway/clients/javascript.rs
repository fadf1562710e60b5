//! The protocol's own client for JavaScript, whose release of the protocol is older than ours: it is served what it can use.

use super::{Buyer, REVIEWS};
use handoff_tests::{
    Kind, World,
    front::{Acme, acme_request},
};
use serde_json::{Value, json};

/// A request without what only a buyer of our release would say.
fn request(name: &str) -> Value {
    let mut request = acme_request(name);
    let fields = request.as_object_mut().unwrap();
    fields.retain(|name, _| !["adcp_version", "time_budget"].contains(&name.as_str()));
    request
}

fn task_id(submitted: &Value) -> Value {
    assert_eq!((&submitted["success"], &submitted["status"]), (&json!(true), &json!("submitted")), "{submitted}");
    assert_eq!(submitted["submitted"]["taskId"], submitted["data"]["task_id"], "{submitted}");
    json!({"task_id": submitted["data"]["task_id"]})
}

#[tokio::test(flavor = "multi_thread")]
async fn the_protocols_javascript_client_buys_on_each_arm() {
    let world = World::new(Kind::Postgres).await.unwrap();
    let acme = Acme::new(&world).unwrap();
    let _worker = acme.worker().unwrap();
    let front = acme.gateway().await.unwrap();
    let mut buyer = Buyer::javascript(&front).await.unwrap();

    let seller = buyer.call("info", &json!({})).await;
    let tools = seller["tools"].as_array().unwrap();
    assert!(tools.iter().any(|tool| tool["name"] == "create_media_buy"), "{seller}");
    let capabilities = buyer.call("get_adcp_capabilities", &json!({})).await;
    assert_eq!(capabilities["data"]["adcp"]["supported_versions"], json!(["3.0", "3.1", "3.2"]), "{capabilities}");

    let products = buyer.call("get_products", &request("get_products.brief")).await;
    assert_eq!((&products["success"], &products["status"]), (&json!(true), &json!("completed")), "{products}");
    assert!(!products["data"]["products"].as_array().unwrap().is_empty(), "{products}");

    let at_once = buyer.call("create_media_buy", &request("create_media_buy.non_guaranteed")).await;
    assert_eq!((&at_once["success"], &at_once["status"]), (&json!(true), &json!("completed")), "{at_once}");
    let buy = &at_once["data"]["media_buy_id"];
    let account = json!({"account": request("create_media_buy.non_guaranteed")["account"]});
    let found = buyer.call("get_media_buys", &json!({"account": account["account"], "media_buy_ids": [buy]})).await;
    assert_eq!(&found["data"]["media_buys"][0]["media_buy_id"], buy, "{found}");

    for (name, review, error) in [
        ("create_media_buy.guaranteed", None, None),
        ("create_media_buy.insertion_order", Some("approve_insertion_order.json"), None),
        ("create_media_buy.insertion_order_rejected", Some("reject_insertion_order.json"), Some("TERMS_REJECTED")),
    ] {
        let poll = task_id(&buyer.call("create_media_buy", &request(name)).await);
        let tracked = buyer.call("track", &poll).await;
        assert_eq!((&tracked["taskId"], &tracked["taskType"]), (&poll["task_id"], &json!("create_media_buy")));
        if let Some(review) = review {
            let task_id = poll["task_id"].as_str().unwrap();
            acme.handoff(&["task", "complete", task_id, "--file", &format!("{REVIEWS}{review}")]).await.unwrap();
        }
        let done = buyer.call("wait", &poll).await;
        match error {
            None => {
                assert_eq!((&done["success"], &done["status"]), (&json!(true), &json!("completed")), "{done}");
                assert!(done["data"]["media_buy_id"].is_string(), "{done}");
            }
            Some(code) => {
                assert_eq!((&done["success"], &done["adcpError"]["code"]), (&json!(false), &json!(code)), "{done}");
            }
        }
        // A client that knows nothing of the call that submitted it.
        let mut another = Buyer::javascript(&front).await.unwrap();
        let found = another.call("get_task_status", &json!({"task_id": poll["task_id"], "include_result": true})).await;
        assert_eq!(found["data"]["result"]["media_buy_id"], done["data"]["media_buy_id"], "{found}");
    }
    let listed = buyer.call("list_tasks", &account).await;
    assert_eq!(listed["data"]["query_summary"]["total_matching"], 3, "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_older_client_can_not_have_it_is_told_clearly() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let acme = Acme::new(&world).unwrap();
    let _worker = acme.worker().unwrap();
    let front = acme.gateway().await.unwrap();
    let mut buyer = Buyer::javascript(&front).await.unwrap();

    let mut refused = async |tool: &str, request: Value, code: &str| {
        let told = buyer.call(tool, &request).await;
        assert_eq!((&told["success"], &told["adcpError"]["code"]), (&json!(false), &json!(code)), "{tool}: {told}");
        assert!(told["error"].as_str().is_some_and(|message| message.len() > 10), "{tool}: {told}");
        told
    };
    refused("create_media_buy", request("create_media_buy.budget_too_low"), "BUDGET_TOO_LOW").await;
    refused("get_task_status", json!({"task_id": "task_00000000000000000000000000000000"}), "REFERENCE_NOT_FOUND")
        .await;
    // A tool of its release that this seller has not, and one of ours that it does not know.
    refused("get_creative_delivery", json!({}), "UNSUPPORTED_FEATURE").await;
    refused("buy_products", json!({}), "UNSUPPORTED_FEATURE").await;
    for (name, value) in [("adcp_major_version", json!(2)), ("adcp_version", json!("2.6"))] {
        let mut of_another_version = request("create_media_buy.non_guaranteed");
        of_another_version[name] = value;
        let told = refused("create_media_buy", of_another_version, "VERSION_UNSUPPORTED").await;
        assert_eq!(told["adcpError"]["details"]["supported_versions"], json!(["3.0", "3.1", "3.2"]), "{told}");
    }
    let mut of_its_release = request("create_media_buy.non_guaranteed");
    of_its_release["adcp_version"] = json!("3.0");
    let served = buyer.call("create_media_buy", &of_its_release).await;
    assert_eq!((&served["success"], &served["status"]), (&json!(true), &json!("completed")), "{served}");
}
