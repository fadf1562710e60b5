//! What Handoff's processes say about themselves: metrics, logs and traces.
//!
//! - [`Metrics`]: one endpoint per process for the Temporal SDK's instruments and Handoff's own, which
//!   [`instruments`] lists.
//! - [`Telemetry`]: logs on stderr, and spans to an OpenTelemetry collector.
//! - [`trace`]: carrying a call's place in its caller's trace to the run that it starts.
//!
//! Invariants:
//! - No body, result, reason, error message or secret of a buyer, seller or reviewer gets into a metric, a span or one of
//!   Handoff's own lines. Labels of metrics are of few values: never an account, agent or task.
//! - A collector that is away slows nothing: spans wait in a bounded queue, and are dropped when it is full.

mod endpoint;
pub mod instruments;
mod json;
mod metrics;
mod open_spans;
mod open_tasks;
mod process;
mod settings;
pub mod trace;

pub use endpoint::EndpointError;
pub use metrics::{Housekeeping, Metrics};
pub use open_tasks::OpenTasksWatch;
pub use process::{Telemetry, TelemetryError};
pub use settings::{LogFormat, TelemetryArgs};
pub use trace::SPANS;
