//! What can go wrong below the protocol.

use crate::{
    codec::{OpenError, SealError},
    config::ConfigError,
    temporal::ConnectError,
};
use handoff_proto::wire::AdcpError;
use handoff_store::{CipherError, RegistryError};
use temporalio_client::errors::{WorkflowInteractionError, WorkflowUpdateError};
use temporalio_common::data_converters::PayloadConversionError;
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
    /// The run of a task is encrypted with a key that this process does not have. Nothing was sent.
    #[error("the run of task {task_id}: {error}")]
    RunSealed {
        /// Which task.
        task_id: String,
        /// Why it can't be read.
        error: OpenError,
    },
    /// Something was sent, and what it came to can't be read: only the registry knows, for those who have the keys.
    #[error("the {sent} was sent and may be recorded, but this process can't read the answer: {reason}")]
    AnswerUnreadable {
        /// What was sent.
        sent: &'static str,
        /// It is for want of a key.
        sealed: bool,
        /// Why the answer can't be read.
        reason: String,
    },
}

impl Error {
    /// May the same call succeed later?
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Config(_) | Self::RunGone { .. } | Self::AnswerUnreadable { .. } => false,
            Self::Connect(error) => error.is_transient(),
            Self::NotConnected => true,
            Self::Registry(error) => error.is_transient(),
            Self::Temporal { code, .. } => is_transient(*code),
            Self::RunSealed { error, .. } => matches!(error, OpenError::Unavailable(_)),
        }
    }

    /// Is it for want of a key?
    pub fn lacks_keys(&self) -> bool {
        match self {
            Self::Registry(RegistryError::Sealed { error, .. } | RegistryError::Keys(error)) => {
                matches!(error, CipherError::MissingKey { .. } | CipherError::NotAuthentic { .. })
            }
            Self::Registry(RegistryError::NoKeys) => true,
            Self::AnswerUnreadable { sealed, .. } => *sealed,
            Self::RunSealed { error, .. } => {
                matches!(error, OpenError::UnknownKey { .. } | OpenError::NotAuthentic { .. })
            }
            _ => false,
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

    /// `sent`: what the update carries.
    pub(crate) fn update(operation: &'static str, sent: &'static str, error: &WorkflowUpdateError) -> Self {
        match error {
            WorkflowUpdateError::PayloadConversion(error) if is_of_an_answer(error) => Self::unreadable(sent, error),
            WorkflowUpdateError::NotFound(status) | WorkflowUpdateError::Rpc(status) => {
                Self::temporal(operation, status)
            }
            WorkflowUpdateError::Failed(failure) => {
                Self::Temporal { operation, code: Code::FailedPrecondition, message: failure.message.clone() }
            }
            other => Self::Temporal { operation, code: Code::Unknown, message: other.to_string() },
        }
    }

    fn unreadable(sent: &'static str, error: &PayloadConversionError) -> Self {
        let (sealed, reason) = match error {
            PayloadConversionError::EncodingError(error) => (error.is::<OpenError>(), error.to_string()),
            other => (false, other.to_string()),
        };
        Self::AnswerUnreadable { sent, sealed, reason }
    }
}

// What can't be sealed was not sent; and a key service that is away comes back, and the same update gets the same answer.
fn is_of_an_answer(error: &PayloadConversionError) -> bool {
    match error {
        PayloadConversionError::EncodingError(error) => {
            !error.is::<SealError>() && !matches!(error.downcast_ref(), Some(OpenError::Unavailable(_)))
        }
        _ => true,
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
