use handoff::{Seller, prelude::*};
use handoff_proto::{
    v1,
    workflows::{CompleteSignal, OutcomeUpdate, VerbWorkflow},
};
use handoff_tests::{Database, InProcessWorker, Kind, Temporal};
use temporalio_client::*;

async fn create(_: Context<()>, request: Value) -> Result<Decision, AdcpError> {
    match request["arm"].as_str().unwrap_or("") {
        "task" => Ok(Decision::handoff_to_task("work", json!({"n": 1}))),
        "workflow" => Ok(Decision::handoff_to_workflow("review", json!({"n": 1}))),
        "refuse" => Err(AdcpError::correctable("BUDGET_TOO_LOW", "more")),
        _ => Ok(Decision::complete(json!({"media_buy_id": "mb"}))),
    }
}
async fn work(ctx: TaskContext<()>, _: Value) -> Result<Value, AdcpError> {
    ctx.progress(Progress::step(1, 2, "x")).await?;
    Ok(json!({"media_buy_id": "mb2"}))
}
async fn review(_: Context<()>, _: Value) -> Result<handoff::prelude::Acknowledgement, AdcpError> {
    Ok(Acknowledgement::wilco())
}

#[tokio::test(flavor = "multi_thread")]
async fn smoke() {
    tracing_subscriber::fmt().with_max_level(tracing_subscriber::filter::LevelFilter::WARN).init();
    let temporal = Temporal::shared().await.unwrap();
    let db = Database::create(Kind::Sqlite).await.unwrap();
    let registry = handoff_store::connect(db.url(), Default::default()).await.unwrap();
    let conn = Connection::connect(
        ConnectionOptions::new(format!("http://{}", temporal.address()).parse::<url::Url>().unwrap())
            .identity("t")
            .build(),
    )
    .await
    .unwrap();
    let client = Client::new(conn, ClientOptions::new("default").build()).unwrap();
    for quick in [false, true] {
        let v = verb(create).hands_off_to(["work", "review"]);
        let v = if quick { v.quick() } else { v };
        let handlers = Seller::new("t", ())
            .verb("create_media_buy", v)
            .task("work", work)
            .enqueue("review", review)
            .on(|c: TaskCompleted| async move {
                println!("completed {:?}", c.task.task_id);
                Acknowledgement::roger()
            })
            .into_handlers()
            .unwrap();
        let settings = handoff_worker::WorkerSettings { task_queue: format!("q{quick}"), ..Default::default() };
        let worker = InProcessWorker::start(client.clone(), registry.clone(), handlers, settings).await.unwrap();
        for arm in ["sync", "task", "workflow", "refuse"] {
            let task = v1::TaskRef {
                task_id: handoff_proto::TaskId::generate().to_string(),
                scope: "a".into(),
                principal: "p".into(),
                verb: "create_media_buy".into(),
            };
            registry
                .claim(&handoff_store::NewClaim {
                    task: task.clone(),
                    protocol: "media-buy".into(),
                    idempotency_key: None,
                    request_hash: "h".into(),
                    context_json: None,
                    has_webhook: false,
                })
                .await
                .unwrap();
            let input = v1::TaskInput {
                task: Some(task.clone()),
                request_json: json!({"arm": arm}).to_string(),
                sync_deadline: Some(v1::ProtoDuration { seconds: 5, nanos: 0 }),
                ..Default::default()
            };
            let t = std::time::Instant::now();
            let out = client
                .execute_update_with_start_workflow(
                    VerbWorkflow::new("create_media_buy"),
                    input,
                    OutcomeUpdate,
                    (),
                    WorkflowUpdateWithStartOptions::new(
                        format!("q{quick}"),
                        task.workflow_id(),
                        WorkflowIdConflictPolicy::UseExisting,
                    )
                    .id_reuse_policy(WorkflowIdReusePolicy::RejectDuplicate)
                    .update_id("outcome".to_string())
                    .build(),
                )
                .await;
            println!("{arm} {:?} {out:?}", t.elapsed());
            let h = client.get_workflow_handle::<VerbWorkflow>(task.workflow_id());
            if arm == "workflow" {
                let pc = temporalio_common::data_converters::PayloadConverter::default();
                h.signal(
                    CompleteSignal,
                    temporalio_common::data_converters::RawValue::from_value(&json!({"nope": [1]}), &pc),
                    Default::default(),
                )
                .await
                .unwrap();
            }
            println!("   {:?}", h.get_result(Default::default()).await);
            println!(
                "   {:?}",
                registry.get(&handoff_store::Viewer::Operator, &task.task_id, true).await.map(|t| t.map(|t| (
                    t.status,
                    t.result_json,
                    t.history.iter().map(|h| h.event.clone()).collect::<Vec<_>>()
                )))
            );
            let ev = h.fetch_history(Default::default()).into_events().await.unwrap();
            println!(
                "   {} {:?}",
                ev.len(),
                ev.iter()
                    .map(|e| e.event_type().as_str_name().trim_start_matches("EVENT_TYPE_").to_string())
                    .collect::<Vec<_>>()
            );
        }
        worker.stop().await;
    }
}
