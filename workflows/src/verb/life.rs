//! The life of a verb: begin, decide, one of the arms, settle, publish.

use super::{
    Ctx,
    decide::Verdict,
    state::Stage,
    steps::{self, transaction},
};
use crate::deliver::deliver;
use futures_util::FutureExt;
use handoff_proto::{
    activities::{Accept, Discard, Notify, RecordDroppedSignals, Settle},
    errors,
    v1::{
        self, AdcpError, Completion, Settlement, completion::Outcome as CompletionOutcome, decision::Kind,
        notify_input::Condition, outcome,
    },
};
use std::time::{Duration, SystemTime};
use temporalio_workflow::{
    ActivityOptions, WaitConditionOptions, WorkflowCancellationToken, WorkflowTermination,
    common::error::ApplicationFailure, workflow_interceptors::WorkflowOutputValue,
};

// Handlers of a task's end get this long, with retries, to take notice.
const NOTIFY_TOTAL: Duration = Duration::from_secs(24 * 3600);
const NOTIFY_ATTEMPT: Duration = Duration::from_secs(60);

/// How a run ends.
pub(super) enum Ending {
    /// A task came to its end, whichever.
    Settled(Settlement),
    /// The request was answered at once.
    Answered,
    /// The request was refused before anybody was told `submitted`.
    Refused(AdcpError),
    /// The journal was closed before this run could record a decision.
    Discarded,
    /// The run's own input can't be used.
    Unusable(String),
}

/// Runs to the end; then everyone who waits for an answer gets one.
pub(super) async fn run(ctx: &Ctx) -> Result<Box<dyn WorkflowOutputValue>, WorkflowTermination> {
    let ending = match ctx.state(|run| run.state.input()) {
        Ok(input) => {
            let started_at = ctx.workflow_time();
            let life = Life {
                ctx,
                started_at,
                task: input.task.clone().unwrap_or_default(),
                origin: input.with_context_only(),
                input,
            };
            let ending = life.live().await;
            ctx.state_mut(|run| run.state.note_unused_decision());
            life.record_dropped_signals().await;
            ending
        }
        Err(reason) => Ending::Unusable(reason),
    };
    ctx.state_mut(|run| run.state.close());
    drain(ctx).await;
    let status = match ending {
        Ending::Settled(settlement) => settlement.status,
        Ending::Answered => "completed".to_owned(),
        Ending::Refused(error) => return Err(failed(error.code.clone(), format!("refused: {}", error.code))),
        Ending::Discarded => {
            return Err(failed(errors::DISCARDED.into(), "the claim was gone before a decision was recorded".into()));
        }
        Ending::Unusable(reason) => return Err(failed(errors::INPUT_INVALID.into(), reason)),
    };
    Ok(Box::new(v1::RunSummary { status, dropped_signals: ctx.state(|run| run.state.dropped()) }))
}

/// A run at work.
pub(super) struct Life<'a> {
    pub(super) ctx: &'a Ctx,
    pub(super) started_at: Option<SystemTime>,
    pub(super) input: v1::TaskInput,
    /// The input with no more of the request than its `context`: what goes beside a handler's own input.
    pub(super) origin: v1::TaskInput,
    pub(super) task: v1::TaskRef,
}

impl Life<'_> {
    async fn live(&self) -> Ending {
        let standing = match self.decide().await {
            Verdict::Standing(standing) => *standing,
            Verdict::Interrupted(decision) => return self.settle(decision).await,
            Verdict::Failed(error) => return self.give_up(error).await,
        };
        if standing.submitted {
            self.submitted();
        }
        if let Some(settlement) = standing.settlement {
            return self.settle(completion_of(settlement)).await;
        }
        match standing.decision.and_then(|decision| decision.kind) {
            Some(Kind::Complete(complete)) => {
                self.tell(outcome::Kind::Completed(outcome::Completed { result_json: complete.result_json }));
                Ending::Answered
            }
            Some(Kind::Refuse(error)) => self.refuse(error),
            Some(Kind::HandoffToTask(handoff)) => self.run_task(handoff).await,
            Some(Kind::HandoffToWorkflow(handoff)) => self.wait_for_decision(handoff).await,
            Some(Kind::Void(_)) | None => Ending::Discarded,
        }
    }

    /// Makes the task visible, unless the registry knows better, and says so.
    pub(super) async fn accept(&self) {
        if self.is_submitted() {
            return;
        }
        if let Ok(standing) = transaction(self.ctx, Accept, self.input.clone()).await
            && standing.submitted
        {
            self.submitted();
        }
    }

    /// Records the task's end. What the registry says is recorded is the end, whatever was asked for.
    pub(super) async fn settle(&self, mut completion: Completion) -> Ending {
        self.enter(Stage::Settling);
        if completion.decision_id.is_empty() {
            completion.decision_id =
                format!("{}-{}", self.task.task_id, completion.status().map_or("", |s| s.as_str()));
        }
        let input = |completion| v1::SettleInput {
            task: Some(self.task.clone()),
            completion: Some(completion),
            call: Some(self.input.call_context()),
        };
        let settled = match transaction(self.ctx, Settle, input(completion.clone())).await {
            // A result that can't be stored fails the task rather than stranding it.
            Err(error) => {
                let error = steps::error_of(&error, errors::result_invalid("it can't be stored").into());
                let completion = Completion { outcome: Some(CompletionOutcome::Error(error)), ..completion };
                transaction(self.ctx, Settle, input(completion)).await
            }
            settled => settled,
        };
        let Ok(v1::SettleOutput { settlement: Some(settlement), notify, webhook }) = settled else {
            return Ending::Discarded;
        };
        self.submitted();
        self.ctx.state_mut(|run| run.state.set_settlement(settlement.clone()));
        if notify || webhook.is_some() {
            self.enter(Stage::Publishing);
            let handlers = async {
                if notify {
                    self.notify(Condition::Settled(settlement.clone()), NOTIFY_TOTAL).await;
                }
            };
            let receiver = async {
                if let Some(plan) = &webhook {
                    deliver(self.ctx, self.webhook_input(), plan).await;
                }
            };
            futures_util::join!(handlers, receiver);
        }
        Ending::Settled(settlement)
    }

    fn webhook_input(&self) -> v1::WebhookInput {
        v1::WebhookInput { task: Some(self.task.clone()), call: Some(self.input.call_context()) }
    }

    /// Takes the task back; if `submitted` was said, fails it.
    pub(super) async fn give_up(&self, error: AdcpError) -> Ending {
        self.enter(Stage::Settling);
        let input = v1::DiscardInput {
            task: Some(self.task.clone()),
            error: Some(error.clone()),
            call: Some(self.input.call_context()),
        };
        match transaction(self.ctx, Discard, input).await {
            Ok(v1::DiscardOutput { settlement: Some(settlement) }) => self.settle(completion_of(settlement)).await,
            Ok(_) => self.refuse(error),
            Err(_) => Ending::Discarded,
        }
    }

    /// Hands a condition to the registered handlers.
    pub(super) fn notify(&self, condition: Condition, total: Duration) -> impl Future<Output = ()> + '_ {
        let options =
            ActivityOptions::with_close_timeouts(temporalio_workflow::ActivityCloseTimeouts::ScheduleAndStartToClose {
                schedule_to_close: total,
                start_to_close: NOTIFY_ATTEMPT,
            })
            .retry_policy(steps::retry(Duration::from_secs(1), Duration::from_secs(300)))
            .cancellation_token(WorkflowCancellationToken::new())
            .build();
        // Without the request, which no condition shows: with a large result it would not fit.
        let input = v1::TaskInput { request_json: String::new(), ..self.input.clone() };
        let input = v1::NotifyInput { input: Some(input), condition: Some(condition) };
        // A handler that can't be reached must not hold the task's end: the task is settled, and the attempt is in the history.
        self.ctx.execute_activity(Notify, input, options).map(|_| ())
    }

    /// Waits for a decision that ends the present stage; meanwhile writes down signals that could not be used.
    pub(super) async fn interrupted(&self) -> Completion {
        loop {
            self.news().await;
            if self.ctx.state(|run| run.state.has_unrecorded_drops()) {
                self.record_dropped_signals().await;
            }
            if let Some(decision) = self.interruption() {
                return decision;
            }
        }
    }

    /// The decision that ends the present stage, if it is there.
    pub(super) fn interruption(&self) -> Option<Completion> {
        self.ctx.state(|run| run.state.interruption().cloned())
    }

    pub(super) fn enter(&self, stage: Stage) {
        self.ctx.state_mut(|run| run.state.enter(stage));
    }

    pub(super) fn tell(&self, kind: outcome::Kind) {
        self.ctx.state_mut(|run| run.state.tell(kind));
    }

    pub(super) fn is_submitted(&self) -> bool {
        self.ctx.state(|run| run.state.is_submitted())
    }

    fn submitted(&self) {
        self.ctx.state_mut(|run| {
            run.state.set_submitted();
            run.state.tell(outcome::Kind::Submitted(Default::default()));
        });
    }

    fn refuse(&self, error: AdcpError) -> Ending {
        self.tell(outcome::Kind::Refused(error.clone()));
        Ending::Refused(error)
    }

    async fn news(&self) {
        let is_news = |run: &super::VerbRun| run.state.interruption().is_some() || run.state.has_unrecorded_drops();
        let noted = self.ctx.state(|run| run.state.cancel_noted());
        // Once noted, the workflow's own cancellation must not wake this again.
        let options = if noted {
            WaitConditionOptions::builder().cancellation_token(WorkflowCancellationToken::new()).build()
        } else {
            WaitConditionOptions::default()
        };
        if let Err(cancelled) = self.ctx.wait_condition_with_options(is_news, options).await {
            self.ctx.state_mut(|run| run.state.note_cancel(cancelled.reason()));
        }
    }

    async fn record_dropped_signals(&self) {
        let signals = self.ctx.state_mut(|run| run.state.take_unrecorded_drops());
        if signals.is_empty() {
            return;
        }
        let call = Some(self.input.call_context());
        let input = v1::RecordDroppedSignalsInput { task: Some(self.task.clone()), signals, call };
        // Lost only if the registry refuses for good; they stay in Temporal's history.
        let _ = transaction(self.ctx, RecordDroppedSignals, input).await;
    }
}

async fn drain(ctx: &Ctx) {
    let options = WaitConditionOptions::builder().cancellation_token(WorkflowCancellationToken::new()).build();
    let handlers = ctx.clone();
    let _ = ctx.wait_condition_with_options(move |_| handlers.all_handlers_finished(), options).await;
}

fn completion_of(settlement: Settlement) -> Completion {
    let outcome = match settlement.error {
        Some(error) => CompletionOutcome::Error(error),
        None if settlement.status == "canceled" => CompletionOutcome::Cancellation(Default::default()),
        None => CompletionOutcome::ResultJson(settlement.result_json),
    };
    Completion {
        outcome: Some(outcome),
        decision_id: settlement.decision_id,
        actor: settlement.actor,
        reason: settlement.reason,
    }
}

fn failed(code: String, message: String) -> WorkflowTermination {
    WorkflowTermination::failed_application(
        ApplicationFailure::builder(message_error(message)).type_name(code).non_retryable(true).build(),
    )
}

fn message_error(message: String) -> Box<dyn std::error::Error + Send + Sync> {
    message.into()
}
