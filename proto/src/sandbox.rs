//! The hand-off that a sandbox's compliance controller decides on, in place of the seller.

use crate::v1::HandoffToWorkflow;
use serde_json::{Value, json};

/// The enqueue handler of such a task: it takes whatever comes. No seller can register this name.
pub const SANDBOX_HANDLER: &str = "handoff/sandbox";

impl HandoffToWorkflow {
    /// A task that waits for somebody to end it; its buyer is told this beside `submitted`.
    pub fn forced(message: Option<&str>) -> Self {
        let input_json = json!({"message": message}).to_string();
        Self { handler: SANDBOX_HANDLER.to_owned(), input_json, ..Default::default() }
    }

    /// Was it decided by the controller?
    pub fn is_forced(&self) -> bool {
        self.handler == SANDBOX_HANDLER
    }

    /// What the controller wants the buyer told beside `submitted`.
    pub fn forced_message(&self) -> Option<String> {
        let input: Value = serde_json::from_str(&self.input_json).ok().filter(|_| self.is_forced())?;
        input.get("message")?.as_str().map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_forced_hand_off_has_a_message() {
        assert_eq!(HandoffToWorkflow::forced(Some("soon")).forced_message().as_deref(), Some("soon"));
        assert_eq!(HandoffToWorkflow::forced(None).forced_message(), None);
        let own = HandoffToWorkflow { handler: "review".into(), ..HandoffToWorkflow::forced(Some("soon")) };
        assert_eq!((own.is_forced(), own.forced_message()), (false, None));
    }
}
