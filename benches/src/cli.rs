//! The command line.

use crate::{arms, load, peer::Shape};
use clap::{Parser, Subcommand, ValueEnum};
use handoff_tests::Kind;
use std::{path::PathBuf, time::Duration};

#[derive(Parser)]
#[command(about = "Handoff's benchmarks", long_about = None)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Measure
    Run(Box<Run>),
    /// A worker of one side, for this program's own use
    #[command(hide = true)]
    Worker {
        kind: WorkerKind,
        #[arg(long)]
        task_queue: String,
        #[arg(long)]
        cached: usize,
    },
    /// A sender of webhooks, for this program's own use
    #[command(hide = true)]
    Sender { directory: PathBuf, url: String, template: PathBuf },
    /// A receiver of webhooks, for this program's own use
    #[command(hide = true)]
    Receiver { directory: PathBuf },
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum WorkerKind {
    Handoff,
    Bare,
}

#[derive(clap::Args)]
pub(crate) struct Run {
    /// Times that each side is measured in each shape, or under each load
    #[arg(long, default_value_t = 4)]
    pub(crate) rounds: usize,
    /// Requests one after the other, in each round
    #[arg(long, default_value_t = 25)]
    pub(crate) sequential: usize,
    /// Requests under load, in each round of the arms
    #[arg(long, default_value_t = 100)]
    pub(crate) loaded: usize,
    /// How many requests are under way at once, under load of the arms
    #[arg(long, default_value_t = 16)]
    pub(crate) at_once: usize,
    /// Tasks parked beyond the worker's cache
    #[arg(long, default_value_t = 1_000)]
    pub(crate) parked: usize,
    /// Tasks in the registry when it is read
    #[arg(long, default_value_t = 100_000)]
    pub(crate) tasks: usize,
    /// Seconds that each server is asked, and that the registry is, each time
    #[arg(long, default_value_t = 2.0)]
    pub(crate) seconds: f64,
    /// Connections to a server under load; beside one, for latency
    #[arg(long, default_value_t = 16)]
    pub(crate) connections: usize,
    /// Times that each server is started
    #[arg(long, default_value_t = 3)]
    pub(crate) starts: usize,
    /// Webhooks that the Python SDK sends in each round; Handoff sends twenty times as many
    #[arg(long, default_value_t = 100)]
    pub(crate) deliveries: usize,
    /// How many webhooks are under way at once
    #[arg(long, default_value_t = 8)]
    pub(crate) deliveries_at_once: usize,
    /// What to measure
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Part::ALL)]
    pub(crate) only: Vec<Part>,
    /// In which shapes
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Shape::ALL)]
    pub(crate) shapes: Vec<Shape>,
    /// Where the seller's registry is, but for the part polls, which measures both
    #[arg(long, value_enum, default_value_t = RegistryKind::Sqlite)]
    registry: RegistryKind,
    /// Where the results go, as JSON
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
}

impl Run {
    pub(crate) fn measures(&self, part: Part) -> bool {
        self.only.contains(&part)
    }

    pub(crate) fn registry(&self) -> Kind {
        match self.registry {
            RegistryKind::Sqlite => Kind::Sqlite,
            RegistryKind::Postgres => Kind::Postgres,
        }
    }

    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    pub(crate) fn arms(&self) -> arms::Effort {
        arms::Effort { rounds: self.rounds, sequential: self.sequential, loaded: self.loaded, at_once: self.at_once }
    }

    pub(crate) fn load(&self) -> load::Effort {
        load::Effort { rounds: self.rounds, connections: self.connections, patience: self.patience() }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// The three arms beside bare workflows
    Arms,
    /// Memory of parked tasks
    Parked,
    /// Reading the registry, without a front door
    Polls,
    /// Polls and lists over MCP, beside the Python SDK's server
    Http,
    /// To `submitted` over MCP, beside a raw Update-With-Start
    Submit,
    /// Keyless discovery over MCP
    Discovery,
    /// Time to the first answer, and memory
    Start,
    /// Sending webhooks, beside the Python SDK's sender
    Webhooks,
}

impl Part {
    pub(crate) const ALL: [Self; 8] =
        [Self::Arms, Self::Parked, Self::Polls, Self::Http, Self::Submit, Self::Discovery, Self::Start, Self::Webhooks];

    /// Does it use the run's Temporal server?
    pub(crate) fn shares_temporal(self) -> bool {
        matches!(self, Self::Arms | Self::Parked | Self::Submit | Self::Start)
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum RegistryKind {
    Sqlite,
    Postgres,
}
