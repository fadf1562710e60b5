//! Enqueue handlers: put a review where somebody will decide on it.

use super::{Acknowledgement, Context};
use async_trait::async_trait;
use handoff_proto::{v1, wire::AdcpError};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{marker::PhantomData, sync::Arc, time::Duration};

/// Enqueues a review. Called at least once, always with the same task id: enqueue by that id.
#[async_trait]
pub trait EnqueueHandler<S>: Send + Sync + 'static {
    /// Enqueues, and says whether the task is taken. *Unable* and an `AdcpError` take the task back; a panic or a timeout leaves
    /// it open, and the handler is called again.
    async fn enqueue(&self, context: Context<S>, input: Value) -> Result<Acknowledgement, AdcpError>;
}

/// Is, or makes, an [`EnqueueRegistration`].
pub trait IntoEnqueueHandler<S, Marker: ?Sized> {
    /// The registration.
    fn into_registration(self) -> EnqueueRegistration<S>;
}

/// An enqueue handler with its options.
pub struct EnqueueRegistration<S> {
    pub(crate) handler: Arc<dyn EnqueueHandler<S>>,
    pub(crate) attempt_timeout: Duration,
    pub(crate) retry: v1::RetryPolicy,
}

/// Takes an enqueue handler, to say more about it.
pub fn enqueue<S, Marker: ?Sized>(handler: impl IntoEnqueueHandler<S, Marker>) -> EnqueueRegistration<S> {
    handler.into_registration()
}

impl<S> EnqueueRegistration<S> {
    /// The longest that one attempt may take; 60 seconds unless told.
    #[must_use]
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = timeout;
        self
    }

    /// How an attempt with an unknown end is repeated. Attempts are unlimited until the review's deadline.
    #[must_use]
    pub fn retry(mut self, initial_interval: Duration, maximum_interval: Duration) -> Self {
        self.retry = super::task::policy(initial_interval, maximum_interval, 0);
        self
    }
}

impl<S> IntoEnqueueHandler<S, EnqueueRegistration<S>> for EnqueueRegistration<S> {
    fn into_registration(self) -> EnqueueRegistration<S> {
        self
    }
}

impl<S, H: EnqueueHandler<S>> IntoEnqueueHandler<S, dyn EnqueueHandler<S>> for H {
    fn into_registration(self) -> EnqueueRegistration<S> {
        EnqueueRegistration {
            handler: Arc::new(self),
            attempt_timeout: Duration::from_secs(60),
            retry: super::task::policy(Duration::from_secs(1), Duration::from_secs(60), 0),
        }
    }
}

/// An async function as an [`EnqueueHandler`].
pub struct EnqueueFunction<F, I>(F, PhantomData<fn(I)>);

#[async_trait]
impl<S, F, Fut, I> EnqueueHandler<S> for EnqueueFunction<F, I>
where
    S: Send + Sync + 'static,
    F: Fn(Context<S>, I) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Acknowledgement, AdcpError>> + Send,
    I: DeserializeOwned + Send + 'static,
{
    async fn enqueue(&self, context: Context<S>, input: Value) -> Result<Acknowledgement, AdcpError> {
        let input = super::task::typed_input(input)?;
        (self.0)(context, input).await
    }
}

impl<S, F, Fut, I> IntoEnqueueHandler<S, fn(I) -> Fut> for F
where
    S: Send + Sync + 'static,
    F: Fn(Context<S>, I) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Acknowledgement, AdcpError>> + Send,
    I: DeserializeOwned + Send + 'static,
{
    fn into_registration(self) -> EnqueueRegistration<S> {
        EnqueueFunction(self, PhantomData).into_registration()
    }
}
