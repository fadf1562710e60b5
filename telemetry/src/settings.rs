//! How a process is told what to say about itself.

use clap::{Args, FromArgMatches, ValueEnum};

/// How lines of the log are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, with the fields of all enclosing spans.
    Json,
}

/// Logs and traces. The endpoint's other settings (`OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER`,
/// `OTEL_EXPORTER_OTLP_HEADERS`, …) are OpenTelemetry's own, and read from the environment alone.
#[derive(Args, Clone, Default)]
pub struct TelemetryArgs {
    /// What is logged: error, warn, info, debug, trace or off, and by module, such as warn,handoff=debug
    #[arg(long, env = "HANDOFF_LOG", value_name = "FILTER", global = true, help_heading = "Telemetry")]
    pub log: Option<String>,
    /// How it is written; unless given, workers write text to a terminal and JSON to anything else
    #[arg(long, env = "HANDOFF_LOG_FORMAT", value_name = "FORMAT", global = true, help_heading = "Telemetry")]
    pub log_format: Option<LogFormat>,
    /// OpenTelemetry collector that traces are sent to by OTLP over gRPC, such as http://localhost:4317; none unless given
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        hide_env_values = true,
        value_name = "URL",
        global = true,
        help_heading = "Telemetry"
    )]
    pub otlp_endpoint: Option<String>,
}

impl TelemetryArgs {
    /// From the environment alone.
    pub fn from_env() -> Result<Self, clap::Error> {
        let command = Self::augment_args(clap::Command::new("handoff"));
        Self::from_arg_matches(&command.try_get_matches_from(["handoff"])?)
    }

    /// Where traces go, if they do.
    pub(crate) fn collector(&self) -> Option<String> {
        if std::env::var("OTEL_SDK_DISABLED").is_ok_and(|value| value.eq_ignore_ascii_case("true")) {
            return None;
        }
        let for_traces = std::env::var("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").ok();
        for_traces.or_else(|| self.otlp_endpoint.clone()).filter(|endpoint| !endpoint.trim().is_empty())
    }
}

// A URL may hold credentials.
impl std::fmt::Debug for TelemetryArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TelemetryArgs")
            .field("log", &self.log)
            .field("log_format", &self.log_format)
            .field("otlp_endpoint", &self.otlp_endpoint.as_ref().map(|_| "…"))
            .finish()
    }
}
