//! The life of a proposal with that of the requests that buy it: reserved before the seller is called, consumed or released with
//! the request's end, on every arm.

mod discovery;
mod handlers;
mod kills;
mod outages;
mod purchases;
mod sweeping;

use handoff_client::{Answer, CallError};
use handoff_proto::wire::{AdcpError, OfferedProposal, ProposalKind};
use handoff_store::{Proposal, ProposalCause, ProposalRef, ProposalState};
use handoff_tests::{PRINCIPAL, SCOPE, World, fresh_key, request};
use serde_json::{Value, json};

const BUY: &str = "create_media_buy";
const DIGEST: &str = "sha256:terms";

/// A committed proposal of the usual buyer.
async fn committed(world: &World) -> String {
    committed_as(world, |_| {}).await
}

async fn committed_as(world: &World, change: impl FnOnce(&mut OfferedProposal)) -> String {
    let proposal_id = format!("prop_{}", fresh_key());
    let mut offer = OfferedProposal {
        proposal_id: proposal_id.clone(),
        kind: ProposalKind::NewMediaBuy,
        committed: true,
        parent_proposal_id: None,
        base_media_buy_id: None,
        base_media_buy_revision: None,
        terms_digest: Some(DIGEST.into()),
        expires_at: None,
        io_id: None,
        body_json: json!({"proposal_id": proposal_id, "name": "Sports", "allocations": []}).to_string(),
    };
    change(&mut offer);
    let named = reference(&proposal_id);
    let cause = ProposalCause::default();
    let ledger = world.handoff.registry();
    let put = if offer.committed {
        ledger.commit_proposal(&named, &offer, &cause).await
    } else {
        ledger.put_draft(&named, &offer, &cause).await
    };
    put.expect("the registry answers").expect("it can be offered");
    proposal_id
}

fn reference(proposal_id: &str) -> ProposalRef {
    ProposalRef::new(SCOPE, PRINCIPAL, proposal_id)
}

async fn proposal(world: &World, proposal_id: &str) -> Proposal {
    let found = world.handoff.registry().get_proposal(&reference(proposal_id)).await.expect("the registry answers");
    found.expect("the proposal is there").proposal
}

async fn state(world: &World, proposal_id: &str) -> ProposalState {
    proposal(world, proposal_id).await.state
}

/// What happened to it, with the task of each transition.
async fn transitions(world: &World, proposal_id: &str) -> Vec<(String, Option<String>)> {
    let history =
        world.handoff.registry().proposal_history(&reference(proposal_id)).await.expect("the registry answers");
    history.expect("the proposal is there").into_iter().map(|entry| (entry.event, entry.task_id)).collect()
}

fn purchase(key: &str, proposal_id: &str, lab: Value) -> Value {
    let mut request = request(key, lab);
    request["proposal_id"] = proposal_id.into();
    request["proposal_terms_digest"] = DIGEST.into();
    request
}

async fn buy(world: &World, proposal_id: &str, lab: Value) -> Result<Answer, CallError> {
    world.send(BUY, &purchase(&fresh_key(), proposal_id, lab)).await
}

fn refusal(answer: Result<Answer, CallError>) -> AdcpError {
    match answer {
        Err(CallError::Refused(error)) => error,
        other => panic!("not refused: {other:?}"),
    }
}
