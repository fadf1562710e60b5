//! Creatives: a few are taken at once, many or sensitive ones are reviewed in one batch.

use crate::{
    Acme, Desk, Origin, Plan, Ticket, library,
    library::Filed,
    media_buy,
    order_book::{Key, Ledger},
    plan,
    sandbox::Ext,
};
use chrono::{SecondsFormat, Utc};
use handoff::prelude::*;
use serde::Deserialize;

// Ad policy looks at these whatever their number.
const SENSITIVE: &[&str] = &["alcohol", "gambling", "political"];

/// A `sync_creatives` request, as far as Acme reads it.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the protocol's names")]
pub struct SyncCreatives {
    #[serde(default)]
    pub creatives: Vec<Creative>,
    #[serde(default)]
    pub assignments: Vec<Assignment>,
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
    #[serde(default)]
    pub format_id: Option<Value>,
    #[serde(default)]
    pub format_kind: Option<String>,
}

/// A creative that a package is given.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Assignment {
    pub creative_id: String,
    pub package_id: String,
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
            actions.push(approved(&creative.creative_id, action(acme, origin, &creative.creative_id).await?));
        }
        let subject = format!("{} creatives, from {:?} on", creatives.len(), creatives[0].name);
        let result = origin.result(json!({"creatives": actions}));
        return Ok(Plan::Review(Ticket::new(Desk::Creatives, subject, result)));
    }
    let mut results = Vec::new();
    for creative in creatives {
        let action = action(acme, origin, &creative.creative_id).await?;
        let filed = file(acme, origin, Some(creative), &creative.creative_id, action).await?;
        let status = library::status(acme, origin, &filed.creative_id).await?;
        results.push(json!({"creative_id": filed.creative_id, "action": filed.action, "status": status}));
    }
    let assigned = media_buy::assign(acme, origin, &request.assignments).await?;
    for assignment in &request.assignments {
        let (creative_id, package_id) = (&assignment.creative_id, &assignment.package_id);
        let at = results.iter().position(|result| result["creative_id"] == creative_id.as_str());
        // An assignment may be all that is asked for.
        let at = at.unwrap_or_else(|| {
            results.push(json!({"creative_id": creative_id, "action": "unchanged"}));
            results.len() - 1
        });
        let result = &mut results[at];
        if !assigned.contains(&assignment) {
            result["assignment_errors"][package_id] = json!("There is no such package that still runs.");
        } else if let Some(packages) = result.get_mut("assigned_to").and_then(Value::as_array_mut) {
            packages.push(json!(package_id));
        } else {
            result["assigned_to"] = json!([package_id]);
        }
    }
    Ok(Plan::Complete(origin.result(json!({"creatives": results}))))
}

/// Takes what a reviewer approved into the library.
pub(crate) async fn take(acme: &Acme, origin: &Origin, result: &Value) -> Result<(), AdcpError> {
    for creative in result["creatives"].as_array().into_iter().flatten() {
        if let (Some(id), Some(action), Some("approved")) =
            (creative["creative_id"].as_str(), creative["action"].as_str(), creative["status"].as_str())
        {
            file(acme, origin, None, id, action).await?;
        }
    }
    Ok(())
}

async fn action(acme: &Acme, origin: &Origin, creative_id: &str) -> Result<&'static str, AdcpError> {
    let known: Vec<Filed> = acme.book.list(Ledger::Creatives, &[&origin.account, creative_id]).await?;
    // What this request filed on an attempt before is not known from before it.
    Ok(if known.iter().all(|filed| filed.token == origin.token) { "created" } else { "updated" })
}

// What was filed for this request at first stands, so that a creative is created on every attempt that creates it.
async fn file(
    acme: &Acme,
    origin: &Origin,
    creative: Option<&Creative>,
    creative_id: &str,
    action: &str,
) -> Result<Filed, AdcpError> {
    let filed = Filed {
        creative_id: creative_id.to_owned(),
        action: action.to_owned(),
        token: origin.token.clone(),
        at: Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true),
        name: creative.map(|creative| creative.name.clone()),
        tags: creative.map(|creative| creative.tags.clone()).unwrap_or_default(),
        format_id: creative.and_then(|creative| creative.format_id.clone()),
        format_kind: creative.and_then(|creative| creative.format_kind.clone()),
    };
    let key = Key::of(&[&origin.account, creative_id, &origin.token])?;
    Ok(acme.book.enter(Ledger::Creatives, key, filed).await?.into_record())
}

fn approved(creative_id: &str, action: &str) -> Value {
    json!({"creative_id": creative_id, "action": action, "status": "approved"})
}
