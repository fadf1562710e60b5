//! Everything that one test needs, of its own: a registry database, a task queue, a lab directory; and a Temporal server.

use crate::{
    Counts, Database, InProcessWorker, Kind, Process, Temporal, binary, eventually, eventually_within,
    lab::{Calls, Fault, handlers},
    site::{Site, environment},
};
use anyhow::{Context, Result};
use handoff_activities::{ActivityTimeouts, seller::Handlers};
use handoff_client::{Answer, CallError, Caller, Config, Handoff, HousekeepingSettings, temporal};
use handoff_proto::{
    v1::{TaskRecord, TaskRef, WorkflowStatus},
    wire::{Recovery, TaskStatus},
    workflows::{StatusQuery, VerbWorkflow},
};
use handoff_store::{Registry, Viewer};
use handoff_worker::{Role, WorkerSettings};
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tempfile::TempDir;
use temporalio_client::{Client, UntypedSignal};
use temporalio_common::{data_converters::RawValue, protos::temporal::api::common::v1::Payload};
use tokio::{process::Command, task::JoinHandle};

/// The account of all requests that don't say otherwise.
pub const SCOPE: &str = "acct_pinnacle";
/// The agent of all requests that don't say otherwise.
pub const PRINCIPAL: &str = "agent.pinnacle.example";

// Some calls that each wait as long as a call does.
const BUYERS_PATIENCE: Duration = Duration::from_secs(180);

/// An idempotency key that nobody has used.
pub fn fresh_key() -> String {
    format!("key-{}", uuid::Uuid::now_v7().simple())
}

/// A test's own world.
pub struct World {
    /// The Temporal server.
    pub temporal: Temporal,
    /// A connection to it.
    pub temporal_client: Client,
    /// The registry.
    pub registry: Arc<dyn Registry>,
    /// The client under test.
    pub handoff: Handoff,
    /// What the lab seller did.
    pub calls: Calls,
    config: Config,
    // How long a run waits for a worker that is gone.
    sticky_timeout: Duration,
    database: Database,
    _lab: TempDir,
}

impl World {
    /// On the shared Temporal server.
    pub async fn new(kind: Kind) -> Result<Self> {
        Self::on(Temporal::shared().await?, kind, |_| ()).await
    }

    /// On a Temporal server of its own, which the test may kill.
    pub async fn with_own_temporal(kind: Kind) -> Result<Self> {
        Self::with_own_temporal_configured(kind, |_| ()).await
    }

    /// On a Temporal server of its own, with a configuration of its own.
    pub async fn with_own_temporal_configured(kind: Kind, configure: impl FnOnce(&mut Config)) -> Result<Self> {
        Self::on(Temporal::own().await?, kind, configure).await
    }

    /// On the shared Temporal server, with a configuration of its own.
    pub async fn configured(kind: Kind, configure: impl FnOnce(&mut Config)) -> Result<Self> {
        Self::on(Temporal::shared().await?, kind, configure).await
    }

    /// On this Temporal server, with a configuration of its own.
    pub async fn on(temporal_server: Temporal, kind: Kind, configure: impl FnOnce(&mut Config)) -> Result<Self> {
        Self::at(Site::new(temporal_server, kind, configure).await?).await
    }

    async fn at(site: Site) -> Result<Self> {
        let Site { temporal, database, lab, config } = site;
        let temporal_client = temporal::connect(&config).await?;
        let registry = handoff_store::connect(&config.registry_url, config.registry_options()?).await?;
        let handoff = Handoff::from_parts(temporal_client.clone(), registry.clone(), config.clone());
        Ok(Self {
            temporal,
            temporal_client,
            registry,
            handoff,
            calls: Calls::new(lab.path()),
            config,
            sticky_timeout: Duration::from_secs(1),
            database,
            _lab: lab,
        })
    }

    /// One whose registry an earlier build has made, and the worker of that build.
    pub async fn of_the_previous_build(kind: Kind) -> Result<(Self, Process)> {
        let site = Site::new(Temporal::shared().await?, kind, |_| ()).await?;
        let program = std::env::var_os("HANDOFF_TEST_PREVIOUS_LAB_SELLER").context("run make test")?;
        let worker = Process::start(&mut site.lab_seller(program))?;
        site.is_worked_at().await?;
        Ok((Self::at(site).await?, worker))
    }

    /// The same, where no worker is killed: a run waits for the worker that has it in memory, however busy the machine is. To go
    /// on elsewhere would be events of its own.
    #[must_use]
    pub fn of_lasting_workers(mut self) -> Self {
        self.sticky_timeout = Duration::from_secs(60);
        self
    }

    /// The configuration of this world.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// A client that differs from this world's in its configuration alone.
    pub fn client(&self, configure: impl FnOnce(&mut Config)) -> Handoff {
        let mut config = self.config.clone();
        configure(&mut config);
        Handoff::from_parts(self.temporal_client.clone(), self.registry.clone(), config)
    }

    /// A client that promises an answer within this time. How late the answer may come is no matter here: machines are busy.
    pub fn prompt(&self, sync_deadline: Duration) -> Handoff {
        self.client(|config| (config.sync_deadline, config.grace) = (sync_deadline, Duration::from_secs(60)))
    }

    /// A connection of its own, of a process that is configured a little differently.
    pub async fn connect(&self, configure: impl FnOnce(&mut Config)) -> Result<Client> {
        let mut config = self.config.clone();
        configure(&mut config);
        Ok(temporal::connect(&config).await?)
    }

    /// A client of its own, of a process that is configured a little differently.
    pub async fn connected(&self, configure: impl FnOnce(&mut Config)) -> Result<Handoff> {
        let mut config = self.config.clone();
        configure(&mut config);
        Ok(Handoff::connect(config).await?)
    }

    /// A lab seller's worker in this process.
    pub async fn worker(&self) -> Result<InProcessWorker> {
        self.worker_of(self.temporal_client.clone(), handlers(self.calls.clone())).await
    }

    /// A lab seller's worker in this process that does a part of the work.
    pub async fn worker_in_role(&self, role: Role) -> Result<InProcessWorker> {
        let seller = handlers(self.calls.clone());
        let settings = WorkerSettings { role, ..self.settings(&self.config, unkept()) };
        self.start_worker(&self.config, self.temporal_client.clone(), seller, settings).await
    }

    /// A worker in this process, of these handlers and on this connection.
    pub async fn worker_of(&self, client: Client, seller: Handlers) -> Result<InProcessWorker> {
        self.start_worker(&self.config, client, seller, self.settings(&self.config, unkept())).await
    }

    /// A worker in this process, of these handlers, that is configured a little differently.
    pub async fn worker_with(&self, configure: impl FnOnce(&mut Config), seller: Handlers) -> Result<InProcessWorker> {
        let mut config = self.config.clone();
        configure(&mut config);
        self.start_worker(&config, temporal::connect(&config).await?, seller, self.settings(&config, unkept())).await
    }

    /// A lab seller's worker in this process that keeps a schedule of housekeeping.
    pub async fn keeping_worker(&self, housekeeping: HousekeepingSettings) -> Result<InProcessWorker> {
        let seller = handlers(self.calls.clone());
        let settings = self.settings(&self.config, housekeeping);
        self.start_worker(&self.config, self.temporal_client.clone(), seller, settings).await
    }

    fn settings(&self, config: &Config, housekeeping: HousekeepingSettings) -> WorkerSettings {
        WorkerSettings {
            task_queue: config.task_queue.clone(),
            sticky_timeout: self.sticky_timeout,
            shutdown_grace: Duration::from_secs(2),
            housekeeping,
            webhooks: config.webhooks.clone(),
            timeouts: ActivityTimeouts { sandbox_review: config.sandbox_review_delay, ..Default::default() },
            ..WorkerSettings::default()
        }
    }

    async fn start_worker(
        &self,
        config: &Config,
        client: Client,
        seller: Handlers,
        settings: WorkerSettings,
    ) -> Result<InProcessWorker> {
        // A registry of its own: a pool's connections end with the runtime that opened them, and the worker's ends first.
        let registry = handoff_store::connect(&config.registry_url, config.registry_options()?).await?;
        InProcessWorker::start(client, registry, seller, settings).await
    }

    /// A lab seller's worker as a process.
    pub fn worker_process(&self) -> Result<Process> {
        Process::start(&mut self.lab_seller())
    }

    /// A lab seller's worker as a process, with these variables too.
    pub fn worker_process_with(&self, variables: &[(&str, &str)]) -> Result<Process> {
        Process::start(self.lab_seller().envs(variables.iter().copied()))
    }

    /// Runs a statement on the registry's database.
    pub async fn execute(&self, sql: &str) -> Result<()> {
        self.database.execute(sql).await
    }

    /// A lab seller's worker as a process that dies, once, at this point.
    pub fn faulty_worker_process(&self, fault: &Fault) -> Result<Process> {
        Process::start(self.lab_seller().env("LAB_FAULT", fault.to_string()))
    }

    /// A call of the usual buyer's in the sandbox, of a seller who lets compliance tests control that, by a process that dies, once,
    /// at this point.
    pub fn faulty_call_process(&self, verb: &str, request: &Value, fault: &Fault) -> Result<Process> {
        let mut command = self.lab_seller();
        command.env("LAB_CALL", format!("{verb} {request}")).env("LAB_FAULT", fault.to_string());
        Process::start(command.env("HANDOFF_COMPLIANCE_TESTING", "true"))
    }

    /// What clears the sandbox, as a process that dies, once, at this point.
    pub fn faulty_reset_process(&self, fault: &Fault) -> Result<Process> {
        let mut command = self.lab_seller();
        command.env("LAB_RESET", "").env("LAB_FAULT", fault.to_string());
        Process::start(command.env("HANDOFF_COMPLIANCE_TESTING", "true"))
    }

    /// A lab seller's worker as a process with more settings, whose log goes to a file.
    pub fn logging_worker_process(&self, environment: &[(&str, &str)], log: &std::path::Path) -> Result<Process> {
        let log = std::fs::File::create(log)?;
        Process::start(self.lab_seller().envs(environment.iter().copied()).stderr(log))
    }

    /// What this world's own Temporal server has counted.
    pub async fn counts(&self) -> Result<Counts> {
        self.temporal.counts(&self.temporal_client).await
    }

    /// The environment in which `handoff`, `acme-seller` and the like find this world.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        environment(&self.config, &self.temporal, &self.database)
    }

    /// Where the lab seller writes down its calls.
    pub fn lab_directory(&self) -> &std::path::Path {
        self._lab.path()
    }

    /// The registry's database takes no connection, and loses those that it has; or takes them again.
    pub async fn database_away(&self, away: bool) -> Result<()> {
        self.database.away(away).await
    }

    fn lab_seller(&self) -> Command {
        let mut command = Command::new(binary("lab-seller"));
        command.envs(self.environment()).env("LAB_DIR", self._lab.path());
        command
    }

    /// Calls a verb as the usual buyer, with a fresh key, and these instructions to the lab seller.
    pub async fn call(&self, verb: &str, lab: Value) -> Result<Answer, CallError> {
        self.send(verb, &request(&fresh_key(), lab)).await
    }

    /// Sends a request as the usual buyer.
    pub async fn send(&self, verb: &str, request: &Value) -> Result<Answer, CallError> {
        self.handoff.call(&Caller::new(SCOPE, PRINCIPAL), verb, request.to_string().as_bytes()).await
    }

    /// The id of the task that this call submits.
    pub async fn submit(&self, verb: &str, lab: Value) -> String {
        self.submitted(verb, &request(&fresh_key(), lab)).await
    }

    /// The id of the task that this request submits. As a buyer does: what was not answered in time is sent again, with its key.
    pub async fn submitted(&self, verb: &str, request: &Value) -> String {
        eventually_within(BUYERS_PATIENCE, "the request is submitted", || async {
            match self.send(verb, request).await {
                Ok(answer) => {
                    assert_eq!(answer.status, "submitted", "{}", answer.body);
                    Some(answer.task_id)
                }
                Err(CallError::Refused(error)) if error.recovery == Recovery::Transient => None,
                Err(error) => panic!("{error:?}"),
            }
        })
        .await
    }

    /// Sends a request in the background, and waits until the lab seller decides on it: the task's id, and the answer
    /// to come.
    pub async fn begin(&self, verb: &'static str, request: &Value) -> (String, JoinHandle<Result<Answer, CallError>>) {
        let (known, handoff, request) = (self.unfinished().await, self.handoff.clone(), request.to_string());
        let calling = async move { handoff.call(&Caller::new(SCOPE, PRINCIPAL), verb, request.as_bytes()).await };
        let answer = tokio::spawn(calling);
        let task_id = eventually("the request is claimed", || async {
            self.unfinished().await.into_iter().find(|task_id| !known.contains(task_id))
        })
        .await;
        self.called("decide", &task_id).await;
        (task_id, answer)
    }

    /// The ids of requests that are not at their end, visible or not.
    pub async fn unfinished(&self) -> Vec<String> {
        let observed = self.registry.unfinished(i64::MAX, None, 100).await.expect("the registry answers");
        observed.into_iter().map(|observation| observation.task.task_id).collect()
    }

    /// Sends a signal with these payloads to a task's run.
    pub async fn signal(&self, task_id: &str, name: &str, payloads: Vec<Payload>) {
        let signal = UntypedSignal::<VerbWorkflow>::new(name);
        self.run(task_id).signal(signal, RawValue::new(payloads), Default::default()).await.expect("the run is open");
    }

    /// What a run says about itself.
    pub async fn status(&self, task_id: &str) -> WorkflowStatus {
        self.run(task_id).query(StatusQuery, (), Default::default()).await.expect("the run answers")
    }

    /// A task as an operator sees it, with its history.
    pub async fn task(&self, task_id: &str) -> Option<TaskRecord> {
        // A busy machine may make the database give up a transaction: that is for the caller to repeat.
        eventually("the registry answers", || async {
            match self.registry.get(&Viewer::Operator, task_id, true).await {
                Ok(task) => Some(task),
                Err(error) => {
                    assert!(error.is_transient(), "{error}");
                    None
                }
            }
        })
        .await
    }

    /// Waits until a task has this status.
    pub async fn reaches(&self, task_id: &str, status: TaskStatus) -> TaskRecord {
        eventually(&format!("{task_id} is {status}"), || async {
            let task = self.task(task_id).await?;
            let reached: TaskStatus = task.status.parse().expect("a status of the protocol");
            assert!(reached == status || !reached.is_terminal(), "{task_id} ended as {reached}: {task:?}");
            (reached == status).then_some(task)
        })
        .await
    }

    /// Waits until the run of a task has closed, and returns the names of its history's events.
    pub async fn closed(&self, task_id: &str) -> Vec<String> {
        let task = self.reference(task_id);
        let handle =
            self.temporal_client.get_workflow_handle::<handoff_proto::workflows::VerbWorkflow>(task.workflow_id());
        eventually(&format!("the run of {task_id} is closed"), || async {
            let status = handle.describe(Default::default()).await.ok()?.status();
            (status != temporalio_client::WorkflowExecutionStatus::Running).then_some(())
        })
        .await;
        self.events(task_id).await
    }

    /// The names of a run's history events.
    pub async fn events(&self, task_id: &str) -> Vec<String> {
        let task = self.reference(task_id);
        let handle =
            self.temporal_client.get_workflow_handle::<handoff_proto::workflows::VerbWorkflow>(task.workflow_id());
        let history = handle.fetch_history(Default::default()).into_events().await.expect("the history can be read");
        history
            .iter()
            .map(|event| event.event_type().as_str_name().trim_start_matches("EVENT_TYPE_").to_owned())
            .collect()
    }

    /// The reference of a task of the usual buyer, for its workflow id.
    pub fn reference(&self, task_id: &str) -> TaskRef {
        TaskRef { task_id: task_id.into(), scope: SCOPE.into(), principal: PRINCIPAL.into(), verb: String::new() }
    }

    /// The handle of a task's run.
    pub fn run(
        &self,
        task_id: &str,
    ) -> temporalio_client::WorkflowHandle<Client, handoff_proto::workflows::VerbWorkflow> {
        self.temporal_client.get_workflow_handle(self.reference(task_id).workflow_id())
    }

    /// Waits until the lab seller has called this handler for any task, and says for which one first.
    pub async fn called_for(&self, handler: &str) -> String {
        eventually(&format!("{handler} is called"), || async { self.calls.tasks(handler).into_iter().next() }).await
    }

    /// Panics unless the lab seller's handler was called for this task, and no attempt of it twice. An attempt that a busy machine
    /// was too slow for is followed by another, which has another number; that of a second call would be the first again.
    pub fn asked_once(&self, handler: &str, task_id: &str) {
        let attempts = self.calls.of(handler, task_id);
        let distinct: BTreeSet<&String> = attempts.iter().collect();
        assert!(!attempts.is_empty() && distinct.len() == attempts.len(), "{handler} for {task_id}: {attempts:?}");
    }

    /// Waits until the lab seller has called this handler for a task.
    pub async fn called(&self, handler: &str, task_id: &str) {
        eventually(&format!("{handler} is called for {task_id}"), || async {
            (!self.calls.of(handler, task_id).is_empty()).then_some(())
        })
        .await;
    }
}

/// A payload as another language's SDK, or a person at a terminal, would send it.
pub fn payload(encoding: &str, data: impl Into<Vec<u8>>) -> Payload {
    let metadata = [("encoding".to_owned(), encoding.as_bytes().to_vec())].into();
    Payload { metadata, data: data.into(), ..Default::default() }
}

/// A request to the lab seller.
pub fn request(key: &str, lab: Value) -> Value {
    json!({"idempotency_key": key, "context": {"correlation_id": "it"}, "lab": lab})
}

fn unkept() -> HousekeepingSettings {
    HousekeepingSettings { every: None, ..HousekeepingSettings::default() }
}
