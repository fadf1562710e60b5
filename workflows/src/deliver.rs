//! Telling a webhook: until it has arrived, its receiver wants no more of it, or its time is up.

use crate::verb::steps;
use handoff_proto::{
    activities::{DeliverWebhook, ExpireWebhook},
    convert::to_duration,
    v1::{WebhookEnd, WebhookInput, WebhookPlan},
};
use std::time::Duration;
use temporalio_workflow::{ActivityCloseTimeouts, ActivityOptions, WorkflowCancellationToken, WorkflowContext};

// One attempt with all that is around it; the request itself has less.
const ATTEMPT: Duration = Duration::from_secs(30);
// Attempts say themselves when they want to be repeated. This is for those that can't: their worker died.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
// The activity itself gives up at the horizon; this is for when nobody was there to do so.
const MARGIN: Duration = Duration::from_secs(60);

/// Tells a webhook, and says how that ended. `None`: not even that it was given up could be recorded.
pub(crate) async fn deliver<W>(
    ctx: &WorkflowContext<W>,
    input: WebhookInput,
    plan: &WebhookPlan,
) -> Option<WebhookEnd> {
    let horizon = plan.horizon.as_ref().map(to_duration).unwrap_or_default();
    let options = ActivityOptions::with_close_timeouts(ActivityCloseTimeouts::ScheduleAndStartToClose {
        schedule_to_close: horizon + MARGIN,
        start_to_close: ATTEMPT,
    })
    .task_queue(plan.task_queue.clone())
    .retry_policy(steps::retry(FIRST_PAUSE, LONGEST_PAUSE))
    .cancellation_token(WorkflowCancellationToken::new())
    .build();
    match ctx.execute_activity(DeliverWebhook, input.clone(), options).await {
        Ok(end) => Some(end),
        Err(_) => steps::transaction(ctx, ExpireWebhook, input).await.ok(),
    }
}
