//! Accounts' governance agents: how they are bound to accounts, and how they are asked.

use crate::seller::{GovernanceDesk, GovernancePolicy, Question, governance_unavailable as unavailable};
use async_trait::async_trait;
use handoff_proto::wire::{AdcpError, CHECK_GOVERNANCE};
use handoff_store::{GovernanceBinding, Registry, RegistryError};
use handoff_webhooks::{Egress, McpAgent, McpError, egress::EgressError};
use serde_json::{Value, json};
use std::{fmt, sync::Arc};

const NO_WAY_OUT: &str = "no_egress";

/// Binds agents to accounts, and asks them. One per process: its connections are shared.
#[derive(Clone)]
pub struct GovernanceAgents {
    registry: Arc<dyn Registry>,
    egress: Option<Egress>,
    caller: Arc<str>,
}

impl GovernanceAgents {
    /// On this registry and way out, for the seller whose MCP endpoint is `caller`. Without a way out no verdict comes, and nothing
    /// passes for an account that has an agent.
    pub fn new(registry: Arc<dyn Registry>, egress: Option<Egress>, caller: impl Into<Arc<str>>) -> Self {
        Self { registry, egress, caller: caller.into() }
    }

    /// Makes an agent the account's, in the place of an earlier one. An error is an answer, and the earlier one stays. Who names a
    /// URL that can't be asked is told at once: purchases for the account would all be refused.
    pub async fn bind(&self, policy: &GovernancePolicy, binding: &GovernanceBinding) -> Result<(), AdcpError> {
        let agent = McpAgent::new(&binding.url, binding.credentials.as_str()).map_err(|_| not_accepted(opaque()))?;
        if let Some(accepted) = policy.refuses(&binding.url) {
            return Err(not_accepted(json!({
                "disclosure": "disclosed",
                "attempted_agent_origin": agent.origin(),
                "accepted_governance_agents": accepted,
            })));
        }
        let egress = self.egress.as_ref().ok_or_else(|| unavailable(NO_WAY_OUT))?;
        agent.may_be_reached(egress).await.map_err(|error| match error {
            EgressError::Url | EgressError::Address => not_accepted(opaque()),
            other => unavailable(&other.to_string()),
        })?;
        self.registry.bind_governance(binding).await.map_err(|error| refused(&binding.scope, error))
    }
}

#[async_trait]
impl GovernanceDesk for GovernanceAgents {
    async fn ask(&self, account: &str, question: Question<'_>) -> Result<Option<Value>, AdcpError> {
        let binding = self.registry.governance(account).await.map_err(|error| refused(account, error))?;
        let Some(binding) = binding else { return Ok(None) };
        let question = question(&self.caller)?;
        let egress = self.egress.as_ref().ok_or_else(|| unavailable(NO_WAY_OUT))?;
        let asked = match McpAgent::new(&binding.url, binding.credentials) {
            Ok(agent) => agent.call(egress, CHECK_GOVERNANCE, &question).await,
            Err(error) => Err(McpError::Egress(error)),
        };
        asked.map(Some).map_err(|error| {
            tracing::warn!(account, %error, "a governance agent can't be asked");
            unavailable(&error.to_string())
        })
    }
}

impl fmt::Debug for GovernanceAgents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GovernanceAgents").field("egress", &self.egress).finish_non_exhaustive()
    }
}

// Whether an account has an agent is not known: nothing passes.
fn refused(account: &str, error: RegistryError) -> AdcpError {
    if matches!(error, RegistryError::NoKeys) {
        return handoff_proto::errors::keys_required("accounts[].governance_agents[].authentication.credentials");
    }
    tracing::error!(account, %error, "the registry does not say which governance agent an account has");
    unavailable("registry")
}

fn not_accepted(details: Value) -> AdcpError {
    AdcpError::correctable("GOVERNANCE_AGENT_NOT_ACCEPTED", "This seller does not take this governance agent.")
        .suggestion("Name one that is reached by https at a public address and, if details say which, is one of those.")
        .details(details)
}

fn opaque() -> Value {
    json!({"disclosure": "opaque"})
}
