//! Whole calls, against a registry and a Temporal that answer as each test says.

use crate::{
    CallError, Caller, Handoff,
    testing::{Calls, FakeRegistry, Say, count, fake_handoff, told},
};
use handoff_proto::{
    errors, json,
    v1::{AdcpError, outcome},
    wire::AdcpError as WireError,
};
use handoff_store::{Answer as Recorded, Claim, ClaimView, RegistryError};
use prost::Message;
use serde_json::{Value, json};
use temporalio_common::protos::temporal::api::workflowservice::v1::{
    ExecuteMultiOperationRequest, execute_multi_operation_request::operation::Operation,
};
use tokio::time::Instant;
use tonic::Status;

const UWS: &str = "ExecuteMultiOperation";

fn request() -> Value {
    json!({"idempotency_key": "0123456789abcdef", "budget": 5, "context": {"n": 1}})
}

async fn call(handoff: &Handoff, verb: &str, request: &Value) -> Result<super::Answer, CallError> {
    handoff.call(&Caller::new("acct", "p"), verb, request.to_string().as_bytes()).await
}

async fn refusal(handoff: &Handoff, verb: &str, request: &Value) -> WireError {
    match call(handoff, verb, request).await {
        Err(CallError::Refused(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn completed() -> outcome::Kind {
    outcome::Kind::Completed(outcome::Completed { result_json: r#"{"media_buy_id":"m","price":1.10}"#.into() })
}

fn start_of(calls: &Calls, number: usize) -> (String, String, String, String) {
    let calls = calls.lock().unwrap();
    let request = ExecuteMultiOperationRequest::decode(calls[number].1.as_slice()).unwrap();
    let mut parts = (String::new(), String::new(), String::new(), String::new());
    for operation in request.operations {
        match operation.operation.unwrap() {
            Operation::StartWorkflow(start) => {
                parts.0 = start.workflow_id;
                parts.1 = start.workflow_type.unwrap().name;
                let mut attributes: Vec<_> = start.search_attributes.unwrap().indexed_fields.into_keys().collect();
                attributes.sort();
                parts.2 = attributes.join(" ");
            }
            Operation::UpdateWorkflow(update) => parts.3 = update.request.unwrap().meta.unwrap().update_id,
        }
    }
    parts
}

#[tokio::test(start_paused = true)]
async fn a_new_request_is_started_and_answered() {
    let (handoff, registry, calls) = fake_handoff(FakeRegistry::default(), |_, _| told(completed())).await;
    let answer = call(&handoff, "create_media_buy", &request()).await.unwrap();
    let expected = r#"{"status":"completed","media_buy_id":"m","price":1.10,"context":{"n":1}}"#;
    assert_eq!((answer.body.to_string().as_str(), answer.replayed), (expected, false));
    let (id, kind, attributes, update) = start_of(&calls, 0);
    assert_eq!(id, format!("acct/{}", answer.task_id));
    assert_eq!((kind.as_str(), update.as_str()), ("create_media_buy", "outcome"));
    assert_eq!(attributes, "HandoffScope HandoffTaskType");
    let claimed = registry.claimed.lock().unwrap();
    assert_eq!(claimed[0].request_hash, json::request_hash(&request()).unwrap());
    assert_eq!(claimed[0].context_json.as_deref(), Some(r#"{"n":1}"#));
}

#[tokio::test(start_paused = true)]
async fn a_recorded_answer_is_said_again_without_temporal() {
    let answer = Recorded { status: "submitted".into(), body_json: r#"{"status":"submitted","task_id":"t"}"#.into() };
    let registry = FakeRegistry::claiming([Ok(Claim::Answered { task_id: "t".into(), answer })]);
    let (handoff, _, calls) = fake_handoff(registry, |_, _| Say::Nothing).await;
    let answer = call(&handoff, "create_media_buy", &request()).await.unwrap();
    assert_eq!(answer.body, json!({"status": "submitted", "task_id": "t", "replayed": true, "context": {"n": 1}}));
    assert_eq!(calls.lock().unwrap().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_attached_call_asks_the_same_run() {
    let registry = FakeRegistry::claiming([Ok(Claim::InFlight { task_id: "other".into() })]);
    let (handoff, _, calls) = fake_handoff(registry, |_, _| told(outcome::Kind::Submitted(Default::default()))).await;
    let answer = call(&handoff, "create_media_buy", &request()).await.unwrap();
    assert_eq!(start_of(&calls, 0).0, "acct/other");
    assert_eq!((answer.task_id.as_str(), &answer.body["replayed"]), ("other", &json!(true)));
}

#[tokio::test(start_paused = true)]
async fn tries_are_repeated_with_the_same_ids() {
    let (handoff, registry, calls) = fake_handoff(
        FakeRegistry::claiming([Err(RegistryError::Unavailable("busy".into())), Ok(Claim::New)]),
        |_, number| match number {
            0 => Say::Error(Status::failed_precondition("workflow not ready")),
            1 => Say::Error(Status::unavailable("down")),
            2 => Say::Nothing,
            3 => Say::Error(Status::resource_exhausted("busy")),
            _ => told(completed()),
        },
    )
    .await;
    call(&handoff, "create_media_buy", &request()).await.unwrap();
    assert_eq!(count(&calls, UWS), 5);
    let first = start_of(&calls, 0);
    assert!((1..5).all(|number| start_of(&calls, number) == first));
    let claimed = registry.claimed.lock().unwrap();
    assert_eq!((claimed.len(), &claimed[0].task), (2, &claimed[1].task));
}

#[tokio::test(start_paused = true)]
async fn silence_is_refused_as_transient_and_never_submitted() {
    let (handoff, _, calls) = fake_handoff(FakeRegistry::default(), |_, _| Say::Nothing).await;
    let begin = Instant::now();
    let error = refusal(&handoff, "create_media_buy", &request()).await;
    assert_eq!(error.code, "SERVICE_UNAVAILABLE");
    assert!(error.is_transient() && error.retry_after.is_some());
    let budget = handoff.config().sync_deadline + handoff.config().grace;
    assert!(begin.elapsed() >= budget && begin.elapsed() < budget + std::time::Duration::from_secs(1));
    assert_eq!(count(&calls, UWS), 3);
}

#[tokio::test(start_paused = true)]
async fn what_the_registry_recorded_meanwhile_is_the_answer() {
    let refused = AdcpError { code: "BUDGET_TOO_LOW".into(), message: "no".into(), ..Default::default() };
    let answered = Recorded { status: "completed".into(), body_json: r#"{"media_buy_id":"m"}"#.into() };
    for (views, code) in [
        (vec![Ok(ClaimView::InFlight), Ok(ClaimView::Answered(answered))], None),
        (vec![Ok(ClaimView::Refused { error_json: serde_json::to_string(&refused).unwrap() })], Some("BUDGET_TOO_LOW")),
        (vec![Ok(ClaimView::OutcomeUnknown)], Some(errors::OUTCOME_UNKNOWN)),
    ] {
        let registry = FakeRegistry::default().viewed(views);
        let (handoff, _, calls) = fake_handoff(registry, |_, _| Say::Error(Status::already_exists("closed"))).await;
        match (call(&handoff, "create_media_buy", &request()).await, code) {
            (Ok(answer), None) => assert_eq!((answer.status.as_str(), answer.replayed), ("completed", false)),
            (Err(CallError::Refused(error)), Some(code)) => assert_eq!(error.code, code),
            (other, code) => panic!("{other:?} {code:?}"),
        }
        // The run is over: asking it again is no use.
        assert_eq!(count(&calls, UWS), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn undecided_wholesale_discovery_says_what_is_missing() {
    let undecided = |_: &str, _| told(outcome::Kind::Undecided(Default::default()));
    let (handoff, _, calls) = fake_handoff(FakeRegistry::default(), undecided).await;
    let answer = call(&handoff, "get_products", &json!({"buying_mode": "wholesale"})).await.unwrap();
    assert_eq!((answer.status.as_str(), &answer.body["products"]), ("completed", &json!([])));
    assert_eq!(count(&calls, UWS), 1);
    let (handoff, _, _) = fake_handoff(FakeRegistry::default(), undecided).await;
    assert_eq!(refusal(&handoff, "create_media_buy", &request()).await.code, "SERVICE_UNAVAILABLE");
    // Nobody said "undecided": an outage is no partial answer.
    let (handoff, _, _) = fake_handoff(FakeRegistry::default(), |_, _| Say::Nothing).await;
    assert_eq!(
        refusal(&handoff, "get_products", &json!({"buying_mode": "wholesale"})).await.code,
        "SERVICE_UNAVAILABLE"
    );
}

#[tokio::test(start_paused = true)]
async fn refusals_of_the_run_and_of_the_claim_reach_the_buyer() {
    let refused = AdcpError { code: "POLICY_VIOLATION".into(), message: "no".into(), ..Default::default() };
    let (handoff, _, _) =
        fake_handoff(FakeRegistry::default(), move |_, _| told(outcome::Kind::Refused(refused.clone()))).await;
    assert_eq!(refusal(&handoff, "create_media_buy", &request()).await.code, "POLICY_VIOLATION");
    let registry = FakeRegistry::claiming([Ok(Claim::Conflict)]);
    let (handoff, _, calls) = fake_handoff(registry, |_, _| Say::Nothing).await;
    assert_eq!(refusal(&handoff, "create_media_buy", &request()).await.code, "IDEMPOTENCY_CONFLICT");
    assert_eq!(calls.lock().unwrap().len(), 0);
    let discarded = |_: &str, _| told(outcome::Kind::Discarded(Default::default()));
    let (handoff, _, _) = fake_handoff(FakeRegistry::default(), discarded).await;
    assert_eq!(refusal(&handoff, "create_media_buy", &request()).await.code, "SERVICE_UNAVAILABLE");
}

#[tokio::test(start_paused = true)]
async fn what_no_retry_mends_is_for_the_operator() {
    let missing = |_: &str, _| Say::Error(Status::invalid_argument("no mapping for search attribute HandoffScope"));
    let (handoff, _, _) = fake_handoff(FakeRegistry::default(), missing).await;
    let error = call(&handoff, "create_media_buy", &request()).await.unwrap_err();
    assert!(matches!(error, CallError::Infrastructure(_)) && error.to_string().contains("HandoffScope"));
    assert!(!error.to_adcp().message.contains("HandoffScope"));
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_nothing_could_keep_leaves_no_claim() {
    let (handoff, registry, calls) = fake_handoff(FakeRegistry::default(), |_, _| Say::Nothing).await;
    for (name, secret, field) in [
        (
            "push_notification_config",
            json!({"url": "https://b.example", "token": "s3cret"}),
            "push_notification_config",
        ),
        ("reporting_webhook", json!({"token": "s3cret"}), "reporting_webhook.token"),
    ] {
        let mut request = request();
        request[name] = secret;
        let error = refusal(&handoff, "create_media_buy", &request).await;
        assert_eq!((error.code.as_str(), error.field.as_deref()), (errors::KEYS_REQUIRED, Some(field)));
        assert!(!format!("{error} {error:?}").contains("s3cret"));
    }
    assert!(registry.claimed.lock().unwrap().is_empty() && calls.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_leaves_no_claim() {
    let (handoff, registry, _) = fake_handoff(FakeRegistry::default(), |_, _| Say::Nothing).await;
    let mut large = request();
    large["note"] = Value::from("\"".repeat(450_000));
    assert_eq!(refusal(&handoff, "create_media_buy", &large).await.code, "INVALID_REQUEST");
    assert!(registry.claimed.lock().unwrap().is_empty());
}
