//! What the command line takes, and what it refuses.

use super::*;
use clap::CommandFactory;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn flags_stand_anywhere() {
    for line in [
        "handoff --json --registry sqlite:x task get t",
        "handoff task get t --registry sqlite:x --json",
        "handoff task --registry sqlite:x get --json t",
    ] {
        let cli = parse(line).unwrap();
        assert!(cli.json, "{line}");
        assert_eq!(crate::Config::from(cli.config).registry_url, "sqlite:x", "{line}");
    }
}

#[test]
fn the_viewer_follows_the_names_given() {
    let viewer = |line: &str| match parse(line).unwrap().command.0 {
        Command::Task(TaskCommand::Get(get)) => get.task.viewer.viewer(),
        other => panic!("{other:?}"),
    };
    assert_eq!(viewer("handoff task get t"), Viewer::Operator);
    assert_eq!(viewer("handoff task get t --account a"), Viewer::Reviewer { scopes: vec!["a".into()] });
    let buyer = Viewer::Buyer { scope: "a".into(), principal: "p".into() };
    assert_eq!(viewer("handoff task get t --scope a --principal p"), buyer);
    assert!(parse("handoff task get t --principal p").is_err());
}

#[test]
fn decisions_need_exactly_one_content() {
    for usable in [
        "handoff task complete t --file -",
        "handoff task complete t --file - --unchecked",
        "handoff task complete t --result {} --actor me --reason ok --decision-id d",
        "handoff task fail t --code A --message b --recovery transient",
        "handoff task fail t --error {}",
        "handoff task fail t --file f.json",
        "handoff task cancel t --reason because",
        "handoff task progress t --percentage 50 --step copying",
        "handoff task list --status submitted --status working --created-after 2h --limit 10",
        "handoff reconcile --dry-run --min-age 1h",
        "handoff purge --dry-run --older-than 60d --tombstones-older-than 1d",
        "handoff sandbox reset",
        "handoff sandbox reset --account a --dry-run --json",
        "handoff sandbox reset --scope a",
        "handoff codec serve --token t --listen 127.0.0.1:0 --cors-origin http://a --cors-origin http://b",
        "handoff codec generate-key --id k",
        "handoff webhook list --state pending --state expired --ended-after 2h --limit 10",
        "handoff webhook redeliver t",
        "handoff webhook redeliver --state expired --ended-before 1h",
        "handoff webhook generate-key --algorithm es256",
        "handoff buyer tools --seller http://127.0.0.1:8080/mcp",
        "handoff buyer call get_products --seller http://127.0.0.1:8080/mcp --api-key k --file -",
        "handoff buyer watch t --seller http://127.0.0.1:8080/mcp --account a",
    ] {
        parse(usable).unwrap_or_else(|error| panic!("{usable}: {error}"));
    }
    for wrong in [
        "handoff task complete t",
        "handoff task complete t --file - --result {}",
        "handoff task fail t",
        "handoff task fail t --code A",
        "handoff task fail t --message b",
        "handoff task fail t --code A --message b --error {}",
        "handoff task progress t",
        "handoff webhook redeliver",
        "handoff webhook redeliver t --state expired",
        "handoff webhook list --state lost",
        "handoff sandbox",
        "handoff sandbox reset a",
        "handoff codec serve",
        "handoff codec serve --token t --listen 8234",
        "handoff task list --limit 101",
        "handoff task list --status cancelled",
        "handoff task list --created-after yesterday",
        "handoff verb call get_products --account a --principal p",
    ] {
        assert_eq!(parse(wrong).unwrap_err().exit_code(), 2, "{wrong}");
    }
}
