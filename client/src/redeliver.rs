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
    /// `false`: no webhook is owed to such a task. Without the keys of what is stored of the task nothing is started.
    pub async fn redeliver_webhook(&self, task_id: &str) -> Result<bool, Error> {
        let Some(task) = self.registry().find(&Viewer::Operator, task_id).await? else { return Ok(false) };
        if self.registry().webhook_log(task_id).await?.is_none() {
            return Ok(false);
        }
        self.registry().standing(&task).await?;
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

#[cfg(test)]
mod tests {
    use crate::testing::{FakeRegistry, Say, fake_handoff, task};
    use handoff_store::{WebhookRecord, WebhookState};

    #[tokio::test]
    async fn who_can_not_read_the_task_starts_nothing() {
        let webhook = WebhookRecord {
            task: task(),
            state: WebhookState::Expired,
            idempotency_key: "whk".into(),
            attempts: 1,
            created_at: 0,
            expires_at: 1,
            updated_at: 1,
        };
        let registry = FakeRegistry {
            webhook: Some((webhook, WebhookState::Expired)).into(),
            missing_key: Some("k"),
            ..FakeRegistry::default()
        };
        let (handoff, _, calls) = fake_handoff(registry, |_, _| Say::Nothing).await;
        let error = handoff.redeliver_webhook("t").await.unwrap_err();
        assert!(error.lacks_keys(), "{error}");
        assert_eq!(calls.lock().unwrap().len(), 0);
    }
}
