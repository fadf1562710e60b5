//! Answers without a workflow, over several processes' clients, and hand-offs from them to real runs.

use crate::on_both_databases;
use futures::future::join_all;
use handoff_client::{Answer, CallError, Caller, Direct, Handoff, ReconcileAction};
use handoff_proto::{
    releases::Release,
    v1::{Decision, HandoffToTask, HandoffToWorkflow, decision::Kind},
    wire::{AdcpError, TaskStatus},
};
use handoff_tests::{PRINCIPAL, SCOPE, World, decision, fresh_key, request};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

const PLAIN: &str = "sync_accounts";
const DISCOVERY: &str = "get_products";

async fn answer_by<H, F>(handoff: &Handoff, tool: &str, request: &Value, handler: H) -> Result<Answer, CallError>
where
    H: FnOnce(handoff_client::DirectContext) -> F + Send + 'static,
    F: Future<Output = Result<Direct, AdcpError>> + Send + 'static,
{
    handoff.answer_directly(&Caller::new(SCOPE, PRINCIPAL), tool, request.to_string().as_bytes(), handler).await
}

/// A client with a registry of its own, as another process has. How late its answers come is no matter here: machines are busy.
async fn process(world: &World, sync_deadline: Duration) -> Handoff {
    let mut config = world.config().clone();
    (config.sync_deadline, config.grace) = (sync_deadline, Duration::from_secs(60));
    let registry = handoff_store::connect(&config.registry_url, config.registry_options().unwrap()).await.unwrap();
    Handoff::from_parts(world.temporal_client.clone(), registry, config)
}

async fn never(_: handoff_client::DirectContext) -> Result<Direct, AdcpError> {
    panic!("called a second time")
}

async fn hangs(_: handoff_client::DirectContext) -> Result<Direct, AdcpError> {
    std::future::pending().await
}

fn to_task() -> Decision {
    let input_json = json!({"lab": {}}).to_string();
    Decision {
        kind: Some(Kind::HandoffToTask(HandoffToTask { handler: "work".into(), input_json, ..Default::default() })),
    }
}

fn to_workflow() -> Decision {
    let input_json = json!({"lab": {}}).to_string();
    let handoff = HandoffToWorkflow { handler: "review".into(), input_json, ..Default::default() };
    Decision { kind: Some(Kind::HandoffToWorkflow(handoff)) }
}

on_both_databases! {
    async fn a_hundred_duplicates_over_three_processes_are_one_execution(world: World) {
        let wait = Duration::from_secs(120);
        let processes = [process(&world, wait).await, process(&world, wait).await, process(&world, wait).await];
        for tool in [PLAIN, DISCOVERY] {
            let (key, executions) = (fresh_key(), Arc::new(AtomicUsize::new(0)));
            let calls = (0..100).map(|number: usize| {
                let (handoff, executions) = (processes[number % 3].clone(), executions.clone());
                let request = json!({"idempotency_key": key, "context": {"call": number}});
                async move {
                    let handler = async move |_| {
                        let number = executions.fetch_add(1, Ordering::SeqCst);
                        Ok(Direct::Complete(json!({"execution": number})))
                    };
                    answer_by(&handoff, tool, &request, handler).await.unwrap()
                }
            });
            let answers = join_all(calls).await;
            assert_eq!(executions.load(Ordering::SeqCst), 1, "{tool}");
            assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1, "{tool}");
            assert!(answers.iter().all(|answer| answer.body["execution"] == 0), "{tool}");
        }
        assert_eq!(world.unfinished().await, Vec::<String>::new());
    }

    async fn a_hand_off_becomes_a_task_that_its_run_carries_out(world: World) {
        let _worker = world.worker().await.unwrap();
        for request in [request(&fresh_key(), json!({})), json!({"context": {"keyless": true}})] {
            for decided in [to_task(), to_workflow()] {
                let is_task = matches!(decided.kind, Some(Kind::HandoffToTask(_)));
                let handed_off = decided.clone();
                let mut request = request.clone();
                if request.get("idempotency_key").is_some() {
                    request["idempotency_key"] = fresh_key().into();
                }
                let handler = async move |_| Ok(Direct::HandOff(handed_off));
                let answer = answer_by(&world.handoff, DISCOVERY, &request, handler).await.unwrap();
                assert_eq!((answer.status.as_str(), &answer.body["context"]), ("submitted", &request["context"]));
                if !is_task {
                    let completion = decision::complete(&json!({"products": []}));
                    world.handoff.resolve(&handoff_client::Viewer::Operator, &answer.task_id, completion).await.unwrap();
                }
                world.reaches(&answer.task_id, TaskStatus::Completed).await;
                world.closed(&answer.task_id).await;
                assert!(world.calls.of("decide", &answer.task_id).is_empty(), "decided a second time");
                if request.get("idempotency_key").is_some() {
                    let replay = answer_by(&world.handoff, DISCOVERY, &request, never).await.unwrap();
                    assert_eq!((replay.task_id, replay.status.as_str()), (answer.task_id, "submitted"));
                }
            }
        }
    }

    async fn when_the_budget_ends_a_run_decides(world: World) {
        let _worker = world.worker().await.unwrap();
        let impatient = process(&world, Duration::from_millis(300)).await;
        for request in [request(&fresh_key(), json!({"arm": "task"})), json!({"lab": {"arm": "task"}})] {
            let answer = answer_by(&impatient, DISCOVERY, &request, hangs).await.unwrap();
            assert_eq!(answer.status, "submitted");
            world.reaches(&answer.task_id, TaskStatus::Completed).await;
            assert_eq!(world.calls.of("decide", &answer.task_id), ["1"]);
        }
    }

    async fn duplicates_of_a_dead_process_are_answered_by_one_run(world: World) {
        let _worker = world.worker().await.unwrap();
        let dead = process(&world, Duration::from_millis(100)).await;
        let request = request(&fresh_key(), json!({"arm": "complete"}));
        // It dies with its claim: what its task would have done is dropped with its runtime.
        let (dying, text) = (dead.clone(), request.clone());
        let claimed = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let begun = Arc::new(tokio::sync::Notify::new());
                let has_begun = begun.clone();
                let hangs = async move |_| {
                    has_begun.notify_one();
                    std::future::pending().await
                };
                tokio::select! {
                    answer = answer_by(&dying, DISCOVERY, &text, hangs) => panic!("{answer:?}"),
                    () = begun.notified() => {}
                }
            });
        });
        tokio::task::spawn_blocking(move || claimed.join().unwrap()).await.unwrap();
        assert_eq!(world.unfinished().await.len(), 1);
        let duplicates = (0..10).map(|_| {
            let (handoff, request) = (world.handoff.clone(), request.clone());
            async move { answer_by(&handoff, DISCOVERY, &request, never).await.unwrap() }
        });
        let answers = join_all(duplicates).await;
        assert!(answers.iter().all(|answer| answer.replayed && answer.task_id == answers[0].task_id), "{answers:?}");
        assert_eq!(world.calls.of("decide", &answers[0].task_id), ["1"]);
    }

    async fn a_hand_off_whose_run_never_started_is_taken_back(world: World) {
        // Without a worker nobody accepts: the process that handed off dies before its start.
        let handoff = process(&world, Duration::from_millis(100)).await;
        let task = world.reference("task_never_started");
        let task = handoff_proto::v1::TaskRef { verb: DISCOVERY.into(), ..task };
        let claim = handoff_store::NewClaim {
            task: task.clone(),
            protocol: "media-buy".into(),
            idempotency_key: None,
            request_hash: "h".into(),
            context_json: None,
            webhook: None,
            proposal: None,
            release: Release::LATEST,
            sandbox: false,
        };
        let lease = handoff_store::Lease { until: i64::MAX, rerunnable: true };
        handoff.registry().claim_directly(&claim, &lease).await.unwrap();
        handoff.registry().record_direct(&task, &to_task(), &lease).await.unwrap();
        let report = world.handoff.reconcile(false, Duration::ZERO).await.unwrap();
        assert_eq!(report.count(&ReconcileAction::Discarded), 1, "{report:?}");
        assert!(world.task(&task.task_id).await.is_none(), "nobody was told");
    }
}
