//! Discovery: `get_products` and `get_signals` are decided in this process, and cost no Temporal call unless they are handed
//! off, or take longer than their budget. Their handlers only read, and may run twice.

mod guards;

use crate::{
    account::Resolved,
    direct::{self, Direct},
    door::{Asked, Door},
};
use handoff_client::{CallError, incomplete_body, sync_deadline};
use handoff_proto::{
    v1::{TaskInput, decision::Kind},
    wire::AdcpError,
};
use serde_json::Value;
use std::sync::Arc;

/// Is the verb one of those?
pub(crate) fn is_discovery(verb: &str) -> bool {
    matches!(verb, "get_products" | "get_signals")
}

/// Answers.
pub(crate) async fn answer(door: &Arc<Door>, asked: &Asked, resolved: &Resolved) -> Result<Value, CallError> {
    guards::before(&asked.call.tool, &asked.request, resolved)?;
    let budget = sync_deadline(&asked.request, door.default_deadline)?;
    let (own, call, has_account) = (door.clone(), asked.clone(), resolved.has_account);
    let handler = move |input: TaskInput| async move {
        match tokio::time::timeout(budget, own.activities.decide_directly(&input)).await {
            Ok(decision) => decided(&own, &call, has_account, decision?.kind),
            Err(_) => out_of_time(&call, has_account),
        }
    };
    Ok(direct::answer(door, &resolved.caller, asked, budget, handler).await?.body)
}

fn decided(door: &Door, asked: &Asked, has_account: bool, kind: Option<Kind>) -> Result<Direct, AdcpError> {
    match kind {
        Some(Kind::Complete(complete)) => {
            let result = serde_json::from_str(&complete.result_json).map_err(handoff_proto::errors::result_invalid)?;
            door.contract.check_response(asked, &result)?;
            Ok(Direct::Complete(result))
        }
        Some(Kind::Refuse(error)) => Err(error.to_wire()),
        Some(_) if !has_account => Err(guards::account_needed()),
        Some(_) => Ok(Direct::HandOff),
        None => Ok(Direct::Undecided),
    }
}

// A workflow decides, unless nobody could ever learn what it decided: then the buyer is told what is missing.
fn out_of_time(asked: &Asked, has_account: bool) -> Result<Direct, AdcpError> {
    let keyed = asked.request.get("idempotency_key").is_some();
    let wholesale = guards::is_wholesale(&asked.request);
    match (has_account, wholesale, keyed) {
        (true, false, _) | (true, true, true) => Ok(Direct::Undecided),
        // What is recorded under a key should not be an answer that lacks everything.
        (false, _, true) => Err(AdcpError::transient("SERVICE_UNAVAILABLE", "The seller did not answer in time.")
            .suggestion("Send the same request again, or name an account to be answered later.")
            .retry_after(10)),
        (_, _, false) => Ok(Direct::Complete(incomplete_body(&asked.call.tool, &asked.request))),
    }
}
