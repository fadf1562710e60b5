//! How a media buy is changed.

use super::{
    Change, MediaBuy, Package, amount, create::check_budget, enter_change, find, ledger::has_creatives, lifecycle,
    money,
};
use crate::{Acme, Desk, Origin, Plan, Ticket, catalog::CURRENCY, offers, order_book::Entered, sandbox::Ext};
use handoff::prelude::*;
use serde::Deserialize;
use serde_json::Number;

/// An `update_media_buy` request, as far as Acme reads it.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the protocol's names")]
pub struct UpdateMediaBuy {
    pub media_buy_id: String,
    #[serde(default)]
    pub revision: Option<u32>,
    #[serde(default)]
    pub paused: Option<bool>,
    #[serde(default)]
    pub canceled: Option<bool>,
    #[serde(default)]
    pub packages: Vec<PackageUpdate>,
    #[serde(default)]
    pub ext: Ext,
}

/// A change of a package.
#[derive(Clone, Debug, Deserialize)]
pub struct PackageUpdate {
    pub package_id: String,
    #[serde(default)]
    pub budget: Option<Number>,
    #[serde(default)]
    pub bid_price: Option<Number>,
    #[serde(default)]
    pub targeting_overlay: Option<Value>,
    #[serde(default)]
    pub creative_assignments: Option<Vec<Value>>,
    #[serde(default)]
    pub paused: Option<bool>,
    #[serde(default)]
    pub canceled: Option<bool>,
}

/// Plans a change: more budget on an insertion order goes to a reviewer, the rest is done now.
pub async fn update(acme: &Acme, origin: &Origin, request: UpdateMediaBuy) -> Result<Plan, AdcpError> {
    let id = &request.media_buy_id;
    loop {
        let Some((media_buy, changes)) = find(acme, &origin.account, id).await? else {
            return Err(
                AdcpError::correctable("MEDIA_BUY_NOT_FOUND", "There is no such media buy.").field("media_buy_id")
            );
        };
        if let Some(done) = changes.into_iter().find(|change| change.token == origin.token) {
            return Ok(Plan::Complete(done.result));
        }
        let (change, signature_needed) = apply(acme, origin, &media_buy, &request).await?;
        if signature_needed {
            let subject = format!("Amendment of the insertion order of {id}");
            return Ok(Plan::Review(Ticket::new(Desk::InsertionOrders, subject, change.result)));
        }
        // Another request may have taken the revision meanwhile; then this one is looked at again.
        if let Entered::New(change) = enter_change(acme, &origin.account, id, change).await? {
            return Ok(Plan::Complete(change.result));
        }
    }
}

/// The change, and whether somebody needs to sign it.
async fn apply(
    acme: &Acme,
    origin: &Origin,
    media_buy: &MediaBuy,
    request: &UpdateMediaBuy,
) -> Result<(Change, bool), AdcpError> {
    if request.revision.is_some_and(|revision| revision != media_buy.revision) {
        return Err(AdcpError::transient("CONFLICT", format!("The media buy is at revision {}.", media_buy.revision))
            .field("revision")
            .suggestion("Read the media buy again, and repeat the change if it still makes sense."));
    }
    let now = media_buy.media_buy_status.as_str();
    if lifecycle::is_final(now) {
        let code = if request.canceled == Some(true) { "NOT_CANCELLABLE" } else { "INVALID_STATE" };
        return Err(AdcpError::correctable(code, format!("The media buy is {now} for good.")).field("media_buy_id"));
    }
    let mut packages = media_buy.packages.clone();
    let mut affected = Vec::new();
    let mut signature_needed = false;
    for (index, update) in request.packages.iter().enumerate() {
        let field = |name: &str| format!("packages[{index}].{name}");
        let Some(package) = packages.iter_mut().find(|package| package.package_id == update.package_id) else {
            return Err(AdcpError::correctable("PACKAGE_NOT_FOUND", "The media buy has no such package.")
                .field(field("package_id")));
        };
        if let Some(budget) = &update.budget {
            let before = package.budget.replace(budget.clone());
            let product_id = package.product_id.clone().unwrap_or_default();
            if let Some(offer) = offers::find(acme, origin, &product_id).await? {
                check_budget(&offer, Some(budget), &field("budget"))?;
                let more = before.as_ref().is_none_or(|before| amount(budget) > amount(before));
                signature_needed |= offer.insertion_order && more;
            }
        }
        if let Some(bid) = &update.bid_price {
            package.bid_price = Some(bid.clone());
        }
        if let Some(targeting) = &update.targeting_overlay {
            package.targeting_overlay = Some(targeting.clone());
        }
        if let Some(assignments) = &update.creative_assignments {
            package.creative_assignments.clone_from(assignments);
        }
        package.paused = update.paused.unwrap_or(package.paused);
        package.canceled |= update.canceled.unwrap_or(false);
        affected.push(package.clone());
    }
    let status = match (request.canceled, request.paused) {
        (Some(true), _) => "canceled",
        (_, Some(true)) => "paused",
        // The protocol knows no way back to waiting: what goes on is active, and delivers from its start on.
        (_, Some(false)) if now == "paused" => "active",
        _ => with_creatives(now, &packages),
    };
    let result = origin.result(json!({
        "media_buy_id": media_buy.media_buy_id,
        "media_buy_status": status,
        "revision": media_buy.revision + 1,
        "currency": CURRENCY,
        "total_budget": total(&packages),
        "affected_packages": affected,
    }));
    let change = Change {
        token: origin.token.clone(),
        media_buy_status: status.to_owned(),
        revision: media_buy.revision + 1,
        packages,
        result,
    };
    Ok((change, signature_needed))
}

/// What a media buy of this status becomes with these packages: ready, once all that run have something to show.
pub(super) fn with_creatives<'a>(status: &'a str, packages: &[Package]) -> &'a str {
    let ready = packages.iter().filter(|package| !package.canceled).all(has_creatives);
    if status == "pending_creatives" && ready { "pending_start" } else { status }
}

pub(super) fn total(packages: &[Package]) -> Value {
    let running = packages.iter().filter(|package| !package.canceled);
    money(running.filter_map(|package| package.budget.as_ref()).map(amount).sum())
}
