//! `handoff doctor`.

use super::{exit::Exit, output::Output};
use crate::{CheckStatus, Config};
use serde_json::json;

pub(super) async fn run(config: &Config, output: &Output) -> Exit {
    let checks = crate::doctor(config).await;
    let worst = checks.iter().map(|check| check.status).max().unwrap_or(CheckStatus::Ok);
    output.data(&json!({"status": worst, "checks": checks}), || {
        let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
        let lines = checks.iter().map(|check| {
            let mark = match check.status {
                CheckStatus::Ok => "ok  ",
                CheckStatus::Warn => "warn",
                CheckStatus::Fail => "FAIL",
            };
            let line = format!("{mark}  {:<width$}  {}", check.name, check.found);
            if check.mend.is_empty() {
                line
            } else {
                format!("{line}\n{:indent$}{}", "", check.mend, indent = width + 8)
            }
        });
        lines.collect::<Vec<_>>().join("\n")
    });
    if worst == CheckStatus::Fail { Exit::Unexpected } else { Exit::Ok }
}
