//! Keyless discovery that is answered at once: how fast, and how often it calls Temporal.

use crate::{
    door::{Door, Surroundings},
    load::{self, Effort, Loaded, Request},
    polls::ACCOUNTS,
    report::Aim,
};
use anyhow::{Result, ensure};
use handoff_client::{Config, TemporalConfig, temporal};
use handoff_tests::{Database, Kind, Temporal};
use serde::Serialize;
use std::{collections::BTreeMap, path::Path, sync::Arc};

/// Discovery on both servers.
#[derive(Debug, Serialize)]
pub(crate) struct Discovery {
    pub(crate) loaded: Vec<Loaded>,
    /// Requests that Temporal's frontend counted meanwhile, by operation, but for what only workers ask.
    pub(crate) temporal_requests: BTreeMap<String, u64>,
}

/// Measures with a Temporal that nobody but the gateway could call.
pub(crate) async fn measure(scratch: &Path, kind: Kind, effort: Effort) -> Result<Discovery> {
    let server = Temporal::own().await?;
    let address = server.address();
    let config = Config { temporal: TemporalConfig::at(address.clone(), "default"), ..Config::default() };
    let client = temporal::connect(&config).await?;
    let database = Database::create(kind).await?;
    let around = Surroundings { registry_url: database.url(), temporal: &address, task_queue: "bench-discovery" };
    let handoff = Arc::new(Door::handoff(scratch, &around, 0).await?);
    let missing = handoff.missing().await?;
    ensure!(missing == ["workers"], "the gateway lacks {missing:?}, which is to be workers alone");
    let python = Arc::new(Door::python(scratch, ACCOUNTS, 0).await?);
    let before = server.counts(&client).await?;
    let loaded = load::measure(&[handoff, python], Request::Discovery, effort).await?;
    let mut requests = server.counts(&client).await?.since(&before).requests;
    requests.retain(|operation, _| !is_a_workers(operation));
    Ok(Discovery { loaded, temporal_requests: requests })
}

// The server itself has workers in every namespace; a gateway has none.
fn is_a_workers(operation: &str) -> bool {
    operation.starts_with("Poll") || operation == "RecordWorkerHeartbeat"
}

impl Discovery {
    pub(crate) fn aims(&self) -> Vec<Aim> {
        let calls = self.temporal_requests.values().sum::<u64>() as f64;
        vec![Aim::at_most("Temporal calls of all keyless discovery".into(), calls, 0.0)]
    }
}
