//! What was measured, in a table for people and in JSON for programs; and the aims, met or missed.

use crate::{
    arms::{Counted, Effort, Measured},
    parked::Parked,
    peer::{Shape, Side},
    polls::Polled,
    stats::{Spread, median},
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
        let mut aims = Vec::new();
        let mut add = |aim: String, measured: Option<f64>, limit: f64| {
            aims.extend(measured.map(|measured| Aim { aim, measured, limit, met: measured <= limit }));
        };
        let answer = self.ratio(Shape::Answer, Side::Rust, |measured| Spread::of(&measured.submit_ms).p50);
        add("quick synchronous answer beside the bare call, p50".into(), answer, 1.15);
        for shape in Shape::ALL {
            for (peer, limit) in [(Side::Rust, 1.3), (Side::Python, 1.0 / 3.0)] {
                let ratio = self.ratio(shape, peer, |measured| measured.worker_cpu_ms);
                add(format!("worker CPU per task beside {peer}, {shape}"), ratio, limit);
            }
        }
        for polled in self.polls.iter().filter(|polled| polled.request == "poll") {
            add(format!("poll, ms, p50, {}", polled.database), Some(polled.ms.p50), 1.0);
        }
        let beyond = self.parked.as_ref().map(Parked::per_thousand_beyond);
        add("MB per 1,000 parked tasks beyond the cache".into(), beyond, 10.0);
        aims
    }

    // Round by round, because only neighbours were measured on the same machine.
    fn ratio(&self, shape: Shape, peer: Side, of: impl Fn(&Measured) -> f64) -> Option<f64> {
        let ratios = self.of(shape, Side::Handoff).filter_map(|ours| {
            let theirs = self.of(shape, peer).find(|theirs| theirs.round == ours.round)?;
            Some(of(ours) / of(theirs))
        });
        let ratios: Vec<f64> = ratios.collect();
        (!ratios.is_empty()).then(|| median(&ratios))
    }

    fn of(&self, shape: Shape, side: Side) -> impl Iterator<Item = &Measured> {
        self.arms.iter().filter(move |measured| measured.shape == shape && measured.side == side)
    }

    fn arms_table(&self) -> Table {
        let mut table = table(&[
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
                let all = |of: fn(&Measured) -> &[f64]| -> Spread {
                    Spread::of(&self.of(shape, side).flat_map(|measured| of(measured).to_vec()).collect::<Vec<_>>())
                };
                let middle = |of: fn(&Measured) -> f64| median(&self.of(shape, side).map(of).collect::<Vec<_>>());
                if self.of(shape, side).next().is_none() {
                    continue;
                }
                table.add_row([
                    shape.to_string(),
                    side.to_string(),
                    all(|measured| &measured.submit_ms).to_string(),
                    all(|measured| &measured.end_to_end_ms).to_string(),
                    format!("{:.1}", middle(|measured| measured.tasks_per_second)),
                    format!("{:.2}", middle(|measured| measured.worker_cpu_ms)),
                    format!("{:.1}", middle(|measured| measured.server_cpu_ms)),
                    format!("{:.2}", middle(|measured| measured.client_cpu_ms)),
                ]);
            }
        }
        table
    }

    fn counts_table(&self) -> Table {
        let mut table = table(&["shape", "side", "events", "workflow tasks", "actions", "requests"]);
        for counted in &self.counts {
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

    fn polls_table(&self) -> Table {
        let mut table = table(&["database", "request", "tasks", "p50/p99 ms", "per second"]);
        for polled in &self.polls {
            table.add_row([
                polled.database.to_owned(),
                polled.request.to_owned(),
                polled.tasks.to_string(),
                polled.ms.to_string(),
                format!("{:.0}", polled.per_second),
            ]);
        }
        table
    }

    fn aims_table(&self) -> Table {
        let mut table = table(&["aim", "measured", "at most", ""]);
        for aim in self.aims() {
            let verdict = if aim.met { "met" } else { "missed" };
            table.add_row([aim.aim, format!("{:.2}", aim.measured), format!("{:.2}", aim.limit), verdict.to_owned()]);
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
        section("The arms, beside the same shapes without Handoff; CPU per task under load", self.arms_table())?;
        section("Per task, counted", self.counts_table())?;
        section("Reading tasks", self.polls_table())?;
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

fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(head);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(aims, [(1.1, true), (2.0, false), (0.2, true), (11.0, false)]);
    }

    #[test]
    fn the_table_and_the_json_say_the_same() {
        let report = report(vec![measured(Side::Handoff, 0, 11.0, 4.0), measured(Side::Rust, 0, 10.0, 2.0)]);
        let text = report.to_string();
        for expected in ["bare Rust", "11.00 / 11.00", "met", "missed", "0.20 / 0.90", "11.0 MB beyond"] {
            assert!(text.contains(expected), "{expected} is missing in\n{text}");
        }
        assert!(!text.contains("Per task, counted"), "{text}");
        let json: serde_json::Value = serde_json::from_str(&report.to_json().unwrap()).unwrap();
        assert_eq!((&json["arms"][0]["side"], json["aims"].as_array().map(Vec::len)), (&"handoff".into(), Some(4)));
    }
}
