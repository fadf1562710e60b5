//! What buyers read of Acme, and what tests of the protocol put into its sandbox.

use super::{SCHEMAS, acme, assert_result, assert_valid, completed, create, origin};
use acme_seller::{
    Acme, GetProducts, Origin, Plan, activate_signal, get_products, get_signals, in_sandbox, list_accounts,
    list_creative_formats, list_creatives,
    media_buy::{self, delivered, get_media_buy_delivery},
    scenarios::{self, stage},
    sync_accounts, sync_creatives,
};
use handoff::prelude::AdcpError;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

fn sandbox(token: &str) -> Origin {
    Origin { account: "sandbox_1".into(), sandbox: true, ..origin(token) }
}

fn read<R: DeserializeOwned>(request: Value) -> R {
    serde_json::from_value(request).unwrap()
}

async fn staged(acme: &Acme, scenario: &str, params: Value) -> Result<Value, AdcpError> {
    let request = json!({"scenario": scenario, "params": params, "account": {"sandbox": true}});
    let schema = SCHEMAS.schema("compliance/comply-test-controller-response.json");
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let token = format!("stage_{}", COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
    let mut answer = stage(acme, &sandbox(&token), scenario, request["params"].clone()).await?;
    // The controller's part.
    answer["success"] = json!(true);
    answer["status"] = json!("completed");
    assert_valid(&schema, scenario, &answer);
    Ok(answer)
}

async fn buy(acme: &Acme, token: &str, packages: Value) -> Result<Plan, AdcpError> {
    let request = json!({
        "brand": {"domain": "test.example"},
        "start_time": "2027-03-01T00:00:00Z",
        "end_time": "2027-03-31T00:00:00Z",
        "packages": packages,
    });
    media_buy::create(acme, &sandbox(token), read(request), None).await
}

fn package(product: &str, option: &str, budget: u32) -> Value {
    json!({"product_id": product, "pricing_option_id": option, "budget": budget})
}

#[tokio::test]
async fn accounts_are_given_once_listed_and_decided_about() {
    let (acme, _dir) = acme();
    let wanted =
        |domain: &str| json!({"brand": {"domain": domain}, "operator": "pinnacle.example", "billing": "operator"});
    let mut refused = wanted("other.example");
    refused["billing"] = json!("agent");
    let request = json!({"accounts": [wanted("nova.example"), wanted("acme.example"), refused]});
    let actions = |answer: &Value| -> Vec<Value> {
        answer["accounts"].as_array().unwrap().iter().map(|account| account["action"].clone()).collect()
    };
    for expected in [["created", "created", "failed"], ["unchanged", "unchanged", "failed"]] {
        let answer = sync_accounts(&acme, &sandbox("1"), &read(request.clone())).await.unwrap();
        assert_result("sync_accounts", &answer);
        assert_eq!(actions(&answer), expected);
        assert_eq!(answer["accounts"][2]["errors"][0]["code"], "BILLING_NOT_SUPPORTED");
    }
    let list = async |request: Value| {
        let answer = list_accounts(&acme, &sandbox("1"), &read(request)).await.unwrap();
        assert_result("list_accounts", &answer);
        answer
    };
    let first = list(json!({"pagination": {"max_results": 1}})).await;
    assert_eq!((first["accounts"].as_array().unwrap().len(), &first["pagination"]["has_more"]), (1, &json!(true)));
    let second = list(json!({"pagination": {"max_results": 1, "cursor": first["pagination"]["cursor"]}})).await;
    assert_eq!(second["pagination"], json!({"has_more": false}));
    let id = &second["accounts"][0]["account_id"];
    let moved = staged(&acme, "force_account_status", json!({"account_id": id, "status": "suspended"})).await.unwrap();
    assert_eq!((&moved["previous_state"], &moved["current_state"]), (&json!("active"), &json!("suspended")));
    assert_eq!(list(json!({"status": "suspended"})).await["accounts"][0]["account_id"], *id);

    let fixture = json!({"name": "Test", "brand": {"domain": "test.example"}, "status": "pending_approval"});
    for (account_id, fixture, name) in [("seeded", fixture, "Test"), ("bare", json!(null), "bare")] {
        let seed = json!({"account_id": account_id, "fixture": fixture});
        for _ in 0..2 {
            staged(&acme, "seed_account", seed.clone()).await.unwrap();
        }
        let other = json!({"account_id": account_id, "fixture": {"name": "Another"}});
        assert_eq!(staged(&acme, "seed_account", other).await.unwrap_err().code, "INVALID_PARAMS");
        let listed = list(json!({"account": {"account_id": account_id}})).await;
        assert_eq!((&listed["accounts"][0]["name"], &listed["accounts"][0]["sandbox"]), (&json!(name), &json!(true)));
    }
    let opened =
        staged(&acme, "force_account_status", json!({"account_id": "seeded", "status": "active"})).await.unwrap();
    assert_eq!(opened["previous_state"], "pending_approval");
    for (field, value) in [
        ("status", json!("lost")),
        ("brand", json!("test.example")),
        ("operator", json!(5)),
        ("billing", json!("agent")),
    ] {
        let seed = json!({"account_id": "wrong", "fixture": {field: value}});
        assert_eq!(staged(&acme, "seed_account", seed).await.unwrap_err().code, "INVALID_PARAMS", "{field}");
    }
    let taken = json!({"account_id": id});
    assert_eq!(staged(&acme, "seed_account", taken).await.unwrap_err().code, "INVALID_PARAMS");

    let stranger = Origin { principal: "another".into(), ..sandbox("1") };
    let others = list_accounts(&acme, &stranger, &read(json!({}))).await.unwrap();
    assert_eq!(others["accounts"], json!([]));
    let error =
        scenarios::stage(&acme, &stranger, "force_account_status", json!({"account_id": id, "status": "active"}));
    assert_eq!(error.await.unwrap_err().code, "NOT_FOUND");
}

#[tokio::test]
async fn every_format_that_a_product_names_is_listed() {
    let (acme, _dir) = acme();
    staged(&acme, "seed_product", json!({"product_id": "p", "fixture": {"format_ids": [{"id": "native_post"}]}}))
        .await
        .unwrap();
    staged(
        &acme,
        "seed_pricing_option",
        json!({"product_id": "p", "pricing_option_id": "o", "fixture": {"fixed_price": 2.0}}),
    )
    .await
    .unwrap();
    let other = json!({"product_id": "p", "fixture": {"format_ids": [{"id": "other"}]}});
    assert_eq!(staged(&acme, "seed_product", other).await.unwrap_err().code, "INVALID_PARAMS");
    let list = async |request: Value| {
        let answer = list_creative_formats(&acme, Some("agent"), &read(request)).await.unwrap();
        assert_result("list_creative_formats", &answer);
        answer["formats"].as_array().unwrap().iter().map(|format| format["format_id"].clone()).collect::<Vec<_>>()
    };
    let all = list(json!({})).await;
    let request: GetProducts = read(json!({"buying_mode": "brief", "brief": "Everything"}));
    let found = get_products(&sandbox("1"), &request, |_| None).unwrap();
    let found = completed(in_sandbox(&acme, &sandbox("1"), &request, found).await.unwrap());
    assert_result("get_products", &found);
    let products = found["products"].as_array().unwrap();
    assert_eq!(products.last().unwrap()["product_id"], "p");
    for product in products {
        let formats = product["format_ids"].as_array().unwrap();
        assert!(!formats.is_empty() && formats.iter().all(|format| all.contains(format)), "{product} of {all:?}");
    }
    assert_eq!(list(json!({"format_ids": [all[1]]})).await, all[1..2]);
    staged(&acme, "seed_creative_format", json!({"format_id": "own", "fixture": {"name": "Own"}})).await.unwrap();
    assert_eq!(list(json!({"account": {"account_id": "made_up"}})).await.len(), 1);
    assert_eq!(list(json!({})).await.len(), all.len() + 1);
}

#[tokio::test]
async fn creatives_are_listed_decided_about_and_assigned() {
    let (acme, _dir) = acme();
    let made = completed(buy(&acme, "1", json!([package("acme_display_ron", "cpm_usd_display", 900)])).await.unwrap());
    assert_eq!(made["media_buy_status"], "pending_creatives");
    let (media_buy, package) = (made["media_buy_id"].as_str().unwrap(), &made["packages"][0]["package_id"]);
    let sync = json!({
        "creatives": [{"creative_id": "banner", "name": "Banner", "format_id": {"agent_url": "https://a.example", "id": "f"}}],
        "assignments": [{"creative_id": "banner", "package_id": package}, {"creative_id": "banner", "package_id": "none"}],
    });
    let synced = completed(sync_creatives(&acme, &sandbox("2"), read(sync)).await.unwrap());
    assert_result("sync_creatives", &synced);
    assert_eq!(synced["creatives"][0]["assigned_to"], json!([package]));
    assert!(synced["creatives"][0]["assignment_errors"]["none"].is_string());
    let (found, _) = media_buy::find(&acme, "sandbox_1", media_buy).await.unwrap().unwrap();
    assert_eq!(found.media_buy_status, "pending_start");

    let list = async |request: Value| {
        let answer = list_creatives(&acme, &sandbox("3"), &read(request)).await.unwrap();
        assert_result("list_creatives", &answer);
        answer
    };
    assert_eq!(list(json!({})).await["creatives"][0]["creative_id"], "banner");
    for (status, code) in [
        ("approved", None),
        ("archived", None),
        ("processing", Some("INVALID_TRANSITION")),
        ("lost", Some("INVALID_PARAMS")),
    ] {
        let told = staged(&acme, "force_creative_status", json!({"creative_id": "banner", "status": status})).await;
        assert_eq!(told.err().map(|error| error.code), code.map(str::to_owned), "{status}");
    }
    assert_eq!(list(json!({})).await["query_summary"]["total_matching"], 0);
    assert_eq!(list(json!({"filters": {"creative_ids": ["banner"]}})).await["creatives"][0]["status"], "archived");
    let unknown = staged(&acme, "force_creative_status", json!({"creative_id": "none", "status": "approved"})).await;
    assert_eq!(unknown.unwrap_err().code, "NOT_FOUND");
    for number in 1..=3 {
        let seed = json!({"creative_id": format!("seeded_{number}"), "fixture": {"status": "approved"}});
        staged(&acme, "seed_creative", seed).await.unwrap();
    }
    let of_a_test = list(json!({"account": {"account_id": "made_up"}, "pagination": {"max_results": 2}})).await;
    assert_eq!(of_a_test["query_summary"], json!({"total_matching": 3, "returned": 2}));
}

#[tokio::test]
async fn a_media_buy_lives_as_the_protocol_has_it() {
    let (acme, _dir) = acme();
    let made = completed(buy(&acme, "1", json!([package("test-product", "test-pricing", 5000)])).await.unwrap());
    assert_result("create_media_buy", &made);
    let id = &made["media_buy_id"];
    let update = async |token: &str, mut request: Value| {
        request["media_buy_id"] = id.clone();
        media_buy::update(&acme, &sandbox(token), read(request)).await.map(|plan| {
            let updated = completed(plan);
            assert_result("update_media_buy", &updated);
            updated["media_buy_status"].clone()
        })
    };
    assert_eq!(update("2", json!({"paused": true})).await.unwrap(), "paused");
    assert_eq!(update("3", json!({"paused": false})).await.unwrap(), "active");
    let error = update("4", json!({"packages": [{"package_id": "none", "paused": true}]})).await.unwrap_err();
    assert_eq!(error.code, "PACKAGE_NOT_FOUND");
    let budget =
        staged(&acme, "simulate_budget_spend", json!({"media_buy_id": id, "spend_percentage": 95})).await.unwrap();
    assert_eq!(budget["cumulative"]["spend"], 4750);
    let more = json!({"media_buy_id": id, "impressions": 10, "clicks": 1, "reported_spend": {"amount": 0.5, "currency": "USD"}});
    staged(&acme, "simulate_delivery", more).await.unwrap();
    let so_far = delivered(&acme, "sandbox_1", id.as_str().unwrap()).await.unwrap();
    assert_eq!((so_far.impressions, so_far.clicks, so_far.spend), (10, 1, 4750.5));
    let report = get_media_buy_delivery(&acme, &sandbox("5"), &read(json!({"media_buy_ids": [id]}))).await.unwrap();
    assert_result("get_media_buy_delivery", &report);
    assert_eq!(report["media_buy_deliveries"][0]["by_package"][0]["impressions"], 10);

    let forced =
        staged(&acme, "force_media_buy_status", json!({"media_buy_id": id, "status": "canceled"})).await.unwrap();
    assert_eq!(forced["previous_state"], "active");
    let back =
        staged(&acme, "force_media_buy_status", json!({"media_buy_id": id, "status": "active"})).await.unwrap_err();
    assert_eq!(
        (back.code.as_str(), *back.details.unwrap()),
        ("INVALID_TRANSITION", json!({"current_state": "canceled"}))
    );
    for (token, change, code) in
        [("6", json!({"canceled": true}), "NOT_CANCELLABLE"), ("7", json!({"paused": false}), "INVALID_STATE")]
    {
        assert_eq!(update(token, change).await.unwrap_err().code, code);
    }
    staged(&acme, "seed_media_buy", json!({"media_buy_id": "seeded", "fixture": {"status": "active"}})).await.unwrap();
    staged(&acme, "force_media_buy_status", json!({"media_buy_id": "seeded", "status": "paused"})).await.unwrap();
    let again =
        staged(&acme, "seed_media_buy", json!({"media_buy_id": "seeded", "fixture": {"status": "active"}})).await;
    again.unwrap();
    let (found, _) = media_buy::find(&acme, "sandbox_1", "seeded").await.unwrap().unwrap();
    assert_eq!(found.media_buy_status, "active");
}

#[tokio::test]
async fn a_purged_media_buy_is_gone_for_everybody() {
    let (acme, _dir) = acme();
    let made = completed(buy(&acme, "1", json!([package("test-product", "test-pricing", 5000)])).await.unwrap());
    let id = made["media_buy_id"].as_str().unwrap();
    let mut states = Vec::new();
    for _ in 0..2 {
        let purged = staged(&acme, "force_media_buy_purge", json!({"media_buy_id": id})).await.unwrap();
        states.push(purged["previous_state"].clone());
        assert_eq!(purged["current_state"], "purged");
        assert_eq!(media_buy::find(&acme, "sandbox_1", id).await.unwrap(), None);
    }
    assert_eq!(states, [made["media_buy_status"].clone(), json!("purged")]);
    for (scenario, params) in [
        ("force_media_buy_status", json!({"media_buy_id": id, "status": "canceled"})),
        ("simulate_delivery", json!({"media_buy_id": id, "impressions": 1})),
        ("force_media_buy_purge", json!({"media_buy_id": "never_was"})),
    ] {
        assert_eq!(staged(&acme, scenario, params).await.unwrap_err().code, "NOT_FOUND", "{scenario}");
    }
}

#[tokio::test]
async fn what_is_there_for_tests_can_be_bought_in_the_sandbox_only() {
    let (acme, _dir) = acme();
    for (product, channel) in [("video", "video"), ("tv", "ctv")] {
        let fixture = json!({"delivery_type": "guaranteed", "channels": [channel]});
        staged(&acme, "seed_product", json!({"product_id": product, "fixture": fixture})).await.unwrap();
        assert_eq!(buy(&acme, "0", json!([package(product, "o", 900)])).await.unwrap_err().code, "PRODUCT_NOT_FOUND");
        let option = json!({"product_id": product, "pricing_option_id": "o", "fixture": {"floor_price": 5.0}});
        staged(&acme, "seed_pricing_option", option).await.unwrap();
    }
    let plan = buy(&acme, "1", json!([package("video", "o", 900)])).await.unwrap();
    assert_result("create_media_buy", &completed(plan));
    assert!(matches!(buy(&acme, "2", json!([package("tv", "o", 900)])).await.unwrap(), Plan::Review(_)));
    assert!(matches!(buy(&acme, "3", json!([package("test-product", "default", 1000)])).await.unwrap(), Plan::Book(_)));
    let mut low = package("video", "o", 900);
    low["bid_price"] = json!(4.5);
    let error = buy(&acme, "4", json!([low])).await.unwrap_err();
    assert_eq!(error.field.as_deref(), Some("packages[0].bid_price"));
    for product in ["test-product", "video"] {
        let live = json!({
            "brand": {"domain": "test.example"},
            "start_time": "asap",
            "end_time": "2027-03-31T00:00:00Z",
            "packages": [package(product, "default", 5000)],
        });
        let error = media_buy::create(&acme, &origin("5"), read(live), None).await.unwrap_err();
        assert_eq!(error.code, "PRODUCT_NOT_FOUND", "{product}");
    }
    assert!(create(&acme, "6", "non_guaranteed").await.is_ok());
}

#[tokio::test]
async fn terms_and_targeting_are_kept_or_refused() {
    let (acme, _dir) = acme();
    let terms = |window: &str, variance: u32| {
        let mut package = package("acme_video_ros", "cpm_usd_video", 25_000);
        package["measurement_terms"] = json!({"billing_measurement": {
            "vendor": {"domain": "measure.example"},
            "measurement_window": window,
            "max_variance_percent": variance,
        }});
        let list = json!({"agent_url": "https://lists.example", "list_id": "allowed"});
        package["targeting_overlay"] = json!({"property_list": list});
        json!([package])
    };
    for (window, variance, at) in [("c30", 10, "measurement_window"), ("c7", 0, "max_variance_percent")] {
        let error = buy(&acme, "1", terms(window, variance)).await.unwrap_err();
        assert_eq!(error.code, "TERMS_REJECTED");
        assert_eq!(*error.field.unwrap(), *format!("packages[0].measurement_terms.billing_measurement.{at}"));
    }
    let made = completed(buy(&acme, "2", terms("c7", 10)).await.unwrap());
    assert_result("create_media_buy", &made);
    assert_eq!(made["packages"][0]["targeting_overlay"]["property_list"]["list_id"], "allowed");
}

#[tokio::test]
async fn a_signal_is_found_page_by_page_and_switched_on() {
    let (acme, _dir) = acme();
    let found = async |request: Value| completed(get_signals(&sandbox("1"), &read(request)).unwrap());
    let first = found(json!({"signal_spec": "audience", "pagination": {"max_results": 1}})).await;
    assert_result("get_signals", &first);
    let cursor = &first["pagination"]["cursor"];
    let second = found(json!({"signal_spec": "audience", "pagination": {"max_results": 1, "cursor": cursor}})).await;
    assert_ne!(first["signals"][0]["name"], second["signals"][0]["name"]);
    let request = json!({
        "signal_agent_segment_id": first["signals"][0]["signal_agent_segment_id"],
        "pricing_option_id": first["signals"][0]["pricing_options"][0]["pricing_option_id"],
        "destinations": [{"type": "platform", "platform": "a-dsp", "account": "x"}, {"type": "agent", "agent_url": "https://a.example"}],
    });
    let on = activate_signal(&acme, &sandbox("2"), &read(request.clone())).await.unwrap();
    assert_result("activate_signal", &on);
    assert_eq!((&on["deployments"][0]["is_live"], &on["deployments"][1]["type"]), (&json!(true), &json!("agent")));
    let mut wrong = request;
    wrong["signal_agent_segment_id"] = json!("acme:nobody");
    let error = activate_signal(&acme, &sandbox("3"), &read(wrong)).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.field.as_deref()), ("SIGNAL_NOT_FOUND", Some("signal_agent_segment_id")));
}
