//! Audiences: small uploads are matched at once, large ones in the back office.

use crate::{
    Acme, Chore, Origin, Plan,
    order_book::{Key, Ledger},
    plan,
    sandbox::Ext,
};
use chrono::{SecondsFormat, Utc};
use handoff::prelude::*;
use serde::{Deserialize, de::IgnoredAny};
use std::collections::BTreeMap;

/// A `sync_audiences` request, as far as Acme reads it.
#[derive(Debug, Deserialize)]
#[expect(missing_docs, reason = "the protocol's names")]
pub struct SyncAudiences {
    #[serde(default)]
    pub audiences: Vec<Audience>,
    #[serde(default)]
    pub ext: Ext,
}

/// An audience.
#[derive(Debug, Deserialize)]
pub struct Audience {
    pub audience_id: String,
    #[serde(default)]
    pub delete: bool,
    #[serde(default)]
    add: Vec<IgnoredAny>,
}

/// The handler of `sync_audiences`.
pub(crate) async fn decide(context: Context<Acme>, request: SyncAudiences) -> Result<Decision, AdcpError> {
    let ext = request.ext.clone();
    plan::decide(&context, &ext, async |acme, origin| sync_audiences(acme, origin, request).await).await
}

/// Plans what to do about audiences.
pub async fn sync_audiences(acme: &Acme, origin: &Origin, request: SyncAudiences) -> Result<Plan, AdcpError> {
    if request.audiences.is_empty() {
        return Ok(Plan::Complete(origin.result(json!({"audiences": known(acme, origin).await?}))));
    }
    let mut results = Vec::new();
    for audience in &request.audiences {
        let (id, members) = (&audience.audience_id, audience.add.len());
        let known = !acme.book.list::<Value>(Ledger::Audiences, &[&origin.account, id]).await?.is_empty();
        let mut result = if audience.delete {
            json!({"audience_id": id, "action": "deleted"})
        } else {
            json!({
                "audience_id": id,
                "action": if known { "updated" } else { "created" },
                "status": "ready",
                "uploaded_count": members,
                "matched_count": members * 7 / 10,
            })
        };
        result["last_synced_at"] = json!(Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true));
        let key = Key::of(&[&origin.account, id, &origin.token])?;
        results.push(acme.book.enter(Ledger::Audiences, key, result).await?.into_record());
    }
    let result = origin.result(json!({"audiences": results}));
    let members: usize = request.audiences.iter().map(|audience| audience.add.len()).sum();
    Ok(if members > acme.options.members_at_once {
        Plan::BackOffice(Chore::new(["Reading members", "Matching members", "Updating segments"], result))
    } else {
        Plan::Complete(result)
    })
}

// The account's audiences as their last uploads left them.
async fn known(acme: &Acme, origin: &Origin) -> Result<Vec<Value>, AdcpError> {
    let mut uploads: Vec<Value> = acme.book.list(Ledger::Audiences, &[&origin.account]).await?;
    uploads.sort_by_key(|upload| upload["last_synced_at"].as_str().unwrap_or_default().to_owned());
    let mut audiences = BTreeMap::new();
    for mut upload in uploads {
        let deleted = upload["action"] == "deleted";
        upload["action"] = json!("unchanged");
        let id = upload["audience_id"].as_str().unwrap_or_default().to_owned();
        if deleted {
            audiences.remove(&id);
        } else {
            audiences.insert(id, upload);
        }
    }
    Ok(audiences.into_values().collect())
}
