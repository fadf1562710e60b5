//! The sync deadline: the caller keeps it, and asks the run for `submitted`. Runs that were started without that keep it themselves.

use crate::on_both_databases;
use handoff_client::Caller;
use handoff_proto::{
    convert::to_proto_duration,
    releases::Release,
    v1::{TaskInput, TaskRef},
    wire::TaskStatus,
    workflows::{COMPLETE, PROMOTE},
};
use handoff_store::{Claim, NewClaim};
use handoff_tests::{PRINCIPAL, SCOPE, eventually, fresh_key, payload, request};
use serde_json::json;
use std::time::Duration;
use temporalio_client::{UntypedWorkflow, WorkflowStartOptions};
use temporalio_common::data_converters::{PayloadConverter, RawValue};

const VERB: &str = "create_media_buy";
const RESULT: &str = r#"{"media_buy_id":"m"}"#;

on_both_databases! {
    async fn a_retry_gets_what_a_caller_that_is_gone_did_not(world: World) {
        let worker = world.worker().await.unwrap();
        for hold in ["decide", "review"] {
            let gate = fresh_key();
            let asked = request(&fresh_key(), json!({"arm": "workflow", "hold": {hold: gate}}));
            let (task_id, answer) = world.begin(VERB, &asked).await;
            answer.abort();
            assert!(answer.await.unwrap_err().is_cancelled());
            if hold == "review" {
                world.called("review", &task_id).await;
            }
            // Nobody asked, so nobody was told.
            assert!(world.task(&task_id).await.is_none(), "{hold}");
            let prompt = world.prompt(Duration::from_millis(100));
            let body = asked.to_string();
            let again = prompt.call(&Caller::new(SCOPE, PRINCIPAL), VERB, body.as_bytes()).await.unwrap();
            assert_eq!((again.status.as_str(), &again.task_id), ("submitted", &task_id), "{hold}");
            world.calls.open(&gate);
            world.called("review", &task_id).await;
            world.signal(&task_id, COMPLETE, vec![payload("json/plain", RESULT)]).await;
            world.reaches(&task_id, TaskStatus::Completed).await;
            let events = world.closed(&task_id).await;
            // That of the wait, unless the decision came before it.
            assert!(events.iter().filter(|event| *event == "TIMER_STARTED").count() <= 1, "{events:?}");
            assert_eq!(world.calls.of("decide", &task_id), ["1"], "{hold}");
        }
        worker.stop().await;
    }

    async fn fifty_callers_ask_once(world: World) {
        let worker = world.worker().await.unwrap();
        let gate = fresh_key();
        let asked = request(&fresh_key(), json!({"arm": "complete", "hold": {"decide": gate}})).to_string();
        let prompt = world.prompt(Duration::from_secs(1));
        let caller = Caller::new(SCOPE, PRINCIPAL);
        let calls = (0..50).map(|_| prompt.call(&caller, VERB, asked.as_bytes()));
        let answers = futures::future::try_join_all(calls).await.unwrap();
        let task_id = &answers[0].task_id;
        assert!(answers.iter().all(|answer| answer.status == "submitted" && answer.task_id == *task_id));
        let events = world.events(task_id).await;
        assert_eq!(events.iter().filter(|event| *event == "WORKFLOW_EXECUTION_SIGNALED").count(), 1, "{events:?}");
        world.calls.open(&gate);
        world.reaches(task_id, TaskStatus::Completed).await;
        worker.stop().await;
    }

    async fn who_asks_late_again_or_in_any_words_changes_nothing(world: World) {
        let worker = world.worker().await.unwrap();
        let task_id = world.submit(VERB, json!({"arm": "workflow"})).await;
        for words in ["null", "garbage", r#"{"result":{}}"#] {
            world.signal(&task_id, PROMOTE, vec![payload("json/plain", words)]).await;
        }
        world.signal(&task_id, PROMOTE, vec![]).await;
        world.signal(&task_id, COMPLETE, vec![payload("json/plain", RESULT)]).await;
        let task = world.reaches(&task_id, TaskStatus::Completed).await;
        world.closed(&task_id).await;
        let events: Vec<&str> = task.history.iter().map(|entry| entry.event.as_str()).collect();
        assert_eq!(events.iter().filter(|event| **event == "signal_dropped").count(), 0, "{events:?}");
        worker.stop().await;
    }

    async fn a_run_of_a_caller_that_does_not_ask_keeps_the_time_itself(world: World) {
        let worker = world.worker().await.unwrap();
        let (key, gate) = (fresh_key(), fresh_key());
        let asked = request(&key, json!({"arm": "complete", "hold": {"decide": gate}}));
        let task = TaskRef {
            task_id: handoff_proto::TaskId::generate().into(),
            scope: SCOPE.into(),
            principal: PRINCIPAL.into(),
            verb: VERB.into(),
        };
        let claim = NewClaim {
            task: task.clone(),
            protocol: "media-buy".into(),
            idempotency_key: Some(key),
            request_hash: "h".into(),
            context_json: None,
            webhook: None,
            proposal: None,
            release: Release::LATEST,
            sandbox: false,
        };
        assert!(matches!(world.handoff.registry().claim(&claim).await.unwrap(), Claim::New));
        let input = TaskInput {
            task: Some(task.clone()),
            request_json: asked.to_string(),
            sync_deadline: Some(to_proto_duration(Duration::from_millis(300))),
            ..Default::default()
        };
        let options = WorkflowStartOptions::new(world.config().task_queue.clone(), task.workflow_id()).build();
        let input = RawValue::from_value(&input, &PayloadConverter::default());
        world.temporal_client.start_workflow(UntypedWorkflow::new(VERB), input, options).await.unwrap();

        world.reaches(&task.task_id, TaskStatus::Submitted).await;
        assert!(world.events(&task.task_id).await.iter().any(|event| event == "TIMER_FIRED"));
        // It is no signal of its run, and counted as any other that is none.
        world.signal(&task.task_id, PROMOTE, vec![]).await;
        eventually("the signal is dropped", || async {
            (world.status(&task.task_id).await.dropped_signals == 1).then_some(())
        })
        .await;
        world.calls.open(&gate);
        world.reaches(&task.task_id, TaskStatus::Completed).await;
        worker.stop().await;
    }
}
