//! Hands conditions to the handlers registered for them.

use super::{Acknowledgement, AcknowledgementKind, Condition};
use async_trait::async_trait;
use futures::FutureExt;
use handoff_proto::wire::AdcpError;
use std::{
    any::{Any, TypeId},
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::Arc,
};

/// Acts on a condition. May be called again for the same one, so that it needs to be idempotent by the condition's task id.
#[async_trait]
pub trait Handler<C: Condition>: Send + Sync + 'static {
    /// Does what it does about the condition, and says whether. *Unable* with a transient error is asked again later, as is a
    /// panic; any other *unable* is written to the log.
    async fn handle(&self, condition: C) -> Acknowledgement;
}

#[async_trait]
impl<C, F, Fut> Handler<C> for F
where
    C: Condition,
    F: Fn(C) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Acknowledgement> + Send,
{
    async fn handle(&self, condition: C) -> Acknowledgement {
        self(condition).await
    }
}

/// Does nothing, and says so: for tests, and where a handler must be named but none is wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct NullHandler;

#[async_trait]
impl<C: Condition> Handler<C> for NullHandler {
    async fn handle(&self, _: C) -> Acknowledgement {
        Acknowledgement::roger()
    }
}

/// The handlers of each condition.
#[derive(Clone, Default)]
pub(crate) struct Dispatcher {
    handlers: HashMap<TypeId, Vec<Arc<dyn Any + Send + Sync>>>,
}

struct Slot<C: Condition>(Box<dyn Handler<C>>);

impl Dispatcher {
    pub(crate) fn register<C: Condition>(&mut self, handler: impl Handler<C>) {
        self.handlers.entry(TypeId::of::<C>()).or_default().push(Arc::new(Slot::<C>(Box::new(handler))));
    }

    pub(crate) fn handles<C: Condition>(&self) -> bool {
        self.handlers.contains_key(&TypeId::of::<C>())
    }

    /// Calls every handler; one that fails does not keep the others from being called. `false`: at least one wants to be asked
    /// again.
    pub(crate) async fn dispatch<C: Condition>(&self, condition: C) -> bool {
        let mut all_done = true;
        for slot in self.handlers.get(&TypeId::of::<C>()).into_iter().flatten() {
            let Some(Slot(handler)) = slot.downcast_ref::<Slot<C>>() else { continue };
            match AssertUnwindSafe(handler.handle(condition.clone())).catch_unwind().await {
                Ok(answer) if answer.kind() == AcknowledgementKind::Unable => {
                    // Not their messages: those may quote what a buyer sent.
                    let errors: Vec<&str> = answer.errors().iter().map(|error| error.code.as_str()).collect();
                    tracing::warn!(condition = C::NAME, ?errors, "a handler is unable to act");
                    all_done &= !answer.errors().iter().any(AdcpError::is_transient);
                }
                Ok(_) => {}
                Err(_) => {
                    tracing::error!(condition = C::NAME, "a handler panicked");
                    all_done = false;
                }
            }
        }
        all_done
    }
}
