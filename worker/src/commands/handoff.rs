//! The program `handoff`: the commands that no seller's code is needed for.

use super::contract::ContractArgs;
use clap::Parser;
use handoff_client::cli::{self, Cli, ReviewCheck};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "handoff")]
struct Arguments {
    #[command(flatten)]
    contract: ContractArgs,
    // The last one's description is the program's.
    #[command(flatten)]
    cli: Cli,
}

/// Runs the command line of the program `handoff`.
pub fn run_handoff() -> ExitCode {
    cli::run(|Arguments { contract, cli }| (cli, Box::new(contract) as Box<dyn ReviewCheck>))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn it_is_the_client_and_takes_the_contract() {
        let (program, client) = (Arguments::command(), Cli::command());
        program.clone().debug_assert();
        assert_eq!((program.get_name(), program.get_version()), (client.get_name(), client.get_version()));
        assert_eq!(program.get_long_about().map(ToString::to_string), client.get_long_about().map(ToString::to_string));
        let arguments =
            Arguments::try_parse_from(["handoff", "task", "complete", "t", "--result", "{}", "--validation", "warn"]);
        assert!(!arguments.unwrap().contract.refuses());
        assert!(Arguments::try_parse_from(["handoff", "doctor"]).unwrap().contract.refuses());
    }
}
