//! A verb's call: claim, start, answer (steps 0 and 1 of the life of a verb).

mod answer;
mod claim;
mod direct;
mod forced;
mod new_keys;
mod promote;
mod proposals;
mod request;
mod secrets;
mod start;
mod wait;

pub use answer::{Answer, CallError, error_body, incomplete_body};
pub(crate) use direct::AtWork;
pub use direct::{Direct, DirectContext, DirectOptions};
pub use new_keys::NewKeysLimit;
pub use request::sync_deadline;

use crate::{Caller, Handoff, error::unavailable};
use claim::Claimed;
use handoff_proto::{
    TaskId, convert,
    limits::MAX_ENCODED_BYTES,
    v1::{TaskInput, TaskRef},
};
use request::Request;
use tokio::time::Instant;
use tracing::{Instrument, Span, field::Empty};

// Seconds.
const RETRY_AFTER: u32 = 10;

impl Handoff {
    /// Calls an AdCP verb with the request as the buyer wrote it.
    ///
    /// The answer is the verb's result, or `submitted` once the workflow has said so. Safe to repeat: with an idempotency key
    /// the same call is answered the same, and a call whose answer was lost attaches to the run that it started.
    pub async fn call(&self, caller: &Caller, verb: &str, request_text: &[u8]) -> Result<Answer, CallError> {
        caller.check()?;
        let mut request = Request::read(verb, request_text, self.config().sync_deadline)?;
        request.sandbox = caller.sandbox;
        request.proposal = proposals::bought(&request.tool, &request.body, caller.brand_scope.as_deref())?;
        self.check_secrets(&request)?;
        // Before anything is claimed: the run could not be started.
        if self.temporal().is_err() {
            return Err(unavailable("The seller can't take new work at the moment.", RETRY_AFTER).into());
        }
        let input = new_input(caller, &request);
        fits(&input)?;
        let deadline = Instant::now() + request.sync_deadline + self.config().grace;
        let correlation_id = input.correlation_id.clone();
        self.observe(caller, &request, &correlation_id, self.answer(&request, input, deadline)).await
    }

    // Of a request that is or may come to be a run's: whether its secrets can be kept, and its webhook be told.
    fn check_secrets(&self, request: &Request<'_>) -> Result<(), CallError> {
        if self.config().encryption.is_none() {
            request.needs_no_keys()?;
        }
        if let Some(webhook) = &request.webhook {
            secrets::check_webhook(webhook, &self.config().webhooks.policy(self.config().environment))?;
        }
        Ok(())
    }

    /// Traces and counts how a request is answered.
    async fn observe(
        &self,
        caller: &Caller,
        request: &Request<'_>,
        correlation_id: &str,
        answering: impl Future<Output = Result<Answer, CallError>>,
    ) -> Result<Answer, CallError> {
        let began = Instant::now();
        let span = tracing::error_span!(
            target: handoff_telemetry::SPANS,
            "call",
            otel.name = format!("call {}", request.tool),
            otel.kind = "client",
            otel.status_code = Empty,
            verb = request.tool,
            scope = caller.scope,
            correlation_id,
            task_id = Empty,
            workflow_id = Empty,
            outcome = Empty,
        );
        let answer = answering.instrument(span.clone()).await;
        let outcome = outcome(&answer);
        span.record("outcome", outcome);
        if outcome == "failed" {
            span.record("otel.status_code", "ERROR");
        }
        self.config().metrics.called(&request.tool, outcome, began.elapsed());
        answer
    }

    async fn answer(
        &self,
        request: &Request<'_>,
        mut input: TaskInput,
        deadline: Instant,
    ) -> Result<Answer, CallError> {
        if let Some(answer) = self.forced(request, &input).await? {
            return Ok(answer);
        }
        let task = input.task.get_or_insert_default();
        match self.claim(request, task, None, deadline).await? {
            Claimed::Answered { task_id, answer } => {
                Span::current().record("task_id", &task_id);
                answer::recorded(request, &task_id, &answer, true)
            }
            Claimed::Run { task_id, attached } => {
                task.task_id = task_id;
                tracing::debug!(attached, "claimed");
                trace_run(&mut input);
                self.wait(request, input, attached, deadline).await
            }
        }
    }
}

/// The run that is about to be asked belongs to this call.
fn trace_run(input: &mut TaskInput) {
    if let Some(task) = &input.task {
        Span::current().record("task_id", &task.task_id).record("workflow_id", task.workflow_id());
    }
    input.trace = handoff_telemetry::trace::carry();
}

/// What a call came to, in few words.
fn outcome(answer: &Result<Answer, CallError>) -> &'static str {
    match answer {
        Ok(answer) if answer.replayed => "replayed",
        Ok(answer) if answer.status == "submitted" => "submitted",
        Ok(_) => "completed",
        Err(CallError::Refused(error)) if error.code == "SERVICE_UNAVAILABLE" => "unavailable",
        Err(CallError::Refused(_)) => "refused",
        Err(CallError::Infrastructure(_)) => "failed",
    }
}

/// A request with a fresh task id and correlation id.
fn new_input(caller: &Caller, request: &Request<'_>) -> TaskInput {
    let task = TaskRef {
        task_id: TaskId::generate().into(),
        scope: caller.scope.clone(),
        principal: caller.principal.clone(),
        verb: request.tool.clone(),
    };
    TaskInput {
        task: Some(task),
        request_json: request.text.clone().into_owned(),
        sync_deadline: Some(convert::to_proto_duration(request.sync_deadline)),
        sandbox: caller.sandbox,
        correlation_id: caller.correlation_id.clone().unwrap_or_else(|| uuid::Uuid::now_v7().simple().to_string()),
        trace: None,
        caller_keeps_sync_deadline: true,
    }
}

// JSON text inside JSON grows by its escapes: better refused now than by Temporal, with a claim left behind.
fn fits(input: &TaskInput) -> Result<(), CallError> {
    let size = serde_json::to_vec(input).map_or(usize::MAX, |encoded| encoded.len());
    if size > MAX_ENCODED_BYTES {
        return Err(request::invalid(format!("The request is too large: {size} bytes, encoded.")).into());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
