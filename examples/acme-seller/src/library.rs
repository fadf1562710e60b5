//! The creative library: `list_creatives`, and what becomes of creatives after they were taken.

use crate::{
    Acme, Origin,
    formats::{self, is_same},
    media_buy::lifecycle,
    order_book::Ledger,
    page::Page,
    seeds::{self, Kind},
};
use handoff::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A creative as a request filed it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Filed {
    pub(crate) creative_id: String,
    pub(crate) action: String,
    #[serde(default)]
    pub(crate) token: String,
    #[serde(default)]
    pub(crate) at: String,
    #[serde(default)]
    pub(crate) name: Option<String>,
    #[serde(default)]
    pub(crate) tags: Vec<String>,
    #[serde(default)]
    pub(crate) format_id: Option<Value>,
    #[serde(default)]
    pub(crate) format_kind: Option<String>,
}

/// From which status to which; the rest is refused.
const STEPS: &[(&str, &[&str])] = &[
    ("processing", &["pending_review", "rejected"]),
    ("pending_review", &["approved", "rejected"]),
    ("approved", &["pending_review", "suspended", "rejected", "archived"]),
    ("suspended", &["approved", "rejected"]),
    ("rejected", &["processing", "pending_review"]),
    ("archived", &["approved"]),
];

/// A `list_creatives` request, as far as Acme reads it.
#[derive(Clone, Debug, Default, Deserialize)]
#[expect(missing_docs, reason = "the protocol's names")]
pub struct ListCreatives {
    #[serde(default)]
    pub filters: Filters,
    #[serde(default)]
    pub account: Option<Value>,
    #[serde(default)]
    pub pagination: Page,
}

/// Which ones.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Filters {
    pub creative_ids: Option<Vec<String>>,
    pub statuses: Option<Vec<String>>,
    pub format_ids: Option<Vec<Value>>,
    pub format_kinds: Option<Vec<String>>,
    pub tags: Vec<String>,
    pub name_contains: Option<String>,
}

/// The tool's handler.
pub(crate) async fn list(context: Context<Acme>, request: ListCreatives) -> Result<Value, AdcpError> {
    list_creatives(context.state(), &Origin::of(&context), &request).await
}

/// The account's creatives, or those that are asked for. Archived ones are shown to those who ask for them.
pub async fn list_creatives(acme: &Acme, origin: &Origin, request: &ListCreatives) -> Result<Value, AdcpError> {
    let mut creatives: BTreeMap<String, Value> = seeded(acme, origin).await?;
    if creatives.is_empty() || !origin.sandbox || !seeds::is_of_a_test(request.account.as_ref()) {
        creatives.extend(filed(acme, &origin.account).await?);
    }
    for (id, creative) in &mut creatives {
        if let Some(status) = acme.book.latest::<String>(Ledger::CreativeStatuses, &[&origin.account, id]).await? {
            creative["status"] = json!(status);
        }
    }
    let found: Vec<Value> = creatives.into_values().filter(|creative| request.filters.admit(creative)).collect();
    let (page, mut pagination) =
        request.pagination.of(&found, |creative| creative["creative_id"].as_str().unwrap_or_default())?;
    pagination["total_count"] = json!(found.len());
    let mut answer = json!({
        "status": "completed",
        "query_summary": {"total_matching": found.len(), "returned": page.len()},
        "pagination": pagination,
        "creatives": page,
    });
    if origin.sandbox {
        answer["sandbox"] = json!(true);
    }
    Ok(answer)
}

/// The status of a creative that was taken.
pub(crate) async fn status(acme: &Acme, origin: &Origin, creative_id: &str) -> Result<String, AdcpError> {
    let decided = acme.book.latest(Ledger::CreativeStatuses, &[&origin.account, creative_id]).await?;
    Ok(decided.unwrap_or_else(|| "approved".to_owned()))
}

/// Decides about a creative, and returns what it was before.
pub(crate) async fn decide(acme: &Acme, origin: &Origin, creative_id: &str, to: &str) -> Result<String, AdcpError> {
    let filed: Vec<Filed> = acme.book.list(Ledger::Creatives, &[&origin.account, creative_id]).await?;
    let seeded = seeded(acme, origin).await?.remove(creative_id);
    let told = seeded.as_ref().and_then(|creative| creative["status"].as_str());
    if filed.is_empty() && seeded.is_none() {
        return Err(AdcpError::correctable("NOT_FOUND", "There is no such creative.").field("params.creative_id"));
    }
    let decided: Option<String> = acme.book.latest(Ledger::CreativeStatuses, &[&origin.account, creative_id]).await?;
    let before = decided.unwrap_or_else(|| told.unwrap_or("approved").to_owned());
    lifecycle::check(STEPS, &before, to)?;
    if before != to {
        acme.book.append(Ledger::CreativeStatuses, &[&origin.account, creative_id], to.to_owned()).await?;
    }
    Ok(before)
}

async fn filed(acme: &Acme, account: &str) -> Result<BTreeMap<String, Value>, AdcpError> {
    let mut filed: Vec<Filed> = acme.book.list(Ledger::Creatives, &[account]).await?;
    filed.sort_by(|one, other| one.at.cmp(&other.at));
    let mut creatives = BTreeMap::new();
    for one in filed {
        let before: Option<&Value> = creatives.get(&one.creative_id);
        let created = before.map_or_else(|| json!(one.at), |before| before["created_date"].clone());
        let mut wire = json!({
            "creative_id": one.creative_id,
            "name": one.name.as_ref().unwrap_or(&one.creative_id),
            "status": "approved",
            "created_date": created,
            "updated_date": one.at,
        });
        if !one.tags.is_empty() {
            wire["tags"] = json!(one.tags);
        }
        match (&one.format_id, &one.format_kind) {
            (Some(format), None) => wire["format_id"] = format.clone(),
            (_, kind) => wire["format_kind"] = json!(kind.as_deref().unwrap_or("image")),
        }
        creatives.insert(one.creative_id, wire);
    }
    Ok(creatives)
}

async fn seeded(acme: &Acme, origin: &Origin) -> Result<BTreeMap<String, Value>, AdcpError> {
    let Some(agent) = seeds::agent(origin) else { return Ok(BTreeMap::new()) };
    let seeds = seeds::all(acme, agent, Kind::Creative).await?;
    Ok(seeds
        .into_iter()
        .map(|seed| {
            let text = |name: &str, otherwise: &str| seed.fixture[name].as_str().unwrap_or(otherwise).to_owned();
            let format = seed.fixture["format_id"]["id"].as_str().unwrap_or("display_300x250");
            let wire = json!({
                "creative_id": seed.id,
                "name": text("name", &seed.id),
                "status": text("status", "approved"),
                "created_date": text("created_date", SEEDED_AT),
                "updated_date": text("updated_date", SEEDED_AT),
                "format_id": formats::reference(format),
            });
            (seed.id, wire)
        })
        .collect())
}

// When a test's creatives were made, unless it says so: any time, always the same.
const SEEDED_AT: &str = "2026-01-01T00:00:00Z";

impl Filters {
    fn admit(&self, creative: &Value) -> bool {
        let text = |field: &str| creative[field].as_str().unwrap_or_default();
        let named = |names: &Option<Vec<String>>, field: &str| {
            names.as_ref().is_none_or(|names| names.iter().any(|name| name == text(field)))
        };
        let archived = self.statuses.is_some() || self.creative_ids.is_some() || text("status") != "archived";
        let formats = |wanted: &Vec<Value>| wanted.iter().any(|format| is_same(format, &creative["format_id"]));
        let tagged = |tag: &String| creative["tags"].as_array().is_some_and(|tags| tags.contains(&json!(tag)));
        archived
            && named(&self.creative_ids, "creative_id")
            && named(&self.statuses, "status")
            && named(&self.format_kinds, "format_kind")
            && self.format_ids.as_ref().is_none_or(formats)
            && self.tags.iter().all(tagged)
            && self.name_contains.as_ref().is_none_or(|part| text("name").to_lowercase().contains(&part.to_lowercase()))
    }
}
