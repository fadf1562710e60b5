//! This program's own processes, and what a process has used, as Linux tells it.

use anyhow::{Context, Result};
use std::{env, fs};
use tokio::process::Command;

/// This program again, as one of Handoff's processes. With `BENCH_UNDER`, words with spaces between, under that program: for
/// a profiler.
pub(crate) fn own() -> Result<Command> {
    let program = env::current_exe()?;
    let under = env::var("BENCH_UNDER").unwrap_or_default();
    let mut words = under.split_whitespace();
    let Some(first) = words.next() else { return Ok(Command::new(program)) };
    let mut command = Command::new(first);
    command.args(words).arg(program);
    Ok(command)
}

// The unit of /proc's times: USER_HZ, which is 100 on every architecture that Rust runs Linux on.
const TICK_MS: f64 = 10.0;

/// CPU time of a process since its start, user and system, all threads, in milliseconds.
pub(crate) fn cpu_ms(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    ticks(&fs::read_to_string(&path).with_context(|| path.clone())?).context(path)
}

/// Resident memory, in MB.
pub(crate) fn resident_mb(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).with_context(|| path.clone())?;
    let kib: f64 = line.trim().trim_end_matches(" kB").trim().parse().context(path)?;
    Ok(kib / 1024.0)
}

/// The load average of the last minute; 0 where there is none.
pub(crate) fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or_default()
}

// The name, in parentheses, may hold anything; utime and stime are the 12th and 13th fields after it.
fn ticks(stat: &str) -> Option<f64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some((field(11)? + field(12)?) * TICK_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_added_whatever_the_name() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 100 0 0 0 12 30 5 5 20 0 9 0 100 1 1";
        assert_eq!(ticks(stat), Some(420.0));
        assert!(cpu_ms(std::process::id()).unwrap() >= 0.0);
        assert!(resident_mb(std::process::id()).unwrap() > 1.0);
    }
}
