//! Proposals: media plans that Acme drafts for a brief, refines on request, and holds once they are finalized.
//!
//! Plain functions of a proposal's body: Acme keeps none itself, the engine's ledger does.

use crate::{
    Origin,
    catalog::{self, CURRENCY, PRODUCTS, Product},
    discovery::relevance,
    media_buy::{PackageRequest, amount, below_minimum, money},
};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use handoff::prelude::*;
use serde::Deserialize;
use serde_json::Number;

// More products than these make no plan.
const AT_MOST: usize = 3;
// How long inventory is held for a committed proposal.
const HOLD: TimeDelta = TimeDelta::days(7);
// What an ask for a product is worth, in percent of the budget.
const SHIFT: u32 = 10;
const LONGEST_BRIEF: usize = 500;

/// The budget that a proposal is executed with.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct TotalBudget {
    pub amount: Number,
    pub currency: String,
}

/// A product's part of a plan.
struct Part {
    product: &'static Product,
    percent: u32,
}

/// A draft over the products that answer a brief best; `None`: none of them does.
pub(crate) fn draft(origin: &Origin, brief: &str, products: &[&'static Product]) -> Option<Value> {
    let chosen = &products[..products.len().min(AT_MOST)];
    let total: u32 = chosen.iter().map(|product| product.minimum).sum();
    let percents = chosen.iter().map(|product| (product.minimum * 100 / total.max(1)).max(1)).collect();
    let mut body = json!({
        "proposal_id": origin.id("prop"),
        "name": format!("Acme plan with {}", chosen.first()?.name),
        "brief_alignment": format!("Answers: {}", brief.chars().take(LONGEST_BRIEF).collect::<String>()),
        "proposal_status": "draft",
    });
    plan(&mut body, chosen, percents);
    Some(body)
}

// What tests of the protocol call a plan.
const TEST_PROPOSAL: &str = "balanced_reach_q2";

/// The sandbox's own draft, over what Acme sells without promises: it can be bought at once.
pub(crate) fn for_tests(origin: &Origin) -> Option<Value> {
    let products: Vec<&Product> = PRODUCTS.iter().filter(|product| !product.is_guaranteed()).collect();
    let mut body = draft(origin, "Tests", &products)?;
    body["proposal_id"] = json!(TEST_PROPOSAL);
    body["name"] = json!("Balanced reach, for tests");
    Some(body)
}

/// The same draft with more of what is asked for, and without the omitted products. `None`: it would be empty.
pub(crate) fn refined(body: &Value, asks: &str, omitted: impl Fn(&Product) -> bool) -> Option<Value> {
    let kept: Vec<Part> = parts(body).into_iter().filter(|part| !omitted(part.product)).collect();
    if kept.is_empty() {
        return None;
    }
    let wanted = |part: &Part| relevance(asks, part.product.topics) > 0;
    let percents = kept.iter().map(|part| part.percent + if wanted(part) { SHIFT } else { 0 }).collect();
    let products: Vec<&Product> = kept.iter().map(|part| part.product).collect();
    let mut body = body.clone();
    plan(&mut body, &products, percents);
    Some(body)
}

/// The same proposal, firm: its prices hold, and its inventory is held, for some days. One that is firm already stays as it is.
pub(crate) fn committed(body: &Value, now: DateTime<Utc>) -> Value {
    let mut body = body.clone();
    if expiry(&body).is_none_or(|expires_at| expires_at <= now) {
        body["proposal_status"] = json!("committed");
        body["expires_at"] = json!((now + HOLD).to_rfc3339_opts(SecondsFormat::Secs, true));
    }
    body
}

/// The products of a proposal.
pub(crate) fn products(body: &Value) -> impl Iterator<Item = &'static Product> {
    parts(body).into_iter().map(|part| part.product)
}

/// The packages that a proposal makes of a budget.
pub(crate) fn packages(body: &Value, budget: &TotalBudget) -> Result<Vec<PackageRequest>, AdcpError> {
    if budget.currency != CURRENCY {
        return Err(AdcpError::correctable("INVALID_REQUEST", format!("The proposal's prices are in {CURRENCY}."))
            .field("total_budget.currency"));
    }
    let parts = parts(body);
    let total = amount(&budget.amount);
    if parts.iter().any(|part| total * f64::from(part.percent) / 100.0 < f64::from(part.product.minimum)) {
        return Err(below_minimum("The proposal", least(&parts), "total_budget.amount"));
    }
    let mut cents_left = (total * 100.0).round();
    let last = parts.len().saturating_sub(1);
    let mut packages = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let share = (total * f64::from(part.percent)).round();
        // The last one has what rounding left, so that the sum is the budget.
        let cents = if index == last { cents_left } else { share };
        cents_left -= cents;
        packages.push(PackageRequest {
            product_id: part.product.id.to_owned(),
            pricing_option_id: part.product.pricing_option.to_owned(),
            budget: money(cents / 100.0).as_number().cloned(),
            ..PackageRequest::default()
        });
    }
    Ok(packages)
}

// The percentages become a hundred; what is left over goes to the first product.
fn plan(body: &mut Value, products: &[&'static Product], percents: Vec<u32>) {
    let sum: u32 = percents.iter().sum();
    let mut percents: Vec<u32> = percents.iter().map(|percent| (percent * 100 / sum.max(1)).max(1)).collect();
    let others: u32 = percents.iter().skip(1).sum();
    if let Some(first) = percents.first_mut() {
        *first = 100 - others;
    }
    let parts: Vec<Part> = products.iter().zip(percents).map(|(product, percent)| Part { product, percent }).collect();
    let allocations = parts.iter().map(|part| {
        json!({
            "product_id": part.product.id,
            "allocation_percentage": part.percent,
            "pricing_option_id": part.product.pricing_option,
        })
    });
    body["allocations"] = allocations.collect();
    let least = least(&parts);
    body["total_budget_guidance"] = json!({"min": least, "recommended": 2 * least, "currency": CURRENCY});
}

// The smallest budget of which each product's part is enough.
fn least(parts: &[Part]) -> u32 {
    parts.iter().map(|part| (part.product.minimum * 100).div_ceil(part.percent.max(1))).max().unwrap_or_default()
}

fn parts(body: &Value) -> Vec<Part> {
    let allocations = body["allocations"].as_array().map(Vec::as_slice).unwrap_or_default();
    let part = |allocation: &Value| {
        let percent = allocation["allocation_percentage"].as_u64()?.try_into().ok()?;
        Some(Part { product: catalog::find(allocation["product_id"].as_str()?)?, percent })
    };
    allocations.iter().filter_map(part).collect()
}

fn expiry(body: &Value) -> Option<DateTime<Utc>> {
    body["expires_at"].as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drafted(products: &[&'static Product]) -> Value {
        let origin =
            Origin { account: "acct".into(), principal: "agent".into(), token: "task_1".into(), sandbox: false };
        draft(&origin, "A brief", products).unwrap()
    }

    fn percents(body: &Value) -> Vec<(&'static str, u32)> {
        parts(body).iter().map(|part| (part.product.id, part.percent)).collect()
    }

    fn budget(amount: impl Into<Number>) -> TotalBudget {
        TotalBudget { amount: amount.into(), currency: CURRENCY.into() }
    }

    // To the cent: a sum of binary fractions is not.
    fn spent(packages: &[PackageRequest]) -> f64 {
        let sum: f64 = packages.iter().filter_map(|package| package.budget.as_ref()).map(amount).sum();
        (sum * 100.0).round() / 100.0
    }

    #[test]
    fn any_plan_is_a_hundred_percent_and_its_least_budget_is_enough() {
        for first in PRODUCTS {
            for second in PRODUCTS {
                for third in PRODUCTS.iter().filter(|third| third.id != second.id && third.id != first.id) {
                    let chosen: Vec<&'static Product> =
                        if first.id == second.id { vec![first, third] } else { vec![first, second, third] };
                    let body = drafted(&chosen);
                    for body in [refined(&body, "More video, and audio", |_| false).unwrap(), body] {
                        assert_eq!(percents(&body).iter().map(|(_, percent)| percent).sum::<u32>(), 100, "{body}");
                        let least = body["total_budget_guidance"]["min"].as_u64().unwrap();
                        assert_eq!(spent(&packages(&body, &budget(least)).unwrap()), least as f64, "{body}");
                        let error = packages(&body, &budget(least - 1)).unwrap_err();
                        assert_eq!(
                            (error.code.as_str(), error.field.as_deref()),
                            ("BUDGET_TOO_LOW", Some("total_budget.amount"))
                        );
                        assert_eq!(error.details.unwrap()["minimum_budget"], least);
                    }
                }
            }
        }
    }

    #[test]
    fn what_rounding_leaves_is_spent_too() {
        let body = drafted(&[&PRODUCTS[0], &PRODUCTS[1], &PRODUCTS[2]]);
        let odd = Number::from_f64(10_000.37).unwrap();
        assert!((spent(&packages(&body, &budget(odd)).unwrap()) - 10_000.37).abs() < 0.001);
        let foreign = TotalBudget { currency: "EUR".into(), ..budget(50_000) };
        assert_eq!(packages(&body, &foreign).unwrap_err().field.as_deref(), Some("total_budget.currency"));
    }

    #[test]
    fn a_refinement_keeps_the_id_and_shifts_the_budget() {
        let body = drafted(&[&PRODUCTS[2], &PRODUCTS[1], &PRODUCTS[0]]);
        let more = refined(&body, "More video, please", |_| false).unwrap();
        assert_eq!(more["proposal_id"], body["proposal_id"]);
        assert!(percents(&more)[1].1 > percents(&body)[1].1, "{more}");
        let fewer = refined(&body, "", |product| product.id == PRODUCTS[1].id).unwrap();
        assert_eq!(percents(&fewer).iter().map(|(id, _)| *id).collect::<Vec<_>>(), [PRODUCTS[2].id, PRODUCTS[0].id]);
        assert_eq!(refined(&body, "", |_| true), None);
    }

    #[test]
    fn a_hold_lasts_and_is_not_prolonged_before_it_ends() {
        let draft = drafted(&[&PRODUCTS[0]]);
        let now = DateTime::UNIX_EPOCH;
        let firm = committed(&draft, now);
        assert_eq!(
            (&firm["proposal_status"], &firm["expires_at"]),
            (&json!("committed"), &json!("1970-01-08T00:00:00Z"))
        );
        assert_eq!(committed(&firm, now + TimeDelta::days(6)), firm);
        assert_eq!(committed(&firm, now + TimeDelta::days(8))["expires_at"], "1970-01-16T00:00:00Z");
    }
}
