//! Media buys as the order book has them: one record when made, and one for each change.

use crate::{
    Acme, Origin,
    order_book::{Entered, Key, Ledger},
};
use handoff::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Number;

/// A package of a media buy, as the protocol has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the protocol's names")]
pub struct Package {
    pub package_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pricing_option_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Number>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bid_price: Option<Number>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targeting_overlay: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measurement_terms: Option<Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub creative_assignments: Vec<Value>,
    #[serde(default)]
    pub paused: bool,
    #[serde(default)]
    pub canceled: bool,
}

/// Whether there is something to show.
pub(super) fn has_creatives(package: &Package) -> bool {
    !package.creative_assignments.is_empty()
}

/// A media buy as it was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MediaBuy {
    /// Its id.
    pub media_buy_id: String,
    /// Whose it is.
    pub account: String,
    /// The request that made it.
    pub token: String,
    /// `pending_creatives`, `active`, …
    pub media_buy_status: String,
    /// 1, and one more with each change.
    pub revision: u32,
    /// Its packages.
    pub packages: Vec<Package>,
    /// What the buyer was answered.
    pub result: Value,
}

/// A change of a media buy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The request that made it.
    pub token: String,
    /// What the media buy became.
    pub media_buy_status: String,
    /// The revision that it made.
    pub revision: u32,
    /// All packages, after it.
    pub packages: Vec<Package>,
    /// What the buyer was answered.
    pub result: Value,
}

/// What is said of a media buy that is gone.
pub(crate) const PURGED: &str = "purged";

/// Enters a media buy from the result that tells it to the buyer. The result of the first time stands.
pub async fn enter(acme: &Acme, account: &str, token: &str, result: Value) -> Result<Entered<MediaBuy>, AdcpError> {
    #[derive(Deserialize)]
    struct Told {
        media_buy_id: String,
        #[serde(default)]
        media_buy_status: Option<String>,
        #[serde(default)]
        packages: Vec<Package>,
    }
    let told: Told = serde_json::from_value(result.clone()).map_err(|error| unreadable(&error))?;
    let media_buy = MediaBuy {
        account: account.to_owned(),
        token: token.to_owned(),
        media_buy_status: told.media_buy_status.unwrap_or_else(|| "pending_creatives".to_owned()),
        revision: result["revision"].as_u64().and_then(|revision| revision.try_into().ok()).unwrap_or(1),
        packages: told.packages,
        media_buy_id: told.media_buy_id,
        result,
    };
    acme.book.enter(Ledger::MediaBuys, Key::of(&[account, &media_buy.media_buy_id])?, media_buy).await
}

/// The media buy as it is now, and its changes. One of another account's does not exist.
pub async fn find(acme: &Acme, account: &str, id: &str) -> Result<Option<(MediaBuy, Vec<Change>)>, AdcpError> {
    let Some(mut media_buy) = made(acme, account, id).await? else { return Ok(None) };
    if is_undone(acme, &media_buy).await? {
        return Ok(None);
    }
    let changes: Vec<Change> = acme.book.list(Ledger::Changes, &[account, id]).await?;
    if let Some(last) = changes.last().cloned() {
        media_buy.media_buy_status = last.media_buy_status;
        media_buy.revision = last.revision;
        media_buy.packages = last.packages;
    }
    Ok(Some((media_buy, changes)))
}

/// Enters a change, unless another one took its revision first.
pub async fn enter_change(acme: &Acme, account: &str, id: &str, change: Change) -> Result<Entered<Change>, AdcpError> {
    let key = Key::of(&[account, id, &format!("{:06}", change.revision)])?;
    acme.book.enter(Ledger::Changes, key, change).await
}

/// Takes back a media buy of a request whose decision does not stand.
pub async fn undo(acme: &Acme, origin: &Origin) -> Result<(), AdcpError> {
    acme.book.enter(Ledger::Undone, Key::of(&[&origin.token])?, json!({"account": origin.account})).await?;
    Ok(())
}

/// Deletes a media buy from the books, and returns the status that it had; `purged` if it is gone already. `None`: there never was
/// one. Its id is not given again.
pub(crate) async fn purge(acme: &Acme, account: &str, id: &str) -> Result<Option<String>, AdcpError> {
    if let Some((media_buy, _)) = find(acme, account, id).await? {
        let key = Key::of(&[&media_buy.token])?;
        acme.book.enter(Ledger::Undone, key, json!({"account": account, "purged": id})).await?;
        return Ok(Some(media_buy.media_buy_status));
    }
    Ok(made(acme, account, id).await?.map(|_| PURGED.to_owned()))
}

async fn made(acme: &Acme, account: &str, id: &str) -> Result<Option<MediaBuy>, AdcpError> {
    let Ok(key) = Key::of(&[account, id]) else { return Ok(None) };
    acme.book.find(Ledger::MediaBuys, key).await
}

async fn is_undone(acme: &Acme, media_buy: &MediaBuy) -> Result<bool, AdcpError> {
    Ok(acme.book.find::<Value>(Ledger::Undone, Key::of(&[&media_buy.token])?).await?.is_some())
}

pub(crate) fn unreadable(error: &serde_json::Error) -> AdcpError {
    AdcpError::correctable("VALIDATION_ERROR", format!("The result can't be read: {error}."))
}
