//! One execution a key, whichever process is asked, how often, and whatever dies.

use crate::on_both_databases;
use futures::{StreamExt, stream};
use handoff_tests::{
    Kind, World, eventually, fresh_key,
    front::{Acme, Front},
    lab::{QUICK_VERB, RERUNNABLE_TOOL, TOOL},
};
use serde_json::{Value, json};
use std::{collections::HashMap, time::Duration};

const DISCOVERY: &str = "get_products";
const KEYS: usize = 10;
const DUPLICATES: usize = 100;

fn request(key: &str, lab: Value) -> Value {
    json!({"idempotency_key": key, "account": {"account_id": "acct_lab"}, "context": {"id": "once"}, "lab": lab})
}

// The lab's requests say what is to be done, which no schema of the protocol has.
fn lab(world: &World) -> Acme<'_> {
    Acme::lab(world).unwrap().set("HANDOFF_VALIDATION", "off").set("HANDOFF_SYNC_DEADLINE", "120s")
}

async fn told(front: &Front, tool: &str, request: &Value) -> Value {
    front.try_call(tool, request).await.expect("an answer")
}

/// As a buyer does: what could not be answered for now is sent again.
async fn answered(front: &Front, tool: &str, request: &Value) -> Value {
    eventually(&format!("{tool} is answered"), || async {
        let answer = told(front, tool, request).await;
        let error = &answer["errors"][0];
        assert!(error.is_null() || error["recovery"] == "transient", "{tool}: {answer}");
        error.is_null().then_some(answer)
    })
    .await
}

fn code(told: &Value) -> &str {
    told["errors"][0]["code"].as_str().unwrap_or_default()
}

on_both_databases! {
    async fn a_thousand_requests_over_three_processes_are_ten_executions(world: World) {
        let _worker = world.worker_process().unwrap();
        let lab = lab(&world);
        let fronts = [lab.gateway().await.unwrap(), lab.gateway().await.unwrap(), lab.gateway().await.unwrap()];
        for (tool, handler) in [(QUICK_VERB, "decide"), (DISCOVERY, "decide"), (TOOL, "tool")] {
            let before = world.calls.tasks(handler).len();
            let keys: Vec<String> = (0..KEYS).map(|_| fresh_key()).collect();
            let calls = (0..KEYS * DUPLICATES).map(|number| {
                let (key, front) = (&keys[number % KEYS], &fronts[(number / KEYS) % fronts.len()]);
                async move { (key, told(front, tool, &request(key, json!({}))).await) }
            });
            let answers: Vec<(&String, Value)> = stream::iter(calls).buffer_unordered(KEYS * DUPLICATES).collect().await;
            let mut results: HashMap<&String, Vec<Value>> = HashMap::new();
            let mut first = 0;
            for (key, mut answer) in answers {
                assert!(answer.get("errors").is_none(), "{tool}: {answer}");
                first += usize::from(answer["replayed"] != true);
                answer.as_object_mut().expect("a body").remove("replayed");
                results.entry(key).or_default().push(answer);
            }
            let mut executed = world.calls.tasks(handler).split_off(before);
            // One that is quick, but not on this busy machine, is called again the regular way, with the same token.
            if tool == QUICK_VERB {
                executed.sort();
                executed.dedup();
            }
            assert_eq!(executed.len(), KEYS, "{tool}: {executed:?}");
            assert_eq!(first, KEYS, "{tool}: all but one of each key are replays");
            for (key, answers) in &results {
                assert_eq!(answers.len(), DUPLICATES);
                assert!(answers.iter().all(|answer| answer == &answers[0]), "{tool} {key}: {answers:#?}");
            }
            let distinct: Vec<&Value> = results.values().map(|answers| &answers[0]).collect();
            assert!(distinct.iter().enumerate().all(|(at, one)| !distinct[..at].contains(one)) || tool == DISCOVERY);
        }
    }

    async fn what_a_process_was_doing_when_it_died_is_not_done_again_unless_it_may_be(world: World) {
        let lab = lab(&world).set("HANDOFF_IN_FLIGHT_MAX", "2s").set("HANDOFF_SYNC_DEADLINE", "1s");
        for (tool, again) in [(TOOL, false), (RERUNNABLE_TOOL, true)] {
            let (doomed, heir) = (lab.gateway().await.unwrap(), lab.gateway().await.unwrap());
            let asked = request(&fresh_key(), json!({"die_in": "tool"}));
            let before = world.calls.tasks("tool").len();
            assert!(doomed.try_call(tool, &asked).await.is_err(), "it died");
            let calls = world.calls.tasks("tool").split_off(before);
            assert_eq!(calls.len(), 1);
            if again {
                let answer = eventually("the other process takes it over", || async {
                    let answer = told(&heir, tool, &asked).await;
                    answer.get("errors").is_none().then_some(answer)
                })
                .await;
                assert!(answer["ext"]["execution"].is_string(), "{answer}");
                // Under the same token, by which the seller knows the repetition.
                assert_eq!(world.calls.tasks("tool").split_off(before), [calls[0].clone(), calls[0].clone()]);
            } else {
                assert_eq!(code(&told(&heir, tool, &asked).await), "IDEMPOTENCY_IN_FLIGHT");
                eventually("the lease is over", || async {
                    world.handoff.reconcile(false, Duration::ZERO).await.unwrap();
                    (code(&told(&heir, tool, &asked).await) != "IDEMPOTENCY_IN_FLIGHT").then_some(())
                })
                .await;
                let unknown = told(&heir, tool, &asked).await;
                assert_eq!(code(&unknown), "X_HANDOFF_OUTCOME_UNKNOWN", "{unknown}");
                assert_eq!(world.calls.tasks("tool").len(), before + 1, "it was called again");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_database_the_door_refuses_and_it_comes_back() {
    let world = World::new(Kind::Postgres).await.unwrap();
    let _worker = world.worker_process().unwrap();
    let lab = lab(&world).set("HANDOFF_SYNC_DEADLINE", "1s");
    let front = lab.gateway().await.unwrap();
    let before = request(&fresh_key(), json!({}));
    answered(&front, TOOL, &before).await;
    let task = answered(&front, "create_media_buy", &request(&fresh_key(), json!({"arm": "workflow"}))).await;
    let poll = json!({"task_id": task["task_id"]});

    world.database_away(true).await.unwrap();
    for (tool, asked) in [
        (QUICK_VERB, request(&fresh_key(), json!({}))),
        (DISCOVERY, request(&fresh_key(), json!({}))),
        (TOOL, request(&fresh_key(), json!({}))),
        (TOOL, before.clone()),
        ("get_task_status", poll.clone()),
        ("list_tasks", json!({"account": {"account_id": "acct_lab"}})),
    ] {
        let refused = told(&front, tool, &asked).await;
        assert_eq!(code(&refused), "SERVICE_UNAVAILABLE", "{tool}: {refused}");
        assert_eq!(refused["errors"][0]["recovery"], "transient", "{tool}");
        assert!(refused["errors"][0]["retry_after"].as_u64().is_some_and(|seconds| seconds > 0), "{tool}: {refused}");
        let text = refused.to_string();
        assert!(!text.contains("postgres") && !text.contains("connection"), "{tool}: {text}");
    }
    assert_eq!(front.get("/readyz").send().await.unwrap().status(), 503);
    assert_eq!(front.get("/healthz").send().await.unwrap().status(), 200);

    world.database_away(false).await.unwrap();
    eventually("it is ready again", || async {
        (front.get("/readyz").send().await.unwrap().status() == 200).then_some(())
    })
    .await;
    assert_eq!(told(&front, TOOL, &before).await["replayed"], true);
    assert_eq!(told(&front, "get_task_status", &poll).await["status"], "submitted");
    answered(&front, QUICK_VERB, &request(&fresh_key(), json!({}))).await;
}
