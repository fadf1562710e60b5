//! `get_adcp_capabilities`: what was registered, over what the seller says about itself.

use super::{Catalog, Kind};
use crate::{compliance, door::Door, version};
use handoff_activities::seller::Handlers;
use handoff_client::Config;
use handoff_proto::{tools, verbs, wire::SYNC_GOVERNANCE};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

// The protocol's range.
const SHORTEST_REPLAY: u64 = 3_600;
const LONGEST_REPLAY: u64 = 604_800;

/// The answer.
pub(crate) fn capabilities(door: &Door) -> Value {
    door.capabilities.clone()
}

/// Makes it, once.
pub(crate) fn compose(handlers: &Handlers, catalog: &Catalog, config: &Config) -> Value {
    let protocols: BTreeSet<String> = catalog
        .names()
        .filter_map(|tool| verbs::find(tool).map(|verb| verb.protocol).or(tools::find(tool).map(|tool| tool.protocol)))
        .map(|protocol| protocol.replace('-', "_"))
        .filter(|protocol| PROTOCOLS.contains(&protocol.as_str()))
        .collect();
    let declared = handlers.capabilities();
    let replay_ttl = config.idempotency_ttl.as_secs().clamp(SHORTEST_REPLAY, LONGEST_REPLAY);
    let mut body = declared.as_object().cloned().unwrap_or_default();
    body.insert("status".into(), "completed".into());
    let mut adcp = object(body.get("adcp"));
    adcp.insert("major_versions".into(), json!(version::MAJORS));
    adcp.insert("supported_versions".into(), json!(version::supported()));
    adcp.insert("idempotency".into(), json!({"supported": true, "replay_ttl_seconds": replay_ttl}));
    body.insert("adcp".into(), Value::Object(adcp));
    body.insert("supported_protocols".into(), json!(protocols));
    govern(&mut body, catalog.kind(SYNC_GOVERNANCE) == Some(Kind::Governance));
    body.shift_remove("compliance_testing");
    if config.compliance_testing {
        body.insert("compliance_testing".into(), json!({"scenarios": compliance::scenarios(handlers)}));
    }
    Value::Object(body)
}

// Nobody promises to ask governance agents that nobody can name. Who asks them says so, because the protocol may still change.
fn govern(body: &mut Map<String, Value>, governed: bool) {
    let mut features: Vec<Value> = body.get(EXPERIMENTAL).and_then(Value::as_array).cloned().unwrap_or_default();
    features.retain(|feature| feature != CAMPAIGN_GOVERNANCE);
    if governed {
        features.push(CAMPAIGN_GOVERNANCE.into());
    } else if let Some(media_buy) = body.get_mut("media_buy").and_then(Value::as_object_mut) {
        media_buy.shift_remove("governance_aware");
    }
    if features.is_empty() {
        body.shift_remove(EXPERIMENTAL);
    } else {
        body.insert(EXPERIMENTAL.into(), features.into());
    }
}

const EXPERIMENTAL: &str = "experimental_features";
const CAMPAIGN_GOVERNANCE: &str = "governance.campaign";

const PROTOCOLS: [&str; 7] =
    ["brand", "creative", "governance", "measurement", "media_buy", "signals", "sponsored_intelligence"];

fn object(value: Option<&Value>) -> Map<String, Value> {
    value.and_then(Value::as_object).cloned().unwrap_or_default()
}
