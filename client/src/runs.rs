//! Closing what is left of a task's run, where its workflow id may be used again: one run, and not the one that follows it.

use crate::{
    Error, Handoff,
    housekeeping::{RunSeen, seen},
    queue,
};
use handoff_proto::workflows::VerbWorkflow;
use temporalio_client::{
    Client, WorkflowDescribeOptions, WorkflowExecutionInfo, WorkflowHandle, WorkflowTerminateOptions,
    errors::WorkflowInteractionError,
};

/// A run that was open when it was looked for.
pub(crate) struct OpenRun(WorkflowHandle<Client, VerbWorkflow>);

impl Handoff {
    /// The run of a workflow id that is open. Neither looking nor closing depends on its type.
    pub(crate) async fn open_run(&self, workflow_id: String) -> Result<Option<OpenRun>, Error> {
        let temporal = self.temporal()?;
        let latest = temporal.get_workflow_handle::<VerbWorkflow>(&workflow_id);
        let options = WorkflowDescribeOptions::builder().rpc_options(queue::brief_options()).build();
        let description = match latest.describe(options).await {
            Ok(description) => description,
            Err(WorkflowInteractionError::NotFound(_)) => return Ok(None),
            Err(error) => return Err(Error::interaction("describe the workflow", &error)),
        };
        if matches!(seen(description.status()), RunSeen::Closed(_)) {
            return Ok(None);
        }
        let run = WorkflowExecutionInfo::builder()
            .namespace(temporal.options().namespace.clone())
            .workflow_id(workflow_id)
            .run_id(description.run_id())
            .build();
        Ok(Some(OpenRun(WorkflowHandle::new(temporal.clone(), run))))
    }
}

impl OpenRun {
    /// Closes it, if it is still open. What its steps still do finds what the registry has by then.
    pub(crate) async fn terminate(self, reason: &str) -> Result<(), Error> {
        let options = WorkflowTerminateOptions::builder().reason(reason).rpc_options(queue::brief_options()).build();
        match self.0.terminate(options).await {
            Ok(()) | Err(WorkflowInteractionError::NotFound(_)) => Ok(()),
            Err(error) => Err(Error::interaction("terminate the workflow", &error)),
        }
    }
}
