//! What the tests of proposals are made of.

use crate::support::{claim_of, new_task};
use handoff_proto::{
    v1::TaskRef,
    wire::{AdcpError, Bought, OfferedProposal, ProposalKind},
};
use handoff_store::{
    Claim, Proposal, ProposalCause, ProposalRef, ProposalState, ProposalStore, ProposalUse, Registry, Ruled,
};

pub(crate) const SCOPE: &str = "acct_1";
pub(crate) const PRINCIPAL: &str = "agent_1";
pub(crate) const BRAND: &str = "no-account:brand";

pub(crate) fn at(proposal_id: &str) -> ProposalRef {
    ProposalRef::new(SCOPE, PRINCIPAL, proposal_id)
}

pub(crate) fn offer(proposal_id: &str) -> OfferedProposal {
    OfferedProposal {
        proposal_id: proposal_id.into(),
        kind: ProposalKind::NewMediaBuy,
        committed: false,
        parent_proposal_id: None,
        base_media_buy_id: None,
        base_media_buy_revision: None,
        terms_digest: None,
        expires_at: None,
        io_id: None,
        body_json: format!(r#"{{"proposal_id":"{proposal_id}","price":1.10}}"#),
    }
}

/// A change of a media buy that had this revision.
pub(crate) fn amendment(proposal_id: &str, kind: ProposalKind, base: &str, revision: i64) -> OfferedProposal {
    OfferedProposal {
        kind,
        base_media_buy_id: Some(base.into()),
        base_media_buy_revision: Some(revision),
        ..offer(proposal_id)
    }
}

pub(crate) fn uses(proposal_id: &str) -> ProposalUse {
    ProposalUse { proposal_id: proposal_id.into(), ..Default::default() }
}

pub(crate) fn bought(media_buy_id: &str, revision: i64) -> Bought {
    Bought { media_buy_id: Some(media_buy_id.into()), revision: Some(revision) }
}

pub(crate) fn nobody() -> ProposalCause {
    ProposalCause::default()
}

pub(crate) async fn commit(registry: &dyn Registry, offer: &OfferedProposal) -> Proposal {
    registry.commit_proposal(&at(&offer.proposal_id), offer, &nobody()).await.unwrap().unwrap()
}

pub(crate) async fn found(registry: &dyn Registry, proposal_id: &str) -> Option<Proposal> {
    registry.get_proposal(&at(proposal_id)).await.unwrap().map(|record| record.proposal)
}

/// A proposal's state, and the task that has it.
pub(crate) async fn stands(registry: &dyn Registry, proposal_id: &str) -> (ProposalState, Option<String>) {
    let found = found(registry, proposal_id).await.unwrap();
    (found.state, found.held_by)
}

pub(crate) async fn told(registry: &dyn Registry, proposal_id: &str) -> Vec<String> {
    let history = registry.proposal_history(&at(proposal_id)).await.unwrap().unwrap();
    history.into_iter().map(|entry| entry.event).collect()
}

/// Everything about a proposal that can be read.
pub(crate) async fn all_of(
    registry: &dyn Registry,
    proposal: &ProposalRef,
) -> impl PartialEq + std::fmt::Debug + use<> {
    (registry.get_proposal(proposal).await.unwrap(), registry.proposal_history(proposal).await.unwrap())
}

pub(crate) fn refusal(ruled: Ruled) -> AdcpError {
    ruled.expect_err("it is refused")
}

pub(crate) fn code(ruled: Ruled) -> String {
    refusal(ruled).code
}

/// A proposal that a task has bought.
pub(crate) async fn buy(registry: &dyn ProposalStore, proposal_id: &str, media_buy_id: &str, revision: i64) -> TaskRef {
    let task = TaskRef { verb: "accept_proposal".into(), ..new_task() };
    registry.try_reserve(&task, &uses(proposal_id)).await.unwrap().unwrap();
    let bought = bought(media_buy_id, revision);
    registry.finalize_proposal(&at(proposal_id), &task.task_id, &bought, &nobody()).await.unwrap().unwrap();
    task
}

/// A claimed request that buys a proposal, with a key of its own.
pub(crate) async fn claimed_with(registry: &dyn Registry, proposal: ProposalUse) -> TaskRef {
    claimed_by(registry, "accept_proposal", proposal).await
}

pub(crate) async fn claimed_by(registry: &dyn Registry, verb: &str, proposal: ProposalUse) -> TaskRef {
    let task = TaskRef { verb: verb.into(), ..new_task() };
    let mut claim = claim_of(&task, Some(&format!("key-{}", task.task_id)));
    claim.proposal = Some(proposal);
    assert_eq!(registry.claim(&claim).await.unwrap(), Claim::New);
    task
}

/// The same, and its proposal is reserved.
pub(crate) async fn begun(registry: &dyn Registry, proposal_id: &str) -> TaskRef {
    let task = claimed_with(registry, uses(proposal_id)).await;
    let standing = registry.begin(&task).await.unwrap();
    assert_eq!(standing.decision, None, "{standing:?}");
    assert!(found(registry, proposal_id).await.is_some_and(|found| found.held_by == Some(task.task_id.clone())));
    task
}
