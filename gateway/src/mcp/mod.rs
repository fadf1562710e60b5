//! MCP: the list of tools, and their calls. Stateless: each request stands for itself, on any replica.

use crate::{
    Principal,
    door::{Door, ToolAnswer, ToolCall},
    http::{Arguments, CorrelationId},
};
use handoff_proto::wire::AdcpError;
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, CustomRequest, CustomResult, ErrorCode,
        Implementation, ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig,
    },
    service::RequestContext,
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService, session::never::NeverSessionManager,
    },
};
use serde_json::json;
use std::sync::Arc;
use tracing::Instrument;

// The methods that are served; the library takes one whose params it can't read for one that it does not know.
const METHODS: [&str; 5] = ["initialize", "ping", "server/discover", "tools/call", "tools/list"];

/// The service at `/mcp`.
pub(crate) fn service(door: &Arc<Door>) -> StreamableHttpService<Server, NeverSessionManager> {
    let hosts = &door.settings.allowed_hosts;
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_allowed_hosts(hosts.iter().cloned())
        .with_allowed_origins(hosts.iter().flat_map(|host| origins(host)))
        .with_max_request_body_bytes(door.settings.max_body_bytes);
    let door = door.clone();
    StreamableHttpService::new(move || Ok(Server { door: door.clone() }), Arc::default(), config)
}

// Pages of the same hosts may call; agents, which are no pages, name no origin.
fn origins(host: &str) -> [String; 2] {
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let port = if has_port { "" } else { ":*" };
    ["http", "https"].map(|scheme| format!("{scheme}://{host}{port}"))
}

/// The server that one request sees.
#[derive(Clone)]
pub(crate) struct Server {
    door: Arc<Door>,
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new(self.door.name.clone(), env!("CARGO_PKG_VERSION")))
            .with_instructions(
                "An AdCP seller agent. Begin with get_adcp_capabilities; poll submitted tasks with get_task_status.",
            )
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.door.catalog.listed().to_vec()))
    }

    async fn call_tool(
        &self,
        params: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let call = read(params, &context)?;
        let (door, tool) = (self.door.clone(), call.tool.clone());
        let span = tracing::Span::current();
        // A buyer that hangs up does not stop what it began: a handler is not interrupted half way.
        let answering = tokio::spawn(async move { door.answer(call).instrument(span).await });
        match answering.await {
            Ok(Some(ToolAnswer { body, is_error: false })) => Ok(CallToolResult::structured(body).into()),
            Ok(Some(ToolAnswer { body, is_error: true })) => Ok(CallToolResult::structured_error(body).into()),
            Ok(None) => Err(unknown(&tool)),
            Err(_) => Err(ErrorData::internal_error("The seller failed unexpectedly.", None)),
        }
    }

    async fn on_custom_request(
        &self,
        request: CustomRequest,
        _: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        Err(not_understood(&request.method))
    }
}

// What the library could not read as a request that it knows.
fn not_understood(method: &str) -> ErrorData {
    if METHODS.contains(&method) {
        return ErrorData::invalid_params(format!("The params of {method} can't be read."), None);
    }
    let shown: String = method.chars().take(100).collect();
    ErrorData::new(ErrorCode::METHOD_NOT_FOUND, format!("There is no method {shown:?}."), None)
}

// What the layers around the library left for us.
fn read(params: CallToolRequestParams, context: &RequestContext<RoleServer>) -> Result<ToolCall, ErrorData> {
    let parts = context.extensions.get::<axum::http::request::Parts>();
    let layer = |what: &'static str| ErrorData::internal_error(what, None);
    let extensions = parts.map(|parts| &parts.extensions).ok_or_else(|| layer("no HTTP request"))?;
    let principal = extensions.get::<Principal>().cloned().ok_or_else(|| layer("no principal"))?;
    let Arguments(text) = extensions.get::<Arguments>().cloned().ok_or_else(|| layer("no arguments"))?;
    let CorrelationId(correlation_id) = extensions.get().cloned().ok_or_else(|| layer("no correlation id"))?;
    Ok(ToolCall { tool: params.name.into_owned(), principal, text, correlation_id })
}

fn unknown(tool: &str) -> ErrorData {
    let shown: String = tool.chars().take(100).collect();
    let error = AdcpError::correctable("UNSUPPORTED_FEATURE", format!("There is no tool {shown:?}."))
        .suggestion("tools/list shows which there are.");
    ErrorData::new(ErrorCode::INVALID_PARAMS, error.message.clone(), Some(json!({"adcp_error": error.to_json()})))
}
