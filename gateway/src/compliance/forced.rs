//! The scenarios that are the engine's: how the next request of a verb is answered, and how a task ends.

use super::{Fields, answer::Refusal};
use crate::door::Door;
use handoff_client::{
    CallError, Caller, Viewer,
    sandbox::{ForcedArm, SandboxError},
};
use serde_json::{Map, Value, json};

const COMPLETION: &str = "force_task_completion";
const PRODUCTS: &str = "get_products";
const SUBMITTED: &str = "submitted";
const REJECTED: &str = "rejected";

// The verb whose next request each one forces.
const ARMS: [(&str, &str); 3] = [
    ("force_create_media_buy_arm", "create_media_buy"),
    ("force_get_products_arm", PRODUCTS),
    ("force_get_signals_arm", "get_signals"),
];

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scenario {
    /// The next request of this verb is answered so.
    Arm(&'static str),
    /// This task ends so.
    Completion,
}

/// Their names, where the seller has the verb.
pub(super) fn scenarios(has_verb: impl Fn(&str) -> bool) -> impl Iterator<Item = &'static str> {
    let arms = ARMS.into_iter().filter(move |(_, verb)| has_verb(verb)).map(|(name, _)| name);
    arms.chain([COMPLETION])
}

impl Scenario {
    pub(super) fn find(name: &str) -> Option<Self> {
        let arm = ARMS.iter().find(|(scenario, _)| *scenario == name).map(|(_, verb)| Self::Arm(verb));
        arm.or((name == COMPLETION).then_some(Self::Completion))
    }

    pub(super) async fn force(self, door: &Door, caller: &Caller, params: &Fields) -> Result<Fields, Refusal> {
        match self {
            Self::Arm(verb) => force_arm(door, caller, verb, params).await,
            Self::Completion => complete(door, caller, params).await,
        }
    }
}

async fn force_arm(door: &Door, caller: &Caller, verb: &str, params: &Fields) -> Result<Fields, Refusal> {
    let (arm, forced) = read_arm(verb, params)?;
    if let ForcedArm::Answer(body) = &arm
        && let Some(wrong) = door.contract.problems(verb, body)
    {
        return Err(invalid(wrong));
    }
    door.handoff.force_arm(caller, verb, arm).await?;
    Ok(Fields::from_iter([("forced".to_owned(), Value::Object(forced))]))
}

// The arm, and how the answer names it.
fn read_arm(verb: &str, params: &Fields) -> Result<(ForcedArm, Fields), Refusal> {
    let arm = text(params, "arm")?.unwrap_or_default();
    let mut forced = Map::from_iter([("arm".to_owned(), arm.into())]);
    let out_of_place = |names: [&str; 2]| match names.into_iter().find(|name| params.contains_key(*name)) {
        Some(name) => Err(invalid(format!("params.{name} has no meaning for the arm {arm}"))),
        None => Ok(()),
    };
    match arm {
        SUBMITTED => {
            out_of_place(["reason", "suggestions"])?;
            let task_id = text(params, "task_id")?.ok_or_else(|| invalid("params.task_id is required"))?.to_owned();
            forced.insert("task_id".into(), task_id.clone().into());
            Ok((ForcedArm::Submitted { task_id, message: text(params, "message")?.map(str::to_owned) }, forced))
        }
        REJECTED if verb == PRODUCTS => {
            out_of_place(["task_id", "message"])?;
            let reason = text(params, "reason")?.ok_or_else(|| invalid("params.reason is required"))?;
            let suggestions = params.get("suggestions").filter(|suggestions| !suggestions.is_null()).cloned();
            forced.insert("reason".into(), reason.into());
            forced.extend(suggestions.clone().map(|suggestions| ("suggestions".to_owned(), suggestions)));
            Ok((ForcedArm::rejected(reason, suggestions), forced))
        }
        _ => Err(invalid(format!("params.arm: {verb} has no such arm here"))),
    }
}

async fn complete(door: &Door, caller: &Caller, params: &Fields) -> Result<Fields, Refusal> {
    let task_id = text(params, "task_id")?.ok_or_else(|| invalid("params.task_id is required"))?;
    let result = params.get("result").filter(|result| result.is_object());
    let result = result.ok_or_else(|| invalid("params.result must be an object"))?;
    // A controller completes; it fails and rejects nothing.
    if result.get("status").is_some_and(|status| status != "completed") {
        return Err(invalid("params.result.status can only be completed"));
    }
    let own = Viewer::Buyer { scope: caller.scope.clone(), principal: caller.principal.clone() };
    let found = door.tasks.task(&own, task_id, false).await.map_err(CallError::from).map_err(SandboxError::from)?;
    let verb = found.and_then(|task| task.task).map(|task| task.verb).ok_or(SandboxError::NotFound)?;
    if let Some(wrong) = door.contract.problems(&verb, result) {
        return Err(invalid(format!("params.result is not {verb}'s: {wrong}")));
    }
    let ended = door.handoff.complete_in_sandbox(caller, task_id, result).await?;
    let Value::Object(fields) = json!({"previous_state": ended.previous, "current_state": ended.current}) else {
        return Ok(Fields::new());
    };
    Ok(fields)
}

fn text<'a>(params: &'a Fields, name: &str) -> Result<Option<&'a str>, Refusal> {
    match params.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(invalid(format!("params.{name} must be text"))),
    }
}

fn invalid(why: impl Into<String>) -> Refusal {
    Refusal::new("INVALID_PARAMS", why)
}

impl From<SandboxError> for Refusal {
    fn from(error: SandboxError) -> Self {
        let detail = format!("{}.", error);
        match error {
            SandboxError::Forbidden => super::not_a_sandbox(),
            SandboxError::NotFound => Self::new("NOT_FOUND", "There is no such task."),
            SandboxError::InvalidTransition { current } => Self::new("INVALID_TRANSITION", detail).in_state(current),
            SandboxError::InvalidState(_) => Self::new("INVALID_STATE", detail),
            SandboxError::InvalidParams { field, message } => invalid(format!("params.{field} {message}")),
            SandboxError::Failed(error) => {
                if let CallError::Infrastructure(error) = &error {
                    tracing::error!(%error, "a controller's request failed");
                }
                Self::of(&error.to_adcp())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_seller_does_not_sell_can_not_be_forced() {
        let listed = |verbs: &[&str]| scenarios(|verb| verbs.contains(&verb)).collect::<Vec<_>>();
        assert_eq!(listed(&["sync_creatives"]), [COMPLETION]);
        assert_eq!(listed(&[PRODUCTS]), ["force_get_products_arm", COMPLETION]);
        for name in listed(&["create_media_buy", PRODUCTS, "get_signals"]) {
            assert!(Scenario::find(name).is_some(), "{name}");
        }
        assert_eq!(Scenario::find("force_get_signals_arm"), Some(Scenario::Arm("get_signals")));
        assert_eq!(Scenario::find("seed_product"), None);
    }

    #[test]
    fn an_arm_is_read_with_what_belongs_to_it() {
        let read = |verb: &str, params: Value| {
            let Value::Object(params) = params else { panic!() };
            read_arm(verb, &params).map(|(arm, forced)| (arm, Value::Object(forced)))
        };
        let forced = ForcedArm::Submitted { task_id: "t".into(), message: Some("m".into()) };
        let answer = json!({"arm": "submitted", "task_id": "t"});
        let params = json!({"arm": "submitted", "task_id": "t", "message": "m"});
        assert_eq!(read("create_media_buy", params).unwrap(), (forced, answer));
        let rejection = json!({"arm": "rejected", "reason": "no", "suggestions": ["other"]});
        let (arm, answer) = read(PRODUCTS, rejection.clone()).unwrap();
        assert_eq!(answer, rejection);
        let body = json!({"status": "rejected", "reason": "no", "suggestions": ["other"]});
        assert_eq!(arm, ForcedArm::Answer(body));
        for (verb, params) in [
            (PRODUCTS, json!({})),
            (PRODUCTS, json!({"arm": "submitted"})),
            (PRODUCTS, json!({"arm": "submitted", "task_id": 5})),
            (PRODUCTS, json!({"arm": "submitted", "task_id": "t", "reason": "r"})),
            (PRODUCTS, json!({"arm": "rejected"})),
            (PRODUCTS, json!({"arm": "rejected", "reason": "r", "message": "m"})),
            ("create_media_buy", json!({"arm": "rejected", "reason": "r"})),
            ("create_media_buy", json!({"arm": "input-required"})),
        ] {
            let refused = read(verb, params.clone()).unwrap_err().into_body("c");
            assert_eq!(refused["error"], "INVALID_PARAMS", "{verb} {params}");
        }
    }
}
