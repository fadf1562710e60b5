//! Creatives that `sync_creatives` gives to packages.

use super::{Change, MediaBuy, enter_change, find, lifecycle, update::with_creatives};
use crate::{
    Acme, Origin,
    creatives::Assignment,
    order_book::{Entered, Ledger},
};
use handoff::prelude::*;

/// Gives creatives to the packages of the account's media buys, once for each request. Packages that are not there, or whose media
/// buy has ended, get none; returned is who got one.
pub(crate) async fn assign<'a>(
    acme: &Acme,
    origin: &Origin,
    assignments: &'a [Assignment],
) -> Result<Vec<&'a Assignment>, AdcpError> {
    if assignments.is_empty() {
        return Ok(Vec::new());
    }
    let mut done = Vec::new();
    let media_buys: Vec<MediaBuy> = acme.book.list(Ledger::MediaBuys, &[&origin.account]).await?;
    for media_buy in media_buys {
        let mine = |one: &&Assignment| media_buy.packages.iter().any(|package| package.package_id == one.package_id);
        let wanted: Vec<&Assignment> = assignments.iter().filter(mine).collect();
        if !wanted.is_empty() && give(acme, origin, &media_buy.media_buy_id, &wanted).await? {
            done.extend(wanted);
        }
    }
    Ok(done)
}

async fn give(acme: &Acme, origin: &Origin, id: &str, wanted: &[&Assignment]) -> Result<bool, AdcpError> {
    loop {
        let Some((media_buy, changes)) = find(acme, &origin.account, id).await? else { return Ok(false) };
        if changes.iter().any(|change| change.token == origin.token) {
            return Ok(true);
        }
        if lifecycle::is_final(&media_buy.media_buy_status) {
            return Ok(false);
        }
        let mut packages = media_buy.packages;
        for package in &mut packages {
            for one in wanted.iter().filter(|one| one.package_id == package.package_id) {
                let has = |assigned: &Value| assigned["creative_id"] == one.creative_id.as_str();
                if !package.creative_assignments.iter().any(has) {
                    package.creative_assignments.push(json!({"creative_id": one.creative_id}));
                }
            }
        }
        let change = Change {
            token: origin.token.clone(),
            media_buy_status: with_creatives(&media_buy.media_buy_status, &packages).to_owned(),
            revision: media_buy.revision + 1,
            packages,
            result: Value::Null,
        };
        if let Entered::New(_) = enter_change(acme, &origin.account, id, change).await? {
            return Ok(true);
        }
    }
}
