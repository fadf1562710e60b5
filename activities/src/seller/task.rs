//! Task handlers: do the work of the task arm, with progress, heartbeats, cancellation and retries.

use super::{Context, RequestContext};
use async_trait::async_trait;
use handoff_proto::{convert::to_proto_duration, errors, v1, wire::AdcpError};
use handoff_store::RegistryError;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{
    marker::PhantomData,
    ops::Deref,
    sync::{Arc, Mutex},
    time::Duration,
};

/// Does the work of a task.
#[async_trait]
pub trait TaskHandler<S>: Send + Sync + 'static {
    /// Works, and returns the result that the buyer gets. An `AdcpError` with `recovery: transient` is tried again, as is a
    /// panic; any other fails the task.
    async fn run(&self, context: TaskContext<S>, input: Value) -> Result<Value, AdcpError>;
}

/// How far a task has come. All fields are optional.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// 0 to 100.
    pub percentage: Option<f64>,
    /// What is being done.
    pub current_step: Option<String>,
    /// How many steps there are.
    pub total_steps: Option<u32>,
    /// Which of them this is, from 1.
    pub step_number: Option<u32>,
}

impl Progress {
    /// Step `number` of `total`, by name.
    pub fn step(number: u32, total: u32, name: impl Into<String>) -> Self {
        Self {
            percentage: (total > 0).then(|| f64::from(number.saturating_sub(1).min(total)) * 100.0 / f64::from(total)),
            current_step: Some(name.into()),
            total_steps: Some(total),
            step_number: Some(number),
        }
    }
}

/// The request, the seller's state, and the task itself.
pub struct TaskContext<S> {
    context: Context<S>,
    work: Arc<Work>,
}

/// What is shared between a handler and whoever runs it.
pub(crate) struct Work {
    pub(crate) host: Box<dyn Host>,
    pub(crate) heartbeat: Mutex<Option<Value>>,
}

/// Whoever runs a handler: an activity, or a test.
#[async_trait]
pub(crate) trait Host: Send + Sync {
    async fn progress(&self, progress: &v1::Progress) -> Result<(), RegistryError>;
    async fn heartbeat(&self, details: Value) -> Result<(), AdcpError>;
    async fn cancelled(&self);
    fn is_cancelled(&self) -> bool;
}

impl<S> TaskContext<S> {
    /// Tells how far the work has come; whoever polls sees it at once. A task that has ended ignores it. Never a reason to stop
    /// working: what can't be recorded is logged.
    pub async fn progress(&self, progress: Progress) {
        let message = v1::Progress {
            percentage: progress.percentage.map(|percentage| percentage.clamp(0.0, 100.0)),
            current_step: progress.current_step.unwrap_or_default(),
            // The protocol counts from 1.
            total_steps: progress.total_steps.filter(|steps| *steps > 0),
            step_number: progress.step_number.filter(|step| *step > 0),
            ..Default::default()
        };
        if let Err(error) = self.work.host.progress(&message).await {
            tracing::warn!(task_id = %self.task_id, %error, "progress was not recorded");
        }
    }

    /// Remembers where the work is: if this attempt dies, the next one finds it in [`TaskContext::last_heartbeat`].
    pub async fn heartbeat(&self, details: impl Serialize) -> Result<(), AdcpError> {
        let details = serde_json::to_value(details).map_err(errors::result_invalid)?;
        if let Ok(mut last) = self.work.heartbeat.lock() {
            *last = Some(details.clone());
        }
        self.work.host.heartbeat(details).await
    }

    /// What the last attempt that died remembered.
    pub fn last_heartbeat<T: DeserializeOwned>(&self) -> Option<T> {
        let last = self.work.heartbeat.lock().ok()?.clone()?;
        serde_json::from_value(last).ok()
    }

    /// Waits until the task is cancelled or the worker shuts down. The handler should stop soon after; what it returns then is not
    /// used.
    pub async fn cancelled(&self) {
        self.work.host.cancelled().await;
    }

    /// Was the task cancelled, or is the worker shutting down?
    pub fn is_cancelled(&self) -> bool {
        self.work.host.is_cancelled()
    }

    pub(crate) fn new(state: Arc<S>, request: Arc<RequestContext>, work: Arc<Work>) -> Self {
        Self { context: Context::new(state, request), work }
    }
}

impl<S> Deref for TaskContext<S> {
    type Target = Context<S>;

    fn deref(&self) -> &Context<S> {
        &self.context
    }
}

/// Is, or makes, a [`TaskRegistration`].
pub trait IntoTaskHandler<S, Marker: ?Sized> {
    /// The registration.
    fn into_registration(self) -> TaskRegistration<S>;
}

/// A task handler with its options.
pub struct TaskRegistration<S> {
    pub(crate) handler: Arc<dyn TaskHandler<S>>,
    pub(crate) retry: v1::RetryPolicy,
    pub(crate) attempt_timeout: Duration,
    pub(crate) heartbeat_timeout: Duration,
    pub(crate) deadline: Duration,
}

/// Takes a task handler, to say more about it.
pub fn task<S, Marker: ?Sized>(handler: impl IntoTaskHandler<S, Marker>) -> TaskRegistration<S> {
    handler.into_registration()
}

impl<S> TaskRegistration<S> {
    /// Pauses between attempts, from and to, and how many attempts there are (0: unlimited until the deadline).
    #[must_use]
    pub fn retry(mut self, initial_interval: Duration, maximum_interval: Duration, maximum_attempts: u32) -> Self {
        self.retry = policy(initial_interval, maximum_interval, maximum_attempts);
        self
    }

    /// The longest that one attempt may take; 10 minutes unless told.
    #[must_use]
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = timeout;
        self
    }

    /// After this long without a sign of life from its worker an attempt is given up; 10 seconds unless told.
    #[must_use]
    pub fn heartbeat_timeout(mut self, timeout: Duration) -> Self {
        self.heartbeat_timeout = timeout;
        self
    }

    /// All attempts together; 24 hours unless told. After it the task fails.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

impl<S> IntoTaskHandler<S, TaskRegistration<S>> for TaskRegistration<S> {
    fn into_registration(self) -> TaskRegistration<S> {
        self
    }
}

impl<S, H: TaskHandler<S>> IntoTaskHandler<S, dyn TaskHandler<S>> for H {
    fn into_registration(self) -> TaskRegistration<S> {
        TaskRegistration {
            handler: Arc::new(self),
            retry: policy(Duration::from_secs(1), Duration::from_secs(60), 0),
            attempt_timeout: Duration::from_secs(600),
            heartbeat_timeout: Duration::from_secs(10),
            deadline: Duration::from_secs(24 * 3600),
        }
    }
}

/// An async function as a [`TaskHandler`].
pub struct TaskFunction<F, I, O>(F, PhantomData<fn(I) -> O>);

#[async_trait]
impl<S, F, Fut, I, O> TaskHandler<S> for TaskFunction<F, I, O>
where
    S: Send + Sync + 'static,
    F: Fn(TaskContext<S>, I) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O, AdcpError>> + Send,
    I: DeserializeOwned + Send + 'static,
    O: Serialize + Send + 'static,
{
    async fn run(&self, context: TaskContext<S>, input: Value) -> Result<Value, AdcpError> {
        let input = typed_input(input)?;
        let output = (self.0)(context, input).await?;
        serde_json::to_value(output).map_err(errors::result_invalid)
    }
}

impl<S, F, Fut, I, O> IntoTaskHandler<S, fn(I, O) -> Fut> for F
where
    S: Send + Sync + 'static,
    F: Fn(TaskContext<S>, I) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O, AdcpError>> + Send,
    I: DeserializeOwned + Send + 'static,
    O: Serialize + Send + 'static,
{
    fn into_registration(self) -> TaskRegistration<S> {
        TaskFunction(self, PhantomData).into_registration()
    }
}

pub(crate) fn typed_input<I: DeserializeOwned>(input: Value) -> Result<I, AdcpError> {
    serde_json::from_value(input).map_err(|error| {
        tracing::error!(%error, "a handler's input does not have the handler's input type");
        errors::result_invalid("a handler's input does not fit its handler")
    })
}

pub(crate) fn policy(initial: Duration, maximum: Duration, attempts: u32) -> v1::RetryPolicy {
    v1::RetryPolicy {
        initial_interval: Some(to_proto_duration(initial)),
        backoff_coefficient: 2.0,
        maximum_interval: Some(to_proto_duration(maximum)),
        maximum_attempts: attempts,
    }
}
