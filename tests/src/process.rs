//! Processes that tests start, pause, kill and look at.

use anyhow::{Context, Result, bail};
use std::{path::PathBuf, process::Stdio};
use tokio::process::{Child, Command};

/// The path of a binary of this workspace, built by `make test` beside the tests.
pub fn binary(name: &str) -> PathBuf {
    let mut directory = std::env::current_exe().unwrap_or_default();
    directory.pop();
    if directory.ends_with("deps") {
        directory.pop();
    }
    let path = directory.join(name);
    assert!(path.is_file(), "{} is not built; run make test, or cargo build --workspace --bins", path.display());
    path
}

/// A running process; killed with this value.
pub struct Process {
    child: Child,
    pid: u32,
}

impl Process {
    /// Starts it.
    pub fn start(command: &mut Command) -> Result<Self> {
        let child = command.kill_on_drop(true).stdin(Stdio::null()).spawn()?;
        let pid = child.id().context("the process is gone at once")?;
        Ok(Self { child, pid })
    }

    /// SIGKILL, and waits until it is gone.
    pub async fn kill(&mut self) -> Result<()> {
        self.child.kill().await?;
        Ok(())
    }

    /// SIGSTOP.
    pub async fn pause(&self) -> Result<()> {
        self.signal("STOP").await
    }

    /// SIGCONT.
    pub async fn resume(&self) -> Result<()> {
        self.signal("CONT").await
    }

    /// SIGTERM, and waits for its end.
    pub async fn terminate(&mut self) -> Result<std::process::ExitStatus> {
        self.signal("TERM").await?;
        Ok(self.child.wait().await?)
    }

    /// Waits for its end, however it comes.
    pub async fn wait(&mut self) -> Result<std::process::ExitStatus> {
        Ok(self.child.wait().await?)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.pid
    }

    /// How much of it is in memory, in bytes.
    pub async fn resident_bytes(&self) -> Result<u64> {
        let output = Command::new("ps").args(["-o", "rss=", "-p"]).arg(self.pid.to_string()).output().await?;
        let kibibytes: u64 =
            String::from_utf8_lossy(&output.stdout).trim().parse().context("ps knows no such process")?;
        Ok(kibibytes * 1024)
    }

    /// Is it still there?
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    async fn signal(&self, name: &str) -> Result<()> {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.pid.to_string()).status().await?;
        if status.success() { Ok(()) } else { bail!("kill -{name} {} failed", self.pid) }
    }
}
