//! Identifiers: of a task, and of the workflow that drives it.

use crate::v1::TaskRef;
use std::fmt;

/// A task's id: public, URL-safe, unguessable, ordered by creation; also the key of every registry row of its request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct TaskId(String);

impl TaskId {
    /// A fresh id. Not for workflow code: it reads the clock and randomness.
    pub fn generate() -> Self {
        Self(format!("task_{}", uuid::Uuid::now_v7().simple()))
    }

    /// Has it the form of those that [`TaskId::generate`] makes?
    pub fn is_generated(&self) -> bool {
        let digits = self.0.strip_prefix("task_").unwrap_or_default();
        digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<String> for TaskId {
    fn from(id: String) -> Self {
        Self(id)
    }
}

impl From<&str> for TaskId {
    fn from(id: &str) -> Self {
        Self(id.to_owned())
    }
}

impl From<TaskId> for String {
    fn from(id: TaskId) -> Self {
        id.0
    }
}

/// The Temporal workflow id of a task. One workflow id has one run, ever; only the ids that a sandbox forces may be used again.
pub fn workflow_id(scope: &str, task_id: &str) -> String {
    format!("{scope}/{task_id}")
}

/// The id of the `outcome` update, the same for every caller, so that all of them wait for one answer.
pub const OUTCOME_UPDATE_ID: &str = "outcome";

impl TaskRef {
    /// The Temporal workflow id of this task.
    pub fn workflow_id(&self) -> String {
        workflow_id(&self.scope, &self.task_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_ids_are_told_from_others() {
        assert!(TaskId::generate().is_generated());
        for other in ["", "task_", "task_async_signed_io_q2", "order_0123456789abcdef0123456789abcdef"] {
            assert!(!TaskId::from(other).is_generated(), "{other}");
        }
    }
}
