//! A Temporal server: the one that all tests share, or one of a test's own that it may kill.

use crate::{Counts, eventually};
use anyhow::{Context, Result};
use handoff_worker::{Port, ServerOptions, TemporalServer};
use std::{
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
};
use tempfile::TempDir;
use temporalio_client::Client;

/// A Temporal server.
pub enum Temporal {
    /// Started by `make test` for all tests; addressed by `HANDOFF_TEST_TEMPORAL`.
    Shared(String),
    /// This test's own.
    Own(Box<OwnTemporal>),
}

/// A server with its database in a directory of its own.
pub struct OwnTemporal {
    directory: TempDir,
    server: Option<TemporalServer>,
    port: u16,
    with_ui: bool,
}

impl Temporal {
    /// The shared server or, where none was started, an own one.
    pub async fn shared() -> Result<Self> {
        match std::env::var("HANDOFF_TEST_TEMPORAL") {
            Ok(address) if !address.is_empty() => Ok(Self::Shared(address)),
            _ => Self::own().await,
        }
    }

    /// A server of the test's own.
    pub async fn own() -> Result<Self> {
        Self::start(false).await
    }

    /// A server of the test's own that also serves its web UI, and with it its HTTP API.
    pub async fn own_with_ui() -> Result<Self> {
        Self::start(true).await
    }

    async fn start(with_ui: bool) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut own = OwnTemporal { directory, server: None, port: 0, with_ui };
        own.start().await?;
        Ok(Self::Own(Box::new(own)))
    }

    /// Host and port.
    pub fn address(&self) -> String {
        match self {
            Self::Shared(address) => address.clone(),
            Self::Own(own) => format!("127.0.0.1:{}", own.port),
        }
    }

    /// Host and port of the web UI, of an own server that has one and runs.
    pub fn ui_address(&self) -> Option<String> {
        let Self::Own(own) = self else { return None };
        own.server.as_ref()?.ui_address().map(|address| address.to_string())
    }

    /// What an own server has counted. Only for an own server: on the shared one, others count too.
    pub async fn counts(&self, client: &Client) -> Result<Counts> {
        let Self::Own(own) = self else { anyhow::bail!("the shared server counts for everybody") };
        let server = own.server.as_ref().context("the server is not running")?;
        Counts::read(client, server.metrics_address().context("the server has no metrics")?).await
    }

    /// An own server's process.
    pub fn process_id(&self) -> Result<u32> {
        let Self::Own(own) = self else { anyhow::bail!("the shared server's process is not ours") };
        own.server.as_ref().and_then(TemporalServer::process_id).context("the server is not running")
    }

    /// SIGKILL. Only for an own server.
    pub async fn kill(&mut self) -> Result<()> {
        let Self::Own(own) = self else { anyhow::bail!("the shared server is not to be killed") };
        own.server.take().context("the server is not running")?.kill().await
    }

    /// Every file of an own server as it is now: database, write-ahead log, the server's log.
    pub fn files(&self) -> Result<Vec<(PathBuf, Vec<u8>)>> {
        let Self::Own(own) = self else { anyhow::bail!("the shared server's files are not ours to read") };
        let paths = std::fs::read_dir(own.directory.path())?.map(|entry| Ok(entry?.path()));
        paths.map(|path: Result<PathBuf>| path.and_then(|path| Ok((path.clone(), std::fs::read(path)?)))).collect()
    }

    /// Starts a killed server again, on the same port and database.
    pub async fn restart(&mut self) -> Result<()> {
        let Self::Own(own) = self else { anyhow::bail!("the shared server is not to be restarted") };
        let address = (Ipv4Addr::LOCALHOST, own.port);
        // Somebody's outgoing connection may have its port for a moment.
        eventually("its port is free", || async move { TcpListener::bind(address).ok().map(drop) }).await;
        own.start().await
    }
}

impl OwnTemporal {
    async fn start(&mut self) -> Result<()> {
        let file = |name: &str| -> PathBuf { self.directory.path().join(name) };
        let options = ServerOptions {
            database: file("temporal.db"),
            port: if self.port == 0 { Port::Any } else { Port::Exactly(self.port) },
            ui_port: self.with_ui.then_some(Port::Any),
            metrics_port: Some(Port::Any),
            log: file("temporal.log"),
            binary: None,
        };
        let server = TemporalServer::start(&options).await?;
        self.port = server.address().port();
        self.server = Some(server);
        Ok(())
    }
}
