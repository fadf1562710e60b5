//! The protocol's storyboards, run against Acme: what does not pass is in `docs/conformance-results.md`, with the reason.

use super::clients::{PROGRAMS, variable};
use handoff_client::{
    Config,
    codec::{Key, KeySource},
};
use handoff_tests::{
    Kind, World,
    front::{API_KEY, Acme},
};
use handoff_webhooks::keys::{Algorithm, LocalKey};
use secrecy::ExposeSecret;
use serde_json::Value;
use std::{collections::BTreeSet, process::Stdio};
use tokio::process::Command;

const RESULTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/conformance-results.md");

/// Storyboard and phase, step, outcome.
type Row = (String, String, String);

/// The rows of the page's tables of steps, and how many it says pass.
fn told() -> (BTreeSet<Row>, u64) {
    let page = std::fs::read_to_string(RESULTS).unwrap();
    let cells = |line: &str| -> Vec<String> { line.split('|').map(|cell| cell.trim().replace('`', "")).collect() };
    let rows = page.lines().map(cells).filter_map(|cells| match cells.as_slice() {
        [_, storyboard, step, outcome, why, _] if ["failed", "skipped"].contains(&outcome.as_str()) => {
            assert!(!why.is_empty(), "{storyboard}: {step} has no reason");
            Some((storyboard.clone(), step.clone(), outcome.clone()))
        }
        _ => None,
    });
    let passed = page.lines().find_map(|line| line.strip_suffix(" steps pass.")?.trim().parse().ok());
    (rows.collect(), passed.expect("a line \"N steps pass.\""))
}

/// The steps that did not pass. Those of tracks that the runner does not list are known by its failures alone.
fn found(result: &Value) -> BTreeSet<Row> {
    let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().replace('|', "/");
    let steps = result["steps"].as_array().unwrap().iter().filter(|step| step["outcome"] != "passed");
    let steps = steps.map(|step| (text(step, "storyboard"), text(step, "step"), text(step, "outcome")));
    let hidden = ["security_baseline", "signed_requests"];
    let failures = result["failures"].as_array().unwrap().iter();
    let failures = failures.filter(|failure| hidden.contains(&text(failure, "storyboard").as_str()));
    let failures = failures.map(|failure| (text(failure, "storyboard"), text(failure, "step"), "failed".to_owned()));
    // One reason for all of its vectors.
    let whole = |row: Row| if row.0 == "signed_requests" { (row.0, "all".to_owned(), row.2) } else { row };
    steps.chain(failures).map(whole).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn acme_passes_the_storyboards_but_for_what_is_explained() {
    // Some webhooks have secrets, and some are to be signed.
    let keys = |config: &mut Config| config.encryption = KeySource::Text(Key::generate("k").unwrap());
    let world = World::configured(Kind::Sqlite, keys).await.unwrap();
    let signing = LocalKey::generate_pem(Algorithm::Ed25519).unwrap();
    let acme = Acme::new(&world)
        .unwrap()
        .set("HANDOFF_COMPLIANCE_TESTING", "true")
        .set("HANDOFF_SANDBOX_REVIEW_DELAY", "1s")
        .set("HANDOFF_WEBHOOK_OPERATION_ID", "assigned")
        .set("HANDOFF_WEBHOOK_SIGNING_KEYS", signing.expose_secret())
        // Its storyboards name an agent that is nowhere; those with one are in `governance_storyboards`.
        .set("HANDOFF_GOVERNANCE", "false")
        .set("HANDOFF_PUBLIC_URL", "https://seller.example")
        .set("ACME_CURATION_MS", "0");
    let _worker = acme.worker().unwrap();
    let mut front = acme.gateway().await.unwrap();
    let recorder = front.recorded().await.unwrap();
    let done = Command::new(variable("HANDOFF_BUYER_NODE").unwrap())
        .env("NODE_PATH", variable("HANDOFF_BUYER_NODE_MODULES").unwrap())
        .env("BUYER_API_KEY", API_KEY)
        .args([format!("{PROGRAMS}storyboards.cjs"), front.url()])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let result: Value = serde_json::from_slice(&done.stdout).unwrap();

    let ((told, passed), found) = (told(), found(&result));
    let rows = |rows: Vec<&Row>| -> Vec<String> {
        rows.iter().map(|row| format!("{} | {} | {}", row.0, row.1, row.2)).collect()
    };
    let (new, gone) = (rows(found.difference(&told).collect()), rows(told.difference(&found).collect()));
    assert!(new.is_empty() && gone.is_empty(), "new: {new:#?}\ngone: {gone:#?}\n{:#}", result["failures"]);
    assert!(result["passed"].as_u64().unwrap() >= passed, "{} of {passed} pass", result["passed"]);
    let checked = recorder.assert_valid().await;
    assert!(checked.requests > 100 && checked.answers > 150, "{checked:?}");
    front.assert_unharmed().await;
}
