//! The commands of a seller's binary: `dev` and `worker`.

mod dev;
mod worker;

use crate::WorkerSettings;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use handoff_activities::seller::Handlers;
use handoff_client::ConfigArgs;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// A durable AdCP seller, on Handoff.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    worker: worker::WorkerArgs,
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
    let filter = EnvFilter::try_from_env("HANDOFF_LOG").unwrap_or_else(|_| EnvFilter::new("warn,handoff=info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match execute(name, arguments, handlers, settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(name: &str, arguments: Arguments, handlers: Handlers, settings: WorkerSettings) -> anyhow::Result<()> {
    let Arguments { config, worker: worker_args, command } = arguments;
    let config = handoff_client::Config::from(config);
    let settings = worker_args.apply(settings, &config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match command {
            Command::Dev(dev) => dev::run(name, dev, config, handlers, settings).await,
            Command::Worker => worker::run(name, &config, handlers, settings).await,
        }
    })
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
