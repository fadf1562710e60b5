//! Signed webhooks over TLS: Handoff's sender beside the Python SDK's, each a process of its own, to a receiver in a third.

pub(crate) mod receiver;
pub(crate) mod sender;
mod told;

use crate::{
    door::{buyer_python, program},
    pair::{Measurement, Seller, ratio},
    process::{cpu_ms, own},
    report::{Aim, grid, middle},
};
use anyhow::{Context, Result, ensure};
use comfy_table::Table;
use serde::Serialize;
use std::{env, path::Path};
use tokio::process::Command;
use told::Told;

const TEMPLATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/webhook.json");
// Handoff's share of a round must be long enough for the clock of /proc.
const MORE: usize = 20;
const WARM_UP: usize = 10;

/// One sender in one round.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Delivered {
    pub(crate) seller: Seller,
    pub(crate) round: usize,
    pub(crate) deliveries: usize,
    pub(crate) at_once: usize,
    pub(crate) per_second: f64,
    /// Of the sender's process, per delivery.
    pub(crate) sender_cpu_ms: f64,
}

impl Measurement for Delivered {
    fn seller(&self) -> Seller {
        self.seller
    }

    fn round(&self) -> usize {
        self.round
    }
}

/// Sends so many by the Python SDK in each round, and some times as many by Handoff.
pub(crate) async fn measure(
    scratch: &Path,
    rounds: usize,
    deliveries: usize,
    at_once: usize,
) -> Result<Vec<Delivered>> {
    let directory = scratch.join("webhooks");
    std::fs::create_dir_all(&directory)?;
    let mut keys = Command::new(buyer_python()?);
    ensure!(
        keys.arg(program("bench_webhooks.py")).arg("keys").arg(&directory).status().await?.success(),
        "no keys were made"
    );
    let mut receiver = Told::start(Command::new(env::current_exe()?).arg("receiver").arg(&directory))?;
    let port = receiver.hear().await?["port"].as_u64().context("the receiver's port")?;
    let url = format!("https://localhost:{port}/webhooks/adcp");
    let mut handoff = own()?;
    handoff.arg("sender").arg(&directory).args([&url, TEMPLATE]);
    let mut python = Command::new(buyer_python()?);
    python.arg(program("bench_webhooks.py")).arg("send").arg(&directory).args([&url, TEMPLATE]);
    let mut senders = [(Seller::Handoff, Told::start(&mut handoff)?), (Seller::Python, Told::start(&mut python)?)];
    for (seller, sender) in &mut senders {
        once(*seller, sender, &mut receiver, 0, WARM_UP, at_once).await?;
    }
    let mut delivered = Vec::new();
    for round in 0..rounds {
        for seller in Seller::order(round) {
            let (_, sender) = senders.iter_mut().find(|(whose, _)| *whose == seller).context("a sender")?;
            let number = if seller == Seller::Handoff { deliveries * MORE } else { deliveries };
            delivered.push(once(seller, sender, &mut receiver, round, number, at_once).await?);
            eprintln!("webhooks {}/{rounds} {seller}", round + 1);
        }
    }
    Ok(delivered)
}

async fn once(
    seller: Seller,
    sender: &mut Told,
    receiver: &mut Told,
    round: usize,
    number: usize,
    at_once: usize,
) -> Result<Delivered> {
    sender.ask(&format!("prepare {number}")).await?;
    let before = receiver.ask("count").await?["signed"].as_u64().context("a count")?;
    let cpu = cpu_ms(sender.id())?;
    let sent = sender.ask(&format!("send {at_once}")).await?;
    let cpu = cpu_ms(sender.id())? - cpu;
    let came = receiver.ask("count").await?["signed"].as_u64().context("a count")? - before;
    let arrived = sent["arrived"].as_u64().context("how many arrived")?;
    ensure!(arrived == number as u64 && came == arrived, "{seller}: of {number}, {arrived} arrived, {came} signed");
    Ok(Delivered {
        seller,
        round,
        deliveries: number,
        at_once,
        per_second: number as f64 / sent["seconds"].as_f64().context("how long it took")?,
        sender_cpu_ms: cpu / number as f64,
    })
}

/// Each sender, in the middle of its rounds.
pub(crate) fn table(delivered: &[Delivered]) -> Table {
    let mut table = grid(&["sender", "deliveries a round", "at once", "per second", "sender CPU ms each"]);
    for seller in Seller::BOTH {
        let these: Vec<&Delivered> = delivered.iter().filter(|one| one.seller == seller).collect();
        let Some(first) = these.first() else { continue };
        table.add_row([
            seller.to_string(),
            first.deliveries.to_string(),
            first.at_once.to_string(),
            format!("{:.0}", middle(&these, |one| one.per_second)),
            format!("{:.3}", middle(&these, |one| one.sender_cpu_ms)),
        ]);
    }
    table
}

/// A tenth of the CPU.
pub(crate) fn aims(delivered: &[Delivered]) -> Vec<Aim> {
    let measured = ratio(delivered.iter(), |one| one.sender_cpu_ms);
    let aim = |measured| Aim::at_most("sender CPU per webhook beside the Python SDK".into(), measured, 0.1);
    measured.map(aim).into_iter().collect()
}
