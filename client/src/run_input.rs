//! The input of a run, as Temporal stores it.

use crate::{
    ConfigError, Error, Handoff,
    codec::{EncryptingCodec, OpenError, is_sealed, key_id},
    queue,
};
use handoff_proto::v1::TaskRef;
use std::time::Duration;
use temporalio_client::{Client, grpc::WorkflowService};
use temporalio_common::protos::temporal::api::{
    common::v1::{Payload, WorkflowExecution},
    history::v1::history_event::Attributes,
    workflowservice::v1::GetWorkflowExecutionHistoryRequest,
};

// A Temporal that is away is for whoever sends something to find out.
const PATIENCE: Duration = Duration::from_secs(5);

impl Handoff {
    /// Refuses a task whose run this process can't read. A run that is not there, or a Temporal that can't say, refuses nothing.
    pub(crate) async fn check_run_opens(&self, task: &TaskRef) -> Result<(), Error> {
        let run = WorkflowExecution { workflow_id: task.workflow_id(), ..Default::default() };
        let looking = tokio::time::timeout(PATIENCE, stored_input(self.temporal()?, run)).await;
        let Some(input) = looking.ok().flatten().filter(is_sealed) else { return Ok(()) };
        let opened = match self.config().encryption.load().map_err(ConfigError::from)? {
            Some(keys) => EncryptingCodec::new(keys).open(vec![input]).await.map(|_| ()),
            None => Err(OpenError::UnknownKey { key: key_id(&input).into_owned() }),
        };
        opened.map_err(|error| Error::RunSealed { task_id: task.task_id.clone(), error })
    }
}

/// What a run began with; `None` if it is not there, or Temporal can't say.
pub(crate) async fn stored_input(client: &Client, run: WorkflowExecution) -> Option<Payload> {
    let request = GetWorkflowExecutionHistoryRequest {
        namespace: client.options().namespace.clone(),
        execution: Some(run),
        maximum_page_size: 1,
        ..Default::default()
    };
    let history =
        WorkflowService::get_workflow_execution_history(&mut client.clone(), queue::brief(request)).await.ok()?;
    match history.into_inner().history?.events.into_iter().next()?.attributes? {
        Attributes::WorkflowExecutionStartedEventAttributes(started) => started.input?.payloads.into_iter().next(),
        _ => None,
    }
}
