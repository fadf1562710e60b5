//! Creatives: a few are taken at once, many or sensitive ones are reviewed in one batch.

use crate::{
    Acme, Desk, Origin, Plan, Ticket,
    order_book::{Key, Ledger},
    plan,
    sandbox::Ext,
};
use handoff::prelude::*;
use serde::{Deserialize, Serialize};

// Ad policy looks at these whatever their number.
const SENSITIVE: &[&str] = &["alcohol", "gambling", "political"];

/// A `sync_creatives` request, as far as Acme reads it.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the protocol's names")]
pub struct SyncCreatives {
    #[serde(default)]
    pub creatives: Vec<Creative>,
    #[serde(default)]
    pub dry_run: bool,
    #[serde(default)]
    pub ext: Ext,
}

/// A creative.
#[derive(Clone, Debug, Deserialize)]
pub struct Creative {
    pub creative_id: String,
    pub name: String,
    #[serde(default)]
    pub tags: Vec<String>,
}

/// A creative in Acme's library.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Filed {
    creative_id: String,
    action: String,
}

/// The handler of `sync_creatives`.
pub(crate) async fn decide(context: Context<Acme>, request: SyncCreatives) -> Result<Decision, AdcpError> {
    let ext = request.ext.clone();
    plan::decide(&context, &ext, async |acme, origin| sync_creatives(acme, origin, request).await).await
}

/// Plans what to do about creatives.
pub async fn sync_creatives(acme: &Acme, origin: &Origin, request: SyncCreatives) -> Result<Plan, AdcpError> {
    let creatives = &request.creatives;
    let sensitive = |creative: &Creative| creative.tags.iter().any(|tag| SENSITIVE.contains(&tag.as_str()));
    if request.dry_run {
        let results: Vec<Value> = creatives.iter().map(|creative| approved(&creative.creative_id, "created")).collect();
        return Ok(Plan::Complete(origin.result(json!({"dry_run": true, "creatives": results}))));
    }
    if creatives.len() > acme.options.creatives_at_once || creatives.iter().any(sensitive) {
        let mut actions = Vec::new();
        for creative in creatives {
            actions.push(approved(&creative.creative_id, action(acme, origin, creative).await?));
        }
        let subject = format!("{} creatives, from {:?} on", creatives.len(), creatives[0].name);
        let result = origin.result(json!({"creatives": actions}));
        return Ok(Plan::Review(Ticket::new(Desk::Creatives, subject, result)));
    }
    let mut results = Vec::new();
    for creative in creatives {
        let action = action(acme, origin, creative).await?;
        let filed = file(acme, origin, &creative.creative_id, action).await?;
        results.push(approved(&filed.creative_id, &filed.action));
    }
    Ok(Plan::Complete(origin.result(json!({"creatives": results}))))
}

/// Takes what a reviewer approved into the library.
pub(crate) async fn take(acme: &Acme, origin: &Origin, result: &Value) -> Result<(), AdcpError> {
    for creative in result["creatives"].as_array().into_iter().flatten() {
        if let (Some(id), Some(action), Some("approved")) =
            (creative["creative_id"].as_str(), creative["action"].as_str(), creative["status"].as_str())
        {
            file(acme, origin, id, action).await?;
        }
    }
    Ok(())
}

async fn action(acme: &Acme, origin: &Origin, creative: &Creative) -> Result<&'static str, AdcpError> {
    let known: Vec<Filed> = acme.book.list(Ledger::Creatives, &[&origin.account, &creative.creative_id]).await?;
    Ok(if known.is_empty() { "created" } else { "updated" })
}

// What was filed for this request at first stands, so that a creative is created on every attempt that creates it.
async fn file(acme: &Acme, origin: &Origin, creative_id: &str, action: &str) -> Result<Filed, AdcpError> {
    let filed = Filed { creative_id: creative_id.to_owned(), action: action.to_owned() };
    let key = Key::of(&[&origin.account, creative_id, &origin.token])?;
    Ok(acme.book.enter(Ledger::Creatives, key, filed).await?.into_record())
}

fn approved(creative_id: &str, action: &str) -> Value {
    json!({"creative_id": creative_id, "action": action, "status": "approved"})
}
