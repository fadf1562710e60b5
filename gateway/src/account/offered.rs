//! The scope of a request about proposals that names no account: that of the proposals.

use super::{
    AccountRef, AccountResolver,
    scope::{Resolved, is_derived, named},
};
use crate::Principal;
use handoff_client::{CallError, Caller};
use handoff_proto::wire::{AdcpError, proposals_named};
use handoff_store::{ProposalFilter, ProposalStore, Viewer};
use serde_json::Value;
use std::collections::BTreeSet;

// Sellers choose ids, each for itself: more scopes than this with one id are no accident that has to be served.
const LOOKED_AT: u32 = 100;

/// Whose request it is. `None`: it names an account, is not about proposals, or about none that the agent was offered.
pub(crate) async fn resolve_offered(
    ledger: &(impl ProposalStore + ?Sized),
    accounts: &dyn AccountResolver,
    principal: &Principal,
    tool: &str,
    request: &Value,
) -> Result<Option<Resolved>, CallError> {
    if named(request).is_some() {
        return Ok(None);
    }
    let mut scopes = BTreeSet::new();
    for proposal_id in proposals_named(tool, request) {
        scopes.extend(scopes_of(ledger, principal, proposal_id).await?);
    }
    if scopes.len() > 1 {
        return Err(AdcpError::correctable("INVALID_REQUEST", "These proposals were not offered to one account.")
            .suggestion("Send one request for the proposals of each account.")
            .into());
    }
    let Some(scope) = scopes.pop_first() else { return Ok(None) };
    if is_derived(&scope) {
        return Ok(Some(Resolved { caller: Caller::new(scope, &principal.name), has_account: false }));
    }
    // The agent was offered it then; it may not be allowed to use the account any more.
    let account = accounts.resolve(principal, &AccountRef::Id(scope.clone())).await?;
    Ok(account.filter(|account| account.id == scope).map(|account| Resolved {
        caller: Caller::new(scope, &principal.name).sandbox(account.sandbox),
        has_account: true,
    }))
}

async fn scopes_of(
    ledger: &(impl ProposalStore + ?Sized),
    principal: &Principal,
    proposal_id: &str,
) -> Result<Vec<String>, CallError> {
    let filter = ProposalFilter {
        viewer: Viewer::Operator,
        state: None,
        proposal_id: Some(proposal_id.to_owned()),
        after: None,
    };
    let found = ledger.list_proposals(&filter, LOOKED_AT).await.map_err(CallError::registry)?;
    let own = found.into_iter().filter(|proposal| proposal.key.principal == principal.name);
    Ok(own.map(|proposal| proposal.key.scope).collect())
}
