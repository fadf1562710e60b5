//! The Temporal schedule that starts housekeeping rounds: one for each task queue.

use super::HousekeepingSettings;
use crate::{Error, queue};
use chrono::{DateTime, Utc};
use handoff_proto::{
    v1::{HousekeepingInput, HousekeepingSummary},
    workflows::{RECONCILE, ReconcileWorkflow, housekeeping_schedule_id},
};
use std::time::{Duration, SystemTime};
use temporalio_client::{
    Client, NamespacedClient, WorkflowDescribeOptions, WorkflowExecutionStatus, WorkflowGetResultOptions,
    errors::{WorkflowGetResultError, WorkflowInteractionError},
    grpc::WorkflowService,
};
use temporalio_common::{
    data_converters::{SerializationContextData, WorkflowSerializationContext},
    protos::{
        proto_ts_to_system_time,
        temporal::api::{
            common::v1::{Payloads, WorkflowType},
            enums::v1::ScheduleOverlapPolicy,
            schedule::v1::{
                IntervalSpec, Schedule, ScheduleAction, SchedulePolicies, ScheduleSpec, ScheduleState,
                schedule_action::Action,
            },
            taskqueue::v1::TaskQueue,
            workflow::v1::NewWorkflowExecutionInfo,
            workflowservice::v1::{
                CreateScheduleRequest, DeleteScheduleRequest, DescribeScheduleRequest, DescribeScheduleResponse,
                UpdateScheduleRequest,
            },
        },
    },
};
use tonic::Code;

// Rounds that a server missed while it was down are not made up for: the next one does it all. Temporal's least is 10 s.
const CATCHUP_WINDOW: Duration = Duration::from_secs(10);
const NOTE: &str = "Handoff's housekeeping. Workers keep it as HANDOFF_HOUSEKEEPING_EVERY says; a pause is left alone.";

/// What became of the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScheduleChange {
    /// It was not there.
    Created,
    /// It had other settings.
    Updated,
    /// It was as it should be: there or, if it should not be there, not there.
    Unchanged,
    /// It should not be there.
    Removed,
}

/// Makes the schedule of a task queue what the settings say. Safe when several workers do it at once; of different settings
/// the last stay. A schedule that someone paused stays paused.
pub async fn apply_schedule(
    temporal: &Client,
    task_queue: &str,
    settings: &HousekeepingSettings,
) -> Result<ScheduleChange, Error> {
    let Some(every) = settings.every else { return remove(temporal, task_queue).await };
    if let Some(described) = describe(temporal, task_queue).await? {
        return update(temporal, task_queue, settings, every, described).await;
    }
    let request = CreateScheduleRequest {
        namespace: temporal.options().namespace.clone(),
        schedule_id: housekeeping_schedule_id(task_queue),
        schedule: Some(Schedule {
            state: Some(ScheduleState { notes: NOTE.to_owned(), ..Default::default() }),
            ..schedule(temporal, task_queue, settings, every).await?
        }),
        identity: temporal.identity(),
        request_id: request_id(),
        ..Default::default()
    };
    match WorkflowService::create_schedule(&mut temporal.clone(), queue::brief(request)).await {
        Ok(_) => Ok(ScheduleChange::Created),
        // Another worker was faster. Its settings may be others.
        Err(status) if status.code() == Code::AlreadyExists => match describe(temporal, task_queue).await? {
            Some(described) => update(temporal, task_queue, settings, every, described).await,
            None => Err(Error::temporal("create the schedule", &status)),
        },
        Err(status) => Err(Error::temporal("create the schedule", &status)),
    }
}

async fn update(
    temporal: &Client,
    task_queue: &str,
    settings: &HousekeepingSettings,
    every: Duration,
    described: DescribeScheduleResponse,
) -> Result<ScheduleChange, Error> {
    let found = described.schedule.unwrap_or_default();
    if is_as_wanted(temporal, &found, task_queue, settings, every).await {
        return Ok(ScheduleChange::Unchanged);
    }
    let wanted = schedule(temporal, task_queue, settings, every).await?;
    let request = UpdateScheduleRequest {
        namespace: temporal.options().namespace.clone(),
        schedule_id: housekeeping_schedule_id(task_queue),
        schedule: Some(Schedule { state: found.state, ..wanted }),
        identity: temporal.identity(),
        request_id: request_id(),
        ..Default::default()
    };
    WorkflowService::update_schedule(&mut temporal.clone(), queue::brief(request))
        .await
        .map(|_| ScheduleChange::Updated)
        .map_err(|status| Error::temporal("update the schedule", &status))
}

async fn remove(temporal: &Client, task_queue: &str) -> Result<ScheduleChange, Error> {
    let request = DeleteScheduleRequest {
        namespace: temporal.options().namespace.clone(),
        schedule_id: housekeeping_schedule_id(task_queue),
        ..Default::default()
    };
    match WorkflowService::delete_schedule(&mut temporal.clone(), queue::brief(request)).await {
        Ok(_) => Ok(ScheduleChange::Removed),
        Err(status) if status.code() == Code::NotFound => Ok(ScheduleChange::Unchanged),
        Err(status) => Err(Error::temporal("delete the schedule", &status)),
    }
}

async fn describe(temporal: &Client, task_queue: &str) -> Result<Option<DescribeScheduleResponse>, Error> {
    let request = DescribeScheduleRequest {
        namespace: temporal.options().namespace.clone(),
        schedule_id: housekeeping_schedule_id(task_queue),
    };
    match WorkflowService::describe_schedule(&mut temporal.clone(), queue::brief(request)).await {
        Ok(described) => Ok(Some(described.into_inner())),
        Err(status) if status.code() == Code::NotFound => Ok(None),
        Err(status) => Err(Error::temporal("describe the schedule", &status)),
    }
}

async fn schedule(
    temporal: &Client,
    task_queue: &str,
    settings: &HousekeepingSettings,
    every: Duration,
) -> Result<Schedule, Error> {
    let payloads =
        temporal.data_converter().to_payloads(&serialization(), &settings.input()).await.map_err(|error| {
            Error::Temporal { operation: "take the schedule's input", code: Code::Internal, message: error.to_string() }
        })?;
    Ok(Schedule {
        spec: Some(ScheduleSpec {
            interval: vec![IntervalSpec { interval: whole_seconds(every).try_into().ok(), phase: None }],
            ..Default::default()
        }),
        action: Some(ScheduleAction {
            action: Some(Action::StartWorkflow(NewWorkflowExecutionInfo {
                workflow_id: housekeeping_schedule_id(task_queue),
                workflow_type: Some(WorkflowType { name: RECONCILE.to_owned() }),
                task_queue: Some(TaskQueue { name: task_queue.to_owned(), ..Default::default() }),
                input: Some(Payloads { payloads }),
                ..Default::default()
            })),
        }),
        policies: Some(SchedulePolicies {
            overlap_policy: ScheduleOverlapPolicy::Skip.into(),
            catchup_window: CATCHUP_WINDOW.try_into().ok(),
            ..Default::default()
        }),
        state: None,
    })
}

// Encrypted anew, equal settings are different bytes: so what is inside is compared, and only what is ours.
async fn is_as_wanted(
    temporal: &Client,
    found: &Schedule,
    task_queue: &str,
    settings: &HousekeepingSettings,
    every: Duration,
) -> bool {
    let Some(Action::StartWorkflow(action)) = found.action.as_ref().and_then(|action| action.action.as_ref()) else {
        return false;
    };
    let policies = found.policies.unwrap_or_default();
    let input = action.input.clone().unwrap_or_default().payloads;
    let input = temporal.data_converter().from_payloads::<HousekeepingInput>(&serialization(), input).await;
    input.is_ok_and(|input| input == settings.input())
        && interval(found) == Some(whole_seconds(every))
        && action.workflow_type.as_ref().is_some_and(|workflow| workflow.name == RECONCILE)
        && action.task_queue.as_ref().is_some_and(|queue| queue.name == task_queue)
        && policies.overlap_policy() == ScheduleOverlapPolicy::Skip
        && policies.catchup_window == CATCHUP_WINDOW.try_into().ok()
}

fn interval(schedule: &Schedule) -> Option<Duration> {
    match schedule.spec.as_ref()?.interval.as_slice() {
        [one] => one.interval.and_then(|interval| interval.try_into().ok()),
        _ => None,
    }
}

// Schedules know no less.
fn whole_seconds(every: Duration) -> Duration {
    Duration::from_secs(every.as_secs())
}

fn serialization() -> SerializationContextData {
    SerializationContextData::Workflow(WorkflowSerializationContext::new())
}

fn request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// The schedule as Temporal has it.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleStatus {
    /// How often a round begins; `None` if someone gave it other times.
    pub every: Option<Duration>,
    /// Someone paused it.
    pub paused: bool,
    /// When it was created.
    pub created_at: Option<DateTime<Utc>>,
    /// The round that began last.
    pub last: Option<LastRound>,
}

/// The round that began last.
#[derive(Clone, Debug, PartialEq)]
pub struct LastRound {
    /// Its workflow id.
    pub workflow_id: String,
    /// When it began.
    pub started_at: Option<DateTime<Utc>>,
    /// Where it is; `None` if Temporal has forgotten it.
    pub status: Option<WorkflowExecutionStatus>,
    /// What it saw and did, if it completed.
    pub summary: Option<HousekeepingSummary>,
    /// Why it did not complete, or why its result can't be read.
    pub failure: Option<String>,
}

/// The schedule of a task queue, and how its last round went; `None`: there is no schedule.
pub async fn schedule_status(temporal: &Client, task_queue: &str) -> Result<Option<ScheduleStatus>, Error> {
    let Some(described) = describe(temporal, task_queue).await? else { return Ok(None) };
    let schedule = described.schedule.unwrap_or_default();
    let info = described.info.unwrap_or_default();
    let mut last = None;
    if let Some(action) = info.recent_actions.last() {
        let workflow_id = action.start_workflow_result.clone().unwrap_or_default().workflow_id;
        let started_at = action.actual_time.as_ref().and_then(proto_ts_to_system_time).map(utc);
        last = Some(round(temporal, workflow_id, started_at).await?);
    }
    Ok(Some(ScheduleStatus {
        every: interval(&schedule),
        paused: schedule.state.unwrap_or_default().paused,
        created_at: info.create_time.as_ref().and_then(proto_ts_to_system_time).map(utc),
        last,
    }))
}

async fn round(temporal: &Client, workflow_id: String, started_at: Option<DateTime<Utc>>) -> Result<LastRound, Error> {
    let handle = temporal.get_workflow_handle::<ReconcileWorkflow>(workflow_id.clone());
    let mut round = LastRound { workflow_id, started_at, status: None, summary: None, failure: None };
    let options = WorkflowDescribeOptions::builder().rpc_options(queue::brief_options()).build();
    match handle.describe(options).await {
        Ok(description) => round.status = Some(description.status()),
        Err(WorkflowInteractionError::NotFound(_)) => return Ok(round),
        Err(error) => return Err(Error::interaction("describe the last round", &error)),
    }
    if round.status == Some(WorkflowExecutionStatus::Running) {
        return Ok(round);
    }
    match handle.get_result(WorkflowGetResultOptions::default()).await {
        Ok(summary) => round.summary = Some(summary),
        Err(WorkflowGetResultError::Failed(failure)) => round.failure = Some(failure.to_string()),
        Err(error) => round.failure = Some(error.to_string()),
    }
    Ok(round)
}

fn utc(time: SystemTime) -> DateTime<Utc> {
    time.into()
}
