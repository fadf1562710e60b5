//! Decisions as tests send them.

use handoff_proto::{
    v1::{Completion, completion::Outcome},
    wire::AdcpError,
};
use serde_json::Value;

/// Completes a task with this result.
pub fn complete(result: &Value) -> Completion {
    complete_with_text(&result.to_string())
}

/// Completes a task with a result that is spelled just so.
pub fn complete_with_text(result_json: &str) -> Completion {
    decision(Outcome::ResultJson(result_json.to_owned()))
}

/// Fails a task.
pub fn fail(error: AdcpError) -> Completion {
    decision(Outcome::Error(error.into()))
}

/// Cancels a task.
pub fn cancel() -> Completion {
    decision(Outcome::Cancellation(Default::default()))
}

fn decision(outcome: Outcome) -> Completion {
    Completion { outcome: Some(outcome), actor: "reviewer".into(), ..Default::default() }
}
