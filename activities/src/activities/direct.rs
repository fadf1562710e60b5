//! The seller's handlers, called by the process that serves the buyers: no activity, no workflow, nothing recorded here.

use super::{Activities, guard};
use crate::seller::Handlers;
use handoff_proto::{
    errors,
    limits::MAX_RESULT_BYTES,
    v1::{self, TaskInput},
    wire::{AdcpError, strip_write_only},
};
use serde_json::Value;

impl Activities {
    /// Has the verb handler decide. The decision is checked against the wiring, and has its handler's options; it is not
    /// recorded. A panic is a transient error with the input's correlation id.
    pub async fn decide_directly(&self, input: &TaskInput) -> Result<v1::Decision, AdcpError> {
        let task = input.task.clone().unwrap_or_default();
        let (request, body) = super::decide::request_of(input, 1);
        let may_be_async = self.may_be_async(&task, &request, &body).await;
        self.ask(input, request, body, may_be_async).await.map_err(|_| errors::handler_failed(&input.correlation_id))
    }

    /// The seller's handlers.
    pub fn handlers(&self) -> &Handlers {
        &self.handlers
    }

    /// Has a plain tool's handler answer. A panic is a transient error with the input's correlation id.
    pub async fn answer_tool(&self, input: &TaskInput) -> Result<Value, AdcpError> {
        let (request, body) = super::decide::request_of(input, 1);
        let name = request.verb.clone();
        let Some(tool) = self.handlers.tool(&name) else { return Err(unsupported(&name)) };
        let answer = guard::catch(&name, input, (tool.answer)(request, body)).await;
        let mut answer = answer.map_err(|_| errors::handler_failed(&input.correlation_id))??;
        strip_write_only(&mut answer);
        if !answer.is_object() {
            return Err(errors::result_invalid("expected a JSON object"));
        }
        let size = answer.to_string().len();
        if size > MAX_RESULT_BYTES {
            return Err(errors::result_too_large(size, MAX_RESULT_BYTES));
        }
        self.check_result(&name, &answer, &input.correlation_id)?;
        Ok(answer)
    }
}

fn unsupported(tool: &str) -> AdcpError {
    AdcpError::terminal("UNSUPPORTED_FEATURE", format!("This seller does not offer {tool}."))
}
