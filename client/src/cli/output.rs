//! Where a command's words go: data to stdout, talk to stderr.

use super::problem::Problem;
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;
use std::io::Write;

/// How to show things.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    json: bool,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Data: as JSON, or as the text made of it.
    pub(super) fn data(&self, json: &Value, text: impl FnOnce() -> String) {
        if self.json { print(&pretty(json)) } else { print(&text()) }
    }

    /// One of many data: JSON on a line of its own.
    pub(super) fn item(&self, json: &Value, text: impl FnOnce() -> String) {
        if self.json { print(&json.to_string()) } else { print(&text()) }
    }

    /// Something for a person; nothing with `--json`.
    pub(super) fn talk(&self, text: &str) {
        if !self.json {
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }

    pub(super) fn problem(&self, problem: &Problem) {
        if self.json {
            print(&pretty(&problem.json()));
        } else {
            let _ = writeln!(std::io::stderr(), "{}", problem.text());
        }
    }
}

/// JSON for people.
pub(super) fn pretty(json: &Value) -> String {
    format!("{json:#}")
}

/// A table without lines, as wide as the terminal.
pub(super) fn table<R: IntoIterator<Item = String>>(header: &[&str], rows: impl IntoIterator<Item = R>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_header(header);
    for row in rows {
        table.add_row(row);
    }
    if let Some(first) = table.column_mut(0) {
        first.set_padding((0, 1));
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// Names and values, aligned.
pub(super) fn pairs(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 2;
    let lines = pairs.iter().filter(|(_, value)| !value.is_empty());
    lines.map(|(name, value)| format!("{name:<width$}{value}")).collect::<Vec<_>>().join("\n")
}

// A reader that has had enough is no failure.
fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
