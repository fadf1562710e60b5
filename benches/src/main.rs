//! Handoff's benchmarks: `make bench`. Everything is compared in one run and on one server, and interleaved: on a machine that
//! does other things too, ratios of neighbours are what counts.

mod arms;
mod bare;
mod parked;
mod peer;
mod polls;
mod process;
mod report;
mod seller;
mod stats;

use anyhow::{Context, Result};
use arms::Effort;
use clap::{Parser, Subcommand, ValueEnum};
use handoff_client::{Config, TemporalConfig, temporal};
use handoff_tests::{Database, Kind, Temporal};
use peer::{Peer, Shape};
use report::{Machine, Report};
use std::{path::PathBuf, time::Duration};
use tokio::signal::unix::{SignalKind, signal};

#[derive(Parser)]
#[command(about = "Handoff's benchmarks", long_about = None)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure everything
    Run(Run),
    /// A worker of one side, for this program's own use
    Worker {
        kind: WorkerKind,
        #[arg(long)]
        task_queue: String,
        #[arg(long)]
        cached: usize,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum WorkerKind {
    Handoff,
    Bare,
}

#[derive(clap::Args)]
struct Run {
    /// Times that each side is measured in each shape
    #[arg(long, default_value_t = 4)]
    rounds: usize,
    /// Requests one after the other, in each round
    #[arg(long, default_value_t = 25)]
    sequential: usize,
    /// Requests under load, in each round
    #[arg(long, default_value_t = 100)]
    loaded: usize,
    /// How many requests are under way at once, under load
    #[arg(long, default_value_t = 16)]
    at_once: usize,
    /// Tasks parked beyond the worker's cache
    #[arg(long, default_value_t = 1_000)]
    parked: usize,
    /// Tasks in the registry when it is read
    #[arg(long, default_value_t = 100_000)]
    tasks: usize,
    /// What to measure
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Part::Arms, Part::Parked, Part::Polls])]
    only: Vec<Part>,
    /// In which shapes
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Shape::ALL)]
    shapes: Vec<Shape>,
    /// Where the seller's registry is while the arms are measured
    #[arg(long, value_enum, default_value_t = RegistryKind::Sqlite)]
    registry: RegistryKind,
    /// Where the results go, as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Arms,
    Parked,
    Polls,
}

#[derive(Clone, Copy, ValueEnum)]
enum RegistryKind {
    Sqlite,
    Postgres,
}

// As many as a worker has unless told; the parked tasks get a smaller one, so that it is full sooner.
const CACHED: usize = 1_000;
const PARKED_CACHED: usize = 250;
const PATIENCE: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_env("HANDOFF_LOG").unwrap_or_else(|_| "error".into()))
        .with_writer(std::io::stderr)
        .init();
    match Cli::parse().command {
        // Dropped when it is stopped, so that no server or worker is left behind.
        Command::Run(run) => tokio::select! {
            measured = measure(run) => measured,
            stopped = stopped() => stopped,
        },
        Command::Worker { kind: WorkerKind::Handoff, task_queue, cached } => {
            let mut config = Config::from_env()?;
            config.task_queue = task_queue;
            seller::work(config, cached).await
        }
        Command::Worker { kind: WorkerKind::Bare, task_queue, cached } => {
            bare::work(temporal::connect(&Config::from_env()?).await?, &task_queue, cached).await
        }
    }
}

async fn stopped() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    anyhow::bail!("stopped")
}

async fn measure(run: Run) -> Result<()> {
    let load_before = process::load_average();
    let scratch = tempfile::tempdir()?;
    let server = Temporal::own().await?;
    let address = server.address();
    let registry = Database::create(match run.registry {
        RegistryKind::Sqlite => Kind::Sqlite,
        RegistryKind::Postgres => Kind::Postgres,
    })
    .await?;
    let config = |task_queue: &str| Config {
        temporal: TemporalConfig::at(address.clone(), "default"),
        registry_url: registry.url().to_owned(),
        task_queue: task_queue.to_owned(),
        // No busy machine makes a quick answer into a submitted one.
        sync_deadline: Duration::from_secs(60),
        attempt_timeout: Duration::from_secs(30),
        ..Config::default()
    };
    let effort = Effort { rounds: run.rounds, sequential: run.sequential, loaded: run.loaded, at_once: run.at_once };
    let (mut arms, mut counts, mut parked, mut polled) = (vec![], vec![], None, vec![]);
    if run.only.contains(&Part::Arms) {
        let client = temporal::connect(&config("")).await?;
        let handoff = Peer::handoff(config("bench-handoff"), CACHED, scratch.path()).await?;
        let rust = Peer::rust(client.clone(), &address, CACHED)?;
        let python = Peer::python(client.clone(), &address, CACHED)?;
        (arms, counts) = arms::measure(&[&handoff, &rust, &python], &server, &client, &run.shapes, effort).await?;
    }
    if run.only.contains(&Part::Parked) {
        let peer = Peer::handoff(config("bench-parked"), PARKED_CACHED, scratch.path()).await?;
        parked = Some(parked::measure(&peer, PARKED_CACHED, run.parked, run.at_once).await?);
        eprintln!("parked");
    }
    drop(server);
    if run.only.contains(&Part::Polls) {
        for kind in [Kind::Sqlite, Kind::Postgres] {
            polled.extend(polls::measure(kind, run.tasks, PATIENCE).await?);
            eprintln!("polls {kind:?}");
        }
    }
    let report = Report {
        at: chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        machine: Machine {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            load_before,
            load_after: process::load_average(),
        },
        effort,
        arms,
        counts,
        parked,
        polls: polled,
    };
    print!("{report}");
    let path =
        run.json.unwrap_or_else(|| std::env::temp_dir().join(format!("handoff-bench-{}.json", std::process::id())));
    std::fs::write(&path, report.to_json()?).with_context(|| path.display().to_string())?;
    println!("\n{}", path.display());
    Ok(())
}
