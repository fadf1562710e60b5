//! The three that are compared, each a worker process of its own, all called from here in the same way.

use crate::{
    bare::{Bare, BareInput},
    process,
    seller::VERB,
};
use anyhow::{Context, Result, ensure};
use handoff_client::{Caller, Config, Handoff};
use handoff_proto::{v1::TaskRef, workflows::VerbWorkflow};
use handoff_tests::{Process, fresh_key};
use serde::Serialize;
use serde_json::{Value, json};
use std::{env, path::Path};
use temporalio_client::{
    Client, UntypedSignal, UntypedWorkflow, WorkflowIdConflictPolicy, WorkflowIdReusePolicy,
    WorkflowUpdateWithStartOptions,
};
use temporalio_common::{data_converters::RawValue, protos::temporal::api::common::v1::Payload};
use tokio::process::Command;

/// The account that all requests are for.
pub(crate) const SCOPE: &str = "acct_bench";
const PRINCIPAL: &str = "agent.bench.example";

/// Who runs the workflows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Side {
    Handoff,
    Rust,
    Python,
}

/// What a request comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Shape {
    /// Answered at once.
    Answer,
    /// `submitted`, then an activity.
    Task,
    /// `submitted` after an activity, then a decision from outside.
    Workflow,
}

impl Shape {
    pub(crate) const ALL: [Self; 3] = [Self::Answer, Self::Task, Self::Workflow];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Task => "task",
            Self::Workflow => "workflow",
        }
    }
}

/// A worker, and how it is called.
pub(crate) struct Peer {
    pub(crate) side: Side,
    pub(crate) worker: Process,
    client: Client,
    task_queue: String,
    handoff: Option<Handoff>,
}

impl Peer {
    /// Starts Handoff's worker.
    pub(crate) async fn handoff(config: Config, cached: usize, scratch: &Path) -> Result<Self> {
        let mut command = worker(process::own()?, "handoff", &config.task_queue, cached);
        command.env("TEMPORAL_ADDRESS", config.temporal.address.as_deref().unwrap_or_default());
        command.env("HANDOFF_REGISTRY_URL", &config.registry_url).current_dir(scratch);
        let worker = Process::start(&mut command)?;
        let handoff = Handoff::connect(config).await?;
        let (client, task_queue) = (handoff.temporal()?.clone(), handoff.config().task_queue.clone());
        Ok(Self { side: Side::Handoff, worker, client, task_queue, handoff: Some(handoff) })
    }

    /// Starts the bare worker in this SDK.
    pub(crate) fn rust(client: Client, address: &str, cached: usize) -> Result<Self> {
        let task_queue = "bench-rust".to_owned();
        let mut command = worker(Command::new(env::current_exe()?), "bare", &task_queue, cached);
        let worker = Process::start(command.env("TEMPORAL_ADDRESS", address))?;
        Ok(Self { side: Side::Rust, worker, client, task_queue, handoff: None })
    }

    /// Starts the bare worker in Python's SDK.
    pub(crate) fn python(client: Client, address: &str, cached: usize) -> Result<Self> {
        let task_queue = "bench-python".to_owned();
        let python = env::var_os("HANDOFF_PYTHON").context("HANDOFF_PYTHON is not set: run make bench")?;
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/programs/bench_worker.py");
        let mut command = Command::new(python);
        command.arg(program).args([address, &task_queue]).arg(cached.to_string());
        let worker = Process::start(&mut command)?;
        Ok(Self { side: Side::Python, worker, client, task_queue, handoff: None })
    }

    /// Sends a request and waits for its answer: the result or `submitted`. Returns the run's workflow id.
    pub(crate) async fn submit(&self, shape: Shape) -> Result<String> {
        match &self.handoff {
            Some(handoff) => {
                let body = request(shape).to_string();
                let answer = handoff.call(&Caller::new(SCOPE, PRINCIPAL), VERB, body.as_bytes()).await?;
                ensure!((answer.status == "completed") == (shape == Shape::Answer), "{}", answer.body);
                let task = TaskRef { task_id: answer.task_id, scope: SCOPE.into(), ..Default::default() };
                Ok(task.workflow_id())
            }
            None => {
                let workflow_id = fresh_key();
                let options = WorkflowUpdateWithStartOptions::new(
                    self.task_queue.clone(),
                    workflow_id.clone(),
                    WorkflowIdConflictPolicy::UseExisting,
                )
                .id_reuse_policy(WorkflowIdReusePolicy::RejectDuplicate)
                .update_id("outcome".to_owned())
                .build();
                let input = BareInput { shape: shape.name().to_owned(), request: request(shape) };
                let told: Value = self
                    .client
                    .execute_update_with_start_workflow(Bare::run, input, Bare::outcome, (), options)
                    .await?;
                ensure!((told != "submitted") == (shape == Shape::Answer), "{told}");
                Ok(workflow_id)
            }
        }
    }

    /// Decides on a waiting run.
    pub(crate) async fn complete(&self, workflow_id: &str) -> Result<()> {
        let metadata = [("encoding".to_owned(), b"json/plain".to_vec())].into();
        let payload = Payload { metadata, data: br#"{"media_buy_id":"mb"}"#.to_vec(), ..Default::default() };
        let run = self.client.get_workflow_handle::<VerbWorkflow>(workflow_id);
        let signal = UntypedSignal::<VerbWorkflow>::new("complete");
        Ok(run.signal(signal, RawValue::new(vec![payload]), Default::default()).await?)
    }

    /// Waits until a run has closed.
    pub(crate) async fn closed(&self, workflow_id: &str) -> Result<()> {
        match self.side {
            Side::Handoff => {
                let run = self.client.get_workflow_handle::<VerbWorkflow>(workflow_id);
                ensure!(run.get_result(Default::default()).await?.status == "completed", "{workflow_id}");
            }
            Side::Rust | Side::Python => {
                let run = self.client.get_workflow_handle::<UntypedWorkflow>(workflow_id);
                run.get_result(Default::default()).await?;
            }
        }
        Ok(())
    }

    /// From the request to the closed run. A waiting run is decided on as soon as `submitted` was said.
    pub(crate) async fn live(&self, shape: Shape) -> Result<String> {
        let workflow_id = self.submit(shape).await?;
        if shape == Shape::Workflow {
            self.complete(&workflow_id).await?;
        }
        self.closed(&workflow_id).await?;
        Ok(workflow_id)
    }

    /// A closed run's events, and how many of its workflow tasks were completed.
    pub(crate) async fn history(&self, workflow_id: &str) -> Result<(usize, usize)> {
        let run = self.client.get_workflow_handle::<VerbWorkflow>(workflow_id);
        let events = run.fetch_history(Default::default()).into_events().await?;
        let turns = events.iter().filter(|event| event.event_type().as_str_name().ends_with("WORKFLOW_TASK_COMPLETED"));
        Ok((events.len(), turns.count()))
    }
}

fn request(shape: Shape) -> Value {
    json!({
        "idempotency_key": fresh_key(),
        "account": {"account_id": SCOPE},
        "media_buy_id": "mb",
        "arm": shape.name(),
        // A media buy with a handful of packages is about this large.
        "ext": {"filler": "x".repeat(1_500)},
    })
}

// This program as a worker.
fn worker(mut program: Command, kind: &str, task_queue: &str, cached: usize) -> Command {
    program.args(["worker", kind, "--task-queue", task_queue, "--cached", &cached.to_string()]);
    program
}
