//! Looking after requests that nobody drives, or nobody needs: page by page, for the command line and for the workflow
//! `reconcile` alike.

mod purge;
mod reconcile;
mod redeliver;
mod schedule;
mod settings;
mod sweep;

pub use purge::{PurgeAction, PurgeReport, PurgedRequest};
pub use reconcile::{ReconcileAction, ReconcileReport, ReconciledRequest};
pub use redeliver::{ReconciledWebhook, RedeliverAction};
pub use schedule::{LastRound, ScheduleChange, ScheduleStatus, apply_schedule, schedule_status};
pub use settings::HousekeepingSettings;
pub use sweep::SweepAges;
pub(crate) use sweep::sweep;

use crate::{Error, Handoff, queue};
use chrono::Utc;
use handoff_proto::{
    v1::{HousekeepingCursor, TaskRef},
    workflows::VerbWorkflow,
};
use handoff_store::Registry;
use std::{fmt, sync::Arc, time::Duration};
use temporalio_client::{
    Client, WorkflowDescribeOptions, WorkflowExecutionStatus, errors::WorkflowInteractionError, grpc::WorkflowService,
};
use temporalio_common::protos::temporal::api::workflowservice::v1::DescribeNamespaceRequest;

/// The requests of one page; beyond a thousand the registry gives no more.
pub const PAGE: u32 = 100;
pub(crate) const DESCRIBED_AT_ONCE: usize = 8;

/// What housekeeping needs: the registry, and Temporal to look at runs and to start redeliveries.
#[derive(Clone)]
pub struct Housekeeper {
    temporal: Client,
    registry: Arc<dyn Registry>,
    task_queue: String,
    webhook_horizon: Duration,
}

/// Some requests, and where the next page begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// What was seen and done.
    pub requests: Vec<T>,
    /// Absent when nothing is left.
    pub next: Option<HousekeepingCursor>,
}

/// What Temporal has of a request's run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunSeen {
    /// It is open.
    Open,
    /// It is closed: completed, failed, canceled, terminated or timed_out.
    Closed(&'static str),
    /// Nothing: it never started, or its history is past the retention.
    Missing,
    /// Temporal could not say.
    Unknown,
}

impl fmt::Display for RunSeen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Closed(status) => status,
            Self::Missing => "missing",
            Self::Unknown => "unknown",
        })
    }
}

impl Housekeeper {
    /// From what is connected already; on this task queue, and for so long, webhooks are told.
    pub fn new(temporal: Client, registry: Arc<dyn Registry>, task_queue: String, webhook_horizon: Duration) -> Self {
        Self { temporal, registry, task_queue, webhook_horizon }
    }

    async fn look_at_run(&self, task: &TaskRef) -> Result<RunSeen, Error> {
        self.look_at(task.workflow_id()).await
    }

    async fn look_at(&self, workflow_id: String) -> Result<RunSeen, Error> {
        // Looking does not depend on the type.
        let handle = self.temporal.get_workflow_handle::<VerbWorkflow>(workflow_id);
        let options = WorkflowDescribeOptions::builder().rpc_options(queue::brief_options()).build();
        match handle.describe(options).await {
            Ok(description) => Ok(seen(description.status())),
            Err(WorkflowInteractionError::NotFound(_)) => Ok(RunSeen::Missing),
            Err(error) => Err(Error::interaction("describe the workflow", &error)),
        }
    }

    /// "Not found" must mean the run and not the namespace: else every open task would be ended.
    pub(crate) async fn check_namespace(&self) -> Result<(), Error> {
        let request =
            DescribeNamespaceRequest { namespace: self.temporal.options().namespace.clone(), ..Default::default() };
        WorkflowService::describe_namespace(&mut self.temporal.clone(), queue::brief(request))
            .await
            .map(|_| ())
            .map_err(|status| Error::temporal("describe the namespace", &status))
    }
}

impl Handoff {
    /// What looks after this client's registry.
    pub fn housekeeper(&self) -> Result<Housekeeper, Error> {
        let config = self.config();
        Ok(Housekeeper::new(
            self.temporal()?.clone(),
            self.registry().clone(),
            config.task_queue.clone(),
            config.webhooks.horizon,
        ))
    }
}

impl fmt::Debug for Housekeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Housekeeper").finish_non_exhaustive()
    }
}

pub(crate) fn seen(status: WorkflowExecutionStatus) -> RunSeen {
    match status {
        WorkflowExecutionStatus::Completed => RunSeen::Closed("completed"),
        WorkflowExecutionStatus::Failed => RunSeen::Closed("failed"),
        WorkflowExecutionStatus::Canceled => RunSeen::Closed("canceled"),
        WorkflowExecutionStatus::Terminated => RunSeen::Closed("terminated"),
        WorkflowExecutionStatus::TimedOut => RunSeen::Closed("timed_out"),
        // A status of a later server, too, is no reason to end anything.
        _ => RunSeen::Open,
    }
}

fn micros_ago(age: Duration) -> i64 {
    let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
    Utc::now().timestamp_micros().saturating_sub(age)
}
