//! Every tool, one wrong step away from a good request: whatever it is, its sender is told what is wrong, in the protocol's words.

use futures::{StreamExt, stream};
use handoff_tests::{
    Kind, World,
    answer::{Answer, tool_call},
    fresh_key,
    front::{API_KEY, Acme, Front, acme_examples, acme_request},
    fuzz,
};
use serde_json::{Value, json};

const AT_ONCE: usize = 8;
const KEY: &str = "/idempotency_key";

/// A good request of each tool that is served, and of each kind that Acme knows.
fn good_requests() -> Vec<(String, Value)> {
    let account = json!({"account_id": "acct_pinnacle"});
    let mut good: Vec<(String, Value)> = acme_examples()
        .into_iter()
        // What they ask of the sandbox's handlers is to fail.
        .filter(|name| !name.ends_with("crash") && !name.ends_with("flaky"))
        .map(|name| (name.split('.').next().unwrap_or_default().to_owned(), acme_request(&name)))
        .collect();
    for (tool, request) in [
        ("get_adcp_capabilities", json!({"protocols": ["media_buy"]})),
        ("get_media_buys", json!({"account": account, "media_buy_ids": ["mb_1"], "pagination": {"max_results": 5}})),
        (
            "provide_performance_feedback",
            json!({"account": account, "media_buy_id": "mb_1", "performance_index": 1.5, "idempotency_key": fresh_key(),
                "measurement_period": {"start": "2027-03-01T00:00:00Z", "end": "2027-03-31T00:00:00Z"}}),
        ),
        (
            "get_media_buy_delivery",
            json!({"account": account, "media_buy_ids": ["mb_1"], "start_date": "2027-03-01", "end_date": "2027-03-31"}),
        ),
        (
            "sync_accounts",
            json!({"idempotency_key": fresh_key(), "accounts": [{"brand": {"domain": "acmeoutdoor.example"},
                "operator": "pinnacle-agency.example", "billing": "operator"}]}),
        ),
        (
            "sync_governance",
            json!({"idempotency_key": fresh_key(), "accounts": [{"account": account, "governance_agents": [{
                "url": "https://localhost:1/mcp",
                "authentication": {"schemes": ["Bearer"], "credentials": "credentials-of-thirty-two-and-more"}}]}]}),
        ),
        ("list_accounts", json!({"pagination": {"max_results": 5}})),
        (
            "list_creatives",
            json!({"account": account, "filters": {"creative_ids": ["c_1"]}, "pagination": {"max_results": 5}}),
        ),
        ("list_creative_formats", json!({"pagination": {"max_results": 5}})),
        (
            "activate_signal",
            json!({"account": account, "idempotency_key": fresh_key(), "signal_agent_segment_id": "s_1", "action": "activate",
                "destinations": [{"type": "platform", "platform": "dsp.example", "account": "seat_1"}]}),
        ),
        (
            "list_tasks",
            json!({"account": account, "filters": {"statuses": ["submitted"], "task_ids": ["task_1"],
                "created_after": "2026-01-01T00:00:00Z", "has_webhook": false}, "include_history": true,
                "sort": {"field": "created_at", "direction": "desc"}, "pagination": {"max_results": 5}}),
        ),
    ] {
        good.push((tool.to_owned(), request));
    }
    for tool in ["get_task_status", "tasks_get", "tasks/get"] {
        let request =
            json!({"account": account, "task_id": "task_1", "include_result": true, "include_history": false});
        good.push((tool.to_owned(), request));
    }
    for (_, request) in &mut good {
        request["context"] = json!({"correlation_id": "c", "more": [1, {"a": null}]});
    }
    good
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_value_anywhere_is_answered_in_the_protocols_words() {
    let world = World::new(Kind::Postgres).await.unwrap();
    let acme = Acme::new(&world).unwrap();
    let _worker = acme.worker().unwrap();
    let mut front = acme.gateway().await.unwrap();
    let tools = front.rpc("tools/list", json!({})).await["result"]["tools"].clone();
    let good = good_requests();
    for tool in tools.as_array().unwrap() {
        assert!(good.iter().any(|(name, _)| tool["name"] == json!(name)), "no good request of {tool}");
    }
    let mut chance = fuzz::chance();
    let broken = good.iter().flat_map(|(tool, good)| {
        fuzz::wrong_values(good).into_iter().map(move |(what, request)| {
            let own_key = request.pointer(KEY) == good.pointer(KEY);
            (tool, what, request, own_key)
        })
    });
    let broken = fuzz::some(broken.collect(), 300, &mut chance);
    let told = stream::iter(broken).for_each_concurrent(AT_ONCE, |(tool, what, mut request, own_key)| {
        // Another request of the same key would be refused for that alone.
        if let (true, Some(key)) = (own_key, request.pointer_mut(KEY)) {
            *key = json!(fresh_key());
        }
        let front = &front;
        async move {
            let what = format!("{tool}: {what}");
            let answer = Answer::to(front.post(API_KEY).body(tool_call(tool, &request).to_string())).await;
            answer.assert_structured(&what);
            let body = answer.json();
            assert_eq!(body["id"], 7, "{what}");
            if request["context"].is_object() {
                assert_eq!(body["result"]["structuredContent"]["context"], request["context"], "{what}: {body}");
            }
        }
    });
    told.await;
    front.assert_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_bytes_are_answered_whatever_they_are() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let acme = Acme::new(&world).unwrap();
    let _worker = acme.worker().unwrap();
    let mut front = acme.gateway().await.unwrap();
    let initialize = json!({"protocolVersion": "2025-11-25", "capabilities": {"roots": {"listChanged": true}},
        "clientInfo": {"name": "a client", "version": "1"}});
    let good = [
        json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": initialize}),
        json!({"jsonrpc": "2.0", "id": "list", "method": "tools/list", "params": {"_meta": {"progressToken": 1}}}),
        tool_call("get_task_status", &json!({"task_id": "task_1", "include_result": true, "context": {"a": "ä𝄞"}})),
        tool_call("get_products", &acme_request("get_products.wholesale")),
        tool_call("create_media_buy", &acme_request("create_media_buy.budget_too_low")),
    ];
    let mut chance = fuzz::chance();
    let broken = good.iter().flat_map(|good| fuzz::wrong_bytes(good, &mut chance)).collect();
    let broken: Vec<(String, Vec<u8>)> = fuzz::some(broken, 1_500, &mut chance);
    let told = stream::iter(broken).for_each_concurrent(AT_ONCE, |(what, bytes)| {
        let front: &Front = &front;
        async move {
            let what = format!("{what}: {}", String::from_utf8_lossy(&bytes[..bytes.len().min(1_000)]));
            let understood = std::str::from_utf8(&bytes).is_ok_and(|text| serde_json::from_str::<Value>(text).is_ok());
            let answer = Answer::to(front.post(API_KEY).body(bytes)).await;
            answer.assert_structured(&what);
            if !understood {
                assert_eq!((answer.status.as_u16(), &answer.json()["error"]["code"]), (400, &json!(-32700)), "{what}");
            }
        }
    });
    told.await;
    front.assert_unharmed().await;
}
