//! The lab seller as a process of its own, for tests that kill it. Configured by `HANDOFF_*` and `TEMPORAL_*`; `LAB_DIR` is
//! where it writes down its calls, `LAB_FAULT` (`before:settle`, `after:accept`, …) where it dies.

use anyhow::Context;
use handoff_client::{Config, temporal};
use handoff_store::Registry;
use handoff_tests::lab::{Calls, FaultyRegistry, HEARTBEAT_TIMEOUT, handlers};
use handoff_worker::{Worker, WorkerSettings};
use std::{path::PathBuf, sync::Arc, time::Duration};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_env("HANDOFF_LOG").unwrap_or_else(|_| "error".into()))
        .with_writer(std::io::stderr)
        .init();
    let config = Config::from_env()?;
    let calls = Calls::new(&PathBuf::from(std::env::var_os("LAB_DIR").context("LAB_DIR is not set")?));
    let client = temporal::connect(&config).await?;
    let mut registry = handoff_store::connect(&config.registry_url, config.registry_options()?).await?;
    if let Ok(fault) = std::env::var("LAB_FAULT") {
        registry = Arc::new(FaultyRegistry::new(registry, fault.parse()?, calls.clone())) as Arc<dyn Registry>;
    }
    let mut settings = WorkerSettings { task_queue: config.task_queue, ..WorkerSettings::default() };
    settings.sticky_timeout = Duration::from_secs(1);
    settings.timeouts.heartbeat = HEARTBEAT_TIMEOUT;
    settings.shutdown_grace = Duration::from_secs(5);
    let worker = Worker::new(client, registry, handlers(calls.clone()), &settings)?;
    calls.record("worker", "started", &std::process::id().to_string());
    let stop = worker.shutdown_handle();
    tokio::spawn(async move {
        if let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            terminate.recv().await;
            stop();
        }
    });
    worker.run().await
}
