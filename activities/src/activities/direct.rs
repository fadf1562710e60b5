//! The seller's handlers, called by the process that serves the buyers: no activity, no workflow, nothing recorded here.

use super::{Activities, guard};
use crate::seller::{Handlers, RequestContext};
use handoff_proto::{
    errors,
    limits::MAX_RESULT_BYTES,
    v1::{self, TaskInput},
    wire::{AdcpError, strip_write_only},
};
use handoff_store::RegistryError;
use serde_json::Value;
use std::sync::Arc;

impl Activities {
    /// Has the verb handler decide. The decision is checked against the wiring, and has its handler's options; it is not
    /// recorded. A panic is a transient error with the input's correlation id.
    pub async fn decide_directly(&self, input: &TaskInput) -> Result<v1::Decision, AdcpError> {
        let task = input.task.clone().unwrap_or_default();
        let (request, body) = self.asked(input, 1).await.map_err(|error| unavailable(input, &error))?;
        let may_be_async = self.may_be_async(&task, &request, &body).await;
        self.ask(input, request, body, may_be_async).await.map_err(|_| errors::handler_failed(&input.correlation_id))
    }

    /// The seller's handlers.
    pub fn handlers(&self) -> &Handlers {
        &self.handlers
    }

    /// Has a plain tool's handler answer. A panic is a transient error with the input's correlation id.
    pub async fn answer_tool(&self, input: &TaskInput) -> Result<Value, AdcpError> {
        let request = Arc::new(RequestContext::new(input, 1));
        let body = serde_json::from_str(&input.request_json).unwrap_or_default();
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

    /// Has a scenario of the compliance controller's staged: its handler gets the request's `params`, and answers with the fields
    /// of the controller's success. `None`: the seller has none of this name. A panic is a transient error with the input's
    /// correlation id.
    pub async fn stage(&self, input: &TaskInput, scenario: &str, params: Value) -> Option<Result<Value, AdcpError>> {
        let staging = self.handlers.scenario(scenario)?;
        let request = Arc::new(RequestContext::new(input, 1));
        let staged = guard::catch(scenario, input, staging(request, params)).await;
        Some(match staged {
            Ok(Ok(Value::Null)) => Ok(Value::Object(Default::default())),
            Ok(Ok(mut fields)) if fields.is_object() => {
                strip_write_only(&mut fields);
                Ok(fields)
            }
            Ok(Ok(_)) => Err(errors::result_invalid("expected a JSON object")),
            Ok(Err(error)) => Err(error.without_write_only()),
            Err(_) => Err(errors::handler_failed(&input.correlation_id)),
        })
    }
}

// The proposals that the request names can't be read.
fn unavailable(input: &TaskInput, error: &RegistryError) -> AdcpError {
    tracing::warn!(correlation_id = %input.correlation_id, %error, "the handler was not called");
    AdcpError::transient("SERVICE_UNAVAILABLE", "The seller can't answer right now.")
        .suggestion("Send the same request again, with the same idempotency_key if it has one.")
        .retry_after(10)
}

fn unsupported(tool: &str) -> AdcpError {
    AdcpError::terminal("UNSUPPORTED_FEATURE", format!("This seller does not offer {tool}."))
}
