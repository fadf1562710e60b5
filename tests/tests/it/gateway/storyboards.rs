//! The protocol's storyboards, run against Acme: what does not pass is in `docs/conformance-results.md`, with the reason.

use super::{
    clients::{PROGRAMS, variable},
    compliance::TESTING,
};
use crate::dev::Dev;
use handoff_client::{
    Config,
    codec::{Key, KeySource},
};
use handoff_tests::{
    Issuer, Kind, Process, TokenKey, World, binary,
    front::{API_KEY, Acme, Front, assert_calm},
    recorder::Recorder,
};
use handoff_webhooks::keys::{Algorithm, LocalKey};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::ErrorKind,
    process::{Output, Stdio},
};
use tokio::process::Command;

const RESULTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/conformance-results.md");

/// Storyboard and phase, step, outcome.
type Row = (String, String, String);

/// With what the runner comes.
#[derive(Clone, Copy)]
enum Credential {
    Key,
    Token,
}

/// What the page tells of runs with one kind of credential.
struct Told {
    /// The steps that do not pass.
    rows: BTreeSet<Row>,
    /// The steps of `security_baseline` that are run, and what comes of them.
    security: BTreeSet<(String, String)>,
    passed: u64,
}

impl Told {
    fn read(credential: Credential) -> Self {
        let page = fs::read_to_string(RESULTS).unwrap();
        let (mut rows, mut security, mut passed) = (BTreeSet::new(), BTreeSet::new(), Vec::<u64>::new());
        for line in page.lines() {
            passed.extend(line.strip_suffix(" steps pass.").and_then(|number| number.parse::<u64>().ok()));
            let cells: Vec<String> = line.split('|').map(|cell| cell.trim().replace('`', "")).collect();
            match cells.as_slice() {
                [_, storyboard, step, outcome, why, _] if ["failed", "skipped"].contains(&outcome.as_str()) => {
                    assert!(!why.is_empty(), "{storyboard}: {step} has no reason");
                    rows.insert((storyboard.clone(), step.clone(), outcome.clone()));
                }
                [_, storyboard, step, with_key, with_token, why, _] if storyboard == "security_baseline" => {
                    assert!(!why.is_empty(), "{storyboard}: {step} has no reason");
                    let outcome = match credential {
                        Credential::Key => with_key,
                        Credential::Token => with_token,
                    };
                    if outcome != "not run" {
                        security.insert((step.clone(), outcome.clone()));
                    }
                }
                _ => {}
            }
        }
        assert_eq!(passed.len(), 2, "two lines \"N steps pass.\"");
        Self { rows, security, passed: passed[credential as usize] }
    }
}

/// The steps that did not pass. Those of tracks that the runner does not list are known by its failures alone.
fn found(result: &Value) -> BTreeSet<Row> {
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

fn text(row: &Value, name: &str) -> String {
    row[name].as_str().unwrap_or_default().replace('|', "/")
}

/// Panics unless the page tells the truth of a run.
fn assert_as_told(result: &Value, credential: Credential) {
    let (told, found) = (Told::read(credential), found(result));
    let rows = |rows: Vec<&Row>| -> Vec<String> {
        rows.iter().map(|row| format!("{} | {} | {}", row.0, row.1, row.2)).collect()
    };
    let (new, gone) = (rows(found.difference(&told.rows).collect()), rows(told.rows.difference(&found).collect()));
    assert!(new.is_empty() && gone.is_empty(), "new: {new:#?}\ngone: {gone:#?}\n{:#}", result["failures"]);
    assert!(result["passed"].as_u64().unwrap() >= told.passed, "{} of {} pass", result["passed"], told.passed);
    let security = result["security"].as_array().unwrap().iter();
    let security: BTreeSet<_> = security.map(|step| (text(step, "step"), text(step, "outcome"))).collect();
    assert_eq!(security, told.security);
}

/// What the runner makes of the seller at this URL.
pub(super) async fn run(url: &str, configure: impl FnOnce(&mut Command)) -> Value {
    run_program("storyboards.cjs", &[url], configure).await
}

/// What a program with the runner in it prints.
pub(super) async fn run_program(name: &str, arguments: &[&str], configure: impl FnOnce(&mut Command)) -> Value {
    let mut command = Command::new(variable("HANDOFF_BUYER_NODE").unwrap());
    command.env("NODE_PATH", variable("HANDOFF_BUYER_NODE_MODULES").unwrap());
    command.arg(format!("{PROGRAMS}{name}")).args(arguments);
    configure(&mut command);
    let done = finished(&mut command).await;
    serde_json::from_slice(&done.stdout).unwrap()
}

async fn run_with_key(url: &str) -> Value {
    let result = run(url, |runner| {
        runner.env("BUYER_API_KEY", API_KEY);
    })
    .await;
    assert_as_told(&result, Credential::Key);
    result
}

async fn finished(command: &mut Command) -> Output {
    let done = command.stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap();
    let (out, log) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{out}\n{log}");
    done
}

/// As an operator does between two runs. What Acme's own order book has stays, but for the accounts: a storyboard wants to be shown
/// the three that it asks for, and no others.
async fn reset(world: &World, acme: &Acme<'_>) {
    let mut command = Command::new(binary("handoff"));
    command.args(["--json", "sandbox", "reset"]).envs(world.environment()).env(TESTING, "true");
    finished(&mut command).await;
    for ledger in ["accounts", "account_statuses"] {
        match fs::remove_dir_all(acme.directory().join("acme").join(ledger)) {
            Err(error) if error.kind() != ErrorKind::NotFound => panic!("{ledger}: {error}"),
            _ => {}
        }
    }
}

async fn tasks(acme: &Acme<'_>) -> usize {
    acme.handoff(&["task", "list"]).await.unwrap()["tasks"].as_array().unwrap().len()
}

/// Two runs on one registry, reset in between, with as many gateways and workers as there are to be.
async fn twice(kind: Kind, gateways: usize, workers: usize) {
    // Some webhooks have secrets, and some are to be signed.
    let keys = |config: &mut Config| config.encryption = KeySource::Text(Key::generate("k").unwrap());
    // A Temporal server of its own: the ids that storyboards force are always the same.
    let world = World::with_own_temporal_configured(kind, keys).await.unwrap();
    let signing = LocalKey::generate_pem(Algorithm::Ed25519).unwrap();
    let acme = Acme::new(&world)
        .unwrap()
        .set(TESTING, "true")
        .set("HANDOFF_SANDBOX_REVIEW_DELAY", "1s")
        .set("HANDOFF_WEBHOOK_OPERATION_ID", "assigned")
        .set("HANDOFF_WEBHOOK_SIGNING_KEYS", signing.expose_secret())
        // Its storyboards name an agent that is nowhere; those with one are in `governance_storyboards`.
        .set("HANDOFF_GOVERNANCE", "false")
        .set("HANDOFF_PUBLIC_URL", "https://seller.example")
        .set("ACME_CURATION_MS", "0");
    let mut workers: Vec<Process> = (0..workers).map(|_| acme.worker().unwrap()).collect();
    let mut fronts: Vec<Front> = Vec::new();
    for _ in 0..gateways {
        fronts.push(acme.gateway().await.unwrap());
    }
    let recorder = Recorder::before(fronts.iter().map(|front| &front.base)).await.unwrap();
    let url = format!("{}/mcp", recorder.base());

    let first = run_with_key(&url).await;
    assert!(tasks(&acme).await > 0, "there is something to reset");
    reset(&world, &acme).await;
    assert_eq!(tasks(&acme).await, 0);
    let second = run_with_key(&url).await;
    for count in ["passed", "failed", "skipped"] {
        assert_eq!(first[count], second[count], "{count}");
    }

    let shares = recorder.shares();
    assert!(shares.len() == gateways && shares.iter().all(|share| *share > 50), "{shares:?}");
    let checked = recorder.assert_valid().await;
    assert!(checked.requests > 200 && checked.answers > 300, "{checked:?}");
    for front in &mut fronts {
        front.assert_unharmed().await;
    }
    assert!(workers.iter_mut().all(Process::is_running));
}

#[tokio::test(flavor = "multi_thread")]
async fn twice_on_sqlite() {
    twice(Kind::Sqlite, 1, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twice_on_postgres_with_three_gateways() {
    twice(Kind::Postgres, 3, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_with_a_token() {
    let key = TokenKey::new(Algorithm::Es256).unwrap();
    let issuer = Issuer::start(&[&key]).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (log, trusted) = (directory.path().join("log"), directory.path().join("trusted.pem"));
    let flags = ["--tls", "--no-ui", "--gateway-address", "127.0.0.1:0"];
    let dev = Dev::configured(directory.path(), &flags, |dev| {
        let settings = [
            (TESTING, "true"),
            ("HANDOFF_SANDBOX_REVIEW_DELAY", "1s"),
            ("HANDOFF_GOVERNANCE", "false"),
            ("HANDOFF_WEBHOOK_OPERATION_ID", "assigned"),
            ("HANDOFF_RATE_LIMIT", "0"),
            ("HANDOFF_SYNC_DEADLINE", "20s"),
            ("HANDOFF_LOG", "info"),
            ("ACME_BOOKING_MS", "50"),
            ("ACME_CHORE_MS", "50"),
            ("ACME_CURATION_MS", "0"),
        ];
        let tokens = [("HANDOFF_JWT_ISSUER", issuer.url()), ("HANDOFF_JWT_CA_FILE", issuer.authority())];
        dev.envs(settings).envs(tokens).stderr(File::create(&log).unwrap());
    })
    .await;
    let url = dev.exported("HANDOFF_BUYER_URL");
    let mut claims = issuer.claims("agent-1", &url);
    // For as long as a run may take.
    claims["exp"] = json!(claims["iat"].as_u64().unwrap() + 3600);
    let token = key.token(&claims).await;
    let authorities = [dev.exported("NODE_EXTRA_CA_CERTS"), issuer.authority()];
    fs::write(&trusted, authorities.map(|file| fs::read_to_string(file).unwrap()).concat()).unwrap();

    let result = run(&url, |runner| {
        // `localhost` may be an address of IPv6 first, where nobody listens.
        runner.env("NODE_OPTIONS", "--dns-result-order=ipv4first");
        runner.env("NODE_EXTRA_CA_CERTS", &trusted).env("BUYER_TOKEN", &token);
    })
    .await;
    assert_as_told(&result, Credential::Token);
    // From the capabilities over the brand document to the keys that signed the webhooks.
    let discovery = result["discovery"].as_array().unwrap();
    assert!(discovery.len() == 8 && discovery.iter().all(|step| step["ok"] == true), "{discovery:?}");
    let log = fs::read_to_string(&log).unwrap();
    assert_calm(&log);
    assert!(token.split('.').all(|part| !log.contains(part)), "a part of the token is in the log");
    dev.interrupt().await;
}
