//! The commands of a seller's binary: `dev` and `worker`.

mod dev;
mod worker;

use crate::WorkerSettings;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use handoff_activities::seller::Handlers;
use handoff_client::ConfigArgs;
use handoff_telemetry::{Telemetry, TelemetryArgs};
use std::process::ExitCode;

const DEFAULT_FILTER: &str = "warn,handoff=info";

/// A durable AdCP seller, on Handoff.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    worker: worker::WorkerArgs,
    #[command(flatten)]
    telemetry: TelemetryArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Starts an embedded Temporal server, the registry and a worker, and prints where they are.
    Dev(dev::DevArgs),
    /// Polls Temporal and does the work, until it is told to stop.
    Worker,
}

/// Runs the command on the command line.
pub(crate) fn run(name: &str, handlers: Handlers, settings: WorkerSettings) -> ExitCode {
    // clap keeps names for as long as the process lives, and so does this one.
    let name: &'static str = Box::leak(name.to_owned().into_boxed_str());
    let matches = Arguments::command().name(name).bin_name(name).version(env!("CARGO_PKG_VERSION")).get_matches();
    let arguments = match Arguments::from_arg_matches(&matches) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    match execute(name, arguments, handlers, settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(
    name: &'static str,
    arguments: Arguments,
    handlers: Handlers,
    settings: WorkerSettings,
) -> anyhow::Result<()> {
    let Arguments { config, worker: worker_args, telemetry, command } = arguments;
    let mut config = handoff_client::Config::from(config);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let format = Telemetry::format_for_stderr();
    let telemetry = runtime.block_on(async { Telemetry::start(&telemetry, name, DEFAULT_FILTER, format) })?;
    let ended = runtime.block_on(async {
        config.metrics = worker_args.start_metrics(matches!(command, Command::Dev(_)))?;
        let settings = worker_args.apply(settings, &config)?;
        match command {
            Command::Dev(dev) => dev::run(name, dev, config, handlers, settings).await,
            Command::Worker => worker::run(name, &config, handlers, settings).await,
        }
    });
    telemetry.stop();
    ended
}

/// Completes at the first SIGINT or SIGTERM.
async fn told_to_stop() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
