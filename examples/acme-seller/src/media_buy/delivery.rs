//! `get_media_buy_delivery`: what was delivered of media buys. In the sandbox, tests say what was.

use super::{MediaBuy, Statuses, amount, find, money};
use crate::{Acme, Origin, catalog::CURRENCY, offers, order_book::Ledger, page::Page};
use chrono::{SecondsFormat, TimeDelta, Utc};
use handoff::prelude::*;
use serde::{Deserialize, Serialize};

/// A `get_media_buy_delivery` request, as far as Acme reads it.
#[derive(Clone, Debug, Default, Deserialize)]
#[expect(missing_docs, reason = "the protocol's names")]
pub struct GetMediaBuyDelivery {
    #[serde(default)]
    pub media_buy_ids: Option<Vec<String>>,
    #[serde(default)]
    pub status_filter: Option<Statuses>,
    #[serde(default)]
    pub start_date: Option<String>,
    #[serde(default)]
    pub end_date: Option<String>,
    #[serde(default)]
    pub pagination: Page,
}

/// What was delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Delivered {
    /// How often it was shown.
    pub impressions: u64,
    /// How often it was clicked.
    pub clicks: u64,
    /// What it cost.
    pub spend: f64,
}

impl Delivered {
    fn and(self, more: Self) -> Self {
        Self {
            impressions: self.impressions + more.impressions,
            clicks: self.clicks + more.clicks,
            spend: self.spend + more.spend,
        }
    }

    // The part of it that a package of this share had.
    fn share(self, share: f64) -> Self {
        Self {
            impressions: (self.impressions as f64 * share).round() as u64,
            clicks: (self.clicks as f64 * share).round() as u64,
            spend: self.spend * share,
        }
    }

    pub(crate) fn to_wire(self) -> Value {
        json!({"impressions": self.impressions, "clicks": self.clicks, "spend": money(self.spend)})
    }
}

/// The tool's handler.
pub(crate) async fn get(context: Context<Acme>, request: GetMediaBuyDelivery) -> Result<Value, AdcpError> {
    get_media_buy_delivery(context.state(), &Origin::of(&context), &request).await
}

/// Reports on the media buys that are asked for, or on all that ran.
pub async fn get_media_buy_delivery(
    acme: &Acme,
    origin: &Origin,
    request: &GetMediaBuyDelivery,
) -> Result<Value, AdcpError> {
    let ids = match &request.media_buy_ids {
        Some(ids) => ids.clone(),
        None => {
            let all: Vec<MediaBuy> = acme.book.list(Ledger::MediaBuys, &[&origin.account]).await?;
            all.into_iter().map(|media_buy| media_buy.media_buy_id).collect()
        }
    };
    let mut found = Vec::new();
    for id in ids {
        if let Some((media_buy, _)) = find(acme, &origin.account, &id).await?
            && request.status_filter.as_ref().is_none_or(|filter| filter.admit(&media_buy.media_buy_status))
        {
            found.push(media_buy);
        }
    }
    found.sort_by(|one, other| one.media_buy_id.cmp(&other.media_buy_id));
    let (page, pagination) = request.pagination.of(&found, |media_buy| &media_buy.media_buy_id)?;
    let mut total = Delivered::default();
    let mut deliveries = Vec::new();
    for media_buy in page {
        let delivered = delivered(acme, &origin.account, &media_buy.media_buy_id).await?;
        total = total.and(delivered);
        deliveries.push(report(acme, origin, media_buy, delivered).await?);
    }
    let mut totals = total.to_wire();
    totals["media_buy_count"] = json!(page.len());
    Ok(json!({
        "status": "completed",
        "reporting_period": period(request),
        "currency": CURRENCY,
        "aggregated_totals": totals,
        "media_buy_deliveries": deliveries,
        "pagination": pagination,
    }))
}

async fn report(acme: &Acme, origin: &Origin, media_buy: &MediaBuy, delivered: Delivered) -> Result<Value, AdcpError> {
    let budget = |package: &super::Package| package.budget.as_ref().map(amount).unwrap_or_default();
    let all: f64 = media_buy.packages.iter().map(budget).sum();
    let mut by_package = Vec::new();
    for package in &media_buy.packages {
        let (product, option) = (package.product_id.as_deref(), package.pricing_option_id.as_deref());
        let offer = offers::find(acme, origin, product.unwrap_or_default()).await?;
        let cpm = offer.as_ref().and_then(|offer| offer.price(option.unwrap_or_default())).map(|price| price.cpm);
        let share = if all > 0.0 { budget(package) / all } else { 0.0 };
        let mut wire = delivered.share(share).to_wire();
        wire["package_id"] = json!(package.package_id);
        wire["pricing_model"] = json!("cpm");
        wire["rate"] = json!(cpm.unwrap_or_default());
        wire["currency"] = json!(CURRENCY);
        by_package.push(wire);
    }
    Ok(json!({
        "media_buy_id": media_buy.media_buy_id,
        "status": media_buy.media_buy_status,
        "currency": CURRENCY,
        "totals": delivered.to_wire(),
        "by_package": by_package,
    }))
}

// The days that are asked for; the last thirty, otherwise.
fn period(request: &GetMediaBuyDelivery) -> Value {
    let today = Utc::now();
    let instant = |date: &Option<String>, otherwise: chrono::DateTime<Utc>| {
        let date = date.as_ref().map(|date| format!("{date}T00:00:00Z"));
        date.unwrap_or_else(|| otherwise.to_rfc3339_opts(SecondsFormat::Secs, true))
    };
    json!({
        "start": instant(&request.start_date, today - TimeDelta::days(30)),
        "end": instant(&request.end_date, today),
        "timezone": "UTC",
    })
}

/// What was delivered of a media buy so far.
pub async fn delivered(acme: &Acme, account: &str, id: &str) -> Result<Delivered, AdcpError> {
    let all: Vec<Delivered> = acme.book.list(Ledger::Deliveries, &[account, id]).await?;
    Ok(all.into_iter().fold(Delivered::default(), Delivered::and))
}

/// Delivers more of it.
pub(crate) async fn deliver(acme: &Acme, account: &str, id: &str, more: Delivered) -> Result<Delivered, AdcpError> {
    acme.book.append(Ledger::Deliveries, &[account, id], more).await?;
    delivered(acme, account, id).await
}
