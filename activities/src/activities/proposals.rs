//! What a verb handler sees of the proposals that its request names.

use super::Activities;
use crate::seller::{NamedProposal, Proposals, RequestContext};
use handoff_proto::{
    v1::{TaskInput, TaskRef},
    wire::{is_purchase, proposal_ending, proposals_named},
};
use handoff_store::{ProposalRecord, ProposalRef, RegistryError};
use serde_json::Value;
use std::sync::Arc;

impl Activities {
    /// A verb handler's request, with the proposals that it names. A purchase's is reserved already.
    pub(super) async fn asked(
        &self,
        input: &TaskInput,
        attempt: u32,
    ) -> Result<(Arc<RequestContext>, Value), RegistryError> {
        let body: Value = serde_json::from_str(&input.request_json).unwrap_or_default();
        let task = input.task.clone().unwrap_or_default();
        let proposals = Proposals {
            bought: self.bought(&task, &body).await?.map(Arc::new),
            named: self.named(&task, &body).await?.into(),
        };
        let request = RequestContext::new(input, attempt).with_proposals(proposals);
        Ok((Arc::new(self.governed(request, &body)), body))
    }

    async fn bought(&self, task: &TaskRef, request: &Value) -> Result<Option<Value>, RegistryError> {
        if !is_purchase(&task.verb, request) {
            return Ok(None);
        }
        Ok(self.registry.get_reserved(task).await?.map(|record| body_of(&record)))
    }

    async fn named(&self, task: &TaskRef, request: &Value) -> Result<Vec<NamedProposal>, RegistryError> {
        let mut named = Vec::new();
        for proposal_id in proposals_named(&task.verb, request) {
            let reference = ProposalRef::new(&task.scope, &task.principal, proposal_id);
            if let Some(record) = self.registry.get_proposal(&reference).await? {
                let (body, state) = (body_of(&record), record.proposal.state);
                named.push(NamedProposal { proposal_id: proposal_id.to_owned(), state, body });
            }
        }
        Ok(named)
    }
}

fn body_of(record: &ProposalRecord) -> Value {
    let body = serde_json::from_str(&record.body_json).unwrap_or_default();
    proposal_ending(body, record.proposal.expires_at)
}
