//! The controller's answers (schema compliance/comply-test-controller-response.json).

use super::{CONTROLLER, Fields};
use crate::contract::Contract;
use handoff_activities::ResultCheck;
use handoff_proto::wire::AdcpError;
use serde_json::{Value, json};

// The schema's closed list, without UNKNOWN_SCENARIO: whether there is one is not for a scenario to say.
const CODES: [&str; 7] = [
    "INVALID_TRANSITION",
    "INVALID_STATE",
    "NOT_FOUND",
    "INVALID_PARAMS",
    "FORBIDDEN",
    "JCS_NON_FINITE_NUMBER",
    "INTERNAL_ERROR",
];
const INTERNAL: &str = "INTERNAL_ERROR";

/// Why the controller did nothing.
#[derive(Debug, PartialEq)]
pub(super) struct Refusal {
    code: &'static str,
    detail: String,
    current_state: Option<Box<Value>>,
    /// The code that it comes from, for the log.
    cause: String,
}

impl Refusal {
    pub(super) fn new(code: &'static str, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), current_state: None, cause: code.to_owned() }
    }

    /// With the state in which something is.
    pub(super) fn in_state(self, state: impl Into<Value>) -> Self {
        Self { current_state: Some(Box::new(state.into())), ..self }
    }

    pub(super) fn internal(detail: impl Into<String>) -> Self {
        Self::new(INTERNAL, detail)
    }

    /// What a scenario's handler said.
    pub(super) fn of(error: &AdcpError) -> Self {
        let code = match error.code.as_str() {
            // What a handler's parameters can't be read as.
            "INVALID_REQUEST" | "VALIDATION_ERROR" => "INVALID_PARAMS",
            code => CODES.into_iter().find(|known| *known == code).unwrap_or(INTERNAL),
        };
        let detail = if code == INTERNAL && error.code != INTERNAL {
            format!("{}: {}", error.code, error.message)
        } else {
            error.message.clone()
        };
        let state = error.details.as_ref().and_then(|details| details.get("current_state"));
        let current_state = state.filter(|state| state.is_string() || state.is_null()).cloned().map(Box::new);
        Self { code, detail, current_state, cause: error.code.clone() }
    }

    pub(super) fn into_body(self, correlation_id: &str) -> Value {
        if self.code == INTERNAL {
            // The detail may hold what was sent; it is told, and not logged.
            tracing::error!(correlation_id, cause = self.cause, "a scenario failed");
        }
        let mut body =
            json!({"status": "completed", "success": false, "error": self.code, "error_detail": self.detail});
        if let Some(state) = self.current_state {
            body["current_state"] = *state;
        }
        body
    }
}

/// A success with these fields.
pub(super) fn success(fields: Fields) -> Value {
    let mut body = json!({"status": "completed", "success": true});
    let own = ["status", "success", "context"];
    if let Some(body) = body.as_object_mut() {
        body.extend(fields.into_iter().filter(|(name, _)| !own.contains(&name.as_str())));
    }
    body
}

/// The fields, if they are those of a success.
pub(super) fn checked(contract: &Contract, fields: Fields, correlation_id: &str) -> Result<Fields, Refusal> {
    match contract.check(CONTROLLER, &success(fields.clone()), correlation_id) {
        Ok(()) => Ok(fields),
        Err(error) => Err(error.into()),
    }
}

/// Is this one of the controller's refusals?
pub(crate) fn is_refusal(body: &Value) -> bool {
    body.get("success") == Some(&Value::Bool(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handlers_error_is_told_in_the_controllers_codes() {
        let body = |error: AdcpError| Refusal::of(&error).into_body("c");
        let terminal =
            AdcpError::correctable("INVALID_TRANSITION", "It ended.").details(json!({"current_state": "completed"}));
        assert_eq!(
            body(terminal),
            json!({
                "status": "completed", "success": false, "error": "INVALID_TRANSITION", "error_detail": "It ended.",
                "current_state": "completed",
            })
        );
        for (code, told, detail) in [
            ("NOT_FOUND", "NOT_FOUND", "m"),
            ("INVALID_REQUEST", "INVALID_PARAMS", "m"),
            ("UNKNOWN_SCENARIO", "INTERNAL_ERROR", "UNKNOWN_SCENARIO: m"),
            ("BUDGET_TOO_LOW", "INTERNAL_ERROR", "BUDGET_TOO_LOW: m"),
        ] {
            let body = body(AdcpError::correctable(code, "m").details(json!({"current_state": 5})));
            assert_eq!((&body["error"], &body["error_detail"]), (&json!(told), &json!(detail)), "{code}");
            assert_eq!(body.get("current_state"), None);
            assert!(is_refusal(&body));
        }
    }

    #[test]
    fn what_says_whether_it_succeeded_is_not_the_handlers() {
        let fields = json!({"success": false, "status": "failed", "context": {}, "message": "m"});
        let Value::Object(fields) = fields else { panic!() };
        let body = success(fields);
        assert_eq!(body, json!({"status": "completed", "success": true, "message": "m"}));
        assert!(!is_refusal(&body));
    }
}
