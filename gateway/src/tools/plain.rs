//! The seller's plain tools.

use crate::door::{Asked, Door};
use handoff_client::{CallError, Direct, DirectContext, DirectOptions};
use serde_json::Value;
use std::sync::Arc;

/// Has the seller answer: once for an idempotency key, where the protocol knows keys for this tool.
pub(crate) async fn plain(door: &Arc<Door>, asked: &Asked) -> Result<Value, CallError> {
    let resolved = door.resolve(asked, false).await?;
    let (tool, text) = (&asked.call.tool, asked.call.text.as_bytes());
    let options = DirectOptions {
        rerunnable: door.activities.handlers().is_rerunnable(tool),
        patience: Some(door.settings.tool_timeout),
    };
    let own = door.clone();
    let handler =
        async move |context: DirectContext| own.activities.answer_tool(context.input()).await.map(Direct::Complete);
    let answer = door.handoff.answer_directly_with(&resolved.caller, tool, text, options, handler).await?;
    Ok(answer.body)
}
