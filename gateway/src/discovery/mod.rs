//! Discovery: `get_products` and `get_signals` are decided in this process, and cost no Temporal call unless they are handed
//! off, or take longer than their budget. Their handlers only read, and may run twice.

mod guards;

use crate::{
    account::Resolved,
    door::{Asked, Door},
};
use handoff_client::{CallError, Direct, DirectContext, incomplete_body, sync_deadline};
use handoff_proto::{
    errors,
    v1::{Decision, decision::Kind},
    verbs::{self, Verb},
    wire::AdcpError,
};
use serde_json::Value;
use std::{sync::Arc, time::Duration};

// Before the call's own budget ends, which would start a workflow.
const MARGIN: Duration = Duration::from_millis(20);

/// Is the verb one of those?
pub(crate) fn is_discovery(verb: &str) -> bool {
    verbs::find(verb).is_some_and(Verb::is_discovery)
}

/// Answers.
pub(crate) async fn answer(door: &Arc<Door>, asked: &Asked, resolved: &Resolved) -> Result<Value, CallError> {
    guards::before(&asked.call.tool, &asked.request, resolved)?;
    let budget = sync_deadline(&asked.request, door.handoff.config().sync_deadline)?;
    let (own, call, has_account) = (door.clone(), asked.clone(), resolved.has_account);
    let handler = async move |context: DirectContext| {
        let deciding = own.activities.decide_directly(context.input());
        if has_account {
            return decided(has_account, deciding.await?.kind);
        }
        match tokio::time::timeout(budget.saturating_sub(MARGIN), deciding).await {
            Ok(decision) => decided(has_account, decision?.kind),
            Err(_) => out_of_time(&call),
        }
    };
    let (tool, text) = (&asked.call.tool, asked.call.text.as_bytes());
    Ok(door.handoff.answer_directly(&resolved.caller, tool, text, handler).await?.body)
}

fn decided(has_account: bool, kind: Option<Kind>) -> Result<Direct, AdcpError> {
    match kind {
        Some(Kind::Complete(complete)) => {
            serde_json::from_str(&complete.result_json).map(Direct::Complete).map_err(errors::result_invalid)
        }
        Some(Kind::Refuse(error)) => Err(error.to_wire()),
        Some(_) if !has_account => Err(guards::account_needed()),
        handed_off => Ok(Direct::HandOff(Decision { kind: handed_off })),
    }
}

// Nobody could ask later for what was decided: the buyer is told what is missing. That is no answer to be recorded under a key.
fn out_of_time(asked: &Asked) -> Result<Direct, AdcpError> {
    if asked.request.get("idempotency_key").is_some() {
        return Err(AdcpError::transient("SERVICE_UNAVAILABLE", "The seller did not answer in time.")
            .suggestion("Send the same request again, or name an account to be answered later.")
            .retry_after(10));
    }
    Ok(Direct::Complete(incomplete_body(&asked.call.tool, &asked.request)))
}
