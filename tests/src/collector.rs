//! An OpenTelemetry collector: a real gRPC service that keeps what it gets.

use anyhow::Result;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value as AnyValue,
    trace::v1::Span,
};
use std::sync::{Arc, Mutex};
use tokio::{net::TcpListener, task::AbortHandle};
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

/// A span, and the service that sent it.
#[derive(Clone, Debug)]
pub struct Received {
    /// `service.name` of the process.
    pub service: String,
    /// As it came.
    pub span: Span,
}

impl Received {
    /// An attribute that is text.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        text_of(&self.span.attributes, name)
    }
}

/// A running collector.
pub struct Collector {
    url: String,
    received: Keeper,
    serving: AbortHandle,
}

#[derive(Clone, Default)]
struct Keeper(Arc<Mutex<Vec<Received>>>);

impl Collector {
    /// Listens on a free port.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let received = Keeper::default();
        let service = TraceServiceServer::new(received.clone());
        let serving = tokio::spawn(async move {
            if let Err(error) = Server::builder().serve_with_incoming(service, TcpIncoming::from(listener)).await {
                eprintln!("the collector stopped: {error}");
            }
        });
        Ok(Self { url, received, serving: serving.abort_handle() })
    }

    /// For `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Every span so far.
    pub fn spans(&self) -> Vec<Received> {
        self.received.0.lock().map(|received| received.clone()).unwrap_or_default()
    }

    /// The spans of this name.
    pub fn named(&self, name: &str) -> Vec<Received> {
        self.spans().into_iter().filter(|received| received.span.name == name).collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[tonic::async_trait]
impl TraceService for Keeper {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource_spans in request.into_inner().resource_spans {
            let attributes = resource_spans.resource.map(|resource| resource.attributes).unwrap_or_default();
            let service = text_of(&attributes, "service.name").unwrap_or_default().to_owned();
            let spans = resource_spans.scope_spans.into_iter().flat_map(|scope| scope.spans);
            let spans = spans.map(|span| Received { service: service.clone(), span });
            self.0.lock().map_err(|_| Status::internal("poisoned"))?.extend(spans);
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn text_of<'a>(attributes: &'a [opentelemetry_proto::tonic::common::v1::KeyValue], name: &str) -> Option<&'a str> {
    let found = attributes.iter().find(|attribute| attribute.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        AnyValue::StringValue(text) => Some(text),
        _ => None,
    }
}
