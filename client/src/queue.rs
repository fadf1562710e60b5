//! Who polls a task queue.

use crate::Error;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use temporalio_client::{Client, RetryOptions, RpcOptions, grpc::WorkflowService};
use temporalio_common::protos::temporal::api::{
    enums::v1::TaskQueueType, taskqueue::v1::TaskQueue, workflowservice::v1::DescribeTaskQueueRequest,
};
use tonic::Request;

const TIMEOUT: Duration = Duration::from_secs(5);
// A poll lasts up to 60 s; Temporal remembers pollers for minutes after they are gone.
const RECENT: Duration = Duration::from_secs(75);

/// Processes that polled lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pollers {
    pub(crate) workflow: usize,
    pub(crate) activity: usize,
}

impl crate::Handoff {
    /// Does a worker poll the task queue? An error: Temporal does not answer.
    pub async fn has_workers(&self) -> Result<bool, Error> {
        let pollers = self.pollers().await?;
        Ok(pollers.workflow > 0 && pollers.activity > 0)
    }

    pub(crate) async fn pollers(&self) -> Result<Pollers, Error> {
        pollers(self.temporal()?, &self.config().task_queue).await
    }
}

pub(crate) async fn pollers(temporal: &Client, task_queue: &str) -> Result<Pollers, Error> {
    let (workflow, activity) = futures::try_join!(
        count(temporal, task_queue, TaskQueueType::Workflow),
        count(temporal, task_queue, TaskQueueType::Activity)
    )?;
    Ok(Pollers { workflow, activity })
}

async fn count(temporal: &Client, task_queue: &str, kind: TaskQueueType) -> Result<usize, Error> {
    let request = DescribeTaskQueueRequest {
        namespace: temporal.options().namespace.clone(),
        task_queue: Some(TaskQueue { name: task_queue.to_owned(), ..Default::default() }),
        task_queue_type: kind.into(),
        ..Default::default()
    };
    let mut service = temporal.clone();
    let answer = WorkflowService::describe_task_queue(&mut service, brief(request))
        .await
        .map_err(|status| Error::temporal("describe the task queue", &status))?;
    let since = SystemTime::now().checked_sub(RECENT).unwrap_or(UNIX_EPOCH);
    let since = since.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
    let recent = |seconds: Option<i64>| seconds.is_none_or(|seconds| seconds >= since);
    let pollers = answer.into_inner().pollers;
    Ok(pollers.iter().filter(|poller| recent(poller.last_access_time.as_ref().map(|time| time.seconds))).count())
}

/// A request with a short timeout.
pub(crate) fn brief<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(TIMEOUT);
    request
}

/// Options of a brief call.
pub(crate) fn brief_options() -> RpcOptions {
    RpcOptions::builder().timeout(TIMEOUT).retry_options(RetryOptions::default()).build()
}
