//! One try of Update-With-Start.

use crate::{Error, Handoff, error};
use handoff_proto::{
    TaskId,
    ids::OUTCOME_UPDATE_ID,
    v1::{TaskInput, outcome},
    workflows::{OutcomeUpdate, SCOPE_ATTRIBUTE, TASK_TYPE_ATTRIBUTE, VerbWorkflow},
};
use std::{borrow::Cow, time::Duration};
use temporalio_client::{
    RetryOptions, RpcOptions, WorkflowIdConflictPolicy, WorkflowIdReusePolicy, WorkflowUpdateWithStartOptions,
    errors::{WorkflowStartError, WorkflowUpdateError, WorkflowUpdateWithStartError},
};
use temporalio_common::search_attributes::{SearchAttributeKey, SearchAttributes};
use tonic::{Code, Status};

const SCOPE: SearchAttributeKey<String> = SearchAttributeKey::keyword(SCOPE_ATTRIBUTE);
const TASK_TYPE: SearchAttributeKey<String> = SearchAttributeKey::keyword(TASK_TYPE_ATTRIBUTE);

/// What a try came to.
#[derive(Debug)]
pub(super) enum Attempt {
    /// The run's word.
    Told(outcome::Kind),
    /// None in time; the same try again attaches to the same run.
    Silent,
    /// Temporal can not say at the moment: worth a pause and another try.
    Busy(String),
    /// The run is over and this update was never part of it: only the registry knows.
    Over,
}

impl Handoff {
    /// Starts the run of this task, or finds it, and asks for its outcome. Any number of tries with one [`question`] is one run
    /// and one question.
    pub(super) async fn attempt(&self, input: &TaskInput, question: &str, timeout: Duration) -> Result<Attempt, Error> {
        let task = input.task.clone().unwrap_or_default();
        let attributes =
            SearchAttributes::new([SCOPE.value_set(task.scope.clone()), TASK_TYPE.value_set(task.verb.clone())]);
        // Retries are this crate's: they look into the registry in between.
        let rpc = RpcOptions::builder().timeout(timeout).retry_options(RetryOptions::no_retries()).build();
        let options = WorkflowUpdateWithStartOptions::new(
            self.config().task_queue.clone(),
            task.workflow_id(),
            WorkflowIdConflictPolicy::UseExisting,
        )
        .id_reuse_policy(reuse(input))
        .update_id(question.to_owned())
        .search_attributes(attributes)
        .rpc_options(rpc)
        .build();
        let workflow = VerbWorkflow::new(task.verb.clone());
        let temporal = match self.temporal() {
            Ok(temporal) => temporal,
            Err(error) => return Ok(Attempt::Busy(error.to_string())),
        };
        let asking = temporal.execute_update_with_start_workflow(workflow, input.clone(), OutcomeUpdate, (), options);
        match tokio::time::timeout(timeout, asking).await {
            Err(_) => Ok(Attempt::Silent),
            Ok(Ok(outcome)) => Ok(match outcome.kind {
                Some(kind) => Attempt::Told(kind),
                None => Attempt::Over,
            }),
            Ok(Err(error)) => failed(error),
        }
    }
}

/// The update id by which a call asks for the outcome: everybody's, but for a task id that is used again. A closed run still answers
/// the question that it was asked, and no new one would be started.
pub(super) fn question(input: &TaskInput) -> Cow<'static, str> {
    if is_used_again(input) {
        format!("{OUTCOME_UPDATE_ID}-{}", uuid::Uuid::now_v7().simple()).into()
    } else {
        OUTCOME_UPDATE_ID.into()
    }
}

fn reuse(input: &TaskInput) -> WorkflowIdReusePolicy {
    if is_used_again(input) { WorkflowIdReusePolicy::AllowDuplicate } else { WorkflowIdReusePolicy::RejectDuplicate }
}

// The ids that a sandbox forces may be: the registry has replaced the ended task by then, and its run is closed.
fn is_used_again(input: &TaskInput) -> bool {
    let task_id = input.task.as_ref().map_or("", |task| &task.task_id);
    input.sandbox && !TaskId::from(task_id).is_generated()
}

fn failed(error: WorkflowUpdateWithStartError) -> Result<Attempt, Error> {
    match error {
        WorkflowUpdateWithStartError::Start(WorkflowStartError::AlreadyStarted { .. })
        | WorkflowUpdateWithStartError::Update(
            // Closed in between, or closed with the question still open.
            WorkflowUpdateError::NotFound(_) | WorkflowUpdateError::Failed(_),
        ) => Ok(Attempt::Over),
        WorkflowUpdateWithStartError::Start(WorkflowStartError::Rpc(status))
        | WorkflowUpdateWithStartError::Update(WorkflowUpdateError::Rpc(status))
        | WorkflowUpdateWithStartError::Rpc(status) => by_code(&status),
        WorkflowUpdateWithStartError::Update(error) => Err(Error::update("start the workflow", "request", &error)),
        other => {
            Err(Error::Temporal { operation: "start the workflow", code: Code::Unknown, message: other.to_string() })
        }
    }
}

fn by_code(status: &Status) -> Result<Attempt, Error> {
    match status.code() {
        // CANCELLED is how the connection says that its timeout passed.
        Code::DeadlineExceeded | Code::Cancelled => Ok(Attempt::Silent),
        Code::AlreadyExists => Ok(Attempt::Over),
        code if error::is_transient(code) => Ok(Attempt::Busy(format!("{code:?}: {}", status.message()))),
        _ => Err(Error::temporal("start the workflow", status)),
    }
}
