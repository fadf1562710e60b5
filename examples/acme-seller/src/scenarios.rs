//! What the protocol's compliance controller does to Acme's sandbox: it puts things there, and lets them happen.
//!
//! Each answers with the fields of the controller's success.

use crate::{
    Acme, Origin, accounts, library,
    media_buy::{self, Change, Delivered, MediaBuy, lifecycle},
    order_book::{Entered, Key, Ledger},
    seeds::{self, Kind, Seed},
};
use async_trait::async_trait;
use chrono::Utc;
use handoff::{prelude::*, seller::ToolHandler};
use serde::{Deserialize, de::DeserializeOwned};

/// The scenarios that Acme stages.
pub const ALL: [&str; 12] = [
    "seed_account",
    "seed_product",
    "seed_pricing_option",
    "seed_creative",
    "seed_creative_format",
    "seed_media_buy",
    "force_media_buy_status",
    "force_media_buy_purge",
    "force_creative_status",
    "force_account_status",
    "simulate_delivery",
    "simulate_budget_spend",
];

/// The handler of one of them.
pub(crate) struct Staged(pub(crate) &'static str);

#[async_trait]
impl ToolHandler<Acme> for Staged {
    async fn answer(&self, context: Context<Acme>, params: Value) -> Result<Value, AdcpError> {
        stage(context.state(), &Origin::of(&context), self.0, params).await
    }
}

/// Stages a scenario.
pub async fn stage(acme: &Acme, origin: &Origin, scenario: &str, params: Value) -> Result<Value, AdcpError> {
    match scenario {
        "seed_account" => seed_account(acme, origin, params).await,
        "seed_product" => seed_product(acme, origin, params).await,
        "seed_pricing_option" => seed_pricing_option(acme, origin, params).await,
        "seed_creative" => seed_creative(acme, origin, params).await,
        "seed_creative_format" => seed_creative_format(acme, origin, params).await,
        "seed_media_buy" => seed_media_buy(acme, origin, params).await,
        "force_media_buy_status" => force_media_buy_status(acme, origin, params).await,
        "force_media_buy_purge" => force_media_buy_purge(acme, origin, params).await,
        "force_creative_status" => force_creative_status(acme, origin, params).await,
        "force_account_status" => force_account_status(acme, origin, params).await,
        "simulate_delivery" => simulate_delivery(acme, origin, params).await,
        "simulate_budget_spend" => simulate_budget_spend(acme, origin, params).await,
        _ => Err(AdcpError::correctable("UNKNOWN_SCENARIO", "Acme stages no such scenario.")),
    }
}

async fn seed_account(acme: &Acme, origin: &Origin, params: Value) -> Result<Value, AdcpError> {
    #[derive(Deserialize)]
    struct Params {
        account_id: String,
        #[serde(default)]
        fixture: Value,
    }
    let Params { account_id, fixture } = read(params)?;
    check_fixture(&fixture)?;
    if !accounts::seed(acme, origin, account_id, fixture).await? {
        return Err(something_else());
    }
    Ok(json!({"message": "It is there."}))
}

async fn seed_product(acme: &Acme, origin: &Origin, params: Value) -> Result<Value, AdcpError> {
    #[derive(Deserialize)]
    struct Params {
        product_id: String,
        #[serde(default)]
        fixture: Value,
    }
    let Params { product_id: id, fixture } = read(params)?;
    plant(acme, origin, Kind::Product, Seed { id, product_id: None, fixture }).await
}

// Of a product that is there.
async fn seed_pricing_option(acme: &Acme, origin: &Origin, params: Value) -> Result<Value, AdcpError> {
    #[derive(Deserialize)]
    struct Params {
        product_id: String,
        pricing_option_id: String,
        #[serde(default)]
        fixture: Value,
    }
    let Params { product_id, pricing_option_id: id, fixture } = read(params)?;
    let products = seeds::all(acme, &origin.principal, Kind::Product).await?;
    if products.iter().all(|product| product.id != product_id) {
        return Err(not_found("product", "product_id"));
    }
    plant(acme, origin, Kind::PricingOption, Seed { id, product_id: Some(product_id), fixture }).await
}

async fn seed_creative(acme: &Acme, origin: &Origin, params: Value) -> Result<Value, AdcpError> {
    #[derive(Deserialize)]
    struct Params {
        creative_id: String,
        #[serde(default)]
        fixture: Value,
    }
    let Params { creative_id: id, fixture } = read(params)?;
    plant(acme, origin, Kind::Creative, Seed { id, product_id: None, fixture }).await
}

async fn seed_creative_format(acme: &Acme, origin: &Origin, params: Value) -> Result<Value, AdcpError> {
    #[derive(Deserialize)]
    struct Params {
        format_id: String,
        #[serde(default)]
        fixture: Value,
    }
    let Params { format_id: id, fixture } = read(params)?;
    plant(acme, origin, Kind::CreativeFormat, Seed { id, product_id: None, fixture }).await
}

// One that is there stays as it is, and gets the wanted status.
async fn seed_media_buy(acme: &Acme, origin: &Origin, params: Value) -> Result<Value, AdcpError> {
    #[derive(Deserialize)]
    struct Params {
        media_buy_id: String,
        #[serde(default)]
        fixture: Value,
    }
    let Params { media_buy_id, fixture } = read(params)?;
    let status = fixture["status"].as_str().unwrap_or("active").to_owned();
    if lifecycle::STEPS.iter().all(|(known, _)| *known != status) {
        return Err(
            AdcpError::correctable("INVALID_PARAMS", "A media buy has no such status.").field("params.fixture.status")
        );
    }
    let packages = fixture.get("packages").cloned().map(serde_json::from_value).transpose();
    let media_buy = MediaBuy {
        account: origin.account.clone(),
        token: origin.token.clone(),
        media_buy_status: status.clone(),
        revision: 1,
        packages: packages.map_err(|error| unreadable(&error))?.unwrap_or_default(),
        // What is active was confirmed.
        result: json!({"confirmed_at": fixture.get("confirmed_at").cloned().unwrap_or_else(|| json!(Utc::now()))}),
        media_buy_id: media_buy_id.clone(),
    };
    let key = Key::of(&[&origin.account, &media_buy_id])?;
    if let Entered::Known(_) = acme.book.enter(Ledger::MediaBuys, key, media_buy).await? {
        become_of(acme, origin, &media_buy_id, |_| Ok(status.clone())).await?;
    }
    Ok(json!({"message": "It is there."}))
}

async fn force_media_buy_status(acme: &Acme, origin: &Origin, params: Value) -> Result<Value, AdcpError> {
    #[derive(Deserialize)]
    struct Params {
        media_buy_id: String,
        status: String,
    }
    let Params { media_buy_id, status } = read(params)?;
    let before = become_of(acme, origin, &media_buy_id, |before| {
        lifecycle::check(lifecycle::STEPS, before, &status).map(|()| status.clone())
    })
    .await?;
    Ok(json!({"previous_state": before, "current_state": status}))
}

// What was answered about it stays answered: that is the engine's to remember.
async fn force_media_buy_purge(acme: &Acme, origin: &Origin, params: Value) -> Result<Value, AdcpError> {
    #[derive(Deserialize)]
    struct Params {
        media_buy_id: String,
    }
    let Params { media_buy_id } = read(params)?;
    let before = media_buy::purge(acme, &origin.account, &media_buy_id).await?;
    let before = before.ok_or_else(|| not_found("media buy", "media_buy_id"))?;
    Ok(json!({"previous_state": before, "current_state": media_buy::PURGED}))
}

async fn force_creative_status(acme: &Acme, origin: &Origin, params: Value) -> Result<Value, AdcpError> {
    #[derive(Deserialize)]
    struct Params {
        creative_id: String,
        status: String,
    }
    let Params { creative_id, status } = read(params)?;
    let before = library::decide(acme, origin, &creative_id, &status).await?;
    Ok(json!({"previous_state": before, "current_state": status}))
}

async fn force_account_status(acme: &Acme, origin: &Origin, params: Value) -> Result<Value, AdcpError> {
    #[derive(Deserialize)]
    struct Params {
        account_id: String,
        status: String,
    }
    let Params { account_id, status } = read(params)?;
    let before = accounts::decide(acme, origin, &account_id, &status).await?;
    Ok(json!({"previous_state": before, "current_state": status}))
}

async fn simulate_delivery(acme: &Acme, origin: &Origin, params: Value) -> Result<Value, AdcpError> {
    #[derive(Deserialize)]
    struct Params {
        media_buy_id: String,
        #[serde(default)]
        impressions: u64,
        #[serde(default)]
        clicks: u64,
        #[serde(default)]
        reported_spend: Option<Money>,
    }
    #[derive(Deserialize)]
    struct Money {
        amount: f64,
    }
    let Params { media_buy_id, impressions, clicks, reported_spend } = read(params)?;
    found(acme, origin, &media_buy_id).await?;
    let more = Delivered { impressions, clicks, spend: reported_spend.map_or(0.0, |spend| spend.amount) };
    let cumulative = media_buy::deliver(acme, &origin.account, &media_buy_id, more).await?;
    Ok(json!({"simulated": more.to_wire(), "cumulative": cumulative.to_wire()}))
}

// Of a media buy: so much of its budget was spent.
async fn simulate_budget_spend(acme: &Acme, origin: &Origin, params: Value) -> Result<Value, AdcpError> {
    #[derive(Deserialize)]
    struct Params {
        #[serde(default)]
        media_buy_id: Option<String>,
        spend_percentage: f64,
    }
    let Params { media_buy_id, spend_percentage } = read(params)?;
    let Some(id) = media_buy_id else {
        return Err(AdcpError::correctable("INVALID_PARAMS", "Acme's accounts have no budget; its media buys have.")
            .field("params.media_buy_id"));
    };
    let media_buy = found(acme, origin, &id).await?;
    let budgets = media_buy.packages.iter().filter_map(|package| package.budget.as_ref());
    let budget: f64 = budgets.map(media_buy::amount).sum();
    let spent = media_buy::delivered(acme, &origin.account, &id).await?.spend;
    let spend = (budget * spend_percentage / 100.0 - spent).max(0.0);
    let cumulative =
        media_buy::deliver(acme, &origin.account, &id, Delivered { spend, ..Delivered::default() }).await?;
    Ok(json!({
        "simulated": {
            "spend_percentage": spend_percentage,
            "computed_spend": cumulative.spend,
            "budget": budget,
        },
        "cumulative": cumulative.to_wire(),
    }))
}

fn read<P: DeserializeOwned>(params: Value) -> Result<P, AdcpError> {
    serde_json::from_value(params).map_err(|error| unreadable(&error))
}

fn unreadable(error: &serde_json::Error) -> AdcpError {
    AdcpError::correctable("INVALID_PARAMS", format!("The parameters can't be read: {error}.")).field("params")
}

fn not_found(what: &str, field: &str) -> AdcpError {
    AdcpError::correctable("NOT_FOUND", format!("There is no such {what}.")).field(format!("params.{field}"))
}

async fn plant(acme: &Acme, origin: &Origin, kind: Kind, seed: Seed) -> Result<Value, AdcpError> {
    check_fixture(&seed.fixture)?;
    let planted = seeds::all(acme, &origin.principal, kind).await?;
    let same = |one: &&Seed| one.id == seed.id && one.product_id == seed.product_id;
    match planted.iter().find(same) {
        None => seeds::plant(acme, &origin.principal, kind, seed).await?,
        Some(one) if one.fixture == seed.fixture => {}
        Some(_) => return Err(something_else()),
    }
    Ok(json!({"message": "It is there."}))
}

fn check_fixture(fixture: &Value) -> Result<(), AdcpError> {
    if fixture.is_null() || fixture.is_object() {
        return Ok(());
    }
    Err(AdcpError::correctable("INVALID_PARAMS", "A fixture is an object.").field("params.fixture"))
}

fn something_else() -> AdcpError {
    AdcpError::correctable("INVALID_PARAMS", "Something else of this id is there.").field("params")
}

async fn found(acme: &Acme, origin: &Origin, media_buy_id: &str) -> Result<MediaBuy, AdcpError> {
    let found = media_buy::find(acme, &origin.account, media_buy_id).await?;
    found.map(|(media_buy, _)| media_buy).ok_or_else(|| not_found("media buy", "media_buy_id"))
}

// Gives a media buy the status that follows from the one it has, and returns that one.
async fn become_of(
    acme: &Acme,
    origin: &Origin,
    media_buy_id: &str,
    next: impl Fn(&str) -> Result<String, AdcpError>,
) -> Result<String, AdcpError> {
    loop {
        let media_buy = found(acme, origin, media_buy_id).await?;
        let before = media_buy.media_buy_status;
        let status = next(&before)?;
        if status == before {
            return Ok(before);
        }
        let change = Change {
            token: origin.token.clone(),
            media_buy_status: status,
            revision: media_buy.revision + 1,
            packages: media_buy.packages,
            result: Value::Null,
        };
        // Somebody else may have changed it meanwhile.
        if let Entered::New(_) = media_buy::enter_change(acme, &origin.account, media_buy_id, change).await? {
            return Ok(before);
        }
    }
}
