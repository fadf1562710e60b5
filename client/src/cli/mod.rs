//! The command `handoff`: data on stdout, talk on stderr, and an exit code for each kind of end (see [`Exit`]).

mod args;
mod codec;
mod decide;
mod doctor;
mod exit;
mod input;
mod output;
mod problem;
mod purge;
mod reconcile;
mod registry;
mod show;
mod task;
mod verb;

pub use args::Cli;
pub use exit::Exit;

use crate::{Config, Handoff, Tasks};
use args::{Command, RegistryCommand, TaskCommand, VerbCommand};
use clap::Parser;
use handoff_telemetry::{LogFormat, Telemetry};
use output::Output;
use problem::Problem;
use std::process::ExitCode;

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Ok.into() };
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no runtime: {error}");
            return Exit::Unexpected.into();
        }
    };
    let started = runtime.block_on(async { Telemetry::start(&cli.telemetry, "handoff", "warn", LogFormat::Text) });
    let telemetry = match started {
        Ok(telemetry) => telemetry,
        Err(error) => {
            eprintln!("error: {error}");
            return Exit::Usage.into();
        }
    };
    let exit = runtime.block_on(execute(cli));
    telemetry.stop();
    // What is still being looked up must not hold the process.
    runtime.shutdown_background();
    exit.into()
}

/// Runs a parsed command line and says how it ended.
pub async fn execute(cli: Cli) -> Exit {
    let output = Output::new(cli.json);
    let config = Config::from(cli.config);
    match dispatch(cli.command, config, &output).await {
        Ok(exit) => exit,
        Err(problem) => {
            output.problem(&problem);
            problem.exit
        }
    }
}

async fn dispatch(command: Command, config: Config, output: &Output) -> Result<Exit, Problem> {
    match command {
        Command::Verb(VerbCommand::Call(call)) => verb::call(call, config, output).await,
        Command::Verb(VerbCommand::List) => Ok(verb::list(output)),
        Command::Task(command) => match command {
            TaskCommand::Get(get) => task::get(get, &Tasks::connect(&config).await?, output).await,
            TaskCommand::List(list) => task::list(list, &Tasks::connect(&config).await?, output).await,
            TaskCommand::Watch(watch) => task::watch(watch, &Tasks::connect(&config).await?, output).await,
            TaskCommand::History(history) => task::history(history, &Tasks::connect(&config).await?, output).await,
            TaskCommand::Progress(report) => task::progress(report, &Tasks::connect(&config).await?, output).await,
            // What can't be read is refused before anything is connected.
            TaskCommand::Complete(complete) => decide::send(complete.decision()?, config, output).await,
            TaskCommand::Fail(fail) => decide::send(fail.decision()?, config, output).await,
            TaskCommand::Cancel(cancel) => decide::send(cancel.decision()?, config, output).await,
        },
        Command::Codec(command) => codec::run(command, &config, output).await,
        Command::Registry(RegistryCommand::Reseal(args)) => {
            registry::reseal(args, &Tasks::connect(&config).await?, output).await
        }
        Command::Doctor => Ok(doctor::run(&config, output).await),
        Command::Purge(args) => purge::run(args, config, output).await,
        Command::Reconcile(args) => reconcile::run(args, &Handoff::connect(config).await?, output).await,
    }
}
