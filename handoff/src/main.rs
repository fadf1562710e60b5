//! The program `handoff`.

fn main() -> std::process::ExitCode {
    handoff_worker::run_handoff()
}
