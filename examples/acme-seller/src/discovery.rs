//! Discovery: the whole catalogue at once; what answers a brief, with a proposal, after a while.

use crate::{
    Acme, Origin, Plan,
    catalog::{Delivery, FEED_VERSION, PRODUCTS, Product},
    plan,
    proposals::{draft, for_tests},
    refinement::{self, Refinement},
    sandbox::Ext,
    seeds::{self, SeededProduct},
};
use handoff::{prelude::*, seller::NamedProposal};
use serde::Deserialize;

/// A `get_products` request, as far as Acme reads it.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the protocol's names")]
pub struct GetProducts {
    pub buying_mode: BuyingMode,
    #[serde(default)]
    pub brief: Option<String>,
    #[serde(default)]
    pub refine: Vec<Refinement>,
    #[serde(default)]
    pub filters: Filters,
    #[serde(default)]
    pub if_wholesale_feed_version: Option<String>,
    #[serde(default)]
    pub ext: Ext,
}

/// How the buyer looks for products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuyingMode {
    /// Those that answer a brief.
    Brief,
    /// All of them.
    Wholesale,
    /// A change of an earlier answer.
    Refine,
}

/// What the products must be.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Filters {
    #[serde(default)]
    pub delivery_type: Option<Delivery>,
    #[serde(default)]
    pub channels: Vec<String>,
}

/// The handler of `get_products`. Curating takes its time: past the sync deadline the buyer gets a task.
pub(crate) async fn decide(context: Context<Acme>, request: GetProducts) -> Result<Decision, AdcpError> {
    let ext = request.ext.clone();
    plan::decide(&context, &ext, async |acme, origin| {
        if request.buying_mode != BuyingMode::Wholesale {
            tokio::time::sleep(acme.options.curation).await;
        }
        let plan = get_products(origin, &request, |proposal_id| context.named_proposal(proposal_id))?;
        in_sandbox(acme, origin, &request, plan).await
    })
    .await
}

/// Plans an answer: the whole catalogue, or what answers the brief or its refinement. `offered` finds a proposal that was offered
/// to the buyer.
pub fn get_products<'a>(
    origin: &Origin,
    request: &GetProducts,
    offered: impl Fn(&str) -> Option<&'a NamedProposal>,
) -> Result<Plan, AdcpError> {
    let fitting = PRODUCTS.iter().filter(|product| request.filters.fit(product));
    Ok(Plan::Complete(origin.result(match request.buying_mode {
        BuyingMode::Wholesale if request.if_wholesale_feed_version.as_deref() == Some(FEED_VERSION) => {
            json!({"unchanged": true, "wholesale_feed_version": FEED_VERSION, "cache_scope": "public"})
        }
        BuyingMode::Wholesale => json!({
            "products": fitting.map(Product::to_wire).collect::<Vec<_>>(),
            "wholesale_feed_version": FEED_VERSION,
            "cache_scope": "public",
        }),
        BuyingMode::Brief => {
            let brief = request.brief.as_deref().unwrap_or_default();
            let curated = curated(fitting, brief);
            let mut result = json!({"products": to_wire(&curated), "cache_scope": "account"});
            let answers: Vec<&Product> =
                curated.iter().filter(|(relevance, _)| *relevance > 0).map(|(_, product)| *product).collect();
            if let Some(draft) = draft(origin, brief, &answers) {
                result["proposals"] = json!([draft]);
            }
            result
        }
        BuyingMode::Refine => refinement::answer(&request.refine, fitting, offered)?,
    })))
}

/// In the sandbox, a brief finds what tests put there too, and a plan whose name they know.
pub async fn in_sandbox(acme: &Acme, origin: &Origin, request: &GetProducts, plan: Plan) -> Result<Plan, AdcpError> {
    let (Some(agent), Plan::Complete(mut result)) = (seeds::agent(origin), plan.clone()) else { return Ok(plan) };
    if request.buying_mode == BuyingMode::Brief {
        let seeded = seeds::products(acme, agent).await?;
        let seeded = seeded.iter().map(SeededProduct::to_wire).filter(|product| request.filters.fit_wire(product));
        if let Some(products) = result["products"].as_array_mut() {
            products.extend(seeded);
        }
        if let Some(proposals) = result.get_mut("proposals").and_then(Value::as_array_mut) {
            proposals.extend(for_tests(origin));
        }
    }
    Ok(Plan::Complete(result))
}

// The best answers first; all of them if the brief says nothing that Acme understands.
pub(crate) fn curated(products: impl Iterator<Item = &'static Product>, brief: &str) -> Vec<(usize, &'static Product)> {
    let mut ranked: Vec<(usize, &Product)> =
        products.map(|product| (relevance(brief, product.topics), product)).collect();
    if ranked.iter().any(|(relevance, _)| *relevance > 0) {
        ranked.retain(|(relevance, _)| *relevance > 0);
    }
    ranked.sort_by_key(|(relevance, _)| std::cmp::Reverse(*relevance));
    ranked
}

/// Products as the protocol has them, with what each one answers.
pub(crate) fn to_wire(curated: &[(usize, &Product)]) -> Vec<Value> {
    let wire = |(relevance, product): &(usize, &Product)| {
        let mut wire = product.to_wire();
        wire["brief_relevance"] = json!(format!("Answers {relevance} of the brief's topics."));
        wire
    };
    curated.iter().map(wire).collect()
}

/// How many of the topics a brief names.
pub(crate) fn relevance(brief: &str, topics: &[&str]) -> usize {
    let brief = brief.to_lowercase();
    let words: Vec<&str> = brief.split(|c: char| !c.is_alphanumeric() && c != '-').collect();
    topics.iter().filter(|topic| words.contains(*topic)).count()
}

impl Filters {
    fn fit(&self, product: &Product) -> bool {
        self.delivery_type.is_none_or(|delivery| delivery == product.delivery)
            && (self.channels.is_empty() || self.channels.iter().any(|channel| channel == product.channel))
    }

    fn fit_wire(&self, product: &Value) -> bool {
        let delivery =
            |delivery| serde_json::from_value::<Delivery>(product["delivery_type"].clone()).ok() == Some(delivery);
        let channels = product["channels"].as_array().map(Vec::as_slice).unwrap_or_default();
        self.delivery_type.is_none_or(delivery)
            && (self.channels.is_empty()
                || channels.iter().any(|channel| self.channels.iter().any(|one| channel == one)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_brief_finds_what_answers_it_best_first() {
        let found = curated(PRODUCTS.iter(), "Launch a season sponsorship on connected TV (ctv)");
        assert_eq!(found[0].1.id, "acme_ctv_sponsorship");
        assert!(found.len() < PRODUCTS.len());
        assert_eq!(curated(PRODUCTS.iter(), "???").len(), PRODUCTS.len());
    }
}
