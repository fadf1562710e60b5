//! How long a server with an empty registry takes until it answers, and the memory that it has then.

use crate::{
    door::{Door, Surroundings},
    pair::Seller,
    polls::ACCOUNTS,
    process::resident_mb,
    report::{grid, middle},
};
use anyhow::Result;
use comfy_table::Table;
use handoff_tests::{Database, Kind};
use serde::Serialize;
use std::path::Path;

/// One start.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Started {
    pub(crate) seller: Seller,
    pub(crate) round: usize,
    /// To the first 200 of `/readyz`, which Handoff alone has.
    pub(crate) ready_ms: Option<f64>,
    /// To the first answer of a tool; Handoff's is not asked before it is ready.
    pub(crate) first_answer_ms: f64,
    pub(crate) resident_mb: f64,
}

/// Starts both in turn, so many times each.
pub(crate) async fn measure(scratch: &Path, kind: Kind, temporal: &str, starts: usize) -> Result<Vec<Started>> {
    let database = Database::create(kind).await?;
    let around = Surroundings { registry_url: database.url(), temporal, task_queue: "bench-start" };
    let mut started = Vec::new();
    for round in 0..starts {
        for seller in Seller::order(round) {
            let mut door = match seller {
                Seller::Handoff => Door::handoff(scratch, &around, 0).await?,
                Seller::Python => Door::python(scratch, ACCOUNTS, 0).await?,
            };
            started.push(Started {
                seller,
                round,
                ready_ms: door.ready.map(|ready| ready.as_secs_f64() * 1_000.0),
                first_answer_ms: door.first_answer.as_secs_f64() * 1_000.0,
                resident_mb: resident_mb(door.process.id())?,
            });
            door.process.kill().await?;
            eprintln!("start {}/{starts} {seller}", round + 1);
        }
    }
    Ok(started)
}

/// In the middle of all starts.
pub(crate) fn table(started: &[Started]) -> Table {
    let mut table = grid(&["server", "starts", "ready ms", "first answer ms", "MB then"]);
    for seller in Seller::BOTH {
        let these: Vec<&Started> = started.iter().filter(|one| one.seller == seller).collect();
        let ready: Vec<&Started> = these.iter().copied().filter(|one| one.ready_ms.is_some()).collect();
        if these.is_empty() {
            continue;
        }
        table.add_row([
            seller.to_string(),
            these.len().to_string(),
            match ready.is_empty() {
                true => "-".to_owned(),
                false => format!("{:.0}", middle(&ready, |one| one.ready_ms.unwrap_or_default())),
            },
            format!("{:.0}", middle(&these, |one| one.first_answer_ms)),
            format!("{:.0}", middle(&these, |one| one.resident_mb)),
        ]);
    }
    table
}
