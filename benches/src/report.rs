//! What was measured, in a table for people and in JSON for programs; and the aims, met or missed.

use crate::{
    arms::{self, Counted, Effort, Measured},
    discovery::Discovery,
    http::Http,
    load,
    parked::Parked,
    peer::{Shape, Side},
    polls::{self, Polled},
    start::{self, Started},
    stats::{Spread, median},
    submit::{self, Submitted},
    webhooks::{self, Delivered},
};
use comfy_table::{Table, presets};
use serde::Serialize;
use std::fmt::{self, Display, Write};

/// Everything that one run of the benchmarks measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) at: String,
    pub(crate) machine: Machine,
    pub(crate) effort: Effort,
    pub(crate) arms: Vec<Measured>,
    pub(crate) counts: Vec<Counted>,
    pub(crate) parked: Option<Parked>,
    pub(crate) polls: Vec<Polled>,
    pub(crate) http: Option<Http>,
    pub(crate) submits: Vec<Submitted>,
    pub(crate) discovery: Option<Discovery>,
    pub(crate) starts: Vec<Started>,
    pub(crate) webhooks: Vec<Delivered>,
}

/// Where it was measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) load_before: f64,
    pub(crate) load_after: f64,
}

/// An aim of the engine, and what this run says about it.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Aim {
    pub(crate) aim: String,
    pub(crate) measured: f64,
    pub(crate) limit: f64,
    pub(crate) met: bool,
}

impl Aim {
    /// Met where no more than the limit was measured.
    pub(crate) fn at_most(aim: String, measured: f64, limit: f64) -> Self {
        Self { aim, measured, limit, met: measured <= limit }
    }
}

impl Report {
    /// As JSON, with the aims.
    pub(crate) fn to_json(&self) -> serde_json::Result<String> {
        #[derive(Serialize)]
        struct WithAims<'a> {
            #[serde(flatten)]
            report: &'a Report,
            aims: Vec<Aim>,
        }
        serde_json::to_string_pretty(&WithAims { report: self, aims: self.aims() })
    }

    /// Each aim that this run measured.
    pub(crate) fn aims(&self) -> Vec<Aim> {
        let mut aims = arms::aims(&self.arms);
        for polled in self.polls.iter().filter(|polled| polled.request == "poll") {
            aims.push(Aim::at_most(format!("poll, ms, p50, {}", polled.database), polled.ms.p50, 1.0));
        }
        if let Some(parked) = &self.parked {
            aims.push(Aim::at_most(
                "MB per 1,000 parked tasks beyond the cache".into(),
                parked.per_thousand_beyond(),
                10.0,
            ));
        }
        aims.extend(self.http.iter().flat_map(Http::aims));
        aims.extend(self.discovery.iter().flat_map(Discovery::aims));
        aims.extend(webhooks::aims(&self.webhooks));
        aims
    }

    fn aims_table(&self) -> Table {
        let mut table = grid(&["aim", "measured", "at most", ""]);
        for aim in self.aims() {
            let verdict = if aim.met { "met" } else { "missed" };
            table.add_row([aim.aim, format!("{:.3}", aim.measured), format!("{:.3}", aim.limit), verdict.to_owned()]);
        }
        table
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (machine, effort) = (self.machine, self.effort);
        writeln!(
            f,
            "{}: {} cores, load average {:.1} before and {:.1} after; {} rounds of {} requests one by one and {} with {} at once",
            self.at,
            machine.cores,
            machine.load_before,
            machine.load_after,
            effort.rounds,
            effort.sequential,
            effort.loaded,
            effort.at_once,
        )?;
        let mut section = |title: &str, table: Table| match table.is_empty() {
            true => Ok(()),
            false => writeln!(f, "\n{title}\n{table}"),
        };
        section("The arms, beside the same shapes without Handoff; CPU per task under load", arms::table(&self.arms))?;
        section("Per task, counted", arms::counts_table(&self.counts))?;
        section("Reading tasks", polls::table(&self.polls))?;
        if let Some(http) = &self.http {
            section(
                "Reading over MCP, without workers and Temporal, beside the Python SDK's server",
                load::table(&http.loaded),
            )?;
            section("Memory of those servers; the Python SDK's registry is within it", http.memory_table())?;
        }
        section("To submitted, one request at a time, on the workflow arm", submit::table(&self.submits))?;
        if let Some(discovery) = &self.discovery {
            section("Keyless discovery over MCP, answered at once", load::table(&discovery.loaded))?;
        }
        section("From spawn, with an empty registry", start::table(&self.starts))?;
        section("Signed webhooks over TLS, by the sender alone", webhooks::table(&self.webhooks))?;
        if let Some(parked) = &self.parked {
            let mut text = String::new();
            write!(
                text,
                "{:.0} MB idle, {:.0} MB with {} in the cache, {:.0} MB with {}: per 1,000, {:.0} MB in the cache and {:.1} MB beyond",
                parked.idle_mb,
                parked.full_mb,
                parked.cached,
                parked.beyond_mb,
                parked.parked,
                parked.per_thousand_cached(),
                parked.per_thousand_beyond(),
            )?;
            writeln!(f, "\nParked tasks: memory of the worker\n{text}")?;
        }
        writeln!(f, "\nAims\n{}", self.aims_table())
    }
}

impl Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} / {:.2}", self.p50, self.p99)
    }
}

impl Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handoff => "Handoff",
            Self::Rust => "bare Rust",
            Self::Python => "bare Python",
        })
    }
}

impl Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An empty table.
pub(crate) fn grid(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(head);
    table
}

/// The median of one thing that was measured several times.
pub(crate) fn middle<T>(measured: &[&T], of: impl Fn(&T) -> f64) -> f64 {
    median(&measured.iter().map(|one| of(one)).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pair::Seller;

    fn measured(side: Side, round: usize, submit: f64, worker: f64) -> Measured {
        Measured {
            side,
            shape: Shape::Answer,
            round,
            submit_ms: vec![submit],
            end_to_end_ms: vec![submit],
            tasks_per_second: 10.0,
            worker_cpu_ms: worker,
            server_cpu_ms: 1.0,
            client_cpu_ms: 1.0,
        }
    }

    fn delivered(seller: Seller, sender_cpu_ms: f64) -> Delivered {
        Delivered { seller, round: 0, deliveries: 10, at_once: 2, per_second: 123.0, sender_cpu_ms }
    }

    fn report(arms: Vec<Measured>) -> Report {
        Report {
            at: "2026-01-01T00:00:00Z".into(),
            machine: Machine { cores: 2, load_before: 0.1, load_after: 0.2 },
            effort: Effort { rounds: 2, sequential: 1, loaded: 1, at_once: 1 },
            arms,
            counts: vec![],
            parked: Some(Parked { cached: 500, idle_mb: 20.0, full_mb: 50.0, parked: 1_500, beyond_mb: 61.0 }),
            polls: vec![Polled {
                database: "sqlite",
                request: "poll",
                tasks: 10,
                ms: Spread { p50: 0.2, p99: 0.9 },
                per_second: 1.0,
            }],
            http: None,
            submits: vec![],
            discovery: None,
            starts: vec![],
            webhooks: vec![delivered(Seller::Handoff, 0.5), delivered(Seller::Python, 20.0)],
        }
    }

    #[test]
    fn aims_compare_neighbours_round_by_round() {
        // The machine was ten times slower in the second round.
        let report = report(vec![
            measured(Side::Handoff, 0, 11.0, 4.0),
            measured(Side::Rust, 0, 10.0, 2.0),
            measured(Side::Rust, 1, 100.0, 20.0),
            measured(Side::Handoff, 1, 110.0, 40.0),
        ]);
        let aims: Vec<(f64, bool)> =
            report.aims().iter().map(|aim| ((aim.measured * 100.0).round() / 100.0, aim.met)).collect();
        assert_eq!(aims, [(1.1, true), (2.0, false), (0.2, true), (11.0, false), (0.03, true)]);
    }

    #[test]
    fn the_table_and_the_json_say_the_same() {
        let report = report(vec![measured(Side::Handoff, 0, 11.0, 4.0), measured(Side::Rust, 0, 10.0, 2.0)]);
        let text = report.to_string();
        for expected in
            ["bare Rust", "11.00 / 11.00", "met", "missed", "0.20 / 0.90", "11.0 MB beyond", "Python SDK", "0.025"]
        {
            assert!(text.contains(expected), "{expected} is missing in\n{text}");
        }
        assert!(!text.contains("Per task, counted"), "{text}");
        let json: serde_json::Value = serde_json::from_str(&report.to_json().unwrap()).unwrap();
        assert_eq!((&json["arms"][0]["side"], json["aims"].as_array().map(Vec::len)), (&"handoff".into(), Some(5)));
    }
}
