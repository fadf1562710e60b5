//! The task arm: a named task handler runs as an activity.

use super::{
    life::{Ending, Life},
    state::Stage,
    steps::{self, or},
};
use futures_util::FutureExt;
use handoff_proto::{
    activities::RunTask,
    v1::{self, Completion, HandoffToTask, completion::Outcome},
};
use std::{pin::pin, time::Duration};
use temporalio_workflow::{ActivityCloseTimeouts, ActivityOptions, WorkflowCancellationToken, workflows::select};

const DEFAULT_ATTEMPT: Duration = Duration::from_secs(600);
const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(10);
const DEFAULT_DEADLINE: Duration = Duration::from_secs(24 * 3600);

impl Life<'_> {
    /// Runs the handler to its end, unless an external decision comes first.
    pub(super) async fn run_task(&self, handoff: HandoffToTask) -> Ending {
        self.enter(Stage::RunningTask);
        if let Some(decision) = self.interruption() {
            return self.settle(decision).await;
        }
        let stop = WorkflowCancellationToken::new();
        let deadline = or(handoff.deadline.as_ref(), DEFAULT_DEADLINE);
        let options = ActivityOptions::with_close_timeouts(ActivityCloseTimeouts::ScheduleAndStartToClose {
            schedule_to_close: deadline,
            start_to_close: or(handoff.attempt_timeout.as_ref(), DEFAULT_ATTEMPT).min(deadline),
        })
        .heartbeat_timeout(or(handoff.heartbeat_timeout.as_ref(), DEFAULT_HEARTBEAT))
        .retry_policy(steps::retry_policy(handoff.retry_policy.as_ref()))
        .cancellation_token(stop.clone())
        .summary(handoff.handler.clone())
        .build();
        let input = v1::RunTaskInput { input: Some(self.origin.clone()), handoff: Some(handoff) };
        let mut running = pin!(self.ctx.execute_activity(RunTask, input, options));
        let mut interrupted = pin!(self.interrupted().fuse());
        let completion = select! {
            done = running => match done {
                Ok(completion) => completion,
                Err(error) => Completion { outcome: Some(Outcome::Error(steps::task_failed(&error))), ..Default::default() },
            },
            decision = interrupted => {
                stop.cancel();
                decision
            }
        };
        self.settle(completion).await
    }
}
