//! The commands of a seller's binary: `dev`, `worker`, `gateway`, and those of `handoff`.

mod contract;
mod dev;
mod gateway;
mod handoff;
mod worker;

pub(crate) use gateway::FrontDoor;
pub use handoff::run_handoff;

use crate::WorkerSettings;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use handoff_activities::seller::Handlers;
use handoff_client::{
    ConfigArgs,
    cli::{CommandLine, Commands, run_command},
};
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
    #[command(flatten)]
    gateway: gateway::GatewayArgs,
    #[command(flatten)]
    contract: contract::ContractArgs,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    Own(Own),
    #[command(flatten)]
    Client(Commands),
}

#[derive(Subcommand)]
pub(crate) enum Own {
    /// Starts an embedded Temporal server, the registry, a worker and a gateway, and prints where they are.
    Dev(dev::DevArgs),
    /// Polls Temporal and does the work, until it is told to stop.
    Worker,
    /// Serves buyers' agents, until it is told to stop.
    Gateway,
}

/// Runs the command on the command line.
pub(crate) fn run(name: &str, handlers: Handlers, settings: WorkerSettings, front: FrontDoor) -> ExitCode {
    // clap and the telemetry keep the name for as long as the process lives, and so does this process.
    let name: &'static str = Box::leak(name.to_owned().into_boxed_str());
    let definition = definition(name, &settings);
    let matches = definition.clone().get_matches();
    let Arguments { config, worker, gateway, contract, telemetry, json, command } =
        match Arguments::from_arg_matches(&matches) {
            Ok(arguments) => arguments,
            Err(error) => error.exit(),
        };
    let command = match command {
        Command::Own(command) => command,
        Command::Client(command) => {
            let line = CommandLine { definition, matches, json, check: Some(Box::new(contract)) };
            return run_command(command, config, &telemetry, &line).into();
        }
    };
    let parts = Parts { handlers, settings, front };
    let arguments = OwnArguments { config, worker, gateway, contract, telemetry };
    match execute(name, command, arguments, parts) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The command line of this seller: what its code set are the defaults.
fn definition(name: &'static str, settings: &WorkerSettings) -> clap::Command {
    let command = Arguments::command().name(name).bin_name(name).version(env!("CARGO_PKG_VERSION"));
    worker::WorkerArgs::with_defaults(command, settings)
}

/// What the seller's code gave.
pub(crate) struct Parts {
    handlers: Handlers,
    settings: WorkerSettings,
    front: FrontDoor,
}

/// What the command line says to the commands that serve.
struct OwnArguments {
    config: ConfigArgs,
    worker: worker::WorkerArgs,
    gateway: gateway::GatewayArgs,
    contract: contract::ContractArgs,
    telemetry: TelemetryArgs,
}

fn execute(name: &'static str, command: Own, arguments: OwnArguments, parts: Parts) -> anyhow::Result<()> {
    let OwnArguments { config, worker: worker_args, gateway, contract, telemetry } = arguments;
    let mut config = handoff_client::Config::from(config);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let format = Telemetry::format_for_stderr();
    let telemetry = runtime.block_on(async { Telemetry::start(&telemetry, name, DEFAULT_FILTER, format) })?;
    let ended = runtime.block_on(async {
        config.metrics = worker_args.start_metrics(&command)?;
        let mut settings = worker_args.apply(parts.settings.clone(), &config)?;
        settings.contract = contract.load(name)?;
        match command {
            Own::Dev(dev) => dev::run(name, dev, &gateway, config, Parts { settings, ..parts }).await,
            Own::Worker => worker::run(name, &config, parts.handlers, settings).await,
            Own::Gateway => gateway::run(name, &gateway, &config, Parts { settings, ..parts }).await,
        }
    });
    telemetry.stop();
    // A call that blocks its thread, of a handler that was handed over or of a lookup, must not hold the process.
    runtime.shutdown_background();
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
    use handoff_client::{Config, settings};
    use std::time::Duration;

    #[test]
    fn the_command_line_is_consistent() {
        definition("seller", &WorkerSettings::default()).debug_assert();
    }

    #[test]
    fn what_the_code_set_is_the_default_and_flags_win() {
        let code =
            WorkerSettings { max_cached_workflows: 7, sticky_timeout: Duration::from_secs(9), ..Default::default() };
        let applied = |line: &[&str]| {
            let matches = definition("seller", &code).get_matches_from(line);
            let arguments = Arguments::from_arg_matches(&matches).unwrap();
            arguments.worker.apply(code.clone(), &Config::from(arguments.config)).unwrap()
        };
        let unset = applied(&["seller", "worker"]);
        assert_eq!((unset.max_cached_workflows, unset.sticky_timeout), (7, Duration::from_secs(9)));
        assert_eq!(applied(&["seller", "worker", "--sticky-timeout", "2s"]).sticky_timeout, Duration::from_secs(2));
        let settings = settings::settings(&definition("seller", &code));
        let shown = settings.iter().find(|setting| setting.name() == "HANDOFF_STICKY_TIMEOUT").unwrap();
        assert_eq!(shown.default.as_deref(), Some("9s"));
    }
}
