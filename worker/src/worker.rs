//! A worker: polls Temporal, runs verb workflows and their activities.

use crate::housekeeping::{self, HousekeepingActivities};
use anyhow::{Context, Result};
use handoff_activities::{Activities, ActivityTimeouts, seller::Handlers};
use handoff_client::{HousekeepingSettings, housekeeping::Housekeeper};
use handoff_gateway::Contract;
use handoff_proto::verbs::VERBS;
use handoff_store::Registry;
use handoff_telemetry::{Metrics, OpenTasksWatch};
use handoff_workflows::{Reconcile, VerbRun, as_workflow_type};
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
            housekeeping: HousekeepingSettings::default(),
            contract: Contract::default(),
        }
    }
}

/// A worker, connected and checked, ready to run.
pub struct Worker {
    inner: temporalio_sdk::Worker,
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
        let mut options = WorkerOptions::new(settings.task_queue.clone())
            .max_cached_workflows(settings.max_cached_workflows)
            .sticky_queue_schedule_to_start_timeout(settings.sticky_timeout)
            .graceful_shutdown_period(settings.shutdown_grace)
            // A heartbeat is one small request; what was done since is worth more to the attempt that resumes from it.
            .max_heartbeat_throttle_interval(Duration::from_millis(250))
            .deployment_options(deployment(settings))
            .register_activities(HousekeepingActivities::new(
                Housekeeper::new(client.clone(), registry.clone()),
                settings.metrics.clone(),
            ))
            .register_activities(
                Activities::new(registry, handlers, settings.timeouts)
                    .checking(Some(Arc::new(settings.contract.clone()))),
            )
            .register_workflow::<Reconcile>()?
            .build();
        for verb in VERBS {
            as_workflow_type(verb.name, || options.register_workflow::<VerbRun>().map(|_| ()))?;
        }
        let inner =
            temporalio_sdk::Worker::new(&runtime, client.clone(), options).context("the worker can't be created")?;
        Ok(Self {
            inner,
            temporal: client,
            task_queue: settings.task_queue.clone(),
            housekeeping: settings.housekeeping,
            _open_tasks: open_tasks,
        })
    }

    /// What stops it: running work may finish within the grace period, and the rest is handed over.
    pub fn shutdown_handle(&self) -> impl Fn() + use<> {
        self.inner.shutdown_handle()
    }

    /// Runs until it is shut down.
    pub async fn run(mut self) -> Result<()> {
        let schedule = tokio::spawn(housekeeping::keep_schedule(self.temporal, self.task_queue, self.housekeeping));
        let ended = self.inner.run().await.context("the worker stopped with an error");
        schedule.abort();
        ended
    }
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
