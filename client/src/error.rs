//! What can go wrong below the protocol.

use crate::{config::ConfigError, temporal::ConnectError};
use handoff_proto::wire::AdcpError;
use handoff_store::RegistryError;
use temporalio_client::errors::{WorkflowInteractionError, WorkflowUpdateError};
use tonic::{Code, Status};

/// A failure of what Handoff runs on. Its messages hold no secret and no body, but are for operators: a buyer gets
/// [`Error::to_adcp`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration can't be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Temporal can't be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection to Temporal is not there yet.
    #[error("not connected to Temporal yet")]
    NotConnected,
    /// The registry did not do what it was asked for.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Temporal did not do what it was asked for.
    #[error("Temporal could not {operation}: {message} ({code:?})")]
    Temporal {
        /// What it was asked for.
        operation: &'static str,
        /// Its gRPC code.
        code: Code,
        /// Its own words.
        message: String,
    },
    /// The run of a task that is not settled is gone, so that nobody can act on a decision.
    #[error("the run of task {task_id} is gone and the task is not settled; `handoff reconcile` ends it")]
    RunGone {
        /// Which task.
        task_id: String,
    },
}

impl Error {
    /// May the same call succeed later?
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Config(_) | Self::RunGone { .. } => false,
            Self::Connect(error) => error.is_transient(),
            Self::NotConnected => true,
            Self::Registry(error) => error.is_transient(),
            Self::Temporal { code, .. } => is_transient(*code),
        }
    }

    /// What a buyer is told: that it may try again, and nothing of the inside.
    pub fn to_adcp(&self) -> AdcpError {
        unavailable("The seller can't process requests at the moment.", 30)
    }

    pub(crate) fn temporal(operation: &'static str, status: &Status) -> Self {
        Self::Temporal { operation, code: status.code(), message: status.message().to_owned() }
    }

    pub(crate) fn interaction(operation: &'static str, error: &WorkflowInteractionError) -> Self {
        match error {
            WorkflowInteractionError::NotFound(status) | WorkflowInteractionError::Rpc(status) => {
                Self::temporal(operation, status)
            }
            other => Self::Temporal { operation, code: Code::Unknown, message: other.to_string() },
        }
    }

    pub(crate) fn update(operation: &'static str, error: &WorkflowUpdateError) -> Self {
        match error {
            WorkflowUpdateError::NotFound(status) | WorkflowUpdateError::Rpc(status) => {
                Self::temporal(operation, status)
            }
            WorkflowUpdateError::Failed(failure) => {
                Self::Temporal { operation, code: Code::FailedPrecondition, message: failure.message.clone() }
            }
            other => Self::Temporal { operation, code: Code::Unknown, message: other.to_string() },
        }
    }
}

/// A transient refusal that is safe to repeat.
pub(crate) fn unavailable(message: impl Into<String>, retry_after: u32) -> AdcpError {
    AdcpError::transient("SERVICE_UNAVAILABLE", message)
        .suggestion("Send the same request again, with the same idempotency_key if it has one.")
        .retry_after(retry_after)
}

/// Codes after which the same call with the same ids may succeed. FAILED_PRECONDITION is Temporal's "workflow not ready".
pub(crate) fn is_transient(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::Cancelled
            | Code::Internal
            | Code::Unknown
            | Code::DataLoss
    )
}
