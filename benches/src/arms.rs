//! The three arms, each beside its bare peers: interleaved, so that what else the machine does falls on all alike.

use crate::{
    peer::{Peer, Shape, Side},
    process::cpu_ms,
    report::{Aim, grid, middle},
    stats::{Spread, median},
};
use anyhow::Result;
use comfy_table::Table;
use futures::{StreamExt, TryStreamExt, stream};
use handoff_tests::{Counts, Temporal};
use serde::Serialize;
use std::time::Instant;
use temporalio_client::Client;

/// How much is measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Effort {
    /// Times that each side is measured in each shape, in alternating order.
    pub(crate) rounds: usize,
    /// Requests one after the other, for latency.
    pub(crate) sequential: usize,
    /// Requests under load, for rate and CPU.
    pub(crate) loaded: usize,
    /// How many of those are under way at once.
    pub(crate) at_once: usize,
}

/// One side in one shape in one round.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) side: Side,
    pub(crate) shape: Shape,
    pub(crate) round: usize,
    /// From the request to its answer, one request at a time.
    pub(crate) submit_ms: Vec<f64>,
    /// From the request to the closed run, one request at a time.
    pub(crate) end_to_end_ms: Vec<f64>,
    /// Under load.
    pub(crate) tasks_per_second: f64,
    pub(crate) worker_cpu_ms: f64,
    pub(crate) server_cpu_ms: f64,
    /// Of the caller, which is this process for every side.
    pub(crate) client_cpu_ms: f64,
}

/// What one task of a side in a shape costs the server, in things that can be counted.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Counted {
    pub(crate) side: Side,
    pub(crate) shape: Shape,
    pub(crate) events: usize,
    pub(crate) workflow_tasks: usize,
    pub(crate) actions: f64,
    /// To the server's frontend, the caller's and the worker's, polls for work included.
    pub(crate) requests: f64,
}

/// Measures all, in the order A B C, C B A, A B C, …
pub(crate) async fn measure(
    peers: &[&Peer],
    server: &Temporal,
    client: &Client,
    shapes: &[Shape],
    effort: Effort,
) -> Result<(Vec<Measured>, Vec<Counted>)> {
    let (mut measured, mut counted) = (Vec::new(), Vec::new());
    for &shape in shapes {
        for peer in peers {
            warm_up(peer, shape).await?;
            counted.push(count(peer, shape, server, client).await?);
            eprintln!("{shape} counted {}", peer.side);
        }
        for round in 0..effort.rounds {
            let mut order = peers.to_vec();
            if round % 2 == 1 {
                order.reverse();
            }
            for peer in order {
                measured.push(once(peer, shape, round, server, effort).await?);
                eprintln!("{shape} {}/{} {}", round + 1, effort.rounds, peer.side);
            }
        }
    }
    Ok((measured, counted))
}

async fn once(peer: &Peer, shape: Shape, round: usize, server: &Temporal, effort: Effort) -> Result<Measured> {
    let (mut submit_ms, mut end_to_end_ms) = (Vec::new(), Vec::new());
    for _ in 0..effort.sequential {
        let begun = Instant::now();
        let workflow_id = peer.submit(shape).await?;
        submit_ms.push(millis(begun));
        if shape == Shape::Workflow {
            peer.complete(&workflow_id).await?;
        }
        peer.closed(&workflow_id).await?;
        end_to_end_ms.push(millis(begun));
    }
    let (worker, server, own) = (peer.worker.id(), server.process_id()?, std::process::id());
    let before = (cpu_ms(worker)?, cpu_ms(server)?, cpu_ms(own)?);
    let begun = Instant::now();
    load(peer, shape, effort.loaded, effort.at_once).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let number = effort.loaded as f64;
    Ok(Measured {
        side: peer.side,
        shape,
        round,
        submit_ms,
        end_to_end_ms,
        tasks_per_second: number / seconds,
        worker_cpu_ms: (cpu_ms(worker)? - before.0) / number,
        server_cpu_ms: (cpu_ms(server)? - before.1) / number,
        client_cpu_ms: (cpu_ms(own)? - before.2) / number,
    })
}

async fn load(peer: &Peer, shape: Shape, number: usize, at_once: usize) -> Result<()> {
    stream::iter(0..number).map(|_| peer.live(shape)).buffer_unordered(at_once).try_for_each(|_| async { Ok(()) }).await
}

async fn warm_up(peer: &Peer, shape: Shape) -> Result<()> {
    load(peer, shape, 10, 2).await
}

async fn count(peer: &Peer, shape: Shape, server: &Temporal, client: &Client) -> Result<Counted> {
    const NUMBER: usize = 20;
    let before = server.counts(client).await?;
    let mut workflow_id = String::new();
    for _ in 0..NUMBER {
        workflow_id = peer.live(shape).await?;
    }
    let Counts { actions, requests } = server.counts(client).await?.since(&before);
    let per_task = |counts: Vec<u64>| counts.iter().sum::<u64>() as f64 / NUMBER as f64;
    let (events, workflow_tasks) = peer.history(&workflow_id).await?;
    Ok(Counted {
        side: peer.side,
        shape,
        events,
        workflow_tasks,
        actions: per_task(actions.into_values().collect()),
        requests: per_task(requests.into_values().collect()),
    })
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1_000.0
}

/// A quick answer beside the bare call, and the worker's CPU beside both bare ones.
pub(crate) fn aims(arms: &[Measured]) -> Vec<Aim> {
    let mut aims = Vec::new();
    let mut add = |aim: String, measured: Option<f64>, limit: f64| {
        aims.extend(measured.map(|measured| Aim::at_most(aim, measured, limit)));
    };
    let answer = ratio(arms, Shape::Answer, Side::Rust, |measured| Spread::of(&measured.submit_ms).p50);
    add("quick synchronous answer beside the bare call, p50".into(), answer, 1.15);
    for shape in Shape::ALL {
        for (peer, limit) in [(Side::Rust, 1.3), (Side::Python, 1.0 / 3.0)] {
            let ratio = ratio(arms, shape, peer, |measured| measured.worker_cpu_ms);
            add(format!("worker CPU per task beside {peer}, {shape}"), ratio, limit);
        }
    }
    aims
}

// Round by round, because only neighbours were measured on the same machine.
fn ratio(arms: &[Measured], shape: Shape, peer: Side, of: impl Fn(&Measured) -> f64) -> Option<f64> {
    let ratios = each(arms, shape, Side::Handoff).filter_map(|ours| {
        let theirs = each(arms, shape, peer).find(|theirs| theirs.round == ours.round)?;
        Some(of(ours) / of(theirs))
    });
    let ratios: Vec<f64> = ratios.collect();
    (!ratios.is_empty()).then(|| median(&ratios))
}

fn each(arms: &[Measured], shape: Shape, side: Side) -> impl Iterator<Item = &Measured> {
    arms.iter().filter(move |measured| measured.shape == shape && measured.side == side)
}

/// Each side in each shape, in the middle of its rounds.
pub(crate) fn table(arms: &[Measured]) -> Table {
    let mut table = grid(&[
        "shape",
        "side",
        "submit p50/p99 ms",
        "end to end p50/p99 ms",
        "tasks/s",
        "worker ms",
        "server ms",
        "client ms",
    ]);
    for shape in Shape::ALL {
        for side in [Side::Handoff, Side::Rust, Side::Python] {
            let these: Vec<&Measured> = each(arms, shape, side).collect();
            if these.is_empty() {
                continue;
            }
            let all = |of: fn(&Measured) -> &[f64]| -> Spread {
                Spread::of(&these.iter().flat_map(|measured| of(measured).to_vec()).collect::<Vec<_>>())
            };
            table.add_row([
                shape.to_string(),
                side.to_string(),
                all(|measured| &measured.submit_ms).to_string(),
                all(|measured| &measured.end_to_end_ms).to_string(),
                format!("{:.1}", middle(&these, |measured| measured.tasks_per_second)),
                format!("{:.2}", middle(&these, |measured| measured.worker_cpu_ms)),
                format!("{:.1}", middle(&these, |measured| measured.server_cpu_ms)),
                format!("{:.2}", middle(&these, |measured| measured.client_cpu_ms)),
            ]);
        }
    }
    table
}

/// What each side in each shape costs the server.
pub(crate) fn counts_table(counts: &[Counted]) -> Table {
    let mut table = grid(&["shape", "side", "events", "workflow tasks", "actions", "requests"]);
    for counted in counts {
        table.add_row([
            counted.shape.to_string(),
            counted.side.to_string(),
            counted.events.to_string(),
            counted.workflow_tasks.to_string(),
            format!("{:.1}", counted.actions),
            format!("{:.1}", counted.requests),
        ]);
    }
    table
}
