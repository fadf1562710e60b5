//! `begin` and `decide`: the seller's decision, recorded once.

use super::{Activities, guard};
use crate::seller::{DecisionDiscarded, Failure, Prepared, RequestContext, Subject, TaskSummary};
use handoff_proto::{
    convert::to_proto_duration,
    errors,
    v1::{self, BeginOutput, DecideInput, Standing, TaskInput, TaskRef, decision::Kind},
    verbs,
    wire::AdcpError,
};
use handoff_store::RegistryError;
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use temporalio_sdk::activities::{ActivityContext, ActivityError};

// How long a decision that was made waits for a registry that is away, before the handler has to be called again.
const RECORD_PATIENCE: Duration = Duration::from_secs(120);

impl Activities {
    /// Finds the decision in the journal or, for a quick handler, gets it.
    pub(super) async fn begin_deciding(&self, input: TaskInput) -> Result<BeginOutput, ActivityError> {
        let task = guard::task_of(&input)?;
        let standing = self.found(&task).await?;
        if is_over(&standing) {
            return Ok(BeginOutput {
                standing: Some(guard::without_result(standing)),
                caller_keeps_sync_deadline: input.caller_keeps_sync_deadline,
                ..Default::default()
            });
        }
        let (request, body) = self.asked(&input, 1).await.map_err(guard::registry_error)?;
        let may_be_async = self.may_be_async(&task, &request, &body).await;
        let mut output = BeginOutput {
            standing: Some(standing),
            may_be_async,
            decide_timeout: Some(to_proto_duration(self.timeouts.decide)),
            decide_heartbeat_timeout: Some(to_proto_duration(self.timeouts.heartbeat)),
            caller_keeps_sync_deadline: input.caller_keeps_sync_deadline,
        };
        if self.handlers.verb(&task.verb).is_some_and(|verb| verb.quick) {
            let deciding = self.ask(&input, request, body, may_be_async);
            // Too slow, or it panicked: the regular activity tells apart which.
            if let Ok(Ok(decision)) = tokio::time::timeout(self.timeouts.quick, deciding).await {
                output.standing = Some(self.record(&input, &task, decision).await?);
            }
        }
        Ok(output)
    }

    /// Calls the verb handler, unless the journal has its decision, and records what it decided.
    pub(super) async fn decide_regularly(
        &self,
        ctx: ActivityContext,
        input: DecideInput,
    ) -> Result<Standing, ActivityError> {
        let DecideInput { input, may_be_async } = input;
        let input = guard::required(input, "input")?;
        let task = guard::task_of(&input)?;
        let standing = self.found(&task).await?;
        if is_over(&standing) {
            return Ok(guard::without_result(standing));
        }
        // A cancellation does not stop the handler at once: what it may have booked has to be recorded, or undone.
        let (request, body) = self.asked(&input, ctx.info().attempt).await.map_err(guard::registry_error)?;
        let deciding = guard::with_heartbeats(&ctx, || None, async {
            let decision = self.ask(&input, request, body, may_be_async).await?;
            self.record(&input, &task, decision).await
        });
        guard::within_grace(&ctx, deciding).await?
    }

    // Reserves the proposal that the request names: what can't be reserved is decided.
    //
    // A decision for the task arm that was made before there was a run is only pending: the run that carries it out is here.
    async fn found(&self, task: &TaskRef) -> Result<Standing, ActivityError> {
        let standing = self.registry.begin(task).await.map_err(guard::registry_error)?;
        let kind = standing.decision.as_ref().and_then(|decision| decision.kind.as_ref());
        if standing.submitted || !matches!(kind, Some(Kind::HandoffToTask(_))) {
            return Ok(standing);
        }
        self.registry.accept(task).await.map_err(guard::registry_error)
    }

    pub(super) async fn may_be_async(&self, task: &TaskRef, request: &Arc<RequestContext>, body: &Value) -> bool {
        if !verbs::find(&task.verb).is_some_and(|verb| verb.may_be_async(body)) {
            return false;
        }
        match self.handlers.verb(&task.verb).and_then(|verb| verb.answers_at_once.as_ref()) {
            Some(answers_at_once) => !answers_at_once(request.clone(), body.clone()).await,
            None => true,
        }
    }

    // An `AdcpError` is an answer. Only a panic is not: it says nothing about what the handler did.
    pub(super) async fn ask(
        &self,
        input: &TaskInput,
        request: Arc<RequestContext>,
        body: Value,
        may_be_async: bool,
    ) -> Result<v1::Decision, ActivityError> {
        let name = request.verb.clone();
        let Some(verb) = self.handlers.verb(&name) else {
            let error = AdcpError::terminal("UNSUPPORTED_FEATURE", format!("This seller does not offer {name}."));
            return Ok(refuse(error));
        };
        let answer = guard::catch(&name, input, (verb.decide)(request, body)).await;
        let Ok(answer) = answer else { return Err(guard::panicked(input)) };
        let decision = self.checked(&name, answer, may_be_async, input);
        let oversize = match &decision.kind {
            // Its handler's activity is given the request, too.
            Some(Kind::HandoffToTask(_) | Kind::HandoffToWorkflow(_)) => guard::oversize(&(&decision, input)),
            _ => guard::oversize(&decision),
        };
        let decision = match oversize {
            Some(size) => refuse(errors::result_too_large(size, handoff_proto::limits::MAX_ENCODED_BYTES)),
            None => decision,
        };
        Ok(self.with_hooks(&name, decision, input).await)
    }

    // What a handler said, as a decision that can be carried out.
    fn checked(
        &self,
        verb: &str,
        answer: Result<crate::seller::Decision, AdcpError>,
        may_be_async: bool,
        input: &TaskInput,
    ) -> v1::Decision {
        let prepared = match answer.and_then(crate::seller::Decision::prepare) {
            Ok(prepared) => prepared,
            Err(error) => return refuse(error),
        };
        let checked = match &prepared {
            Prepared::Complete(result) => self.check_text(verb, result, &input.correlation_id),
            _ => Ok(()),
        };
        match checked.and_then(|()| self.with_options(verb, prepared, may_be_async, input)) {
            Ok(prepared) => prepared.into_message(),
            Err(error) => {
                tracing::error!(verb, code = error.code, correlation_id = %input.correlation_id, "a decision can't be carried out");
                refuse(error)
            }
        }
    }

    // A result has to pass its hook before it is recorded; what has no result is told to its own.
    async fn with_hooks(&self, verb: &str, decision: v1::Decision, input: &TaskInput) -> v1::Decision {
        if !self.has_hooks(verb) {
            return decision;
        }
        let subject = Subject::of_input(input);
        let mut decision = decision;
        if let Some(Kind::Complete(complete)) = &decision.kind {
            let result: Value = serde_json::from_str(&complete.result_json).unwrap_or_default();
            if is_rejected(&result) {
                self.failing(verb, subject, Failure::Rejected(result)).await;
                return decision;
            }
            match self.answering(verb, subject.clone(), result).await {
                Ok(()) => return decision,
                Err(error) => decision = refuse(error),
            }
        }
        if let Some(Kind::Refuse(error)) = &decision.kind {
            self.failing(verb, subject, Failure::Refused(error.to_wire())).await;
        }
        decision
    }

    // Checks a hand-off against the wiring, and gives it the options that its handler was registered with.
    fn with_options(
        &self,
        verb: &str,
        prepared: Prepared,
        may_be_async: bool,
        input: &TaskInput,
    ) -> Result<Prepared, AdcpError> {
        let missing = |kind: &str, handler: &str| {
            tracing::error!(verb, handler, "this {kind} is not there: register it as one, and name it in hands_off_to");
            AdcpError::terminal(errors::HANDLER_MISSING, "The seller is not set up for this request.")
        };
        let declared = |handler: &str| {
            self.handlers.verb(verb).is_some_and(|verb| verb.hands_off_to.iter().any(|name| name == handler))
        };
        match prepared {
            Prepared::Complete(result) if is_open(&result) => Err(errors::result_invalid(
                "a result is not submitted or working; hand off instead, and the engine says so",
            )),
            Prepared::Complete(result) => Ok(Prepared::Complete(result)),
            _ if !may_be_async => Err(errors::async_not_allowed()),
            Prepared::Task(mut handoff) => {
                let task = self.handlers.task(&handoff.handler).filter(|_| declared(&handoff.handler));
                let task = task.ok_or_else(|| missing("task handler", &handoff.handler))?;
                handoff.retry_policy = Some(task.retry);
                handoff.attempt_timeout = Some(to_proto_duration(task.attempt_timeout));
                handoff.heartbeat_timeout = Some(to_proto_duration(task.heartbeat_timeout));
                handoff.deadline = Some(to_proto_duration(task.deadline));
                Ok(Prepared::Task(handoff))
            }
            Prepared::Workflow(mut handoff) => {
                let enqueue = self.handlers.enqueue(&handoff.handler).filter(|_| declared(&handoff.handler));
                let enqueue = enqueue.ok_or_else(|| missing("enqueue handler", &handoff.handler))?;
                handoff.enqueue_retry_policy = Some(enqueue.retry);
                handoff.enqueue_attempt_timeout = Some(to_proto_duration(enqueue.attempt_timeout));
                handoff.sandbox_approval = handoff.sandbox_approval.filter(|_| input.sandbox);
                if let Some(approval) = &mut handoff.sandbox_approval {
                    self.check_text(verb, &approval.result_json, &input.correlation_id)?;
                    approval.after = Some(to_proto_duration(self.timeouts.sandbox_review));
                }
                Ok(Prepared::Workflow(handoff))
            }
        }
    }

    async fn record(
        &self,
        input: &TaskInput,
        task: &TaskRef,
        decision: v1::Decision,
    ) -> Result<Standing, ActivityError> {
        let standing = self.record_patiently(task, &decision).await.map_err(guard::registry_error)?;
        if standing.decision.as_ref() != Some(&decision) {
            self.decision_discarded(input, &decision).await;
            // A success that its proposal did not allow: its handler believes in it.
            if let Some(Kind::Refuse(error)) = standing.decision.as_ref().and_then(|recorded| recorded.kind.as_ref()) {
                self.failing(&task.verb, Subject::of_input(input), Failure::Refused(error.to_wire())).await;
            }
        }
        Ok(guard::without_result(standing))
    }

    async fn record_patiently(&self, task: &TaskRef, decision: &v1::Decision) -> Result<Standing, RegistryError> {
        let give_up = tokio::time::Instant::now() + RECORD_PATIENCE;
        let mut pause = Duration::from_millis(50);
        loop {
            match self.registry.record_decision(task, decision).await {
                Err(error) if error.is_transient() && tokio::time::Instant::now() < give_up => {
                    tracing::warn!(task_id = task.task_id, %error, "a decision waits to be recorded");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(5));
                }
                result => return result,
            }
        }
    }

    async fn decision_discarded(&self, input: &TaskInput, decision: &v1::Decision) {
        if matches!(decision.kind, Some(Kind::Refuse(_))) {
            return;
        }
        let task = TaskSummary::new(input);
        tracing::warn!(task_id = task.task_id, "a decision came too late and was discarded");
        let condition = DecisionDiscarded {
            idempotency_token: task.task_id.clone(),
            task,
            decision: serde_json::to_value(decision).unwrap_or_default(),
        };
        self.handlers.dispatcher.dispatch(condition).await;
    }
}

fn is_over(standing: &Standing) -> bool {
    standing.decision.is_some() || standing.settlement.is_some()
}

// A hand-written envelope would promise a task that nobody has.
fn is_open(result: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Status {
        status: Option<Value>,
    }
    let status = serde_json::from_str::<Status>(result).ok().and_then(|result| result.status);
    status.is_some_and(|status| status == "submitted" || status == "working")
}

fn is_rejected(result: &Value) -> bool {
    result.get("status").is_some_and(|status| status == "rejected")
}

fn refuse(error: AdcpError) -> v1::Decision {
    v1::Decision { kind: Some(Kind::Refuse(guard::carried(error.into()))) }
}
