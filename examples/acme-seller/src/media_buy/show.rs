//! `get_media_buys`: what the order book has, page by page.

use super::{MediaBuy, find};
use crate::{Acme, catalog::CURRENCY, order_book::Ledger, page::Page};
use handoff::prelude::*;
use serde::Deserialize;

/// A `get_media_buys` request, as far as Acme reads it.
#[derive(Clone, Debug, Default, Deserialize)]
#[expect(missing_docs, reason = "the protocol's names")]
pub struct GetMediaBuys {
    #[serde(default)]
    pub media_buy_ids: Option<Vec<String>>,
    #[serde(default)]
    pub status_filter: Option<Statuses>,
    #[serde(default)]
    pub pagination: Page,
}

/// One status, or several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
#[expect(missing_docs, reason = "they say it")]
pub enum Statuses {
    One(String),
    Several(Vec<String>),
}

impl Statuses {
    pub(super) fn admit(&self, status: &str) -> bool {
        match self {
            Self::One(one) => one == status,
            Self::Several(several) => several.iter().any(|one| one == status),
        }
    }
}

/// The tool's handler.
pub(crate) async fn get_media_buys(context: Context<Acme>, request: GetMediaBuys) -> Result<Value, AdcpError> {
    let acme = context.state();
    let ids = match &request.media_buy_ids {
        Some(ids) => ids.clone(),
        None => {
            let all: Vec<MediaBuy> = acme.book.list(Ledger::MediaBuys, &[&context.account]).await?;
            all.into_iter().map(|media_buy| media_buy.media_buy_id).collect()
        }
    };
    // Active ones unless told otherwise, or asked for by their ids.
    let filter = match (&request.status_filter, &request.media_buy_ids) {
        (Some(filter), _) => Some(filter.clone()),
        (None, Some(_)) => None,
        (None, None) => Some(Statuses::One("active".into())),
    };
    let mut found = Vec::new();
    for id in ids {
        if let Some((media_buy, _)) = find(acme, &context.account, &id).await?
            && filter.as_ref().is_none_or(|filter| filter.admit(&media_buy.media_buy_status))
        {
            found.push(media_buy);
        }
    }
    found.sort_by(|a, b| a.media_buy_id.cmp(&b.media_buy_id));
    let (page, mut pagination) = request.pagination.of(&found, |media_buy| &media_buy.media_buy_id)?;
    pagination["total_count"] = json!(found.len());
    let media_buys: Vec<Value> = page.iter().map(to_wire).collect();
    Ok(json!({"status": "completed", "media_buys": media_buys, "pagination": pagination}))
}

fn to_wire(media_buy: &MediaBuy) -> Value {
    let told = |field: &str| media_buy.result.get(field).cloned().unwrap_or_default();
    let mut wire = json!({
        "media_buy_id": media_buy.media_buy_id,
        "status": media_buy.media_buy_status,
        "currency": CURRENCY,
        "total_budget": super::update::total(&media_buy.packages),
        "confirmed_at": told("confirmed_at"),
        "revision": media_buy.revision,
        "packages": media_buy.packages.iter().map(package).collect::<Vec<_>>(),
    });
    if let Some(name) = media_buy.result.get("name") {
        wire["name"] = name.clone();
    }
    wire
}

fn package(package: &super::Package) -> Value {
    let mut wire = json!({
        "package_id": package.package_id,
        "product_id": package.product_id,
        "budget": package.budget,
        "paused": package.paused,
        "canceled": package.canceled,
    });
    for (field, value) in [
        ("bid_price", package.bid_price.clone().map(Value::Number)),
        ("targeting_overlay", package.targeting_overlay.clone()),
    ] {
        if let Some(value) = value {
            wire[field] = value;
        }
    }
    wire
}
