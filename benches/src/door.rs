//! The two servers that buyers' agents may connect to, each a process of its own, and how long each takes to answer.

use crate::{
    mcp::{self, API_KEY, Mcp},
    pair::Seller,
    polls::{PRINCIPAL, TEMPLATE, account},
    process,
};
use anyhow::{Context, Result, bail, ensure};
use handoff_client::hash_line;
use handoff_tests::Process;
use reqwest::Client;
use serde_json::{Value, json};
use std::{
    env,
    fs::File,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::process::Command;

const PATIENCE: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_millis(5);

/// A running server.
pub(crate) struct Door {
    pub(crate) seller: Seller,
    pub(crate) process: Process,
    /// Its MCP endpoint.
    pub(crate) url: String,
    /// From its start to the first 200 of `/readyz`, which Handoff alone has.
    pub(crate) ready: Option<Duration>,
    /// From its start to the first answer of a tool.
    pub(crate) first_answer: Duration,
    tasks: Tasks,
    http: Client,
}

/// Where a gateway finds what it needs.
pub(crate) struct Surroundings<'a> {
    pub(crate) registry_url: &'a str,
    pub(crate) temporal: &'a str,
    pub(crate) task_queue: &'a str,
}

enum Tasks {
    Copies(usize),
    Named(Vec<String>),
}

impl Door {
    /// Starts Handoff's gateway. `tasks`: how many copies of the template its registry holds.
    pub(crate) async fn handoff(scratch: &Path, around: &Surroundings<'_>, tasks: usize) -> Result<Self> {
        let port = free_port()?;
        let keys = scratch.join("api-keys");
        std::fs::write(&keys, hash_line(PRINCIPAL, &API_KEY.into())? + "\n")?;
        let mut command = process::own()?;
        command
            .arg("gateway")
            .env("HANDOFF_REGISTRY_URL", around.registry_url)
            .env("TEMPORAL_ADDRESS", around.temporal)
            .env("HANDOFF_TASK_QUEUE", around.task_queue)
            .env("HANDOFF_GATEWAY_ADDRESS", format!("127.0.0.1:{port}"))
            .env("HANDOFF_API_KEYS_FILE", keys)
            // One agent asks here for what many ask elsewhere.
            .env("HANDOFF_RATE_LIMIT", "0")
            .env("HANDOFF_NEW_KEYS_LIMIT", "0")
            // No busy machine makes an answer that is waited for into another.
            .env("HANDOFF_SYNC_DEADLINE", "60s")
            // It logs what a gateway logs.
            .env_remove("HANDOFF_LOG");
        Starting::new(Seller::Handoff, command, scratch, port)?.answers(Tasks::Copies(tasks)).await
    }

    /// Starts the Python SDK's server, with so many tasks in its own registry.
    pub(crate) async fn python(scratch: &Path, accounts: usize, tasks: usize) -> Result<Self> {
        let port = free_port()?;
        let ids = scratch.join(format!("ids-{port}"));
        let mut command = Command::new(buyer_python()?);
        command
            .arg(program("bench_server.py"))
            .args([&port.to_string(), API_KEY])
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/products.json"))
            .args([accounts.to_string(), tasks.to_string()])
            .arg(&ids);
        let starting = Starting::new(Seller::Python, command, scratch, port)?;
        let mut door = starting.answers(Tasks::Named(Vec::new())).await?;
        door.tasks = Tasks::Named(std::fs::read_to_string(&ids)?.lines().map(str::to_owned).collect());
        Ok(door)
    }

    /// The n-th task's id, counted from 1, and its account.
    pub(crate) fn task(&self, n: usize, accounts: usize) -> (String, String) {
        let id = match &self.tasks {
            Tasks::Copies(_) => format!("{TEMPLATE}-{n}"),
            Tasks::Named(ids) => ids[n - 1].clone(),
        };
        (id, account(n % accounts))
    }

    /// How many tasks its registry holds.
    pub(crate) fn tasks(&self) -> usize {
        match &self.tasks {
            Tasks::Copies(number) => *number,
            Tasks::Named(ids) => ids.len(),
        }
    }

    /// A session on a connection of its own.
    pub(crate) async fn session(&self) -> Result<Mcp> {
        Mcp::open(mcp::http()?, &self.url).await
    }

    /// What Handoff's gateway says that it lacks.
    pub(crate) async fn missing(&self) -> Result<Vec<String>> {
        let url = self.url.replace("/mcp", "/readyz");
        let told: Value = serde_json::from_slice(&self.http.get(url).send().await?.bytes().await?)?;
        let missing = told["missing"].as_array().context("what is missing")?;
        Ok(missing.iter().filter_map(|part| Some(part.as_str()?.to_owned())).collect())
    }
}

struct Starting {
    seller: Seller,
    process: Process,
    begun: Instant,
    base: String,
    log: PathBuf,
    http: Client,
}

impl Starting {
    fn new(seller: Seller, mut command: Command, scratch: &Path, port: u16) -> Result<Self> {
        let log = scratch.join(format!("server-{port}.log"));
        let file = File::create(&log)?;
        command.current_dir(scratch).stdout(Stdio::from(file.try_clone()?)).stderr(Stdio::from(file));
        let http = mcp::http()?;
        let begun = Instant::now();
        let process = Process::start(&mut command)?;
        Ok(Self { seller, process, begun, base: format!("http://127.0.0.1:{port}"), log, http })
    }

    async fn answers(mut self, tasks: Tasks) -> Result<Door> {
        let url = format!("{}/mcp", self.base);
        let mut ready = None;
        if self.seller == Seller::Handoff {
            self.until(async |http, base| Some(http.get(format!("{base}/readyz")).send().await.ok()?.status() == 200))
                .await?;
            ready = Some(self.begun.elapsed());
        }
        self.until(async |http, base| {
            let session = Mcp::open(http, &format!("{base}/mcp")).await.ok()?;
            Some(session.call("get_adcp_capabilities", &json!({})).await.is_ok())
        })
        .await?;
        let first_answer = self.begun.elapsed();
        let Self { seller, process, http, .. } = self;
        Ok(Door { seller, process, url, ready, first_answer, tasks, http })
    }

    async fn until(&mut self, ask: impl AsyncFn(Client, &str) -> Option<bool>) -> Result<()> {
        while ask(self.http.clone(), &self.base).await != Some(true) {
            if !self.process.is_running() {
                bail!("the {} server ended:\n{}", self.seller, self.log_tail());
            }
            ensure!(
                self.begun.elapsed() < PATIENCE,
                "the {} server does not answer:\n{}",
                self.seller,
                self.log_tail()
            );
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

/// A port of this machine's loopback that nobody listens on now.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The interpreter that has the protocol's SDK.
pub(crate) fn buyer_python() -> Result<std::ffi::OsString> {
    env::var_os("HANDOFF_BUYER_PYTHON").context("HANDOFF_BUYER_PYTHON is not set: run make bench")
}

/// A program of the tests in Python.
pub(crate) fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/programs").join(name)
}
