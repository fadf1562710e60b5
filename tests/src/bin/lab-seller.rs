//! The lab seller as a process of its own, for tests that kill it: a worker, or, with a command such as `gateway`, what any
//! seller's binary is; or, with `LAB_CALL`, one call of a buyer's in the sandbox; or, with `LAB_RESET`, its clearing. Configured by `HANDOFF_*` and `TEMPORAL_*`;
//! `LAB_DIR` is where it writes down its calls, `LAB_FAULT` (`before:settle`, `after:accept`, …) where it dies, `LAB_CACHE` how many
//! runs it keeps in memory; with `LAB_MISWIRED` it is put together wrongly.

use anyhow::Context;
use handoff::{
    Seller,
    seller::{Decision, TaskContext, verb},
};
use handoff_client::{Caller, Config, Handoff, duration, temporal};
use handoff_store::Registry;
use handoff_telemetry::{LogFormat, Metrics, Telemetry, TelemetryArgs};
use handoff_tests::{
    PRINCIPAL, SCOPE,
    lab::{Calls, FaultyRegistry, HEARTBEAT_TIMEOUT, handlers, seller},
};
use handoff_worker::{Worker, WorkerSettings};
use serde_json::{Value, json};
use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

fn main() -> anyhow::Result<ExitCode> {
    if std::env::args().len() > 1 {
        let seller = seller(calls()?);
        let miswired = std::env::var_os("LAB_MISWIRED").is_some();
        return Ok(if miswired { miswire(seller).run() } else { seller.run() });
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let args = TelemetryArgs::from_env()?;
    let telemetry = runtime.block_on(async { Telemetry::start(&args, "lab-seller", "error", LogFormat::Text) })?;
    let ended = runtime.block_on(work());
    telemetry.stop();
    ended.map(|()| ExitCode::SUCCESS)
}

fn calls() -> anyhow::Result<Calls> {
    Ok(Calls::new(&PathBuf::from(std::env::var_os("LAB_DIR").context("LAB_DIR is not set")?)))
}

/// A mistake of each kind: a verb twice, one that there is not, two handlers of one name, a hand-off to nobody.
fn miswire(seller: Seller<Calls>) -> Seller<Calls> {
    let decide = |_: handoff::seller::Context<Calls>, _: Value| async { Ok(Decision::complete(json!({}))) };
    seller
        .verb("get_products", verb(decide).hands_off_to(["nobody"]))
        .verb("create_media_bye", decide)
        .task("review", |_: TaskContext<Calls>, _: Value| async { Ok(json!({})) })
}

async fn work() -> anyhow::Result<()> {
    let mut config = Config::from_env()?;
    if let Ok(address) = std::env::var("HANDOFF_METRICS_ADDRESS") {
        config.metrics = Metrics::start(Some(address.parse()?))?;
    }
    let calls = calls()?;
    let client = temporal::connect(&config).await?;
    let mut registry = handoff_store::connect(&config.registry_url, config.registry_options()?).await?;
    if let Ok(fault) = std::env::var("LAB_FAULT") {
        registry = Arc::new(FaultyRegistry::new(registry, fault.parse()?, calls.clone())) as Arc<dyn Registry>;
    }
    if let Ok(call) = std::env::var("LAB_CALL") {
        let (verb, request) = call.split_once(' ').context("write VERB REQUEST")?;
        let caller = Caller::new(SCOPE, PRINCIPAL).sandbox(true);
        let answer = Handoff::from_parts(client, registry, config).call(&caller, verb, request.as_bytes()).await?;
        println!("{}", answer.body);
        return Ok(());
    }
    if std::env::var_os("LAB_RESET").is_some() {
        Handoff::from_parts(client, registry, config).reset_sandbox(None, false).await?;
        return Ok(());
    }
    let mut settings = WorkerSettings {
        task_queue: config.task_queue,
        metrics: config.metrics,
        webhooks: config.webhooks,
        ..WorkerSettings::default()
    };
    settings.sticky_timeout = Duration::from_secs(1);
    settings.timeouts.heartbeat = HEARTBEAT_TIMEOUT;
    settings.timeouts.sandbox_review = config.sandbox_review_delay;
    if let Ok(runs) = std::env::var("LAB_CACHE") {
        settings.max_cached_workflows = runs.parse()?;
    }
    settings.shutdown_grace = Duration::from_secs(5);
    if let Some(address) = settings.metrics.address() {
        calls.record("worker", "metrics", &address.to_string());
    }
    settings.housekeeping.every = match std::env::var("HANDOFF_HOUSEKEEPING_EVERY") {
        Ok(every) => duration::parse_or_off(&every).map_err(anyhow::Error::msg)?.0,
        Err(_) => None,
    };
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
