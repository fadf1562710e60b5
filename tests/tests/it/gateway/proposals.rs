//! Proposals through the door: offered to a brand without an account, bought for an account, and nobody else's.

use crate::on_both_databases;
use handoff_tests::{
    eventually, fresh_key,
    front::{Acme, Front, OTHER_API_KEY, acme_request},
};
use serde_json::{Value, json};

const ACCOUNT: &str = "acct_pinnacle";

fn without_account(mut request: Value) -> Value {
    request.as_object_mut().unwrap().remove("account");
    request
}

fn finalize(proposal_id: &str) -> Value {
    let mut request = acme_request("get_products.finalize");
    request["refine"][0]["proposal_id"] = json!(proposal_id);
    request
}

fn purchase(proposal_id: &str) -> Value {
    let mut request = acme_request("create_media_buy.proposal");
    request["proposal_id"] = json!(proposal_id);
    request
}

async fn ledger(acme: &Acme<'_>, proposal_id: &str) -> Value {
    acme.handoff(&["proposal", "get", proposal_id, "--body"]).await.unwrap()
}

/// Sends a request as another agent: it is told what is told of a proposal that nobody has.
async fn nobody_elses(front: &Front, tool: &str, request: impl Fn(&str) -> Value, proposal_id: &str) {
    let mut told = Vec::new();
    for id in [proposal_id, "prop_nobody_has_this"] {
        let answer = front.call_as(OTHER_API_KEY, tool, &request(id)).await;
        assert_eq!(answer.code(), "PROPOSAL_NOT_FOUND");
        told.push(answer.body);
    }
    assert_eq!(told[0], told[1], "{tool}");
}

on_both_databases! {
    async fn what_was_offered_to_a_brand_is_bought_for_an_account_of_it(world: World) {
        let acme = Acme::new(&world).unwrap();
        let _worker = acme.worker().unwrap();
        let front = acme.gateway().await.unwrap();

        let offered = front.call("get_products", &without_account(acme_request("get_products.brief"))).await;
        assert!(!offered.is_error, "{}", offered.body);
        let proposal_id = offered.body["proposals"][0]["proposal_id"].as_str().unwrap().to_owned();
        let draft = ledger(&acme, &proposal_id).await;
        let brand = draft["account"].as_str().unwrap().to_owned();
        assert!(brand.starts_with("no-account:") && draft["state"] == "draft", "{draft}");
        assert_eq!(draft["body"], offered.body["proposals"][0]);
        let early = front.call("create_media_buy", &purchase(&proposal_id)).await;
        assert_eq!((early.code(), &early.body["errors"][0]["field"]), ("PROPOSAL_NOT_COMMITTED", &json!("proposal_id")));

        // Whose it is follows from the proposal alone.
        let mut nameless = without_account(finalize(&proposal_id));
        nameless.as_object_mut().unwrap().remove("brand");
        let foreign = |id: &str| without_account(finalize(id));
        nobody_elses(&front, "get_products", foreign, &proposal_id).await;
        let finalized = front.call("get_products", &nameless).await;
        assert!(!finalized.is_error, "{}", finalized.body);
        let committed = ledger(&acme, &proposal_id).await;
        assert_eq!((&committed["account"], &committed["state"]), (&json!(brand), &json!("committed")), "one row");
        assert!(committed["expires_at"].is_string(), "{committed}");

        nobody_elses(&front, "create_media_buy", purchase, &proposal_id).await;
        let mut other_brand = purchase(&proposal_id);
        other_brand["brand"]["domain"] = json!("other.example");
        assert_eq!(front.call("create_media_buy", &other_brand).await.code(), "PROPOSAL_NOT_FOUND");
        let submitted = front.call("create_media_buy", &purchase(&proposal_id)).await;
        assert_eq!(submitted.body["status"], "submitted", "{}", submitted.body);
        let task_id = submitted.body["task_id"].as_str().unwrap();
        let held = ledger(&acme, &proposal_id).await;
        assert_eq!((&held["state"], &held["task_id"]), (&json!("consuming"), &json!(task_id)));
        assert_eq!((&held["account"], &held["buyer_account"]), (&json!(brand), &json!(ACCOUNT)), "adopted");
        let busy = front.call("create_media_buy", &purchase(&proposal_id)).await;
        assert_eq!(busy.code(), "CONFLICT");
        assert!(busy.body["errors"][0]["retry_after"].is_number(), "{}", busy.body);

        let review = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/acme-seller/reviews/approve_insertion_order.json");
        acme.handoff(&["task", "complete", task_id, "--file", review, "--reason", "signed"]).await.unwrap();
        let bought = eventually("the purchase is done", || async {
            let bought = ledger(&acme, &proposal_id).await;
            (bought["state"] == "consumed").then_some(bought)
        })
        .await;
        assert_eq!(bought["media_buy_id"], "mb_acme_io_2043");
        let polled = front.call("get_task_status", &json!({"task_id": task_id})).await;
        assert_eq!(polled.body["status"], "completed", "{}", polled.body);
        assert_eq!(front.call("create_media_buy", &purchase(&proposal_id)).await.code(), "INVALID_STATE");
        assert_eq!(front.call("get_products", &nameless_again(&nameless)).await.code(), "INVALID_STATE");
    }

    async fn the_compact_verbs_follow_the_proposal_without_an_account(world: World) {
        // The lab's requests say what is to be done, which no schema of the protocol has.
        let lab = Acme::lab(&world).unwrap().set("HANDOFF_VALIDATION", "off");
        let _worker = lab.worker().unwrap();
        let front = lab.gateway().await.unwrap();
        let brand = json!({"domain": "novamotors.example"});
        let (parent, child) = (format!("prop_{}", fresh_key()), format!("prop_{}", fresh_key()));
        let call = async |tool: &str, mut request: Value, result: Value| {
            request["idempotency_key"] = json!(fresh_key());
            request["lab"] = json!({"result": result, "see": parent});
            let told = front.call(tool, &request).await;
            assert!(!told.is_error, "{tool}: {}", told.body);
        };
        let offer = |id: &str, status: &str| json!({"proposal_id": id, "proposal_status": status, "parent_proposal_id": parent});
        let proposed = json!({"outcome": "proposed", "proposals": [offer(&parent, "draft")]});
        call("request_proposals", json!({"brief": "x", "brand": brand}), proposed).await;
        let scope = ledger(&lab, &parent).await["account"].clone();
        assert!(scope.as_str().unwrap().starts_with("no-account:"), "{scope}");

        let refinements = json!([{"proposal_id": parent, "action": "finalize"}]);
        let finalized = json!({"results": [{"outcome": "finalized", "proposal": offer(&child, "committed")}]});
        call("refine_proposals", json!({"refinements": refinements}), finalized).await;
        let refined = ledger(&lab, &child).await;
        assert_eq!((&refined["account"], &refined["state"]), (&scope, &json!("committed")));

        let declines = json!([{"proposal_id": child}, {"proposal_id": parent}]);
        let results = json!([{"proposal_id": child, "outcome": "declined"}, {"proposal_id": parent, "outcome": "declined"}]);
        call("decline_proposals", json!({"declines": declines}), json!({"results": results})).await;
        for id in [&parent, &child] {
            let declined = ledger(&lab, id).await;
            assert_eq!((&declined["account"], &declined["state"]), (&scope, &json!("declined")), "one row");
        }
        // Each time the handler was shown the proposal, as it was then.
        let tasks = world.calls.tasks("seen");
        let seen = tasks.iter().flat_map(|task_id| world.calls.of("seen", task_id));
        let states: Vec<Value> = seen.map(|seen| serde_json::from_str::<Value>(&seen).unwrap()["names"]["state"].clone()).collect();
        assert_eq!(states, [json!(null), json!("draft"), json!("draft")]);
    }
}

fn nameless_again(request: &Value) -> Value {
    let mut request = request.clone();
    request["idempotency_key"] = json!(fresh_key());
    request
}
