//! What tests put into the sandbox before they begin: an agent's, in whatever sandbox account it works.

use crate::{
    Acme, Origin,
    catalog::{CURRENCY, reporting},
    formats,
    order_book::Ledger,
};
use handoff::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What can be put there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Product,
    PricingOption,
    Creative,
    CreativeFormat,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Product => "product",
            Self::PricingOption => "pricing_option",
            Self::Creative => "creative",
            Self::CreativeFormat => "creative_format",
        }
    }
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Seed {
    /// Its id.
    pub(crate) id: String,
    /// The product that it belongs to.
    #[serde(default)]
    pub(crate) product_id: Option<String>,
    /// What it is like, as the protocol has it; whatever is missing is Acme's to choose.
    #[serde(default)]
    pub(crate) fixture: Value,
}

/// Puts something there.
pub(crate) async fn plant(acme: &Acme, agent: &str, kind: Kind, seed: Seed) -> Result<(), AdcpError> {
    let product = seed.product_id.clone().unwrap_or_default();
    acme.book.append(Ledger::Seeds, &[agent, kind.name(), &product, &seed.id.clone()], seed).await
}

/// All that is there of a kind, by id.
pub(crate) async fn all(acme: &Acme, agent: &str, kind: Kind) -> Result<Vec<Seed>, AdcpError> {
    let planted: Vec<Seed> = acme.book.list(Ledger::Seeds, &[agent, kind.name()]).await?;
    let last: BTreeMap<_, Seed> =
        planted.into_iter().map(|seed| ((seed.product_id.clone(), seed.id.clone()), seed)).collect();
    Ok(last.into_values().collect())
}

/// A product of the sandbox.
#[derive(Clone, Debug)]
pub(crate) struct SeededProduct {
    seed: Seed,
    options: Vec<Seed>,
}

/// The products that can be bought: those with a price.
pub(crate) async fn products(acme: &Acme, agent: &str) -> Result<Vec<SeededProduct>, AdcpError> {
    let options = all(acme, agent, Kind::PricingOption).await?;
    let of = |seed: Seed| {
        let options = options.iter().filter(|option| option.product_id.as_deref() == Some(&seed.id)).cloned().collect();
        SeededProduct { seed, options }
    };
    let products = all(acme, agent, Kind::Product).await?.into_iter().map(of);
    Ok(products.filter(|product| !product.prices().is_empty()).collect())
}

impl SeededProduct {
    pub(crate) fn id(&self) -> &str {
        &self.seed.id
    }

    pub(crate) fn name(&self) -> &str {
        self.seed.fixture["name"].as_str().unwrap_or(&self.seed.id)
    }

    pub(crate) fn is_guaranteed(&self) -> bool {
        self.seed.fixture["delivery_type"] == "guaranteed"
    }

    pub(crate) fn channels(&self) -> Vec<&str> {
        let channels = self.seed.fixture["channels"].as_array().map(Vec::as_slice).unwrap_or_default();
        // The name that 3.0 has for online video.
        channels.iter().filter_map(Value::as_str).map(|name| if name == "video" { "olv" } else { name }).collect()
    }

    /// Its pricing options, as the protocol has them.
    pub(crate) fn prices(&self) -> Vec<Value> {
        let own = self.seed.fixture["pricing_options"].as_array().cloned().unwrap_or_default();
        let seeded = self.options.iter().map(|option| {
            let mut price = json!({"pricing_model": "cpm", "currency": CURRENCY});
            overlay(&mut price, &option.fixture);
            price["pricing_option_id"] = json!(option.id);
            if let Some(fields) = price.as_object_mut() {
                fields.remove("product_id");
            }
            price
        });
        own.into_iter().chain(seeded).collect()
    }

    /// Its formats, for `list_creative_formats`.
    pub(crate) fn formats(&self) -> Vec<Value> {
        self.format_ids().into_iter().map(|id| json!({"name": id["id"], "format_id": id})).collect()
    }

    fn format_ids(&self) -> Vec<Value> {
        let named = self.seed.fixture["format_ids"].as_array().map(Vec::as_slice).unwrap_or_default();
        let whole = |format: &Value| {
            let mut id = formats::reference("");
            overlay(&mut id, format);
            id
        };
        if named.is_empty() { vec![formats::reference("display_300x250")] } else { named.iter().map(whole).collect() }
    }

    /// The product as the protocol has it.
    pub(crate) fn to_wire(&self) -> Value {
        let mut wire = json!({
            "name": self.name(),
            "description": "A product that a test put into the sandbox.",
            "publisher_properties": [{"publisher_domain": "acme.example", "selection_type": "all"}],
            "delivery_type": "non_guaranteed",
            "reporting_capabilities": reporting(),
        });
        overlay(&mut wire, &self.seed.fixture);
        wire["product_id"] = json!(self.id());
        wire["format_ids"] = json!(self.format_ids());
        wire["pricing_options"] = json!(self.prices());
        if !self.channels().is_empty() {
            wire["channels"] = json!(self.channels());
        }
        wire
    }
}

// The fields of one over those of the other.
fn overlay(below: &mut Value, above: &Value) {
    for (field, value) in above.as_object().into_iter().flatten() {
        below[field] = value.clone();
    }
}

/// The agent whose sandbox a request works in.
pub(crate) fn agent(origin: &Origin) -> Option<&str> {
    origin.sandbox.then_some(origin.principal.as_str())
}

/// Whether a request names an account by an id that a test made up: there is nothing in it but what the test put there.
pub(crate) fn is_of_a_test(account: Option<&Value>) -> bool {
    account.is_some_and(|account| account.get("account_id").is_some())
}
