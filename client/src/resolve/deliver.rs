//! Bringing a decision to the run: as an update that is answered once it is settled, or as a signal that outlives us.

use crate::{Error, Handoff, backoff::Backoff, codec, error};
use handoff_proto::{
    v1::{Completion, Resolution, Settlement, TaskRef, completion::Outcome},
    workflows::{CompleteSignal, FailSignal, ResolveUpdate, VerbWorkflow},
};
use std::time::Duration;
use temporalio_client::{
    Client, RetryOptions, RpcOptions, WorkflowExecuteUpdateOptions, WorkflowHandle, WorkflowSignalOptions,
    errors::{WorkflowInteractionError, WorkflowUpdateError},
};
use temporalio_common::{
    data_converters::{PayloadConverter, RawValue},
    protos::temporal::api::failure::v1::{Failure, failure::FailureInfo},
};
use tokio::time::Instant;
use tonic::Code;

// An update that a live worker takes up is long answered by then.
const LOOK_FOR_WORKERS_AFTER: Duration = Duration::from_secs(1);
const SIGNAL_TIMEOUT: Duration = Duration::from_secs(5);
// A run has at most ten updates in flight. A server that refuses one more also drops those ten and the workflow task that was to
// bring them, and takes them up anew: refused updates that return soon keep a busy server from ever settling any. So they stay away
// for long, and look into the registry instead, where what the others bring about is seen.
const FIRST_PAUSE_OF_REFUSED: Duration = Duration::from_secs(5);
const LONGEST_PAUSE_OF_REFUSED: Duration = Duration::from_secs(40);
// Temporal's own name for it.
const CLOSED_MEANWHILE: &str = "AcceptedUpdateCompletedWorkflow";

/// What became of a decision on its way.
#[derive(Debug)]
pub(super) enum Delivery {
    /// The task has this end.
    Settled(Box<Settlement>),
    /// The run would not have it.
    Refused(String),
    /// It waits in the run's history.
    Recorded,
    /// There is no open run.
    RunGone,
}

type Run = WorkflowHandle<Client, VerbWorkflow>;

impl Handoff {
    pub(super) async fn deliver(&self, task: &TaskRef, completion: &Completion) -> Result<Delivery, Error> {
        let run: Run = self.temporal()?.get_workflow_handle(task.workflow_id());
        let update = tokio::time::timeout(self.config().resolve_timeout, self.update(&run, task, completion));
        let answer = tokio::select! {
            answer = update => answer.unwrap_or(Ok(None)),
            () = self.nobody_works() => Ok(None),
        };
        match answer {
            Ok(Some(delivery)) => Ok(delivery),
            Ok(None) => {
                tracing::debug!(task_id = task.task_id, "no worker answered: recording the decision as a signal");
                self.signal(&run, completion).await
            }
            Err(error) => Err(error),
        }
    }

    /// The run's answer; `None` when it may give one to nobody.
    async fn update(&self, run: &Run, task: &TaskRef, completion: &Completion) -> Result<Option<Delivery>, Error> {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let mut crowd = Backoff::new(FIRST_PAUSE_OF_REFUSED, LONGEST_PAUSE_OF_REFUSED);
        let rpc = RpcOptions::builder()
            .timeout(self.config().resolve_timeout)
            .retry_options(RetryOptions::no_retries())
            .build();
        loop {
            let options = WorkflowExecuteUpdateOptions::builder()
                .update_id(completion.decision_id.clone())
                .rpc_options(rpc.clone())
                .build();
            match run.execute_update(ResolveUpdate, completion.clone(), options).await {
                Ok(Resolution { recorded: Some(recorded), trace, .. }) => {
                    if let Some(trace) = trace {
                        handoff_telemetry::trace::link(&tracing::Span::current(), &trace);
                    }
                    return Ok(Some(Delivery::Settled(Box::new(recorded))));
                }
                Ok(Resolution { message, .. }) => return Ok(Some(Delivery::Refused(message))),
                Err(WorkflowUpdateError::NotFound(_)) => return Ok(Some(Delivery::RunGone)),
                Err(WorkflowUpdateError::Failed(failure)) => return self.refused(*failure).await.map(Some),
                Err(WorkflowUpdateError::Rpc(status)) if status.code() == Code::ResourceExhausted => {
                    tracing::debug!(task_id = task.task_id, "the run takes no more decisions at present");
                    if let Ok(settled) = tokio::time::timeout(crowd.pause(), self.settled(task)).await {
                        return settled.map(|recorded| Some(Delivery::Settled(Box::new(recorded))));
                    }
                }
                Err(WorkflowUpdateError::Rpc(status)) if error::is_transient(status.code()) => {
                    tracing::debug!(code = ?status.code(), "sending the decision again");
                    tokio::time::sleep(backoff.pause()).await;
                }
                Err(error) => return Err(Error::update("update the workflow", "decision", &error)),
            }
        }
    }

    /// The task's end, as soon as it is recorded.
    async fn settled(&self, task: &TaskRef) -> Result<Settlement, Error> {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        loop {
            tokio::time::sleep(backoff.pause()).await;
            if let Some(recorded) = self.settlement(task).await? {
                return Ok(recorded);
            }
        }
    }

    async fn signal(&self, run: &Run, completion: &Completion) -> Result<Delivery, Error> {
        let give_up = Instant::now() + SIGNAL_TIMEOUT;
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        // One signal, however often it is sent.
        let request_id = uuid::Uuid::now_v7().to_string();
        loop {
            let rpc = RpcOptions::builder().timeout(SIGNAL_TIMEOUT).retry_options(RetryOptions::no_retries()).build();
            let options = WorkflowSignalOptions::builder().request_id(request_id.clone()).rpc_options(rpc).build();
            let payload = RawValue::from_value(completion, &PayloadConverter::default());
            let sent = match completion.outcome {
                Some(Outcome::ResultJson(_)) => run.signal(CompleteSignal, payload, options).await,
                _ => run.signal(FailSignal, payload, options).await,
            };
            match sent {
                Ok(()) => return Ok(Delivery::Recorded),
                Err(WorkflowInteractionError::NotFound(_)) => return Ok(Delivery::RunGone),
                Err(WorkflowInteractionError::Rpc(status))
                    if error::is_transient(status.code()) && Instant::now() < give_up =>
                {
                    tokio::time::sleep(backoff.pause()).await;
                }
                Err(error) => return Err(Error::interaction("signal the workflow", &error)),
            }
        }
    }

    // Ends early when Temporal says that nobody polls; a server that can't tell changes nothing.
    async fn nobody_works(&self) {
        tokio::time::sleep(LOOK_FOR_WORKERS_AFTER).await;
        match self.pollers().await {
            Ok(pollers) if pollers.workflow == 0 => {}
            _ => std::future::pending().await,
        }
    }

    // The validator refused, or the run closed with the update still open.
    async fn refused(&self, failure: Failure) -> Result<Delivery, Error> {
        Ok(match &failure.failure_info {
            Some(FailureInfo::ApplicationFailureInfo(info)) if info.r#type == CLOSED_MEANWHILE => Delivery::RunGone,
            _ => Delivery::Refused(codec::failure_message(&self.temporal()?.options().data_converter, failure).await),
        })
    }
}
