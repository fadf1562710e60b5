//! A worker: polls Temporal, runs verb workflows and their activities.

use crate::housekeeping::{self, HousekeepingActivities};
use anyhow::{Context, Result};
use handoff_activities::{
    Activities, ActivityTimeouts, GovernanceAgents, Notifier, WebhookActivities, seller::Handlers,
};
use handoff_client::{
    Config, Environment, HousekeepingSettings, SenderError, WebhookSettings, housekeeping::Housekeeper,
};
use handoff_gateway::Contract;
use handoff_proto::{convert::to_proto_duration, v1::WebhookPlan, verbs::VERBS, workflows::publish_task_queue};
use handoff_store::Registry;
use handoff_telemetry::{Metrics, OpenTasksWatch};
use handoff_workflows::{Reconcile, Redelivery, VerbRun, as_workflow_type};
use std::{sync::Arc, time::Duration};
use temporalio_client::Client;
use temporalio_common::{
    telemetry::TelemetryOptions,
    worker::{VersioningBehavior, WorkerDeploymentOptions, WorkerDeploymentVersion},
};
use temporalio_sdk::{Runtime, WorkerOptions, runtime::RuntimeOptions};

/// How a worker runs.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// The task queue that it polls.
    pub task_queue: String,
    /// Runs kept in memory; others are rebuilt from their history when something happens to them.
    pub max_cached_workflows: usize,
    /// How long a run's next workflow task waits for the worker that has it in memory before any worker may take it. After a
    /// crash this is the delay until the run goes on.
    pub sticky_timeout: Duration,
    /// After the order to stop, how long running work may go on before it is handed over to another worker.
    pub shutdown_grace: Duration,
    /// How long verb handlers may take.
    pub timeouts: ActivityTimeouts,
    /// Deployment name and build id for Temporal's worker versioning, with AutoUpgrade; none: unversioned.
    pub deployment: Option<(String, String)>,
    /// Where the SDK's instruments go, and the count of open tasks: nowhere unless told.
    pub metrics: Metrics,
    /// How webhooks are sent.
    pub webhooks: WebhookSettings,
    /// How the seller calls itself to governance agents: the URL of its MCP endpoint.
    pub agent_url: String,
    /// Whether durability and safety are required.
    pub environment: Environment,
    /// Which part of the work it does.
    pub role: Role,
    /// How requests are looked after that nobody drives, or nobody needs. Of several workers on a task queue, the last that
    /// started says.
    pub housekeeping: HousekeepingSettings,
    /// What the seller's results are checked against before they are recorded: nothing unless told.
    pub contract: Contract,
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self {
            task_queue: handoff_proto::workflows::DEFAULT_TASK_QUEUE.to_owned(),
            max_cached_workflows: 1000,
            sticky_timeout: Duration::from_secs(5),
            shutdown_grace: Duration::from_secs(10),
            timeouts: ActivityTimeouts::default(),
            deployment: None,
            metrics: Metrics::off(),
            webhooks: WebhookSettings::default(),
            agent_url: Config::default().agent_url(),
            environment: Environment::default(),
            role: Role::default(),
            housekeeping: HousekeepingSettings::default(),
            contract: Contract::default(),
        }
    }
}

/// Which part of the work a worker does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// All of it.
    #[default]
    All,
    /// Everything but sending webhooks.
    Engine,
    /// Sending webhooks alone: for workers that may reach the internet, where the others may not.
    Publisher,
}

/// A worker, connected and checked, ready to run.
pub struct Worker {
    engine: Option<temporalio_sdk::Worker>,
    publisher: Option<temporalio_sdk::Worker>,
    _open_tasks: OpenTasksWatch,
    temporal: Client,
    task_queue: String,
    housekeeping: HousekeepingSettings,
}

impl Worker {
    /// Connects a seller's handlers with Temporal and the registry. Every verb's workflow type is registered: a run of a verb that
    /// this seller does not offer is refused by its activities, not left hanging.
    pub fn new(
        client: Client,
        registry: Arc<dyn Registry>,
        handlers: Handlers,
        settings: &WorkerSettings,
    ) -> Result<Self> {
        let runtime = Runtime::from_current_tokio(
            RuntimeOptions::builder()
                .telemetry_options(
                    // The SDK logs where this process does.
                    TelemetryOptions::builder()
                        .maybe_metrics(settings.metrics.core_meter())
                        .attach_service_name(false)
                        .build(),
                )
                .build()
                .map_err(|error| anyhow::anyhow!("the Temporal runtime can't be set up: {error}"))?,
        )?;
        let open_tasks = settings.metrics.watch_open_tasks(registry.clone());
        let engine = match settings.role {
            Role::Publisher => None,
            Role::All | Role::Engine => Some(engine(&runtime, &client, &registry, handlers, settings)?),
        };
        let publisher = match settings.role {
            Role::Engine => None,
            Role::All | Role::Publisher => publisher(&runtime, &client, registry, settings)?,
        };
        Ok(Self {
            engine,
            publisher,
            temporal: client,
            task_queue: settings.task_queue.clone(),
            housekeeping: settings.housekeeping,
            _open_tasks: open_tasks,
        })
    }

    /// What stops it: running work may finish within the grace period, and the rest is handed over.
    pub fn shutdown_handle(&self) -> impl Fn() + use<> {
        let handles: Vec<_> = self.parts().map(|part| part.shutdown_handle()).collect();
        move || handles.iter().for_each(|stop| stop())
    }

    /// Runs until it is shut down. When one part ends, so does the other.
    pub async fn run(mut self) -> Result<()> {
        let stop = self.shutdown_handle();
        let schedule = self
            .engine
            .is_some()
            .then(|| tokio::spawn(housekeeping::keep_schedule(self.temporal, self.task_queue, self.housekeeping)));
        let part = async |part: &mut Option<temporalio_sdk::Worker>| {
            let ended = match part {
                Some(part) => part.run().await.context("the worker stopped with an error"),
                None => return Ok(()),
            };
            stop();
            ended
        };
        let (engine, publisher) = tokio::join!(part(&mut self.engine), part(&mut self.publisher));
        if let Some(schedule) = schedule {
            schedule.abort();
        }
        engine.and(publisher)
    }

    fn parts(&self) -> impl Iterator<Item = &temporalio_sdk::Worker> {
        self.engine.iter().chain(&self.publisher)
    }
}

/// The part that drives runs and calls the seller's handlers.
fn engine(
    runtime: &Runtime,
    client: &Client,
    registry: &Arc<dyn Registry>,
    handlers: Handlers,
    settings: &WorkerSettings,
) -> Result<temporalio_sdk::Worker> {
    let plan = WebhookPlan {
        task_queue: publish_task_queue(&settings.task_queue),
        horizon: Some(to_proto_duration(settings.webhooks.horizon)),
    };
    let notifier = notifier(registry, settings)?;
    let mut options = WorkerOptions::new(settings.task_queue.clone())
        .max_cached_workflows(settings.max_cached_workflows)
        .sticky_queue_schedule_to_start_timeout(settings.sticky_timeout)
        .graceful_shutdown_period(settings.shutdown_grace)
        // A heartbeat is one small request; what was done since is worth more to the attempt that resumes from it.
        .max_heartbeat_throttle_interval(Duration::from_millis(250))
        .deployment_options(deployment(settings))
        .register_activities(HousekeepingActivities::new(
            Housekeeper::new(client.clone(), registry.clone(), settings.task_queue.clone(), settings.webhooks.horizon),
            settings.metrics.clone(),
        ))
        .register_activities(
            Activities::new(registry.clone(), handlers, settings.timeouts)
                .checking(Some(Arc::new(settings.contract.clone())))
                .with_webhooks(plan)
                .with_notifier(notifier)
                .with_governance(Some(agents(registry, settings))),
        )
        .register_workflow::<Reconcile>()?
        .register_workflow::<Redelivery>()?
        .build();
    for verb in VERBS {
        as_workflow_type(verb.name, || options.register_workflow::<VerbRun>().map(|_| ()))?;
    }
    temporalio_sdk::Worker::new(runtime, client.clone(), options).context("the worker can't be created")
}

/// What asks governance agents.
fn agents(registry: &Arc<dyn Registry>, settings: &WorkerSettings) -> GovernanceAgents {
    let egress = settings.webhooks.egress(settings.environment);
    let egress = egress.inspect_err(|error| tracing::warn!(%error, "this worker can't ask governance agents"));
    GovernanceAgents::new(registry.clone(), egress.ok(), settings.agent_url.as_str())
}

/// What tells webhooks of progress. `None`: it is not wanted, or this process has no way out.
fn notifier(registry: &Arc<dyn Registry>, settings: &WorkerSettings) -> Result<Option<Notifier>> {
    if settings.webhooks.progress == 0 || settings.role != Role::All {
        return Ok(None);
    }
    match settings.webhooks.sender(settings.environment) {
        Ok(sender) => {
            let metrics = settings.metrics.clone();
            Ok(Some(Notifier::new(registry.clone(), sender, settings.webhooks.progress, metrics)))
        }
        // The publisher says so.
        Err(SenderError::Setup(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The part that sends webhooks. `None`: this process can't, and others may.
fn publisher(
    runtime: &Runtime,
    client: &Client,
    registry: Arc<dyn Registry>,
    settings: &WorkerSettings,
) -> Result<Option<temporalio_sdk::Worker>> {
    let sender = match settings.webhooks.sender(settings.environment) {
        Ok(sender) => sender,
        Err(error @ SenderError::Setup(_)) if settings.role == Role::All => {
            tracing::warn!(%error, "this worker sends no webhooks");
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let activities = WebhookActivities::new(registry, sender, settings.webhooks.schedule(), settings.metrics.clone());
    let options = WorkerOptions::new(publish_task_queue(&settings.task_queue))
        .graceful_shutdown_period(settings.shutdown_grace)
        .deployment_options(deployment(settings))
        .register_activities(activities)
        .build();
    let worker = temporalio_sdk::Worker::new(runtime, client.clone(), options);
    worker.context("the worker that sends webhooks can't be created").map(Some)
}

fn deployment(settings: &WorkerSettings) -> WorkerDeploymentOptions {
    let version = |(name, build_id): &(String, String)| {
        WorkerDeploymentVersion::builder().deployment_name(name.clone()).build_id(build_id.clone()).build()
    };
    match &settings.deployment {
        Some(deployment) => WorkerDeploymentOptions::new(version(deployment))
            .use_worker_versioning(true)
            .default_versioning_behavior(VersioningBehavior::AutoUpgrade)
            .build(),
        None => {
            let unversioned = ("handoff".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
            WorkerDeploymentOptions::new(version(&unversioned)).use_worker_versioning(false).build()
        }
    }
}
