//! Begin and decide, and promotion at the sync deadline.

use super::{
    life::Life,
    state::{Stage, Timekeeper},
    steps::{self, or, quick},
};
use futures_util::{
    FutureExt,
    future::{Fuse, FusedFuture},
};
use handoff_proto::{
    activities::{Begin, Decide},
    errors,
    v1::{self, AdcpError, Completion, Standing, outcome},
    verbs,
};
use std::{
    pin::{Pin, pin},
    time::Duration,
};
use temporalio_workflow::{
    ActivityCloseTimeouts, ActivityOptions, TimerOptions, WaitConditionOptions, WorkflowCancellationToken,
    workflows::select,
};

// Well below the workflow task timeout of 10 s: while it runs, nothing else leaves the workflow task.
const QUICK_BUDGET: Duration = Duration::from_secs(3);
const DEFAULT_SYNC_DEADLINE: Duration = Duration::from_secs(10);
const DEFAULT_DECIDE_TIMEOUT: Duration = Duration::from_secs(3600);
const DEFAULT_DECIDE_HEARTBEAT: Duration = Duration::from_secs(10);

/// What deciding came to.
pub(super) enum Verdict {
    /// What the registry has.
    Standing(Box<Standing>),
    /// The task was cancelled while the decision was still out.
    Interrupted(Completion),
    /// No decision could be had.
    Failed(AdcpError),
}

impl Life<'_> {
    /// Gets the seller's decision. A handler that is declared quick answers within this workflow task; every other is a regular
    /// activity, and past the sync deadline the buyer is told `submitted` while it goes on.
    pub(super) async fn decide(&self) -> Verdict {
        self.enter(Stage::Deciding);
        let begun = quick(self.ctx, Begin, self.input.clone(), QUICK_BUDGET).await.unwrap_or_else(|_| self.defaults());
        let timekeeper = if begun.caller_keeps_sync_deadline { Timekeeper::Caller } else { Timekeeper::Run };
        self.ctx.state_mut(|run| run.state.set_timekeeper(timekeeper));
        if let Some(standing) = begun.standing
            && (standing.decision.is_some() || standing.settlement.is_some())
        {
            return Verdict::Standing(Box::new(standing));
        }

        let abandon = WorkflowCancellationToken::new();
        let options = ActivityOptions::with_close_timeouts(ActivityCloseTimeouts::ScheduleToClose(or(
            begun.decide_timeout.as_ref(),
            DEFAULT_DECIDE_TIMEOUT,
        )))
        .heartbeat_timeout(or(begun.decide_heartbeat_timeout.as_ref(), DEFAULT_DECIDE_HEARTBEAT))
        .retry_policy(steps::retry(Duration::from_millis(500), Duration::from_secs(30)))
        .cancellation_token(abandon.clone())
        .build();
        let input = v1::DecideInput { input: Some(self.input.clone()), may_be_async: begun.may_be_async };
        let mut deciding = pin!(self.ctx.execute_activity(Decide, input, options));
        let (mut sync_deadline, timer) = self.sync_deadline();
        let mut interrupted = pin!(self.interrupted().fuse());
        loop {
            select! {
                decided = deciding => {
                    timer.cancel();
                    return match decided {
                        Ok(standing) => Verdict::Standing(Box::new(standing)),
                        Err(error) => Verdict::Failed(steps::error_of(&error, errors::decide_failed().into())),
                    };
                }
                _ = sync_deadline => {
                    if begun.may_be_async {
                        self.accept().await;
                    } else {
                        self.tell(outcome::Kind::Undecided(Default::default()));
                    }
                }
                decision = interrupted => {
                    timer.cancel();
                    abandon.cancel();
                    return Verdict::Interrupted(decision);
                }
            }
        }
    }

    /// The wait before the buyer is told `submitted`, and the token that ends it early. The caller keeps the time, who alone needs
    /// it: a timer here would be two events of every run, and an action.
    pub(super) fn sync_deadline(&self) -> (Pin<Box<dyn FusedFuture<Output = ()> + '_>>, WorkflowCancellationToken) {
        let token = WorkflowCancellationToken::new();
        if self.is_submitted() {
            return (Box::pin(Fuse::<std::future::Pending<()>>::terminated()), token);
        }
        if self.ctx.state(|run| run.state.timekeeper()) == Timekeeper::Caller {
            // Cancelling the workflow ends the wait for a decision, not this one.
            let options = WaitConditionOptions::builder().cancellation_token(WorkflowCancellationToken::new()).build();
            let asked = self.ctx.wait_condition_with_options(|run| run.state.asked_for_submitted(), options);
            return (Box::pin(asked.map(|_| ()).fuse()), token);
        }
        let total = or(self.input.sync_deadline.as_ref(), DEFAULT_SYNC_DEADLINE);
        let spent = match (self.started_at, self.ctx.workflow_time()) {
            (Some(start), Some(now)) => now.duration_since(start).unwrap_or_default(),
            _ => Duration::ZERO,
        };
        let options = TimerOptions::builder(total.saturating_sub(spent))
            .summary("sync deadline".to_string())
            .cancellation_token(token.clone())
            .build();
        (Box::pin(self.ctx.timer(options).map(|_| ())), token)
    }

    // When `begin` got no answer in time: the protocol's own rules for the request, and a regular activity.
    fn defaults(&self) -> v1::BeginOutput {
        v1::BeginOutput {
            may_be_async: verbs::may_be_async(&self.task.verb, &self.input.request_json),
            ..Default::default()
        }
    }
}
