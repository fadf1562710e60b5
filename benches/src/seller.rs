//! Handoff's own seller, which decides at once, on each arm: its worker, and its gateway.

use handoff::{prelude::*, seller::Handlers};
use handoff_client::{Config, temporal};
use handoff_worker::{Worker, WorkerSettings};
use std::{process::ExitCode, sync::LazyLock};

// The Python peer reads the same file.
static PRODUCTS: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../products.json")).unwrap_or_default());

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

/// Runs the command on this program's command line, as any seller's binary does.
pub(crate) fn run() -> ExitCode {
    seller().run()
}

fn handlers() -> anyhow::Result<Handlers> {
    seller().into_handlers().map_err(|mistakes| anyhow::anyhow!("the seller's wiring: {mistakes:?}"))
}

fn seller() -> Seller<()> {
    let decide = |_: Context<()>, request: Value| async move {
        Ok(match request["arm"].as_str() {
            Some("task") => Decision::handoff_to_task("work", json!({"media_buy_id": "mb"})),
            Some("workflow") => Decision::handoff_to_workflow("review", json!({"media_buy_id": "mb"})),
            _ => Decision::complete(json!({"media_buy_id": "mb"})),
        })
    };
    // What the protocol's schema of this one has no place for need not be said: it is always for somebody to decide.
    let review =
        |_: Context<()>, _: Value| async { Ok(Decision::handoff_to_workflow("review", json!({"media_buy_id": "mb"}))) };
    let discover = |_: Context<()>, _: Value| async { Ok(Decision::complete(PRODUCTS.clone())) };
    Seller::new("bench", ())
        .verb(VERB, verb(decide).hands_off_to(["work", "review"]).quick())
        .verb("create_media_buy", verb(review).hands_off_to(["review"]).quick())
        .verb("get_products", verb(discover).quick())
        .task("work", |_: TaskContext<()>, _: Value| async { Ok(json!({"media_buy_id": "mb"})) })
        .enqueue("review", |_: Context<()>, _: Value| async { Ok(Acknowledgement::wilco()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wiring_is_right_and_there_is_something_to_discover() {
        handlers().unwrap();
        assert_eq!(PRODUCTS["products"].as_array().map(Vec::len), Some(3));
    }
}
