//! A proxy before front doors that writes down what buyers ask and are answered, whoever they are, and what the protocol's own
//! package for Python says to it.

use anyhow::{Context, Result};
use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    path::Path,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{net::TcpListener, process::Command, task::AbortHandle};

const CHECK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/programs/check_messages.py");

// Headers of one connection, not of a message.
const OF_A_CONNECTION: [&str; 4] = ["connection", "keep-alive", "te", "transfer-encoding"];

/// A recording proxy; gone with this value.
pub struct Recorder {
    base: String,
    doors: Arc<Doors>,
    calls: Calls,
    serving: AbortHandle,
}

/// What the check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The release of the schemas.
    pub adcp: String,
    /// How many requests were checked.
    pub requests: u64,
    /// How many answers were checked.
    pub answers: u64,
    /// How many requests were refused unread, and not checked.
    pub unread: u64,
    /// What is invalid: each message with its tool, its place in the recording, and what is wrong with it.
    pub invalid: Vec<Value>,
}

type Calls = Arc<Mutex<Vec<Value>>>;

#[derive(Clone)]
struct Proxy {
    doors: Arc<Doors>,
    http: reqwest::Client,
    calls: Calls,
}

/// The doors in turn, as a load balancer has them.
struct Doors {
    all: Vec<Door>,
    turn: AtomicUsize,
}

struct Door {
    address: String,
    answered: AtomicUsize,
}

impl Doors {
    fn next(&self) -> &Door {
        &self.all[self.turn.fetch_add(1, Ordering::Relaxed) % self.all.len()]
    }
}

impl Recorder {
    /// Before the front doors at these addresses, which have no path: each gets the next request, whoever sends it.
    pub async fn before<D: Into<String>>(doors: impl IntoIterator<Item = D>) -> Result<Self> {
        let doors = doors.into_iter().map(|address| Door { address: address.into(), answered: AtomicUsize::new(0) });
        let doors = Arc::new(Doors { all: doors.collect(), turn: AtomicUsize::new(0) });
        anyhow::ensure!(!doors.all.is_empty(), "before which door?");
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let base = format!("http://{}", listener.local_addr()?);
        let _ = rustls::crypto::ring::default_provider().install_default();
        // A connection of its own for each request: one that the front door is about to close would fail it.
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(0)
            .build()?;
        let calls = Calls::default();
        let proxy = Proxy { doors: doors.clone(), http, calls: calls.clone() };
        let router = Router::new().fallback(forward).with_state(proxy);
        let serving = tokio::spawn(async move { drop(axum::serve(listener, router).await) });
        Ok(Self { base, doors, calls, serving: serving.abort_handle() })
    }

    /// Where it is, without path.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// How many requests each door has answered.
    pub fn shares(&self) -> Vec<usize> {
        self.doors.all.iter().map(|door| door.answered.load(Ordering::Relaxed)).collect()
    }

    /// The calls of tools that were answered: `tool`, `request`, `answer`, `is_error`.
    pub fn calls(&self) -> Vec<Value> {
        self.calls.lock().expect("calls").clone()
    }

    /// Panics unless every message is one of the protocol's, and there were some.
    pub async fn assert_valid(&self) -> Checked {
        let checked = check(&self.calls()).await.expect("the check runs");
        assert!(checked.invalid.is_empty(), "{} invalid messages: {:#?}", checked.invalid.len(), checked.invalid);
        assert!(checked.answers > 0, "nothing was recorded");
        checked
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Has the protocol's own package for Python check recorded calls.
pub async fn check(calls: &[Value]) -> Result<Checked> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("messages.jsonl");
    let mut lines = String::new();
    for call in calls {
        writeln!(lines, "{call}")?;
    }
    tokio::fs::write(&file, lines).await?;
    check_file(&file).await
}

async fn check_file(file: &Path) -> Result<Checked> {
    let python = std::env::var("HANDOFF_BUYER_PYTHON").context("run make test, which sets HANDOFF_BUYER_PYTHON")?;
    let done = Command::new(python).arg(CHECK).arg(file).stdin(Stdio::null()).kill_on_drop(true).output().await?;
    let told: Value = serde_json::from_slice(&done.stdout)
        .with_context(|| format!("it says: {}", String::from_utf8_lossy(&done.stderr)))?;
    let count = |name: &str| told[name].as_u64().with_context(|| format!("no {name}"));
    let invalid = told["invalid"].as_array().context("a list")?.clone();
    anyhow::ensure!(done.status.success() == invalid.is_empty(), "{}: {told}", done.status);
    Ok(Checked {
        adcp: told["adcp"].as_str().unwrap_or_default().to_owned(),
        requests: count("requests")?,
        answers: count("answers")?,
        unread: count("unread")?,
        invalid,
    })
}

async fn forward(State(proxy): State<Proxy>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(asked) = to_bytes(body, usize::MAX).await else { return StatusCode::BAD_REQUEST.into_response() };
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut headers = parts.headers;
    // The HTTP client writes these itself.
    for own in ["host", "content-length"].into_iter().chain(OF_A_CONNECTION) {
        headers.remove(own);
    }
    let door = proxy.doors.next();
    let url = format!("{}{path}", door.address);
    let sent = proxy.http.request(parts.method, url).headers(headers).body(asked.clone());
    match sent.send().await {
        Ok(answer) => {
            door.answered.fetch_add(1, Ordering::Relaxed);
            pass_on(answer, Recording { asked, told: Vec::new(), calls: proxy.calls })
        }
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

/// The answer as it comes, byte for byte.
fn pass_on(mut answer: reqwest::Response, recording: Recording) -> Response {
    let (status, length) = (answer.status(), answer.content_length());
    let mut headers = std::mem::take(answer.headers_mut());
    for own in OF_A_CONNECTION {
        headers.remove(own);
    }
    let chunks = futures::stream::unfold((answer, recording), move |(mut answer, mut recording)| async move {
        let chunk = match answer.chunk().await {
            Ok(Some(chunk)) => {
                recording.told.extend_from_slice(&chunk);
                // Whoever has read so many bytes need not look for more.
                if length == Some(recording.told.len() as u64) {
                    recording.write(status);
                }
                Ok(chunk)
            }
            Ok(None) if length.is_none() => {
                recording.write(status);
                return None;
            }
            Ok(None) => return None,
            Err(error) => Err(error),
        };
        Some((chunk, (answer, recording)))
    });
    let mut response = Response::new(Body::from_stream(chunks));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// A request, and as much of its answer as has come.
struct Recording {
    asked: Bytes,
    told: Vec<u8>,
    calls: Calls,
}

impl Recording {
    fn write(&self, status: StatusCode) {
        if let Some(call) = tool_call(&self.asked, status, &self.told) {
            self.calls.lock().expect("calls").push(call);
        }
    }
}

/// `None`: no call of a tool, or one that the transport refused.
fn tool_call(asked: &[u8], status: StatusCode, told: &[u8]) -> Option<Value> {
    let asked: Value = serde_json::from_slice(asked).ok()?;
    if asked["method"] != "tools/call" || status != StatusCode::OK {
        return None;
    }
    let told: Value = serde_json::from_slice(told).unwrap_or_default();
    if told.get("error").is_some() {
        return None;
    }
    let request = asked["params"].get("arguments").filter(|arguments| !arguments.is_null());
    Some(json!({
        "tool": asked["params"]["name"],
        "request": request.cloned().unwrap_or_else(|| json!({})),
        // Without one it is no answer that the protocol has, which the check says.
        "answer": told["result"]["structuredContent"],
        "is_error": told["result"]["isError"] == true,
    }))
}
