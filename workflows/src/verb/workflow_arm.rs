//! The workflow arm: a named enqueue handler is called, then an external decision is awaited.

use super::{
    life::{Ending, Life},
    state::Stage,
    steps::{self, or},
};
use futures_util::FutureExt;
use handoff_proto::{
    activities::Enqueue,
    convert::{to_duration, to_timestamp},
    errors,
    v1::{
        self, Completion, HandoffToWorkflow,
        completion::Outcome,
        notify_input::{Condition, ReviewOverdue, ReviewReminder},
    },
};
use std::{pin::pin, time::Duration};
use temporalio_workflow::{
    ActivityCloseTimeouts, ActivityExecutionError, ActivityOptions, TimerOptions, WorkflowCancellationToken,
    workflows::select,
};

const DEFAULT_DEADLINE: Duration = Duration::from_secs(7 * 24 * 3600);
const DEFAULT_ENQUEUE_ATTEMPT: Duration = Duration::from_secs(60);

enum Enqueued {
    Taken,
    Refused(v1::AdcpError),
    Interrupted(Completion),
}

impl Life<'_> {
    /// Calls the enqueue handler, then waits for a decision.
    pub(super) async fn wait_for_decision(&self, handoff: HandoffToWorkflow) -> Ending {
        let deadline = or(handoff.deadline.as_ref(), DEFAULT_DEADLINE);
        match self.enqueue(&handoff, deadline).await {
            Enqueued::Taken => {
                self.accept().await;
                let decision = self.wait(&handoff, deadline).await;
                self.settle(decision).await
            }
            // A decision that came early beats a later refusal: somebody has the task.
            Enqueued::Refused(error) => match self.early_decision() {
                Some(decision) => self.accept_and_settle(decision).await,
                None => self.give_up(error).await,
            },
            Enqueued::Interrupted(decision) => self.accept_and_settle(decision).await,
        }
    }

    // Only `unable` is a refusal. A timeout, a panic or a lost worker leaves open whether the handler took the task, and is
    // tried again with the same task id.
    async fn enqueue(&self, handoff: &HandoffToWorkflow, deadline: Duration) -> Enqueued {
        self.enter(Stage::Enqueueing);
        if let Some(decision) = self.interruption() {
            return Enqueued::Interrupted(decision);
        }
        let stop = WorkflowCancellationToken::new();
        let options = ActivityOptions::with_close_timeouts(ActivityCloseTimeouts::ScheduleAndStartToClose {
            schedule_to_close: deadline,
            start_to_close: or(handoff.enqueue_attempt_timeout.as_ref(), DEFAULT_ENQUEUE_ATTEMPT).min(deadline),
        })
        .retry_policy(steps::retry_policy(handoff.enqueue_retry_policy.as_ref()))
        .cancellation_token(stop.clone())
        .summary(handoff.handler.clone())
        .build();
        let input = v1::EnqueueInput { input: Some(self.origin.clone()), handoff: Some(handoff.clone()) };
        let mut enqueueing = pin!(self.ctx.execute_activity(Enqueue, input, options));
        let (mut sync_deadline, timer) = self.sync_deadline();
        let mut interrupted = pin!(self.interrupted().fuse());
        loop {
            select! {
                answered = enqueueing => {
                    timer.cancel();
                    return judge(answered);
                }
                _ = sync_deadline => self.accept().await,
                decision = interrupted => {
                    timer.cancel();
                    stop.cancel();
                    return Enqueued::Interrupted(decision);
                }
            }
        }
    }

    // One timer at a time, each for what is left until the next thing to do.
    async fn wait(&self, handoff: &HandoffToWorkflow, deadline: Duration) -> Completion {
        self.enter(Stage::Waiting);
        let ends_at = self.ctx.workflow_time().map(|now| to_timestamp((now + deadline).into()));
        let mut elapsed = Duration::ZERO;
        for (at, alarm) in schedule(handoff, deadline) {
            let timer = WorkflowCancellationToken::new();
            let options = TimerOptions::builder(at.saturating_sub(elapsed))
                .summary(alarm.summary())
                .cancellation_token(timer.clone())
                .build();
            let mut ringing = pin!(self.ctx.timer(options));
            let mut interrupted = pin!(self.interrupted().fuse());
            select! {
                _ = ringing => {}
                decision = interrupted => {
                    timer.cancel();
                    return decision;
                }
            }
            elapsed = at;
            let condition = match alarm {
                Alarm::Reminder(number) => Condition::ReviewReminder(ReviewReminder { number, deadline: ends_at }),
                Alarm::Escalation => Condition::ReviewOverdue(ReviewOverdue { deadline: ends_at }),
                Alarm::SandboxApproval(result_json) => {
                    return Completion {
                        outcome: Some(Outcome::ResultJson(result_json)),
                        actor: "handoff".into(),
                        reason: "sandbox".into(),
                        ..Default::default()
                    };
                }
                Alarm::Deadline => break,
            };
            // Scheduled by this call; the wait goes on without its result.
            drop(self.notify(condition, deadline.saturating_sub(at).max(Duration::from_secs(60))));
        }
        Completion {
            outcome: Some(Outcome::Error(errors::deadline_exceeded().into())),
            actor: "handoff".into(),
            reason: "deadline".into(),
            ..Default::default()
        }
    }

    async fn accept_and_settle(&self, decision: Completion) -> Ending {
        self.accept().await;
        self.settle(decision).await
    }

    fn early_decision(&self) -> Option<Completion> {
        self.ctx.state(|run| run.state.decision().cloned())
    }
}

enum Alarm {
    Reminder(u32),
    Escalation,
    SandboxApproval(String),
    Deadline,
}

impl Alarm {
    fn summary(&self) -> String {
        match self {
            Self::Reminder(number) => format!("reminder {number}"),
            Self::Escalation => "escalation".to_owned(),
            Self::SandboxApproval(_) => "sandbox approval".to_owned(),
            Self::Deadline => "deadline".to_owned(),
        }
    }
}

/// What is to be done when, since the wait began; the deadline is last.
fn schedule(handoff: &HandoffToWorkflow, deadline: Duration) -> Vec<(Duration, Alarm)> {
    let mut reminders: Vec<Duration> = handoff.reminders.iter().map(to_duration).collect();
    reminders.sort_unstable();
    let mut alarms: Vec<(Duration, Alarm)> = reminders
        .into_iter()
        .filter(|at| !at.is_zero())
        .zip(1..)
        .map(|(at, number)| (at, Alarm::Reminder(number)))
        .collect();
    alarms.extend(handoff.escalate_after.as_ref().map(|after| (to_duration(after), Alarm::Escalation)));
    alarms.retain(|(at, _)| !at.is_zero());
    if let Some(v1::handoff_to_workflow::SandboxApproval { result_json, after }) = &handoff.sandbox_approval {
        alarms.push((after.as_ref().map(to_duration).unwrap_or_default(), Alarm::SandboxApproval(result_json.clone())));
    }
    alarms.retain(|(at, _)| *at < deadline);
    alarms.sort_by_key(|(at, _)| *at);
    alarms.push((deadline, Alarm::Deadline));
    alarms
}

fn judge(answered: Result<v1::Acknowledgement, ActivityExecutionError>) -> Enqueued {
    match answered {
        Ok(acknowledgement) if acknowledgement.kind == "unable" => {
            let error = acknowledgement.errors.into_iter().next();
            Enqueued::Refused(error.unwrap_or_else(|| errors::enqueue_unable().into()))
        }
        Ok(_) => Enqueued::Taken,
        Err(error) => Enqueued::Refused(steps::error_of(&error, errors::enqueue_failed().into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use handoff_proto::convert::to_proto_duration;

    #[test]
    fn alarms_ring_in_order_and_never_after_the_deadline() {
        let seconds = |s| to_proto_duration(Duration::from_secs(s));
        let handoff = HandoffToWorkflow {
            reminders: vec![seconds(30), seconds(10), seconds(0), seconds(500)],
            escalate_after: Some(seconds(20)),
            sandbox_approval: Some(v1::handoff_to_workflow::SandboxApproval {
                result_json: "{}".into(),
                after: Some(seconds(25)),
            }),
            ..Default::default()
        };
        let alarms: Vec<String> = schedule(&handoff, Duration::from_secs(60))
            .into_iter()
            .map(|(at, alarm)| format!("{} {}", at.as_secs(), alarm.summary()))
            .collect();
        assert_eq!(alarms, ["10 reminder 1", "20 escalation", "25 sandbox approval", "30 reminder 2", "60 deadline"]);
    }

    #[test]
    fn only_unable_is_a_refusal() {
        for (kind, refused) in [("wilco", false), ("roger", false), ("unable", true)] {
            let acknowledgement = v1::Acknowledgement { kind: kind.into(), ..Default::default() };
            assert_eq!(matches!(judge(Ok(acknowledgement)), Enqueued::Refused(_)), refused, "{kind}");
        }
    }
}
