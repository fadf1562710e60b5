//! Handoff's benchmarks: `make bench`. Everything is compared in one run and on one machine, and interleaved: on a machine that
//! does other things too, ratios of neighbours are what counts.

mod arms;
mod bare;
mod cli;
mod discovery;
mod door;
mod http;
mod load;
mod mcp;
mod pair;
mod parked;
mod peer;
mod polls;
mod process;
mod report;
mod run;
mod seller;
mod start;
mod stats;
mod submit;
mod webhooks;

use anyhow::Result;
use clap::Parser;
use cli::{Cli, Command, WorkerKind};
use handoff_client::{Config, temporal};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    // Fails where it is done already.
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    // What is measured as a gateway is one: this command is the seller's, who reads the command line himself.
    if std::env::args().nth(1).as_deref() == Some("gateway") {
        return seller::run();
    }
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => match runtime.block_on(execute(Cli::parse().command)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error),
        },
        Err(error) => failed(&error.into()),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("handoff-bench: {error:#}");
    ExitCode::FAILURE
}

async fn execute(command: Command) -> Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_env("HANDOFF_LOG").unwrap_or_else(|_| "error".into()))
        .with_writer(std::io::stderr)
        .init();
    match command {
        // Dropped when it is stopped, so that no server or worker is left behind.
        Command::Run(run) => tokio::select! {
            measured = run::measure(&run) => measured,
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
        Command::Sender { directory, url, template } => webhooks::sender::run(&directory, &url, &template).await,
        Command::Receiver { directory } => webhooks::receiver::run(&directory).await,
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
