//! The list against what is derived from it.

use super::*;
use std::collections::BTreeSet;

const DASHBOARD: &str = include_str!("../../../deploy/grafana/handoff.json");
const ALERTS: &str = include_str!("../../../deploy/prometheus/alerts.yaml");
const PAGE: &str = include_str!("../../../docs/metrics.md");

/// Every metric that a text names, without a histogram's own suffixes.
fn named(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| word.starts_with("handoff_") || word.starts_with("temporal_"))
        .map(|word| {
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| word.strip_suffix(suffix));
            base.unwrap_or(word).to_owned()
        })
        .collect()
}

#[test]
fn dashboard_and_alerts_name_only_what_there_is() {
    let known: BTreeSet<&str> =
        ALL.iter().map(|instrument| instrument.name).chain(OF_THE_SDK.iter().copied()).collect();
    for (what, text) in [("dashboard", DASHBOARD), ("alerts", ALERTS)] {
        let named = named(text);
        assert!(named.len() > 3, "{what}: {named:?}");
        for name in named {
            assert!(known.contains(name.as_str()), "the {what} names {name}, which is no instrument");
        }
    }
    for name in OF_THE_SDK {
        assert!(DASHBOARD.contains(name) || ALERTS.contains(name), "nobody uses {name}");
    }
    let parsed: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    assert!(parsed["panels"].as_array().is_some_and(|panels| panels.len() > 5));
}

#[test]
fn the_page_lists_every_instrument_as_it_is() {
    let listed: Vec<&str> = PAGE.lines().filter(|line| line.starts_with("| `handoff_")).collect();
    let expected: Vec<String> = ALL
        .iter()
        .map(|instrument| {
            let labels: Vec<String> = instrument.labels.iter().map(|label| format!("`{label}`")).collect();
            let labels = labels.join(", ");
            format!("| `{}` | {} | {labels} | {} |", instrument.name, instrument.kind.as_str(), instrument.help)
        })
        .collect();
    assert_eq!(listed, expected, "docs/metrics.md");
}

#[test]
fn names_follow_the_conventions() {
    for instrument in ALL {
        let suffix = match instrument.kind {
            Kind::Counter => "_total",
            Kind::Histogram => "_seconds",
            Kind::Gauge => "",
        };
        assert!(instrument.name.starts_with("handoff_") && instrument.name.ends_with(suffix), "{}", instrument.name);
        assert!(instrument.help.ends_with('.'), "{}", instrument.name);
        assert_eq!(instrument.kind == Kind::Histogram, !instrument.buckets.is_empty(), "{}", instrument.name);
        assert!(instrument.buckets.is_sorted(), "{}", instrument.name);
        for private in ["scope", "account", "principal", "task_id", "run_id"] {
            assert!(!instrument.labels.contains(&private), "{}", instrument.name);
        }
    }
    let names: BTreeSet<&str> = ALL.iter().map(|instrument| instrument.name).collect();
    assert_eq!(names.len(), ALL.len());
}
