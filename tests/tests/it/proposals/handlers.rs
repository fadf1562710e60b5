//! What a verb handler sees of the proposals that its request names.

use super::{BUY, committed, committed_as, purchase, reference};
use crate::on_both_databases;
use handoff_client::Caller;
use handoff_tests::{PRINCIPAL, SCOPE, World, fresh_key, request};
use serde_json::{Value, json};

async fn seen(world: &World, caller: &Caller, verb: &str, request: &Value) -> Value {
    let answer = world.handoff.call(caller, verb, request.to_string().as_bytes()).await.unwrap();
    let seen = world.calls.of("seen", &answer.task_id);
    serde_json::from_str(seen.last().expect("the handler was called")).unwrap()
}

on_both_databases! {
    async fn a_purchase_sees_what_it_buys(world: World) {
        let worker = world.worker().await.unwrap();
        let own = Caller::new(SCOPE, PRINCIPAL);
        let adopting = Caller::new("account", PRINCIPAL).of_brand(Some(SCOPE.into()));
        // One of the verbs has a quick handler; and what is adopted stands in another scope than the task.
        for (verb, caller) in [(BUY, &own), ("accept_proposal", &own), (BUY, &adopting)] {
            for arm in ["complete", "workflow"] {
                let proposal_id = committed(&world).await;
                let asked = purchase(&fresh_key(), &proposal_id, json!({"arm": arm, "see": proposal_id}));
                let seen = seen(&world, caller, verb, &asked).await;
                let body = world.handoff.registry().get_proposal(&reference(&proposal_id)).await.unwrap().unwrap().body_json;
                let body: Value = serde_json::from_str(&body).unwrap();
                assert_eq!(seen, json!({"buys": body, "names": null}), "{verb} {arm}");
            }
        }
        worker.stop().await;
    }

    async fn a_refinement_sees_what_it_names_and_nothing_of_anothers(world: World) {
        let worker = world.worker().await.unwrap();
        let own = Caller::new(SCOPE, PRINCIPAL);
        let (draft, firm) = (committed_as(&world, |offer| offer.committed = false).await, committed(&world).await);
        let named = [json!({"proposal_id": draft}), json!({"proposal_id": firm}), json!({"proposal_id": "unknown"})];
        for (verb, list) in
            [("refine_proposals", "refinements"), ("decline_proposals", "declines"), ("get_products", "refine")]
        {
            for (caller, proposal_id, state) in [
                (&own, &draft, Some("draft")),
                (&own, &firm, Some("committed")),
                (&own, &"unknown".to_owned(), None),
                (&Caller::new("other", PRINCIPAL), &draft, None),
                (&Caller::new(SCOPE, "other"), &draft, None),
            ] {
                let mut asked = request(&fresh_key(), json!({"see": proposal_id, "result": {"results": [], "products": []}}));
                asked[list] = json!(named);
                let seen = seen(&world, caller, verb, &asked).await;
                assert_eq!(seen["names"]["state"].as_str(), state, "{verb} {proposal_id}");
                let id = state.map(|_| proposal_id.as_str());
                assert_eq!(seen["names"]["body"]["proposal_id"].as_str(), id, "{verb}");
                assert_eq!(seen["buys"], Value::Null);
            }
        }
        // A verb that only buys names none, and the other way round.
        let mut asked = request(&fresh_key(), json!({"see": draft}));
        asked["refine"] = json!(named);
        assert_eq!(seen(&world, &own, BUY, &asked).await, json!({"buys": null, "names": null}));
        worker.stop().await;
    }
}
