//! A connection to a seller's MCP endpoint.

use super::{SellerArgs, error_of};
use crate::cli::{exit::Exit, problem::Problem};
use handoff_proto::wire::AdcpError;
use reqwest::redirect;
use rmcp::{
    RoleClient, ServiceError, ServiceExt,
    model::{CallToolRequestParams, ClientCapabilities, ClientConfig, Implementation},
    service::RunningService,
    transport::{StreamableHttpClientTransport, streamable_http_client::StreamableHttpClientTransportConfig},
};
use secrecy::ExposeSecret;
use serde_json::{Map, Value};
use std::{error::Error, time::Duration};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
// The longest wait for an answer that a seller may be configured for, and some.
const TIMEOUT: Duration = Duration::from_secs(330);

/// An open session.
pub(super) struct Session(RunningService<RoleClient, ClientConfig>);

/// A tool's answer.
pub(super) struct Answered {
    body: Value,
    is_error: bool,
}

impl Session {
    pub(super) async fn open(seller: &SellerArgs) -> Result<Self, Problem> {
        // An API key does not follow anybody elsewhere.
        let http = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .build()
            .map_err(|error| Problem::usage(format!("no HTTP client: {error}")))?;
        let mut config = StreamableHttpClientTransportConfig::with_uri(seller.url.as_str());
        if let Some(key) = &seller.api_key {
            config = config.auth_header(key.expose_secret());
        }
        let transport = StreamableHttpClientTransport::with_client(http, config);
        let name = Implementation::new("handoff", env!("CARGO_PKG_VERSION"));
        let client = ClientConfig::new(ClientCapabilities::default(), name);
        client.serve(transport).await.map(Self).map_err(|error| failed(&error))
    }

    /// The seller's tools, as it lists them.
    pub(super) async fn tools(&self) -> Result<Vec<Value>, Problem> {
        let tools = self.0.list_all_tools().await.map_err(|error| refused(&error))?;
        Ok(tools.into_iter().filter_map(|tool| serde_json::to_value(tool).ok()).collect())
    }

    pub(super) async fn call(&self, tool: &str, arguments: Map<String, Value>) -> Result<Answered, Problem> {
        let call = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        let result = self.0.call_tool(call).await.map_err(|error| refused(&error))?;
        let text = result.content.first().and_then(|content| content.as_text()).map(|content| content.text.clone());
        let body = match (result.structured_content, text) {
            (Some(body), _) => body,
            (None, Some(text)) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
            (None, None) => Value::Null,
        };
        Ok(Answered { body, is_error: result.is_error == Some(true) })
    }
}

impl Answered {
    /// The body; a failed one is a problem.
    pub(super) fn done(self) -> Result<Value, Problem> {
        if self.is_error {
            let problem = Problem::refused(error_of(&self.body));
            return Err(Problem { body: Some(Box::new(self.body)), ..problem });
        }
        Ok(self.body)
    }
}

fn refused(error: &ServiceError) -> Problem {
    match error {
        ServiceError::McpError(error) => {
            let told = error.data.as_ref().and_then(|data| data.get("adcp_error"));
            let told = told.and_then(|told| serde_json::from_value(told.clone()).ok());
            Problem::refused(told.unwrap_or_else(|| AdcpError::terminal("INVALID_REQUEST", error.message.clone())))
        }
        other => failed(other),
    }
}

// The outer layers only say that something was sent.
fn failed(error: &(dyn Error + 'static)) -> Problem {
    let mut told = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        told.push(error.to_string());
        cause = error.source();
    }
    let text = told.join(": ");
    if ["401", "403", "Auth required", "AuthRequired"].iter().any(|word| text.contains(word)) {
        let error = AdcpError::terminal("AUTH_INVALID", "The seller does not know this API key.")
            .suggestion("Set HANDOFF_BUYER_API_KEY, or give --api-key.");
        return Problem { exit: Exit::Refused, ..Problem::refused(error) };
    }
    Problem::refused(AdcpError::transient("SERVICE_UNAVAILABLE", format!("The seller can't be reached: {text}.")))
}
