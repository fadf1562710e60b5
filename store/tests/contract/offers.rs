//! What completed results say about proposals, written by whatever records them.

use crate::{database::Database, ledger_support::*, support::*};
use handoff_proto::{
    v1::{Completion, TaskRef, completion::Outcome},
    wire::ProposalKind,
};
use handoff_store::{KeptProposals, Lease, ProposalState, Registry};
use serde_json::{Value, json};
use std::sync::Arc;

async fn asked(registry: &dyn Registry, verb: &str) -> TaskRef {
    let task = TaskRef { verb: verb.into(), ..new_task() };
    registry.claim(&claim_of(&task, Some(&task.task_id))).await.unwrap();
    task
}

async fn answered(registry: &dyn Registry, verb: &str, body: &Value) -> TaskRef {
    let task = asked(registry, verb).await;
    registry.record_decision(&task, &complete(&body.to_string())).await.unwrap();
    task
}

fn draft(id: &str) -> Value {
    json!({"proposal_id": id, "proposal_status": "draft", "name": id})
}

pub(crate) async fn results_are_kept_on_every_path(database: Arc<Database>) {
    let registry = registry(&database).await;
    let lease = Lease { until: i64::MAX, rerunnable: true };
    for path in ["sync", "direct", "promoted", "task", "pending", "keyless"] {
        let body = json!({"products": [], "proposals": [draft(path), {"proposal_id": format!("{path}-legacy")}]});
        let text = body.to_string();
        let task = TaskRef { verb: "get_products".into(), ..new_task() };
        let claim = claim_of(&task, Some(path));
        match path {
            "direct" => drop(registry.claim_directly(&claim, &lease).await.unwrap()),
            "keyless" => {}
            _ => drop(registry.claim(&claim).await.unwrap()),
        }
        for round in 0..2 {
            match path {
                "sync" => drop(registry.record_decision(&task, &complete(&text)).await.unwrap()),
                "direct" => drop(registry.record_direct(&task, &complete(&text), &lease).await.unwrap()),
                "promoted" => {
                    registry.accept(&task).await.unwrap();
                    registry.record_decision(&task, &complete(&text)).await.unwrap();
                }
                "keyless" => {
                    let kept = registry.keep_proposals(&task, &text, false).await.unwrap();
                    assert_eq!(kept.written, ["keyless", "keyless-legacy"]);
                }
                _ => {
                    let handoff = if path == "task" { to_task() } else { to_workflow() };
                    registry.record_decision(&task, &handoff).await.unwrap();
                    registry.settle(&task, &result(&text)).await.unwrap();
                }
            }
            let record = registry.get_proposal(&at(path)).await.unwrap().unwrap();
            assert_eq!(record.proposal.state, ProposalState::Draft, "{path} {round}");
            assert_eq!(record.body_json, draft(path).to_string(), "as the seller returned it");
            // Without a status it is ready to be bought.
            let legacy = found(&*registry, &format!("{path}-legacy")).await.unwrap();
            assert_eq!((legacy.state, legacy.kind), (ProposalState::Committed, ProposalKind::NewMediaBuy));
            let history = registry.proposal_history(&at(path)).await.unwrap().unwrap();
            assert_eq!(history.len(), 1, "{path} {round}");
            assert_eq!(history[0].task_id.as_ref(), Some(&task.task_id));
        }
    }
    registry.close().await;
}

pub(crate) async fn what_did_not_succeed_offers_nothing(database: Arc<Database>) {
    let registry = registry(&database).await;
    let offers = |status: &str| json!({"status": status, "reason": "no", "proposals": [draft("p")]}).to_string();
    for status in ["rejected", "failed"] {
        let task = asked(&*registry, "get_products").await;
        registry.record_decision(&task, &complete(&offers(status))).await.unwrap();
    }
    let task = asked(&*registry, "get_products").await;
    registry.record_decision(&task, &to_task()).await.unwrap();
    registry.settle(&task, &cancellation()).await.unwrap();
    // The second decision is not the recorded one.
    registry.settle(&task, &result(&offers("completed"))).await.unwrap();
    let task = asked(&*registry, "get_signals").await;
    registry.record_decision(&task, &complete(&offers("completed"))).await.unwrap();
    assert_eq!(found(&*registry, "p").await, None);
    registry.close().await;
}

pub(crate) async fn refining_overwrites_or_mints_and_finalizing_commits(database: Arc<Database>) {
    let registry = registry(&database).await;
    answered(&*registry, "get_products", &json!({"proposals": [draft("p")]})).await;
    // Legacy: the id stays.
    answered(
        &*registry,
        "get_products",
        &json!({"proposals": [{"proposal_id": "p", "proposal_status": "draft", "name": "cheaper"}]}),
    )
    .await;
    let firm = json!({"proposal_id": "p", "proposal_status": "committed", "expires_at": "2099-01-01T00:00:00Z"});
    answered(&*registry, "get_products", &json!({"proposals": [firm]})).await;
    assert_eq!(told(&*registry, "p").await, ["drafted", "drafted", "committed"]);
    assert_eq!(found(&*registry, "p").await.unwrap().expires_at, Some(4_070_908_800_000_000));
    // Compact: a child; the source stays.
    let child = |id: &str, status: &str| {
        json!({
            "proposal_id": id, "parent_proposal_id": "q", "proposal_status": status, "terms_digest": "sha256:x",
            "proposal_kind": "new_media_buy", "expires_at": "2099-01-01T00:00:00Z",
        })
    };
    answered(&*registry, "request_proposals", &json!({"outcome": "proposed", "proposals": [draft("q")]})).await;
    let revised = json!({"source_proposal_id": "q", "outcome": "revised", "proposals": [child("q1", "draft")]});
    answered(&*registry, "refine_proposals", &json!({"products": [], "results": [revised]})).await;
    let task = asked(&*registry, "refine_proposals").await;
    registry.record_decision(&task, &to_workflow()).await.unwrap();
    let finalized = json!({"source_proposal_id": "q1", "outcome": "finalized", "proposal": child("q2", "committed")});
    let finalized = json!({"products": [], "results": [finalized]}).to_string();
    registry.settle(&task, &result(&finalized)).await.unwrap();
    let states = [("q", ProposalState::Draft), ("q1", ProposalState::Draft), ("q2", ProposalState::Committed)];
    for (id, state) in states {
        assert_eq!(stands(&*registry, id).await.0, state, "{id}");
    }
    let child = found(&*registry, "q2").await.unwrap();
    assert_eq!((child.parent_proposal_id.as_deref(), child.terms_digest.as_deref()), (Some("q"), Some("sha256:x")));
    registry.close().await;
}

pub(crate) async fn declined_proposals_are_declined_for_good(database: Arc<Database>) {
    let registry = registry(&database).await;
    answered(&*registry, "get_products", &json!({"proposals": [draft("a"), draft("b"), {"proposal_id": "c"}]})).await;
    let task = begun(&*registry, "c").await;
    let declines = json!({"results": [
        {"proposal_id": "a", "outcome": "declined"},
        {"proposal_id": "b", "outcome": "unable", "reason": "no"},
        {"proposal_id": "c", "outcome": "declined"},
        {"proposal_id": "never-was", "outcome": "declined"},
    ]});
    for _ in 0..2 {
        answered(&*registry, "decline_proposals", &declines).await;
    }
    let states = [("a", ProposalState::Declined), ("b", ProposalState::Draft), ("c", ProposalState::Consuming)];
    for (id, state) in states {
        assert_eq!(stands(&*registry, id).await.0, state, "{id}");
    }
    assert_eq!(told(&*registry, "a").await, ["drafted", "declined"]);
    // No later offer brings it back, and none touches what is being bought.
    let again = json!({"proposals": [draft("a"), {"proposal_id": "a2"}, {"proposal_id": "c", "name": "other terms"}]});
    answered(&*registry, "get_products", &again).await;
    let discovery = TaskRef { verb: "get_products".into(), ..new_task() };
    let kept = registry.keep_proposals(&discovery, &again.to_string(), false).await;
    let expected =
        KeptProposals { written: vec!["a2".into()], left: vec!["a".into(), "c".into()], ..Default::default() };
    assert_eq!(kept.unwrap(), expected);
    assert_eq!(stands(&*registry, "a").await.0, ProposalState::Declined);
    assert_eq!(stands(&*registry, "c").await, (ProposalState::Consuming, Some(task.task_id)));
    registry.close().await;
}

pub(crate) async fn any_change_of_a_buy_tells_its_revision(database: Arc<Database>) {
    let registry = registry(&database).await;
    commit(&*registry, &offer("p")).await;
    buy(&*registry, "p", "mb", 1).await;
    commit(&*registry, &amendment("stale", ProposalKind::MediaBuyUpdate, "mb", 1)).await;
    for revision in [3, 2] {
        answered(&*registry, "control_media_buy", &json!({"media_buy_id": "mb", "revision": revision})).await;
        assert_eq!(found(&*registry, "p").await.unwrap().media_buy_revision, Some(3));
    }
    let task = claimed_with(&*registry, uses("stale")).await;
    assert_eq!(registry.begin(&task).await.unwrap().refusal.unwrap().code, "CONFLICT");
    commit(&*registry, &amendment("wider", ProposalKind::MediaBuyUpdate, "mb", 3)).await;
    let task = begun(&*registry, "wider").await;
    registry.record_decision(&task, &complete(r#"{"media_buy_id":"mb","revision":4}"#)).await.unwrap();
    assert_eq!(found(&*registry, "wider").await.unwrap().media_buy_revision, Some(4));
    // The earlier one keeps what it was told last.
    assert_eq!(found(&*registry, "p").await.unwrap().media_buy_revision, Some(3));
    registry.close().await;
}

pub(crate) async fn what_cannot_be_stored_does_not_hold_a_result_up(database: Arc<Database>) {
    let registry = registry(&database).await;
    let long = "p".repeat(2_000);
    let body = json!({"products": [], "proposals": [
        {"proposal_id": long}, {"proposal_id": "nul\u{0}"}, {"proposal_id": ""}, {"name": "none"}, 7, null,
        {"proposal_id": "base", "proposal_kind": "media_buy_update", "media_buy_id": long, "base_media_buy_revision": 1},
        {"proposal_id": "fine", "proposal_status": "draft", "name": "\u{0}", "terms_digest": "\u{0}", "expires_at": "soon"},
    ]});
    let task = asked(&*registry, "get_products").await;
    registry.record_decision(&task, &to_task()).await.unwrap();
    let completion = Completion { outcome: Some(Outcome::ResultJson(body.to_string())), ..Default::default() };
    assert_eq!(ended(&registry.settle(&task, &completion).await.unwrap()), "completed");
    let record = registry.get_proposal(&at("fine")).await.unwrap().unwrap();
    assert_eq!((record.proposal.terms_digest, record.proposal.expires_at), (None, None));
    assert_eq!(serde_json::from_str::<Value>(&record.body_json).unwrap(), body["proposals"][7]);
    assert_eq!(found(&*registry, "base").await, None);
    registry.close().await;
}

pub(crate) async fn concurrent_offers_of_one_proposal_all_succeed(database: Arc<Database>) {
    let registry = registry(&database).await;
    let calls = (0..20).map(|number| {
        let registry = Arc::clone(&registry);
        tokio::spawn(async move {
            let mut body = json!({"proposals": [draft("p"), draft("q")]});
            body["proposals"][0]["name"] = number.into();
            if number % 2 == 0 {
                body["proposals"].as_array_mut().unwrap().reverse();
            }
            answered(&*registry, "get_products", &body).await;
        })
    });
    futures::future::join_all(calls).await.into_iter().for_each(|done| done.unwrap());
    // Each said something else of the one, and the same of the other.
    assert_eq!(told(&*registry, "p").await.len(), 20);
    assert_eq!(told(&*registry, "q").await, ["drafted"]);
    registry.close().await;
}
