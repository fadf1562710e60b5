//! Audiences: small uploads are matched at once, large ones in the back office.

use crate::{
    Acme, Chore, Origin, Plan,
    order_book::{Key, Ledger},
    plan,
    sandbox::Ext,
};
use handoff::prelude::*;
use serde::{Deserialize, de::IgnoredAny};

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
    let mut results = Vec::new();
    for audience in &request.audiences {
        let (id, members) = (&audience.audience_id, audience.add.len());
        let known = !acme.book.list::<Value>(Ledger::Audiences, &[&origin.account, id]).await?.is_empty();
        let result = if audience.delete {
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
