//! The command `dev`: a whole development environment in one process tree.

use super::worker;
use crate::{Port, ServerOptions, TemporalServer, WorkerSettings};
use anyhow::Result;
use clap::Args;
use handoff_activities::seller::Handlers;
use handoff_client::{CheckStatus, Config, DEFAULT_REGISTRY_URL, codec::KeySource};
use std::{io::Write, path::PathBuf, time::Duration};

const HEALTH_PATIENCE: Duration = Duration::from_secs(5);

/// Where the development environment lives.
#[derive(Args, Clone, Debug)]
pub(crate) struct DevArgs {
    /// Directory of the server's and the registry's files, and of the key that encrypts them unless keys are configured
    #[arg(
        long,
        env = "HANDOFF_DATA_DIR",
        default_value = ".handoff",
        value_name = "DIR",
        help_heading = "Development"
    )]
    data_dir: PathBuf,
    /// Port of the Temporal server; unless given, 7233 or any free one
    #[arg(long, value_name = "PORT", help_heading = "Development")]
    temporal_port: Option<u16>,
    /// Port of Temporal's web UI; unless given, 8233 or any free one
    #[arg(long, value_name = "PORT", help_heading = "Development")]
    ui_port: Option<u16>,
    /// Without Temporal's web UI
    #[arg(long, conflicts_with = "ui_port", help_heading = "Development")]
    no_ui: bool,
    /// Without a worker: start one yourself with the command worker
    #[arg(long, help_heading = "Development")]
    no_worker: bool,
    /// The Temporal CLI, which has the server; looked for on PATH unless given
    #[arg(long, env = "HANDOFF_TEMPORAL_BIN", value_name = "FILE", help_heading = "Development")]
    temporal_bin: Option<PathBuf>,
}

pub(crate) async fn run(
    name: &str,
    mut args: DevArgs,
    mut config: Config,
    handlers: Handlers,
    settings: WorkerSettings,
) -> Result<()> {
    // What is printed is used in other directories.
    args.data_dir = std::path::absolute(&args.data_dir)?;
    if config.encryption.is_none() {
        config.encryption = KeySource::file_or_new(&args.data_dir.join("keys"))?;
    }
    let ui_port = (!args.no_ui).then(|| args.ui_port.map_or(Port::Preferably(8233), Port::Exactly));
    let server = TemporalServer::start(&ServerOptions {
        database: args.data_dir.join("temporal.db"),
        port: args.temporal_port.map_or(Port::Preferably(7233), Port::Exactly),
        ui_port,
        metrics_port: None,
        log: args.data_dir.join("temporal.log"),
        binary: args.temporal_bin.clone(),
    })
    .await?;
    config.temporal.address = Some(server.address().to_string());
    if config.registry_url == DEFAULT_REGISTRY_URL {
        config.registry_url = format!("sqlite:{}", args.data_dir.join("registry.db").display());
    }
    let ended = serve(name, &args, &config, handlers, settings, &server).await;
    let stopped = server.stop().await;
    ended.and(stopped)
}

async fn serve(
    name: &str,
    args: &DevArgs,
    config: &Config,
    handlers: Handlers,
    settings: WorkerSettings,
    server: &TemporalServer,
) -> Result<()> {
    config.check()?;
    if args.no_worker {
        announce(name, config, server, "none; start one with the command worker")?;
        return Ok(super::told_to_stop().await?);
    }
    let worker = worker::connect(config, handlers, &settings).await?;
    let stop = worker.shutdown_handle();
    let running = worker.run();
    tokio::pin!(running);
    let up = async {
        wait_until_healthy(config).await;
        announce(name, config, server, &format!("this process, on task queue {}", settings.task_queue))?;
        anyhow::Ok(super::told_to_stop().await?)
    };
    tokio::select! {
        ended = &mut running => return ended,
        told = up => told?,
    }
    eprintln!("{name}: stopping.");
    stop();
    running.await
}

// The worker's pollers need a moment to be known to the server. What is still wrong after that is for `handoff doctor` to say.
async fn wait_until_healthy(config: &Config) {
    let give_up = tokio::time::Instant::now() + HEALTH_PATIENCE;
    while tokio::time::Instant::now() < give_up {
        let checks = handoff_client::doctor(config).await;
        if checks.iter().all(|check| check.status != CheckStatus::Fail) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn announce(name: &str, config: &Config, server: &TemporalServer, worker: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{name} is up. Ctrl-C stops everything.")?;
    writeln!(out, "  Temporal     {}", server.address())?;
    if let Some(ui) = server.ui_address() {
        writeln!(out, "  Temporal UI  http://{ui}")?;
    }
    writeln!(out, "  Registry     {}", config.redacted_registry_url())?;
    if let KeySource::File(path) = &config.encryption {
        writeln!(out, "  Keys         {} (to look inside with Temporal's UI: handoff codec serve)", path.display())?;
    }
    writeln!(out, "  Worker       {worker}")?;
    if let Some(address) = config.metrics.address() {
        writeln!(out, "  Metrics      http://{address}/metrics")?;
    }
    writeln!(out, "In another terminal:")?;
    writeln!(out, "  export TEMPORAL_ADDRESS={}", server.address())?;
    writeln!(out, "  export HANDOFF_REGISTRY_URL={}", config.redacted_registry_url())?;
    if let KeySource::File(path) = &config.encryption {
        // Other directories' shells need it, too.
        let path = path.canonicalize().unwrap_or_else(|_| path.clone());
        writeln!(out, "  export HANDOFF_ENCRYPTION_KEYS_FILE={}", path.display())?;
    }
    writeln!(out, "  handoff doctor")?;
    Ok(out.flush()?)
}
