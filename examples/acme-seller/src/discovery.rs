//! Discovery: the whole catalogue at once; what answers a brief, after a while.

use crate::{
    Acme, Origin, Plan,
    catalog::{Delivery, FEED_VERSION, PRODUCTS, Product},
    plan,
    sandbox::Ext,
};
use handoff::prelude::*;
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
        Ok(get_products(origin, &request))
    })
    .await
}

/// Plans an answer: the whole catalogue, or what answers the brief or its refinement.
pub fn get_products(origin: &Origin, request: &GetProducts) -> Plan {
    let fitting = PRODUCTS.iter().filter(|product| request.filters.fit(product));
    Plan::Complete(origin.result(match request.buying_mode {
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
            json!({"products": curated(fitting, brief), "cache_scope": "account"})
        }
        BuyingMode::Refine => {
            let asked: Vec<&str> = request.refine.iter().filter_map(|refinement| refinement.ask.as_deref()).collect();
            let wanted = |product: &&Product| request.refine.iter().all(|refinement| !refinement.omits(product));
            json!({
                "products": curated(fitting.filter(wanted), &asked.join(" ")),
                "refinement_applied": request.refine.iter().map(Refinement::outcome).collect::<Vec<_>>(),
                "cache_scope": "account",
            })
        }
    }))
}

// The best answers first; all of them if the brief says nothing that Acme understands.
fn curated<'a>(products: impl Iterator<Item = &'a Product>, brief: &str) -> Vec<Value> {
    let mut ranked: Vec<(usize, &Product)> =
        products.map(|product| (relevance(brief, product.topics), product)).collect();
    if ranked.iter().any(|(relevance, _)| *relevance > 0) {
        ranked.retain(|(relevance, _)| *relevance > 0);
    }
    ranked.sort_by_key(|(relevance, _)| std::cmp::Reverse(*relevance));
    let wire = |(relevance, product): (usize, &Product)| {
        let mut wire = product.to_wire();
        wire["brief_relevance"] = json!(format!("Answers {relevance} of the brief's topics."));
        wire
    };
    ranked.into_iter().map(wire).collect()
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
}

impl Refinement {
    fn omits(&self, product: &Product) -> bool {
        self.scope == "product"
            && self.action.as_deref() == Some("omit")
            && self.product_id.as_deref() == Some(product.id)
    }

    // The outcomes stand in the order of the refinements.
    fn outcome(&self) -> Value {
        match self.scope.as_str() {
            "product" => {
                let known = PRODUCTS.iter().any(|product| Some(product.id) == self.product_id.as_deref());
                json!({
                    "scope": "product",
                    "product_id": self.product_id,
                    "status": if known { "applied" } else { "unable" },
                })
            }
            "proposal" => json!({
                "scope": "proposal",
                "proposal_id": self.proposal_id,
                "status": "unable",
                "notes": "Acme makes no proposals.",
            }),
            _ => json!({"scope": "request", "status": "applied"}),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_brief_finds_what_answers_it_best_first() {
        let found = curated(PRODUCTS.iter(), "Launch a season sponsorship on connected TV (ctv)");
        assert_eq!(found[0]["product_id"], "acme_ctv_sponsorship");
        assert!(found.len() < PRODUCTS.len());
        assert_eq!(curated(PRODUCTS.iter(), "???").len(), PRODUCTS.len());
    }
}
