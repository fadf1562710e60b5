//! One execution for one key.

use super::{Direct, DirectContext, DirectOptions, Verdict, ask};
use crate::{
    Handoff,
    backoff::Backoff,
    call::{Answer, CallError, Claimed, RETRY_AFTER, answer, request::Request, wait},
};
use chrono::Utc;
use handoff_proto::{
    errors,
    v1::{self, Standing, TaskInput, TaskRef, decision::Complete, decision::Kind},
    verbs::IdempotencyKey,
    wire::AdcpError,
};
use handoff_store::{DirectView, Lease, RegistryError};
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;
use tracing::Instrument;

// How long an answer that was found waits for a registry that is away.
const RECORD_PATIENCE: Duration = Duration::from_secs(120);
// The registry is written after the budget, and others come from processes whose clocks differ.
const LEASE_MARGIN: Duration = Duration::from_secs(2);

/// One call's time.
#[derive(Clone, Copy)]
pub(super) struct Time {
    pub(super) begin: Instant,
    /// When the buyer is told something.
    pub(super) deadline: Instant,
    /// How long the handler has.
    pub(super) budget: Duration,
}

/// What became of a handler's call.
enum Done {
    Completed(Value),
    Refused(AdcpError),
    /// The registry has the request, decided or not, for a workflow.
    HandedOver,
    /// Somebody else's answer is the recorded one, or the outcome is open.
    Elsewhere,
}

impl Handoff {
    pub(super) async fn answer_keyed<H, F>(
        &self,
        request: &Request<'_>,
        mut input: TaskInput,
        options: DirectOptions,
        handler: H,
    ) -> Result<Answer, CallError>
    where
        H: FnOnce(DirectContext) -> F + Send + 'static,
        F: Future<Output = Result<Direct, AdcpError>> + Send + 'static,
    {
        let rerunnable = options.rerunnable || request.requirement() != IdempotencyKey::Required;
        let begin = Instant::now();
        let deadline = begin + self.patience(request, options);
        let budget = match request.verb {
            Some(_) => request.sync_deadline,
            None => self.config().in_flight_lease(),
        };
        let time = Time { begin, deadline, budget };
        let lease = self.lease(budget, rerunnable);
        let mut task = input.task.clone().unwrap_or_default();
        match self.claim(request, &task, Some(&lease), deadline).await? {
            Claimed::Answered { task_id, answer } => return answer::recorded(request, &task_id, &answer, true),
            Claimed::Run { attached: false, .. } => {
                return self.run(request, input, lease, time, handler, false).await;
            }
            Claimed::Run { task_id, attached: true } => task.task_id = task_id,
        }
        input.task = Some(task.clone());
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
        loop {
            match self.registry().direct_view(&task).await {
                Ok(DirectView::Ended(view)) => {
                    let ended = wait::recorded(request, &task.task_id, view, true)?;
                    return ended.ok_or_else(in_flight);
                }
                Ok(DirectView::Driven) if request.verb.is_some() => {
                    return self.drive(request, input, true, time).await;
                }
                Ok(DirectView::Lapsed { .. }) if request.verb.is_some() => {
                    self.registry().hand_over(&task, None).await.map_err(CallError::registry)?;
                    continue;
                }
                Ok(DirectView::Lapsed { rerunnable: true }) => {
                    let lease = self.lease(budget, rerunnable);
                    if self.registry().take_over(&task, &lease).await.map_err(CallError::registry)? {
                        return self.run(request, input, lease, time, handler, true).await;
                    }
                }
                // Nobody may call the handler again: an operator, or `reconcile`, says what became of it.
                Ok(DirectView::Lapsed { rerunnable: false }) => return Err(in_flight()),
                Ok(DirectView::Leased | DirectView::Driven) => {}
                Err(error) if error.is_transient() => tracing::debug!(%error, "the registry can't be asked"),
                Err(error) => return Err(CallError::registry(error)),
            }
            if Instant::now() >= deadline {
                return Err(in_flight());
            }
            tokio::time::sleep_until(deadline.min(Instant::now() + backoff.pause())).await;
        }
    }

    /// Has a request that this process holds the lease of answered by its handler.
    async fn run<H, F>(
        &self,
        request: &Request<'_>,
        input: TaskInput,
        lease: Lease,
        time: Time,
        handler: H,
        attached: bool,
    ) -> Result<Answer, CallError>
    where
        H: FnOnce(DirectContext) -> F + Send + 'static,
        F: Future<Output = Result<Direct, AdcpError>> + Send + 'static,
    {
        let task = input.task.clone().unwrap_or_default();
        let working = self.at_work.begin();
        let (handoff, asked, may_be_async) = (self.clone(), input.clone(), request.may_be_async());
        // A buyer who hangs up must not leave a handler half-way, and nobody knowing what it did.
        let execution = async move {
            let _working = working;
            handoff.execute(&asked, &lease, time.budget, may_be_async, handler).await
        };
        let execution = tokio::spawn(execution.instrument(tracing::Span::current()));
        let Ok(done) = tokio::time::timeout_at(time.deadline, execution).await else { return Err(in_flight()) };
        match done {
            Ok(Ok(Done::Completed(result))) => Ok(answer::completed(request, &task.task_id, result, attached)),
            Ok(Ok(Done::Refused(error))) => Err(error.into()),
            Ok(Ok(Done::HandedOver)) => self.drive(request, input, attached, time).await,
            Ok(Ok(Done::Elsewhere)) => {
                let view = self.registry().claim_view(&task).await.map_err(CallError::registry)?;
                wait::recorded(request, &task.task_id, view, true)?.ok_or_else(in_flight)
            }
            Ok(Err(error)) => Err(CallError::registry(error)),
            // The runtime shuts down.
            Err(_) => Err(in_flight()),
        }
    }

    async fn execute<H, F>(
        &self,
        input: &TaskInput,
        lease: &Lease,
        budget: Duration,
        may_be_async: bool,
        handler: H,
    ) -> Result<Done, RegistryError>
    where
        H: FnOnce(DirectContext) -> F,
        F: Future<Output = Result<Direct, AdcpError>>,
    {
        let task = input.task.clone().unwrap_or_default();
        let is_discovery = handoff_proto::verbs::find(&task.verb).is_some();
        let verdict = match tokio::time::timeout(budget, ask(input, handler)).await {
            Ok(Verdict::HandOff(_)) if !may_be_async => Verdict::Refuse(errors::async_not_allowed()),
            // It only reads: what it did not say does not matter.
            Ok(Verdict::Unknown(error)) if is_discovery => Verdict::Refuse(error),
            Ok(verdict) => verdict,
            Err(_) if is_discovery => {
                self.registry().hand_over(&task, Some(lease)).await?;
                return Ok(Done::HandedOver);
            }
            Err(_) => {
                tracing::error!(
                    task_id = task.task_id,
                    "the handler took too long and was stopped: its outcome is open"
                );
                return Ok(Done::Elsewhere);
            }
        };
        match verdict {
            Verdict::Complete { result, text } => {
                let decision = decision(Kind::Complete(Complete { result_json: text.clone() }));
                let standing = self.record_patiently(&task, &decision, lease).await?;
                let recorded = standing.decision.and_then(|decision| decision.kind);
                let own = matches!(&recorded, Some(Kind::Complete(complete)) if complete.result_json == text);
                if !own {
                    tracing::error!(task_id = task.task_id, "an answer came too late and was not recorded");
                }
                Ok(if own { Done::Completed(result) } else { Done::Elsewhere })
            }
            Verdict::HandOff(decision) => {
                let standing = self.record_patiently(&task, &decision, lease).await?;
                Ok(if standing.decision == Some(decision) { Done::HandedOver } else { Done::Elsewhere })
            }
            Verdict::Refuse(error) => {
                let refusal = decision(Kind::Refuse(error.clone().into()));
                self.record_patiently(&task, &refusal, lease).await?;
                Ok(Done::Refused(error))
            }
            // The claim stays: nobody knows whether there is something to undo.
            Verdict::Unknown(error) => {
                tracing::error!(task_id = task.task_id, code = error.code, "the handler's outcome is open");
                Ok(Done::Refused(error))
            }
        }
    }

    pub(super) async fn record_patiently(
        &self,
        task: &TaskRef,
        decision: &v1::Decision,
        lease: &Lease,
    ) -> Result<Standing, RegistryError> {
        let give_up = Instant::now() + RECORD_PATIENCE;
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        loop {
            match self.registry().record_direct(task, decision, lease).await {
                Err(error) if error.is_transient() && Instant::now() < give_up => {
                    tracing::warn!(task_id = task.task_id, %error, "an answer waits to be recorded");
                    tokio::time::sleep(backoff.pause()).await;
                }
                result => return result,
            }
        }
    }

    /// A lease for a handler that has this long.
    pub(super) fn lease(&self, budget: Duration, rerunnable: bool) -> Lease {
        let length = i64::try_from((budget + LEASE_MARGIN).as_micros()).unwrap_or(i64::MAX);
        Lease { until: Utc::now().timestamp_micros().saturating_add(length), rerunnable }
    }
}

fn decision(kind: Kind) -> v1::Decision {
    v1::Decision { kind: Some(kind) }
}

fn in_flight() -> CallError {
    AdcpError::transient("IDEMPOTENCY_IN_FLIGHT", "An earlier request with this idempotency_key has no outcome yet.")
        .field("idempotency_key")
        .suggestion("Send the same request again later, with the same idempotency_key.")
        .retry_after(RETRY_AFTER)
        .into()
}
