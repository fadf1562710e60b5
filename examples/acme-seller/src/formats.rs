//! What a creative must look like. A product says it inline; `list_creative_formats` says it by name, for buyers of AdCP 3.0.

use crate::{
    Acme,
    catalog::{AGENT_URL, PRODUCTS},
    page::Page,
    seeds::{self, Kind},
};
use handoff::prelude::*;
use serde::Deserialize;

/// What a creative must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Image { width: u32, height: u32 },
    Video { max_seconds: u32 },
    Audio { max_seconds: u32 },
}

impl Format {
    /// Its name.
    fn id(self) -> String {
        match self {
            Self::Image { width, height } => format!("display_{width}x{height}"),
            Self::Video { max_seconds } => format!("video_{max_seconds}s"),
            Self::Audio { max_seconds } => format!("audio_{max_seconds}s"),
        }
    }

    /// What it is called by products and creatives.
    pub(crate) fn reference(self) -> Value {
        reference(&self.id())
    }

    /// The same, inline.
    pub(crate) fn option(self, product: &str) -> Value {
        let (kind, params) = match self {
            Self::Image { width, height } => ("image", json!({"width": width, "height": height})),
            Self::Video { max_seconds } => ("video_hosted", json!({"max_duration_ms": max_seconds * 1000})),
            Self::Audio { max_seconds } => ("audio_hosted", json!({"max_duration_ms": max_seconds * 1000})),
        };
        json!({"format_option_id": format!("{product}_{kind}"), "format_kind": kind, "params": params})
    }

    fn to_wire(self) -> Value {
        let mut wire = named(&self.id(), &self.name());
        if let Self::Image { width, height } = self {
            wire["renders"] =
                json!([{"role": "primary", "dimensions": {"width": width, "height": height, "unit": "px"}}]);
        }
        wire
    }

    fn name(self) -> String {
        match self {
            Self::Image { width, height } => format!("Image, {width} by {height}"),
            Self::Video { max_seconds } => format!("Video, up to {max_seconds} seconds"),
            Self::Audio { max_seconds } => format!("Audio, up to {max_seconds} seconds"),
        }
    }
}

/// A reference to one of Acme's formats.
pub(crate) fn reference(id: &str) -> Value {
    json!({"agent_url": AGENT_URL, "id": id})
}

fn named(id: &str, name: &str) -> Value {
    json!({"format_id": reference(id), "name": name})
}

/// A `list_creative_formats` request, as far as Acme reads it.
#[derive(Clone, Debug, Default, Deserialize)]
#[expect(missing_docs, reason = "the protocol's names")]
pub struct ListCreativeFormats {
    #[serde(default)]
    pub format_ids: Option<Vec<Value>>,
    #[serde(default)]
    pub name_search: Option<String>,
    #[serde(default)]
    pub account: Option<Value>,
    #[serde(default)]
    pub pagination: Page,
}

/// The tool's handler.
pub(crate) async fn list(context: Context<Acme>, request: ListCreativeFormats) -> Result<Value, AdcpError> {
    let agent = context.sandbox.then_some(context.principal.as_str());
    list_creative_formats(context.state(), agent, &request).await
}

/// All formats, or those that are asked for; of this agent's sandbox too, if it is one.
pub async fn list_creative_formats(
    acme: &Acme,
    sandbox_of: Option<&str>,
    request: &ListCreativeFormats,
) -> Result<Value, AdcpError> {
    let mut seeded = Vec::new();
    let mut formats: Vec<Value> = Vec::new();
    if let Some(agent) = sandbox_of {
        let all = seeds::all(acme, agent, Kind::CreativeFormat).await?;
        seeded = all.iter().map(|seed| named(&seed.id, seed.fixture["name"].as_str().unwrap_or(&seed.id))).collect();
        formats.extend(seeds::products(acme, agent).await?.iter().flat_map(|product| product.formats()));
    }
    if seeded.is_empty() || !seeds::is_of_a_test(request.account.as_ref()) {
        formats.extend(PRODUCTS.iter().map(|product| product.format.to_wire()));
        formats.extend(seeded);
    } else {
        formats = seeded;
    }
    let wanted = |format: &Value| {
        request.format_ids.as_ref().is_none_or(|ids| ids.iter().any(|id| is_same(id, &format["format_id"])))
            && request.name_search.as_deref().is_none_or(|part| {
                format["name"].as_str().is_some_and(|name| name.to_lowercase().contains(&part.to_lowercase()))
            })
    };
    formats.retain(wanted);
    formats.sort_by_key(|format| id_of(format).to_owned());
    formats.dedup_by(|one, other| id_of(one) == id_of(other));
    let (page, pagination) = request.pagination.of(&formats, id_of)?;
    Ok(json!({"status": "completed", "formats": page, "pagination": pagination}))
}

/// Whether both name the same format.
pub(crate) fn is_same(one: &Value, other: &Value) -> bool {
    one["agent_url"] == other["agent_url"] && one["id"] == other["id"]
}

fn id_of(format: &Value) -> &str {
    format["format_id"]["id"].as_str().unwrap_or_default()
}
