//! Requests of one kind to one server, over a few connections, each of which sends the next when the last was answered.

use crate::{
    door::Door,
    mcp::{Mcp, message},
    pair::{Measurement, Seller},
    polls::ACCOUNTS,
    process::cpu_ms,
    report::{grid, middle},
    stats::Spread,
};
use anyhow::{Context, Result, ensure};
use comfy_table::Table;
use futures::future::try_join_all;
use rand::Rng;
use serde::Serialize;
use serde_json::{Value, json};
use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

const WARM_UP: usize = 5;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Request {
    /// `get_task_status` of any task, which is another account's than the last one's.
    Poll,
    /// `list_tasks` of any account.
    List,
    /// `get_products` by a brief, with no idempotency key.
    Discovery,
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Poll => "poll",
            Self::List => "list",
            Self::Discovery => "discovery",
        })
    }
}

impl Request {
    fn tool(self) -> &'static str {
        match self {
            Self::Poll => "get_task_status",
            Self::List => "list_tasks",
            Self::Discovery => "get_products",
        }
    }

    fn arguments(self, door: &Door) -> Value {
        let mut random = rand::rng();
        match self {
            Self::Poll => {
                let (task_id, account) = door.task(random.random_range(1..=door.tasks()), ACCOUNTS);
                json!({"task_id": task_id, "account": {"account_id": account}})
            }
            Self::List => {
                let (_, account) = door.task(random.random_range(1..=door.tasks()), ACCOUNTS);
                json!({"account": {"account_id": account}})
            }
            Self::Discovery => json!({
                "account": {"account_id": "acct_bench"},
                "buying_mode": "brief",
                "brief": "Launch of an electric car: display and video, with podcasts around it.",
                "brand": {"domain": "novamotors.example"},
            }),
        }
    }

    // Is it an answer to what was asked?
    fn check(self, asked: &Value, answer: &Value) -> Result<()> {
        let rows = |field: &str| answer[field].as_array().is_some_and(|rows| !rows.is_empty());
        let fits = match self {
            Self::Poll => answer["task_id"] == asked["task_id"] && answer["status"] == "submitted",
            Self::List => rows("tasks"),
            Self::Discovery => rows("products"),
        };
        ensure!(fits, "{self}: {asked} was answered by {answer}");
        Ok(())
    }
}

/// One server under one load in one round.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Loaded {
    pub(crate) seller: Seller,
    pub(crate) request: Request,
    pub(crate) round: usize,
    pub(crate) connections: usize,
    pub(crate) answered: usize,
    pub(crate) per_second: f64,
    /// From sending a request to having its answer.
    pub(crate) ms: Spread,
    /// Of the server's process, per request.
    pub(crate) server_cpu_ms: f64,
}

impl Measurement for Loaded {
    fn seller(&self) -> Seller {
        self.seller
    }

    fn round(&self) -> usize {
        self.round
    }
}

/// How a server is loaded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    /// Beside a single one.
    pub(crate) connections: usize,
    pub(crate) patience: Duration,
}

/// Loads both in turn: one request at a time, and with several connections.
pub(crate) async fn measure(doors: &[Arc<Door>], request: Request, effort: Effort) -> Result<Vec<Loaded>> {
    let mut loaded = Vec::new();
    for round in 0..effort.rounds {
        for seller in Seller::order(round) {
            let door = doors.iter().find(|door| door.seller == seller).context("a server")?;
            for connections in [1, effort.connections] {
                loaded.push(once(door, request, round, connections, effort.patience).await?);
            }
            eprintln!("{request} {}/{} {seller}", round + 1, effort.rounds);
        }
    }
    Ok(loaded)
}

async fn once(
    door: &Arc<Door>,
    request: Request,
    round: usize,
    connections: usize,
    patience: Duration,
) -> Result<Loaded> {
    let sessions = try_join_all((0..connections).map(|_| door.session())).await?;
    for session in &sessions {
        for _ in 0..WARM_UP {
            let asked = request.arguments(door);
            request.check(&asked, &session.call(request.tool(), &asked).await?)?;
        }
    }
    let cpu = cpu_ms(door.process.id())?;
    let begun = Instant::now();
    let clients = sessions.into_iter().map(|session| {
        let door = door.clone();
        tokio::spawn(async move { client(&door, &session, request, begun + patience).await })
    });
    let ms = try_join_all(clients).await?.into_iter().collect::<Result<Vec<_>>>()?.concat();
    let seconds = begun.elapsed().as_secs_f64();
    let answered = ms.len() as f64;
    Ok(Loaded {
        seller: door.seller,
        request,
        round,
        connections,
        answered: ms.len(),
        per_second: answered / seconds,
        ms: Spread::of(&ms),
        server_cpu_ms: (cpu_ms(door.process.id())? - cpu) / answered,
    })
}

// At least one request, however slow.
async fn client(door: &Door, session: &Mcp, request: Request, until: Instant) -> Result<Vec<f64>> {
    let mut ms = Vec::new();
    while ms.is_empty() || Instant::now() < until {
        let message = message(request.tool(), &request.arguments(door));
        let begun = Instant::now();
        session.send(message).await?;
        ms.push(begun.elapsed().as_secs_f64() * 1_000.0);
    }
    Ok(ms)
}

/// Each server under each load, in the middle of its rounds.
pub(crate) fn table(loaded: &[Loaded]) -> Table {
    let mut table =
        grid(&["request", "server", "connections", "per second", "p50/p99 ms", "server CPU ms each", "per CPU second"]);
    let mut kinds: Vec<(Request, Seller, usize)> = Vec::new();
    for one in loaded {
        let kind = (one.request, one.seller, one.connections);
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    for (request, seller, connections) in kinds {
        let these: Vec<&Loaded> = of(loaded, request, connections).filter(|one| one.seller == seller).collect();
        let cpu = middle(&these, |one| one.server_cpu_ms);
        let spread = Spread { p50: middle(&these, |one| one.ms.p50), p99: middle(&these, |one| one.ms.p99) };
        table.add_row([
            request.to_string(),
            seller.to_string(),
            connections.to_string(),
            format!("{:.0}", middle(&these, |one| one.per_second)),
            spread.to_string(),
            format!("{cpu:.3}"),
            if cpu > 0.0 { format!("{:.0}", 1_000.0 / cpu) } else { "too few".to_owned() },
        ]);
    }
    table
}

/// Those of one request with so many connections.
pub(crate) fn of(loaded: &[Loaded], request: Request, connections: usize) -> impl Iterator<Item = &Loaded> + Clone {
    loaded.iter().filter(move |one| one.request == request && one.connections == connections)
}
