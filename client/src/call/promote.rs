//! The sync deadline, which the caller keeps.

use crate::{Handoff, backoff::Backoff};
use handoff_proto::{
    v1::TaskRef,
    workflows::{PROMOTE, PromoteSignal, VerbWorkflow},
};
use std::{convert::Infallible, time::Duration};
use temporalio_client::{RetryOptions, RpcOptions, WorkflowSignalOptions};
use tokio::time::{Instant, sleep_until};

const SIGNAL_TIMEOUT: Duration = Duration::from_secs(5);

impl Handoff {
    /// At this time asks the run to say `submitted`. Whoever waits for its answer drops this.
    pub(super) async fn promote_at(&self, task: &TaskRef, at: Instant) -> Infallible {
        sleep_until(at).await;
        // What was never connected has no run.
        let Ok(temporal) = self.temporal() else { return std::future::pending().await };
        let run = temporal.get_workflow_handle::<VerbWorkflow>(task.workflow_id());
        // One signal a run, however many callers wait for it.
        let request_id = format!("{}-{PROMOTE}", task.task_id);
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
        loop {
            let rpc = RpcOptions::builder().timeout(SIGNAL_TIMEOUT).retry_options(RetryOptions::no_retries()).build();
            let options = WorkflowSignalOptions::builder().request_id(request_id.clone()).rpc_options(rpc).build();
            match run.signal(PromoteSignal, (), options).await {
                Ok(()) => std::future::pending().await,
                // The run may not be there yet. If it is over, or can't be reached, the caller learns that from its own question.
                Err(error) => tracing::debug!(task_id = task.task_id, %error, "asking for submitted again"),
            }
            tokio::time::sleep(backoff.pause()).await;
        }
    }
}
