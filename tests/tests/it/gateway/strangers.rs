//! What is another's looks like what nobody has: in body, status and headers, and in what it costs.

use crate::on_both_databases;
use handoff_tests::{
    Kind, World,
    answer::{Answer, tool_call},
    eventually,
    front::{AGENT, API_KEY, Acme, Front, OTHER_AGENT, OTHER_API_KEY, acme_request},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const NO_TASK: &str = "task_00000000000000000000000000000000";

/// The answer but for its marks, and how often the registry was asked for what.
async fn asked(front: &Front, api_key: &str, tool: &str, request: &Value) -> (Answer, BTreeMap<String, f64>) {
    let queries = async || front.scrape().await.by("handoff_registry_call_duration_seconds_count", "operation");
    let before = queries().await;
    let answer = Answer::to(front.post(api_key).body(tool_call(tool, request).to_string())).await;
    answer.assert_structured(tool);
    let mut cost = queries().await;
    cost.retain(|operation, count| {
        *count -= before.get(operation).copied().unwrap_or_default();
        *count > 0.0
    });
    (answer.without_marks(), cost)
}

on_both_databases! {
    async fn a_stolen_task_id_is_as_good_as_an_invented_one(world: World) {
        let acme = Acme::new(&world).unwrap();
        let _worker = acme.worker().unwrap();
        let front = acme.gateway().await.unwrap();
        let request = acme_request("create_media_buy.insertion_order");
        let open = front.call("create_media_buy", &request).await.body["task_id"].clone();
        let done = front.call("create_media_buy", &acme_request("create_media_buy.guaranteed")).await.body["task_id"].clone();
        eventually("the other is completed", || async {
            let polled = front.call("get_task_status", &json!({"task_id": done})).await;
            (polled.body["status"] == "completed").then_some(())
        })
        .await;

        // Whom the thief pretends to act for.
        let natural = json!({"brand": {"domain": "novamotors.example"}, "operator": "pinnacle.example"});
        for account in [None, Some(request["account"].clone()), Some(json!({"account_id": "acct_thief"})), Some(natural)] {
            for (tool, with) in [
                ("get_task_status", json!({"include_result": true, "include_history": true})),
                ("get_task_status", json!({})),
                ("tasks_get", json!({"include_result": true})),
                ("tasks/get", json!({"include_result": true})),
            ] {
                let poll = |task_id: &Value| {
                    let mut poll = with.clone();
                    poll["task_id"] = task_id.clone();
                    if let Some(account) = &account {
                        poll["account"] = account.clone();
                    }
                    poll
                };
                let unknown = asked(&front, OTHER_API_KEY, tool, &poll(&json!(NO_TASK))).await;
                assert_eq!(unknown.0.code().as_deref(), Some("REFERENCE_NOT_FOUND"), "{tool} {account:?}");
                assert!(!unknown.1.is_empty(), "nothing was measured");
                for stolen in [&open, &done] {
                    assert_eq!(asked(&front, OTHER_API_KEY, tool, &poll(stolen)).await, unknown, "{tool} {account:?}");
                }
            }
            let Some(account) = &account else { continue };
            let list = |task_id: &Value| json!({"account": account, "filters": {"task_ids": [task_id]}});
            let unknown = asked(&front, OTHER_API_KEY, "list_tasks", &list(&json!(NO_TASK))).await;
            assert_eq!(unknown.0.json()["result"]["structuredContent"]["query_summary"]["total_matching"], 0);
            for stolen in [&open, &done] {
                assert_eq!(asked(&front, OTHER_API_KEY, "list_tasks", &list(stolen)).await, unknown, "{account}");
            }
        }
        // Its owner has it.
        let own = front.call("get_task_status", &json!({"task_id": open})).await;
        assert_eq!(own.body["status"], "submitted", "{}", own.body);
    }

    async fn a_stolen_key_or_cursor_opens_nothing(world: World) {
        let acme = Acme::new(&world).unwrap();
        let _worker = acme.worker().unwrap();
        let front = acme.gateway().await.unwrap();
        let request = acme_request("create_media_buy.guaranteed");
        let first = front.call("create_media_buy", &request).await;
        let another = acme_request("create_media_buy.guaranteed");
        let (second, key) = (front.call("create_media_buy", &another).await, &another["idempotency_key"]);
        for submitted in [&first, &second] {
            assert_eq!(submitted.body["status"], "submitted", "{}", submitted.body);
        }

        let as_thief = front.call_as(OTHER_API_KEY, "create_media_buy", &request).await;
        assert_eq!((&as_thief.body["status"], as_thief.body.get("replayed")), (&json!("submitted"), None));
        assert_ne!(as_thief.body["task_id"], first.body["task_id"]);
        // Nor does it say that there is another request of this key.
        let mut other = acme_request("create_media_buy.insertion_order");
        other["idempotency_key"] = json!(key);
        let unlike = front.call_as(OTHER_API_KEY, "create_media_buy", &other).await;
        assert_eq!((&unlike.body["status"], unlike.body.get("replayed")), (&json!("submitted"), None), "{}", unlike.body);

        let list = json!({"account": request["account"], "pagination": {"max_results": 1}});
        let page = front.call("list_tasks", &list).await;
        let cursor = page.body["pagination"]["cursor"].as_str().expect("a next page").to_owned();
        let with = |cursor: &str| {
            let mut list = list.clone();
            list["pagination"]["cursor"] = json!(cursor);
            list
        };
        let garbage = asked(&front, OTHER_API_KEY, "list_tasks", &with("bm90IGEgY3Vyc29y")).await;
        assert!(garbage.0.code().is_some(), "{garbage:?}");
        assert_eq!(asked(&front, OTHER_API_KEY, "list_tasks", &with(&cursor)).await, garbage);
        assert!(front.call("list_tasks", &with(&cursor)).await.body["tasks"][0]["task_id"].is_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn anothers_account_is_no_account() {
    let world = World::new(Kind::Postgres).await.unwrap();
    let acme = Acme::new(&world).unwrap();
    let accounts = acme.directory().join("accounts.toml");
    let account = |id: &str, brand: &str, agent: &str| {
        format!(
            "[[account]]\nid = {id:?}\nbrand = {brand:?}\noperator = \"pinnacle.example\"\nprincipals = [{agent:?}]\n"
        )
    };
    let both =
        [account("acct_pinnacle", "novamotors.example", AGENT), account("acct_thief", "thief.example", OTHER_AGENT)];
    std::fs::write(&accounts, both.concat()).unwrap();
    let acme = acme.set("HANDOFF_ACCOUNTS_FILE", accounts.display().to_string());
    let _worker = acme.worker().unwrap();
    let front = acme.gateway().await.unwrap();
    let submitted = front.call("create_media_buy", &acme_request("create_media_buy.insertion_order")).await;
    assert_eq!(submitted.body["status"], "submitted", "{}", submitted.body);

    let by_key = |brand: &str| json!({"brand": {"domain": brand}, "operator": "pinnacle.example"});
    for (foreign, unknown) in [
        (json!({"account_id": "acct_pinnacle"}), json!({"account_id": "acct_unknown_"})),
        (by_key("novamotors.example"), by_key("unknown.example")),
    ] {
        for (tool, request, code) in [
            ("create_media_buy", acme_request("create_media_buy.insertion_order"), Some("ACCOUNT_NOT_FOUND")),
            ("update_media_buy", acme_request("update_media_buy"), Some("ACCOUNT_NOT_FOUND")),
            ("sync_creatives", acme_request("sync_creatives"), Some("ACCOUNT_NOT_FOUND")),
            ("get_products", acme_request("get_products.brief"), Some("ACCOUNT_NOT_FOUND")),
            ("get_products", acme_request("get_products.wholesale"), Some("ACCOUNT_NOT_FOUND")),
            ("get_signals", acme_request("get_signals.brief"), Some("ACCOUNT_NOT_FOUND")),
            ("get_media_buys", json!({}), Some("ACCOUNT_NOT_FOUND")),
            ("get_task_status", json!({"task_id": submitted.body["task_id"]}), Some("REFERENCE_NOT_FOUND")),
            ("list_tasks", json!({}), None),
        ] {
            let with = |account: &Value| {
                let mut request = request.clone();
                request["account"] = account.clone();
                request
            };
            let nobodys = asked(&front, OTHER_API_KEY, tool, &with(&unknown)).await;
            assert_eq!(nobodys.0.code().as_deref(), code, "{tool}: {nobodys:?}");
            assert_eq!(asked(&front, OTHER_API_KEY, tool, &with(&foreign)).await, nobodys, "{tool} {foreign}");
        }
    }
    let own = front.call_as(OTHER_API_KEY, "list_tasks", &json!({"account": {"account_id": "acct_thief"}})).await;
    assert_eq!(own.body["query_summary"]["total_matching"], 0, "{}", own.body);
    let owner = Answer::to(front.post(API_KEY).body(tool_call("list_tasks", &json!({})).to_string())).await;
    assert_eq!(owner.json()["result"]["structuredContent"]["query_summary"]["total_matching"], 1, "{}", owner.body);
}
