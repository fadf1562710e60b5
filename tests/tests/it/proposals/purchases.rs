//! Buying proposals.

use super::{BUY, DIGEST, buy, committed, committed_as, proposal, purchase, refusal, state, transitions};
use crate::on_both_databases;
use handoff_client::{Caller, Viewer};
use handoff_proto::{
    errors,
    wire::{AdcpError, Recovery, TaskStatus},
    workflows::COMPLETE,
};
use handoff_store::{ProposalRef, ProposalState};
use handoff_tests::{Kind, PRINCIPAL, SCOPE, World, decision, eventually, fresh_key, payload};
use serde_json::json;
use std::time::Duration;

// The other verb that buys; in the lab, its handler is quick.
const ACCEPT: &str = "accept_proposal";

on_both_databases! {
    async fn each_arm_consumes_what_it_bought(world: World) {
        let worker = world.worker().await.unwrap();
        for verb in [BUY, ACCEPT] {
            for arm in ["complete", "task", "workflow"] {
                let proposal_id = committed(&world).await;
                let answer = world.send(verb, &purchase(&fresh_key(), &proposal_id, json!({"arm": arm}))).await.unwrap();
                let task_id = answer.task_id;
                if arm == "workflow" {
                    world.called("review", &task_id).await;
                    let held = proposal(&world, &proposal_id).await;
                    assert_eq!((held.state, held.held_by.as_ref()), (ProposalState::Consuming, Some(&task_id)));
                    let result = json!({"media_buy_id": format!("mb_{task_id}")});
                    world.handoff.resolve(&Viewer::Operator, &task_id, decision::complete(&result)).await.unwrap();
                }
                if arm != "complete" {
                    world.reaches(&task_id, TaskStatus::Completed).await;
                }
                let bought = proposal(&world, &proposal_id).await;
                let media_buy_id = format!("mb_{task_id}");
                assert_eq!((bought.state, bought.media_buy_id.as_ref()), (ProposalState::Consumed, Some(&media_buy_id)));
                let ledger = world.handoff.registry();
                let found = ledger.get_by_media_buy_id(SCOPE, PRINCIPAL, &media_buy_id).await.unwrap().unwrap();
                assert_eq!(found.proposal.key.proposal_id, proposal_id);
                let history = transitions(&world, &proposal_id).await;
                let expected = [("committed", None), ("reserved", Some(&task_id)), ("consumed", Some(&task_id))];
                assert_eq!(history, expected.map(|(event, task)| (event.to_owned(), task.cloned())), "{verb} {arm}");
                // It is sold.
                let again = refusal(world.send(verb, &purchase(&fresh_key(), &proposal_id, json!({"arm": arm}))).await);
                assert_eq!((again.code.as_str(), again.recovery), ("INVALID_STATE", Recovery::Correctable));
            }
        }
        worker.stop().await;
    }

    async fn whatever_is_no_purchase_releases_and_the_retry_buys(world: World) {
        let worker = world.worker().await.unwrap();
        let error = AdcpError::correctable("TERMS_REJECTED", "No.");
        for (how, lab) in [
            ("refused", json!({"arm": "refuse"})),
            ("unable", json!({"arm": "workflow", "review": "unable"})),
            ("task fails", json!({"arm": "task", "fails": 9})),
            ("reviewer fails", json!({"arm": "workflow"})),
            ("reviewer rejects", json!({"arm": "workflow"})),
            ("canceled", json!({"arm": "workflow"})),
            ("deadline", json!({"arm": "workflow", "deadline_ms": 300})),
            ("no media_buy_id", json!({"arm": "complete", "result": {"packages": []}})),
            ("no media_buy_id, late", json!({"arm": "task", "result": {"packages": []}})),
        ] {
            let proposal_id = committed(&world).await;
            let answer = buy(&world, &proposal_id, lab).await;
            if let Ok(answer) = &answer {
                let task_id = answer.task_id.as_str();
                let decided = match how {
                    "reviewer fails" => Some(decision::fail(error.clone())),
                    "reviewer rejects" => Some(decision::complete(&json!({"status": "rejected", "reason": "No."}))),
                    "canceled" => Some(decision::cancel()),
                    _ => None,
                };
                if let Some(decided) = decided {
                    world.called("review", task_id).await;
                    world.handoff.resolve(&Viewer::Operator, task_id, decided).await.unwrap();
                }
                let task = eventually("the task ends", || async {
                    world.task(task_id).await.filter(|task| {
                        task.status.parse::<TaskStatus>().is_ok_and(TaskStatus::is_terminal)
                    })
                }).await;
                assert_ne!(task.status, "completed", "{how}");
                if how.starts_with("no media_buy_id") {
                    assert_eq!(task.error.unwrap().code, errors::NOT_FINALIZED, "{how}");
                }
            } else if how == "no media_buy_id" {
                assert_eq!(refusal(answer).code, errors::NOT_FINALIZED);
                let told = world.calls.tasks("on_failure").pop().expect("the seller believed in its success");
                assert_eq!(world.calls.of("on_failure", &told), [format!("refused {}", errors::NOT_FINALIZED)]);
                assert_eq!(world.calls.of("discarded", &told).len(), 1);
            }
            assert_eq!(state(&world, &proposal_id).await, ProposalState::Committed, "{how}");
            // At once, with a new key.
            buy(&world, &proposal_id, json!({"arm": "complete"})).await.unwrap_or_else(|error| panic!("{how}: {error}"));
            assert_eq!(state(&world, &proposal_id).await, ProposalState::Consumed, "{how}");
        }
        worker.stop().await;
    }

    async fn a_hundred_buyers_of_one_proposal_are_one_purchase(world: World) {
        let worker = world.worker().await.unwrap();
        let proposal_id = committed(&world).await;
        let gate = fresh_key();
        let lab = json!({"arm": "complete", "hold": {"decide": gate}});
        let requests: Vec<_> = (0..100).map(|_| purchase(&fresh_key(), &proposal_id, lab.clone())).collect();
        let calls = futures::future::join_all(requests.iter().map(|request| world.send(BUY, request)));
        let winner = async {
            let task_id = world.called_for("decide").await;
            // The others are told while it runs.
            let held = refusal(buy(&world, &proposal_id, json!({"arm": "complete"})).await);
            assert_eq!((held.code.as_str(), held.recovery), ("CONFLICT", Recovery::Transient));
            assert!(held.retry_after.is_some() && held.field.as_deref() == Some("proposal_id"), "{held:?}");
            assert!(!held.to_json().to_string().contains(&task_id), "{held:?}");
            world.calls.open(&gate);
            task_id
        };
        let (answers, task_id) = futures::join!(calls, winner);
        let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().enumerate().partition(|(_, answer)| answer.is_ok());
        assert_eq!((won.len(), lost.len()), (1, 99));
        for (_, answer) in lost {
            let code = refusal(answer).code;
            assert!(["CONFLICT", "INVALID_STATE"].contains(&code.as_str()), "{code}");
        }
        assert_eq!(world.calls.tasks("decide"), std::slice::from_ref(&task_id), "the seller was asked once");
        let (number, answer) = won.into_iter().next().unwrap();
        let replayed = world.send(BUY, &requests[number]).await.unwrap();
        assert!(replayed.replayed);
        assert_eq!(replayed.body["media_buy_id"], answer.unwrap().body["media_buy_id"]);
        let after = refusal(buy(&world, &proposal_id, json!({"arm": "complete"})).await);
        assert_eq!((after.code.as_str(), after.field.as_deref()), ("INVALID_STATE", Some("proposal_id")));
        worker.stop().await;
    }

    async fn what_can_not_be_bought_is_refused_before_the_seller_is_called(world: World) {
        let worker = world.worker().await.unwrap();
        let draft = committed_as(&world, |offer| offer.committed = false).await;
        let expired = committed_as(&world, |offer| offer.expires_at = Some(1)).await;
        let to_sign = committed_as(&world, |offer| offer.io_id = Some("io-1".into())).await;
        let declined = committed(&world).await;
        let ledger = world.handoff.registry();
        ledger.decline_proposal(&super::reference(&declined), &Default::default()).await.unwrap().unwrap();
        let elsewhere = committed(&world).await;
        for (proposal_id, code, field) in [
            (&draft, "PROPOSAL_NOT_COMMITTED", "proposal_id"),
            (&expired, "PROPOSAL_EXPIRED", "proposal_id"),
            (&to_sign, "IO_REQUIRED", "io_acceptance"),
            (&declined, "INVALID_STATE", "proposal_id"),
            (&"unknown".to_owned(), "PROPOSAL_NOT_FOUND", "proposal_id"),
        ] {
            let error = refusal(buy(&world, proposal_id, json!({"arm": "complete"})).await);
            assert_eq!((error.code.as_str(), error.field.as_deref()), (code, Some(field)), "{proposal_id}");
        }
        let mut other_terms = purchase(&fresh_key(), &elsewhere, json!({"arm": "complete"}));
        other_terms["proposal_terms_digest"] = "sha256:other".into();
        let error = refusal(world.send(BUY, &other_terms).await);
        assert_eq!((error.code.as_str(), error.field.as_deref()), ("PROPOSAL_NOT_FOUND", Some("proposal_terms_digest")));
        // Another account's, and another agent's, is not there.
        let mut foreign = Vec::new();
        for caller in [Caller::new("other", PRINCIPAL), Caller::new(SCOPE, "other")] {
            for proposal_id in [&elsewhere, &"unknown".to_owned()] {
                let text = purchase(&fresh_key(), proposal_id, json!({"arm": "complete"})).to_string();
                foreign.push(refusal(world.handoff.call(&caller, BUY, text.as_bytes()).await).to_json());
            }
        }
        assert!(foreign.iter().all(|error| *error == foreign[0]), "{foreign:?}");
        assert_eq!(world.calls.tasks("decide"), [] as [String; 0]);
        let mut signed = purchase(&fresh_key(), &to_sign, json!({"arm": "complete"}));
        signed["io_acceptance"] = json!({"io_id": "io-1", "accepted_at": "2026-11-25T00:00:00Z", "signatory": "ann"});
        world.send(BUY, &signed).await.unwrap();
        assert_eq!(state(&world, &to_sign).await, ProposalState::Consumed);
        worker.stop().await;
    }

    async fn an_account_adopts_what_was_offered_to_its_brand(world: World) {
        let worker = world.worker().await.unwrap();
        let proposal_id = committed(&world).await;
        let buyer = Caller::new("account", PRINCIPAL).of_brand(Some(SCOPE.into()));
        let text = purchase(&fresh_key(), &proposal_id, json!({"arm": "complete"})).to_string();
        let stranger = Caller::new("account", "other").of_brand(Some(SCOPE.into()));
        assert_eq!(refusal(world.handoff.call(&stranger, BUY, text.as_bytes()).await).code, "PROPOSAL_NOT_FOUND");
        let answer = world.handoff.call(&buyer, BUY, text.as_bytes()).await.unwrap();
        let media_buy_id = answer.body["media_buy_id"].as_str().unwrap().to_owned();
        let ledger = world.handoff.registry();
        let found = ledger.get_by_media_buy_id("account", PRINCIPAL, &media_buy_id).await.unwrap().unwrap();
        assert_eq!(found.proposal.key.proposal_id, proposal_id);
        assert_eq!(ledger.get_by_media_buy_id(SCOPE, PRINCIPAL, &media_buy_id).await.unwrap(), None);
        let named = ProposalRef::new("account", PRINCIPAL, &proposal_id);
        assert_eq!(ledger.get_proposal(&named).await.unwrap(), None);
        assert!(ledger.get_proposal(&named.or_of_brand(Some(SCOPE.into()))).await.unwrap().is_some());
        worker.stop().await;
    }

    async fn a_promoted_purchase_keeps_its_reservation(world: World) {
        let worker = world.worker().await.unwrap();
        for (arm, ends) in [("complete", TaskStatus::Completed), ("refuse", TaskStatus::Failed)] {
            let proposal_id = committed(&world).await;
            let gate = fresh_key();
            let lab = json!({"arm": arm, "hold": {"decide": gate}});
            let prompt = world.prompt(Duration::from_millis(100));
            let text = purchase(&fresh_key(), &proposal_id, lab).to_string();
            let answer = prompt.call(&Caller::new(SCOPE, PRINCIPAL), BUY, text.as_bytes()).await.unwrap();
            assert_eq!(answer.status, "submitted", "{arm}");
            assert_eq!(state(&world, &proposal_id).await, ProposalState::Consuming, "{arm}");
            world.calls.open(&gate);
            world.reaches(&answer.task_id, ends).await;
            let left = if arm == "complete" { ProposalState::Consumed } else { ProposalState::Committed };
            assert_eq!(state(&world, &proposal_id).await, left, "{arm}");
        }
        worker.stop().await;
    }

    async fn a_review_may_outlast_the_proposal(world: World) {
        let worker = world.worker().await.unwrap();
        let later = (chrono::Utc::now() + chrono::TimeDelta::hours(1)).timestamp_micros();
        let proposal_id = committed_as(&world, |offer| offer.expires_at = Some(later)).await;
        let task_id = buy(&world, &proposal_id, json!({"arm": "workflow"})).await.unwrap().task_id;
        world.called("review", &task_id).await;
        let other = committed_as(&world, |offer| offer.expires_at = Some(later)).await;
        // Its time is over.
        world.execute("UPDATE proposals SET expires_at = 1").await.unwrap();
        assert_eq!(refusal(buy(&world, &other, json!({"arm": "complete"})).await).code, "PROPOSAL_EXPIRED");
        let result = json!({"media_buy_id": "mb_late"});
        world.signal(&task_id, COMPLETE, vec![payload("json/plain", result.to_string())]).await;
        world.reaches(&task_id, TaskStatus::Completed).await;
        assert_eq!(state(&world, &proposal_id).await, ProposalState::Consumed);
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_can_not_be_kept_reserves_nothing() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let worker = world.worker().await.unwrap();
    let proposal_id = committed(&world).await;
    let hook = |url: &str| json!({"url": url, "operation_id": "op-1"});
    let hmac = json!({"schemes": ["HMAC-SHA256"], "credentials": "short"});
    for registration in [
        hook("http://10.0.0.1/hook"),
        hook("https://ann:hunter2@buyer.example/hook"),
        hook("https://169.254.169.254/hook"),
        json!({"url": "https://buyer.example/hook", "operation_id": "op-1", "authentication": hmac}),
        json!("https://buyer.example/hook"),
    ] {
        let mut asked = purchase(&fresh_key(), &proposal_id, json!({"arm": "task"}));
        asked["push_notification_config"] = registration.clone();
        let error = refusal(world.send(BUY, &asked).await);
        let field = error.field.clone().unwrap_or_default();
        assert!(field.starts_with("push_notification_config"), "{registration}: {error:?}");
        assert!(!error.to_json().to_string().contains("hunter2"), "{error:?}");
        assert_eq!(transitions(&world, &proposal_id).await.len(), 1, "{registration}: only committed");
    }
    assert_eq!(world.calls.tasks("decide"), [] as [String; 0]);
    buy(&world, &proposal_id, json!({"arm": "complete"})).await.unwrap();
    assert_eq!(state(&world, &proposal_id).await, ProposalState::Consumed);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_gone_is_released_by_reconcile() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let worker = world.worker().await.unwrap();
    let (waiting, undecided) = (committed(&world).await, committed(&world).await);
    let task_id = buy(&world, &waiting, json!({"arm": "workflow"})).await.unwrap().task_id;
    world.called("review", &task_id).await;
    let hold = purchase(&fresh_key(), &undecided, json!({"arm": "complete", "hold": {"decide": "never"}}));
    let (other, call) = world.begin(BUY, &hold).await;
    world.called("decide", &other).await;
    call.abort();
    for id in [&task_id, &other] {
        world.run(id).terminate(temporalio_client::WorkflowTerminateOptions::default()).await.unwrap();
    }
    world.handoff.reconcile(false, Duration::ZERO).await.unwrap();
    world.calls.open("never");
    world.called("discarded", &other).await;
    for proposal_id in [&waiting, &undecided] {
        assert_eq!(state(&world, proposal_id).await, ProposalState::Committed);
        buy(&world, proposal_id, json!({"arm": "complete"})).await.unwrap();
    }
    assert_eq!(proposal(&world, &waiting).await.terms_digest.as_deref(), Some(DIGEST));
    worker.stop().await;
}
