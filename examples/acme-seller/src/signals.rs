//! Signals: who can be reached, and where they are switched on.

use crate::{
    Acme, Origin, Plan,
    catalog::{AGENT_URL, CURRENCY},
    discovery::relevance,
    order_book::{Key, Ledger},
    page::Page,
    plan,
    sandbox::Ext,
};
use chrono::{SecondsFormat, Utc};
use handoff::prelude::*;
use serde::Deserialize;

const FEED_VERSION: &str = "acme-signals-2026-11-30";

struct Signal {
    id: &'static str,
    name: &'static str,
    description: &'static str,
    topics: &'static [&'static str],
    coverage: f64,
    pricing_option: &'static str,
    cpm: f64,
}

static SIGNALS: &[Signal] = &[
    Signal {
        id: "acme_sports_fans",
        name: "Acme sports fans",
        description: "Read Acme's sports pages three times in the last week.",
        topics: &["sports", "running", "outdoor", "fans", "audience"],
        coverage: 18.0,
        pricing_option: "cpm_usd_sports_fans",
        cpm: 1.5,
    },
    Signal {
        id: "acme_car_shoppers",
        name: "Acme car shoppers",
        description: "Compared cars on Acme Auto in the last month.",
        topics: &["car", "cars", "auto", "vehicle", "vehicles", "audience"],
        coverage: 7.0,
        pricing_option: "cpm_usd_car_shoppers",
        cpm: 2.5,
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
    pub filters: SignalFilters,
    #[serde(default)]
    pub pagination: Page,
    #[serde(default)]
    pub ext: Ext,
}

/// What the signals must be.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct SignalFilters {
    #[serde(default)]
    pub max_cpm: Option<f64>,
}

/// An `activate_signal` request, as far as Acme reads it.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the protocol's names")]
pub struct ActivateSignal {
    #[serde(default)]
    pub action: Option<String>,
    pub signal_agent_segment_id: String,
    #[serde(default)]
    pub pricing_option_id: Option<String>,
    pub destinations: Vec<Value>,
}

/// The handler of `get_signals`.
pub(crate) async fn decide(context: Context<Acme>, request: GetSignals) -> Result<Decision, AdcpError> {
    let ext = request.ext.clone();
    plan::decide(&context, &ext, async |_, origin| get_signals(origin, &request)).await
}

/// Plans an answer: all signals, or those that the brief asks for.
pub fn get_signals(origin: &Origin, request: &GetSignals) -> Result<Plan, AdcpError> {
    let wholesale = request.discovery_mode.as_deref() == Some("wholesale");
    let spec = request.signal_spec.as_deref().filter(|_| !wholesale);
    let found: Vec<&Signal> = SIGNALS
        .iter()
        .filter(|signal| spec.is_none_or(|spec| relevance(spec, signal.topics) > 0))
        .filter(|signal| request.filters.max_cpm.is_none_or(|most| signal.cpm <= most))
        .collect();
    let (page, pagination) = request.pagination.of(&found, |signal| signal.id)?;
    let signals: Vec<Value> = page.iter().map(|signal| signal.to_wire()).collect();
    let mut result = origin.result(json!({
        "signals": signals,
        "cache_scope": if wholesale { "public" } else { "account" },
        "pagination": pagination,
    }));
    if wholesale {
        result["wholesale_feed_version"] = json!(FEED_VERSION);
    }
    Ok(Plan::Complete(result))
}

/// The handler of `activate_signal`.
pub(crate) async fn activate(context: Context<Acme>, request: ActivateSignal) -> Result<Value, AdcpError> {
    activate_signal(context.state(), &Origin::of(&context), &request).await
}

/// Switches a signal on, or off, where the buyer wants it.
pub async fn activate_signal(acme: &Acme, origin: &Origin, request: &ActivateSignal) -> Result<Value, AdcpError> {
    let segment = &request.signal_agent_segment_id;
    let Some(signal) = SIGNALS.iter().find(|signal| signal.segment() == *segment) else {
        return Err(AdcpError::correctable("SIGNAL_NOT_FOUND", "Acme has no such signal.")
            .field("signal_agent_segment_id")
            .suggestion("Take the signal_agent_segment_id of a get_signals answer."));
    };
    if request.pricing_option_id.as_deref().is_some_and(|option| option != signal.pricing_option) {
        return Err(AdcpError::correctable("INVALID_REQUEST", "The signal has no such pricing option.")
            .field("pricing_option_id")
            .suggestion(format!("Use {:?}.", signal.pricing_option)));
    }
    let live = request.action.as_deref() != Some("deactivate");
    let now = Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true);
    let deployment = |destination: &Value| {
        let mut deployment = json!({"is_live": live});
        for field in ["type", "platform", "agent_url", "account"] {
            if let Some(value) = destination.get(field) {
                deployment[field] = value.clone();
            }
        }
        if live {
            deployment["activation_key"] = json!({"type": "segment_id", "segment_id": segment});
            deployment["deployed_at"] = json!(now);
        }
        deployment
    };
    let deployments: Vec<Value> = request.destinations.iter().map(deployment).collect();
    let answer = origin.result(json!({"deployments": deployments}));
    Ok(acme.book.enter(Ledger::Activations, Key::of(&[&origin.token])?, answer).await?.into_record())
}

impl Signal {
    fn segment(&self) -> String {
        format!("acme:{}", self.id)
    }

    fn to_wire(&self) -> Value {
        json!({
            "signal_ref": {"scope": "data_provider", "data_provider_domain": "acme.example", "signal_id": self.id},
            // The name of the same in 3.0.
            "signal_id": {"source": "catalog", "data_provider_domain": "acme.example", "id": self.id},
            "signal_agent_segment_id": self.segment(),
            "name": self.name,
            "description": self.description,
            "value_type": "binary",
            "signal_type": "owned",
            "data_provider": "Acme Media",
            "coverage_percentage": self.coverage,
            "deployments": [{"type": "agent", "agent_url": AGENT_URL, "is_live": true}],
            "pricing_options": [{
                "pricing_option_id": self.pricing_option,
                "model": "cpm",
                "cpm": self.cpm,
                "currency": CURRENCY,
            }],
        })
    }
}
