//! Asking until there is an answer, or no time left.

use super::{
    Answer, CallError, RETRY_AFTER,
    answer::{self, result},
    request::Request,
    start::{Attempt, question},
};
use crate::{Handoff, backoff::Backoff, error::unavailable};
use handoff_proto::{
    errors,
    v1::{self, TaskInput, TaskRef, outcome},
};
use handoff_store::ClaimView;
use std::time::Duration;
use tokio::time::Instant;

// How the run was left, which decides what is asked next.
#[derive(Clone, Copy, PartialEq)]
enum Asking {
    /// The run, through Update-With-Start.
    Run,
    /// The registry alone: the run can't say more.
    Registry,
    /// The same, after the run said that it has no decision in time and may not be `submitted`.
    RegistryUndecided,
}

impl Handoff {
    /// The answer that the run or the registry gives until `deadline`, which is the sync deadline and some grace: the time for
    /// the run to say `submitted`, for which it is asked at the sync deadline.
    pub(super) async fn wait(
        &self,
        request: &Request<'_>,
        input: TaskInput,
        attached: bool,
        deadline: Instant,
    ) -> Result<Answer, CallError> {
        let task = input.task.clone().unwrap_or_default();
        let grace = self.config().grace;
        let answer = self.ask(request, input, attached, deadline);
        // Asked for at the very deadline, `submitted` would come or not as the race between the two has it.
        if grace.is_zero() {
            return answer.await;
        }
        tokio::select! {
            answer = answer => answer,
            never = self.promote_at(&task, deadline - grace) => match never {},
        }
    }

    /// The answer that the run or the registry gives within the budget. Only what one of them says is answered; when both are
    /// silent the call is refused as transient, and the same call again attaches to the same run.
    async fn ask(
        &self,
        request: &Request<'_>,
        input: TaskInput,
        attached: bool,
        deadline: Instant,
    ) -> Result<Answer, CallError> {
        let task = input.task.clone().unwrap_or_default();
        let task_id = task.task_id.as_str();
        let question = question(&input);
        let mut asking = Asking::Run;
        let mut last = String::from("no answer");
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut pause = true;
            if asking == Asking::Run && !left.is_zero() {
                match self.attempt(&input, &question, left.min(self.config().attempt_timeout)).await? {
                    Attempt::Told(outcome::Kind::Completed(completed)) => {
                        return Ok(answer::completed(request, task_id, result(&completed.result_json)?, attached));
                    }
                    Attempt::Told(outcome::Kind::Submitted(_)) => {
                        return Ok(answer::submitted(request, task_id, attached));
                    }
                    Attempt::Told(outcome::Kind::Refused(error)) => return Err(error.to_wire().into()),
                    Attempt::Told(outcome::Kind::Undecided(_)) => asking = Asking::RegistryUndecided,
                    Attempt::Told(outcome::Kind::Discarded(_)) => {
                        return self.discarded(request, &task, attached).await;
                    }
                    Attempt::Over => asking = Asking::Registry,
                    Attempt::Silent => pause = false,
                    Attempt::Busy(reason) => {
                        tracing::debug!(task_id, reason, "asking again");
                        last = reason;
                    }
                }
            }
            if let Some(answer) = self.recorded(request, &task, attached).await? {
                return Ok(answer);
            }
            if Instant::now() >= deadline {
                tracing::warn!(task_id, last, "no answer in time");
                let partial = (asking == Asking::RegistryUndecided)
                    .then(|| answer::incomplete(request, task_id, attached))
                    .flatten();
                return partial.ok_or_else(|| unavailable("The seller did not answer in time.", RETRY_AFTER).into());
            }
            if pause {
                tokio::time::sleep_until(deadline.min(Instant::now() + backoff.pause())).await;
            }
        }
    }

    /// What the registry has recorded as the answer, if it has.
    async fn recorded(
        &self,
        request: &Request<'_>,
        task: &TaskRef,
        attached: bool,
    ) -> Result<Option<Answer>, CallError> {
        match self.registry().claim_view(task).await {
            Ok(view) => recorded(request, &task.task_id, view, attached),
            // The run may still answer.
            Err(error) if error.is_transient() => {
                tracing::debug!(%error, "the registry can't be asked");
                Ok(None)
            }
            Err(error) => Err(CallError::registry(error)),
        }
    }

    /// The claim was taken away from the run: the registry says by what, or nothing was done.
    async fn discarded(&self, request: &Request<'_>, task: &TaskRef, attached: bool) -> Result<Answer, CallError> {
        match self.recorded(request, task, attached).await? {
            Some(answer) => Ok(answer),
            None => {
                Err(unavailable("The request was taken back before it was decided; nothing was done.", RETRY_AFTER)
                    .into())
            }
        }
    }
}

/// What a claim's state means to who waits for its answer; nothing while it is in flight.
pub(super) fn recorded(
    request: &Request<'_>,
    task_id: &str,
    view: ClaimView,
    attached: bool,
) -> Result<Option<Answer>, CallError> {
    match view {
        ClaimView::InFlight => Ok(None),
        ClaimView::Answered(recorded) => answer::recorded(request, task_id, &recorded, attached).map(Some),
        ClaimView::Refused { error_json } => Err(match serde_json::from_str::<v1::AdcpError>(&error_json) {
            Ok(error) => error.to_wire().into(),
            Err(_) => errors::outcome_unknown().into(),
        }),
        ClaimView::OutcomeUnknown | ClaimView::Missing => Err(errors::outcome_unknown().into()),
    }
}
