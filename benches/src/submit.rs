//! From a buyer's request to `submitted`, on the workflow arm: over MCP, by the library, and by a raw Update-With-Start.

use crate::{
    door::Door,
    mcp::Mcp,
    peer::{Peer, SCOPE, Shape},
    report::grid,
    stats::{Spread, median},
};
use anyhow::{Result, ensure};
use comfy_table::Table;
use handoff_proto::v1::TaskRef;
use handoff_tests::fresh_key;
use serde::Serialize;
use serde_json::{Value, json};
use std::{fmt, time::Instant};

/// How a request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Way {
    Mcp,
    Library,
    Raw,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mcp => "over MCP",
            Self::Library => "by the library",
            Self::Raw => "raw Update-With-Start",
        })
    }
}

/// One way in one round, one request at a time.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Submitted {
    pub(crate) way: Way,
    pub(crate) round: usize,
    pub(crate) ms: Vec<f64>,
}

/// Who takes the requests.
pub(crate) struct Takers<'a> {
    /// A gateway before `handoff`'s worker.
    pub(crate) door: &'a Door,
    pub(crate) handoff: &'a Peer,
    pub(crate) rust: &'a Peer,
}

/// Measures all, in the order A B C, C B A, A B C, …
pub(crate) async fn measure(takers: &Takers<'_>, rounds: usize, requests: usize) -> Result<Vec<Submitted>> {
    let session = takers.door.session().await?;
    let mut order = [Way::Mcp, Way::Library, Way::Raw];
    for way in order {
        once(takers, &session, way, 3).await?;
    }
    let mut submitted = Vec::new();
    for round in 0..rounds {
        for way in order {
            submitted.push(Submitted { way, round, ms: once(takers, &session, way, requests).await? });
            eprintln!("submit {}/{rounds} {way}", round + 1);
        }
        order.reverse();
    }
    Ok(submitted)
}

async fn once(takers: &Takers<'_>, session: &Mcp, way: Way, requests: usize) -> Result<Vec<f64>> {
    let peer = if way == Way::Raw { takers.rust } else { takers.handoff };
    let mut ms = Vec::new();
    for _ in 0..requests {
        let request = request();
        let begun = Instant::now();
        let workflow_id = match way {
            Way::Mcp => buy(session, &request).await?,
            Way::Library | Way::Raw => peer.submit(Shape::Workflow).await?,
        };
        ms.push(begun.elapsed().as_secs_f64() * 1_000.0);
        // Nothing of it is left for the next one to wait for.
        peer.complete(&workflow_id).await?;
        peer.closed(&workflow_id).await?;
    }
    Ok(ms)
}

async fn buy(session: &Mcp, request: &Value) -> Result<String> {
    let answer = session.call("create_media_buy", request).await?;
    ensure!(answer["status"] == "submitted", "{answer}");
    let task_id = answer["task_id"].as_str().unwrap_or_default().to_owned();
    Ok(TaskRef { task_id, scope: SCOPE.into(), ..Default::default() }.workflow_id())
}

// About as large as the others'.
fn request() -> Value {
    let package =
        |product: &str, pricing: &str| json!({"product_id": product, "pricing_option_id": pricing, "budget": 12_000.5});
    json!({
        "idempotency_key": fresh_key(),
        "account": {"account_id": SCOPE},
        "brand": {"domain": "novamotors.example"},
        "start_time": "2027-03-01T00:00:00Z",
        "end_time": "2027-03-31T23:59:59Z",
        "packages": [
            package("bench_display", "cpm_usd_display"),
            package("bench_video", "cpm_usd_olv"),
            package("bench_podcast", "cpm_usd_podcast"),
        ],
        "context": {"correlation_id": "bench"},
        "ext": {"filler": "x".repeat(1_000)},
    })
}

/// Each way, and how many times as long as raw it took in the same round.
pub(crate) fn table(submitted: &[Submitted]) -> Table {
    let mut table = grid(&["submitted", "p50/p99 ms", "beside raw, p50"]);
    for way in [Way::Mcp, Way::Library, Way::Raw] {
        let these: Vec<&Submitted> = submitted.iter().filter(|one| one.way == way).collect();
        if these.is_empty() {
            continue;
        }
        let all: Vec<f64> = these.iter().flat_map(|one| one.ms.clone()).collect();
        let ratios: Vec<f64> = these.iter().filter_map(|one| beside_raw(submitted, one)).collect();
        table.add_row([way.to_string(), Spread::of(&all).to_string(), format!("{:.2}", median(&ratios))]);
    }
    table
}

fn beside_raw(submitted: &[Submitted], ours: &Submitted) -> Option<f64> {
    let raw = submitted.iter().find(|one| one.way == Way::Raw && one.round == ours.round)?;
    Some(Spread::of(&ours.ms).p50 / Spread::of(&raw.ms).p50)
}
