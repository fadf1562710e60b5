//! Setting up a process, once: where its log and its spans go.

use crate::{
    json::JsonLines,
    open_spans::OpenSpans,
    settings::{LogFormat, TelemetryArgs},
    trace::{Ids, SPANS},
};
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};
use tonic::transport::ClientTlsConfig;
use tracing_subscriber::{
    EnvFilter, Layer, filter::filter_fn, fmt::format::JsonFields, layer::SubscriberExt, util::SubscriberInitExt,
};

// How long the end of a process may wait for a collector.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
// How long of that for spans that somebody still holds.
const OPEN_SPANS_TIMEOUT: Duration = Duration::from_secs(1);

/// Logs and traces of this process; [`Telemetry::stop`] sends what is left.
#[must_use = "spans that wait are lost unless it is stopped"]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
    open: OpenSpans,
}

/// Telemetry can't be set up; holds no secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// The filter can't be read.
    #[error("HANDOFF_LOG can't be read: {0}")]
    Filter(String),
    /// The collector's address can't be used.
    #[error("OTEL_EXPORTER_OTLP_ENDPOINT can't be used: it must be an http:// or https:// URL of a gRPC endpoint")]
    Collector,
    /// Something else has set up logs in this process.
    #[error("logs were set up already")]
    Again,
}

impl Telemetry {
    /// Sets this process up. `filter` and `format` are what it does unless told. With a collector it has to be called within a
    /// Tokio runtime, which then sends.
    pub fn start(
        args: &TelemetryArgs,
        service: &'static str,
        filter: &str,
        format: LogFormat,
    ) -> Result<Self, TelemetryError> {
        let filter = args.log.as_deref().filter(|filter| !filter.trim().is_empty()).unwrap_or(filter);
        let filter = EnvFilter::try_new(filter).map_err(|error| TelemetryError::Filter(error.to_string()))?;
        let provider = match args.collector() {
            Some(endpoint) => Some(provider(service, endpoint)?),
            None => None,
        };
        let format = args.log_format.unwrap_or(format);
        let lines = match format {
            LogFormat::Json => tracing_subscriber::fmt::layer()
                .fmt_fields(JsonFields::new())
                .event_format(JsonLines)
                .with_writer(std::io::stderr)
                .boxed(),
            LogFormat::Text => tracing_subscriber::fmt::layer()
                .with_ansi(std::io::stderr().is_terminal())
                .with_writer(std::io::stderr)
                .boxed(),
        };
        // Only what Handoff itself puts into spans made for it, and never what is logged.
        let open = OpenSpans::default();
        let spans = provider.as_ref().map(|provider| {
            tracing_opentelemetry::layer()
                .with_tracer(provider.tracer("handoff"))
                .with_location(false)
                .with_threads(false)
                .with_target(false)
                .with_tracked_inactivity(false)
                .and_then(open.clone())
                .with_filter(filter_fn(|metadata| metadata.is_span() && metadata.target() == SPANS))
        });
        tracing_subscriber::registry()
            .with(lines.with_filter(filter))
            .with(spans)
            .try_init()
            .map_err(|_| TelemetryError::Again)?;
        if format == LogFormat::Json {
            // What a panic writes by itself is no JSON.
            std::panic::set_hook(Box::new(|panic| {
                let (location, payload) = (panic.location().map(ToString::to_string), panic.payload());
                let text = payload.downcast_ref::<&str>().copied();
                let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
                tracing::error!(location, panic = text, "a thread panicked");
            }));
        }
        if let Some(provider) = &provider {
            opentelemetry::global::set_tracer_provider(provider.clone());
        }
        Ok(Self { provider, open })
    }

    /// Text for a terminal, JSON for anything else: what a process that runs for long writes unless told.
    pub fn format_for_stderr() -> LogFormat {
        if std::io::stderr().is_terminal() { LogFormat::Text } else { LogFormat::Json }
    }

    /// Sends the spans that wait and those that end within a second, for at most 2 seconds, and drops the rest. Blocks: call it
    /// outside asynchronous code, while the runtime still runs.
    pub fn stop(self) {
        let Some(provider) = self.provider else { return };
        let began = Instant::now();
        if !self.open.wait(OPEN_SPANS_TIMEOUT) {
            tracing::debug!("spans have not ended; they are not sent");
        }
        if let Err(error) = provider.shutdown_with_timeout(STOP_TIMEOUT.saturating_sub(began.elapsed())) {
            tracing::debug!(%error, "spans were not sent");
        }
    }
}

fn provider(service: &'static str, endpoint: String) -> Result<SdkTracerProvider, TelemetryError> {
    let secure = endpoint.starts_with("https:");
    let mut exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint);
    if secure {
        exporter = exporter.with_tls_config(ClientTlsConfig::new().with_enabled_roots());
    }
    let exporter = exporter.build().map_err(|_| TelemetryError::Collector)?;
    // The environment's name wins.
    let mut resource = Resource::builder();
    let named = std::env::var("OTEL_SERVICE_NAME").is_ok_and(|name| !name.is_empty())
        || std::env::var("OTEL_RESOURCE_ATTRIBUTES").is_ok_and(|attributes| attributes.contains("service.name="));
    if !named {
        resource = resource.with_service_name(service);
    }
    Ok(SdkTracerProvider::builder()
        .with_resource(resource.build())
        .with_id_generator(Ids::default())
        .with_batch_exporter(exporter)
        .build())
}
