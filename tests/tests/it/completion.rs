//! The ways to end a waiting task: the command `handoff`, the library, Temporal's own CLI, and a program in another
//! language. All of them come to the same record.

use crate::on_both_databases;
use handoff_client::{Resolved, Viewer};
use handoff_proto::{
    v1::TaskRecord,
    wire::{AdcpError, TaskStatus},
};
use handoff_tests::{Kind, PRINCIPAL, SCOPE, World, binary, decision, eventually};
use serde_json::{Value, json};
use std::{fs, path::PathBuf, process::Stdio, time::Duration};
use temporalio_client::WorkflowTerminateOptions;
use tokio::{io::AsyncWriteExt, process::Command};

const VERB: &str = "create_media_buy";
// Longer than any program here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
// Exit codes of `handoff` that scripts rely on.
const OK: i32 = 0;
const FAILED: i32 = 1;
const USAGE: i32 = 2;
const REFUSED: i32 = 3;
const NOT_FOUND: i32 = 4;
const CONFLICT: i32 = 5;
const UNAVAILABLE: i32 = 6;
const RECORDED: i32 = 7;

on_both_databases! {
    async fn every_way_comes_to_the_same_end(world: World) {
        let _worker = world.worker().await.unwrap();
        let result = json!({"media_buy_id": "mb_1", "packages": [{"package_id": "p", "price": 1.1}], "name": "Käse"});
        let error = json!({"code": "POLICY_VIOLATION", "message": "Not our kind.", "recovery": "correctable"});
        let rejection = json!({"status": "rejected", "reason": "Not our kind."});
        let (read_error, same) = (serde_json::from_value::<AdcpError>(error.clone()).unwrap(), &error);
        for way in [Way::Command, Way::Library, Way::TemporalCli, Way::Python] {
            let completed = way.decides(&world, "complete", &result).await;
            assert_eq!((completed.status.as_str(), completed.error), ("completed", None), "{way:?}");
            assert_eq!(parsed(&completed.result_json), result, "{way:?}");
            let failed = way.decides(&world, "fail", same).await;
            assert_eq!((failed.status.as_str(), failed.result_json.as_str()), ("failed", ""), "{way:?}");
            assert_eq!(failed.error.unwrap().to_wire(), read_error, "{way:?}");
            let rejected = way.decides(&world, "complete", &rejection).await;
            assert_eq!((rejected.status.as_str(), rejected.error), ("rejected", None), "{way:?}");
            assert_eq!(parsed(&rejected.result_json), rejection, "{way:?}");
        }
    }

    async fn the_command_completes_from_flag_file_and_stdin(world: World) {
        let _worker = world.worker().await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("result.json");
        let result = json!({"media_buy_id": "mb_1", "price": 1.1});
        fs::write(&file, result.to_string()).unwrap();
        let (file, text) = (file.display().to_string(), result.to_string());
        let sources = [
            (vec!["--result", &text], None),
            (vec!["--file", &file], None),
            (vec!["--file", "-"], Some(text.as_str())),
        ];
        for (source, stdin) in sources {
            let task_id = waiting(&world).await;
            let mut words = vec!["task", "complete", &task_id, "--actor", "ann", "--reason", "in budget"];
            words.extend(["--decision-id", "d-1", "--json"]);
            words.extend(source);
            let recorded = json!({
                "status": "completed", "result": result, "decision_id": "d-1", "actor": "ann", "reason": "in budget",
            });
            let told = |status: &str| json!({"task_id": task_id, "status": status, "recorded": recorded});
            assert_eq!(handoff(&world, &words, stdin).await.json(OK), told("accepted"));
            assert_eq!(handoff(&world, &words, stdin).await.json(OK), told("accepted"), "the same decision again");
            let other = ["task", "complete", &task_id, "--result", &text, "--json"];
            assert_eq!(handoff(&world, &other, None).await.json(OK), told("duplicate"));
            let other = ["task", "cancel", &task_id, "--json"];
            assert_eq!(handoff(&world, &other, None).await.json(CONFLICT), told("conflict"));
            // For people: one line, and who it was.
            let other = handoff(&world, &["task", "fail", &task_id, "--code", "A", "--message", "b"], None).await;
            assert_eq!(other.code, CONFLICT, "{other:?}");
            for part in ["completed otherwise by ann: in budget", "nothing was changed"] {
                assert!(other.stdout.contains(part), "{other:?}");
            }
        }
    }

    async fn a_completion_in_a_file_may_say_who_and_why(world: World) {
        let _worker = world.worker().await.unwrap();
        let task_id = waiting(&world).await;
        let completion = json!({
            "result": {"media_buy_id": "mb"}, "actor": "order-system", "reason": "booked", "decision_id": "order-7",
        });
        let words = ["task", "complete", &task_id, "--file", "-", "--reason", "a flag wins"];
        let told = handoff(&world, &words, Some(&completion.to_string())).await;
        assert_eq!((told.code, told.stdout.as_str()), (OK, "accepted: the task is completed\n"), "{told:?}");
        let task = world.task(&task_id).await.unwrap();
        let decided = (task.actor.as_str(), task.reason.as_str(), task.decision_id.as_str());
        assert_eq!(decided, ("order-system", "a flag wins", "order-7"));
    }

    async fn the_command_fails_and_cancels(world: World) {
        let _worker = world.worker().await.unwrap();
        let failed = waiting(&world).await;
        let words = ["task", "fail", &failed, "--code", "POLICY_VIOLATION", "--message", "no",
            "--recovery", "correctable", "--field", "brand", "--suggestion", "ask us", "--json"];
        let told = handoff(&world, &words, None).await.json(OK);
        let error = json!({
            "code": "POLICY_VIOLATION", "message": "no", "recovery": "correctable", "field": "brand",
            "suggestion": "ask us",
        });
        assert_eq!((&told["status"], &told["recorded"]["error"]), (&json!("accepted"), &error));
        assert_eq!((&told["recorded"]["status"], &told["recorded"]["actor"]), (&json!("failed"), &json!("operator")));
        let canceled = waiting(&world).await;
        let words = ["task", "cancel", &canceled, "--reason", "withdrawn", "--json"];
        let recorded = handoff(&world, &words, None).await.json(OK)["recorded"].clone();
        assert_eq!((&recorded["status"], &recorded["reason"]), (&json!("canceled"), &json!("withdrawn")));
        world.reaches(&canceled, TaskStatus::Canceled).await;
    }

    async fn the_command_says_what_is_wrong_and_whether_to_retry(world: World) {
        let worker = world.worker().await.unwrap();
        let task_id = waiting(&world).await;
        let before = world.task(&task_id).await.unwrap();
        let huge = format!(r#"{{"a":"{}"}}"#, "x".repeat(1_900_000));
        let foreign = ["task", "complete", &task_id, "--account", "acct_other", "--result", r#"{"a":1}"#];
        let cases: [(&[&str], Option<&str>, i32, &str); 9] = [
            (&["task", "complete", "task_unknown", "--result", r#"{"a":1}"#], None, NOT_FOUND, "REFERENCE_NOT_FOUND"),
            (&foreign, None, NOT_FOUND, "REFERENCE_NOT_FOUND"),
            (&["task", "get", &task_id, "--account", "acct_other"], None, NOT_FOUND, "REFERENCE_NOT_FOUND"),
            (&["task", "complete", &task_id, "--result", "nonsense"], None, REFUSED, "INVALID_REQUEST"),
            (&["task", "complete", &task_id, "--result", r#"{"status":"working"}"#], None, REFUSED, "INVALID_REQUEST"),
            (&["task", "complete", &task_id, "--file", "-"], Some(&huge), REFUSED, "INVALID_REQUEST"),
            (&["task", "fail", &task_id, "--error", r#"{"message":"no code"}"#], None, REFUSED, "INVALID_REQUEST"),
            (&["task", "progress", &task_id, "--percentage", "101"], None, REFUSED, "INVALID_REQUEST"),
            (&["task", "list", "--cursor", "nonsense"], None, REFUSED, "INVALID_REQUEST"),
        ];
        for (words, stdin, code, error) in cases {
            let words = [words, &["--json"]].concat();
            let told = handoff(&world, &words, stdin).await.json(code);
            assert_eq!((&told["error"]["code"], &told["retry_safe"]), (&json!(error), &json!(false)), "{words:?}");
        }
        for words in [&["task", "complete", &task_id][..], &["task", "fail", &task_id, "--code", "A"], &["task", "get"],
            &["task", "complete", &task_id, "--file", "/does/not/exist"]] {
            assert_eq!(handoff(&world, words, None).await.code, USAGE, "{words:?}");
        }
        let away = ["task", "cancel", &task_id, "--temporal-address", "127.0.0.1:1", "--json"];
        let told = handoff(&world, &away, None).await.json(UNAVAILABLE);
        assert_eq!((&told["error"]["code"], &told["retry_safe"]), (&json!("SERVICE_UNAVAILABLE"), &json!(true)));
        assert_eq!(world.task(&task_id).await.unwrap(), before, "nothing was changed");
        worker.stop().await;
        let told = handoff(&world, &["task", "cancel", &task_id, "--decision-id", "d", "--json"], None).await;
        assert_eq!(told.json(RECORDED), json!({"task_id": task_id, "status": "recorded", "decision_id": "d"}));
        let _worker = world.worker().await.unwrap();
        world.reaches(&task_id, TaskStatus::Canceled).await;
    }

    async fn the_command_follows_tasks(world: World) {
        let _worker = world.worker().await.unwrap();
        let task_id = waiting(&world).await;
        let other = world.submit("sync_creatives", json!({"arm": "workflow"})).await;
        let watching = async {
            let watched = handoff(&world, &["task", "watch", &task_id, "--json"], None).await;
            assert_eq!(watched.code, OK, "{watched:?}");
            let seen: Vec<Value> = watched.stdout.lines().map(parsed).collect();
            let statuses: Vec<&str> = seen.iter().filter_map(|task| task["status"].as_str()).collect();
            assert_eq!(statuses.last(), Some(&"completed"), "{statuses:?}");
            let order = ["submitted", "working", "completed"];
            assert!(statuses.is_sorted_by_key(|status| order.iter().position(|known| known == status)), "{statuses:?}");
        };
        let working = async {
            let words = ["task", "progress", &task_id, "--percentage", "40", "--step", "checking", "--step-number", "2",
                "--total-steps", "5", "--message", "by hand", "--json"];
            let told = handoff(&world, &words, None).await.json(OK);
            assert_eq!(told, json!({"task_id": task_id, "status": "recorded"}));
            let got = handoff(&world, &["task", "get", &task_id, "--json"], None).await.json(OK);
            assert_eq!(got["progress"], json!({"percentage": 40.0, "current_step": "checking", "total_steps": 5,
                "step_number": 2, "message": "by hand"}));
            assert_eq!(got["status"], "working");
            let words = ["task", "progress", &task_id, "--file", "-", "--actor", "bob", "--reason", "asked the desk"];
            let typed = r#"{"percentage":60,"current_step":"booking"}"#;
            assert_eq!(handoff(&world, &words, Some(typed)).await.code, OK);
            let booking = handoff(&world, &["task", "get", &task_id, "--json"], None).await.json(OK);
            assert_eq!(booking["progress"], json!({"percentage": 60.0, "current_step": "booking"}));
            assert_eq!((&got["account"], &got["principal"]), (&json!(SCOPE), &json!(PRINCIPAL)));
            assert_eq!(got["workflow_id"], json!(world.reference(&task_id).workflow_id()));
            let words = ["task", "complete", &task_id, "--result", r#"{"media_buy_id":"mb"}"#, "--actor", "ann"];
            assert_eq!(handoff(&world, &words, None).await.code, OK);
        };
        futures::join!(watching, working);
        let late = handoff(&world, &["task", "progress", &task_id, "--percentage", "50", "--json"], None).await;
        assert_eq!(late.json(CONFLICT)["status"], "dropped");
        let history = handoff(&world, &["task", "history", &task_id, "--json"], None).await.json(OK);
        let entries = history["history"].as_array().unwrap();
        let events: Vec<&str> = entries.iter().filter_map(|entry| entry["event"].as_str()).collect();
        assert_eq!(events, ["claimed", "decided", "submitted", "working", "progressed", "completed"]);
        let by: Vec<_> = entries[3..].iter().map(|entry| (entry["actor"].as_str(), entry["reason"].as_str())).collect();
        assert_eq!(by, [(Some("operator"), None), (Some("bob"), Some("asked the desk")), (Some("ann"), None)]);
        let shown = handoff(&world, &["task", "get", &task_id, "--history"], None).await;
        for part in [task_id.as_str(), "completed", "ann", "media_buy_id", "claimed"] {
            assert!(shown.stdout.contains(part), "{part}: {shown:?}");
        }
        let listed = async |words: &[&str]| {
            let words = [&["task", "list", "--json"], words].concat();
            let body = handoff(&world, &words, None).await.json(OK);
            let tasks = body["tasks"].as_array().unwrap();
            tasks.iter().map(|task| task["task_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(listed(&[]).await, [other.clone(), task_id.clone()]);
        assert_eq!(listed(&["--ascending"]).await, [task_id.clone(), other.clone()]);
        assert_eq!(listed(&["--status", "completed"]).await, std::slice::from_ref(&task_id));
        assert_eq!(listed(&["--verb", "sync_creatives"]).await, std::slice::from_ref(&other));
        assert_eq!(listed(&["--account", SCOPE, "--principal", PRINCIPAL, "--limit", "1"]).await, [other]);
        assert_eq!(listed(&["--account", "acct_other"]).await, [""; 0]);
    }

    async fn the_command_reconciles(world: World) {
        let _worker = world.worker().await.unwrap();
        let task_id = waiting(&world).await;
        let sound = waiting(&world).await;
        world.run(&task_id).terminate(WorkflowTerminateOptions::default()).await.unwrap();
        let action = async |words: &[&str]| {
            let words = [&["reconcile", "--min-age", "0s", "--json"], words].concat();
            let report = handoff(&world, &words, None).await.json(OK);
            let requests = report["requests"].as_array().unwrap().clone();
            let of = |id: &str| requests.iter().find(|request| request["task_id"] == id).map(|request| {
                (request["run"].as_str().unwrap().to_owned(), request["action"].as_str().unwrap().to_owned())
            });
            (of(&task_id), of(&sound))
        };
        let left = Some(("open".to_owned(), "left".to_owned()));
        let settled = Some(("terminated".to_owned(), "settled".to_owned()));
        let before = world.task(&task_id).await.unwrap();
        assert_eq!(action(&["--dry-run"]).await, (settled.clone(), left.clone()));
        assert_eq!(world.task(&task_id).await.unwrap(), before, "a dry run writes nothing");
        // A decision on a task without a run says so.
        let words = ["task", "complete", &task_id, "--result", r#"{"a":1}"#, "--json"];
        let told = handoff(&world, &words, None).await.json(FAILED);
        assert!(told["error"]["message"].as_str().unwrap().contains("handoff reconcile"), "{told}");
        assert_eq!(action(&[]).await, (settled, left.clone()));
        assert_eq!(action(&[]).await, (None, left));
        let task = world.reaches(&task_id, TaskStatus::Failed).await;
        assert_eq!((task.error.unwrap().code.as_str(), task.actor.as_str()), ("X_HANDOFF_RUN_LOST", "reconcile"));
        assert_eq!(world.task(&sound).await.unwrap().status, "submitted");
    }

    async fn the_doctor_sees_what_is_missing(world: World) {
        let checks = async || {
            let ran = handoff(&world, &["doctor", "--json"], None).await;
            let report = parsed(&ran.stdout);
            let checks = report["checks"].as_array().unwrap().clone();
            let worst: Vec<String> = checks
                .iter()
                .filter(|check| check["status"] == "fail")
                .map(|check| check["name"].as_str().unwrap().to_owned())
                .collect();
            assert!(checks.iter().all(|check| check["status"] == "ok" || check.get("mend").is_some()), "{report}");
            (ran.code, worst)
        };
        assert_eq!(checks().await, (FAILED, vec!["workers".to_owned()]));
        let _worker = world.worker().await.unwrap();
        eventually("the doctor sees the worker", || async { (checks().await == (OK, vec![])).then_some(()) }).await;
    }

    async fn signals_that_can_not_be_used_are_dropped_and_counted(world: World) {
        let _worker = world.worker().await.unwrap();
        let task_id = waiting(&world).await;
        for (name, input) in [
            ("complete", "[1,2]"),
            ("complete", "{}"),
            ("complete", r#"{"status":"working"}"#),
            ("complete", r#"{"result":{"a":1},"surprise":1}"#),
            ("fail", r#"{"message":"no code"}"#),
            ("approve", r#"{"media_buy_id":"mb"}"#),
        ] {
            temporal_signal(&world, &task_id, name, input).await;
        }
        let dropped = async || {
            let history = world.task(&task_id).await.unwrap().history;
            history.into_iter().filter(|entry| entry.event == "signal_dropped").collect::<Vec<_>>()
        };
        let dropped = eventually("all six are written down", || async {
            let dropped = dropped().await;
            (dropped.len() == 6).then_some(dropped)
        })
        .await;
        assert!(dropped.iter().all(|entry| !entry.reason.is_empty()), "{dropped:?}");
        assert!(dropped[5].reason.starts_with("approve: "), "{dropped:?}");
        temporal_signal(&world, &task_id, "complete", r#"{"media_buy_id":"mb"}"#).await;
        world.reaches(&task_id, TaskStatus::Completed).await;
        world.closed(&task_id).await;
        assert_eq!(world.run(&task_id).get_result(Default::default()).await.unwrap().dropped_signals, 6);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_in_another_language_is_answered_by_the_update() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let _worker = world.worker().await.unwrap();
    let task_id = waiting(&world).await;
    let resolve = async |completion: Value| {
        let answered = python(&world, &task_id, "update", "resolve", &completion).await;
        assert_eq!(answered.code, OK, "{answered:?}");
        parsed(&answered.stdout)
    };
    let completion = json!({"result": {"media_buy_id": "mb", "price": 1.0}, "actor": "dag", "decision_id": "run-1"});
    let answer = resolve(completion).await;
    assert_eq!(
        (&answer["status"], &answer["recorded"]["status"]),
        (&json!("accepted"), &json!("completed")),
        "{answer}"
    );
    assert_eq!((&answer["recorded"]["actor"], &answer["recorded"]["decisionId"]), (&json!("dag"), &json!("run-1")));
    world.reaches(&task_id, TaskStatus::Completed).await;
    // What can't be used is refused, and the program is told.
    let other = waiting(&world).await;
    let refused = python(&world, &other, "update", "resolve", &json!({"result": {"status": "working"}})).await;
    assert_ne!(refused.code, OK);
    assert!(refused.stderr.contains("result.status"), "{refused:?}");
    assert_eq!(world.task(&other).await.unwrap().status, "submitted");
}

/// A way to decide.
#[derive(Clone, Copy, Debug)]
enum Way {
    Command,
    Library,
    TemporalCli,
    Python,
}

impl Way {
    /// Submits a task, decides on it in this way, and waits for its end.
    async fn decides(self, world: &World, name: &str, payload: &Value) -> TaskRecord {
        let task_id = waiting(world).await;
        let text = payload.to_string();
        match self {
            Self::Command => {
                let flag = if name == "complete" { "--result" } else { "--error" };
                let ran = handoff(world, &["task", name, &task_id, flag, &text], None).await;
                assert_eq!(ran.code, OK, "{ran:?}");
            }
            Self::Library => {
                let completion = match name {
                    "complete" => decision::complete(payload),
                    _ => decision::fail(serde_json::from_value(payload.clone()).unwrap()),
                };
                let told = world.handoff.resolve(&Viewer::Operator, &task_id, completion).await.unwrap();
                assert!(matches!(told, Resolved::Accepted { .. }), "{told:?}");
            }
            Self::TemporalCli => temporal_signal(world, &task_id, name, &text).await,
            Self::Python => {
                let ran = python(world, &task_id, "signal", name, payload).await;
                assert_eq!(ran.code, OK, "{ran:?}");
            }
        }
        world.closed(&task_id).await;
        world.task(&task_id).await.unwrap()
    }
}

/// A task that waits for a decision.
async fn waiting(world: &World) -> String {
    world.submit(VERB, json!({"arm": "workflow"})).await
}

/// How a program ended.
#[derive(Debug)]
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Ran {
    /// What it printed, after it ended with this code.
    fn json(&self, code: i32) -> Value {
        assert_eq!(self.code, code, "{self:?}");
        assert_eq!(self.stderr, "", "with --json nothing is said beside");
        parsed(&self.stdout)
    }
}

async fn handoff(world: &World, words: &[&str], stdin: Option<&str>) -> Ran {
    let mut command = Command::new(binary("handoff"));
    command.args(words).envs(world.environment()).env("USER", "operator").env_remove("HANDOFF_ACTOR");
    // What the lab is answered with is none of the protocol's results.
    command.env("HANDOFF_VALIDATION", "off");
    run(&mut command, stdin).await
}

/// `temporal workflow signal`, as anybody would type it.
async fn temporal_signal(world: &World, task_id: &str, name: &str, input: &str) {
    let mut command = Command::new(tool("HANDOFF_TEMPORAL_BIN"));
    command.args(["workflow", "signal", "--address", &world.temporal.address(), "--namespace", "default"]);
    command.args(["--workflow-id", &world.reference(task_id).workflow_id(), "--name", name, "--input", input]);
    let ran = run(&mut command, None).await;
    assert_eq!(ran.code, OK, "{ran:?}");
}

/// `programs/complete.py`.
async fn python(world: &World, task_id: &str, way: &str, name: &str, payload: &Value) -> Ran {
    let program = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("programs/complete.py");
    let mut command = Command::new(tool("HANDOFF_PYTHON"));
    command.arg(program).args([&world.temporal.address(), "default"]);
    command.args([&world.reference(task_id).workflow_id(), way, name, &payload.to_string()]);
    run(&mut command, None).await
}

fn tool(variable: &str) -> String {
    match std::env::var(variable) {
        Ok(path) if !path.is_empty() => path,
        _ => panic!("run make test, or set {variable} to the program's path"),
    }
}

async fn run(command: &mut Command, stdin: Option<&str>) -> Ran {
    command.kill_on_drop(true).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    if let (Some(mut input), Some(text)) = (child.stdin.take(), stdin) {
        // A program that has read enough closes its end.
        let _ = input.write_all(text.as_bytes()).await;
    }
    let ended = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
    let output = ended.unwrap_or_else(|_| panic!("{command:?} does not end")).expect("its output can be read");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    let code = output.status.code().unwrap_or_else(|| panic!("{command:?} was killed: {}", output.status));
    Ran { code, stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text:?}"))
}
