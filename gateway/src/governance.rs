//! `sync_governance`: buyers give their accounts governance agents, which the seller's handlers ask before they sell.

use crate::{
    AccountRef,
    account::{self, is_derived, not_found},
    door::{Asked, Door},
};
use handoff_activities::GovernanceAgents;
use handoff_client::{CallError, Direct, DirectContext, DirectOptions};
use handoff_proto::wire::{AdcpError, SYNC_GOVERNANCE, WantedAgent, synced_agent, wanted_agents};
use handoff_store::GovernanceBinding;
use serde_json::{Value, json};
use std::sync::Arc;

/// Answers, once for an idempotency key. Each account is a matter of its own: one that can't be bound keeps the agent that it has.
pub(crate) async fn sync_governance(door: &Arc<Door>, asked: &Asked) -> Result<Value, CallError> {
    let wanted = wanted_agents(&asked.request)?;
    // It is for no account of its own.
    let resolved = account::resolve(&*door.accounts, &asked.call.principal, &json!({}), false).await?;
    let caller = resolved.caller.correlated(&asked.call.correlation_id);
    // What is named twice is named once.
    let options = DirectOptions { rerunnable: true, patience: Some(door.settings.tool_timeout) };
    let (own, asked_too) = (door.clone(), asked.clone());
    let handler = async move |_: DirectContext| {
        let mut accounts = Vec::with_capacity(wanted.len());
        for wanted in &wanted {
            let bound = bind(&own, &asked_too, wanted).await;
            let outcome = bound.as_ref().map(|()| wanted.url.as_str());
            accounts.push(synced_agent(&wanted.account, outcome));
        }
        Ok(Direct::Complete(json!({"status": "completed", "accounts": accounts})))
    };
    let text = asked.call.text.as_bytes();
    let answer = door.handoff.answer_directly_with(&caller, SYNC_GOVERNANCE, text, options, handler).await?;
    Ok(answer.body)
}

async fn bind(door: &Door, asked: &Asked, wanted: &WantedAgent) -> Result<(), AdcpError> {
    let agents = agents(door)?;
    let policy = door.activities.handlers().governance().cloned().unwrap_or_default();
    let principal = &asked.call.principal;
    let account = door.accounts.resolve(principal, &AccountRef::read(&wanted.account)?).await?;
    let account = account.filter(|account| !is_derived(&account.id)).ok_or_else(not_found)?;
    let binding = GovernanceBinding {
        scope: account.id,
        principal: principal.name.clone(),
        url: wanted.url.clone(),
        credentials: wanted.credentials.clone(),
        sandbox: account.sandbox,
    };
    agents.bind(&policy, &binding).await
}

fn agents(door: &Door) -> Result<&GovernanceAgents, AdcpError> {
    door.activities.governance().ok_or_else(|| {
        AdcpError::transient("SERVICE_UNAVAILABLE", "The seller can't ask governance agents at the moment.")
            .retry_after(60)
    })
}
