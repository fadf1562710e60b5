//! What the protocol marks write-only is in no answer, poll, webhook or record, although seller and reviewer say it.

use crate::{
    at_rest::{holds, readable, stored_in_registry},
    webhooks::Endpoint,
};
use handoff::{prelude::*, seller::Handlers};
use handoff_activities::{Activities, ActivityTimeouts};
use handoff_client::{CallError, Caller, Direct, Resolved, SigningSource, Viewer};
use handoff_proto::{
    v1::{TaskInput, TaskRef},
    wire::{GetTaskStatusRequest, TaskStatus, task_status_body},
    workflows::COMPLETE,
};
use handoff_tests::{Kind, PRINCIPAL, SCOPE, World, decision, eventually, fresh_key, payload};
use handoff_webhooks::keys::{Algorithm, LocalKey};

const VERB: &str = "create_media_buy";
const TOOL: &str = "sync_accounts";
const SECRET: &str = "MARK-write-only";
const SHOWN: &str = "MARK-to-be-shown";

/// What nobody should have said, and what may be.
fn said() -> Value {
    let authentication = json!({"schemes": ["Bearer"], "credentials": SECRET});
    json!({
        "media_buy_id": SHOWN,
        "invoice_recipient": {"legal_name": "Pinnacle", "bank": {"account_holder": "Pinnacle", "iban": SECRET}},
        "reporting_webhook": {"url": "https://buyer.example", "token": SECRET, "authentication": authentication},
        "accounts": [{
            "destination_billing_entity": {"legal_name": SECRET},
            "notification_configs": [{"subscriber_id": "s", "authentication": authentication}],
        }],
    })
}

fn refusal() -> AdcpError {
    AdcpError::correctable("POLICY_VIOLATION", SHOWN).details(said())
}

fn seller() -> Handlers {
    Seller::new("indiscreet", ())
        .verb(VERB, verb(decide).hands_off_to(["work", "review"]))
        .tool(TOOL, answer)
        .task("work", work)
        .enqueue("review", review)
        .into_handlers()
        .unwrap()
}

async fn decide(_: Context<()>, request: Value) -> Result<Decision, AdcpError> {
    let input = json!({"fails": request["fails"]});
    match request["arm"].as_str() {
        Some("task") => Ok(Decision::handoff_to_task("work", input)),
        Some("workflow") => Ok(Decision::handoff_to_workflow("review", input)),
        Some("refuse") => Err(refusal()),
        _ => Ok(Decision::complete(said())),
    }
}

async fn answer(_: Context<()>, _: Value) -> Result<Value, AdcpError> {
    Ok(said())
}

async fn work(_: TaskContext<()>, input: Value) -> Result<Value, AdcpError> {
    if input["fails"] == true { Err(refusal()) } else { Ok(said()) }
}

async fn review(_: Context<()>, input: Value) -> Result<Acknowledgement, AdcpError> {
    Ok(if input["fails"] == true { Acknowledgement::unable(refusal()) } else { Acknowledgement::wilco() })
}

fn request(arm: &str, fails: bool) -> Value {
    json!({"idempotency_key": fresh_key(), "arm": arm, "fails": fails, "context": {"n": 1}})
}

fn is_clean(text: &str) {
    assert!(text.contains(SHOWN) && !text.contains(SECRET), "{text}");
}

fn refused(answer: Result<handoff_client::Answer, CallError>) {
    let Err(CallError::Refused(error)) = answer else { panic!("{answer:?}") };
    assert_eq!(error.details.as_deref().map(|details| &details["media_buy_id"]), Some(&json!(SHOWN)));
    is_clean(&error.to_json().to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_write_only_leaves_no_trace_sqlite() {
    leaves_no_trace(Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_write_only_leaves_no_trace_postgres() {
    leaves_no_trace(Kind::Postgres).await;
}

async fn leaves_no_trace(kind: Kind) {
    // Without keys, so that what is stored can be searched.
    let world = World::configured(kind, |config| {
        config.webhooks.signing = SigningSource::Pem(LocalKey::generate_pem(Algorithm::Ed25519).unwrap());
    });
    let world = world.await.unwrap();
    let worker = world.worker_of(world.temporal_client.clone(), seller()).await.unwrap();
    answers(&world).await;
    let endpoint = Endpoint::start([]).await;
    let tasks = tasks(&world, &endpoint).await;
    for task_id in &tasks {
        let poll = GetTaskStatusRequest { include_result: true, ..Default::default() };
        let polled = task_status_body(&world.task(task_id).await.unwrap(), &poll);
        is_clean(&polled.to_string());
        let told = endpoint.came().into_iter().find(|delivery| delivery.json()["task_id"] == **task_id).unwrap();
        is_clean(std::str::from_utf8(&told.body).unwrap());
        assert_eq!(told.json()["result"], polled["result"]);
    }
    let stored = stored_in_registry(&world).await;
    let stored = readable(&stored);
    assert!(holds(&stored, SHOWN) && !holds(&stored, SECRET));
    // The last one's decision was typed into Temporal by somebody else's hand.
    for task_id in &tasks[..tasks.len() - 1] {
        let history = world.run(task_id).fetch_history(Default::default()).to_json().await.unwrap();
        assert!(!holds(&readable(&history), SECRET), "{task_id}");
    }
    worker.stop().await;
}

/// Answered at once, by a workflow and without one.
async fn answers(world: &World) {
    let asked = request("complete", false);
    is_clean(&world.send(VERB, &asked).await.unwrap().body.to_string());
    let replayed = world.send(VERB, &asked).await.unwrap();
    assert!(replayed.replayed);
    is_clean(&replayed.body.to_string());
    refused(world.send(VERB, &request("refuse", false)).await);
    refused(world.send(VERB, &request("workflow", true)).await);

    let caller = Caller::new(SCOPE, PRINCIPAL);
    let mut keyed = request("tool", false);
    keyed["account"] = json!({"account_id": SCOPE});
    for _ in 0..2 {
        let text = keyed.to_string();
        let handler = async |_| Ok(Direct::Complete(said()));
        let told = world.handoff.answer_directly(&caller, TOOL, text.as_bytes(), handler).await.unwrap();
        is_clean(&told.body.to_string());
    }
    let text = request("tool", false).to_string();
    let handler = async |_| Err(refusal());
    refused(world.handoff.answer_directly(&caller, TOOL, text.as_bytes(), handler).await);
    let activities = Activities::new(world.registry.clone(), seller(), ActivityTimeouts::default());
    let input = TaskInput {
        task: Some(TaskRef { verb: TOOL.into(), ..world.reference("t") }),
        request_json: "{}".into(),
        ..Default::default()
    };
    is_clean(&activities.answer_tool(&input).await.unwrap().to_string());
}

/// Tasks in every arm, at their ends; the last is ended by a signal.
async fn tasks(world: &World, endpoint: &Endpoint) -> Vec<String> {
    let submit = async |arm: &str, fails: bool| {
        let mut request = request(arm, fails);
        request["push_notification_config"] = json!({"url": endpoint.url(), "operation_id": "op-1"});
        world.send(VERB, &request).await.unwrap().task_id
    };
    let mut tasks = vec![submit("task", false).await, submit("task", true).await];
    for decided in [decision::complete(&said()), decision::fail(refusal())] {
        let task_id = submit("workflow", false).await;
        // What was decided is what is recorded: said again it is no other decision.
        for _ in 0..2 {
            let resolved = world.handoff.resolve(&Viewer::Operator, &task_id, decided.clone()).await.unwrap();
            assert!(matches!(resolved, Resolved::Accepted { .. } | Resolved::Duplicate { .. }), "{resolved:?}");
        }
        tasks.push(task_id);
    }
    let task_id = submit("workflow", false).await;
    world.signal(&task_id, COMPLETE, vec![payload("json/plain", said().to_string())]).await;
    world.reaches(&task_id, TaskStatus::Completed).await;
    tasks.push(task_id);
    for task_id in &tasks {
        world.closed(task_id).await;
    }
    eventually("all are told", || async { (endpoint.came().len() == tasks.len()).then_some(()) }).await;
    tasks
}
