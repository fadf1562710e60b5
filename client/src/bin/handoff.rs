//! The command `handoff`.

fn main() -> std::process::ExitCode {
    handoff_client::cli::run()
}
