//! The nine task statuses (schema enums/task-status.json).

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The status of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskStatus {
    /// Waits for something outside: a person, a system, a queue. Pollable.
    Submitted,
    /// Is being worked on and reports progress.
    Working,
    /// Waits for the buyer.
    InputRequired,
    /// Done, with a result.
    Completed,
    /// Ended by a cancellation.
    Canceled,
    /// Ended by an error.
    Failed,
    /// Ended by a business decision against it.
    Rejected,
    /// Waits for the buyer to authenticate.
    AuthRequired,
    /// Can't be told; never authoritative.
    Unknown,
}

impl TaskStatus {
    /// All of them, in the protocol's order.
    pub const ALL: [Self; 9] = [
        Self::Submitted,
        Self::Working,
        Self::InputRequired,
        Self::Completed,
        Self::Canceled,
        Self::Failed,
        Self::Rejected,
        Self::AuthRequired,
        Self::Unknown,
    ];

    /// The protocol's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Submitted => "submitted",
            Self::Working => "working",
            Self::InputRequired => "input-required",
            Self::Completed => "completed",
            Self::Canceled => "canceled",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::AuthRequired => "auth-required",
            Self::Unknown => "unknown",
        }
    }

    /// Nothing follows a terminal status.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Canceled | Self::Failed | Self::Rejected)
    }
}

impl fmt::Display for TaskStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no task status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a task status")]
pub struct ParseStatusError(pub String);

impl FromStr for TaskStatus {
    type Err = ParseStatusError;

    fn from_str(text: &str) -> Result<Self, ParseStatusError> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or_else(|| ParseStatusError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_is_the_protocols_in_both_directions() {
        for status in TaskStatus::ALL {
            assert_eq!(status.as_str().parse(), Ok(status));
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
        assert!("cancelled".parse::<TaskStatus>().is_err());
    }
}
