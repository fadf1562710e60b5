//! What discovery offers, declines and commits gets into the ledger by every way that a result takes.

use super::{buy, proposal, refusal, state};
use crate::on_both_databases;
use handoff_client::{Caller, Direct, Viewer};
use handoff_proto::wire::TaskStatus;
use handoff_store::ProposalState;
use handoff_tests::{PRINCIPAL, SCOPE, decision, fresh_key, request};
use serde_json::{Value, json};

fn offer(proposal_id: &str, status: Option<&str>) -> Value {
    let mut offered = json!({"proposal_id": proposal_id, "name": "Sports", "allocations": []});
    if let Some(status) = status {
        offered["proposal_status"] = status.into();
    }
    offered
}

on_both_databases! {
    async fn offers_are_kept_on_every_arm_and_directly(world: World) {
        let worker = world.worker().await.unwrap();
        let caller = Caller::new(SCOPE, PRINCIPAL);
        for way in ["complete", "task", "workflow", "directly", "directly with a key"] {
            let proposal_id = format!("prop_{}", fresh_key());
            let result = json!({"products": [], "proposals": [offer(&proposal_id, Some("draft"))]});
            if way.starts_with("directly") {
                let mut asked = json!({"buying_mode": "brief", "brief": "x"});
                if way.ends_with("key") {
                    asked["idempotency_key"] = fresh_key().into();
                }
                let handler = async move |_| Ok(Direct::Complete(result));
                let text = asked.to_string();
                world.handoff.answer_directly(&caller, "get_products", text.as_bytes(), handler).await.unwrap();
            } else {
                let answer = world.call("get_products", json!({"arm": way, "result": result})).await.unwrap();
                if way == "workflow" {
                    world.called("review", &answer.task_id).await;
                    let decided = decision::complete(&result);
                    world.handoff.resolve(&Viewer::Operator, &answer.task_id, decided).await.unwrap();
                }
                if way != "complete" {
                    world.reaches(&answer.task_id, TaskStatus::Completed).await;
                }
            }
            assert_eq!(state(&world, &proposal_id).await, ProposalState::Draft, "{way}");
            assert_eq!(refusal(buy(&world, &proposal_id, json!({})).await).code, "PROPOSAL_NOT_COMMITTED", "{way}");
        }
        worker.stop().await;
    }

    async fn refine_keeps_the_draft_and_finalize_commits(world: World) {
        let worker = world.worker().await.unwrap();
        let proposal_id = format!("prop_{}", fresh_key());
        let says = |name: &str, status: &str, expires: Option<&str>| {
            let mut offered = offer(&proposal_id, Some(status));
            offered["name"] = name.into();
            if let Some(expires) = expires {
                offered["expires_at"] = expires.into();
            }
            json!({"products": [], "proposals": [offered]})
        };
        world.call("get_products", json!({"result": says("first", "draft", None)})).await.unwrap();
        world.call("get_products", json!({"result": says("refined", "draft", None)})).await.unwrap();
        let ledger = world.handoff.registry();
        let record = ledger.get_proposal(&super::reference(&proposal_id)).await.unwrap().unwrap();
        assert!(record.body_json.contains("refined") && record.proposal.state == ProposalState::Draft, "{record:?}");
        // Finalized by hand-off: an ordinary task of its verb, which can be polled.
        let task_id = world.submit("get_products", json!({"arm": "workflow"})).await;
        world.called("review", &task_id).await;
        assert_eq!(state(&world, &proposal_id).await, ProposalState::Draft);
        let final_result = says("final", "committed", Some("2099-01-01T00:00:00Z"));
        world.handoff.resolve(&Viewer::Operator, &task_id, decision::complete(&final_result)).await.unwrap();
        world.reaches(&task_id, TaskStatus::Completed).await;
        let committed = proposal(&world, &proposal_id).await;
        assert_eq!(committed.state, ProposalState::Committed);
        assert_eq!(committed.expires_at, Some(4_070_908_800_000_000));
        // As the older verb does it: without a digest.
        let mut bought = request(&fresh_key(), json!({}));
        bought["proposal_id"] = proposal_id.clone().into();
        world.send(super::BUY, &bought).await.unwrap();
        // What was bought is not offered again, whatever a late answer says.
        world.call("get_products", json!({"result": says("late", "draft", None)})).await.unwrap();
        assert_eq!(state(&world, &proposal_id).await, ProposalState::Consumed);
        worker.stop().await;
    }

    async fn a_child_names_its_parent_and_a_decline_is_for_good(world: World) {
        let worker = world.worker().await.unwrap();
        let (parent, child) = (format!("prop_{}", fresh_key()), format!("prop_{}", fresh_key()));
        let requested = json!({"outcome": "proposed", "proposals": [offer(&parent, Some("draft"))]});
        world.call("request_proposals", json!({"result": requested})).await.unwrap();
        let mut revised = offer(&child, Some("committed"));
        revised["parent_proposal_id"] = parent.clone().into();
        revised["expires_at"] = "2099-01-01T00:00:00Z".into();
        let refined = json!({"results": [{"proposal_id": parent, "outcome": "finalized", "proposal": revised}]});
        world.call("refine_proposals", json!({"result": refined})).await.unwrap();
        let record = proposal(&world, &child).await;
        assert_eq!((record.state, record.parent_proposal_id.as_ref()), (ProposalState::Committed, Some(&parent)));
        let declined = json!({"results": [{"proposal_id": child, "outcome": "declined"}]});
        for _ in 0..2 {
            world.call("decline_proposals", json!({"result": declined})).await.unwrap();
        }
        assert_eq!(state(&world, &child).await, ProposalState::Declined);
        assert_eq!(refusal(buy(&world, &child, json!({})).await).code, "INVALID_STATE");
        world.call("request_proposals", json!({"result": {"proposals": [offer(&child, Some("draft"))]}})).await.unwrap();
        assert_eq!(state(&world, &child).await, ProposalState::Declined);
        worker.stop().await;
    }

    async fn a_legacy_proposal_is_ready_to_buy(world: World) {
        let worker = world.worker().await.unwrap();
        let proposal_id = format!("prop_{}", fresh_key());
        let result = json!({"products": [], "proposals": [offer(&proposal_id, None)]});
        world.send("get_products", &request(&fresh_key(), json!({"result": result}))).await.unwrap();
        assert_eq!(state(&world, &proposal_id).await, ProposalState::Committed);
        worker.stop().await;
    }
}
