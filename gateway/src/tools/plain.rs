//! The seller's plain tools.

use crate::{
    direct::{self, Direct},
    door::{Asked, Door},
};
use handoff_client::CallError;
use handoff_proto::v1::TaskInput;
use serde_json::Value;
use std::sync::Arc;

/// Has the seller answer.
pub(crate) async fn plain(door: &Arc<Door>, asked: &Asked) -> Result<Value, CallError> {
    let resolved = door.resolve(asked, false).await?;
    let (own, call) = (door.clone(), asked.clone());
    let handler = move |input: TaskInput| async move {
        let answer = own.activities.answer_tool(&input).await?;
        own.contract.check_response(&call, &answer)?;
        Ok(Direct::Complete(answer))
    };
    Ok(direct::answer(door, &resolved.caller, asked, door.settings.tool_timeout, handler).await?.body)
}
