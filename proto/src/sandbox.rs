//! The hand-off that a sandbox's compliance controller decides on, in place of the seller.

use crate::v1::HandoffToWorkflow;
use serde_json::{Map, Value, json};

/// The enqueue handler of such a task: it takes whatever comes. No seller can register this name.
pub const SANDBOX_HANDLER: &str = "handoff/sandbox";

const MESSAGE: &str = "message";
const EVALUATION_ID: &str = "evaluation_id";

impl HandoffToWorkflow {
    /// A task that waits for somebody to end it; its buyer is told this beside `submitted`. An `evaluation_id` is of
    /// `get_creative_features`, whose result says it again.
    pub fn forced(message: Option<&str>, evaluation_id: Option<&str>) -> Self {
        let input_json = json!({MESSAGE: message, EVALUATION_ID: evaluation_id}).to_string();
        Self { handler: SANDBOX_HANDLER.to_owned(), input_json, ..Default::default() }
    }

    /// Was it decided by the controller?
    pub fn is_forced(&self) -> bool {
        self.handler == SANDBOX_HANDLER
    }

    /// What the controller wants the buyer told beside `submitted`, by the fields of the answer.
    pub fn forced_fields(&self) -> Map<String, Value> {
        let input = self.is_forced().then(|| serde_json::from_str(&self.input_json).ok()).flatten();
        let Some(Value::Object(mut input)) = input else { return Map::new() };
        input.retain(|name, told| [MESSAGE, EVALUATION_ID].contains(&name.as_str()) && told.is_string());
        input
    }

    /// The evaluation that the controller said this is.
    pub fn forced_evaluation_id(&self) -> Option<String> {
        self.forced_fields().get(EVALUATION_ID)?.as_str().map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_forced_hand_off_says_what_the_controller_said() {
        let fields = |handoff: &HandoffToWorkflow| Value::Object(handoff.forced_fields());
        let both = HandoffToWorkflow::forced(Some("soon"), Some("eval_1"));
        assert_eq!(fields(&both), json!({"message": "soon", "evaluation_id": "eval_1"}));
        assert_eq!(both.forced_evaluation_id().as_deref(), Some("eval_1"));
        assert_eq!(fields(&HandoffToWorkflow::forced(None, None)), json!({}));
        // As it was recorded before there were evaluations.
        let older = HandoffToWorkflow { input_json: r#"{"message":"soon"}"#.into(), ..both.clone() };
        assert_eq!(fields(&older), json!({"message": "soon"}));
        let own = HandoffToWorkflow { handler: "review".into(), ..both };
        assert_eq!((own.is_forced(), fields(&own), own.forced_evaluation_id()), (false, json!({}), None));
    }
}
