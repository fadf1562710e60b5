//! How a media buy is made.

use super::{Package, amount, enter, ledger::has_creatives, money};
use crate::{
    Acme, Desk, Origin, Plan, Ticket,
    booking::{BookingOrder, Line},
    catalog::CURRENCY,
    governance::{self, Gate},
    offers::{self, Offer},
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
#[derive(Clone, Debug, Default, Deserialize)]
pub struct PackageRequest {
    pub product_id: String,
    pub pricing_option_id: String,
    #[serde(default)]
    pub budget: Option<Number>,
    #[serde(default)]
    pub bid_price: Option<Number>,
    #[serde(default)]
    pub targeting_overlay: Option<Value>,
    #[serde(default)]
    pub measurement_terms: Option<Value>,
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
    request: CreateMediaBuy,
    proposal: Option<&Value>,
) -> Result<Plan, AdcpError> {
    create_if(&Gate::default(), acme, origin, request, proposal).await
}

/// The same, if whoever stands at the gate agrees.
pub async fn create_if(
    gate: &Gate,
    acme: &Acme,
    origin: &Origin,
    mut request: CreateMediaBuy,
    proposal: Option<&Value>,
) -> Result<Plan, AdcpError> {
    if let Some(proposal) = proposal {
        request.packages = proposals::packages(proposal, request.total_budget.as_ref().ok_or_else(no_budget)?)?;
    }
    let offers = check(acme, origin, &request).await?;
    let mut result = result(origin, &request);
    let planned = governance::planned_delivery(&request, &offers, &result["total_budget"]);
    let approved_until = gate.authorize(acme, origin, planned, &mut result).await?;
    if offers.iter().any(|offer| offer.insertion_order) {
        let subject = format!("Insertion order of {} over {CURRENCY} {}", request.brand.domain, result["total_budget"]);
        let ticket = Ticket::new(Desk::InsertionOrders, subject, result);
        return Ok(Plan::Review(Ticket { approved_until, ..ticket }));
    }
    let by_line = offers.into_iter().zip(&request.packages);
    let by_line = by_line.filter(|(offer, package)| offer.is_booked_by_line(package.amount()));
    let lines: Vec<Line> = by_line
        .zip(1..)
        .map(|((offer, package), number)| Line {
            number,
            product_id: package.product_id.clone(),
            name: offer.name,
            budget: package.budget.clone(),
        })
        .collect();
    if !lines.is_empty() {
        return Ok(Plan::Book(BookingOrder { approved_until, ..BookingOrder::new(lines, result) }));
    }
    let entered = enter(acme, &origin.account, &origin.token, result).await?;
    Ok(Plan::Complete(entered.into_record().result))
}

async fn check(acme: &Acme, origin: &Origin, request: &CreateMediaBuy) -> Result<Vec<Offer>, AdcpError> {
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
    let mut offers = Vec::new();
    for (index, package) in request.packages.iter().enumerate() {
        offers.push(check_package(acme, origin, index, package).await?);
    }
    Ok(offers)
}

async fn check_package(
    acme: &Acme,
    origin: &Origin,
    index: usize,
    package: &PackageRequest,
) -> Result<Offer, AdcpError> {
    let field = |name: &str| format!("packages[{index}].{name}");
    let Some(offer) = offers::find(acme, origin, &package.product_id).await? else {
        return Err(AdcpError::correctable("PRODUCT_NOT_FOUND", "Acme does not sell this product.")
            .field(field("product_id"))
            .suggestion("Choose a product from get_products."));
    };
    let Some(price) = offer.price(&package.pricing_option_id) else {
        let options: Vec<String> = offer.prices.iter().map(|price| format!("{:?}", price.option)).collect();
        return Err(AdcpError::correctable("INVALID_REQUEST", "The product has no such pricing option.")
            .field(field("pricing_option_id"))
            .suggestion(format!("Use {}.", options.join(" or "))));
    };
    if let (Some(floor), Some(bid)) = (price.floor, &package.bid_price)
        && amount(bid) < floor
    {
        return Err(AdcpError::correctable("INVALID_REQUEST", "The bid is below the floor.")
            .field(field("bid_price"))
            .suggestion(format!("Bid {floor} or more.")));
    }
    check_budget(&offer, package.budget.as_ref(), &field("budget"))?;
    check_terms(package.measurement_terms.as_ref(), &field("measurement_terms"))?;
    Ok(offer)
}

/// Refuses a budget below what the product costs at least.
pub(super) fn check_budget(offer: &Offer, budget: Option<&Number>, field: &str) -> Result<(), AdcpError> {
    if budget.map(amount).unwrap_or_default() >= f64::from(offer.minimum) {
        return Ok(());
    }
    Err(below_minimum(&offer.name, offer.minimum, field))
}

// What Acme's counts and a vendor's always differ by, in percent; and how long Acme waits for a vendor's.
const VARIANCE: f64 = 5.0;
const WINDOWS: [&str; 3] = ["live", "c3", "c7"];

// Whoever bills by another's count bills so that Acme can.
fn check_terms(terms: Option<&Value>, field: &str) -> Result<(), AdcpError> {
    let Some(billing) = terms.and_then(|terms| terms.get("billing_measurement")) else { return Ok(()) };
    let window = billing["measurement_window"].as_str().is_none_or(|window| WINDOWS.contains(&window));
    let variance = billing["max_variance_percent"].as_f64().is_none_or(|percent| percent >= VARIANCE);
    if window && variance {
        return Ok(());
    }
    let at = if window { "max_variance_percent" } else { "measurement_window" };
    Err(AdcpError::correctable("TERMS_REJECTED", "Acme does not bill by these measurements.")
        .field(format!("{field}.billing_measurement.{at}"))
        .suggestion(format!("Allow {VARIANCE} percent or more, and ask for one of {}.", WINDOWS.join(", "))))
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
    let packages: Vec<Package> =
        request.packages.iter().zip(1..).map(|(package, number)| package.at(origin, number)).collect();
    let status = if request.paused {
        "paused"
    } else if request.packages.iter().zip(&packages).all(|(one, made)| !one.creatives.is_empty() || has_creatives(made))
    {
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

impl PackageRequest {
    fn amount(&self) -> f64 {
        self.budget.as_ref().map(amount).unwrap_or_default()
    }

    fn at(&self, origin: &Origin, number: u32) -> Package {
        Package {
            package_id: format!("{}_{number}", origin.id("pkg")),
            product_id: Some(self.product_id.clone()),
            pricing_option_id: Some(self.pricing_option_id.clone()),
            budget: self.budget.clone(),
            bid_price: self.bid_price.clone(),
            targeting_overlay: self.targeting_overlay.clone(),
            measurement_terms: self.measurement_terms.clone(),
            creative_assignments: self.creative_assignments.clone(),
            paused: self.paused,
            canceled: false,
        }
    }
}
