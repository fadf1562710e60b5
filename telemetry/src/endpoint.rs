//! The endpoint `/metrics`: the SDK's exporter, which keeps the only copy of what is measured.

use crate::instruments::{ALL, Kind};
use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use temporalio_common::telemetry::{
    HistogramBucketOverrides, PrometheusExporterOptions, metrics::CoreMeter, start_prometheus_metric_exporter,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::AbortHandle,
};

const RENDER_TIMEOUT: Duration = Duration::from_secs(5);

/// An endpoint that serves, until it is dropped.
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    serving: AbortHandle,
}

/// The endpoint can't do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// Its address can't be used.
    #[error("metrics can't be served on {address} (HANDOFF_METRICS_ADDRESS): {reason}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        reason: String,
    },
    /// Metrics are off.
    #[error("metrics are off")]
    Off,
    /// What is measured could not be read.
    #[error("the metrics can't be read: {0}")]
    Read(#[from] std::io::Error),
}

impl Endpoint {
    /// Serves `/metrics` on this address; without one on a free port of the loopback device, for [`Self::render`] alone.
    pub(crate) fn start(address: Option<SocketAddr>) -> Result<(Self, Arc<dyn CoreMeter>), EndpointError> {
        let address = address.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let histograms = ALL.iter().filter(|instrument| instrument.kind == Kind::Histogram);
        // The exporter looks for a name without its unit.
        let base = |name: &str| name.strip_suffix("_seconds").unwrap_or(name).to_owned();
        let buckets = histograms.map(|histogram| (base(histogram.name), histogram.buckets.to_vec()));
        // Names as OpenMetrics wants them: units in full, counters with their suffix.
        let options = PrometheusExporterOptions::builder()
            .socket_addr(address)
            .counters_total_suffix(true)
            .unit_suffix(true)
            .use_seconds_for_durations(true)
            .histogram_bucket_overrides(HistogramBucketOverrides { overrides: HashMap::from_iter(buckets) })
            .build();
        let started = start_prometheus_metric_exporter(options)
            .map_err(|error| EndpointError::Listen { address, reason: error.to_string() })?;
        Ok((Self { address: started.bound_addr, serving: started.abort_handle }, started.meter))
    }

    /// What a scrape shows, in Prometheus's text format. The exporter shows it over HTTP and in no other way.
    pub(crate) async fn render(&self) -> Result<String, EndpointError> {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        let asking = async {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(b"GET /metrics HTTP/1.0\r\nConnection: close\r\n\r\n").await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            let (_, body) = answer.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::InvalidData)?;
            Ok::<_, std::io::Error>(body.to_owned())
        };
        let timeout = tokio::time::timeout(RENDER_TIMEOUT, asking).await;
        Ok(timeout.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??)
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
