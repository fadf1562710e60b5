//! One run: what was asked for is measured, part by part, and told.

use crate::{
    arms,
    cli::{Part, Run},
    discovery,
    door::{Door, Surroundings},
    http, parked,
    peer::Peer,
    polls, process,
    report::{Machine, Report},
    start,
    submit::{self, Takers},
    webhooks,
};
use anyhow::{Context, Result};
use handoff_client::{Config, TemporalConfig, temporal};
use handoff_tests::{Database, Kind, Temporal};
use std::{path::Path, time::Duration};

// As many as a worker has unless told; the parked tasks get a smaller one, so that it is full sooner.
const CACHED: usize = 1_000;
const PARKED_CACHED: usize = 250;

/// Measures, prints the table, and writes the JSON.
pub(crate) async fn measure(run: &Run) -> Result<()> {
    let load_before = process::load_average();
    let scratch = tempfile::tempdir()?;
    let mut report = Report {
        at: chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        machine: Machine {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            load_before,
            load_after: 0.0,
        },
        effort: run.arms(),
        arms: vec![],
        counts: vec![],
        parked: None,
        polls: vec![],
        http: None,
        submits: vec![],
        discovery: None,
        starts: vec![],
        webhooks: vec![],
    };
    if run.only.iter().any(|part| part.shares_temporal()) {
        beside_temporal(run, scratch.path(), &mut report).await?;
    }
    apart(run, scratch.path(), &mut report).await?;
    report.machine.load_after = process::load_average();
    print!("{report}");
    let path = run
        .json
        .clone()
        .unwrap_or_else(|| std::env::temp_dir().join(format!("handoff-bench-{}.json", std::process::id())));
    std::fs::write(&path, report.to_json()?).with_context(|| path.display().to_string())?;
    println!("\n{}", path.display());
    Ok(())
}

// The parts that share a Temporal server.
async fn beside_temporal(run: &Run, scratch: &Path, report: &mut Report) -> Result<()> {
    let server = Temporal::own().await?;
    let address = server.address();
    let registry = Database::create(run.registry()).await?;
    let config = |task_queue: &str| Config {
        temporal: TemporalConfig::at(address.clone(), "default"),
        registry_url: registry.url().to_owned(),
        task_queue: task_queue.to_owned(),
        // No busy machine makes a quick answer into a submitted one.
        sync_deadline: Duration::from_secs(60),
        attempt_timeout: Duration::from_secs(30),
        ..Config::default()
    };
    let client = temporal::connect(&config("")).await?;
    if run.measures(Part::Arms) {
        let handoff = Peer::handoff(config("bench-handoff"), CACHED, scratch).await?;
        let rust = Peer::rust(client.clone(), &address, CACHED)?;
        let python = Peer::python(client.clone(), &address, CACHED)?;
        let peers = [&handoff, &rust, &python];
        (report.arms, report.counts) = arms::measure(&peers, &server, &client, &run.shapes, run.arms()).await?;
    }
    if run.measures(Part::Parked) {
        let peer = Peer::handoff(config("bench-parked"), PARKED_CACHED, scratch).await?;
        report.parked = Some(parked::measure(&peer, PARKED_CACHED, run.parked, run.at_once).await?);
        eprintln!("parked");
    }
    if run.measures(Part::Submit) {
        let task_queue = "bench-submit";
        let handoff = Peer::handoff(config(task_queue), CACHED, scratch).await?;
        let rust = Peer::rust(client.clone(), &address, CACHED)?;
        let around = Surroundings { registry_url: registry.url(), temporal: &address, task_queue };
        let door = Door::handoff(scratch, &around, 0).await?;
        let takers = Takers { door: &door, handoff: &handoff, rust: &rust };
        report.submits = submit::measure(&takers, run.rounds, run.sequential).await?;
    }
    if run.measures(Part::Start) {
        report.starts = start::measure(scratch, run.registry(), &address, run.starts).await?;
    }
    Ok(())
}

// Those that have none, or one of their own.
async fn apart(run: &Run, scratch: &Path, report: &mut Report) -> Result<()> {
    if run.measures(Part::Polls) {
        for kind in [Kind::Sqlite, Kind::Postgres] {
            report.polls.extend(polls::measure(kind, run.tasks, run.patience()).await?);
            eprintln!("polls {kind:?}");
        }
    }
    if run.measures(Part::Http) {
        report.http = Some(http::measure(scratch, run.registry(), run.tasks, run.load()).await?);
    }
    if run.measures(Part::Discovery) {
        report.discovery = Some(discovery::measure(scratch, run.registry(), run.load()).await?);
    }
    if run.measures(Part::Webhooks) {
        let (rounds, at_once) = (run.rounds, run.deliveries_at_once);
        report.webhooks = webhooks::measure(scratch, rounds, run.deliveries, at_once).await?;
    }
    Ok(())
}
