//! Media buys: how they are made, changed and undone.

mod assign;
mod create;
mod delivery;
mod ledger;
pub(crate) mod lifecycle;
mod show;
mod update;

pub(crate) use assign::assign;
pub use create::{CreateMediaBuy, create, create_if};
pub(crate) use create::{PackageRequest, below_minimum};
pub use delivery::{Delivered, GetMediaBuyDelivery, delivered, get_media_buy_delivery};
pub(crate) use delivery::{deliver, get as get_delivery};
pub use ledger::{Change, MediaBuy, Package, enter, enter_change, find, undo};
pub(crate) use ledger::{PURGED, purge, unreadable};
pub(crate) use show::get_media_buys;
pub use show::{GetMediaBuys, Statuses};
pub use update::{UpdateMediaBuy, update};

use crate::{Acme, Gate, Origin, catalog, offers, plan, proposals};
use handoff::prelude::*;

/// The handler of `create_media_buy`.
pub(crate) async fn create_media_buy(context: Context<Acme>, request: CreateMediaBuy) -> Result<Decision, AdcpError> {
    let ext = request.ext.clone();
    let proposal = context.proposal();
    let gate = Gate::of(&context, ext.knobs(context.sandbox)?);
    plan::decide(&context, &ext, async |acme, origin| create_if(&gate, acme, origin, request, proposal).await).await
}

/// The handler of `update_media_buy`.
pub(crate) async fn update_media_buy(context: Context<Acme>, request: UpdateMediaBuy) -> Result<Decision, AdcpError> {
    let ext = request.ext.clone();
    plan::decide(&context, &ext, async |acme, origin| update(acme, origin, request).await).await
}

/// The protocol demands that a buy of only non-guaranteed products is answered at once.
pub(crate) async fn answers_at_once(context: Context<Acme>, request: Value) -> bool {
    if !only_non_guaranteed(&request, context.proposal()) {
        return false;
    }
    // The sandbox may have more.
    let origin = Origin::of(&context);
    for product in products(&request) {
        if let Ok(Some(offer)) = offers::find(context.state(), &origin, product).await
            && offer.guaranteed
        {
            return false;
        }
    }
    true
}

/// Whether the request, of this proposal if it names one, buys nothing that is guaranteed.
pub fn only_non_guaranteed(request: &Value, proposal: Option<&Value>) -> bool {
    if let Some(proposal) = proposal {
        return !proposals::products(proposal).any(catalog::Product::is_guaranteed);
    }
    !products(request).filter_map(catalog::find).any(catalog::Product::is_guaranteed)
}

fn products(request: &Value) -> impl Iterator<Item = &str> {
    let packages = request.get("packages").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    packages.iter().filter_map(|package| package.get("product_id").and_then(Value::as_str))
}

pub(crate) fn amount(number: &serde_json::Number) -> f64 {
    number.as_f64().unwrap_or_default()
}

/// A sum of money, without the decimals that it does not have.
pub(crate) fn money(amount: f64) -> Value {
    let cents = (amount * 100.0).round();
    if cents % 100.0 == 0.0 { json!((cents / 100.0) as i64) } else { json!(cents / 100.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_guaranteed_product_makes_a_buy_one_that_may_wait() {
        let buy = |products: &[&str]| {
            let packages: Vec<Value> = products.iter().map(|id| json!({"product_id": id})).collect();
            json!({"packages": packages})
        };
        assert!(only_non_guaranteed(&buy(&["acme_display_ron", "acme_video_ros"]), None));
        assert!(!only_non_guaranteed(&buy(&["acme_display_ron", "acme_homepage_takeover"]), None));
        assert!(only_non_guaranteed(&buy(&["nobody_sells_this"]), None), "refused at once");
        assert!(only_non_guaranteed(&json!({}), None), "refused at once");
        let proposal = |product: &str| json!({"allocations": [{"product_id": product, "allocation_percentage": 100}]});
        let request = json!({"proposal_id": "p"});
        assert!(only_non_guaranteed(&request, Some(&proposal("acme_display_ron"))));
        assert!(!only_non_guaranteed(&request, Some(&proposal("acme_ctv_sponsorship"))));
    }

    #[test]
    fn money_keeps_its_cents_and_no_more() {
        assert_eq!(money(1500.0), json!(1500));
        assert_eq!(money(0.1 + 0.2), json!(0.3));
    }
}
