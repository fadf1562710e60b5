//! A shell that lacks the workers' keys: what it can't read it doesn't write.

use crate::encryption::{key, ring};
use handoff_client::{Config, Error, Resolved, Viewer};
use handoff_proto::wire::TaskStatus;
use handoff_tests::{Kind, World, binary, decision, eventually, fresh_key, lab};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::process::Command;

const VERB: &str = "create_media_buy";
const OK: i32 = 0;
const USAGE: i32 = 2;
const MISSING: &str = "X_HANDOFF_KEYS_MISSING";

/// How the command ended in a shell with these keys alone, and what it printed.
async fn handoff(world: &World, keys: Option<&str>, words: &[&str]) -> (i32, Value) {
    let mut command = Command::new(binary("handoff"));
    command.arg("--json").args(words).envs(world.environment()).kill_on_drop(true);
    // What the lab is answered with is none of the protocol's results.
    command.env("HANDOFF_VALIDATION", "off");
    command.env_remove("HANDOFF_ENCRYPTION_KEYS").env_remove("HANDOFF_ENCRYPTION_KEYS_FILE");
    if let Some(keys) = keys {
        command.env("HANDOFF_ENCRYPTION_KEYS", keys);
    }
    let output = command.output().await.expect("handoff runs");
    let shown = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code().unwrap_or(-1), shown)
}

/// A request without a context: nothing of it is sealed before it is decided.
fn request(lab: Value) -> Value {
    json!({"idempotency_key": fresh_key(), "lab": lab})
}

async fn waiting(world: &World) -> String {
    let answer = world.send(VERB, &request(json!({"arm": "workflow"}))).await.expect("the request is accepted");
    assert_eq!(answer.status, "submitted", "{}", answer.body);
    answer.task_id
}

/// How often somebody has written to the run.
async fn written(world: &World, task_id: &str) -> usize {
    let events = world.events(task_id).await;
    events.iter().filter(|event| event.contains("UPDATE_ACCEPTED") || event.contains("SIGNALED")).count()
}

/// Every command that writes on a task, in a shell without its keys and in one with others.
async fn refused(world: &World, task_id: &str, commands: &[&[&str]]) {
    let other = key("other");
    for keys in [None, Some(other.as_str())] {
        for words in commands {
            let words = [&["task", words[0], task_id][..], &words[1..]].concat();
            let (code, told) = handoff(world, keys, &words).await;
            let error = &told["error"];
            assert_eq!((code, &error["code"], &told["retry_safe"]), (USAGE, &json!(MISSING), &json!(false)), "{told}");
            let (message, suggestion) = (error["message"].to_string(), error["suggestion"].to_string());
            assert!(message.contains(task_id) && message.contains("\\\"k\\\""), "the key is named: {message}");
            assert!(suggestion.contains("HANDOFF_ENCRYPTION_KEYS_FILE"), "{suggestion}");
        }
    }
}

const COMPLETE: &[&str] = &["complete", "--result", r#"{"media_buy_id":"mb"}"#];
const FAIL: &[&str] = &["fail", "--code", "POLICY_VIOLATION", "--message", "no"];
const CANCEL: &[&str] = &["cancel", "--reason", "withdrawn"];
const PROGRESS: &[&str] = &["progress", "--percentage", "40", "--step", "checking"];

#[tokio::test(flavor = "multi_thread")]
async fn without_the_keys_no_command_writes_and_with_them_all_do() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let keys = key("k");
        let world = World::configured(kind, |config| config.encryption = ring(&keys)).await.unwrap();
        let worker = world.worker().await.unwrap();
        let task_id = waiting(&world).await;
        let before = (world.task(&task_id).await, written(&world, &task_id).await);
        refused(&world, &task_id, &[COMPLETE, FAIL, CANCEL, PROGRESS]).await;
        assert_eq!((world.task(&task_id).await, written(&world, &task_id).await), before, "nothing was written");
        for (words, status) in
            [(COMPLETE, TaskStatus::Completed), (FAIL, TaskStatus::Failed), (CANCEL, TaskStatus::Canceled)]
        {
            let task_id = waiting(&world).await;
            for words in [PROGRESS, words] {
                let words = [&["task", words[0], &task_id][..], &words[1..]].concat();
                let (code, told) = handoff(&world, Some(&keys), &words).await;
                assert_eq!(code, OK, "{told}");
            }
            world.reaches(&task_id, status).await;
        }
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_undecided_request_nothing_is_sealed_but_its_run() {
    let keys = key("k");
    let configure = |config: &mut Config| {
        config.encryption = ring(&keys);
        // Nobody asks the run for `submitted` meanwhile.
        config.sync_deadline = Duration::from_secs(120);
    };
    let world = World::configured(Kind::Sqlite, configure).await.unwrap();
    let worker = world.worker().await.unwrap();
    let (task_id, answer) = world.begin(VERB, &request(json!({"hold": {"decide": "gate"}}))).await;
    let before = eventually("the run is asked for its outcome", || async {
        Some(written(&world, &task_id).await).filter(|written| *written > 0)
    })
    .await;
    refused(&world, &task_id, &[COMPLETE, FAIL, CANCEL]).await;
    assert_eq!(written(&world, &task_id).await, before, "nothing was written");
    world.calls.open("gate");
    assert_eq!(answer.await.unwrap().unwrap().status, "completed");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_can_not_be_read_is_told_as_that() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let worker = world.worker().await.unwrap();
    let task_id = waiting(&world).await;
    worker.stop().await;
    // The task is in clear, and its end will not be.
    let keys = key("k");
    let with_keys = |config: &mut Config| config.encryption = ring(&keys);
    let worker = world.worker_with(with_keys, lab::handlers(world.calls.clone())).await.unwrap();
    let completion = decision::complete(&json!({"media_buy_id": "mb"}));
    let error = world.handoff.resolve(&Viewer::Operator, &task_id, completion.clone()).await.unwrap_err();
    assert!(matches!(error, Error::AnswerUnreadable { sealed: true, .. }) && !error.is_transient(), "{error}");
    let again = world.handoff.resolve(&Viewer::Operator, &task_id, completion.clone()).await.unwrap_err();
    assert!(again.lacks_keys() && again.to_string().contains("\"k\""), "{again}");
    let keyed = world.connected(with_keys).await.unwrap();
    let told = keyed.resolve(&Viewer::Operator, &task_id, completion).await.unwrap();
    assert!(matches!(&told, Resolved::Duplicate { recorded } if recorded.status == "completed"), "{told:?}");
    worker.stop().await;
}
