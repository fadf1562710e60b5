//! A buy through the door, from the list of tools to the end of its task.

use crate::on_both_databases;
use handoff_tests::{
    eventually,
    front::{API_KEY, Acme, OTHER_API_KEY, acme_request},
};
use serde_json::json;

on_both_databases! {
    async fn a_buy_is_submitted_polled_and_completed(world: World) {
        let acme = Acme::new(&world).unwrap();
        let _worker = acme.worker().unwrap();
        let front = acme.gateway().await.unwrap();

        let tools = front.rpc("tools/list", json!({})).await["result"]["tools"].clone();
        let names: Vec<&str> = tools.as_array().unwrap().iter().filter_map(|tool| tool["name"].as_str()).collect();
        for name in ["create_media_buy", "get_products", "get_task_status", "list_tasks", "get_adcp_capabilities"] {
            assert!(names.contains(&name), "{names:?}");
        }

        let request = acme_request("create_media_buy.insertion_order");
        let submitted = front.call("create_media_buy", &request).await;
        assert!(!submitted.is_error, "{}", submitted.body);
        assert_eq!(submitted.body["status"], "submitted");
        assert_eq!(submitted.body["context"], request["context"]);
        let task_id = submitted.body["task_id"].as_str().unwrap();

        let mut again = request.clone();
        again["context"] = json!({"mine": 2});
        let replayed = front.call("create_media_buy", &again).await;
        assert_eq!((&replayed.body["task_id"], &replayed.body["replayed"]), (&json!(task_id), &json!(true)));
        assert_eq!(replayed.body["context"], json!({"mine": 2}));

        for poll in [
            json!({"task_id": task_id, "context": {"poll": 1}}),
            json!({"task_id": task_id, "account": request["account"], "context": {"poll": 1}}),
        ] {
            for name in ["get_task_status", "tasks_get", "tasks/get"] {
                let polled = front.call(name, &poll).await;
                assert_eq!((&polled.body["status"], polled.is_error), (&json!("submitted"), false), "{}", polled.body);
                assert_eq!(polled.body["context"], json!({"poll": 1}));
            }
        }
        let listed = front.call("tasks/list", &json!({"account": request["account"]})).await;
        assert_eq!(listed.body["query_summary"]["total_matching"], 1, "{}", listed.body);

        let foreign = front.call_as(OTHER_API_KEY, "get_task_status", &json!({"task_id": task_id})).await;
        assert_eq!(foreign.code(), "REFERENCE_NOT_FOUND");

        let url = front.url();
        let polled = acme.handoff(&["buyer", "poll", task_id, "--seller", &url, "--api-key", API_KEY]).await.unwrap();
        assert_eq!((&polled["task_id"], &polled["status"]), (&json!(task_id), &json!("submitted")), "{polled}");

        let review = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/acme-seller/reviews/approve_insertion_order.json");
        acme.handoff(&["task", "complete", task_id, "--file", review, "--reason", "signed"]).await.unwrap();
        let done = eventually("the task is completed", || async {
            let poll = json!({"task_id": task_id, "include_result": true});
            let told = front.call("get_task_status", &poll).await;
            (told.body["status"] == "completed").then_some(told)
        })
        .await;
        assert!(done.body["result"]["media_buy_id"].is_string(), "{}", done.body);
        assert_eq!(done.body["result"]["context"], request["context"]);

        let log = front.log.lock().unwrap().clone();
        assert!(log.contains("create_media_buy") && !log.contains(API_KEY), "{log}");
    }
}
