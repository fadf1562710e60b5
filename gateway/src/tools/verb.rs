//! Verbs that may be `submitted`: by a workflow, or by discovery's short way.

use crate::{
    discovery,
    door::{Asked, Door},
};
use handoff_client::CallError;
use serde_json::Value;
use std::sync::Arc;

// Their schemas don't require an account.
const WITHOUT_ACCOUNT: [&str; 8] = [
    "build_creative",
    "decline_proposals",
    "get_creative_features",
    "get_products",
    "get_signals",
    "preview_creative",
    "refine_proposals",
    "request_proposals",
];

/// Answers a verb's call.
pub(crate) async fn verb(door: &Arc<Door>, asked: &Asked) -> Result<Value, CallError> {
    let verb = asked.call.tool.as_str();
    let resolved = match door.resolve_offered(asked).await? {
        Some(resolved) => resolved,
        None => door.resolve(asked, !WITHOUT_ACCOUNT.contains(&verb)).await?,
    };
    if discovery::is_discovery(verb) {
        return discovery::answer(door, asked, &resolved).await;
    }
    let answer = door.handoff.call(&resolved.caller, verb, asked.call.text.as_bytes()).await?;
    Ok(answer.body)
}
