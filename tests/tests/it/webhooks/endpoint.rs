//! Buyers' endpoints, which answer as a test says.

use anyhow::{Context, Result};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::Value;
use std::{
    collections::VecDeque,
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    net::TcpListener,
    process::{Child, ChildStdout, Command},
    sync::Notify,
};

/// How an endpoint answers.
#[derive(Clone, Debug)]
pub(crate) enum Say {
    Status(u16),
    With(u16, &'static [(&'static str, &'static str)]),
    /// Nothing, for a long time.
    Hang,
    /// A success that goes on for ten megabytes.
    Huge,
}

/// A delivery as it came.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Delivery {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

#[derive(Clone, Default)]
struct Shared {
    plan: Arc<Mutex<VecDeque<Say>>>,
    came: Arc<Mutex<Vec<Delivery>>>,
}

/// An endpoint on this machine, by plain HTTP. It answers by its plan, and then 200.
pub(crate) struct Endpoint {
    shared: Shared,
    port: u16,
    serving: tokio::task::JoinHandle<()>,
    close: Arc<Notify>,
}

impl Endpoint {
    pub(crate) async fn start(plan: impl IntoIterator<Item = Say>) -> Self {
        Self::on(0, plan).await
    }

    pub(super) async fn on(port: u16, plan: impl IntoIterator<Item = Say>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Shared { plan: Arc::new(Mutex::new(plan.into_iter().collect())), ..Shared::default() };
        let router = Router::new().fallback(answer).with_state(shared.clone());
        let close = Arc::new(Notify::new());
        let closed = close.clone();
        let serving = axum::serve(listener, router).with_graceful_shutdown(async move { closed.notified().await });
        let serving = tokio::spawn(async move { drop(serving.await) });
        Self { shared, port, serving, close }
    }

    /// Takes no more, on no connection.
    pub(super) async fn close(&mut self) {
        self.close.notify_one();
        (&mut self.serving).await.expect("it served");
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook?key=value", self.port)
    }

    pub(crate) fn came(&self) -> Vec<Delivery> {
        self.shared.came.lock().unwrap().clone()
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    shared.came.lock().unwrap().push(Delivery { headers, body });
    let say = shared.plan.lock().unwrap().pop_front().unwrap_or(Say::Status(200));
    let status = |status| StatusCode::from_u16(status).expect("a status");
    match say {
        Say::Status(code) => (status(code), "MARK-answer").into_response(),
        Say::With(code, headers) => {
            let mut response = status(code).into_response();
            for (name, value) in headers {
                response.headers_mut().append(*name, value.parse().expect("a header"));
            }
            response
        }
        Say::Hang => std::future::pending().await,
        Say::Huge => {
            let chunk = Bytes::from(vec![b'x'; 1 << 20]);
            let chunks = (0..10).map(move |_| Ok::<_, std::io::Error>(chunk.clone()));
            Body::from_stream(futures::stream::iter(chunks)).into_response()
        }
    }
}

/// The protocol's own receiver for Python, over TLS.
pub(super) struct Buyer {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    port: u64,
}

impl Buyer {
    /// Starts it; `directory` gets `ca.pem`.
    pub(super) async fn start(directory: &Path, jwks: &Value, secret: Option<&str>) -> Result<Self> {
        let python = std::env::var("HANDOFF_BUYER_PYTHON").context("run make test, which sets HANDOFF_BUYER_PYTHON")?;
        let mut child = Command::new(python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/programs/webhook_receiver.py"))
            .arg(directory)
            .arg(jwks.to_string())
            .args(secret)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let lines = BufReader::new(child.stdout.take().context("a pipe")?).lines();
        let mut buyer = Self { _child: child, lines, port: 0 };
        buyer.port = buyer.next().await?["port"].as_u64().context("a port")?;
        Ok(buyer)
    }

    /// What came next, and what was made of it.
    pub(super) async fn next(&mut self) -> Result<Value> {
        // Its imports alone take a busy machine a minute.
        let line = tokio::time::timeout(Duration::from_secs(240), self.lines.next_line()).await;
        let line = line.context("nothing comes")??.context("the receiver is gone")?;
        Ok(serde_json::from_str(&line)?)
    }

    pub(super) fn url(&self) -> String {
        format!("https://localhost:{}/hooks/adcp?key=value", self.port)
    }
}
