//! The compliance controller, through the door: what it lets tests do to a sandbox account, and to none other.

use crate::on_both_databases;
use handoff_tests::{
    Kind, Schemas, World, eventually, fresh_key,
    front::{API_KEY, Acme, Front, OTHER_API_KEY, Told, acme_request},
};
use serde_json::{Value, json};
use std::sync::LazyLock;

pub(super) const CONTROLLER: &str = "comply_test_controller";
pub(super) const TESTING: &str = "HANDOFF_COMPLIANCE_TESTING";

static SCHEMAS: LazyLock<Option<Schemas>> = LazyLock::new(Schemas::find);

/// A request as the protocol's runner sends it.
pub(super) fn scenario(name: &str, params: Value) -> Value {
    json!({"scenario": name, "params": params, "account": {"sandbox": true}, "context": {"correlation_id": name}})
}

/// What is told of a request that was refused.
pub(super) fn refusal(told: &Told) -> (&str, &str) {
    assert!(told.is_error, "{}", told.body);
    assert_eq!((&told.body["status"], &told.body["success"]), (&json!("completed"), &json!(false)), "{}", told.body);
    (told.body["error"].as_str().unwrap(), told.body["error_detail"].as_str().unwrap())
}

pub(super) async fn control(front: &Front, name: &str, params: Value) -> Told {
    let told = front.call(CONTROLLER, &scenario(name, params)).await;
    if let Some(schemas) = &*SCHEMAS {
        schemas.check("compliance/comply-test-controller-response.json", &told.body);
    }
    assert_eq!(told.body["context"], json!({"correlation_id": name}), "{}", told.body);
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_setting_there_is_no_controller() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let acme = Acme::new(&world).unwrap();
    let front = acme.gateway().await.unwrap();
    let tools = front.rpc("tools/list", json!({})).await["result"]["tools"].to_string();
    assert!(!tools.contains(CONTROLLER), "{tools}");
    let params = json!({"name": CONTROLLER, "arguments": {"scenario": "list_scenarios", "account": {"sandbox": true}}});
    let told = front.rpc("tools/call", params).await;
    assert_eq!(told["error"]["data"]["adcp_error"]["code"], "UNSUPPORTED_FEATURE", "{told}");
    let capabilities = front.call("get_adcp_capabilities", &json!({})).await.body;
    assert_eq!(capabilities.get("compliance_testing"), None, "{capabilities}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sellers_scenarios_are_staged_in_the_agents_one_sandbox() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let lab = Acme::lab(&world).unwrap().set(TESTING, "true");
    let mut front = lab.gateway().await.unwrap();
    let capabilities = front.call("get_adcp_capabilities", &json!({})).await.body;
    let listed = control(&front, "list_scenarios", json!({})).await.body;
    assert_eq!(listed["scenarios"], capabilities["compliance_testing"]["scenarios"]);
    let all = [
        "a_labs_own",
        "compact_product_lifecycle_probe",
        "force_create_media_buy_arm",
        "force_get_creative_features_arm",
        "force_get_products_arm",
        "force_get_signals_arm",
        "force_media_buy_status",
        "force_task_completion",
        "seed_product",
    ];
    assert_eq!(listed["scenarios"], json!(all));

    let seeded = control(&front, "seed_product", json!({"product_id": "p"})).await.body;
    assert_eq!(seeded["success"], true, "{seeded}");
    let answer = json!({"previous_state": "active", "current_state": "paused"});
    let params = json!({"media_buy_id": "m", "status": "paused", "answer": answer});
    let forced = control(&front, "force_media_buy_status", params).await.body;
    assert_eq!((&forced["success"], &forced["current_state"]), (&json!(true), &json!("paused")), "{forced}");

    for (name, params, code) in [
        ("nobody_knows_it", json!({}), "UNKNOWN_SCENARIO"),
        ("seed_product", json!({}), "INVALID_PARAMS"),
        ("a_labs_own", json!({"error": "NOT_FOUND"}), "NOT_FOUND"),
        ("a_labs_own", json!({"error": "BUDGET_TOO_LOW"}), "INTERNAL_ERROR"),
        // No shape that the protocol knows.
        ("a_labs_own", json!({"answer": {"previous_state": "active"}}), "INTERNAL_ERROR"),
        ("a_labs_own", json!({"answer": [1]}), "INTERNAL_ERROR"),
        ("a_labs_own", json!({"panic": true}), "INTERNAL_ERROR"),
    ] {
        let told = control(&front, name, params).await;
        assert_eq!(refusal(&told).0, code, "{}", told.body);
        assert!(!told.body.to_string().contains("was told to panic"), "{}", told.body);
    }
    let ended = json!({"error": "INVALID_TRANSITION", "current_state": "completed"});
    let told = control(&front, "a_labs_own", ended).await;
    assert_eq!((refusal(&told).0, &told.body["current_state"]), ("INVALID_TRANSITION", &json!("completed")));

    // Whichever account an agent names is its own one.
    let seed = |account: Value| json!({"scenario": "seed_product", "params": {"product_id": "p"}, "account": account});
    for account in [
        json!({"brand": {"domain": "test.example"}, "operator": "test.example"}),
        json!({"brand": {"domain": "acmeoutdoor.example"}, "operator": "pinnacle-agency.example", "sandbox": true}),
        json!({"account_id": "acct_pagination_integrity", "sandbox": true}),
        json!(null),
    ] {
        let told = front.call(CONTROLLER, &seed(account)).await;
        assert_eq!(told.body["success"], true, "{}", told.body);
    }
    let other = front.call_as(OTHER_API_KEY, CONTROLLER, &seed(json!({"sandbox": true}))).await;
    assert_eq!(other.body["success"], true, "{}", other.body);
    let staged: Vec<Value> =
        world.calls.of("stage", "scenario").iter().map(|who| serde_json::from_str(who).unwrap()).collect();
    assert!(staged.iter().all(|who| who["sandbox"] == true), "{staged:?}");
    let (last, own) = staged.split_last().unwrap();
    assert!(own.iter().all(|who| who == &own[0]), "{own:?}");
    assert_ne!((&last["account"], &last["principal"]), (&own[0]["account"], &own[0]["principal"]));

    let log = front.log.lock().unwrap().clone();
    assert!(!log.contains(API_KEY), "{log}");
    assert_eq!(front.get("/healthz").send().await.unwrap().status(), 200);
    front.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_request_is_told_in_the_controllers_words() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let lab = Acme::lab(&world).unwrap().set(TESTING, "true");
    let front = lab.gateway().await.unwrap();
    for (request, code) in [
        (json!({}), "INVALID_PARAMS"),
        (json!({"scenario": {}}), "INVALID_PARAMS"),
        (json!({"scenario": "seed_product", "params": 5}), "INVALID_PARAMS"),
        (json!({"scenario": "seed_product", "params": {}}), "INVALID_PARAMS"),
        (json!({"scenario": "nobody_knows_it"}), "UNKNOWN_SCENARIO"),
        (json!({"scenario": "seed_product", "params": {"product_id": "p"}, "account": 5}), "INVALID_PARAMS"),
        (json!({"scenario": "seed_product", "params": {"product_id": "p"}, "account": {"brand": 5}}), "INVALID_PARAMS"),
        (
            json!({"scenario": "seed_product", "params": {"product_id": "p"}, "account": {"sandbox": false}}),
            "FORBIDDEN",
        ),
        (json!({"scenario": "force_create_media_buy_arm", "params": {"arm": "input-required"}}), "INVALID_PARAMS"),
        (json!({"scenario": "force_create_media_buy_arm", "params": {"arm": "submitted"}}), "INVALID_PARAMS"),
        (json!({"scenario": "force_get_products_arm", "params": {"arm": "rejected", "reason": ""}}), "INVALID_PARAMS"),
        (json!({"scenario": "force_task_completion", "params": {"task_id": "t", "result": 5}}), "INVALID_PARAMS"),
        (json!({"scenario": "force_task_completion", "params": {"task_id": "t", "result": {}}}), "NOT_FOUND"),
    ] {
        let mut request = request;
        request["context"] = json!({"n": 1});
        let told = front.call(CONTROLLER, &request).await;
        assert_eq!(refusal(&told).0, code, "{request}: {}", told.body);
        assert_eq!(told.body["context"], json!({"n": 1}), "{request}");
    }
    assert!(world.calls.of("stage", "scenario").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_account_is_never_controlled() {
    const ACCOUNTS: &str = r#"
        [[account]]
        id = "acct_live"
        brand = "acmeoutdoor.example"
        operator = "pinnacle.example"
        principals = ["agent.pinnacle.example"]

        [[account]]
        id = "acct_test"
        brand = "acmeoutdoor.example"
        operator = "pinnacle.example"
        principals = ["agent.pinnacle.example"]
        sandbox = true

        [[account]]
        id = "acct_of_another"
        principals = ["agent.other.example"]
    "#;
    let world = World::new(Kind::Sqlite).await.unwrap();
    let lab = Acme::lab(&world).unwrap().set(TESTING, "true");
    let file = lab.directory().join("accounts.toml");
    std::fs::write(&file, ACCOUNTS).unwrap();
    let lab = lab.set("HANDOFF_ACCOUNTS_FILE", file.display().to_string());
    let front = lab.gateway().await.unwrap();
    let seed = |account: Value| json!({"scenario": "seed_product", "params": {"product_id": "p"}, "account": account});
    let mut told = Vec::new();
    for account in [
        json!({"account_id": "acct_live", "sandbox": true}),
        json!({"account_id": "acct_live"}),
        json!({"account_id": "acct_of_another", "sandbox": true}),
        json!({"account_id": "acct_of_nobody", "sandbox": true}),
        json!({"brand": {"domain": "acmeoutdoor.example"}, "operator": "pinnacle.example"}),
        // It has two, so that none is meant.
        json!({"sandbox": true}),
        json!(null),
    ] {
        let refused = front.call(CONTROLLER, &seed(account)).await;
        assert_eq!(refusal(&refused).0, "FORBIDDEN", "{}", refused.body);
        told.push(refused);
    }
    assert!(told.iter().all(|refused| refused == &told[0]), "what is another's looks like what is live: {told:?}");
    // Its only one, which is live.
    let other = front.call_as(OTHER_API_KEY, CONTROLLER, &seed(json!({"sandbox": true}))).await;
    assert_eq!(refusal(&other).0, "FORBIDDEN", "{}", other.body);
    let live = json!({"scenario": "list_scenarios", "account": {"account_id": "acct_live", "sandbox": true}});
    assert_eq!(refusal(&front.call(CONTROLLER, &live).await).0, "FORBIDDEN");
    assert!(world.calls.of("stage", "scenario").is_empty());

    for account in [
        json!({"account_id": "acct_test", "sandbox": true}),
        json!({"brand": {"domain": "acmeoutdoor.example"}, "operator": "pinnacle.example", "sandbox": true}),
    ] {
        let staged = front.call(CONTROLLER, &seed(account)).await;
        assert_eq!(staged.body["success"], true, "{}", staged.body);
    }
    assert_eq!(world.calls.of("stage", "scenario").len(), 2);
    let listed = front.call(CONTROLLER, &json!({"scenario": "list_scenarios"})).await;
    assert_eq!(listed.body["success"], true, "{}", listed.body);
}

on_both_databases! {
    async fn the_next_purchase_is_submitted_as_forced_and_ends_as_told(world: World) {
        let acme = Acme::new(&world).unwrap().set(TESTING, "true");
        let _worker = acme.worker().unwrap();
        let front = acme.gateway().await.unwrap();
        // The tests share a Temporal server, and so its workflow ids.
        let forced_id = format!("forced-{}", fresh_key());
        let result = json!({
            "media_buy_id": "mb_async_signed_io_q2", "media_buy_status": "active", "revision": 1,
            "confirmed_at": "2026-08-12T12:00:00Z", "packages": [],
        });
        // Three times in a row on one database. The first one stays open, as a storyboard of 3.0 leaves it.
        for round in 0..3 {
            let forced = control(&front, "force_create_media_buy_arm", json!({
                "arm": "submitted", "task_id": forced_id, "message": "The insertion order is to be signed.",
            }))
            .await;
            assert_eq!(forced.body["forced"], json!({"arm": "submitted", "task_id": forced_id}), "{}", forced.body);
            let request = acme_request("create_media_buy.non_guaranteed");
            let submitted = front.call("create_media_buy", &request).await.body;
            assert_eq!((&submitted["status"], &submitted["task_id"]), (&json!("submitted"), &json!(forced_id)), "{submitted}");
            let replayed = front.call("create_media_buy", &request).await.body;
            assert_eq!((&replayed["task_id"], &replayed["replayed"]), (&json!(forced_id), &json!(true)), "{replayed}");
            if round == 0 {
                continue;
            }
            // One request, and no more.
            let next = front.call("create_media_buy", &acme_request("create_media_buy.non_guaranteed")).await.body;
            assert_eq!(next["status"], "completed", "{next}");

            let wrong = control(&front, "force_task_completion", json!({"task_id": forced_id, "result": {"packages": []}})).await;
            assert_eq!(refusal(&wrong).0, "INVALID_PARAMS", "{}", wrong.body);
            let declined = json!({"task_id": forced_id, "result": {"status": "rejected", "reason": "no"}});
            assert_eq!(refusal(&control(&front, "force_task_completion", declined).await).0, "INVALID_PARAMS");
            let completion = json!({"task_id": forced_id, "result": result});
            let foreign = front.call_as(OTHER_API_KEY, CONTROLLER, &scenario("force_task_completion", completion.clone())).await;
            assert_eq!(refusal(&foreign).0, "NOT_FOUND", "{}", foreign.body);
            let ended = control(&front, "force_task_completion", completion.clone()).await.body;
            let states = (&ended["previous_state"], &ended["current_state"]);
            assert_eq!(states, (&json!("submitted"), &json!("completed")), "{ended}");
            let again = control(&front, "force_task_completion", completion.clone()).await.body;
            assert_eq!(again["previous_state"], "completed", "{again}");
            let mut other = completion;
            other["result"]["media_buy_id"] = json!("another");
            let told = control(&front, "force_task_completion", other).await;
            assert_eq!((refusal(&told).0, &told.body["current_state"]), ("INVALID_TRANSITION", &json!("completed")));

            let poll = json!({"task_id": forced_id, "include_result": true});
            let polled = eventually("the result is there", || async {
                let polled = front.call("get_task_status", &poll).await.body;
                (polled["status"] == "completed").then_some(polled)
            })
            .await;
            assert_eq!(polled["result"]["media_buy_id"], "mb_async_signed_io_q2", "{polled}");
            assert_eq!(polled["result"]["context"], request["context"], "{polled}");
        }
    }

    async fn the_next_discovery_is_declined_as_forced(world: World) {
        let acme = Acme::new(&world).unwrap().set(TESTING, "true");
        let _worker = acme.worker().unwrap();
        let front = acme.gateway().await.unwrap();
        let params = json!({"arm": "rejected", "reason": "Nothing for this brief.", "suggestions": ["Ask for video."]});
        let forced = control(&front, "force_get_products_arm", params.clone()).await;
        assert_eq!(forced.body["forced"], params, "{}", forced.body);
        let mut request = acme_request("get_products.brief");
        request["idempotency_key"] = json!(fresh_key());
        let declined = front.call("get_products", &request).await.body;
        assert_eq!((&declined["status"], &declined["reason"]), (&json!("rejected"), &params["reason"]), "{declined}");
        request["idempotency_key"] = json!(fresh_key());
        let found = front.call("get_products", &request).await.body;
        assert_eq!(found["status"], "completed", "{found}");
    }
}
