//! Verb handlers: an async function, or anything that implements [`VerbHandler`].

use super::{
    Context, Decision,
    hooks::{OnComplete, OnFailure},
};
use async_trait::async_trait;
use futures::future::BoxFuture;
use handoff_proto::wire::AdcpError;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{marker::PhantomData, sync::Arc};

/// Decides on requests of one verb.
#[async_trait]
pub trait VerbHandler<S>: Send + Sync + 'static {
    /// Decides. Called at least once for a request, always with the same idempotency token; an `AdcpError` is an answer.
    async fn decide(&self, context: Context<S>, request: Value) -> Result<Decision, AdcpError>;
}

/// Is, or makes, a [`VerbRegistration`]: an async function `(Context<S>, Request) -> Result<Decision, AdcpError>` with a request
/// type that can be deserialised, a [`VerbHandler`], or a registration with options.
pub trait IntoVerbHandler<S, Marker: ?Sized> {
    /// The registration.
    fn into_registration(self) -> VerbRegistration<S>;
}

/// A verb handler with its options.
pub struct VerbRegistration<S> {
    pub(crate) handler: Arc<dyn VerbHandler<S>>,
    pub(crate) quick: bool,
    pub(crate) hands_off_to: Vec<String>,
    pub(crate) answers_at_once: Option<AtOnce<S>>,
    pub(crate) on_complete: Option<OnComplete<S>>,
    pub(crate) on_failure: Option<OnFailure<S>>,
}

pub(crate) type AtOnce<S> = Arc<dyn Fn(Context<S>, Value) -> BoxFuture<'static, bool> + Send + Sync>;

/// Takes a verb handler, to say more about it.
pub fn verb<S, Marker: ?Sized>(handler: impl IntoVerbHandler<S, Marker>) -> VerbRegistration<S> {
    handler.into_registration()
}

impl<S: Send + Sync + 'static> VerbRegistration<S> {
    /// The handler is fast, and safe to invoke again with the same token: it is tried within the request's own workflow task.
    #[must_use]
    pub fn quick(mut self) -> Self {
        self.quick = true;
        self
    }

    /// Names the task and enqueue handlers that the handler hands off to. Whether they exist is checked when the worker starts.
    #[must_use]
    pub fn hands_off_to<N: Into<String>>(mut self, handlers: impl IntoIterator<Item = N>) -> Self {
        self.hands_off_to.extend(handlers.into_iter().map(Into::into));
        self
    }

    /// Requests for which this says `true` are never answered `submitted`; the protocol demands it of buys of only
    /// non-guaranteed products. It should be fast: it runs before the handler.
    #[must_use]
    pub fn answers_at_once_if<F, Fut>(mut self, condition: F) -> Self
    where
        F: Fn(Context<S>, Value) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = bool> + Send + 'static,
    {
        self.answers_at_once = Some(Arc::new(move |context, request| Box::pin(condition(context, request))));
        self
    }
}

impl<S> IntoVerbHandler<S, VerbRegistration<S>> for VerbRegistration<S> {
    fn into_registration(self) -> VerbRegistration<S> {
        self
    }
}

impl<S, H: VerbHandler<S>> IntoVerbHandler<S, dyn VerbHandler<S>> for H {
    fn into_registration(self) -> VerbRegistration<S> {
        VerbRegistration {
            handler: Arc::new(self),
            quick: false,
            hands_off_to: Vec::new(),
            answers_at_once: None,
            on_complete: None,
            on_failure: None,
        }
    }
}

/// An async function as a [`VerbHandler`].
pub struct VerbFunction<F, R>(F, PhantomData<fn(R)>);

#[async_trait]
impl<S, F, Fut, R> VerbHandler<S> for VerbFunction<F, R>
where
    S: Send + Sync + 'static,
    F: Fn(Context<S>, R) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Decision, AdcpError>> + Send,
    R: DeserializeOwned + Send + 'static,
{
    async fn decide(&self, context: Context<S>, request: Value) -> Result<Decision, AdcpError> {
        let request = serde_json::from_value(request).map_err(|error| {
            AdcpError::correctable("INVALID_REQUEST", format!("The request can't be read: {error}."))
        })?;
        (self.0)(context, request).await
    }
}

impl<S, F, Fut, R> IntoVerbHandler<S, fn(R) -> Fut> for F
where
    S: Send + Sync + 'static,
    F: Fn(Context<S>, R) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Decision, AdcpError>> + Send,
    R: DeserializeOwned + Send + 'static,
{
    fn into_registration(self) -> VerbRegistration<S> {
        VerbFunction(self, PhantomData).into_registration()
    }
}
