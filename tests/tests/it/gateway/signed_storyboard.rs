//! The protocol's storyboard of signed requests, run against an Acme that takes its keys: what does not pass is in
//! `docs/conformance-results.md`, with the reason.

use super::{clients::variable, storyboards::run};
use handoff_client::hash_line;
use handoff_tests::{
    Kind, World,
    front::{API_KEY, Acme},
};
use handoff_webhooks::keys::Jwk;
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

const RESULTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/conformance-results.md");
// What the runner is called here.
const RUNNER: &str = "agent.runner.example";
// In the vector of an unsigned registration.
const RUNNERS_TOKEN: &str = "test-bearer-token";

/// The one release whose files the runner has.
fn compliance() -> PathBuf {
    let modules = variable("HANDOFF_BUYER_NODE_MODULES").unwrap();
    let cache = Path::new(&modules).join("@adcp/sdk/compliance/cache");
    let mut releases: Vec<PathBuf> = fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path()).collect();
    releases.retain(|release| release.extension().is_none_or(|name| name != "previous"));
    let [release] = &releases[..] else { panic!("{releases:?}") };
    release.clone()
}

/// Acme as the runner's contract asks of a seller that takes signatures: its keys, one of them taken back, and so few nonces that it
/// comes to their end.
fn under_contract(acme: Acme<'_>) -> Acme<'_> {
    let compliance = compliance();
    let contract = fs::read_to_string(compliance.join("test-kits/signed-requests-runner.yaml")).unwrap();
    let says = |name: &str| -> String {
        let line = contract.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_else(|| panic!("no {name} in the contract")).to_owned()
    };
    let keys = fs::read_to_string(compliance.join("test-vectors/request-signing/keys.json")).unwrap();
    let mut keys: Value = serde_json::from_str(&keys).unwrap();
    let keys: Vec<Jwk> = serde_json::from_value(keys["keys"].take()).unwrap();
    let mut file = format!(
        "profile = \"3.1\"\ncontent_digest = \"either\"\nrequired_for = [\"create_media_buy\"]\n\
         [[counterparty]]\nprincipal = \"{RUNNER}\"\nrevoked = [\"{}\"]\nnonces_per_key = {}\n",
        says("pre_revoked_keyid"),
        says("grading_target_per_keyid_cap_requests"),
    );
    for key in &keys {
        file.push_str("[[counterparty.keys]]\n");
        let Value::Object(fields) = serde_json::to_value(key).unwrap() else { panic!() };
        // Strings and lists of them are the same in TOML.
        fields.iter().for_each(|(name, value)| writeln!(file, "{name} = {value}").unwrap());
    }
    let path = acme.directory().join("request-signing.toml");
    fs::write(&path, file).unwrap();
    let api_keys = acme.directory().join("api-keys");
    let mut lines = fs::read_to_string(&api_keys).unwrap();
    writeln!(lines, "{}", hash_line(RUNNER, &RUNNERS_TOKEN.into()).unwrap()).unwrap();
    fs::write(&api_keys, lines).unwrap();
    acme.set("HANDOFF_REQUEST_SIGNING_FILE", path.display().to_string())
}

/// The steps that the page says fail, and how many pass: rows of three cells under a heading of its own.
fn told() -> (BTreeSet<String>, u64) {
    let page = fs::read_to_string(RESULTS).unwrap();
    let (_, page) = page.split_once("## Signed requests").expect("a heading");
    let failed = page.lines().filter_map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, step, "failed", why, _] = cells.as_slice() else { return None };
        assert!(!why.is_empty(), "{step} has no reason");
        Some(step.replace('`', ""))
    });
    let passed = page.lines().find_map(|line| line.strip_suffix(" steps of it pass.")?.trim().parse().ok());
    (failed.collect(), passed.expect("a line \"N steps of it pass.\""))
}

#[tokio::test(flavor = "multi_thread")]
async fn acme_passes_the_storyboard_of_signed_requests_but_for_what_is_explained() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let acme = under_contract(Acme::new(&world).unwrap()).set("HANDOFF_COMPLIANCE_TESTING", "true");
    let _worker = acme.worker().unwrap();
    let mut front = acme.gateway().await.unwrap();
    let result = run(&front.url(), |runner| {
        runner.env("BUYER_API_KEY", API_KEY).env("BUYER_STORYBOARDS", "signed_requests");
    })
    .await;
    let failures = result["failures"].as_array().unwrap();
    let found: BTreeSet<String> =
        failures.iter().map(|failure| failure["step"].as_str().unwrap_or_default().to_owned()).collect();
    let (told, passed) = told();
    assert_eq!(found, told, "{failures:#?}");
    assert!(result["passed"].as_u64().unwrap() >= passed, "{} of {passed} pass", result["passed"]);
    front.assert_unharmed().await;
}
