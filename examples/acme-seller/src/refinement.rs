//! Refinements of an earlier answer of `get_products`: of its products, and of its proposals, which are changed or finalized.

use crate::{
    catalog::{PRODUCTS, Product},
    discovery::{curated, to_wire},
    proposals,
};
use chrono::Utc;
use handoff::{
    prelude::*,
    seller::{NamedProposal, ProposalState},
};
use serde::Deserialize;

/// A change of an earlier answer.
#[derive(Clone, Debug, Deserialize)]
pub struct Refinement {
    pub scope: String,
    #[serde(default)]
    pub product_id: Option<String>,
    #[serde(default)]
    pub proposal_id: Option<String>,
    #[serde(default)]
    pub action: Option<String>,
    #[serde(default)]
    pub ask: Option<String>,
}

/// The answer, without its status: products, proposals, and what became of each refinement, in their order.
pub(crate) fn answer<'a>(
    refinements: &[Refinement],
    fitting: impl Iterator<Item = &'static Product>,
    offered: impl Fn(&str) -> Option<&'a NamedProposal>,
) -> Result<Value, AdcpError> {
    let finalizes = refinements.iter().filter(|refinement| refinement.is("finalize")).count();
    if finalizes > 0 && finalizes < refinements.len() {
        return Err(AdcpError::correctable("INVALID_REQUEST", "What finalizes proposals changes nothing else.")
            .field("refine")
            .suggestion("Refine first; then finalize in a request of its own."));
    }
    let asks: Vec<&str> = refinements.iter().filter_map(|refinement| refinement.ask.as_deref()).collect();
    let asks = asks.join(" ");
    let omitted = |product: &Product| refinements.iter().any(|refinement| refinement.omits(product));
    let mut plans: Vec<Value> = Vec::new();
    let mut applied = Vec::new();
    for (index, refinement) in refinements.iter().enumerate() {
        let outcome = match refinement.scope.as_str() {
            "proposal" => {
                let field = format!("refine[{index}].proposal_id");
                let proposal = refinement.proposal(&field, &offered)?;
                let (plan, outcome) = refinement.of_proposal(proposal, &field, &asks, omitted)?;
                plans.extend(plan.filter(|plan| plans.iter().all(|other| other["proposal_id"] != plan["proposal_id"])));
                outcome
            }
            "product" => refinement.of_product(),
            _ => json!({"scope": "request", "status": "applied"}),
        };
        applied.push(outcome);
    }
    // A proposal's products are there, whatever else is.
    let mut products = if finalizes > 0 { Vec::new() } else { curated(fitting.filter(|one| !omitted(one)), &asks) };
    for product in plans.iter().flat_map(proposals::products) {
        if products.iter().all(|(_, listed)| listed.id != product.id) {
            products.push((0, product));
        }
    }
    let mut answer = json!({"products": to_wire(&products), "refinement_applied": applied, "cache_scope": "account"});
    if !plans.is_empty() {
        answer["proposals"] = json!(plans);
    }
    Ok(answer)
}

impl Refinement {
    fn is(&self, action: &str) -> bool {
        self.action.as_deref() == Some(action)
    }

    fn omits(&self, product: &Product) -> bool {
        self.scope == "product" && self.is("omit") && self.product_id.as_deref() == Some(product.id)
    }

    fn of_product(&self) -> Value {
        let known = PRODUCTS.iter().any(|product| Some(product.id) == self.product_id.as_deref());
        let status = if known { "applied" } else { "unable" };
        json!({"scope": "product", "product_id": self.product_id, "status": status})
    }

    // One that can still be changed, or is about to be bought.
    fn proposal<'a>(
        &self,
        field: &str,
        offered: impl Fn(&str) -> Option<&'a NamedProposal>,
    ) -> Result<&'a NamedProposal, AdcpError> {
        let proposal = self.proposal_id.as_deref().and_then(offered).ok_or_else(|| {
            AdcpError::correctable("PROPOSAL_NOT_FOUND", "There is no such proposal.")
                .field(field)
                .suggestion("Take the proposal_id of a get_products answer.")
        })?;
        match proposal.state {
            ProposalState::Consumed | ProposalState::Declined => Err(AdcpError::correctable(
                "INVALID_STATE",
                "The proposal was bought or declined, and does not change any more.",
            )
            .field(field)
            .suggestion("Ask for a new one with a brief.")),
            ProposalState::Draft | ProposalState::Committed | ProposalState::Consuming => Ok(proposal),
        }
    }

    // The proposal as it becomes, if it is to be shown, and what is said about this refinement.
    fn of_proposal(
        &self,
        proposal: &NamedProposal,
        field: &str,
        asks: &str,
        omitted: impl Fn(&Product) -> bool,
    ) -> Result<(Option<Value>, Value), AdcpError> {
        let outcome =
            |status: &str| json!({"scope": "proposal", "proposal_id": proposal.proposal_id, "status": status});
        let unable = |notes: &str| {
            let mut outcome = outcome("unable");
            outcome["notes"] = json!(notes);
            outcome
        };
        if self.is("omit") {
            return Ok((None, outcome("applied")));
        }
        if proposal.state == ProposalState::Consuming {
            return Err(AdcpError::transient("CONFLICT", "The proposal is being bought.").field(field).retry_after(60));
        }
        if self.is("finalize") {
            return Ok((Some(proposals::committed(&proposal.body, Utc::now())), outcome("applied")));
        }
        if proposal.state == ProposalState::Committed {
            return Ok((Some(proposal.body.clone()), unable("It is firm. Ask for a new one with a brief.")));
        }
        Ok(match proposals::refined(&proposal.body, asks, omitted) {
            Some(plan) => (Some(plan), outcome("applied")),
            None => (None, unable("Nothing would be left of it.")),
        })
    }
}
