//! Telling a webhook once more.

use crate::{Error, Handoff};
use handoff_proto::{
    convert::to_proto_duration,
    v1::{RedeliveryInput, TaskRef, WebhookPlan},
    workflows::{RedeliveryWorkflow, publish_task_queue, redelivery_workflow_id},
};
use handoff_store::Viewer;
use std::time::Duration;
use temporalio_client::{
    Client, WorkflowIdConflictPolicy, WorkflowIdReusePolicy, WorkflowStartOptions, errors::WorkflowStartError,
};
use tonic::Code;

impl Handoff {
    /// Tells the webhook of an ended task once more: within its horizon the same bytes under the same key, past it a new delivery
    /// of the same notification. The run that does so outlives this call; while one is at work, another is not started.
    /// `false`: no webhook is owed to such a task.
    pub async fn redeliver_webhook(&self, task_id: &str) -> Result<bool, Error> {
        let Some(task) = self.registry().find(&Viewer::Operator, task_id).await? else { return Ok(false) };
        if self.registry().webhook_log(task_id).await?.is_none() {
            return Ok(false);
        }
        start(self.temporal()?, &self.config().task_queue, self.config().webhooks.horizon, task).await?;
        Ok(true)
    }
}

/// Starts a redelivery, unless one is at work.
pub(crate) async fn start(temporal: &Client, task_queue: &str, horizon: Duration, task: TaskRef) -> Result<(), Error> {
    let plan = WebhookPlan { task_queue: publish_task_queue(task_queue), horizon: Some(to_proto_duration(horizon)) };
    let options = WorkflowStartOptions::new(task_queue.to_owned(), redelivery_workflow_id(&task.task_id))
        .id_conflict_policy(WorkflowIdConflictPolicy::UseExisting)
        .id_reuse_policy(WorkflowIdReusePolicy::AllowDuplicate)
        .build();
    let input = RedeliveryInput { task: Some(task), plan: Some(plan) };
    match temporal.start_workflow(RedeliveryWorkflow, input, options).await {
        Ok(_) | Err(WorkflowStartError::AlreadyStarted { .. }) => Ok(()),
        Err(WorkflowStartError::Rpc(status)) => Err(Error::temporal("start the redelivery", &status)),
        Err(other) => {
            Err(Error::Temporal { operation: "start the redelivery", code: Code::Unknown, message: other.to_string() })
        }
    }
}
