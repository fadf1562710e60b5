//! What an account can buy: the catalogue, and in the sandbox what is there for tests.

use crate::{
    Acme, Origin,
    catalog::{self, Product},
    seeds::{self, SeededProduct},
};
use handoff::prelude::*;

/// The sandbox's own product. It is bought at once, but a small package is booked line by line: tests that need a task, and tests
/// that need none, both find what they look for.
const TEST_PRODUCT: &str = "test-product";
const TEST_OPTIONS: [&str; 2] = ["default", "test-pricing"];
const SMALL_TEST: f64 = 1000.0;

/// Something that can be bought.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    pub(crate) name: String,
    /// Whether Acme promises to deliver.
    pub(crate) guaranteed: bool,
    /// Whether somebody at Acme signs an insertion order.
    pub(crate) insertion_order: bool,
    /// The least that a package of it costs.
    pub(crate) minimum: u32,
    pub(crate) prices: Vec<Price>,
    /// On which channels it is delivered.
    pub(crate) channels: Vec<String>,
    booking: Booking,
}

/// A price of it.
#[derive(Clone, Debug)]
pub(crate) struct Price {
    pub(crate) option: String,
    /// Of a thousand impressions.
    pub(crate) cpm: f64,
    /// What a bid must be at least, if buyers bid.
    pub(crate) floor: Option<f64>,
}

/// When a guaranteed package is booked line by line.
#[derive(Clone, Copy, Debug)]
enum Booking {
    Always,
    Never,
    UpTo(f64),
}

impl Offer {
    pub(crate) fn of(product: &Product) -> Self {
        Self {
            name: product.name.to_owned(),
            guaranteed: product.is_guaranteed(),
            insertion_order: product.insertion_order,
            minimum: product.minimum,
            prices: vec![Price { option: product.pricing_option.to_owned(), cpm: product.cpm, floor: None }],
            channels: vec![product.channel.to_owned()],
            booking: Booking::Always,
        }
    }

    fn of_tests() -> Self {
        let price = |option: &str| Price { option: option.to_owned(), cpm: 5.0, floor: None };
        Self {
            name: "Acme's test product".to_owned(),
            guaranteed: true,
            insertion_order: false,
            minimum: 500,
            prices: TEST_OPTIONS.map(price).to_vec(),
            channels: vec!["display".to_owned()],
            booking: Booking::UpTo(SMALL_TEST),
        }
    }

    // As with Acme's own products, television that is guaranteed needs a signature.
    fn of_seed(product: &SeededProduct) -> Self {
        let price = |price: &Value| {
            let floor = price["floor_price"].as_f64();
            Some(Price {
                option: price["pricing_option_id"].as_str()?.to_owned(),
                cpm: price["fixed_price"].as_f64().or(floor).unwrap_or_default(),
                floor,
            })
        };
        Self {
            name: product.name().to_owned(),
            guaranteed: product.is_guaranteed(),
            insertion_order: product.is_guaranteed() && product.channels().contains(&"ctv"),
            minimum: 0,
            prices: product.prices().iter().filter_map(price).collect(),
            channels: product.channels().into_iter().map(str::to_owned).collect(),
            booking: Booking::Never,
        }
    }

    /// Whether a package of this budget is booked line by line.
    pub(crate) fn is_booked_by_line(&self, budget: f64) -> bool {
        self.guaranteed
            && match self.booking {
                Booking::Always => true,
                Booking::Never => false,
                Booking::UpTo(most) => budget <= most,
            }
    }

    /// The price of this pricing option.
    pub(crate) fn price(&self, option: &str) -> Option<&Price> {
        self.prices.iter().find(|price| price.option == option)
    }
}

/// The offer of this product, if the account has one.
pub(crate) async fn find(acme: &Acme, origin: &Origin, product_id: &str) -> Result<Option<Offer>, AdcpError> {
    if let Some(product) = catalog::find(product_id) {
        return Ok(Some(Offer::of(product)));
    }
    let Some(agent) = seeds::agent(origin) else { return Ok(None) };
    if product_id == TEST_PRODUCT {
        return Ok(Some(Offer::of_tests()));
    }
    let seeded = seeds::products(acme, agent).await?;
    Ok(seeded.iter().find(|product| product.id() == product_id).map(Offer::of_seed))
}
