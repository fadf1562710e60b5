//! What Acme sells.

use crate::formats::Format;
use handoff::prelude::*;
use serde::Deserialize;

/// Changes whenever the catalogue does.
pub const FEED_VERSION: &str = "acme-2026-11-30";

/// Where Acme's own formats, and its signals, are known by.
pub(crate) const AGENT_URL: &str = "https://ads.acme.example/mcp";

/// The currency of all prices.
pub const CURRENCY: &str = "USD";

/// Whether Acme promises to deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Inventory is reserved.
    Guaranteed,
    /// Delivered as far as there is inventory.
    NonGuaranteed,
}

/// Something that a buyer can buy.
#[derive(Debug)]
pub struct Product {
    /// Its id.
    pub id: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub description: &'static str,
    /// The media channel.
    pub channel: &'static str,
    /// Whether Acme promises to deliver.
    pub delivery: Delivery,
    /// Whether a buy needs an insertion order that somebody at Acme signs.
    pub insertion_order: bool,
    /// The id of its pricing option.
    pub pricing_option: &'static str,
    /// The price of a thousand impressions.
    pub cpm: f64,
    /// The least that a package of it costs.
    pub minimum: u32,
    /// What a brief may say that this product answers.
    pub topics: &'static [&'static str],
    pub(crate) format: Format,
}

/// All of them.
pub static PRODUCTS: &[Product] = &[
    Product {
        id: "acme_display_ron",
        name: "Acme display, run of network",
        description: "Medium rectangles on all Acme news and sports sites, delivered as inventory allows.",
        channel: "display",
        delivery: Delivery::NonGuaranteed,
        insertion_order: false,
        pricing_option: "cpm_usd_display",
        cpm: 4.0,
        minimum: 500,
        topics: &["display", "banner", "news", "sports", "reach", "awareness"],
        format: Format::Image { width: 300, height: 250 },
    },
    Product {
        id: "acme_video_ros",
        name: "Acme pre-roll, run of site",
        description: "Pre-roll before short clips, delivered as inventory allows.",
        channel: "olv",
        delivery: Delivery::NonGuaranteed,
        insertion_order: false,
        pricing_option: "cpm_usd_video",
        cpm: 14.0,
        minimum: 1000,
        topics: &["video", "pre-roll", "clips", "awareness"],
        format: Format::Video { max_seconds: 30 },
    },
    Product {
        id: "acme_homepage_takeover",
        name: "Acme homepage takeover",
        description: "The billboard of acme.example's homepage, reserved by the day.",
        channel: "display",
        delivery: Delivery::Guaranteed,
        insertion_order: false,
        pricing_option: "cpm_usd_takeover",
        cpm: 38.0,
        minimum: 5000,
        topics: &["display", "takeover", "launch", "news", "homepage"],
        format: Format::Image { width: 970, height: 250 },
    },
    Product {
        id: "acme_preroll_reserved",
        name: "Acme pre-roll, reserved",
        description: "Pre-roll before full episodes, with a guaranteed number of impressions.",
        channel: "olv",
        delivery: Delivery::Guaranteed,
        insertion_order: false,
        pricing_option: "cpm_usd_preroll",
        cpm: 24.0,
        minimum: 3000,
        topics: &["video", "pre-roll", "episodes", "launch"],
        format: Format::Video { max_seconds: 30 },
    },
    Product {
        id: "acme_podcast_midroll",
        name: "Acme podcasts, mid-roll",
        description: "Mid-rolls in Acme's sports podcasts, with a guaranteed number of downloads.",
        channel: "podcast",
        delivery: Delivery::Guaranteed,
        insertion_order: false,
        pricing_option: "cpm_usd_podcast",
        cpm: 30.0,
        minimum: 2500,
        topics: &["audio", "podcast", "sports"],
        format: Format::Audio { max_seconds: 60 },
    },
    Product {
        id: "acme_ctv_sponsorship",
        name: "Acme TV, season sponsorship",
        description: "Sponsorship of a season of Acme Originals on connected TV. Needs a signed insertion order.",
        channel: "ctv",
        delivery: Delivery::Guaranteed,
        insertion_order: true,
        pricing_option: "cpm_usd_ctv",
        cpm: 52.0,
        minimum: 25_000,
        topics: &["ctv", "tv", "television", "sponsorship", "season", "launch"],
        format: Format::Video { max_seconds: 30 },
    },
];

/// The product of this id.
pub fn find(id: &str) -> Option<&'static Product> {
    PRODUCTS.iter().find(|product| product.id == id)
}

impl Product {
    /// Whether Acme promises to deliver.
    pub fn is_guaranteed(&self) -> bool {
        self.delivery == Delivery::Guaranteed
    }

    /// The product as the protocol has it.
    pub fn to_wire(&self) -> Value {
        let delivery = if self.is_guaranteed() { "guaranteed" } else { "non_guaranteed" };
        json!({
            "product_id": self.id,
            "name": self.name,
            "description": self.description,
            "publisher_properties": [{"publisher_domain": "acme.example", "selection_type": "all"}],
            "channels": [self.channel],
            "delivery_type": delivery,
            "format_options": [self.format.option(self.id)],
            "format_ids": [self.format.reference()],
            "pricing_options": [{
                "pricing_option_id": self.pricing_option,
                "pricing_model": "cpm",
                "currency": CURRENCY,
                "fixed_price": self.cpm,
                "min_spend_per_package": self.minimum,
            }],
            "reporting_capabilities": reporting(),
            "ext": {"acme": {"insertion_order": self.insertion_order}},
        })
    }
}

/// How deliveries of any product are reported.
pub(crate) fn reporting() -> Value {
    json!({
        "available_reporting_frequencies": ["daily"],
        "expected_delay_minutes": 240,
        "timezone": "UTC",
        "supports_webhooks": false,
        "available_metrics": ["impressions", "spend", "clicks"],
        "date_range_support": "date_range",
    })
}
