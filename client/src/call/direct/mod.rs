//! Answers without a workflow: the caller of [`Handoff::answer_directly`] brings the handler (docs/decisions/016 and 017).

mod at_work;
mod context;
mod keyed;
#[cfg(test)]
mod tests;

pub(crate) use at_work::AtWork;
pub use context::{Direct, DirectContext, DirectOptions};

use super::{Answer, CallError, Claimed, RETRY_AFTER, answer, fits, new_input, request::Request, trace_run};
use crate::{Caller, Handoff, error::unavailable};
use futures::FutureExt;
use handoff_proto::{
    convert, errors, json,
    limits::MAX_RESULT_BYTES,
    v1::{self, TaskInput, TaskRef, decision::Kind},
    verbs,
    wire::{self, AdcpError, strip_write_only},
};
use keyed::Time;
use serde_json::Value;
use std::{panic::AssertUnwindSafe, time::Duration};
use tokio::time::Instant;

// What a run is left of the budget at the least: it says `submitted` when that is over.
const LEAST_DEADLINE: Duration = Duration::from_millis(100);

/// What a handler came to.
#[derive(Debug)]
enum Verdict {
    Complete {
        result: Value,
        text: String,
    },
    HandOff(v1::Decision),
    Refuse(AdcpError),
    /// It was stopped, or it failed without saying what it did.
    Unknown(AdcpError),
}

impl Handoff {
    /// Answers a plain tool, or discovery, by a handler of the caller's, without Temporal.
    ///
    /// With an idempotency key the handler is called once, whoever sends the request, how often, and to which process; its
    /// answer is recorded and said again. Without one nothing is written. A discovery handler may hand off, and one that is
    /// still at work when the buyer's budget ends is dropped: then a workflow decides. A verb that is no discovery is always
    /// decided by its workflow, as by [`Handoff::call`], and the handler is not called.
    ///
    /// A handler with a key goes on when this future is dropped, so that its answer is recorded; [`Handoff::direct_done`] waits
    /// for those.
    pub async fn answer_directly<H, F>(
        &self,
        caller: &Caller,
        tool: &str,
        request_text: &[u8],
        handler: H,
    ) -> Result<Answer, CallError>
    where
        H: FnOnce(DirectContext) -> F + Send + 'static,
        F: Future<Output = Result<Direct, AdcpError>> + Send + 'static,
    {
        self.answer_directly_with(caller, tool, request_text, DirectOptions::default(), handler).await
    }

    /// [`Handoff::answer_directly`] with what the seller declared about the tool.
    pub async fn answer_directly_with<H, F>(
        &self,
        caller: &Caller,
        tool: &str,
        request_text: &[u8],
        options: DirectOptions,
        handler: H,
    ) -> Result<Answer, CallError>
    where
        H: FnOnce(DirectContext) -> F + Send + 'static,
        F: Future<Output = Result<Direct, AdcpError>> + Send + 'static,
    {
        caller.check()?;
        let longest_wait = self.config().sync_deadline;
        let mut request = match verbs::find(tool) {
            Some(verb) if verb.is_discovery() => Request::read(tool, request_text, longest_wait)?,
            Some(_) => return self.call(caller, tool, request_text).await,
            None => Request::read_plain(tool, request_text, longest_wait)?,
        };
        request.sandbox = caller.sandbox;
        let input = new_input(caller, &request);
        // A discovery request may come to be a run's.
        if request.verb.is_some() {
            fits(&input)?;
            self.check_secrets(&request)?;
        }
        let correlation_id = input.correlation_id.clone();
        let answering = async {
            if let Some(answer) = self.forced(&request, &input).await? {
                return Ok(answer);
            }
            if request.idempotency_key.is_some() {
                self.answer_keyed(&request, input, options, handler).await
            } else {
                self.answer_keyless(&request, input, options, handler).await
            }
        };
        self.observe(caller, &request, &correlation_id, answering).await
    }

    /// Waits until no handler with an idempotency key is at work in this process, for a graceful shutdown.
    pub async fn direct_done(&self) {
        self.at_work.done().await;
    }

    // Nobody can ask again for what a keyless request came to: only a hand-off is written down.
    async fn answer_keyless<H, F>(
        &self,
        request: &Request<'_>,
        input: TaskInput,
        options: DirectOptions,
        handler: H,
    ) -> Result<Answer, CallError>
    where
        H: FnOnce(DirectContext) -> F,
        F: Future<Output = Result<Direct, AdcpError>>,
    {
        let begin = Instant::now();
        let deadline = begin + self.patience(request, options);
        let task = input.task.clone().unwrap_or_default();
        let budget = if request.verb.is_some() { request.sync_deadline } else { deadline - begin };
        let time = Time { begin, deadline, budget };
        match tokio::time::timeout(budget, ask(&input, handler)).await {
            Ok(Verdict::Complete { result, text }) => {
                self.keep_offers(request, &task, &text).await?;
                Ok(answer::completed(request, &task.task_id, result, false))
            }
            Ok(Verdict::Refuse(error) | Verdict::Unknown(error)) => Err(error.into()),
            Ok(Verdict::HandOff(_)) if !request.may_be_async() => Err(errors::async_not_allowed().into()),
            Ok(Verdict::HandOff(decision)) => {
                let lease = self.lease(self.config().grace, true);
                if let Claimed::Answered { task_id, answer } =
                    self.claim(request, &task, Some(&lease), deadline).await?
                {
                    return answer::recorded(request, &task_id, &answer, false);
                }
                self.record_patiently(&task, &decision, &lease).await.map_err(CallError::registry)?;
                self.drive(request, input, false, time).await
            }
            Err(_) if request.may_be_async() => {
                if let Claimed::Answered { task_id, answer } = self.claim(request, &task, None, deadline).await? {
                    return answer::recorded(request, &task_id, &answer, false);
                }
                self.drive(request, input, false, time).await
            }
            Err(_) => answer::incomplete(request, &task.task_id, false)
                .ok_or_else(|| unavailable("The seller did not answer in time.", RETRY_AFTER).into()),
        }
    }

    /// What is offered can be bought: it is in the ledger before the buyer is told.
    async fn keep_offers(&self, request: &Request<'_>, task: &TaskRef, result: &str) -> Result<(), CallError> {
        if wire::proposal_news(&task.verb, result) == wire::ProposalNews::default() {
            return Ok(());
        }
        let kept = self.registry().keep_proposals(task, result, request.sandbox).await;
        kept.map(|_| ()).map_err(CallError::registry)
    }

    /// How long a caller is kept waiting.
    fn patience(&self, request: &Request<'_>, options: DirectOptions) -> Duration {
        let usual = request.sync_deadline + self.config().grace;
        options.patience.filter(|_| request.verb.is_none()).unwrap_or(usual)
    }

    /// Starts the run, or attaches to it: it finds the decision, or decides.
    async fn drive(
        &self,
        request: &Request<'_>,
        mut input: TaskInput,
        attached: bool,
        time: Time,
    ) -> Result<Answer, CallError> {
        let left = request.sync_deadline.saturating_sub(time.begin.elapsed()).max(LEAST_DEADLINE);
        input.sync_deadline = Some(convert::to_proto_duration(left));
        trace_run(&mut input);
        self.wait(request, input, attached, time.deadline).await
    }
}

/// Calls the handler, and checks what it says.
async fn ask<H, F>(input: &TaskInput, handler: H) -> Verdict
where
    H: FnOnce(DirectContext) -> F,
    F: Future<Output = Result<Direct, AdcpError>>,
{
    let context = DirectContext::new(input.clone());
    let asked = AssertUnwindSafe(async { handler(context).await }).catch_unwind().await;
    match asked {
        Ok(Ok(Direct::Complete(result))) => completed(result),
        Ok(Ok(Direct::HandOff(decision))) => match decision.kind {
            Some(Kind::Complete(complete)) => match serde_json::from_str(&complete.result_json) {
                Ok(result) => completed(result),
                Err(error) => Verdict::Unknown(errors::result_invalid(error)),
            },
            Some(Kind::Refuse(error)) => told(error.to_wire()),
            Some(Kind::HandoffToTask(_) | Kind::HandoffToWorkflow(_)) => Verdict::HandOff(decision),
            Some(Kind::Void(_)) | None => Verdict::Unknown(errors::result_invalid("it decides nothing")),
        },
        Ok(Err(error)) => told(error),
        Err(_) => {
            tracing::error!(correlation_id = input.correlation_id, "the handler panicked");
            Verdict::Unknown(errors::handler_failed(&input.correlation_id))
        }
    }
}

// These codes stand for a panic that was caught, or an answer that was rejected, further inside: the handler may have acted.
fn told(error: AdcpError) -> Verdict {
    match error.code.as_str() {
        errors::HANDLER_FAILED | errors::RESULT_INVALID | errors::RESULT_TOO_LARGE => Verdict::Unknown(error),
        _ => Verdict::Refuse(error.without_write_only()),
    }
}

// What is said is what is recorded.
fn completed(mut result: Value) -> Verdict {
    strip_write_only(&mut result);
    let text = result.to_string();
    if text.len() > MAX_RESULT_BYTES {
        return Verdict::Unknown(errors::result_too_large(text.len(), MAX_RESULT_BYTES));
    }
    if !result.is_object() {
        return Verdict::Unknown(errors::result_invalid("it is no JSON object"));
    }
    match json::canonical(&result) {
        Ok(_) => Verdict::Complete { result, text },
        Err(error) => Verdict::Unknown(errors::result_invalid(error)),
    }
}
