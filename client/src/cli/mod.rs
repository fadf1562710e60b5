//! The command `handoff`: data on stdout, talk on stderr, and an exit code for each kind of end (see [`Exit`]).

mod api_key;
mod args;
mod buyer;
mod codec;
mod completions;
mod config;
mod decide;
mod doctor;
mod exit;
mod explain;
mod input;
mod output;
mod problem;
mod progress;
mod proposal;
mod purge;
mod reconcile;
mod registry;
mod review;
mod sandbox;
mod show;
mod task;
mod verb;
mod webhook;

pub use args::{Cli, Commands};
pub use exit::Exit;
pub use review::ReviewCheck;

use crate::{Config, ConfigArgs, Handoff, Tasks};
use args::{Command, RegistryCommand, TaskCommand, VerbCommand};
use clap::{ArgMatches, CommandFactory, FromArgMatches};
use handoff_telemetry::{LogFormat, Telemetry, TelemetryArgs};
use output::Output;
use problem::Problem;
use std::process::ExitCode;

/// The command line that a command was found on.
pub struct CommandLine {
    /// Its definition, by the name that it was called by.
    pub definition: clap::Command,
    /// What was found.
    pub matches: ArgMatches,
    /// Whether JSON is wanted.
    pub json: bool,
    /// What a reviewer's result is compared with; without one it is sent as it is.
    pub check: Option<Box<dyn ReviewCheck>>,
}

/// Runs the command line of this process, which is the client's and what else `A` has.
pub fn run<A: CommandFactory + FromArgMatches>(read: impl FnOnce(A) -> (Cli, Box<dyn ReviewCheck>)) -> ExitCode {
    let parsed = A::command().try_get_matches().and_then(|matches| Ok((A::from_arg_matches(&matches)?, matches)));
    let (arguments, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Ok.into() };
        }
    };
    let (cli, check) = read(arguments);
    let line = CommandLine { definition: A::command(), matches, json: cli.json, check: Some(check) };
    run_command(cli.command, cli.config, &cli.telemetry, &line).into()
}

/// Runs one of these commands, with its own runtime and log, and says how it ended.
pub fn run_command(command: Commands, config: ConfigArgs, telemetry: &TelemetryArgs, line: &CommandLine) -> Exit {
    // Whoever installed another one before meant that.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no runtime: {error}");
            return Exit::Unexpected;
        }
    };
    let started = runtime.block_on(async { Telemetry::start(telemetry, "handoff", "warn", LogFormat::Text) });
    let telemetry = match started {
        Ok(telemetry) => telemetry,
        Err(error) => {
            eprintln!("error: {error}");
            return Exit::Usage;
        }
    };
    let exit = runtime.block_on(execute(command, config, line));
    telemetry.stop();
    // What is still being looked up must not hold the process.
    runtime.shutdown_background();
    exit
}

async fn execute(command: Commands, config: ConfigArgs, line: &CommandLine) -> Exit {
    let output = Output::new(line.json);
    match dispatch(command.0, Config::from(config), line, &output).await {
        Ok(exit) => exit,
        Err(problem) => {
            output.problem(&problem);
            problem.exit
        }
    }
}

async fn dispatch(command: Command, config: Config, line: &CommandLine, output: &Output) -> Result<Exit, Problem> {
    match command {
        Command::Verb(VerbCommand::Call(call)) => verb::call(call, config, output).await,
        Command::Verb(VerbCommand::List) => Ok(verb::list(output)),
        Command::Task(command) => match command {
            TaskCommand::Get(get) => task::get(get, &Tasks::connect(&config).await?, output).await,
            TaskCommand::List(list) => task::list(list, &Tasks::connect(&config).await?, output).await,
            TaskCommand::Watch(watch) => task::watch(watch, &Tasks::connect(&config).await?, output).await,
            TaskCommand::History(history) => task::history(history, &Tasks::connect(&config).await?, output).await,
            // What can't be read is refused before anything is connected.
            TaskCommand::Progress(report) => {
                let report = report.report()?;
                progress::send(report, &Tasks::connect(&config).await?, output).await
            }
            TaskCommand::Complete(complete) => {
                let check = line.check.as_deref().filter(|_| !complete.unchecked);
                decide::send(complete.decision()?, check, config, output).await
            }
            TaskCommand::Fail(fail) => decide::send(fail.decision()?, None, config, output).await,
            TaskCommand::Cancel(cancel) => decide::send(cancel.decision()?, None, config, output).await,
        },
        Command::Buyer(command) => buyer::run(command, output).await,
        Command::ApiKey(command) => api_key::run(command, output),
        Command::Codec(command) => codec::run(command, &config, output).await,
        Command::Registry(RegistryCommand::Reseal(args)) => {
            registry::reseal(args, &Tasks::connect(&config).await?, output).await
        }
        Command::Webhook(command) => webhook::run(command, config, output).await,
        Command::Proposal(command) => proposal::run(command, &config, output).await,
        Command::Sandbox(command) => sandbox::run(command, config, output).await,
        Command::Doctor => Ok(doctor::run(&config, output).await),
        Command::Purge(args) => purge::run(args, config, output).await,
        Command::Config(args) => Ok(config::run(&args, line, output)),
        Command::Explain(args) => explain::run(args, output),
        Command::Completions { shell } => Ok(completions::run(shell, line)),
        Command::Reconcile(args) => reconcile::run(args, &Handoff::connect(config).await?, output).await,
    }
}
