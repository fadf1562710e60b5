//! Handoff's own worker: a seller that decides at once, on each arm.

use handoff::{prelude::*, seller::Handlers};
use handoff_client::{Config, temporal};
use handoff_worker::{Worker, WorkerSettings};

/// The quick verb whose `arm` says what is decided.
pub(crate) const VERB: &str = "update_media_buy";

/// Runs a worker of it until the process is killed.
pub(crate) async fn work(config: Config, max_cached_workflows: usize) -> anyhow::Result<()> {
    let client = temporal::connect(&config).await?;
    let registry = handoff_store::connect(&config.registry_url, config.registry_options()?).await?;
    let mut settings =
        WorkerSettings { task_queue: config.task_queue, max_cached_workflows, ..WorkerSettings::default() };
    // The bare ones have nothing to look after.
    settings.housekeeping.every = None;
    Worker::new(client, registry, handlers()?, &settings)?.run().await
}

fn handlers() -> anyhow::Result<Handlers> {
    let decide = |_: Context<()>, request: Value| async move {
        Ok(match request["arm"].as_str() {
            Some("task") => Decision::handoff_to_task("work", json!({"media_buy_id": "mb"})),
            Some("workflow") => Decision::handoff_to_workflow("review", json!({"media_buy_id": "mb"})),
            _ => Decision::complete(json!({"media_buy_id": "mb"})),
        })
    };
    Seller::new("bench", ())
        .verb(VERB, verb(decide).hands_off_to(["work", "review"]).quick())
        .task("work", |_: TaskContext<()>, _: Value| async { Ok(json!({"media_buy_id": "mb"})) })
        .enqueue("review", |_: Context<()>, _: Value| async { Ok(Acknowledgement::wilco()) })
        .into_handlers()
        .map_err(|mistakes| anyhow::anyhow!("the seller's wiring: {mistakes:?}"))
}
