//! The scenarios of the compliance controller that are of few sellers: evaluations, and the end of a proposal's time.

use super::compliance::{CONTROLLER, TESTING, control, refusal, scenario};
use crate::on_both_databases;
use handoff_tests::{
    eventually, fresh_key,
    front::{Acme, Front, OTHER_API_KEY, Told},
};
use serde_json::{Value, json};

const FEATURES: &str = "get_creative_features";
const ARM: &str = "force_get_creative_features_arm";
const PROBE: &str = "compact_product_lifecycle_probe";

async fn evaluate(front: &Front, idempotency_key: &str) -> Value {
    let manifest = json!({"format_kind": "image", "assets": {}});
    let told = front.call(FEATURES, &json!({"idempotency_key": idempotency_key, "creative_manifest": manifest})).await;
    assert!(!told.is_error, "{}", told.body);
    told.body
}

async fn send(front: &Front, tool: &str, mut request: Value, lab: Value) -> Told {
    request["idempotency_key"] = json!(fresh_key());
    request["lab"] = lab;
    front.call(tool, &request).await
}

on_both_databases! {
    async fn the_next_evaluation_is_forced_and_keeps_its_identity(world: World) {
        let lab = Acme::lab(&world).unwrap().set(TESTING, "true");
        let _worker = lab.worker().unwrap();
        let front = lab.gateway().await.unwrap();
        // The tests share a Temporal server, and so its workflow ids.
        let task_id = format!("forced-{}", fresh_key());
        let params = json!({"arm": "submitted", "task_id": task_id, "evaluation_id": "eval_1", "message": "It takes a while."});
        let forced = control(&front, ARM, params).await.body;
        assert_eq!(forced["forced"], json!({"arm": "submitted", "task_id": task_id, "evaluation_id": "eval_1"}), "{forced}");
        let key = fresh_key();
        for replayed in [json!(null), json!(true)] {
            let told = evaluate(&front, &key).await;
            let expected = json!(["submitted", task_id, "eval_1", "It takes a while.", replayed]);
            let fields = ["status", "task_id", "evaluation_id", "message", "replayed"].map(|field| told[field].clone());
            assert_eq!(json!(fields), expected, "{told}");
        }

        let completion = |result: Value| json!({"task_id": task_id, "result": result});
        let results = json!([{"feature_id": "brand_consistency", "value": true}]);
        for wrong in [json!({"results": results}), json!({"results": results, "evaluation_id": "eval_2"})] {
            let told = control(&front, "force_task_completion", completion(wrong)).await;
            assert_eq!(refusal(&told).0, "INVALID_PARAMS", "{}", told.body);
        }
        let right = completion(json!({"results": results, "evaluation_id": "eval_1"}));
        for previous in ["submitted", "completed"] {
            let ended = control(&front, "force_task_completion", right.clone()).await.body;
            let states = (&ended["previous_state"], &ended["current_state"]);
            assert_eq!(states, (&json!(previous), &json!("completed")), "{ended}");
        }
        let polled = eventually("the result is there", || async {
            let polled = front.call("get_task_status", &json!({"task_id": task_id, "include_result": true})).await.body;
            (polled["status"] == "completed").then_some(polled)
        })
        .await;
        assert_eq!((&polled["result"]["evaluation_id"], &polled["result"]["results"]), (&json!("eval_1"), &results), "{polled}");

        let result = json!({"evaluation_id": "eval_3", "results": results});
        let forced = control(&front, ARM, json!({"arm": "completed", "result": result})).await.body;
        assert_eq!(forced["forced"], json!({"arm": "completed", "evaluation_id": "eval_3"}), "{forced}");
        let told = evaluate(&front, &fresh_key()).await;
        let fields = ["status", "evaluation_id", "results"].map(|field| told[field].clone());
        assert_eq!(json!(fields), json!(["completed", "eval_3", results]), "{told}");
        assert!(world.calls.tasks("decide").is_empty(), "the seller was asked");
    }

    async fn a_committed_proposals_time_is_over_when_the_controller_says(world: World) {
        // The lab's requests say what is to be done, which no schema of the protocol has.
        let lab = Acme::lab(&world).unwrap().set(TESTING, "true").set("HANDOFF_VALIDATION", "off");
        let _worker = lab.worker().unwrap();
        let front = lab.gateway().await.unwrap();
        let proposal_id = format!("prop_{}", fresh_key());
        let offer = json!({"proposal_id": proposal_id, "proposal_status": "committed", "expires_at": "2099-01-01T00:00:00Z"});
        let accept = async || send(&front, "accept_proposal", json!({"proposal_id": proposal_id}), json!({})).await;
        let params = json!({"operation": "expire_proposal", "proposal_id": proposal_id});
        assert_eq!(refusal(&control(&front, PROBE, params.clone()).await).0, "NOT_FOUND");

        let proposed = json!({"result": {"outcome": "proposed", "proposals": [offer]}});
        let told = send(&front, "request_proposals", json!({"brief": "x"}), proposed).await;
        assert!(!told.is_error, "{}", told.body);
        let foreign = front.call_as(OTHER_API_KEY, CONTROLLER, &scenario(PROBE, params.clone())).await;
        assert_eq!(refusal(&foreign).0, "NOT_FOUND", "{}", foreign.body);
        let first = control(&front, PROBE, params.clone()).await.body;
        let again = control(&front, PROBE, params.clone()).await.body;
        assert_eq!((&first["simulated"]["expired"], &first["simulated"]), (&json!(true), &again["simulated"]), "{first}");
        assert_eq!(accept().await.code(), "PROPOSAL_EXPIRED");

        // Its seller sees that, and makes another end.
        let finalized = json!({"see": proposal_id, "result": {"results": [{"outcome": "finalized", "proposal": offer}]}});
        let refinements = json!({"refinements": [{"proposal_id": proposal_id, "action": "finalize"}]});
        let told = send(&front, "refine_proposals", refinements, finalized).await;
        assert!(!told.is_error, "{}", told.body);
        let tasks = world.calls.tasks("seen");
        let seen: Vec<Value> = tasks
            .iter()
            .flat_map(|task_id| world.calls.of("seen", task_id))
            .map(|seen| serde_json::from_str(&seen).unwrap())
            .collect();
        assert_eq!(seen[0]["names"]["body"]["expires_at"], first["simulated"]["expires_at"], "{seen:?}");
        let bought = accept().await;
        assert!(!bought.is_error, "{}", bought.body);
        assert_eq!(refusal(&control(&front, PROBE, params).await).0, "INVALID_STATE");

        assert!(world.calls.of("stage", "scenario").is_empty(), "the seller was asked");
        let answer = json!({"simulated": {"prepared": true, "product_id": "p"}});
        let prepare = json!({"operation": "prepare", "product_id": "p", "answer": answer});
        let prepared = control(&front, PROBE, prepare).await.body;
        assert_eq!(prepared["simulated"], answer["simulated"], "{prepared}");
        assert_eq!(world.calls.of("stage", "scenario").len(), 1);
    }
}
