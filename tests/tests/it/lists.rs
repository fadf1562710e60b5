//! What buyers poll: `get_task_status`, `list_tasks` and the submitted envelope, as they are on the wire.

use crate::on_both_databases;
use futures::future::join_all;
use handoff_client::{Answer, CallError, Caller, Resolved, Viewer};
use handoff_proto::{
    v1::{Completion, Progress},
    wire::{AdcpError, TaskStatus},
};
use handoff_tests::{PRINCIPAL, SCOPE, Schemas, World, decision, fresh_key, lab::QUICK_VERB};
use serde_json::{Value, json};
use std::{collections::HashSet, time::Duration};

const FOREIGN_SCOPE: &str = "acct_nova";

on_both_databases! {
    async fn each_filter_keeps_what_it_names(world: World) {
        let tasks = Tasks::prepare(&world).await;
        let second = poll(&world, &tasks.id("working"), json!({})).await["created_at"].clone();
        let cases = [
            (json!({}), vec!["waiting", "working", "completed", "failed", "canceled", "rejected"]),
            (json!({"status": "submitted"}), vec!["waiting"]),
            (json!({"statuses": ["completed", "failed"]}), vec!["completed", "failed"]),
            (json!({"status": "working", "statuses": ["failed"]}), vec!["working", "failed"]),
            (json!({"protocol": "signals"}), vec!["failed"]),
            (json!({"protocols": ["creative", "signals"]}), vec!["completed", "failed"]),
            (json!({"task_type": "create_media_buy"}), vec!["waiting", "canceled", "rejected"]),
            (json!({"task_types": ["get_signals", "sync_creatives"]}), vec!["completed", "failed"]),
            (json!({"task_type": "no_such_verb"}), vec![]),
            (json!({"task_ids": [tasks.id("waiting"), tasks.id("failed"), "task_unknown"]}), vec!["waiting", "failed"]),
            (json!({"task_ids": [tasks.foreign]}), vec![]),
            (json!({"has_webhook": true}), vec!["working"]),
            (json!({"has_webhook": false, "status": "completed"}), vec!["completed"]),
            (json!({"context_contains": "it-waiting"}), vec!["waiting"]),
            (json!({"context_contains": "100%_"}), vec!["working"]),
            (json!({"created_after": second}), vec!["completed", "failed", "canceled", "rejected"]),
            (json!({"created_before": second}), vec!["waiting"]),
            (json!({"updated_after": "2000-01-01T00:00:00Z", "updated_before": "2001-01-01T00:00:00Z"}), vec![]),
            (json!({"status": "submitted", "task_type": "get_signals"}), vec![]),
        ];
        for (filters, expected) in cases {
            let body = list(&world, &json!({"filters": filters})).await;
            let expected: HashSet<String> = expected.into_iter().map(|name| tasks.id(name)).collect();
            let listed = ids(&body);
            assert_eq!(listed.iter().cloned().collect::<HashSet<_>>(), expected, "{filters}");
            assert_eq!(listed.len(), expected.len(), "{filters}");
            assert_eq!(body["query_summary"]["total_matching"], json!(expected.len()), "{filters}");
            assert_eq!(body["query_summary"]["returned"], json!(expected.len()), "{filters}");
            assert_eq!(body["pagination"], json!({"has_more": false, "total_count": expected.len()}), "{filters}");
            let applied = body["query_summary"]["filters_applied"].as_array().unwrap().len();
            assert_eq!(applied, filters.as_object().unwrap().len(), "{filters}: {body}");
        }
    }

    async fn pages_follow_the_order_without_gap_or_repetition(world: World) {
        let tasks = Tasks::prepare(&world).await;
        for field in ["created_at", "updated_at", "status", "task_type", "protocol"] {
            for direction in ["asc", "desc"] {
                let sort = json!({"field": field, "direction": direction});
                let whole = list(&world, &json!({"sort": sort})).await;
                assert_eq!(whole["query_summary"]["sort_applied"], sort);
                let key = if field == "protocol" { "domain" } else { field };
                let column: Vec<&str> =
                    whole["tasks"].as_array().unwrap().iter().map(|task| task[key].as_str().unwrap()).collect();
                let in_order = |pair: &[&str]| if direction == "asc" { pair[0] <= pair[1] } else { pair[0] >= pair[1] };
                assert!(column.windows(2).all(in_order), "{sort}: {column:?}");
                let mut paged = Vec::new();
                let mut pagination = json!({"max_results": 2});
                loop {
                    let page = list(&world, &json!({"sort": sort, "pagination": pagination})).await;
                    assert_eq!(page["query_summary"]["total_matching"], tasks.own.len(), "{sort}");
                    paged.extend(ids(&page));
                    if page["pagination"]["has_more"] == false {
                        assert_eq!(page["pagination"].get("cursor"), None);
                        break;
                    }
                    assert_eq!(ids(&page).len(), 2);
                    pagination["cursor"] = page["pagination"]["cursor"].clone();
                }
                assert_eq!(paged, ids(&whole), "{sort}");
                assert_eq!(paged.len(), tasks.own.len());
            }
        }
    }

    async fn a_cursor_belongs_to_one_query_and_one_buyer(world: World) {
        let _tasks = Tasks::prepare(&world).await;
        let first = list(&world, &json!({"pagination": {"max_results": 1}})).await;
        let cursor = first["pagination"]["cursor"].as_str().unwrap();
        let with = |cursor: &str, more: Value| {
            let mut request = json!({"pagination": {"max_results": 1, "cursor": cursor}});
            request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            request
        };
        let misused = [
            (buyer(), with("", json!({}))),
            (buyer(), with("nonsense", json!({}))),
            (buyer(), with(&cursor[1..], json!({}))),
            (buyer(), with(&cursor.to_lowercase(), json!({}))),
            (buyer(), with(&"A".repeat(5000), json!({}))),
            (buyer(), with(cursor, json!({"filters": {"status": "submitted"}}))),
            (buyer(), with(cursor, json!({"sort": {"field": "status"}}))),
            (buyer(), with(cursor, json!({"sort": {"direction": "asc"}}))),
            (foreigner(), with(cursor, json!({}))),
            (Viewer::Operator, with(cursor, json!({}))),
        ];
        for (viewer, request) in misused {
            let error = list_refused(&world, &viewer, &request).await;
            assert_eq!(error.field.as_deref(), Some("pagination.cursor"), "{viewer:?} {request}");
            assert_eq!(error.code, "INVALID_REQUEST", "{viewer:?} {request}");
        }
        // The page's size may change between pages.
        let rest = list(&world, &json!({"pagination": {"max_results": 100, "cursor": cursor}})).await;
        assert_eq!(rest["query_summary"]["returned"], 5);
        for (request, field) in [
            (json!({"pagination": {"max_results": 0}}), "pagination.max_results"),
            (json!({"pagination": {"max_results": 101}}), "pagination.max_results"),
            (json!({"filters": {"task_ids": vec!["task"; 101]}}), "filters.task_ids"),
        ] {
            let error = list_refused(&world, &buyer(), &request).await;
            assert_eq!((error.code.as_str(), error.field.as_deref()), ("INVALID_REQUEST", Some(field)));
        }
    }

    async fn a_foreign_account_sees_nothing(world: World) {
        let tasks = Tasks::prepare(&world).await;
        let nobody = Viewer::Buyer { scope: FOREIGN_SCOPE.into(), principal: "agent.nobody.example".into() };
        let colleague = Viewer::Buyer { scope: SCOPE.into(), principal: "agent.colleague.example".into() };
        for viewer in [&nobody, &colleague] {
            for filters in [json!({}), json!({"task_ids": [tasks.id("waiting")]}), json!({"status": "completed"})] {
                let body = list_as(&world, viewer, &json!({"filters": filters})).await;
                assert_eq!(body["tasks"], json!([]), "{viewer:?} {filters}");
                assert_eq!(body["pagination"], json!({"has_more": false, "total_count": 0}), "{viewer:?} {filters}");
                assert_eq!(body["query_summary"]["total_matching"], 0, "{viewer:?} {filters}");
            }
        }
        let unknown = poll_refused(&world, &buyer(), "task_unknown").await;
        assert_eq!((unknown.code.as_str(), unknown.field.as_deref()), ("REFERENCE_NOT_FOUND", Some("task_id")));
        // Not there, not yours, not a task, not an id: one answer.
        let at_once = world.call("create_media_buy", json!({"arm": "complete"})).await.unwrap().task_id;
        let waiting = tasks.id("waiting");
        for (viewer, task_id) in [
            (nobody.clone(), waiting.as_str()),
            (colleague, &waiting),
            (foreigner(), &waiting),
            (buyer(), &tasks.foreign),
            (buyer(), &at_once),
            (buyer(), ""),
            (buyer(), "task_\0"),
            (buyer(), "' OR 1=1 --"),
            (buyer(), &waiting.to_uppercase()),
        ] {
            assert_eq!(poll_refused(&world, &viewer, task_id).await, unknown, "{viewer:?} {task_id:?}");
        }
    }

    async fn polls_and_lists_are_as_the_protocol_wants_them(world: World) {
        let tasks = Tasks::prepare(&world).await;
        let everything = json!({"include_result": true, "include_history": true});
        for include in [json!({}), json!({"include_history": true}), everything] {
            for (name, task_id) in &tasks.own {
                let body = poll(&world, task_id, include.clone()).await;
                has_fields(&body, &["task_id", "task_type", "protocol", "status", "created_at", "updated_at"]);
                assert_eq!(body["task_id"], json!(task_id));
                let has_ended = !["waiting", "working"].contains(&name.as_str());
                assert_eq!(body.get("completed_at").is_some(), has_ended, "{name}");
                assert_eq!(body.get("error").is_some(), name == "failed", "{name}: {body}");
                assert_eq!(body.get("history").is_some(), include.get("include_history").is_some(), "{name}");
                let has_result = include.get("include_result").is_some() && has_ended && name != "canceled";
                assert_eq!(body.get("result").is_some(), has_result, "{name}: {body}");
                is_valid("protocol/get-task-status-response.json", &body);
                let seen = body.to_string();
                for inner in ["reviewer", "agent.", SCOPE, "decision", "handoff"] {
                    assert!(!seen.contains(inner), "{inner} in {seen}");
                }
            }
            let body = list(&world, &json!({"include_history": include.get("include_history").is_some()})).await;
            has_fields(&body, &["status", "query_summary", "tasks", "pagination"]);
            for task in body["tasks"].as_array().unwrap() {
                has_fields(task, &["task_id", "task_type", "domain", "status", "created_at", "updated_at"]);
                assert_eq!(task.get("history").is_some(), include.get("include_history").is_some());
            }
            is_valid("protocol/list-tasks-response.json", &body);
        }
        // The poll's own context at the top, the request's inside the result.
        let context = json!({"poll": 1});
        let body = poll(&world, &tasks.id("completed"), json!({"include_result": true, "context": context})).await;
        assert_eq!(body["context"], context);
        assert_eq!(body["result"]["context"], json!({"correlation_id": "it-completed"}));
        assert_eq!(body["result"]["status"], "completed");
        assert_eq!(list(&world, &json!({"context": context})).await["context"], context);
    }

    async fn progress_that_does_not_fit_the_protocol_is_refused(world: World) {
        let _worker = world.worker().await.unwrap();
        let task_id = world.submit("create_media_buy", json!({"arm": "workflow"})).await;
        for progress in [
            Progress { percentage: Some(100.5), ..Default::default() },
            Progress { percentage: Some(f64::NAN), ..Default::default() },
            // Steps count from 1.
            Progress { step_number: Some(0), ..Default::default() },
            Progress { total_steps: Some(0), ..Default::default() },
        ] {
            world.handoff.report_progress(&Viewer::Operator, &task_id, &progress).await.unwrap();
            let body = poll(&world, &task_id, json!({})).await;
            assert_eq!(body.get("progress"), None, "{progress:?} was recorded");
            is_valid("protocol/get-task-status-response.json", &body);
        }
    }

    async fn the_submitted_envelope_does_not_tell_the_arms_apart(world: World) {
        let _worker = world.worker().await.unwrap();
        let verbs = ["create_media_buy", QUICK_VERB, "sync_creatives", "buy_products"];
        join_all(verbs.map(async |verb| {
            let prompt = world.prompt(Duration::from_millis(100));
            let caller = Caller::new(SCOPE, PRINCIPAL);
            let promoted = json!({"arm": "complete", "hold": {"decide": format!("promoted-{verb}")}});
            let promoted_late = json!({"arm": "workflow", "hold": {"review": format!("late-{verb}")}});
            let mut answers: Vec<Answer> = Vec::new();
            for (lab, client) in [
                (json!({"arm": "task"}), &world.handoff),
                (json!({"arm": "workflow"}), &world.handoff),
                (json!({"arm": "workflow", "review": "roger"}), &world.handoff),
                (promoted, &prompt),
                (promoted_late, &prompt),
            ] {
                let request = handoff_tests::request(&fresh_key(), lab).to_string();
                answers.push(client.call(&caller, verb, request.as_bytes()).await.unwrap());
            }
            let bodies: HashSet<String> =
                answers.iter().map(|answer| answer.body.to_string().replace(&answer.task_id, "TASK")).collect();
            assert_eq!(bodies.len(), 1, "{verb}: {bodies:#?}");
            let body = &answers[0].body;
            has_fields(body, &["status", "task_id", "message", "context"]);
            assert_eq!(body["status"], "submitted", "{verb}");
            let folder = if verb == "sync_creatives" { "creative" } else { "media-buy" };
            is_valid(&format!("{folder}/{}-async-response-submitted.json", verb.replace('_', "-")), body);
            is_valid("core/protocol-envelope.json", body);
            // Nor does the id say anything.
            let lengths: HashSet<usize> = answers.iter().map(|answer| answer.task_id.len()).collect();
            assert_eq!(lengths.len(), 1, "{verb}");
            world.calls.open(&format!("promoted-{verb}"));
            world.calls.open(&format!("late-{verb}"));
            // A promoted request ends as its decision says.
            world.reaches(&answers[3].task_id, TaskStatus::Completed).await;
        }))
        .await;
    }
}

/// Tasks of one buyer in every status, and one of another's.
struct Tasks {
    own: Vec<(String, String)>,
    foreign: String,
    _worker: handoff_tests::InProcessWorker,
}

impl Tasks {
    async fn prepare(world: &World) -> Self {
        let worker = world.worker().await.unwrap();
        let mut tasks = Self { own: Vec::new(), foreign: String::new(), _worker: worker };
        tasks.submit(world, "waiting", "create_media_buy", json!({"arm": "workflow"})).await;
        let working = tasks.submit(world, "working", "update_media_buy", json!({"arm": "workflow"})).await;
        let progress =
            Progress { percentage: Some(30.0), step_number: Some(1), total_steps: Some(3), ..Default::default() };
        world.handoff.report_progress(&Viewer::Operator, &working, &progress).await.unwrap();
        let completed = tasks.submit(world, "completed", "sync_creatives", json!({"arm": "task", "steps": 1})).await;
        world.reaches(&completed, TaskStatus::Completed).await;
        for (name, verb, completion) in [
            ("failed", "get_signals", decision::fail(AdcpError::correctable("POLICY_VIOLATION", "no"))),
            ("canceled", "create_media_buy", decision::cancel()),
            ("rejected", "create_media_buy", decision::complete(&json!({"status": "rejected", "reason": "no"}))),
        ] {
            let task_id = tasks.submit(world, name, verb, json!({"arm": "workflow"})).await;
            settle(world, &task_id, completion).await;
        }
        let request = handoff_tests::request(&fresh_key(), json!({"arm": "workflow"})).to_string();
        let caller = Caller::new(FOREIGN_SCOPE, PRINCIPAL);
        tasks.foreign = world.handoff.call(&caller, "create_media_buy", request.as_bytes()).await.unwrap().task_id;
        tasks
    }

    fn id(&self, name: &str) -> String {
        self.own.iter().find(|(own, _)| own == name).map(|(_, id)| id.clone()).expect("a task of this name")
    }

    async fn submit(&mut self, world: &World, name: &str, verb: &str, lab: Value) -> String {
        let mut request = handoff_tests::request(&fresh_key(), lab);
        request["context"] = json!({"correlation_id": format!("it-{name}")});
        if name == "working" {
            request["context"]["note"] = json!("100%_");
            request["push_notification_config"] = json!({"url": "https://buyer.example/hook", "operation_id": "op-1"});
        }
        let answer = world.send(verb, &request).await.unwrap();
        assert_eq!(answer.status, "submitted");
        self.own.push((name.to_owned(), answer.task_id.clone()));
        answer.task_id
    }
}

async fn settle(world: &World, task_id: &str, completion: Completion) {
    let told = world.handoff.resolve(&Viewer::Operator, task_id, completion).await.unwrap();
    assert!(matches!(told, Resolved::Accepted { .. }), "{told:?}");
}

async fn list(world: &World, request: &Value) -> Value {
    list_as(world, &buyer(), request).await
}

async fn list_as(world: &World, viewer: &Viewer, request: &Value) -> Value {
    let request = serde_json::from_value(request.clone()).expect("a request of the protocol");
    world.handoff.list_tasks(viewer, &request).await.expect("lists are answered")
}

async fn list_refused(world: &World, viewer: &Viewer, request: &Value) -> AdcpError {
    let request_read = serde_json::from_value(request.clone()).expect("a request of the protocol");
    refusal(world.handoff.list_tasks(viewer, &request_read).await)
}

async fn poll(world: &World, task_id: &str, more: Value) -> Value {
    let mut request = json!({"task_id": task_id});
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let request = serde_json::from_value(request).expect("a request of the protocol");
    world.handoff.get_task_status(&buyer(), &request).await.expect("polls are answered")
}

async fn poll_refused(world: &World, viewer: &Viewer, task_id: &str) -> AdcpError {
    let request = serde_json::from_value(json!({"task_id": task_id})).expect("a request of the protocol");
    refusal(world.handoff.get_task_status(viewer, &request).await)
}

fn refusal(answer: Result<Value, CallError>) -> AdcpError {
    match answer {
        Err(CallError::Refused(error)) => error,
        other => panic!("not refused: {other:?}"),
    }
}

fn ids(body: &Value) -> Vec<String> {
    let tasks = body["tasks"].as_array().expect("a list of tasks");
    tasks.iter().map(|task| task["task_id"].as_str().expect("an id").to_owned()).collect()
}

fn has_fields(body: &Value, names: &[&str]) {
    for name in names {
        assert!(body.get(name).is_some(), "no {name} in {body}");
    }
}

/// Also by the protocol's own schema, where it is at hand.
fn is_valid(schema: &str, body: &Value) {
    if let Some(schemas) = Schemas::find() {
        schemas.check(schema, body);
    }
}

fn buyer() -> Viewer {
    Viewer::Buyer { scope: SCOPE.into(), principal: PRINCIPAL.into() }
}

fn foreigner() -> Viewer {
    Viewer::Buyer { scope: FOREIGN_SCOPE.into(), principal: PRINCIPAL.into() }
}
