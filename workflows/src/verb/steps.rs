//! Calling activities: which way, how long, and what their failures mean.

use super::Ctx;
use handoff_proto::{
    convert::to_duration,
    errors,
    v1::{self, AdcpError},
};
use std::time::Duration;
use temporalio_workflow::{
    ActivityExecutionError, ActivityOptions, LocalActivityOptions, RetryPolicy, WorkflowCancellationToken,
    WorkflowContext,
    common::{ActivityDefinition, error::IncomingError},
};

// Registry transactions take milliseconds. While a local activity runs, no timer and no answer leaves the workflow task, so a
// slow registry must not hold it for long.
const LOCAL_ATTEMPT: Duration = Duration::from_secs(2);
const LOCAL_TOTAL: Duration = Duration::from_secs(4);
// The total is only looked at while an attempt is out: attempts that fail at once would go on for ever.
const LOCAL_ATTEMPTS: u32 = 4;
const REGULAR_ATTEMPT: Duration = Duration::from_secs(15);

/// One registry transaction: a local activity, and a regular one, retried until it succeeds, when the local one does not.
/// Fails only with what no retry can mend.
pub(crate) async fn transaction<W, A>(
    ctx: &WorkflowContext<W>,
    activity: A,
    input: A::Input,
) -> Result<A::Output, ActivityExecutionError>
where
    A: ActivityDefinition + Copy,
    A::Input: Clone,
{
    let local = LocalActivityOptions::builder()
        .start_to_close_timeout(LOCAL_ATTEMPT)
        .schedule_to_close_timeout(LOCAL_TOTAL)
        .retry_policy(
            RetryPolicy::builder()
                .initial_interval(Duration::from_millis(100))
                .backoff_coefficient(2.0)
                .maximum_attempts(LOCAL_ATTEMPTS)
                .build(),
        )
        .cancellation_token(WorkflowCancellationToken::new())
        .build();
    match ctx.execute_local_activity(activity, input.clone(), local).await {
        Ok(output) => Ok(output),
        Err(error) if is_non_retryable(&error) => Err(error),
        Err(_) => {
            let regular = ActivityOptions::with_start_to_close_timeout(REGULAR_ATTEMPT)
                .retry_policy(retry(Duration::from_millis(500), Duration::from_secs(30)))
                .cancellation_token(WorkflowCancellationToken::new())
                .build();
            ctx.execute_activity(activity, input, regular).await
        }
    }
}

/// One attempt within `budget` as a local activity, for what may be given up.
pub(super) async fn quick<A: ActivityDefinition>(
    ctx: &Ctx,
    activity: A,
    input: A::Input,
    budget: Duration,
) -> Result<A::Output, ActivityExecutionError> {
    let options = LocalActivityOptions::builder()
        .start_to_close_timeout(budget)
        .schedule_to_close_timeout(budget)
        .retry_policy(RetryPolicy::builder().maximum_attempts(1).build())
        .cancellation_token(WorkflowCancellationToken::new())
        .build();
    ctx.execute_local_activity(activity, input, options).await
}

/// Unlimited attempts, with pauses that double.
pub(crate) fn retry(initial: Duration, maximum: Duration) -> RetryPolicy {
    RetryPolicy::builder().initial_interval(initial).backoff_coefficient(2.0).maximum_interval(maximum).build()
}

/// The policy that a seller's handler was registered with.
pub(super) fn retry_policy(policy: Option<&v1::RetryPolicy>) -> RetryPolicy {
    let Some(policy) = policy else { return retry(Duration::from_secs(1), Duration::from_secs(60)) };
    RetryPolicy::builder()
        .initial_interval(or(policy.initial_interval.as_ref(), Duration::from_secs(1)))
        .backoff_coefficient(if policy.backoff_coefficient >= 1.0 { policy.backoff_coefficient } else { 2.0 })
        .maximum_interval(or(policy.maximum_interval.as_ref(), Duration::from_secs(60)))
        .maximum_attempts(policy.maximum_attempts)
        .build()
}

/// A duration that was given and is not zero, or another.
pub(super) fn or(duration: Option<&v1::ProtoDuration>, default: Duration) -> Duration {
    duration.map(to_duration).filter(|duration| !duration.is_zero()).unwrap_or(default)
}

/// What a seller's handler that failed for good said, or else `default`.
pub(super) fn error_of(error: &ActivityExecutionError, default: AdcpError) -> AdcpError {
    match error.reason() {
        Some(IncomingError::Application(failure)) => failure.details::<AdcpError>().ok().flatten().unwrap_or(default),
        _ => default,
    }
}

/// The AdCP error for a handler of the task arm that ran out of attempts or time.
pub(super) fn task_failed(error: &ActivityExecutionError) -> AdcpError {
    error_of(error, errors::task_failed().into())
}

// Local activities' failures arrive without their wrapper, so both shapes are looked at.
fn is_non_retryable(error: &ActivityExecutionError) -> bool {
    use temporalio_workflow::common::protos::temporal::api::failure::v1::failure::FailureInfo;
    let failure = error.failure();
    let own = failure.and_then(|failure| failure.failure_info.as_ref());
    let cause = failure.and_then(|failure| failure.cause.as_ref()).and_then(|cause| cause.failure_info.as_ref());
    [own, cause]
        .into_iter()
        .flatten()
        .any(|info| matches!(info, FailureInfo::ApplicationFailureInfo(info) if info.non_retryable))
}
