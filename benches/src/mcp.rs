//! A buyer's connection to an MCP server, as cheap as it can be: what it costs is paid on the machine that is measured.

use anyhow::{Context, Result, ensure};
use reqwest::{
    Client, RequestBuilder, Response, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, HeaderValue},
};
use serde_json::{Value, json};

/// The key of the agent that calls, on all servers.
pub(crate) const API_KEY: &str = "key-of-the-benchmarks";

// A release that both servers speak.
const PROTOCOL: &str = "2025-06-18";
const SESSION: &str = "mcp-session-id";

/// One session, which has one request under way at a time and so keeps one connection.
pub(crate) struct Mcp {
    http: Client,
    url: String,
    session: Option<HeaderValue>,
}

/// An HTTP client with connections of its own.
pub(crate) fn http() -> Result<Client> {
    Ok(Client::builder().no_proxy().build()?)
}

impl Mcp {
    /// Begins a session; a server without sessions gets the same messages.
    pub(crate) async fn open(http: Client, url: &str) -> Result<Self> {
        let mut opened = Self { http, url: url.to_owned(), session: None };
        let params = json!({
            "protocolVersion": PROTOCOL,
            "capabilities": {},
            "clientInfo": {"name": "handoff-bench", "version": env!("CARGO_PKG_VERSION")},
        });
        let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params});
        let response = sent(opened.post(initialize.to_string())).await?;
        opened.session = response.headers().get(SESSION).cloned();
        response.bytes().await?;
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        sent(opened.post(initialized.to_string())).await?.bytes().await?;
        Ok(opened)
    }

    /// Calls a tool and reads its answer; an error if it is one.
    pub(crate) async fn call(&self, tool: &str, request: &Value) -> Result<Value> {
        let response = sent(self.post(message(tool, request))).await?;
        let mut answer: Value = serde_json::from_slice(&response.bytes().await?).context("an answer in JSON")?;
        let result = &mut answer["result"];
        ensure!(result["isError"] != true && result["structuredContent"].is_object(), "{tool}: {answer}");
        Ok(result["structuredContent"].take())
    }

    /// Sends a message and looks no closer at its answer than to see that it is no error.
    pub(crate) async fn send(&self, message: String) -> Result<()> {
        let body = sent(self.post(message)).await?.bytes().await?;
        let has = |text: &[u8]| body.windows(text.len()).any(|window| window == text);
        ensure!(has(b"\"structuredContent\"") && !has(b"\"isError\":true"), "{}", String::from_utf8_lossy(&body));
        Ok(())
    }

    fn post(&self, message: String) -> RequestBuilder {
        let mut request = self
            .http
            .post(&self.url)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, text/event-stream")
            .header("mcp-protocol-version", PROTOCOL)
            .bearer_auth(API_KEY)
            .body(message);
        if let Some(session) = &self.session {
            request = request.header(SESSION, session);
        }
        request
    }
}

/// The message that calls a tool.
pub(crate) fn message(tool: &str, request: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": request}})
        .to_string()
}

async fn sent(request: RequestBuilder) -> Result<Response> {
    let response = request.send().await?;
    let status = response.status();
    if !matches!(status, StatusCode::OK | StatusCode::ACCEPTED) {
        anyhow::bail!("{status}: {}", response.text().await?);
    }
    Ok(response)
}
