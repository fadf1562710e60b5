//! Whole decisions, against a registry and a Temporal that answer as each test says.

use super::*;
use crate::{
    Config,
    codec::{Key, KeySource, KeyUnavailable, OpenError, SealError},
    testing::{
        FakeRegistry, Say, begun, count, fake_handoff, fake_temporal, resolution, sealed, sealed_resolution, task,
    },
};
use handoff_proto::v1::{Decision, Resolution, Standing, TaskRecord, completion::Outcome, decision};
use handoff_store::{CipherError, RegistryError};
use std::sync::Arc;
use temporalio_client::errors::WorkflowUpdateError;
use temporalio_common::data_converters::PayloadConversionError;
use tonic::Status;

const UPDATE: &str = "UpdateWorkflowExecution";
const SIGNAL: &str = "SignalWorkflowExecution";

fn complete() -> Completion {
    Completion {
        outcome: Some(Outcome::ResultJson(r#"{"a":1}"#.into())),
        decision_id: "d".into(),
        actor: "ann".into(),
        ..Default::default()
    }
}

fn ended(decision_id: &str) -> TaskRecord {
    TaskRecord {
        task: Some(task()),
        status: "completed".into(),
        result_json: r#"{"a":1}"#.into(),
        decision_id: decision_id.into(),
        ..Default::default()
    }
}

fn accepted() -> Resolution {
    Resolution { status: "accepted".into(), recorded: complete().to_settlement(), ..Default::default() }
}

#[tokio::test(start_paused = true)]
async fn a_live_run_settles_the_decision() {
    let (handoff, _, calls) = fake_handoff(FakeRegistry::waiting(), |_, number| match number {
        0 => Say::Error(Status::unavailable("workflow update was aborted")),
        _ => resolution(&accepted()),
    })
    .await;
    let resolved = handoff.resolve(&Viewer::Operator, "t", complete()).await.unwrap();
    assert_eq!(resolved, Resolved::Accepted { recorded: complete().to_settlement().unwrap() });
    assert_eq!((count(&calls, UPDATE), count(&calls, SIGNAL)), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn where_too_many_decide_at_once_the_registry_tells_the_end() {
    let waiting = TaskRecord { task: Some(task()), status: "submitted".into(), ..Default::default() };
    // One look before the update and four after it: these take 1.5 s at most, and the refused stay away for 2.5 s at least.
    let registry = FakeRegistry::with_tasks([vec![Some(waiting); 4], vec![Some(ended("another"))]].concat());
    let (handoff, _, calls) =
        fake_handoff(registry, |_, _| Say::Error(Status::resource_exhausted("ten already"))).await;
    let resolved = handoff.resolve(&Viewer::Operator, "t", complete()).await.unwrap();
    assert!(matches!(resolved, Resolved::Duplicate { .. }), "{resolved:?}");
    assert_eq!((count(&calls, UPDATE), count(&calls, SIGNAL)), (1, 0), "it does not stand in the way of the others");
}

#[tokio::test(start_paused = true)]
async fn who_was_refused_in_a_crowd_asks_again_much_later_and_is_recorded_at_last() {
    let crowded = |name: &str, _| match name {
        UPDATE => Say::Error(Status::resource_exhausted("ten already")),
        SIGNAL => Say::Message(vec![]),
        _ => Say::Error(Status::unimplemented("old server")),
    };
    let (patient, _, calls) = fake_handoff(FakeRegistry::waiting(), crowded).await;
    let config = Config { resolve_timeout: Duration::from_secs(60), ..patient.config().clone() };
    let patient = Handoff::from_parts(patient.temporal().unwrap().clone(), patient.registry().clone(), config);
    let resolved = patient.resolve(&Viewer::Operator, "t", complete()).await.unwrap();
    assert_eq!(resolved, Resolved::Recorded { decision_id: "d".into() });
    assert!((3..=6).contains(&count(&calls, UPDATE)) && count(&calls, SIGNAL) == 1, "{}", count(&calls, UPDATE));
}

#[tokio::test(start_paused = true)]
async fn a_broken_connection_to_the_registry_is_not_the_reviewers_problem() {
    for (breaks, taken) in [(2, true), (3, false)] {
        let registry = FakeRegistry { breaks: breaks.into(), ..FakeRegistry::waiting() };
        let (handoff, _, calls) = fake_handoff(registry, |_, _| resolution(&accepted())).await;
        match handoff.resolve(&Viewer::Operator, "t", complete()).await {
            Ok(resolved) => assert!(taken && matches!(resolved, Resolved::Accepted { .. }), "{breaks}: {resolved:?}"),
            Err(error) => assert!(!taken && error.is_transient(), "{breaks}: {error}"),
        }
        assert_eq!(count(&calls, UPDATE), usize::from(taken));
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_worker_the_decision_is_recorded() {
    let silent = |name: &str, _| match name {
        SIGNAL => Say::Message(vec![]),
        "DescribeTaskQueue" => Say::Error(Status::unimplemented("old server")),
        _ => Say::Nothing,
    };
    let (handoff, _, calls) = fake_handoff(FakeRegistry::waiting(), silent).await;
    let begin = tokio::time::Instant::now();
    let resolved = handoff.resolve(&Viewer::Operator, "t", complete()).await.unwrap();
    assert_eq!(resolved, Resolved::Recorded { decision_id: "d".into() });
    assert_eq!(begin.elapsed().as_secs(), handoff.config().resolve_timeout.as_secs());
    assert_eq!(count(&calls, SIGNAL), 1);
    // A server that knows that nobody polls makes it quicker.
    let nobody = |name: &str, _| match name {
        UPDATE => Say::Nothing,
        _ => Say::Message(vec![]),
    };
    let (handoff, _, _) = fake_handoff(FakeRegistry::waiting(), nobody).await;
    let begin = tokio::time::Instant::now();
    let resolved = handoff.resolve(&Viewer::Operator, "t", complete()).await.unwrap();
    assert!(matches!(resolved, Resolved::Recorded { .. }) && begin.elapsed().as_secs() < 2);
}

#[tokio::test(start_paused = true)]
async fn an_ended_task_answers_from_the_registry() {
    for (decision_id, same) in [("d", true), ("another", false)] {
        let registry = FakeRegistry::with_tasks([Some(ended(decision_id))]);
        let (handoff, _, calls) = fake_handoff(registry, |_, _| Say::Nothing).await;
        let resolved = handoff.resolve(&Viewer::Operator, "t", complete()).await.unwrap();
        assert_eq!(matches!(resolved, Resolved::Accepted { .. }), same);
        assert_eq!(matches!(resolved, Resolved::Duplicate { .. }), !same);
        assert_eq!(calls.lock().unwrap().len(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_run_the_registry_has_the_last_word() {
    let gone = |_: &str, _| Say::Error(Status::not_found("workflow execution already completed"));
    let standing = |standing: Standing| {
        let registry = FakeRegistry::default();
        *registry.standing.lock().unwrap() = standing;
        registry
    };
    let resolve = async |registry: FakeRegistry| {
        let (handoff, _, _) = fake_handoff(registry, gone).await;
        handoff.resolve(&Viewer::Operator, "t", complete()).await
    };
    let settled = Standing { settlement: complete().to_settlement(), ..Default::default() };
    assert!(matches!(resolve(standing(settled)).await.unwrap(), Resolved::Accepted { .. }));
    let kind = Some(decision::Kind::Complete(Default::default()));
    let answered = Standing { decision: Some(Decision { kind }), ..Default::default() };
    assert!(matches!(resolve(standing(answered)).await.unwrap(), Resolved::Invalid { .. }));
    assert!(matches!(resolve(FakeRegistry::default()).await, Err(Error::RunGone { .. })));
}

#[tokio::test(start_paused = true)]
async fn who_can_not_read_the_task_decides_nothing() {
    let registry = FakeRegistry { missing_key: Some("k"), ..FakeRegistry::waiting() };
    let (handoff, _, calls) = fake_handoff(registry, |_, _| resolution(&accepted())).await;
    let error = handoff.resolve(&Viewer::Operator, "t", complete()).await.unwrap_err();
    assert!(error.lacks_keys() && !error.is_transient() && error.to_string().contains("\"k\""), "{error}");
    assert_eq!(calls.lock().unwrap().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn of_an_undecided_request_the_run_says_which_key_is_needed() {
    let run = |name: &str, _| match name {
        UPDATE => resolution(&accepted()),
        _ => begun(sealed()),
    };
    for keys in [KeySource::None, KeySource::Text(Key::generate("other").unwrap())] {
        let (temporal, calls) = fake_temporal(run).await;
        let config = Config { encryption: keys, ..Config::default() };
        let handoff = Handoff::from_parts(temporal, Arc::new(FakeRegistry::default()), config);
        let error = handoff.resolve(&Viewer::Operator, "t", complete()).await.unwrap_err();
        assert!(matches!(&error, Error::RunSealed { task_id, .. } if task_id == "t"), "{error:?}");
        assert!(error.lacks_keys() && error.to_string().contains("\"k\""), "{error}");
        assert_eq!(count(&calls, UPDATE), 0);
    }
    // A run in clear, and one that is not there, are no obstacle.
    let in_clear = |name: &str, _| match name {
        UPDATE => resolution(&accepted()),
        _ => begun(Default::default()),
    };
    let (handoff, _, calls) = fake_handoff(FakeRegistry::default(), in_clear).await;
    assert!(matches!(handoff.resolve(&Viewer::Operator, "t", complete()).await, Ok(Resolved::Accepted { .. })));
    assert_eq!(count(&calls, UPDATE), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_can_not_be_read_is_no_reason_to_try_again() {
    let (handoff, _, calls) = fake_handoff(FakeRegistry::waiting(), |_, _| sealed_resolution()).await;
    let error = handoff.resolve(&Viewer::Operator, "t", complete()).await.unwrap_err();
    assert!(matches!(error, Error::AnswerUnreadable { sent: "decision", sealed: true, .. }), "{error:?}");
    assert!(!error.is_transient() && error.lacks_keys() && error.to_string().contains("may be recorded"), "{error}");
    assert_eq!((count(&calls, UPDATE), count(&calls, SIGNAL)), (1, 0));
}

#[test]
fn a_key_service_that_is_away_comes_back() {
    let lacks =
        |error| Error::from(RegistryError::Sealed { task_id: "t".into(), column: "decision", error }).lacks_keys();
    assert!(lacks(CipherError::MissingKey { key: "k".into() }) && lacks(CipherError::NotAuthentic { key: "k".into() }));
    assert!(!lacks(CipherError::Unavailable("away".into())) && Error::from(RegistryError::NoKeys).lacks_keys());
    let update = |error: Box<dyn std::error::Error + Send + Sync>| {
        let error = PayloadConversionError::EncodingError(error);
        Error::update("update the workflow", "decision", &WorkflowUpdateError::PayloadConversion(error))
    };
    let away = || KeyUnavailable("the service is away".into());
    for error in [update(SealError::from(away()).into()), update(OpenError::from(away()).into())] {
        assert!(error.is_transient() && !error.lacks_keys(), "{error:?}");
    }
    let unknown = update(OpenError::UnknownKey { key: "k".into() }.into());
    assert!(unknown.lacks_keys() && unknown.to_string().contains("\"k\""), "{unknown}");
    let other = update("not what was expected".into());
    assert!(!other.is_transient() && !other.lacks_keys(), "{other:?}");
}

#[tokio::test(start_paused = true)]
async fn who_may_not_decide_finds_nothing() {
    let (handoff, _, calls) = fake_handoff(FakeRegistry::default(), |_, _| Say::Nothing).await;
    let buyer = Viewer::Buyer { scope: "acct".into(), principal: "p".into() };
    let foreign = Viewer::Reviewer { scopes: vec!["other".into()] };
    for (viewer, task_id) in [(&buyer, "t"), (&foreign, "t"), (&Viewer::Operator, "unknown")] {
        assert_eq!(handoff.resolve(viewer, task_id, complete()).await.unwrap(), Resolved::NotFound);
    }
    assert_eq!(calls.lock().unwrap().len(), 0);
}

fn with(result: &str, decision_id: &str) -> Completion {
    Completion {
        outcome: Some(Outcome::ResultJson(result.into())),
        decision_id: decision_id.into(),
        ..Default::default()
    }
}

#[test]
fn decisions_are_equal_by_outcome_and_the_same_by_id() {
    let recorded = with(r#"{"media_buy_id":"m","price":1.0}"#, "first").to_settlement().unwrap();
    let again = |result: &str, id: &str| verdict(recorded.clone(), &with(result, id));
    let same = r#"{ "price": 1, "media_buy_id": "m" }"#;
    assert_eq!(again(same, "first"), Resolved::Accepted { recorded: recorded.clone() });
    assert_eq!(again(same, "second"), Resolved::Duplicate { recorded: recorded.clone() });
    // The same id for another outcome is no acceptance of it.
    assert_eq!(again(r#"{"media_buy_id":"other"}"#, "first"), Resolved::Conflict { recorded: recorded.clone() });
    let cancel = Completion { outcome: Some(Outcome::Cancellation(Default::default())), ..Default::default() };
    assert_eq!(verdict(recorded.clone(), &cancel), Resolved::Conflict { recorded });
}

#[test]
fn a_decision_gets_an_id_and_is_checked() {
    let prepared = prepare(with(r#"{"a":1}"#, "")).unwrap();
    assert_eq!(prepared.decision_id.len(), 36);
    for unusable in [
        with("not json", "id"),
        with(r#"{"a":1}"#, OUTCOME_UPDATE_ID),
        with(r#"{"a":1}"#, "a\nb"),
        with(r#"{"a":1}"#, &"x".repeat(256)),
        with(&format!(r#"{{"a":"{}"}}"#, r#"\""#.repeat(499_990)), "escapes"),
        Completion::default(),
    ] {
        assert!(!prepare(unusable).unwrap_err().is_empty());
    }
}
