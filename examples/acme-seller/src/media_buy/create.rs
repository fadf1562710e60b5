//! How a media buy is made.

use super::{amount, enter, money};
use crate::{
    Acme, Desk, Origin, Plan, Ticket,
    booking::{BookingOrder, Line},
    catalog::{self, CURRENCY, Product},
    proposals::{self, TotalBudget},
    sandbox::Ext,
};
use chrono::{DateTime, SecondsFormat, Utc};
use handoff::prelude::*;
use serde::Deserialize;
use serde_json::Number;

/// A `create_media_buy` request, as far as Acme reads it.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the protocol's names")]
pub struct CreateMediaBuy {
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub po_number: Option<String>,
    pub brand: Brand,
    pub start_time: String,
    pub end_time: DateTime<Utc>,
    #[serde(default)]
    pub packages: Vec<PackageRequest>,
    #[serde(default)]
    pub proposal_id: Option<String>,
    #[serde(default)]
    pub total_budget: Option<TotalBudget>,
    #[serde(default)]
    pub paused: bool,
    #[serde(default)]
    pub ext: Ext,
}

/// The advertiser.
#[derive(Clone, Debug, Deserialize)]
pub struct Brand {
    pub domain: String,
}

/// A package that is asked for.
#[derive(Clone, Debug, Deserialize)]
pub struct PackageRequest {
    pub product_id: String,
    pub pricing_option_id: String,
    #[serde(default)]
    pub budget: Option<Number>,
    #[serde(default)]
    pub paused: bool,
    #[serde(default)]
    pub creatives: Vec<Value>,
    #[serde(default)]
    pub creative_assignments: Vec<Value>,
}

/// Plans a media buy, of packages or of the proposal that it names: an insertion order goes to a reviewer, guaranteed lines are
/// booked one by one, the rest is made now.
pub async fn create(
    acme: &Acme,
    origin: &Origin,
    mut request: CreateMediaBuy,
    proposal: Option<&Value>,
) -> Result<Plan, AdcpError> {
    if let Some(proposal) = proposal {
        request.packages = proposals::packages(proposal, request.total_budget.as_ref().ok_or_else(no_budget)?)?;
    }
    let products = check(&request)?;
    let result = result(origin, &request);
    if products.iter().any(|product| product.insertion_order) {
        let subject = format!("Insertion order of {} over {CURRENCY} {}", request.brand.domain, result["total_budget"]);
        return Ok(Plan::Review(Ticket::new(Desk::InsertionOrders, subject, result)));
    }
    let guaranteed = products.iter().zip(&request.packages).filter(|(product, _)| product.is_guaranteed());
    let lines: Vec<Line> = guaranteed
        .zip(1..)
        .map(|((product, package), number)| Line {
            number,
            product_id: product.id.to_owned(),
            name: product.name.to_owned(),
            budget: package.budget.clone(),
        })
        .collect();
    if !lines.is_empty() {
        return Ok(Plan::Book(BookingOrder::new(lines, result)));
    }
    let entered = enter(acme, &origin.account, &origin.token, result).await?;
    Ok(Plan::Complete(entered.into_record().result))
}

fn check(request: &CreateMediaBuy) -> Result<Vec<&'static Product>, AdcpError> {
    if request.packages.is_empty() {
        return Err(AdcpError::correctable("INVALID_REQUEST", "A media buy needs a package.").field("packages"));
    }
    let start = match request.start_time.as_str() {
        "asap" => None,
        time => Some(DateTime::parse_from_rfc3339(time).map_err(|_| {
            AdcpError::correctable("INVALID_REQUEST", "This is neither a time nor \"asap\".").field("start_time")
        })?),
    };
    if start.is_some_and(|start| request.end_time <= start) {
        return Err(AdcpError::correctable("INVALID_REQUEST", "The end is not after the start.").field("end_time"));
    }
    request.packages.iter().enumerate().map(|(index, package)| check_package(index, package)).collect()
}

fn check_package(index: usize, package: &PackageRequest) -> Result<&'static Product, AdcpError> {
    let Some(product) = catalog::find(&package.product_id) else {
        return Err(AdcpError::correctable("PRODUCT_NOT_FOUND", "Acme does not sell this product.")
            .field(format!("packages[{index}].product_id"))
            .suggestion("Choose a product from get_products."));
    };
    if package.pricing_option_id != product.pricing_option {
        return Err(AdcpError::correctable("INVALID_REQUEST", "The product has no such pricing option.")
            .field(format!("packages[{index}].pricing_option_id"))
            .suggestion(format!("Use {:?}.", product.pricing_option)));
    }
    check_budget(product, package.budget.as_ref(), &format!("packages[{index}].budget"))?;
    Ok(product)
}

/// Refuses a budget below the product's minimum.
pub(super) fn check_budget(product: &Product, budget: Option<&Number>, field: &str) -> Result<(), AdcpError> {
    if budget.map(amount).unwrap_or_default() >= f64::from(product.minimum) {
        return Ok(());
    }
    Err(below_minimum(product.name, product.minimum, field))
}

/// The refusal of a budget that is less than what something costs.
pub(crate) fn below_minimum(what: &str, least: u32, field: &str) -> AdcpError {
    AdcpError::correctable("BUDGET_TOO_LOW", format!("{what} costs at least {CURRENCY} {least}."))
        .field(field)
        .suggestion(format!("Raise the budget to {least} or more, or choose something else."))
        .details(json!({"minimum_budget": least, "currency": CURRENCY}))
}

fn no_budget() -> AdcpError {
    AdcpError::correctable("INVALID_REQUEST", "A proposal is bought with a total budget.").field("total_budget")
}

fn result(origin: &Origin, request: &CreateMediaBuy) -> Value {
    let packages: Vec<Value> = request
        .packages
        .iter()
        .zip(1..)
        .map(|(package, number)| {
            json!({
                "package_id": format!("{}_{number}", origin.id("pkg")),
                "product_id": package.product_id,
                "pricing_option_id": package.pricing_option_id,
                "budget": package.budget,
                "paused": package.paused,
            })
        })
        .collect();
    let has_creatives =
        |package: &PackageRequest| !package.creatives.is_empty() || !package.creative_assignments.is_empty();
    let status = if request.paused {
        "paused"
    } else if request.packages.iter().all(has_creatives) {
        "pending_start"
    } else {
        "pending_creatives"
    };
    let mut result = origin.result(json!({
        "media_buy_id": origin.id("mb"),
        "media_buy_status": status,
        "confirmed_at": Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true),
        "revision": 1,
        "currency": CURRENCY,
        "total_budget": money(request.packages.iter().filter_map(|package| package.budget.as_ref()).map(amount).sum()),
        "packages": packages,
    }));
    if let Some(name) = &request.name {
        result["name"] = json!(name);
    }
    result
}
