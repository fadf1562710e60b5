//! The protocol's own client for Python.

use super::{Buyer, REVIEWS};
use handoff_tests::{
    Kind, World, eventually,
    front::{Acme, acme_request},
};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn the_protocols_python_client_buys_on_each_arm() {
    let world = World::new(Kind::Postgres).await.unwrap();
    let acme = Acme::new(&world).unwrap();
    let _worker = acme.worker().unwrap();
    let mut front = acme.gateway().await.unwrap();
    let recorder = front.recorded().await.unwrap();
    let mut buyer = Buyer::python(&front).await.unwrap();

    let capabilities = buyer.call("get_adcp_capabilities", &json!({})).await;
    assert_eq!(capabilities["success"], true, "{capabilities}");
    let protocols = capabilities["data"]["supported_protocols"].as_array().unwrap();
    assert!(protocols.contains(&json!("media_buy")), "{capabilities}");

    let products = buyer.call("get_products", &acme_request("get_products.brief")).await;
    assert_eq!((&products["success"], &products["status"]), (&json!(true), &json!("completed")), "{products}");
    assert!(!products["data"]["products"].as_array().unwrap().is_empty(), "{products}");

    let at_once = buyer.call("create_media_buy", &acme_request("create_media_buy.non_guaranteed")).await;
    assert_eq!(at_once["success"], true, "{at_once}");
    assert!(at_once["data"]["media_buy_id"].is_string(), "{at_once}");

    let refused = buyer.call("create_media_buy", &acme_request("create_media_buy.budget_too_low")).await;
    assert_eq!((&refused["success"], &refused["adcp_error"]["code"]), (&json!(false), &json!("BUDGET_TOO_LOW")));

    for (request, review) in [
        ("create_media_buy.guaranteed", None),
        ("create_media_buy.insertion_order", Some("approve_insertion_order.json")),
    ] {
        let submitted = buyer.call("create_media_buy", &acme_request(request)).await;
        assert_eq!(submitted["data"]["status"], "submitted", "{submitted}");
        let task_id = submitted["data"]["task_id"].as_str().unwrap().to_owned();
        if let Some(review) = review {
            let file = format!("{REVIEWS}{review}");
            acme.handoff(&["task", "complete", &task_id, "--file", &file]).await.unwrap();
        }
        let buyer = tokio::sync::Mutex::new(&mut buyer);
        let done = eventually("the task is completed", || async {
            let poll = json!({"task_id": task_id, "include_result": true});
            let polled = buyer.lock().await.call("get_task_status", &poll).await;
            assert_eq!(polled["success"], true, "{polled}");
            (polled["data"]["status"] == "completed").then_some(polled)
        })
        .await;
        assert!(done["data"]["result"]["media_buy_id"].is_string(), "{done}");
    }
    let checked = recorder.assert_valid().await;
    assert_eq!((checked.unread, checked.answers), (0, checked.requests), "{checked:?}");
}
