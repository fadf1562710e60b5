//! `handoff completions`.

use super::{CommandLine, exit::Exit};
use clap_complete::Shell;
use std::io::Write;

pub(super) fn run(shell: Shell, line: &CommandLine) -> Exit {
    let mut definition = line.definition.clone();
    let name = definition.get_bin_name().unwrap_or(definition.get_name()).to_owned();
    // First into memory: a reader that has had enough is no failure.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut definition, name, &mut script);
    let _ = std::io::stdout().write_all(&script);
    Exit::Ok
}
