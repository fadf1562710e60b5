//! What the protocol's compliance controller asks of the engine, for a sandbox account: how the next request of a verb is
//! answered, and how a waiting task ends (docs/decisions/023). And what an operator does to all of it: clearing.

mod reset;

pub(crate) use reset::may_reset;
pub use reset::{ClearAction, ClearedProposal, ClearedRequest, SandboxReset};

use crate::{CallError, Caller, Error, Handoff, Resolved, Viewer, error::unavailable};
use chrono::{DateTime, SecondsFormat};
use futures::TryStreamExt;
use handoff_proto::{
    TaskId, errors, json,
    limits::MAX_RESULT_BYTES,
    v1::{Completion, Decision, HandoffToWorkflow, TaskRef, completion::Outcome, decision::Complete, decision::Kind},
    verbs,
    wire::TaskStatus,
};
use handoff_store::{Directive, ProposalCause, ProposalRef};
use serde_json::{Map, Value};
use std::{future::ready, time::Duration};
use tokio::time::timeout;

// AdCP's bounds on the ids that a controller may force, in characters.
const MAX_TASK_ID: usize = 128;
const MAX_EVALUATION_ID: usize = 255;
// A decision that was only recorded settles as soon as a worker takes it up.
const SETTLE_PATIENCE: Duration = Duration::from_secs(20);
const ACTOR: &str = "compliance controller";
const FEATURES: &str = "get_creative_features";

/// How the next request of a verb is to be answered, in place of what the seller would decide.
#[derive(Clone, Debug, PartialEq)]
pub enum ForcedArm {
    /// `submitted`, with this task id; the task then waits for [`Handoff::complete_in_sandbox`], or for a reviewer.
    Submitted {
        /// What the buyer is told and polls, verbatim.
        task_id: String,
        /// Told beside it.
        message: Option<String>,
        /// Of `get_creative_features` alone: the evaluation's id, told beside it and by the result.
        evaluation_id: Option<String>,
    },
    /// This body, at once: an object, with its `status` where that is not `completed`.
    Answer(Value),
}

impl ForcedArm {
    /// A business decline: `status: rejected`.
    pub fn rejected(reason: impl Into<String>, suggestions: Option<Value>) -> Self {
        let mut body = Map::new();
        body.insert("status".into(), "rejected".into());
        body.insert("reason".into(), reason.into().into());
        body.extend(suggestions.map(|suggestions| ("suggestions".into(), suggestions)));
        Self::Answer(Value::Object(body))
    }
}

/// A task's status before and after it was completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxCompletion {
    /// `submitted` or `working`; `completed` if the same result had completed it before.
    pub previous: String,
    /// `completed`.
    pub current: String,
}

/// A proposal whose time is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxExpiry {
    /// Its `expires_at` now, by RFC 3339: in the past.
    pub expires_at: String,
}

/// Why the engine did not do what the controller asked for.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// It is no sandbox account.
    #[error("only a sandbox account can be controlled")]
    Forbidden,
    /// No such task or proposal for this account and agent.
    #[error("there is nothing of this id")]
    NotFound,
    /// The task has ended otherwise.
    #[error("the task is {current}")]
    InvalidTransition {
        /// Its status.
        current: String,
    },
    /// What is there does not allow it; nothing is told of whose it is.
    #[error("{0}")]
    InvalidState(String),
    /// A parameter can't be used.
    #[error("{field} {message}")]
    InvalidParams {
        /// Which: `task_id`, `result`, …
        field: &'static str,
        /// Why.
        message: String,
    },
    /// What Handoff runs on did not answer: for INTERNAL_ERROR, and the log.
    #[error(transparent)]
    Failed(#[from] CallError),
}

impl From<Error> for SandboxError {
    fn from(error: Error) -> Self {
        Self::Failed(error.into())
    }
}

impl Handoff {
    /// Has the caller's next new request of this verb answered like this. One at a time: a second one takes the place of the
    /// first. A request that is only said again, with the key of an earlier one, leaves it for the next.
    pub async fn force_arm(&self, caller: &Caller, verb: &str, arm: ForcedArm) -> Result<(), SandboxError> {
        check_caller(caller)?;
        let directive = directive(caller, verb, arm)?;
        if self.registry().put_directive(&directive).await.map_err(CallError::registry)? {
            return Ok(());
        }
        Err(SandboxError::InvalidState("the task_id is in use".into()))
    }

    /// Ends a waiting task of the caller's with this result, as a reviewer would, webhook included, and waits until that is
    /// recorded. Whether the result is one of its verb is for the caller to check before.
    pub async fn complete_in_sandbox(
        &self,
        caller: &Caller,
        task_id: &str,
        result: &Value,
    ) -> Result<SandboxCompletion, SandboxError> {
        check_caller(caller)?;
        let own = Viewer::Buyer { scope: caller.scope.clone(), principal: caller.principal.clone() };
        let Some(task) = self.tasks().task(&own, task_id, false).await? else { return Err(SandboxError::NotFound) };
        let status = task.status.parse::<TaskStatus>();
        if status.is_ok_and(|status| status.is_terminal() && status != TaskStatus::Completed) {
            return Err(SandboxError::InvalidTransition { current: task.status });
        }
        let verb = task.task.as_ref().map_or_else(Default::default, |task| task.verb.clone());
        self.check_evaluation(caller, task_id, &verb, result).await?;
        let text = checked("result", result)?;
        let completion = Completion {
            outcome: Some(Outcome::ResultJson(text)),
            // The same one each time that it is sent.
            decision_id: uuid::Uuid::now_v7().to_string(),
            actor: ACTOR.to_owned(),
            reason: "force_task_completion".to_owned(),
        };
        let reviewer = Viewer::Reviewer { scopes: vec![caller.scope.clone()] };
        let resolved = match self.resolve(&reviewer, task_id, completion.clone()).await? {
            Resolved::Recorded { .. } => {
                let ended = self.watch(&own, task_id).try_for_each(|_| ready(Ok(())));
                timeout(SETTLE_PATIENCE, ended).await.map_err(|_| not_settled())??;
                // The registry knows by now whose decision it was.
                self.resolve(&reviewer, task_id, completion).await?
            }
            resolved => resolved,
        };
        match resolved {
            Resolved::Accepted { recorded } | Resolved::Duplicate { recorded } => {
                Ok(SandboxCompletion { previous: task.status, current: recorded.status })
            }
            Resolved::Conflict { recorded } => Err(SandboxError::InvalidTransition { current: recorded.status }),
            Resolved::Invalid { message } => Err(SandboxError::InvalidParams { field: "result", message }),
            Resolved::NotFound => Err(SandboxError::NotFound),
            Resolved::Recorded { .. } => Err(not_settled()),
        }
    }
}

impl Handoff {
    /// Ends the time of a committed proposal of the caller's now: it can't be bought any more, and whoever looks at it sees that
    /// its `expires_at` is in the past. One that is being bought, or was, stays as it is.
    pub async fn expire_in_sandbox(&self, caller: &Caller, proposal_id: &str) -> Result<SandboxExpiry, SandboxError> {
        check_caller(caller)?;
        let own = ProposalRef::new(&caller.scope, &caller.principal, proposal_id);
        let proposal = own.or_of_brand(caller.brand_scope.clone());
        let cause =
            ProposalCause { actor: ACTOR.to_owned(), reason: "expire_proposal".to_owned(), ..ProposalCause::default() };
        match self.registry().expire_proposal(&proposal, &cause).await.map_err(CallError::registry)? {
            Ok(expired) => {
                let at = expired.expires_at.and_then(DateTime::from_timestamp_micros).unwrap_or_default();
                Ok(SandboxExpiry { expires_at: at.to_rfc3339_opts(SecondsFormat::Micros, true) })
            }
            Err(refused) if refused.code == "PROPOSAL_NOT_FOUND" => Err(SandboxError::NotFound),
            Err(refused) => Err(SandboxError::InvalidState(refused.message.trim_end_matches('.').to_owned())),
        }
    }

    /// The result of an evaluation is of the one that its buyer was told.
    async fn check_evaluation(
        &self,
        caller: &Caller,
        task_id: &str,
        verb: &str,
        result: &Value,
    ) -> Result<(), SandboxError> {
        if verb != FEATURES {
            return Ok(());
        }
        let task = TaskRef {
            task_id: task_id.to_owned(),
            scope: caller.scope.clone(),
            principal: caller.principal.clone(),
            verb: verb.to_owned(),
        };
        let standing = self.registry().standing(&task).await.map_err(CallError::registry)?;
        let told = match standing.decision.and_then(|decision| decision.kind) {
            Some(Kind::HandoffToWorkflow(handoff)) => handoff.forced_evaluation_id(),
            _ => None,
        };
        if told.is_some_and(|told| result.get("evaluation_id").and_then(Value::as_str) != Some(&told)) {
            return Err(invalid("result", "must have the evaluation_id that was told with submitted"));
        }
        Ok(())
    }
}

fn check_caller(caller: &Caller) -> Result<(), SandboxError> {
    caller.check().map_err(CallError::from)?;
    if caller.sandbox { Ok(()) } else { Err(SandboxError::Forbidden) }
}

fn directive(caller: &Caller, verb: &str, arm: ForcedArm) -> Result<Directive, SandboxError> {
    let Some(verb) = verbs::find(verb) else {
        return Err(invalid("scenario", format!("{verb:?} is not a verb that may be answered asynchronously")));
    };
    let (task_id, kind) = match arm {
        ForcedArm::Submitted { task_id, message, evaluation_id } => {
            check_task_id(&task_id)?;
            if let Some(id) = &evaluation_id {
                check_id("evaluation_id", id, MAX_EVALUATION_ID)?;
                if verb.name != FEATURES {
                    return Err(invalid("evaluation_id", format!("is of {FEATURES} alone")));
                }
            }
            let handoff = HandoffToWorkflow::forced(message.as_deref(), evaluation_id.as_deref());
            (task_id, Kind::HandoffToWorkflow(handoff))
        }
        ForcedArm::Answer(body) => {
            let result_json = checked("result", &body)?;
            (TaskId::generate().into(), Kind::Complete(Complete { result_json }))
        }
    };
    let task = TaskRef {
        task_id,
        scope: caller.scope.clone(),
        principal: caller.principal.clone(),
        verb: verb.name.to_owned(),
    };
    Ok(Directive { task, decision: Decision { kind: Some(kind) }, id: uuid::Uuid::now_v7().simple().to_string() })
}

// What the engine makes itself is never forced: that a run's id is used again is told by the form of its task's id.
fn check_task_id(task_id: &str) -> Result<(), SandboxError> {
    check_id("task_id", task_id, MAX_TASK_ID)?;
    if TaskId::from(task_id).is_generated() {
        return Err(invalid("task_id", "has the form of the ids that the seller makes itself; choose another"));
    }
    Ok(())
}

fn check_id(field: &'static str, id: &str, longest: usize) -> Result<(), SandboxError> {
    if id.is_empty() || id.chars().count() > longest || id.chars().any(char::is_control) {
        return Err(invalid(field, format!("must be 1 to {longest} characters, without control characters")));
    }
    Ok(())
}

/// An object that can be recorded as a result, as text.
fn checked(field: &'static str, result: &Value) -> Result<String, SandboxError> {
    let text = result.to_string();
    if !result.is_object() {
        return Err(invalid(field, "must be a JSON object"));
    }
    if text.len() > MAX_RESULT_BYTES {
        return Err(invalid(field, errors::result_too_large(text.len(), MAX_RESULT_BYTES).message));
    }
    json::canonical(result).map_err(|error| invalid(field, error.to_string()))?;
    Ok(text)
}

fn invalid(field: &'static str, message: impl Into<String>) -> SandboxError {
    SandboxError::InvalidParams { field, message: message.into() }
}

fn not_settled() -> SandboxError {
    CallError::from(unavailable("The task's end is recorded, and not settled yet.", 10)).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeRegistry, Say, count, fake_handoff};
    use handoff_proto::{v1::TaskRecord, wire::AdcpError};
    use handoff_store::{RegistryError, Ruled};
    use serde_json::json;
    use std::sync::Mutex;

    fn task(status: &str) -> Option<TaskRecord> {
        let result_json = if status == "completed" { json!({"media_buy_id": "m"}).to_string() } else { String::new() };
        Some(TaskRecord { status: status.into(), result_json, decision_id: "d".into(), ..Default::default() })
    }

    async fn complete(
        tasks: impl IntoIterator<Item = Option<TaskRecord>>,
        result: Value,
    ) -> (Result<SandboxCompletion, SandboxError>, usize) {
        // Nobody polls.
        let nobody = |name: &str, _| match name {
            "UpdateWorkflowExecution" => Say::Nothing,
            _ => Say::Message(vec![]),
        };
        let (handoff, _, calls) = fake_handoff(FakeRegistry::with_tasks(tasks), nobody).await;
        let caller = Caller::new("acct", "p").sandbox(true);
        let completed = handoff.complete_in_sandbox(&caller, "t", &result).await;
        (completed, count(&calls, "SignalWorkflowExecution"))
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_only_recorded_is_awaited_and_sent_once() {
        let waiting = || [task("submitted"), task("submitted"), task("submitted")];
        let (completed, signals) =
            complete(waiting().into_iter().chain([task("working"), task("completed")]), json!({"media_buy_id": "m"}))
                .await;
        let expected = SandboxCompletion { previous: "submitted".into(), current: "completed".into() };
        assert_eq!((completed.unwrap(), signals), (expected, 1));
        let (refused, signals) = complete(waiting(), json!({"media_buy_id": "m"})).await;
        assert!(matches!(refused, Err(SandboxError::Failed(error)) if error.is_transient()));
        assert_eq!(signals, 1);
        let others = waiting().into_iter().chain([task("completed")]);
        let (refused, _) = complete(others, json!({"media_buy_id": "other"})).await;
        assert!(matches!(refused, Err(SandboxError::InvalidTransition { current }) if current == "completed"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_evaluation_ends_as_the_one_that_its_buyer_was_told() {
        let evaluation = || TaskRecord {
            task: Some(TaskRef { verb: FEATURES.into(), ..crate::testing::task() }),
            ..task("submitted").unwrap()
        };
        let decision = Kind::HandoffToWorkflow(HandoffToWorkflow::forced(None, Some("eval_1")));
        for result in [json!({"results": []}), json!({"results": [], "evaluation_id": "eval_2"})] {
            let registry = FakeRegistry::with_tasks([Some(evaluation())]);
            registry.standing.lock().unwrap().decision = Some(Decision { kind: Some(decision.clone()) });
            let (handoff, _, calls) = fake_handoff(registry, |_, _| Say::Nothing).await;
            let caller = Caller::new("acct", "p").sandbox(true);
            let refused = handoff.complete_in_sandbox(&caller, "t", &result).await;
            assert!(matches!(refused, Err(SandboxError::InvalidParams { field: "result", .. })), "{refused:?}");
            assert_eq!(calls.lock().unwrap().len(), 0);
        }
    }

    #[tokio::test]
    async fn what_the_ledger_says_of_a_proposal_is_told() {
        let caller = Caller::new("acct", "p").sandbox(true);
        let refusal = |code: &str| Ok(Err(AdcpError::correctable(code, "It is a draft.")));
        let expire = async |caller: &Caller, ruled: Result<Ruled, RegistryError>| {
            let registry = FakeRegistry { expired: Mutex::new([ruled].into()), ..FakeRegistry::default() };
            let (handoff, _, _) = fake_handoff(registry, |_, _| Say::Nothing).await;
            handoff.expire_in_sandbox(caller, "prop").await
        };
        let unknown = expire(&caller, refusal("PROPOSAL_NOT_FOUND")).await;
        assert!(matches!(unknown, Err(SandboxError::NotFound)), "{unknown:?}");
        let draft = expire(&caller, refusal("PROPOSAL_NOT_COMMITTED")).await;
        assert!(matches!(&draft, Err(SandboxError::InvalidState(why)) if why == "It is a draft"), "{draft:?}");
        let away = expire(&caller, Err(RegistryError::Unavailable("busy".into()))).await;
        assert!(matches!(&away, Err(SandboxError::Failed(error)) if error.is_transient()), "{away:?}");
        let live = expire(&Caller::new("acct", "p"), refusal("INVALID_STATE")).await;
        assert!(matches!(live, Err(SandboxError::Forbidden)), "{live:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_ended_stays_as_it_ended() {
        for status in ["failed", "rejected", "canceled"] {
            let (refused, signals) = complete([task(status)], json!({})).await;
            assert!(matches!(refused, Err(SandboxError::InvalidTransition { current }) if current == status));
            assert_eq!(signals, 0);
        }
        let (same, _) = complete([task("completed")], json!({"media_buy_id": "m"})).await;
        assert_eq!(same.unwrap().previous, "completed");
        assert!(matches!(complete([None], json!({})).await.0, Err(SandboxError::NotFound)));
    }
}
