//! The scenarios that are the engine's: how the next request of a verb is answered, how a task ends, and that a proposal's time is
//! over.

use super::{
    Fields,
    answer::Refusal,
    request::{EXPIRE, PROPOSAL_PROBE},
};
use crate::door::Door;
use handoff_client::{
    CallError, Caller, Viewer,
    sandbox::{ForcedArm, SandboxError},
};
use serde_json::{Map, Value, json};

const COMPLETION: &str = "force_task_completion";
const PRODUCTS: &str = "get_products";
const FEATURES: &str = "get_creative_features";
const SUBMITTED: &str = "submitted";
const REJECTED: &str = "rejected";
const COMPLETED: &str = "completed";
const EVALUATION: &str = "evaluation_id";

// The verb whose next request each one forces.
const ARMS: [(&str, &str); 4] = [
    ("force_create_media_buy_arm", "create_media_buy"),
    ("force_get_creative_features_arm", FEATURES),
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
    /// The time of this proposal is over: a part of a scenario of the seller's, which keeps no proposals.
    Expiry,
}

/// Their names, where the seller has the verb.
pub(super) fn scenarios(has_verb: impl Fn(&str) -> bool) -> impl Iterator<Item = &'static str> {
    let arms = ARMS.into_iter().filter(move |(_, verb)| has_verb(verb)).map(|(name, _)| name);
    arms.chain([COMPLETION])
}

impl Scenario {
    pub(super) fn find(name: &str, params: &Fields) -> Option<Self> {
        let arm = ARMS.iter().find(|(scenario, _)| *scenario == name).map(|(_, verb)| Self::Arm(verb));
        let expires = name == PROPOSAL_PROBE && params.get("operation").is_some_and(|operation| operation == EXPIRE);
        let other = if expires { Some(Self::Expiry) } else { (name == COMPLETION).then_some(Self::Completion) };
        arm.or(other)
    }

    pub(super) async fn force(self, door: &Door, caller: &Caller, params: &Fields) -> Result<Fields, Refusal> {
        match self {
            Self::Arm(verb) => force_arm(door, caller, verb, params).await,
            Self::Completion => complete(door, caller, params).await,
            Self::Expiry => expire(door, caller, params).await,
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
    let out_of_place = |names: &[&str]| match names.iter().find(|name| params.contains_key(**name)) {
        Some(name) => Err(invalid(format!("params.{name} has no meaning for the arm {arm}"))),
        None => Ok(()),
    };
    match arm {
        SUBMITTED => {
            out_of_place(&["reason", "suggestions", "result"])?;
            let task_id = required(params, "task_id")?.to_owned();
            forced.insert("task_id".into(), task_id.clone().into());
            let evaluation_id = if verb == FEATURES {
                let id = required(params, EVALUATION)?;
                forced.insert(EVALUATION.into(), id.into());
                Some(id.to_owned())
            } else {
                out_of_place(&[EVALUATION])?;
                None
            };
            let message = text(params, "message")?.map(str::to_owned);
            Ok((ForcedArm::Submitted { task_id, message, evaluation_id }, forced))
        }
        COMPLETED if verb == FEATURES => {
            out_of_place(&["task_id", EVALUATION, "message", "reason", "suggestions"])?;
            let result = completed_evaluation(params.get("result"))?;
            forced.insert(EVALUATION.into(), result[EVALUATION].clone());
            Ok((ForcedArm::Answer(result.clone()), forced))
        }
        REJECTED if verb == PRODUCTS => {
            out_of_place(&["task_id", EVALUATION, "message", "result"])?;
            let reason = required(params, "reason")?;
            let suggestions = params.get("suggestions").filter(|suggestions| !suggestions.is_null()).cloned();
            forced.insert("reason".into(), reason.into());
            forced.extend(suggestions.clone().map(|suggestions| ("suggestions".to_owned(), suggestions)));
            Ok((ForcedArm::rejected(reason, suggestions), forced))
        }
        _ => Err(invalid(format!("params.arm: {verb} has no such arm here"))),
    }
}

// What an evaluation comes to, as the controller may say it (schema compliance/get-creative-features-completion.json). The verb's own
// schema does not ask for an identity.
fn completed_evaluation(result: Option<&Value>) -> Result<&Value, Refusal> {
    let result = completed_result(result)?;
    let identified = result.get(EVALUATION).and_then(Value::as_str).is_some_and(|id| !id.is_empty());
    if identified && result.get("results").is_some_and(Value::is_array) {
        return Ok(result);
    }
    Err(invalid(format!("params.result must have an {EVALUATION}, and results")))
}

// A controller completes; it fails and rejects nothing.
fn completed_result(result: Option<&Value>) -> Result<&Value, Refusal> {
    let result = result.filter(|result| result.is_object());
    let result = result.ok_or_else(|| invalid("params.result must be an object"))?;
    if result.get("status").is_some_and(|status| status != COMPLETED) {
        return Err(invalid("params.result.status can only be completed"));
    }
    Ok(result)
}

async fn expire(door: &Door, caller: &Caller, params: &Fields) -> Result<Fields, Refusal> {
    let proposal_id = required(params, "proposal_id")?;
    let expired = door.handoff.expire_in_sandbox(caller, proposal_id).await?;
    let simulated =
        json!({"operation": EXPIRE, "proposal_id": proposal_id, "expired": true, "expires_at": expired.expires_at});
    Ok(Fields::from_iter([("simulated".to_owned(), simulated)]))
}

async fn complete(door: &Door, caller: &Caller, params: &Fields) -> Result<Fields, Refusal> {
    let task_id = required(params, "task_id")?;
    let result = completed_result(params.get("result"))?;
    let own = Viewer::Buyer { scope: caller.scope.clone(), principal: caller.principal.clone() };
    let found = door.tasks.task(&own, task_id, false).await.map_err(CallError::from).map_err(SandboxError::from)?;
    let verb = found.and_then(|task| task.task).map(|task| task.verb).ok_or(SandboxError::NotFound)?;
    if let Some(wrong) = door.contract.problems(&verb, result) {
        return Err(invalid(format!("params.result is not {verb}'s: {wrong}")));
    }
    if verb == FEATURES {
        completed_evaluation(Some(result))?;
    }
    let ended = door.handoff.complete_in_sandbox(caller, task_id, result).await?;
    let Value::Object(fields) = json!({"previous_state": ended.previous, "current_state": ended.current}) else {
        return Ok(Fields::new());
    };
    Ok(fields)
}

fn required<'a>(params: &'a Fields, name: &str) -> Result<&'a str, Refusal> {
    text(params, name)?.ok_or_else(|| invalid(format!("params.{name} is required")))
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
            SandboxError::NotFound => Self::new("NOT_FOUND", detail),
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
        let find = |name: &str, operation: &str| {
            Scenario::find(name, &Fields::from_iter([("operation".to_owned(), operation.into())]))
        };
        for name in listed(&["create_media_buy", PRODUCTS, "get_signals", FEATURES]) {
            assert!(find(name, "").is_some(), "{name}");
        }
        assert_eq!(find("force_get_signals_arm", ""), Some(Scenario::Arm("get_signals")));
        assert_eq!(find("seed_product", EXPIRE), None);
        assert_eq!(find(PROPOSAL_PROBE, EXPIRE), Some(Scenario::Expiry));
        assert_eq!(find(PROPOSAL_PROBE, "prepare"), None);
        assert_eq!(Scenario::find(PROPOSAL_PROBE, &Fields::new()), None);
    }

    #[test]
    fn an_arm_is_read_with_what_belongs_to_it() {
        let read = |verb: &str, params: Value| {
            let Value::Object(params) = params else { panic!() };
            read_arm(verb, &params).map(|(arm, forced)| (arm, Value::Object(forced)))
        };
        let forced = ForcedArm::Submitted { task_id: "t".into(), message: Some("m".into()), evaluation_id: None };
        let answer = json!({"arm": "submitted", "task_id": "t"});
        let params = json!({"arm": "submitted", "task_id": "t", "message": "m"});
        assert_eq!(read("create_media_buy", params).unwrap(), (forced, answer));
        let rejection = json!({"arm": "rejected", "reason": "no", "suggestions": ["other"]});
        let (arm, answer) = read(PRODUCTS, rejection.clone()).unwrap();
        assert_eq!(answer, rejection);
        let body = json!({"status": "rejected", "reason": "no", "suggestions": ["other"]});
        assert_eq!(arm, ForcedArm::Answer(body));
        let params = json!({"arm": "submitted", "task_id": "t", "evaluation_id": "e"});
        let forced = ForcedArm::Submitted { task_id: "t".into(), message: None, evaluation_id: Some("e".into()) };
        assert_eq!(read(FEATURES, params.clone()).unwrap(), (forced, params));
        let result = json!({"evaluation_id": "e", "results": []});
        let (arm, answer) = read(FEATURES, json!({"arm": "completed", "result": result})).unwrap();
        assert_eq!((arm, answer), (ForcedArm::Answer(result), json!({"arm": "completed", "evaluation_id": "e"})));
        for (verb, params) in [
            (FEATURES, json!({"arm": "submitted", "task_id": "t"})),
            (FEATURES, json!({"arm": "submitted", "task_id": "t", "evaluation_id": "e", "result": {}})),
            (FEATURES, json!({"arm": "completed"})),
            (FEATURES, json!({"arm": "completed", "result": {"results": []}})),
            (FEATURES, json!({"arm": "completed", "result": {"evaluation_id": "", "results": []}})),
            (FEATURES, json!({"arm": "completed", "result": {"evaluation_id": "e"}})),
            (
                FEATURES,
                json!({"arm": "completed", "result": {"evaluation_id": "e", "results": [], "status": "failed"}}),
            ),
            (FEATURES, json!({"arm": "completed", "result": {"evaluation_id": "e", "results": []}, "task_id": "t"})),
            (FEATURES, json!({"arm": "rejected", "reason": "r"})),
            ("create_media_buy", json!({"arm": "completed", "result": {}})),
            ("create_media_buy", json!({"arm": "submitted", "task_id": "t", "evaluation_id": "e"})),
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
