//! Plain tools: answered at once, by whoever serves the buyers; no workflow, no task.

use super::Context;
use async_trait::async_trait;
use handoff_proto::{errors, wire::AdcpError};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{marker::PhantomData, sync::Arc};

/// Answers requests of one tool that is never answered `submitted`.
#[async_trait]
pub trait ToolHandler<S>: Send + Sync + 'static {
    /// Answers; an `AdcpError` is an answer, and says that nothing was done.
    async fn answer(&self, context: Context<S>, request: Value) -> Result<Value, AdcpError>;
}

/// Is, or makes, a [`ToolRegistration`]: an async function `(Context<S>, Request) -> Result<Response, AdcpError>`, a
/// [`ToolHandler`], or a registration with options.
pub trait IntoToolHandler<S, Marker: ?Sized> {
    /// The registration.
    fn into_registration(self) -> ToolRegistration<S>;
}

/// A tool's handler with its options.
pub struct ToolRegistration<S> {
    pub(crate) handler: Arc<dyn ToolHandler<S>>,
    pub(crate) rerunnable: bool,
}

/// Takes a tool's handler, to say more about it.
pub fn tool<S, Marker: ?Sized>(handler: impl IntoToolHandler<S, Marker>) -> ToolRegistration<S> {
    handler.into_registration()
}

impl<S> ToolRegistration<S> {
    /// The handler may be called again with the same idempotency token when a process died and nobody knows what it did: it
    /// looks what the first call did, or does nothing that lasts. Without this such a request is left for an operator.
    #[must_use]
    pub fn rerunnable(mut self) -> Self {
        self.rerunnable = true;
        self
    }
}

impl<S> IntoToolHandler<S, ToolRegistration<S>> for ToolRegistration<S> {
    fn into_registration(self) -> ToolRegistration<S> {
        self
    }
}

impl<S, H: ToolHandler<S>> IntoToolHandler<S, dyn ToolHandler<S>> for H {
    fn into_registration(self) -> ToolRegistration<S> {
        ToolRegistration { handler: Arc::new(self), rerunnable: false }
    }
}

/// An async function as a [`ToolHandler`].
pub struct ToolFunction<F, R, O>(F, PhantomData<fn(R) -> O>);

#[async_trait]
impl<S, F, Fut, R, O> ToolHandler<S> for ToolFunction<F, R, O>
where
    S: Send + Sync + 'static,
    F: Fn(Context<S>, R) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O, AdcpError>> + Send,
    R: DeserializeOwned + Send + 'static,
    O: Serialize + Send + 'static,
{
    async fn answer(&self, context: Context<S>, request: Value) -> Result<Value, AdcpError> {
        let request = serde_json::from_value(request).map_err(|error| {
            AdcpError::correctable("INVALID_REQUEST", format!("The request can't be read: {error}."))
        })?;
        let response = (self.0)(context, request).await?;
        serde_json::to_value(response).map_err(errors::result_invalid)
    }
}

impl<S, F, Fut, R, O> IntoToolHandler<S, fn(R, O) -> Fut> for F
where
    S: Send + Sync + 'static,
    F: Fn(Context<S>, R) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O, AdcpError>> + Send,
    R: DeserializeOwned + Send + 'static,
    O: Serialize + Send + 'static,
{
    fn into_registration(self) -> ToolRegistration<S> {
        ToolFunction(self, PhantomData).into_registration()
    }
}
