//! A stranger's agent, asked over MCP (streamable HTTP) through [`Egress`]: one tool's call, in a session of its own.
//!
//! Four messages, by hand: a library's client reads an answer of any length, and keeps streams and tasks of its own.

mod events;
#[cfg(test)]
mod tests;

use crate::egress::{Egress, EgressError, Method, Reply};
use events::Events;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use std::{fmt, time::Duration};
use url::{Host, Url};

// Servers that know it not say which they do.
const PROTOCOL: &str = "2025-06-18";
const SESSION: &str = "mcp-session-id";
const VERSION: &str = "mcp-protocol-version";
const EVENT_STREAM: &str = "text/event-stream";
const MAX_ANSWER_BYTES: usize = 256 * 1024;
const LONGEST_HEADER: usize = 1024;
// All messages together: somebody waits.
const PATIENCE: Duration = Duration::from_secs(10);
// Nobody waits for the end of a session.
const GOODBYE: Duration = Duration::from_secs(1);

/// Why a tool gave no answer. Tells neither URL nor address, and nothing of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum McpError {
    /// Nothing came back.
    #[error(transparent)]
    Egress(#[from] EgressError),
    /// Another HTTP status than that of an answer.
    #[error("status_{0}")]
    Status(u16),
    /// No MCP.
    #[error("malformed")]
    Malformed,
    /// The agent says that it can't answer.
    #[error("refused")]
    Refused,
}

/// An agent that is asked with a bearer credential.
#[derive(Clone)]
pub struct McpAgent {
    url: Url,
    credentials: SecretString,
}

impl McpAgent {
    /// At this URL: by https, or in plain http on this machine itself, where the egress allows that.
    pub fn new(url: &str, credentials: impl Into<SecretString>) -> Result<Self, EgressError> {
        let url = Url::parse(url).map_err(|_| EgressError::Url)?;
        let fragment = url.fragment().is_some();
        if fragment || !(url.scheme() == "https" || (url.scheme() == "http" && is_this_machine(&url))) {
            return Err(EgressError::Url);
        }
        Ok(Self { url, credentials: credentials.into() })
    }

    /// Whether it may be asked, and has addresses that may be reached, now. It is not connected to.
    pub async fn may_be_reached(&self, egress: &Egress) -> Result<(), EgressError> {
        egress.may_reach(&self.url).await
    }

    /// Its scheme, host and port.
    pub fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    /// The structured answer of a tool.
    pub async fn call(&self, egress: &Egress, tool: &str, arguments: &Value) -> Result<Value, McpError> {
        let mut session = Session { agent: self, egress, id: None, version: None };
        let asking = session.ask(tool, arguments);
        let answered = tokio::time::timeout(PATIENCE, asking).await.unwrap_or(Err(EgressError::Timeout.into()));
        session.end().await;
        answered
    }
}

impl fmt::Debug for McpAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("McpAgent").finish_non_exhaustive()
    }
}

struct Session<'a> {
    agent: &'a McpAgent,
    egress: &'a Egress,
    id: Option<HeaderValue>,
    version: Option<HeaderValue>,
}

impl Session<'_> {
    async fn ask(&mut self, tool: &str, arguments: &Value) -> Result<Value, McpError> {
        let client = json!({"name": "handoff", "version": env!("CARGO_PKG_VERSION")});
        let hello = json!({"protocolVersion": PROTOCOL, "capabilities": {}, "clientInfo": client});
        let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello});
        let mut reply = self.post(&hello).await?;
        self.id = reply.header(SESSION).filter(|id| id.len() <= LONGEST_HEADER).and_then(|id| id.parse().ok());
        let server = answer(&mut reply, 1).await?;
        let version = server.get("protocolVersion").and_then(Value::as_str).ok_or(McpError::Malformed)?;
        self.version = Some(version.parse().map_err(|_| McpError::Malformed)?);
        drop(reply);
        let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        self.post(&ready).await?;
        let call = json!({"name": tool, "arguments": arguments});
        let call = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": call});
        let mut reply = self.post(&call).await?;
        structured(answer(&mut reply, 2).await?)
    }

    async fn post(&self, message: &Value) -> Result<Reply, McpError> {
        let body = message.to_string().into_bytes();
        let sent = self.egress.send(Method::POST, &self.agent.url, self.headers()?, body, MAX_ANSWER_BYTES);
        let reply = sent.await?;
        if (200..300).contains(&reply.status) { Ok(reply) } else { Err(McpError::Status(reply.status)) }
    }

    /// Best effort: a server that keeps sessions need not keep this one.
    async fn end(&self) {
        if let (Some(_), Ok(headers)) = (&self.id, self.headers()) {
            let ending = self.egress.send(Method::DELETE, &self.agent.url, headers, Vec::new(), 0);
            let _ = tokio::time::timeout(GOODBYE, ending).await;
        }
    }

    fn headers(&self) -> Result<HeaderMap, McpError> {
        let bearer = format!("Bearer {}", self.agent.credentials.expose_secret());
        let mut bearer = HeaderValue::from_str(&bearer).map_err(|_| McpError::Egress(EgressError::Url))?;
        bearer.set_sensitive(true);
        let mut headers = HeaderMap::from_iter([
            (ACCEPT, HeaderValue::from_static("application/json, text/event-stream")),
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (AUTHORIZATION, bearer),
        ]);
        for (name, value) in [(SESSION, &self.id), (VERSION, &self.version)] {
            if let Some(value) = value {
                headers.insert(HeaderName::from_static(name), value.clone());
            }
        }
        Ok(headers)
    }
}

/// The result of the request with this id, which comes as JSON or among events.
async fn answer(reply: &mut Reply, id: u64) -> Result<Value, McpError> {
    let is_stream = reply.header(CONTENT_TYPE.as_str()).is_some_and(|kind| kind.starts_with(EVENT_STREAM));
    let (mut events, mut body) = (Events::default(), Vec::new());
    while let Some(chunk) = reply.chunk().await? {
        if !is_stream {
            body.extend_from_slice(&chunk);
            continue;
        }
        for data in events.push(&chunk) {
            // Whatever else the server has to say: only this is waited for.
            if let Some(message) = read(&data).filter(|message| message.get("id") == Some(&json!(id))) {
                return result(message);
            }
        }
    }
    let message = read(&body).filter(|message| message.get("id") == Some(&json!(id)));
    result(message.ok_or(McpError::Malformed)?)
}

fn read(text: &[u8]) -> Option<Value> {
    handoff_proto::json::parse_object(text, MAX_ANSWER_BYTES).ok()
}

fn result(mut message: Value) -> Result<Value, McpError> {
    match message.get_mut("result").map(Value::take) {
        Some(result) if result.is_object() => Ok(result),
        Some(_) => Err(McpError::Malformed),
        None if message.get("error").is_some() => Err(McpError::Refused),
        None => Err(McpError::Malformed),
    }
}

// AdCP has the answer in both places; older servers only in the text.
fn structured(mut result: Value) -> Result<Value, McpError> {
    if result.get("isError").is_some_and(|is_error| is_error == true) {
        return Err(McpError::Refused);
    }
    match result.get_mut("structuredContent").map(Value::take) {
        Some(structured) if structured.is_object() => Ok(structured),
        _ => {
            let text = result.pointer("/content/0/text").and_then(Value::as_str).ok_or(McpError::Malformed)?;
            read(text.as_bytes()).ok_or(McpError::Malformed)
        }
    }
}

fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
