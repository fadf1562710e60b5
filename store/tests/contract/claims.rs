//! Idempotency keys.

use crate::{database::Database, support::*};
use handoff_proto::limits::MAX_SCOPE_BYTES;
use handoff_store::{Answer, Claim, ClaimView, NewClaim, RegistryError};
use std::{sync::Arc, time::Duration};

pub(crate) async fn new_key_is_new_and_another_call_attaches(database: Arc<Database>) {
    let registry = registry(&database).await;
    let (first, second) = (new_task(), new_task());
    assert_eq!(registry.claim(&claim_of(&first, Some("k"))).await.unwrap(), Claim::New);
    assert_eq!(registry.claim_view(&first).await.unwrap(), ClaimView::InFlight);
    let attached = registry.claim(&claim_of(&second, Some("k"))).await.unwrap();
    assert_eq!(attached, Claim::InFlight { task_id: first.task_id.clone() });
    assert_eq!(registry.claim_view(&second).await.unwrap(), ClaimView::Missing);
    // The workflow arm keeps the claim in flight until it is accepted.
    registry.record_decision(&first, &to_workflow()).await.unwrap();
    let attached = registry.claim(&claim_of(&second, Some("k"))).await.unwrap();
    assert_eq!(attached, Claim::InFlight { task_id: first.task_id.clone() });
    registry.close().await;
}

pub(crate) async fn same_call_again_is_still_new(database: Arc<Database>) {
    let registry = registry(&database).await;
    for key in [Some("k"), None] {
        let claim = claim_of(&new_task(), key);
        for _ in 0..3 {
            assert_eq!(registry.claim(&claim).await.unwrap(), Claim::New);
        }
        registry.record_decision(&claim.task, &to_workflow()).await.unwrap();
        let task_id = claim.task.task_id.clone();
        assert_eq!(registry.claim(&claim).await.unwrap(), Claim::InFlight { task_id: task_id.clone() });
        registry.accept(&claim.task).await.unwrap();
        let answer = Answer { status: "submitted".into(), body_json: submitted_body(&claim.task) };
        assert_eq!(registry.claim(&claim).await.unwrap(), Claim::Answered { task_id, answer });
    }
    registry.close().await;
}

pub(crate) async fn other_request_conflicts(database: Arc<Database>) {
    let registry = registry(&database).await;
    let task = new_task();
    registry.claim(&claim_of(&task, Some("k"))).await.unwrap();
    let other_hash = NewClaim { request_hash: "other".into(), ..claim_of(&new_task(), Some("k")) };
    let mut other_verb = claim_of(&new_task(), Some("k"));
    other_verb.task.verb = "update_media_buy".into();
    for _ in 0..2 {
        // In flight, and then answered.
        assert_eq!(registry.claim(&other_hash).await.unwrap(), Claim::Conflict);
        assert_eq!(registry.claim(&other_verb).await.unwrap(), Claim::Conflict);
        registry.record_decision(&task, &complete("{}")).await.unwrap();
    }
    registry.close().await;
}

pub(crate) async fn answer_is_replayed_as_written(database: Arc<Database>) {
    let registry = registry(&database).await;
    let task = new_task();
    registry.claim(&claim_of(&task, Some("k"))).await.unwrap();
    let body = r#"{"z":1.10,"a":1E400,"é":"\u00e9"}"#;
    registry.record_decision(&task, &complete(body)).await.unwrap();
    let answer = Answer { status: "completed".into(), body_json: body.into() };
    let expected = Claim::Answered { task_id: task.task_id.clone(), answer: answer.clone() };
    for _ in 0..2 {
        assert_eq!(registry.claim(&claim_of(&new_task(), Some("k"))).await.unwrap(), expected);
    }
    assert_eq!(registry.claim_view(&task).await.unwrap(), ClaimView::Answered(answer));
    registry.close().await;
}

pub(crate) async fn answer_expires(database: Arc<Database>) {
    let registry = registry_with_ttl(&database, Duration::from_millis(1)).await;
    let task = new_task();
    registry.claim(&claim_of(&task, Some("k"))).await.unwrap();
    let other = NewClaim { request_hash: "other".into(), ..claim_of(&new_task(), Some("k")) };
    // A claim in flight has no TTL: one that waits for a person may wait for days.
    assert_eq!(registry.claim(&other).await.unwrap(), Claim::Conflict);
    registry.record_decision(&task, &complete("{}")).await.unwrap();
    while registry.claim(&claim_of(&new_task(), Some("k"))).await.unwrap() != Claim::Expired {
        tokio::task::yield_now().await;
    }
    assert_eq!(registry.claim(&other).await.unwrap(), Claim::Expired);
    registry.close().await;
}

pub(crate) async fn released_key_is_free_and_its_row_stays(database: Arc<Database>) {
    let registry = registry(&database).await;
    let (first, second) = (new_task(), new_task());
    registry.claim(&claim_of(&first, Some("k"))).await.unwrap();
    registry.record_decision(&first, &refuse("BUDGET_TOO_LOW")).await.unwrap();
    let other = NewClaim { request_hash: "other".into(), ..claim_of(&second, Some("k")) };
    assert_eq!(registry.claim(&other).await.unwrap(), Claim::New);
    registry.record_decision(&second, &complete("{}")).await.unwrap();
    // Late steps of the first change nothing of the second.
    registry.record_decision(&first, &complete(r#"{"late":true}"#)).await.unwrap();
    registry.accept(&first).await.unwrap();
    registry.settle(&first, &result("{}")).await.unwrap();
    registry.discard(&first, &error("LATE")).await.unwrap();
    let ClaimView::Refused { error_json } = registry.claim_view(&first).await.unwrap() else { panic!() };
    assert_eq!(serde_json::from_str::<handoff_proto::v1::AdcpError>(&error_json).unwrap(), error("BUDGET_TOO_LOW"));
    assert!(
        matches!(registry.claim_view(&second).await.unwrap(), ClaimView::Answered(answer) if answer.body_json == "{}")
    );
    registry.close().await;
}

pub(crate) async fn repeated_call_of_a_refused_request_attaches(database: Arc<Database>) {
    let registry = registry(&database).await;
    let claim = claim_of(&new_task(), Some("k"));
    registry.claim(&claim).await.unwrap();
    registry.record_decision(&claim.task, &refuse("NO")).await.unwrap();
    let attached = Claim::InFlight { task_id: claim.task.task_id.clone() };
    assert_eq!(registry.claim(&claim).await.unwrap(), attached);
    assert!(matches!(registry.claim_view(&claim.task).await.unwrap(), ClaimView::Refused { .. }));
    registry.close().await;
}

pub(crate) async fn keyless_requests_have_rows_but_no_key(database: Arc<Database>) {
    let registry = registry(&database).await;
    let (first, second) = (new_task(), new_task());
    assert_eq!(registry.claim(&claim_of(&first, None)).await.unwrap(), Claim::New);
    assert_eq!(registry.claim(&claim_of(&second, None)).await.unwrap(), Claim::New);
    registry.record_decision(&first, &to_task()).await.unwrap();
    assert_eq!(status(&*registry, &first).await.as_deref(), Some("submitted"));
    assert!(matches!(registry.claim_view(&first).await.unwrap(), ClaimView::Answered(_)));
    assert_eq!(registry.claim_view(&second).await.unwrap(), ClaimView::InFlight);
    registry.close().await;
}

pub(crate) async fn concurrent_claims_have_one_winner(database: Arc<Database>) {
    let registry = registry(&database).await;
    let calls = (0..50).map(|_| {
        let registry = Arc::clone(&registry);
        tokio::spawn(async move {
            let task = new_task();
            let claim = registry.claim(&claim_of(&task, Some("k"))).await.unwrap();
            (task, claim)
        })
    });
    let calls: Vec<_> = futures::future::join_all(calls).await.into_iter().map(Result::unwrap).collect();
    let winners: Vec<_> = calls.iter().filter(|(_, claim)| *claim == Claim::New).collect();
    assert_eq!(winners.len(), 1);
    let attached = Claim::InFlight { task_id: winners[0].0.task_id.clone() };
    assert_eq!(calls.iter().filter(|(_, claim)| *claim == attached).count(), 49);
    registry.close().await;
}

pub(crate) async fn concurrent_release_and_claim_never_fail(database: Arc<Database>) {
    let registry = registry(&database).await;
    let calls = (0..20).map(|_| {
        let registry = Arc::clone(&registry);
        tokio::spawn(async move {
            // Each holds the key once, and gives it back.
            loop {
                let task = new_task();
                if registry.claim(&claim_of(&task, Some("k"))).await.unwrap() == Claim::New {
                    return registry.record_decision(&task, &refuse("NEXT")).await.unwrap();
                }
                tokio::task::yield_now().await;
            }
        })
    });
    for call in futures::future::join_all(calls).await {
        assert_eq!(call.unwrap().refusal, Some(error("NEXT")));
    }
    registry.close().await;
}

pub(crate) async fn task_id_of_another_request_is_refused(database: Arc<Database>) {
    let registry = registry(&database).await;
    let task = claimed(&*registry).await;
    let before = everything(&*registry, &task).await;
    let mut foreign = claim_of(&task, Some("k"));
    foreign.task.scope = "acct_2".into();
    for claim in [claim_of(&task, Some("k")), claim_of(&task, None), foreign] {
        let error = registry.claim(&claim).await.unwrap_err();
        assert!(matches!(error, RegistryError::InvalidQuery { field: "task_id", .. }), "{error}");
    }
    assert_eq!(everything(&*registry, &task).await, before);
    registry.close().await;
}

pub(crate) async fn what_no_database_can_store_is_refused(database: Arc<Database>) {
    let registry = registry(&database).await;
    let refused = async |change: fn(&mut NewClaim), expected: &str| {
        let mut claim = claim_of(&new_task(), Some("k"));
        change(&mut claim);
        match registry.claim(&claim).await {
            Err(RegistryError::InvalidQuery { field, .. }) => assert_eq!(field, expected),
            other => panic!("{expected}: {other:?}"),
        }
    };
    refused(|claim| claim.idempotency_key = Some("a\0b".into()), "idempotency_key").await;
    refused(|claim| claim.idempotency_key = Some("k".repeat(10_000)), "idempotency_key").await;
    refused(|claim| claim.idempotency_key = Some(String::new()), "idempotency_key").await;
    refused(|claim| claim.task.scope = String::new(), "task.scope").await;
    refused(|claim| claim.task.scope = "s".repeat(MAX_SCOPE_BYTES + 1), "task.scope").await;
    refused(|claim| claim.task.principal = "p\0".into(), "task.principal").await;
    refused(|claim| claim.task.task_id = String::new(), "task.task_id").await;
    refused(|claim| claim.context_json = Some("\0".into()), "context").await;
    // The longest that is allowed fits every index.
    let mut longest = claim_of(&new_task(), Some(&"k".repeat(512)));
    longest.task.scope = "s".repeat(MAX_SCOPE_BYTES);
    longest.task.principal = "p".repeat(MAX_SCOPE_BYTES);
    assert_eq!(registry.claim(&longest).await.unwrap(), Claim::New);
    registry.record_decision(&longest.task, &to_task()).await.unwrap();
    registry.close().await;
}

pub(crate) async fn keys_of_scopes_and_principals_are_apart(database: Arc<Database>) {
    let registry = registry(&database).await;
    for (scope, principal) in [("acct_1", "agent_1"), ("acct_2", "agent_1"), ("acct_1", "agent_2")] {
        let mut claim = claim_of(&new_task(), Some("k"));
        claim.task.scope = scope.into();
        claim.task.principal = principal.into();
        assert_eq!(registry.claim(&claim).await.unwrap(), Claim::New);
    }
    registry.close().await;
}
