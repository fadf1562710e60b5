//! How a command ends.

use crate::Error;
use handoff_proto::wire::{AdcpError, Recovery};
use std::process::ExitCode;

/// Exit codes of the command; scripts may rely on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Something that nobody foresaw, or a check of `doctor` that failed.
    Unexpected = 1,
    /// The command line can't be understood, or a setting is wrong or missing, such as a key. Nothing was done.
    Usage = 2,
    /// Refused: the request or decision can't be used as it is.
    Refused = 3,
    /// No such task, or proposal, for this viewer.
    NotFound = 4,
    /// Another decision is recorded, or the idempotency key stands for another request.
    Conflict = 5,
    /// Nothing was lost; the same command may succeed later.
    Unavailable = 6,
    /// The decision is recorded, but not settled yet.
    Recorded = 7,
}

impl Exit {
    /// How a refusal ends a command.
    pub(super) fn of_refusal(error: &AdcpError) -> Self {
        match (error.code.as_str(), error.recovery) {
            ("REFERENCE_NOT_FOUND" | "PROPOSAL_NOT_FOUND", _) => Self::NotFound,
            ("IDEMPOTENCY_CONFLICT", _) => Self::Conflict,
            (_, Recovery::Transient) => Self::Unavailable,
            _ => Self::Refused,
        }
    }

    /// How a failure below the protocol ends a command.
    pub(super) fn of_error(error: &Error) -> Self {
        match error {
            Error::Config(_) => Self::Usage,
            error if error.is_transient() => Self::Unavailable,
            // It is not known that nothing was done.
            Error::AnswerUnreadable { .. } => Self::Unexpected,
            error if error.lacks_keys() => Self::Usage,
            _ => Self::Unexpected,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::unavailable;
    use handoff_store::RegistryError;

    #[test]
    fn each_kind_of_end_has_its_code() {
        for (error, exit) in [
            (AdcpError::correctable("REFERENCE_NOT_FOUND", ""), Exit::NotFound),
            (AdcpError::correctable("IDEMPOTENCY_CONFLICT", ""), Exit::Conflict),
            (AdcpError::correctable("BUDGET_TOO_LOW", ""), Exit::Refused),
            (AdcpError::terminal("X_HANDOFF_OUTCOME_UNKNOWN", ""), Exit::Refused),
            (unavailable("", 1), Exit::Unavailable),
        ] {
            assert_eq!(Exit::of_refusal(&error), exit, "{error}");
        }
        assert_eq!(Exit::of_error(&RegistryError::Unavailable(String::new()).into()), Exit::Unavailable);
        assert_eq!(Exit::of_error(&RegistryError::Schema(String::new()).into()), Exit::Unexpected);
        assert_eq!(Exit::of_error(&crate::ConfigError::RegistryUrl.into()), Exit::Usage);
        assert_eq!([Exit::Ok as u8, Exit::Usage as u8, Exit::Recorded as u8], [0, 2, 7]);
    }
}
