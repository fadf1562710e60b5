//! A seller's front door and workers as processes, and callers that speak JSON-RPC to the letter.

use crate::{Process, Scrape, World, binary, recorder::Recorder};
use anyhow::{Context, Result};
use handoff_client::hash_line;
use serde_json::{Value, json};
use std::{
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// The API key of [`AGENT`].
pub const API_KEY: &str = "key-of-the-usual-agent";
/// The usual agent.
pub const AGENT: &str = "agent.pinnacle.example";
/// The API key of [`OTHER_AGENT`].
pub const OTHER_API_KEY: &str = "key-of-another-agent";
/// Another agent.
pub const OTHER_AGENT: &str = "agent.other.example";

/// Acme, or the lab seller, as its operator set it up.
pub struct Acme<'a> {
    world: &'a World,
    program: &'static str,
    directory: TempDir,
    variables: Vec<(&'static str, String)>,
}

/// A front door, killed with this value.
pub struct Front {
    child: Child,
    /// Where it is, without path.
    pub base: String,
    /// Where buyers are sent: to itself, or to what stands before it.
    entry: String,
    /// What it wrote to its log.
    pub log: Arc<Mutex<String>>,
    http: reqwest::Client,
    ids: AtomicU64,
}

impl<'a> Acme<'a> {
    /// In this world, with the keys of the two agents.
    pub fn new(world: &'a World) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let lines = [(AGENT, API_KEY), (OTHER_AGENT, OTHER_API_KEY)]
            .map(|(agent, key)| hash_line(agent, &key.into()).map(|line| line + "\n"));
        let keys = directory.path().join("api-keys");
        std::fs::write(&keys, lines.into_iter().collect::<Result<String, _>>()?)?;
        let variables = vec![
            ("HANDOFF_API_KEYS_FILE", keys.display().to_string()),
            ("HANDOFF_GATEWAY_ADDRESS", "127.0.0.1:0".to_owned()),
            ("HANDOFF_RATE_LIMIT", "0".to_owned()),
            ("HANDOFF_SYNC_DEADLINE", "20s".to_owned()),
            ("HANDOFF_STICKY_TIMEOUT", "1s".to_owned()),
            ("HANDOFF_LOG", "info".to_owned()),
            ("ACME_DATA_DIR", directory.path().join("acme").display().to_string()),
            ("ACME_BOOKING_MS", "50".to_owned()),
            ("ACME_CURATION_MS", "50".to_owned()),
            ("ACME_CHORE_MS", "50".to_owned()),
        ];
        Ok(Self { world, program: "acme-seller", directory, variables })
    }

    /// The lab seller in Acme's place.
    pub fn lab(world: &'a World) -> Result<Self> {
        let lab = world.lab_directory().display().to_string();
        Ok(Self { program: "lab-seller", ..Self::new(world)?.set("LAB_DIR", lab) })
    }

    /// The same with another setting.
    #[must_use]
    pub fn set(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    /// Where its files are.
    pub fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(binary(self.program));
        command.arg(name).envs(self.world.environment()).envs(self.variables.iter().cloned());
        command
    }

    /// A worker.
    pub fn worker(&self) -> Result<Process> {
        Process::start(self.command("worker").stderr(Stdio::null()))
    }

    /// A front door, once it is open.
    pub async fn gateway(&self) -> Result<Front> {
        let mut child =
            self.command("gateway").stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).spawn()?;
        let mut lines = BufReader::new(child.stderr.take().context("a pipe")?).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let mut base = None;
        while let Some(line) = lines.next_line().await? {
            if let Some((_, rest)) = line.split_once("gateway at ") {
                base = rest.split_once("/mcp").map(|(base, _)| base.to_owned());
                break;
            }
            keep(&log, &line);
        }
        let base = base.with_context(|| format!("the gateway did not open: {}", log.lock().expect("a log")))?;
        let kept = log.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                keep(&kept, &line);
            }
        });
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Front { child, entry: base.clone(), base, log, http, ids: AtomicU64::new(1) })
    }

    /// The command `handoff`, in this world.
    pub async fn handoff(&self, arguments: &[&str]) -> Result<Value> {
        let output = Command::new(binary("handoff"))
            .arg("--json")
            .args(arguments)
            .envs(self.world.environment())
            .output()
            .await?;
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        anyhow::ensure!(output.status.success(), "{arguments:?}: {told}{}", String::from_utf8_lossy(&output.stderr));
        Ok(serde_json::from_str(&told)?)
    }
}

/// Panics if a process logged what it did not expect.
pub fn assert_calm(log: &str) {
    // The library takes a client that hung up for an error of its own.
    let ours = log.lines().filter(|line| !line.contains("\"target\":\"rmcp::"));
    let bad: Vec<&str> = ours.filter(|line| line.contains("panicked") || line.contains("ERROR")).collect();
    assert!(bad.is_empty(), "{bad:#?}");
}

fn keep(log: &Mutex<String>, line: &str) {
    let mut log = log.lock().expect("a log");
    log.push_str(line);
    log.push('\n');
}

/// A tool's answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// The structured content.
    pub body: Value,
    /// Said to be an error.
    pub is_error: bool,
}

impl Told {
    /// The code of the error that it is.
    pub fn code(&self) -> &str {
        assert!(self.is_error, "{}", self.body);
        self.body["errors"][0]["code"].as_str().unwrap_or_default()
    }
}

impl Front {
    /// The MCP endpoint.
    pub fn url(&self) -> String {
        format!("{}/mcp", self.entry)
    }

    /// From now on what buyers ask at the MCP endpoint, and what they are answered, is written down.
    pub async fn recorded(&mut self) -> Result<Recorder> {
        let recorder = Recorder::before([&self.base]).await?;
        self.entry = recorder.base().to_owned();
        Ok(recorder)
    }

    /// A request to a path.
    pub fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.http.get(format!("{}{path}", self.base))
    }

    /// A POST to the MCP endpoint, as a client would send it but for its body.
    pub fn post(&self, api_key: &str) -> reqwest::RequestBuilder {
        self.post_of_type(api_key, "application/json")
    }

    /// The same of another content type.
    pub fn post_of_type(&self, api_key: &str, content_type: &str) -> reqwest::RequestBuilder {
        self.http
            .post(self.url())
            .header("content-type", content_type)
            .header("accept", "application/json, text/event-stream")
            .bearer_auth(api_key)
    }

    /// A JSON-RPC request's answer, whole.
    pub async fn rpc(&self, method: &str, params: Value) -> Value {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let response = self.post(API_KEY).body(message.to_string()).send().await.expect("an answer");
        let answer: Value = serde_json::from_slice(&response.bytes().await.expect("a body")).expect("JSON");
        assert_eq!(answer["id"], json!(id), "{answer}");
        answer
    }

    /// Calls a tool as the usual agent.
    pub async fn call(&self, tool: &str, request: &Value) -> Told {
        self.call_as(API_KEY, tool, request).await
    }

    /// Calls a tool as the agent of this key.
    pub async fn call_as(&self, api_key: &str, tool: &str, request: &Value) -> Told {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let params = json!({"name": tool, "arguments": request});
        let message = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params});
        let response = self.post(api_key).body(message.to_string()).send().await.expect("an answer");
        assert_eq!(response.status(), 200);
        let answer: Value = serde_json::from_slice(&response.bytes().await.expect("a body")).expect("JSON");
        let result = &answer["result"];
        let text = result["content"][0]["text"].as_str().unwrap_or_default();
        let body = result["structuredContent"].clone();
        assert_eq!(serde_json::from_str::<Value>(text).ok().as_ref(), Some(&body), "{answer}");
        Told { body, is_error: result["isError"] == true }
    }

    /// What the process measured.
    pub async fn scrape(&self) -> Scrape {
        let text = self.get("/metrics").send().await.expect("an answer").text().await.expect("text");
        Scrape::parse(&text).expect("metrics")
    }

    /// Panics unless the process lives, and saw nothing that it did not expect.
    pub async fn assert_unharmed(&mut self) {
        assert_eq!(self.child.try_wait().expect("a process"), None, "the front door is gone");
        assert_eq!(self.get("/healthz").send().await.expect("an answer").status(), 200);
        assert_calm(&self.log.lock().expect("a log"));
    }

    /// Calls a tool as the usual agent; an error if the process goes away meanwhile.
    pub async fn try_call(&self, tool: &str, request: &Value) -> Result<Value> {
        let params = json!({"name": tool, "arguments": request});
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
        let response = self.post(API_KEY).body(message.to_string()).send().await?;
        let answer: Value = serde_json::from_slice(&response.bytes().await?)?;
        Ok(answer["result"]["structuredContent"].clone())
    }

    /// SIGTERM, and waits for its end.
    pub async fn terminate(&mut self) -> Result<std::process::ExitStatus> {
        let pid = self.child.id().context("the front door is gone")?.to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status().await?;
        anyhow::ensure!(told.success(), "kill -TERM {pid} failed");
        Ok(self.child.wait().await?)
    }

    /// SIGKILL.
    pub async fn kill(&mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }
}

const REQUESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/acme-seller/requests/");

/// The names of Acme's examples, each of which begins with its tool's.
pub fn acme_examples() -> Vec<String> {
    let files = std::fs::read_dir(REQUESTS).expect("the examples");
    let names = files.filter_map(|file| file.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter_map(|name| Some(name.strip_suffix(".json")?.to_owned())).collect();
    names.sort();
    names
}

/// A request of Acme's examples, with a fresh key.
pub fn acme_request(name: &str) -> Value {
    let text = std::fs::read_to_string(format!("{REQUESTS}{name}.json")).expect("an example");
    let mut request: Value = serde_json::from_str(&text).expect("JSON");
    request["idempotency_key"] = json!(crate::fresh_key());
    request
}
