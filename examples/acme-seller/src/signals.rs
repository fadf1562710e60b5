//! Signals: who can be reached.

use crate::{Acme, Origin, Plan, discovery::relevance, plan, sandbox::Ext};
use handoff::prelude::*;
use serde::Deserialize;

const FEED_VERSION: &str = "acme-signals-2026-11-01";

struct Signal {
    id: &'static str,
    name: &'static str,
    description: &'static str,
    topics: &'static [&'static str],
}

static SIGNALS: &[Signal] = &[
    Signal {
        id: "acme_sports_fans",
        name: "Acme sports fans",
        description: "Read Acme's sports pages three times in the last week.",
        topics: &["sports", "running", "outdoor", "fans"],
    },
    Signal {
        id: "acme_car_shoppers",
        name: "Acme car shoppers",
        description: "Compared cars on Acme Auto in the last month.",
        topics: &["car", "cars", "auto", "vehicle"],
    },
];

/// A `get_signals` request, as far as Acme reads it.
#[derive(Clone, Debug, Default, Deserialize)]
#[expect(missing_docs, reason = "the protocol's names")]
pub struct GetSignals {
    #[serde(default)]
    pub discovery_mode: Option<String>,
    #[serde(default)]
    pub signal_spec: Option<String>,
    #[serde(default)]
    pub ext: Ext,
}

/// The handler of `get_signals`.
pub(crate) async fn decide(context: Context<Acme>, request: GetSignals) -> Result<Decision, AdcpError> {
    let ext = request.ext.clone();
    plan::decide(&context, &ext, async |_, origin| Ok(get_signals(origin, &request))).await
}

/// Plans an answer: all signals, or those that the brief asks for.
pub fn get_signals(origin: &Origin, request: &GetSignals) -> Plan {
    let wholesale = request.discovery_mode.as_deref() == Some("wholesale");
    let spec = request.signal_spec.as_deref().filter(|_| !wholesale);
    let found = SIGNALS.iter().filter(|signal| spec.is_none_or(|spec| relevance(spec, signal.topics) > 0));
    let signals: Vec<Value> = found.map(Signal::to_wire).collect();
    let mut result = origin.result(json!({
        "signals": signals,
        "cache_scope": if wholesale { "public" } else { "account" },
    }));
    if wholesale {
        result["wholesale_feed_version"] = json!(FEED_VERSION);
    }
    Plan::Complete(result)
}

impl Signal {
    fn to_wire(&self) -> Value {
        json!({
            "signal_ref": {"scope": "data_provider", "data_provider_domain": "acme.example", "signal_id": self.id},
            "signal_agent_segment_id": format!("acme:{}", self.id),
            "name": self.name,
            "description": self.description,
            "value_type": "binary",
            "signal_type": "owned",
            "deployments": [{"type": "agent", "agent_url": "https://ads.acme.example/mcp", "is_live": true}],
        })
    }
}
