//! Whose a proposal becomes, and which media buy: adoption, amendments, cancellations, the reverse index.

use crate::{database::Database, ledger_support::*, support::*};
use handoff_proto::{
    errors,
    v1::TaskRef,
    wire::{Bought, ProposalKind},
};
use handoff_store::{ProposalRef, ProposalState, ProposalUse, Registry};
use std::sync::Arc;

const UPDATE: ProposalKind = ProposalKind::MediaBuyUpdate;
const CANCELLATION: ProposalKind = ProposalKind::MediaBuyCancellation;

fn of_brand(proposal_id: &str) -> ProposalUse {
    ProposalUse { brand_scope: Some(BRAND.into()), ..uses(proposal_id) }
}

fn accepting() -> TaskRef {
    TaskRef { verb: "accept_proposal".into(), ..new_task() }
}

async fn latest(registry: &dyn Registry, media_buy_id: &str) -> Option<String> {
    let record = registry.get_by_media_buy_id(SCOPE, PRINCIPAL, media_buy_id).await.unwrap()?;
    assert_eq!(record.proposal.media_buy_id.as_deref(), Some(media_buy_id));
    assert!(record.body_json.contains(&record.proposal.key.proposal_id));
    Some(record.proposal.key.proposal_id)
}

pub(crate) async fn an_account_adopts_a_proposal_of_its_agent_and_brand(database: Arc<Database>) {
    let registry = registry(&database).await;
    let home = ProposalRef::new(BRAND, PRINCIPAL, "p");
    registry.commit_proposal(&home, &offer("p"), &nobody()).await.unwrap().unwrap();
    let task = accepting();
    // Not of another agent, and only by who names the brand.
    let stranger = TaskRef { principal: "agent_2".into(), ..new_task() };
    for (task, wanted) in [(&stranger, of_brand("p")), (&task, uses("p"))] {
        assert_eq!(code(registry.try_reserve(task, &wanted).await.unwrap()), "PROPOSAL_NOT_FOUND");
    }
    let adopted = registry.try_reserve(&task, &of_brand("p")).await.unwrap().unwrap();
    assert_eq!((adopted.key.scope.as_str(), adopted.buyer_scope.as_deref()), (BRAND, Some(SCOPE)));
    // Another account of the same agent and brand comes too late; once it is released, it does not.
    let other = TaskRef { scope: "acct_2".into(), ..accepting() };
    assert_eq!(code(registry.try_reserve(&other, &of_brand("p")).await.unwrap()), "CONFLICT");
    let named = at("p").or_of_brand(Some(BRAND.into()));
    let released = registry.release_proposal(&named, &task.task_id, &nobody()).await.unwrap().unwrap();
    assert_eq!((released.state, released.buyer_scope), (ProposalState::Committed, None));
    registry.try_reserve(&other, &of_brand("p")).await.unwrap().unwrap();
    registry.finalize_proposal(&home, &other.task_id, &bought("mb", 1), &nobody()).await.unwrap().unwrap();
    assert_eq!(code(registry.try_reserve(&task, &of_brand("p")).await.unwrap()), "INVALID_STATE");
    let record = registry.get_by_media_buy_id("acct_2", PRINCIPAL, "mb").await.unwrap().unwrap();
    assert_eq!((record.proposal.key, record.body_json), (home.key, offer("p").body_json));
    for scope in [BRAND, SCOPE] {
        assert_eq!(registry.get_by_media_buy_id(scope, PRINCIPAL, "mb").await.unwrap(), None);
    }
    registry.close().await;
}

pub(crate) async fn an_accounts_own_proposal_comes_before_its_brands(database: Arc<Database>) {
    let registry = registry(&database).await;
    let home = ProposalRef::new(BRAND, PRINCIPAL, "p");
    registry.commit_proposal(&home, &offer("p"), &nobody()).await.unwrap().unwrap();
    registry.put_draft(&at("p"), &offer("p"), &nobody()).await.unwrap().unwrap();
    assert_eq!(code(registry.try_reserve(&accepting(), &of_brand("p")).await.unwrap()), "PROPOSAL_NOT_COMMITTED");
    let named = at("p").or_of_brand(Some(BRAND.into()));
    assert_eq!(registry.get_proposal(&named).await.unwrap().unwrap().proposal.key.scope, SCOPE);
    assert!(registry.discard_proposal(&named).await.unwrap());
    assert_eq!(registry.get_proposal(&named).await.unwrap().unwrap().proposal.key.scope, BRAND);
    assert_eq!(registry.proposal_history(&named).await.unwrap().unwrap().len(), 1);
    registry.close().await;
}

pub(crate) async fn amendments_are_of_their_buy_and_its_revision(database: Arc<Database>) {
    let registry = registry(&database).await;
    commit(&*registry, &offer("p")).await;
    buy(&*registry, "p", "mb", 1).await;
    commit(&*registry, &amendment("wider", UPDATE, "mb", 1)).await;
    commit(&*registry, &amendment("longer", UPDATE, "mb", 1)).await;
    let task = accepting();
    let by_create = TaskRef { verb: "create_media_buy".into(), ..new_task() };
    assert_eq!(code(registry.try_reserve(&by_create, &uses("wider")).await.unwrap()), "INVALID_REQUEST");
    let of = |id: Option<&str>, revision| ProposalUse {
        media_buy_id: id.map(Into::into),
        media_buy_revision: revision,
        ..uses("wider")
    };
    for (wanted, expected) in [(of(Some("mb_2"), None), "INVALID_STATE"), (of(Some("mb"), Some(2)), "CONFLICT")] {
        assert_eq!(code(registry.try_reserve(&task, &wanted).await.unwrap()), expected);
    }
    registry.try_reserve(&task, &of(Some("mb"), Some(1))).await.unwrap().unwrap();
    // Not as another buy; without one it is its own.
    let finalized = async |bought: Bought| {
        registry.finalize_proposal(&at("wider"), &task.task_id, &bought, &nobody()).await.unwrap()
    };
    assert_eq!(code(finalized(bought("mb_2", 2)).await), errors::NOT_FINALIZED);
    let done = finalized(Bought { media_buy_id: None, revision: Some(2) }).await.unwrap();
    assert_eq!((done.media_buy_id.as_deref(), done.media_buy_revision), (Some("mb"), Some(2)));
    assert_eq!(latest(&*registry, "mb").await.as_deref(), Some("wider"));
    assert_eq!(finalized(bought("mb", 2)).await.unwrap(), done);
    // The other was made for a buy that is no more.
    assert_eq!(code(registry.try_reserve(&accepting(), &uses("longer")).await.unwrap()), "CONFLICT");
    commit(&*registry, &amendment("longer", UPDATE, "mb", 2)).await;
    buy(&*registry, "longer", "mb", 3).await;
    assert_eq!(latest(&*registry, "mb").await.as_deref(), Some("longer"));
    commit(&*registry, &amendment("away", CANCELLATION, "mb", 3)).await;
    buy(&*registry, "away", "mb", 4).await;
    assert_eq!(latest(&*registry, "mb").await.as_deref(), Some("away"));
    commit(&*registry, &amendment("back", UPDATE, "mb", 4)).await;
    assert_eq!(code(registry.try_reserve(&accepting(), &uses("back")).await.unwrap()), "INVALID_STATE");
    registry.close().await;
}

pub(crate) async fn a_buy_that_the_ledger_does_not_know_can_be_amended(database: Arc<Database>) {
    let registry = registry(&database).await;
    commit(&*registry, &amendment("wider", UPDATE, "direct", 7)).await;
    buy(&*registry, "wider", "direct", 8).await;
    assert_eq!(latest(&*registry, "direct").await.as_deref(), Some("wider"));
    let nameless = handoff_proto::wire::OfferedProposal { base_media_buy_id: None, ..amendment("x", UPDATE, "mb", 1) };
    commit(&*registry, &nameless).await;
    assert_eq!(code(registry.try_reserve(&accepting(), &uses("x")).await.unwrap()), "INVALID_STATE");
    registry.close().await;
}

pub(crate) async fn one_change_of_a_buy_at_a_time(database: Arc<Database>) {
    let registry = registry(&database).await;
    // With and without a proposal that made the buy, whose row could be locked.
    for (made, base) in [(true, "mb"), (false, "direct")] {
        if made {
            commit(&*registry, &offer("p")).await;
            buy(&*registry, "p", base, 1).await;
        }
        let ids: Vec<String> = (0..30).map(|number| format!("{base}-{number}")).collect();
        for id in &ids {
            commit(&*registry, &amendment(id, UPDATE, base, 1)).await;
        }
        let calls = ids.iter().cloned().map(|id| {
            let registry = Arc::clone(&registry);
            tokio::spawn(async move {
                let task = accepting();
                loop {
                    match registry.try_reserve(&task, &uses(&id)).await {
                        // Another was faster where there is no row to lock: the same call again sees it.
                        Err(error) => assert!(error.is_transient(), "{error}"),
                        Ok(ruled) => return (id, task, ruled),
                    }
                }
            })
        });
        let told: Vec<_> = futures::future::join_all(calls).await.into_iter().map(Result::unwrap).collect();
        let winners: Vec<_> = told.iter().filter(|(_, _, ruled)| ruled.is_ok()).collect();
        assert_eq!(winners.len(), 1, "{base}");
        let lost = |error: &handoff_proto::wire::AdcpError| error.code == "CONFLICT" && error.retry_after == Some(60);
        assert!(told.iter().filter_map(|(_, _, ruled)| ruled.as_ref().err()).all(lost));
        let (id, task, _) = winners[0];
        registry.release_proposal(&at(id), &task.task_id, &nobody()).await.unwrap();
        let next = ids.iter().find(|other| *other != id).unwrap();
        buy(&*registry, next, base, 2).await;
    }
    registry.close().await;
}

pub(crate) async fn a_media_buy_is_made_by_one_proposal_of_an_account(database: Arc<Database>) {
    let registry = registry(&database).await;
    let ids: Vec<String> = (0..20).map(|number| format!("p{number}")).collect();
    let mut tasks = Vec::new();
    for id in &ids {
        commit(&*registry, &offer(id)).await;
        let task = new_task();
        registry.try_reserve(&task, &uses(id)).await.unwrap().unwrap();
        tasks.push(task);
    }
    let calls = ids.iter().cloned().zip(tasks).map(|(id, task)| {
        let registry = Arc::clone(&registry);
        tokio::spawn(async move {
            loop {
                match registry.finalize_proposal(&at(&id), &task.task_id, &bought("mb", 1), &nobody()).await {
                    Err(error) => assert!(error.is_transient(), "{error}"),
                    Ok(ruled) => return ruled,
                }
            }
        })
    });
    let told: Vec<_> = futures::future::join_all(calls).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(told.iter().filter(|ruled| ruled.is_ok()).count(), 1);
    assert!(told.into_iter().filter_map(Result::err).all(|error| error.code == errors::NOT_FINALIZED));
    // Of another account it is another buy.
    let elsewhere = ProposalRef::new("acct_2", PRINCIPAL, "p");
    registry.commit_proposal(&elsewhere, &offer("p"), &nobody()).await.unwrap().unwrap();
    let task = TaskRef { scope: "acct_2".into(), ..new_task() };
    registry.try_reserve(&task, &uses("p")).await.unwrap().unwrap();
    registry.finalize_proposal(&elsewhere, &task.task_id, &bought("mb", 1), &nobody()).await.unwrap().unwrap();
    registry.close().await;
}
