//! The studio: builds and previews creatives.

use crate::{Acme, Chore, Origin, Plan, plan, sandbox::Ext};
use chrono::{SecondsFormat, TimeDelta, Utc};
use handoff::prelude::*;
use serde::Deserialize;

// The one thing that the studio builds.
const CAPABILITY: &str = "acme_image_300x250";
// How long a preview can be looked at.
const SHOWN: TimeDelta = TimeDelta::days(1);

/// A `build_creative` request, as far as Acme reads it.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the protocol's names")]
pub struct BuildCreative {
    #[serde(default)]
    pub message: Option<String>,
    #[serde(default)]
    pub target_capability_id: Option<String>,
    #[serde(default)]
    pub creative_id: Option<String>,
    #[serde(default)]
    pub target_format_id: Option<Value>,
    #[serde(default)]
    pub ext: Ext,
}

/// A `preview_creative` request, as far as Acme reads it.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the protocol's names")]
pub struct PreviewCreative {
    pub request_type: String,
    #[serde(default)]
    pub creative_id: Option<String>,
    #[serde(default)]
    pub allow_async: bool,
    #[serde(default)]
    pub ext: Ext,
}

/// The handler of `build_creative`.
pub(crate) async fn decide_to_build(context: Context<Acme>, request: BuildCreative) -> Result<Decision, AdcpError> {
    let ext = request.ext.clone();
    plan::decide(&context, &ext, async |_, origin| build_creative(origin, &request)).await
}

/// The handler of `preview_creative`.
pub(crate) async fn decide_to_preview(context: Context<Acme>, request: PreviewCreative) -> Result<Decision, AdcpError> {
    let ext = request.ext.clone();
    plan::decide(&context, &ext, async |_, origin| preview_creative(origin, &request)).await
}

/// Plans a creative: rendering takes the studio a while. A tag for one that is in the library is made at once.
pub fn build_creative(origin: &Origin, request: &BuildCreative) -> Result<Plan, AdcpError> {
    if let (Some(creative_id), Some(format)) = (&request.creative_id, &request.target_format_id) {
        let url = format!("https://studio.acme.example/tags/{}", origin.id("tag"));
        return Ok(Plan::Complete(origin.result(json!({
            "creative_manifest": {
                "format_id": format,
                "assets": {"tag": {"asset_type": "url", "url": url, "description": format!("Shows {creative_id}.")}},
            },
        }))));
    }
    if request.target_capability_id.as_deref() != Some(CAPABILITY) {
        return Err(AdcpError::correctable("UNSUPPORTED_FEATURE", "The studio does not build this.")
            .field("target_capability_id")
            .suggestion(format!("Ask for {CAPABILITY:?}.")));
    }
    let result = origin.result(json!({
        "creative_manifest": {
            "format_kind": "image",
            "assets": {
                "image": {
                    "asset_type": "image",
                    "url": format!("https://studio.acme.example/{}.png", origin.id("img")),
                    "width": 300,
                    "height": 250,
                    "alt_text": request.message.as_deref().unwrap_or("Built by Acme's studio"),
                },
            },
        },
        "build_variant_id": origin.id("bv"),
    }));
    Ok(Plan::BackOffice(Chore::new(["Laying out", "Rendering", "Checking quality"], result)))
}

/// Plans a preview: at once, unless the buyer can wait.
pub fn preview_creative(origin: &Origin, request: &PreviewCreative) -> Result<Plan, AdcpError> {
    if request.request_type != "single" {
        return Err(AdcpError::correctable("UNSUPPORTED_FEATURE", "The studio previews one creative at a time.")
            .field("request_type")
            .suggestion("Ask for a \"single\" preview of each."));
    }
    let preview_id = origin.id("preview");
    let name = request.creative_id.as_deref().unwrap_or("default");
    let result = origin.result(json!({
        "response_type": "single",
        "expires_at": (Utc::now() + SHOWN).to_rfc3339_opts(SecondsFormat::Secs, true),
        "previews": [{
            "preview_id": preview_id,
            "input": {"name": name},
            "renders": [{
                "render_id": format!("{preview_id}_1"),
                "output_format": "url",
                "preview_url": format!("https://studio.acme.example/{preview_id}"),
                "role": "primary",
                "dimensions": {"width": 300, "height": 250},
            }],
        }],
    }));
    Ok(if request.allow_async { Plan::BackOffice(Chore::new(["Rendering"], result)) } else { Plan::Complete(result) })
}
