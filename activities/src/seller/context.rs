//! What a handler knows about the request that it works for.

use super::{Governance, NamedProposal, Proposals};
use handoff_proto::{convert::to_duration, v1::TaskInput};
use serde_json::Value;
use std::{fmt, ops::Deref, sync::Arc, time::Duration};

/// The request that a handler works for.
#[derive(Clone)]
pub struct RequestContext {
    /// The AdCP verb.
    pub verb: String,
    /// The account, as the seller's account resolver named it.
    pub account: String,
    /// The authenticated agent.
    pub principal: String,
    /// The id that the buyer polls; the same on every attempt.
    pub task_id: String,
    /// The Temporal workflow id.
    pub workflow_id: String,
    /// Which attempt this is, from 1. A quick handler that was too slow is at 1 again when it is invoked the regular way.
    pub attempt: u32,
    /// The `context` object that the buyer sent.
    pub buyer_context: Option<Value>,
    /// How long the buyer is willing to wait for a synchronous answer.
    pub time_budget: Duration,
    /// A test of the buyer's: nothing real may happen.
    pub sandbox: bool,
    /// Ties the logs of this call together; may be shown to the buyer.
    pub correlation_id: String,
    pub(crate) proposals: Proposals,
    pub(crate) governance: Governance,
}

impl RequestContext {
    pub(crate) fn new(input: &TaskInput, attempt: u32) -> Self {
        let task = input.task.clone().unwrap_or_default();
        let request: Value = serde_json::from_str(&input.request_json).unwrap_or_default();
        Self {
            workflow_id: task.workflow_id(),
            verb: task.verb,
            account: task.scope,
            principal: task.principal,
            task_id: task.task_id,
            attempt,
            buyer_context: request.get("context").cloned(),
            time_budget: input.sync_deadline.as_ref().map(to_duration).unwrap_or_default(),
            sandbox: input.sandbox,
            correlation_id: input.correlation_id.clone(),
            proposals: Proposals::default(),
            governance: Governance::default(),
        }
    }

    pub(crate) fn with_governance(self, governance: Governance) -> Self {
        Self { governance, ..self }
    }

    pub(crate) fn with_proposals(self, proposals: Proposals) -> Self {
        Self { proposals, ..self }
    }

    /// The proposal that this request buys, as it was offered: it is reserved for this request, and checked for its state, expiry,
    /// terms and insertion order. `None`: the request buys none, or this is no verb handler; what a task handler needs of it goes
    /// in its input.
    pub fn proposal(&self) -> Option<&Value> {
        self.proposals.bought.as_deref()
    }

    /// A proposal that this request refines, finalizes or declines. `None`: it names none of this id, or the agent was offered
    /// none for this account. Nothing is reserved: of requests at once, what the last one offers stays. For verb handlers.
    pub fn named_proposal(&self, proposal_id: &str) -> Option<&NamedProposal> {
        self.proposals.named.iter().find(|named| named.proposal_id == proposal_id)
    }

    /// The governance agent of the account, which is asked before a purchase is made. For verb and task handlers.
    pub fn governance(&self) -> &Governance {
        &self.governance
    }

    /// For downstream calls: the same on every attempt of this request and different for every other; never the buyer's own key.
    pub fn idempotency_token(&self) -> &str {
        &self.task_id
    }
}

// The buyer's context may hold anything; logs don't get it.
impl fmt::Debug for RequestContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestContext")
            .field("verb", &self.verb)
            .field("account", &self.account)
            .field("task_id", &self.task_id)
            .field("attempt", &self.attempt)
            .field("correlation_id", &self.correlation_id)
            .finish_non_exhaustive()
    }
}

/// The request and the seller's own state.
pub struct Context<S> {
    state: Arc<S>,
    request: Arc<RequestContext>,
}

impl<S> Context<S> {
    pub(crate) fn new(state: Arc<S>, request: Arc<RequestContext>) -> Self {
        Self { state, request }
    }

    /// What the seller was built with.
    pub fn state(&self) -> &S {
        &self.state
    }
}

impl<S> Clone for Context<S> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone(), request: self.request.clone() }
    }
}

impl<S> Deref for Context<S> {
    type Target = RequestContext;

    fn deref(&self) -> &RequestContext {
        &self.request
    }
}
