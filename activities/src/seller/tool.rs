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
    /// Answers. Of a tool that changes something it may be called again with the same idempotency token, after a crash; an
    /// `AdcpError` is an answer.
    async fn answer(&self, context: Context<S>, request: Value) -> Result<Value, AdcpError>;
}

/// Is, or makes, a [`ToolHandler`]: an async function `(Context<S>, Request) -> Result<Response, AdcpError>`, or the handler
/// itself.
pub trait IntoToolHandler<S, Marker: ?Sized> {
    /// The handler.
    fn into_handler(self) -> Arc<dyn ToolHandler<S>>;
}

impl<S, H: ToolHandler<S>> IntoToolHandler<S, dyn ToolHandler<S>> for H {
    fn into_handler(self) -> Arc<dyn ToolHandler<S>> {
        Arc::new(self)
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
    fn into_handler(self) -> Arc<dyn ToolHandler<S>> {
        Arc::new(ToolFunction(self, PhantomData))
    }
}
