//! Idempotency keys: one key is one execution and one answer, whoever asks, how often, and whatever dies in between.

use crate::on_both_databases;
use futures::future::join_all;
use handoff_client::{Answer, CallError, Caller, Handoff, ReconcileAction, Resolved, Viewer};
use handoff_proto::{
    TaskId, errors, json as wire_json,
    limits::MAX_SCOPE_BYTES,
    releases::Release,
    v1::TaskRef,
    wire::{AdcpError, Recovery, TaskStatus},
};
use handoff_store::{Claim, NewClaim};
use handoff_tests::{
    Kind, PRINCIPAL, SCOPE, World, decision, fresh_key,
    lab::{LAB_VERBS, QUICK_VERB, handlers},
    request,
};
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    time::{Duration, Instant},
};
use temporalio_client::WorkflowTerminateOptions;

const REGULAR_VERB: &str = "create_media_buy";
const KEYED_VERBS: [&str; 3] = [REGULAR_VERB, QUICK_VERB, "sync_creatives"];
// The budget of a call by an impatient client, and what a busy machine may add to it.
const PATIENCE: Duration = Duration::from_secs(2);
const SLACK: Duration = Duration::from_secs(3);

on_both_databases! {
    async fn the_same_request_in_flight_attaches(world: World) {
        let _worker = world.worker().await.unwrap();
        for (arm, held) in [("complete", "decide"), ("workflow", "review")] {
            let lab = json!({"arm": arm, "hold": {held: held}});
            let key = fresh_key();
            let request_with = |context: Value| with_context(&key, &lab, context);
            let (first_request, second_request) = (request_with(json!({"call": 1})), request_with(json!({"call": 2})));
            let first = world.send(REGULAR_VERB, &first_request);
            let second = async {
                world.called_for(held).await;
                let attached = world.send(REGULAR_VERB, &second_request);
                let released = async {
                    // It attaches too, and is told within its own budget that there is no answer yet.
                    is_unavailable(&world, REGULAR_VERB, &second_request).await;
                    world.calls.open(held);
                };
                futures::join!(attached, released).0
            };
            let (first, second) = futures::join!(first, second);
            let (first, second) = (first.unwrap(), second.unwrap());
            assert_eq!(first.status, if arm == "complete" { "completed" } else { "submitted" });
            assert_eq!(first.body["context"], json!({"call": 1}));
            assert_eq!(first.body.get("replayed"), None);
            is_replay(&first, &second, json!({"call": 2}));
            assert_eq!(world.calls.of("decide", &first.task_id), ["1"]);
        }
        assert_eq!(world.calls.tasks("decide").len(), 2);
    }

    async fn an_answered_key_is_answered_again_whatever_became_of_the_task(world: World) {
        let _worker = world.worker().await.unwrap();
        for verb in KEYED_VERBS {
            for arm in ["complete", "task", "workflow"] {
                let (key, lab) = (fresh_key(), json!({"arm": arm}));
                let first = world.send(verb, &request(&key, lab.clone())).await.unwrap();
                assert_eq!(first.status, if arm == "complete" { "completed" } else { "submitted" });
                assert!(!first.replayed && first.body.get("replayed").is_none(), "{verb} {arm}");
                let again = async |when: &str| {
                    let context = json!({"when": when});
                    let replay = world.send(verb, &with_context(&key, &lab, context.clone())).await.unwrap();
                    is_replay(&first, &replay, context);
                };
                again("answered").await;
                if arm == "workflow" {
                    let completion = decision::complete(&json!({"media_buy_id": "mb"}));
                    world.handoff.resolve(&Viewer::Operator, &first.task_id, completion).await.unwrap();
                }
                if arm != "complete" {
                    world.reaches(&first.task_id, TaskStatus::Completed).await;
                    again("completed").await;
                }
                world.closed(&first.task_id).await;
                again("closed").await;
                assert_eq!(world.calls.of("decide", &first.task_id), ["1"], "{verb} {arm}");
            }
        }
        assert_eq!(world.calls.tasks("decide").len(), 3 * KEYED_VERBS.len());
    }

    async fn no_context_is_made_up_for_a_replay(world: World) {
        let _worker = world.worker().await.unwrap();
        let (key, lab) = (fresh_key(), json!({"arm": "complete"}));
        let first = world.send(REGULAR_VERB, &request(&key, lab.clone())).await.unwrap();
        let replay = world.send(REGULAR_VERB, &json!({"idempotency_key": key, "lab": lab})).await.unwrap();
        assert_eq!((replay.task_id, replay.replayed), (first.task_id, true));
        assert_eq!(replay.body.get("context"), None);
    }

    async fn a_terminated_run_is_never_executed_again(world: World) {
        let _worker = world.worker().await.unwrap();
        let held = request(&fresh_key(), json!({"arm": "complete", "hold": {"decide": "g"}}));
        let first = world.send(REGULAR_VERB, &held);
        let operator = async {
            let task_id = world.called_for("decide").await;
            world.run(&task_id).terminate(WorkflowTerminateOptions::default()).await.unwrap();
            is_unavailable(&world, REGULAR_VERB, &held).await;
            let report = world.handoff.reconcile(false, Duration::ZERO).await.unwrap();
            assert_eq!(report.count(&ReconcileAction::Voided), 1, "{report:?}");
            let error = refusal(world.send(REGULAR_VERB, &held).await);
            assert_eq!((error.code.as_str(), error.recovery), (errors::OUTCOME_UNKNOWN, Recovery::Terminal));
            task_id
        };
        let (first, task_id) = futures::join!(first, operator);
        // The call that waited all along is told the same.
        assert_eq!(refusal(first).code, errors::OUTCOME_UNKNOWN);
        // The handler goes on, and its decision is discarded: the seller can undo its booking.
        world.calls.open("g");
        world.called("discarded", &task_id).await;
        assert_eq!(refusal(world.send(REGULAR_VERB, &held).await).code, errors::OUTCOME_UNKNOWN);
        assert_eq!(world.calls.tasks("decide"), [task_id]);
    }

    async fn a_run_that_was_terminated_after_submitted_is_never_executed_again(world: World) {
        let _worker = world.worker().await.unwrap();
        let caller = Caller::new(SCOPE, PRINCIPAL);
        let buyer = Viewer::Buyer { scope: SCOPE.into(), principal: PRINCIPAL.into() };
        // It waits for a reviewer; its task handler works; its decision is still out.
        let arms = [("workflow", "", ""), ("task", "work", "returned"), ("complete", "decide", "discarded")];
        for (arm, held, late) in arms {
            let gate = fresh_key();
            let request = request(&fresh_key(), json!({"arm": arm, "hold": {held: gate}}));
            let patience = Duration::from_millis(if held == "decide" { 100 } else { 30_000 });
            let body = request.to_string();
            let first = world.prompt(patience).call(&caller, REGULAR_VERB, body.as_bytes()).await.unwrap();
            let task_id = &first.task_id;
            assert_eq!((first.status.as_str(), first.replayed), ("submitted", false), "{arm}");
            if !held.is_empty() {
                world.called(held, task_id).await;
            }
            world.run(task_id).terminate(WorkflowTerminateOptions::default()).await.unwrap();
            let is_answered_the_same = async |status: &str| {
                let replay = world.send(REGULAR_VERB, &request).await.unwrap();
                is_replay(&first, &replay, json!({"correlation_id": "it"}));
                let polled = world.registry.get(&buyer, task_id, false).await.unwrap();
                assert_eq!(polled.expect("who was told submitted can poll").status, status, "{arm}");
            };
            is_answered_the_same("submitted").await;

            let report = world.handoff.reconcile(false, Duration::ZERO).await.unwrap();
            assert_eq!(report.count(&ReconcileAction::Settled), 1, "{arm}: {report:?}");
            is_answered_the_same("failed").await;
            let ended = world.task(task_id).await.unwrap();
            let code = ended.error.as_ref().map(|error| error.code.as_str());
            assert_eq!((ended.actor.as_str(), code), ("reconcile", Some(errors::RUN_LOST)), "{arm}");

            // The handler goes on, and a reviewer decides: too late.
            world.calls.open(&gate);
            if !late.is_empty() {
                world.called(late, task_id).await;
            }
            let completion = decision::complete(&json!({"media_buy_id": "mb"}));
            let resolved = world.handoff.resolve(&Viewer::Operator, task_id, completion).await.unwrap();
            assert!(matches!(resolved, Resolved::Conflict { .. }), "{arm}: {resolved:?}");
            assert_eq!(world.handoff.reconcile(false, Duration::ZERO).await.unwrap().requests, [], "{arm}");
            is_answered_the_same("failed").await;
            assert_eq!(world.task(task_id).await.unwrap(), ended, "{arm}");
            assert_eq!(world.calls.of("decide", task_id), ["1"], "{arm}");
        }
        assert_eq!(world.calls.tasks("decide").len(), 3);
    }

    async fn with_all_workers_down_a_call_is_refused_in_time_and_executed_once_later(world: World) {
        for verb in [REGULAR_VERB, QUICK_VERB] {
            let (key, lab) = (fresh_key(), json!({"arm": "complete"}));
            is_unavailable(&world, verb, &request(&key, lab.clone())).await;
            let worker = world.worker().await.unwrap();
            let context = json!({"call": 2});
            let answer = world.send(verb, &with_context(&key, &lab, context.clone())).await.unwrap();
            assert_eq!((answer.status.as_str(), answer.replayed), ("completed", true), "{verb}: {}", answer.body);
            assert_eq!(answer.body["context"], context, "{verb}");
            assert_eq!(world.calls.of("decide", &answer.task_id), ["1"], "{verb}");
            worker.stop().await;
        }
        assert_eq!(world.calls.tasks("decide").len(), 2);
    }

    async fn a_key_stands_for_one_request_only(world: World) {
        let _worker = world.worker().await.unwrap();
        let secret = json!({"arm": "complete", "hold": {"decide": "g"}, "result": {"media_buy_id": "s3cret"}});
        let key = fresh_key();
        let secret = request(&key, secret);
        let others = [
            (REGULAR_VERB, request(&key, json!({"arm": "complete"}))),
            (REGULAR_VERB, json!({"idempotency_key": key})),
            ("sync_creatives", secret.clone()),
            (QUICK_VERB, secret.clone()),
        ];
        let in_conflict = async |task_id: &str| {
            for (verb, other) in &others {
                let error = refusal(world.send(verb, other).await);
                assert_eq!((error.code.as_str(), error.recovery), ("IDEMPOTENCY_CONFLICT", Recovery::Correctable));
                let told = error.to_json().to_string();
                for leak in [task_id, "s3cret", "arm", "decide", REGULAR_VERB, key.as_str()] {
                    assert!(!told.contains(leak), "{leak} in {told}");
                }
            }
        };
        let first = world.send(REGULAR_VERB, &secret);
        let conflicts = async {
            let task_id = world.called_for("decide").await;
            in_conflict(&task_id).await;
            world.calls.open("g");
        };
        let first = futures::join!(first, conflicts).0.unwrap();
        in_conflict(&first.task_id).await;
        is_replay(&first, &world.send(REGULAR_VERB, &secret).await.unwrap(), json!({"correlation_id": "it"}));
        assert_eq!(world.calls.tasks("decide"), [first.task_id]);
    }

    async fn what_the_hash_leaves_out_makes_no_other_request(world: World) {
        let keys = crate::encryption::key("k");
        let with_keys = |config: &mut handoff_client::Config| config.encryption = crate::encryption::ring(&keys);
        let handoff = world.connected(with_keys).await.unwrap();
        let _worker = world.worker_with(with_keys, handlers(world.calls.clone())).await.unwrap();
        let key = fresh_key();
        let webhook = |credentials: &str| json!({
            "url": "https://buyer.example/hook", "operation_id": "op-1",
            "authentication": {"schemes": ["Bearer"], "credentials": credentials},
        });
        let first = json!({
            "idempotency_key": key, "lab": {"arm": "task"}, "context": {"n": 1}, "governance_context": "a",
            "push_notification_config": webhook(&"1".repeat(32)), "budget": 100,
        });
        let caller = Caller::new(SCOPE, PRINCIPAL);
        let first = handoff.call(&caller, REGULAR_VERB, first.to_string().as_bytes()).await.unwrap();
        // Other context, governance context and credentials; other order of keys and spelling of numbers.
        let again = format!(
            r#"{{"budget": 1e2, "context": {{"n": 2}}, "push_notification_config": {}, "lab": {{"arm": "task"}},
                "governance_context": "b", "idempotency_key": "{key}"}}"#,
            webhook(&"2".repeat(32))
        );
        let again = handoff.call(&caller, REGULAR_VERB, again.as_bytes()).await.unwrap();
        is_replay(&first, &again, json!({"n": 2}));
    }

    async fn a_key_belongs_to_one_agent_and_account(world: World) {
        let _worker = world.worker().await.unwrap();
        let body = request(&fresh_key(), json!({"arm": "complete"})).to_string();
        let mut tasks = HashSet::new();
        let longest = "x".repeat(MAX_SCOPE_BYTES);
        for (scope, principal) in [
            (SCOPE, PRINCIPAL),
            ("acct_other", PRINCIPAL),
            (SCOPE, "agent.other.example"),
            ("Käse & Söhne / 東京", "agent/100%"),
            (&longest, &longest),
        ] {
            let caller = Caller::new(scope, principal);
            let answer = world.handoff.call(&caller, REGULAR_VERB, body.as_bytes()).await.unwrap();
            assert!(!answer.replayed, "{scope} {principal}");
            tasks.insert(answer.task_id);
        }
        assert_eq!(tasks.len(), 5);
    }

    async fn fifty_calls_with_one_key_are_one_execution(world: World) {
        let _worker = world.worker().await.unwrap();
        for lab in [json!({"arm": "complete"}), json!({"arm": "task"})] {
            let request = request(&fresh_key(), lab);
            let answers = join_all((0..50).map(|_| world.send(REGULAR_VERB, &request))).await;
            let mut answers: Vec<Answer> = answers.into_iter().map(Result::unwrap).collect();
            answers.sort_by_key(|answer| answer.replayed);
            assert!(!answers[0].replayed);
            for other in &answers[1..] {
                is_replay(&answers[0], other, json!({"correlation_id": "it"}));
            }
            assert_eq!(world.calls.of("decide", &answers[0].task_id), ["1"]);
        }
        assert_eq!(world.calls.tasks("decide").len(), 2);
    }

    async fn fifty_keys_are_fifty_executions(world: World) {
        let _worker = world.worker().await.unwrap();
        let answers = join_all((0..50).map(|_| world.call(REGULAR_VERB, json!({"arm": "complete"})))).await;
        let tasks: HashSet<String> = answers.into_iter().map(|answer| answer.unwrap().task_id).collect();
        assert_eq!(tasks.len(), 50);
        let decided = world.calls.tasks("decide");
        assert_eq!(decided.len(), 50);
        assert_eq!(decided.into_iter().collect::<HashSet<_>>(), tasks);
    }

    async fn a_refusal_frees_the_key_for_a_new_run(world: World) {
        let _worker = world.worker().await.unwrap();
        for (verb, lab) in [
            (REGULAR_VERB, json!({"arm": "refuse"})),
            (QUICK_VERB, json!({"arm": "refuse"})),
            (REGULAR_VERB, json!({"arm": "workflow", "review": "unable"})),
            (REGULAR_VERB, json!({"arm": "workflow", "review": "error"})),
        ] {
            let request = request(&fresh_key(), lab.clone());
            let before = world.calls.tasks("decide").len();
            let first = refusal(world.send(verb, &request).await);
            let second = refusal(world.send(verb, &request).await);
            assert_eq!(first, second, "{verb} {lab}");
            let tasks = world.calls.tasks("decide").split_off(before);
            assert_eq!(tasks.len(), 2, "{verb} {lab}");
            assert_ne!(tasks[0], tasks[1], "a new run has a new task id: {verb} {lab}");
        }
    }

    async fn every_caller_of_a_refused_request_is_told_why(world: World) {
        let _worker = world.worker().await.unwrap();
        let held = request(&fresh_key(), json!({"arm": "refuse", "hold": {"decide": "g"}}));
        let first = world.send(REGULAR_VERB, &held);
        let attached = async {
            world.called_for("decide").await;
            let attached = world.send(REGULAR_VERB, &held);
            let released = async {
                is_unavailable(&world, REGULAR_VERB, &held).await;
                world.calls.open("g");
            };
            futures::join!(attached, released).0
        };
        let (first, attached) = futures::join!(first, attached);
        let (first, attached) = (refusal(first), refusal(attached));
        assert_eq!(first.code, "BUDGET_TOO_LOW");
        assert_eq!(first, attached);
        assert_eq!(world.calls.tasks("decide").len(), 1);
    }

    async fn keyless_requests_run_each_for_itself(world: World) {
        let _worker = world.worker().await.unwrap();
        let key = fresh_key();
        let ignored = request(&key, json!({"arm": "task"}));
        let absent = json!({"lab": {"arm": "task"}});
        let mut tasks = HashSet::new();
        for (verb, request) in [("get_signals", &ignored), ("get_products", &absent)] {
            for _ in 0..2 {
                let answer = world.send(verb, request).await.unwrap();
                assert_eq!((answer.status.as_str(), answer.replayed), ("submitted", false), "{verb}");
                world.reaches(&answer.task_id, TaskStatus::Completed).await;
                tasks.insert(answer.task_id);
            }
        }
        assert_eq!(tasks.len(), 4);
        // With a key, get_products replays.
        let keyed = request(&key, json!({"arm": "complete"}));
        let first = world.send("get_products", &keyed).await.unwrap();
        let again = world.send("get_products", &keyed).await.unwrap();
        is_replay(&first, &again, json!({"correlation_id": "it"}));
    }

    async fn a_request_without_a_usable_key_is_refused_before_anything_runs(world: World) {
        for verb in KEYED_VERBS {
            for key in [json!(null), json!(""), json!("short"), json!("white space is not allowed"), json!(7),
                json!("x".repeat(256)), json!("kéy-0123456789abcdef")] {
                let error = refusal(world.send(verb, &json!({"idempotency_key": key, "lab": {}})).await);
                assert_eq!(error.code, "INVALID_REQUEST", "{verb} {key}");
                assert_eq!(error.field.as_deref(), Some("idempotency_key"), "{verb} {key}");
            }
            let error = refusal(world.send(verb, &json!({"lab": {}})).await);
            assert_eq!(error.field.as_deref(), Some("idempotency_key"), "{verb}");
        }
        assert_eq!(world.registry.unfinished(i64::MAX, None, 10).await.unwrap(), []);
    }

    async fn a_client_killed_between_claim_and_start_is_made_good_by_the_retry(world: World) {
        let _worker = world.worker().await.unwrap();
        let request = request(&fresh_key(), json!({"arm": "complete"}));
        let claim = claim_of(REGULAR_VERB, &request);
        assert_eq!(world.registry.claim(&claim).await.unwrap(), Claim::New);
        // A claim whose run never started is not ended by anybody but the buyer.
        let report = world.handoff.reconcile(false, Duration::ZERO).await.unwrap();
        assert_eq!(report.count(&ReconcileAction::Left), 1, "{report:?}");
        let answer = world.send(REGULAR_VERB, &request).await.unwrap();
        assert_eq!(answer.task_id, claim.task.task_id);
        assert_eq!(world.calls.tasks("decide"), [answer.task_id]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_temporal_server_killed_between_start_and_answer_changes_nothing() {
    let mut world = World::with_own_temporal(Kind::Sqlite).await.unwrap();
    let _worker = world.worker_process().unwrap();
    let held = request(&fresh_key(), json!({"arm": "complete", "hold": {"decide": "g"}}));
    let patient = world.client(|config| config.sync_deadline = Duration::from_secs(60));
    let first = tokio::spawn({
        let body = held.to_string();
        async move { patient.call(&Caller::new(SCOPE, PRINCIPAL), REGULAR_VERB, body.as_bytes()).await }
    });
    let task_id = world.called_for("decide").await;
    world.temporal.kill().await.unwrap();
    is_unavailable(&world, REGULAR_VERB, &held).await;
    world.temporal.restart().await.unwrap();
    world.calls.open("g");
    let first = first.await.unwrap().unwrap();
    assert_eq!((first.task_id.as_str(), first.status.as_str(), first.replayed), (task_id.as_str(), "completed", false));
    is_replay(&first, &world.send(REGULAR_VERB, &held).await.unwrap(), json!({"correlation_id": "it"}));
    assert_eq!(world.calls.tasks("decide"), [task_id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn past_its_ttl_a_key_is_expired_on_sqlite() {
    past_its_ttl_a_key_is_expired(Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn past_its_ttl_a_key_is_expired_on_postgres() {
    past_its_ttl_a_key_is_expired(Kind::Postgres).await;
}

async fn past_its_ttl_a_key_is_expired(kind: Kind) {
    let world = World::configured(kind, |config| config.idempotency_ttl = Duration::from_micros(1)).await.unwrap();
    let _worker = world.worker().await.unwrap();
    for verb in LAB_VERBS.into_iter().filter(|verb| KEYED_VERBS.contains(verb)) {
        for arm in ["complete", "workflow"] {
            let key = fresh_key();
            let first = world.send(verb, &request(&key, json!({"arm": arm}))).await.unwrap();
            // The same request and another: what the key stood for is not compared any more.
            for lab in [json!({"arm": arm}), json!({"arm": "other"})] {
                let error = refusal(world.send(verb, &request(&key, lab)).await);
                assert_eq!((error.code.as_str(), error.recovery), ("IDEMPOTENCY_EXPIRED", Recovery::Correctable));
                assert!(!error.to_json().to_string().contains(&first.task_id));
            }
            assert_eq!(world.calls.of("decide", &first.task_id), ["1"], "{verb} {arm}");
        }
    }
    assert_eq!(world.calls.tasks("decide").len(), 2 * KEYED_VERBS.len());
}

/// A client with a small budget for each call.
fn impatient(world: &World) -> Handoff {
    world.client(|config| {
        config.sync_deadline = PATIENCE;
        config.grace = Duration::ZERO;
    })
}

/// A call that gets no answer is refused as transient, within its budget.
async fn is_unavailable(world: &World, verb: &str, request: &Value) {
    let begun = Instant::now();
    let caller = Caller::new(SCOPE, PRINCIPAL);
    let error = refusal(impatient(world).call(&caller, verb, request.to_string().as_bytes()).await);
    assert_eq!((error.code.as_str(), error.recovery), ("SERVICE_UNAVAILABLE", Recovery::Transient));
    assert!(error.retry_after.is_some(), "{error:?}");
    assert!(begun.elapsed() < PATIENCE + SLACK, "after {:?}", begun.elapsed());
}

/// The second answer is the first, said again to another request.
fn is_replay(first: &Answer, replay: &Answer, context: Value) {
    let mut expected = first.body.clone();
    expected["context"] = context;
    expected["replayed"] = json!(true);
    assert_eq!(replay.body, expected);
    assert_eq!((&replay.task_id, &replay.status, replay.replayed), (&first.task_id, &first.status, true));
}

fn refusal(answer: Result<Answer, CallError>) -> AdcpError {
    match answer {
        Err(CallError::Refused(error)) => error,
        other => panic!("not refused: {other:?}"),
    }
}

fn with_context(key: &str, lab: &Value, context: Value) -> Value {
    json!({"idempotency_key": key, "lab": lab, "context": context})
}

/// What a client claims before it starts a run.
fn claim_of(verb: &str, request: &Value) -> NewClaim {
    NewClaim {
        task: TaskRef {
            task_id: TaskId::generate().into(),
            scope: SCOPE.into(),
            principal: PRINCIPAL.into(),
            verb: verb.into(),
        },
        protocol: "media-buy".into(),
        idempotency_key: request["idempotency_key"].as_str().map(Into::into),
        request_hash: wire_json::request_hash(request).unwrap(),
        context_json: None,
        webhook: None,
        proposal: None,
        release: Release::LATEST,
        sandbox: false,
    }
}
