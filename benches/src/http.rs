//! Polls and lists over MCP on a registry with many tasks, with no worker and no Temporal, beside the Python SDK's server.

use crate::{
    door::{Door, Surroundings, free_port},
    load::{self, Effort, Loaded, Request},
    pair::{Seller, ratio},
    polls::{self, ACCOUNTS},
    process::resident_mb,
    report::{Aim, grid},
};
use anyhow::{Result, ensure};
use comfy_table::Table;
use handoff_store::RegistryOptions;
use handoff_tests::{Database, Kind};
use serde::Serialize;
use std::{path::Path, sync::Arc};

/// What the two servers did, and what they took.
#[derive(Debug, Serialize)]
pub(crate) struct Http {
    pub(crate) tasks: usize,
    pub(crate) loaded: Vec<Loaded>,
    pub(crate) memory: Vec<Memory>,
    #[serde(skip)]
    connections: usize,
}

/// Resident memory of one server. The Python SDK's registry is within it.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Memory {
    pub(crate) seller: Seller,
    /// Once it answers.
    pub(crate) before_mb: f64,
    /// After all requests.
    pub(crate) after_mb: f64,
}

/// Measures on fresh registries with so many tasks each.
pub(crate) async fn measure(scratch: &Path, kind: Kind, tasks: usize, effort: Effort) -> Result<Http> {
    ensure!(tasks > 0, "there is nothing to poll");
    let database = Database::create(kind).await?;
    let registry = handoff_store::connect(database.url(), RegistryOptions::default()).await?;
    polls::fill(kind, database.url(), &registry, tasks).await?;
    registry.close().await;
    let temporal = format!("127.0.0.1:{}", free_port()?);
    let around = Surroundings { registry_url: database.url(), temporal: &temporal, task_queue: "bench-nobody" };
    let handoff = Arc::new(Door::handoff(scratch, &around, tasks).await?);
    let missing = handoff.missing().await?;
    ensure!(missing == ["temporal", "workers"], "the gateway lacks {missing:?}, which is to be Temporal and workers");
    let python = Arc::new(Door::python(scratch, ACCOUNTS, tasks).await?);
    eprintln!("http: both servers answer");
    let doors = [handoff, python];
    let resident = |door: &Arc<Door>| resident_mb(door.process.id());
    let before = doors.iter().map(resident).collect::<Result<Vec<_>>>()?;
    let mut loaded = Vec::new();
    for request in [Request::Poll, Request::List] {
        loaded.extend(load::measure(&doors, request, effort).await?);
    }
    let memory = doors
        .iter()
        .zip(before)
        .map(|(door, before_mb)| Ok(Memory { seller: door.seller, before_mb, after_mb: resident(door)? }));
    Ok(Http { tasks, loaded, memory: memory.collect::<Result<_>>()?, connections: effort.connections })
}

impl Http {
    /// A tenth of the CPU is ten times the throughput per CPU second.
    pub(crate) fn aims(&self) -> Vec<Aim> {
        let aims = [Request::Poll, Request::List].map(|request| {
            let measured = ratio(load::of(&self.loaded, request, self.connections), |one| one.server_cpu_ms)?;
            Some(Aim::at_most(format!("server CPU per {request} over MCP beside the Python SDK"), measured, 0.1))
        });
        aims.into_iter().flatten().collect()
    }

    /// Resident memory.
    pub(crate) fn memory_table(&self) -> Table {
        let mut table = grid(&["server", "tasks", "MB before", "MB after"]);
        for memory in &self.memory {
            table.add_row([
                memory.seller.to_string(),
                self.tasks.to_string(),
                format!("{:.0}", memory.before_mb),
                format!("{:.0}", memory.after_mb),
            ]);
        }
        table
    }
}
