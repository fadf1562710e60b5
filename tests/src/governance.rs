//! A buyer's governance agent, as a process: a server of MCP's own package for Python, over TLS with an authority of its own.

use anyhow::{Context, Result};
use handoff_webhooks::{Egress, EgressOptions, McpAgent};
use handoff_worker::DevelopmentTls;
use serde_json::{Value, json};
use std::{process::Stdio, time::Duration};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    sync::Mutex,
    time::timeout,
};

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/programs/governance_agent.py");
// Python and its packages are read first, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running agent, killed with this value.
pub struct GovernanceAgent {
    child: Child,
    checks: Mutex<Lines<BufReader<ChildStdout>>>,
    egress: Egress,
    port: u16,
    directory: TempDir,
}

impl GovernanceAgent {
    /// What it is asked with.
    pub const CREDENTIALS: &str = "gov-token-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

    /// On a free port.
    pub async fn start() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        DevelopmentTls::open(directory.path())?;
        let python = std::env::var("HANDOFF_BUYER_PYTHON").context("run make test, which sets HANDOFF_BUYER_PYTHON")?;
        let mut child = Command::new(python)
            .arg(PROGRAM)
            .arg(directory.path())
            .arg(Self::CREDENTIALS)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("a pipe")?).lines();
        let first = timeout(PATIENCE, lines.next_line()).await.context("the agent does not start")??;
        let first: Value = serde_json::from_str(&first.context("the agent is gone")?)?;
        let port = first["port"].as_u64().and_then(|port| port.try_into().ok()).context("a port")?;
        let egress = Egress::new(&EgressOptions {
            allowed: "127.0.0.0/8,::1".parse().map_err(anyhow::Error::msg)?,
            roots: Some(directory.path().join("ca.pem")),
            ..EgressOptions::default()
        })?;
        Ok(Self { child, checks: Mutex::new(lines), egress, port, directory })
    }

    /// Where it is asked.
    pub fn url(&self) -> String {
        format!("https://localhost:{}/mcp", self.port)
    }

    /// The file with the certificate that its clients have to trust.
    pub fn authority(&self) -> String {
        self.directory.path().join("ca.pem").display().to_string()
    }

    /// Gives it a plan of so much money, as its buyer; `test` says how the agent itself is to be.
    pub async fn plan(&self, plan_id: &str, budget: u32, test: Value) {
        let plan = json!({
            "plan_id": plan_id,
            "brand": {"domain": "nova.example"},
            "objectives": "A test.",
            "budget": {"total": budget, "currency": "USD", "reallocation_threshold": budget},
            "flight": {"start": "2027-01-01T00:00:00Z", "end": "2027-12-31T00:00:00Z"},
        });
        let request = json!({"idempotency_key": crate::fresh_key(), "plans": [plan], "ext": {"test": test}});
        self.ask("sync_plans", &request).await;
    }

    /// Has it approve a buyer's intent, and returns the context of the approval. The check is not told.
    pub async fn approve(&self, plan_id: &str, seller: &str, purchase: &Value) -> String {
        let intent = json!({"adcp_version": "3.2", "plan_id": plan_id, "caller": "https://buyer.example/mcp",
            "target_agent": seller, "tool": "create_media_buy", "payload": purchase});
        let answer = self.ask("check_governance", &intent).await;
        self.next_check().await;
        answer["governance_context"].as_str().expect("an approval").to_owned()
    }

    /// The next check that it was asked for.
    pub async fn next_check(&self) -> Value {
        let line = timeout(PATIENCE, async { self.checks.lock().await.next_line().await }).await;
        let line = line.expect("a check").expect("a line").expect("the agent lives");
        serde_json::from_str::<Value>(&line).expect("JSON")["check"].take()
    }

    /// The next check of this kind. On a busy machine a quick handler may have been too slow, and have asked twice: what comes
    /// before is passed over.
    pub async fn next_check_where(&self, fits: impl Fn(&Value) -> bool) -> Value {
        loop {
            let check = self.next_check().await;
            if fits(&check) {
                return check;
            }
        }
    }

    /// SIGKILL.
    pub async fn kill(&mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    async fn ask(&self, tool: &str, request: &Value) -> Value {
        let agent = McpAgent::new(&self.url(), Self::CREDENTIALS).expect("a URL");
        agent.call(&self.egress, tool, request).await.expect("an answer")
    }
}
