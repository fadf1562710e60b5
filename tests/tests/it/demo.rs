//! The demo plays, and all that buyer and seller say in it is as the protocol has it.

use handoff_tests::binary;
use serde_json::Value;
use std::{collections::BTreeSet, process::Stdio};
use tokio::process::Command;

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/demo");

#[tokio::test]
async fn the_demo_plays_in_the_protocols_words() {
    let directory = tempfile::tempdir().unwrap();
    let record = directory.path().join("messages.jsonl");
    let programs = binary("acme-seller");
    let target = programs.ancestors().nth(2).expect("a directory of a profile");
    // It checks what it recorded.
    let done = Command::new(DEMO)
        .arg("--record")
        .arg(&record)
        .env("CARGO_TARGET_DIR", target)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let (out, log) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{out}\n{log}");
    assert!(out.contains("requests and their answers are AdCP 3.2.4"), "{out}");

    let recorded = std::fs::read_to_string(&record).unwrap();
    let calls: Vec<Value> = recorded.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let tools: BTreeSet<&str> = calls.iter().filter_map(|call| call["tool"].as_str()).collect();
    let expected = ["create_media_buy", "get_adcp_capabilities", "get_products", "get_task_status"];
    assert_eq!(tools, expected.into());

    // What became of each task is told from its recorded history.
    let lines: Vec<&str> = out.lines().map(str::trim).collect();
    let submitted = calls.iter().filter(|call| call["answer"]["status"] == "submitted");
    let tasks: BTreeSet<&str> = submitted.filter_map(|call| call["answer"]["task_id"].as_str()).collect();
    assert_eq!(tasks.len(), 7, "{tasks:?}");
    for task_id in tasks {
        let title = format!("operator  handoff task history {task_id}");
        let told = lines.iter().position(|line| *line == title).unwrap_or_else(|| panic!("{title} is not in {out}"));
        let events: Vec<&str> = lines[told + 1..].iter().map_while(|line| event(line)).collect();
        assert!(events.first() == Some(&"claimed") && events.contains(&"submitted"), "{task_id}: {events:?}");
        assert!(events.last().is_some_and(|end| ["completed", "rejected"].contains(end)), "{task_id}: {events:?}");
    }

    let statuses: BTreeSet<&str> = calls.iter().filter_map(|call| call["answer"]["status"].as_str()).collect();
    let expected = ["completed", "failed", "rejected", "submitted", "working"];
    assert_eq!(statuses, expected.into());
}

/// What happened, if the line is one of a history: the time of day, and the event.
fn event(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    let first = words.next()?;
    let is_time = first.as_bytes().get(2) == Some(&b':') && first.starts_with(|digit: char| digit.is_ascii_digit());
    if is_time { words.next() } else { None }
}
