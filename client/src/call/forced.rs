//! Requests that the compliance controller decides: in a sandbox alone (docs/decisions/023).

use super::{Answer, CallError, RETRY_AFTER, answer, claim::patiently, request::Request, trace_run};
use crate::{Handoff, error::unavailable};
use handoff_proto::{
    v1::{TaskInput, TaskRef, decision::Kind},
    wire::AdcpError,
};
use handoff_store::{Directive, Forced, NewClaim, Seen};
use tokio::time::Instant;

// Each time the task was changed between two looks: by its own run's last steps, or by somebody who calls for it.
const REPLACE_ATTEMPTS: usize = 5;

impl Handoff {
    /// The answer that a waiting directive wants; `None`: the request is answered like any other.
    pub(super) async fn forced(&self, request: &Request<'_>, input: &TaskInput) -> Result<Option<Answer>, CallError> {
        if !self.config().compliance_testing || !input.sandbox || request.verb.is_none() {
            return Ok(None);
        }
        let own = input.task.clone().unwrap_or_default();
        let Some(directive) = self.registry().directive(&own).await.map_err(CallError::registry)? else {
            return Ok(None);
        };
        let submits = matches!(directive.decision.kind, Some(Kind::HandoffToWorkflow(_)));
        if submits && !request.may_be_async() {
            return Ok(None);
        }
        if submits && self.temporal().is_err() {
            return Err(unavailable("The seller can't take new work at the moment.", RETRY_AFTER).into());
        }
        let deadline = Instant::now() + request.sync_deadline + self.config().grace;
        let task = TaskRef { task_id: directive.task.task_id.clone(), ..own };
        // It buys nothing: what it is answered was not decided by who sells.
        let claim = NewClaim { proposal: None, ..self.new_claim(request, &task) };
        let limit = self.config().new_keys.as_ref().filter(|_| claim.idempotency_key.is_some());
        if let Some(limit) = limit {
            limit.admit(&claim.task)?;
        }
        let forced = self.claim_forced(&claim, &directive, deadline).await?;
        if let (Some(limit), Forced::Claimed { .. }) = (limit, &forced) {
            limit.count(&claim.task);
        }
        match forced {
            Forced::Claimed { answer: Some(recorded) } => {
                self.config().metrics.claimed(&request.tool, "new");
                answer::recorded(request, &task.task_id, &recorded, false).map(Some)
            }
            Forced::Claimed { answer: None } => {
                self.config().metrics.claimed(&request.tool, "new");
                let mut input = TaskInput { task: Some(task), ..input.clone() };
                trace_run(&mut input);
                let answer = self.wait(request, input, false, deadline).await?;
                Ok(Some(saying(answer, &directive)))
            }
            Forced::Passed => Ok(None),
            Forced::Held { .. } => {
                Err(unavailable("The task that has the compliance controller's task_id is at work.", RETRY_AFTER)
                    .into())
            }
            Forced::Taken => Err(AdcpError::correctable(
                "CONFLICT",
                "The task_id that the compliance controller was given is in use.",
            )
            .suggestion("Give the compliance controller another task_id.")
            .into()),
        }
    }

    /// A task of the agent's own that has the forced id is replaced once its run is closed, however far it is.
    async fn claim_forced(
        &self,
        claim: &NewClaim,
        directive: &Directive,
        deadline: Instant,
    ) -> Result<Forced, CallError> {
        let force = |replaces: Option<Seen>| {
            patiently(deadline, move || self.registry().claim_forced(claim, directive, replaces))
        };
        let mut forced = force(None).await?;
        for _ in 0..REPLACE_ATTEMPTS {
            if !matches!(forced, Forced::Held { .. }) {
                break;
            }
            // In this order: a run that was open before the task was seen is that task's, and never that of one which another
            // call has put in its place.
            let run = self.open_run(claim.task.workflow_id()).await?;
            forced = force(None).await?;
            let Forced::Held { seen } = forced else { break };
            if let Some(run) = run {
                run.terminate("its task is replaced, in the sandbox").await?;
            }
            forced = force(Some(seen)).await?;
        }
        Ok(forced)
    }
}

/// The run says `submitted`, and knows of nothing beside it.
fn saying(mut answer: Answer, directive: &Directive) -> Answer {
    if let (Some(Kind::HandoffToWorkflow(handoff)), "submitted") = (&directive.decision.kind, answer.status.as_str())
        && let Some(body) = answer.body.as_object_mut()
    {
        body.extend(handoff.forced_fields());
    }
    answer
}

#[cfg(test)]
mod tests {
    use crate::{
        Caller, Config, Handoff, NewKeysLimit,
        call::{Answer, CallError, Direct, DirectContext},
        sandbox::{ForcedArm, SandboxError},
        testing::{Calls, FakeRegistry, Say, configured_handoff, count, running, told},
    };
    use handoff_proto::{v1::outcome, wire::AdcpError};
    use handoff_store::{Answer as Recorded, Forced, RegistryError, Seen};
    use handoff_webhooks::OperationIdPolicy;
    use prost::Message;
    use serde_json::{Value, json};
    use std::{num::NonZeroU32, sync::Arc, time::Duration};
    use temporalio_common::protos::temporal::api::{
        enums::v1::WorkflowIdReusePolicy,
        workflowservice::v1::{
            ExecuteMultiOperationRequest, TerminateWorkflowExecutionRequest,
            execute_multi_operation_request::operation::Operation,
        },
    };

    const DESCRIBE: &str = "DescribeWorkflowExecution";
    const TERMINATE: &str = "TerminateWorkflowExecution";

    fn forcing(forced: impl IntoIterator<Item = Result<Forced, RegistryError>>) -> FakeRegistry {
        FakeRegistry { forced: std::sync::Mutex::new(forced.into_iter().collect()), ..FakeRegistry::default() }
    }

    fn controlling() -> Config {
        Config { compliance_testing: true, ..Config::default() }
    }

    async fn controlled(
        registry: FakeRegistry,
        answer: impl Fn(&str, usize) -> Say + Send + Sync + 'static,
    ) -> (Handoff, Arc<FakeRegistry>, Calls) {
        configured_handoff(controlling(), registry, answer).await
    }

    fn buyer() -> Caller {
        Caller::new("acct", "p").sandbox(true)
    }

    fn submitted() -> Say {
        told(outcome::Kind::Submitted(Default::default()))
    }

    fn arm() -> ForcedArm {
        ForcedArm::Submitted { task_id: "task_io".into(), message: Some("soon".into()), evaluation_id: None }
    }

    /// The ids of the updates by which runs were asked, and how each was to be started.
    fn asked(calls: &Calls) -> Vec<(String, i32)> {
        let calls = calls.lock().unwrap();
        let asked = calls.iter().filter(|(name, _)| name == "ExecuteMultiOperation").map(|(_, request)| {
            let request = ExecuteMultiOperationRequest::decode(request.as_slice()).unwrap();
            let mut parts = (String::new(), 0);
            for operation in request.operations {
                match operation.operation.unwrap() {
                    Operation::StartWorkflow(start) => parts.1 = start.workflow_id_reuse_policy,
                    Operation::UpdateWorkflow(update) => parts.0 = update.request.unwrap().meta.unwrap().update_id,
                }
            }
            parts
        });
        asked.collect()
    }

    async fn call(handoff: &Handoff, caller: &Caller, verb: &str, request: &Value) -> Result<Answer, CallError> {
        handoff.call(caller, verb, request.to_string().as_bytes()).await
    }

    async fn never(_: DirectContext) -> Result<Direct, AdcpError> {
        panic!("the handler was called")
    }

    fn request() -> Value {
        json!({"idempotency_key": "0123456789abcdef", "context": {"n": 1}})
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_request_gets_the_task_id_verbatim() {
        let away = || Err(RegistryError::Unavailable("busy".into()));
        let says = |name: &str, number| match (name, number) {
            ("ExecuteMultiOperation", 0) => Say::Error(tonic::Status::unavailable("down")),
            _ => submitted(),
        };
        let (handoff, registry, calls) =
            controlled(forcing([away(), Ok(Forced::Claimed { answer: None })]), says).await;
        handoff.force_arm(&buyer(), "create_media_buy", arm()).await.unwrap();
        let answer = call(&handoff, &buyer(), "create_media_buy", &request()).await.unwrap();
        let expected = json!({"status": "submitted", "task_id": "task_io", "message": "soon", "context": {"n": 1}});
        assert_eq!((answer.body, answer.replayed), (expected, false));
        assert_eq!((registry.claimed.lock().unwrap().len(), registry.forcing.lock().unwrap().len()), (0, 2));
        assert_eq!(count(&calls, TERMINATE), 0);
        // The same question until it is answered, and nobody else's: a closed run of this id would still answer that.
        let asked = asked(&calls);
        assert_eq!((asked.len(), &asked[0]), (2, &asked[1]));
        assert!(asked[0].0.starts_with("outcome-") && asked[0].1 == WorkflowIdReusePolicy::AllowDuplicate as i32);
    }

    fn held(version: i64) -> Result<Forced, RegistryError> {
        Ok(Forced::Held { seen: Seen { created_at: 7, version } })
    }

    fn claimed() -> Result<Forced, RegistryError> {
        Ok(Forced::Claimed { answer: None })
    }

    /// Calls for a forced task whose id is taken as `forced` says, and whose latest run is as `runs` says: what was answered, the
    /// versions of what was to be replaced, and the runs that were terminated.
    async fn replace(
        forced: impl IntoIterator<Item = Result<Forced, RegistryError>>,
        run: Says,
        terminated: Says,
    ) -> (Result<Answer, CallError>, Vec<Option<i64>>, Vec<String>) {
        let says = move |name: &str, _| match name {
            DESCRIBE => run(),
            TERMINATE => terminated(),
            _ => submitted(),
        };
        let (handoff, registry, calls) = controlled(forcing(forced), says).await;
        handoff.force_arm(&buyer(), "create_media_buy", arm()).await.unwrap();
        let answer = call(&handoff, &buyer(), "create_media_buy", &request()).await;
        let replaced = registry.forcing.lock().unwrap().iter().map(|(_, seen)| seen.map(|seen| seen.version)).collect();
        let calls = calls.lock().unwrap();
        let runs = calls.iter().filter(|(name, _)| name == TERMINATE).map(|(_, request)| {
            TerminateWorkflowExecutionRequest::decode(request.as_slice()).unwrap().workflow_execution.unwrap().run_id
        });
        (answer, replaced, runs.collect())
    }

    type Says = fn() -> Say;

    fn done() -> Say {
        Say::Message(vec![])
    }

    fn denied() -> Say {
        Say::Error(tonic::Status::permission_denied("no"))
    }

    fn gone() -> Say {
        Say::Error(tonic::Status::not_found("workflow execution already completed"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_has_the_id_is_replaced_once_its_run_is_closed() {
        let looks = || [held(1), held(1), claimed()];
        let fine: [(Says, Says, usize); 3] = [(running, done, 1), (running, gone, 1), (gone, done, 0)];
        for (run, terminate, runs) in fine {
            let (answer, replaced, terminated) = replace(looks(), run, terminate).await;
            assert_eq!(answer.unwrap().task_id, "task_io");
            assert_eq!(replaced, [None, None, Some(1)]);
            assert_eq!(terminated, vec!["run"; runs]);
        }
        let broken: [(Says, Says, usize); 2] = [(running, denied, 2), (denied, done, 1)];
        for (run, terminate, looked) in broken {
            let (answer, replaced, _) = replace(looks(), run, terminate).await;
            assert!(matches!(answer, Err(CallError::Infrastructure(_))), "{answer:?}");
            assert_eq!(replaced, vec![None; looked]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_changes_while_it_is_replaced_is_looked_at_again() {
        let changed = [held(1), held(1), held(2), held(2), claimed()];
        let (answer, replaced, terminated) = replace(changed, running, done).await;
        assert_eq!(answer.unwrap().task_id, "task_io");
        assert_eq!((replaced, terminated.len()), (vec![None, None, Some(1), None, Some(2)], 2));
        // Another call was faster: the run that is there now is its own, and this request is one like any other.
        let (answer, replaced, terminated) = replace([held(1), Ok(Forced::Passed)], running, done).await;
        assert_ne!(answer.unwrap().task_id, "task_io");
        assert_eq!((replaced, terminated.len()), (vec![None, None], 0));
        let (answer, ..) = replace((0..100).map(held), running, done).await;
        assert!(answer.unwrap_err().to_adcp().is_transient());
    }

    #[tokio::test(start_paused = true)]
    async fn an_operation_id_that_is_assigned_is_the_forced_tasks() {
        let mut config = controlling();
        config.webhooks.operation_id = OperationIdPolicy::Assigned;
        for (webhook, named) in [
            (json!({"url": "https://buyer.example"}), "task_io"),
            (json!({"url": "https://buyer.example", "operation_id": "op"}), "op"),
        ] {
            let registry = forcing([Ok(Forced::Claimed { answer: None })]);
            let (handoff, registry, _) = configured_handoff(config.clone(), registry, |_, _| submitted()).await;
            handoff.force_arm(&buyer(), "create_media_buy", arm()).await.unwrap();
            let mut request = request();
            request["push_notification_config"] = webhook;
            call(&handoff, &buyer(), "create_media_buy", &request).await.unwrap();
            let kept = registry.forcing.lock().unwrap()[0].0.webhook.clone().unwrap();
            let kept: Value = serde_json::from_str(&kept.config_json).unwrap();
            assert_eq!(kept["operation_id"], named);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_forced_request_brings_a_new_key_like_any_other() {
        let one = NonZeroU32::new(1).unwrap();
        let config = Config { new_keys: Some(Arc::new(NewKeysLimit::new(one, one))), ..controlling() };
        let recorded = Recorded { status: "completed".into(), body_json: r#"{"media_buy_id": "m"}"#.into() };
        let claimed = || Ok(Forced::Claimed { answer: Some(recorded.clone()) });
        let registry = forcing([claimed(), claimed()]);
        let (handoff, registry, _) = configured_handoff(config, registry, |_, _| Say::Nothing).await;
        handoff.force_arm(&buyer(), "create_media_buy", arm()).await.unwrap();
        call(&handoff, &buyer(), "create_media_buy", &request()).await.unwrap();
        let refused = call(&handoff, &buyer(), "create_media_buy", &request()).await.unwrap_err().to_adcp();
        assert_eq!(refused.code, "RATE_LIMITED");
        assert_eq!(registry.forcing.lock().unwrap().len(), 1, "it is refused before it is claimed");
        tokio::time::advance(Duration::from_secs(1)).await;
        call(&handoff, &buyer(), "create_media_buy", &request()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_answered_at_once_needs_no_run() {
        let body = json!({"status": "rejected", "reason": "no", "suggestions": ["more"]});
        let recorded = Recorded { status: "completed".into(), body_json: body.to_string() };
        let registry = forcing([Ok(Forced::Claimed { answer: Some(recorded) })]);
        let (handoff, _, calls) = controlled(registry, |_, _| Say::Nothing).await;
        let arm = ForcedArm::rejected("no", Some(json!(["more"])));
        handoff.force_arm(&buyer(), "get_products", arm).await.unwrap();
        let request = json!({"buying_mode": "brief"}).to_string();
        let answer = handoff.answer_directly(&buyer(), "get_products", request.as_bytes(), never).await.unwrap();
        assert_eq!((answer.status.as_str(), answer.body), ("rejected", body));
        assert_eq!(calls.lock().unwrap().len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_directive_is_not_for_is_answered_as_ever() {
        // Live; a key that is known; discovery that must not be asynchronous; and a seller who lets nobody control anything.
        let live = Caller::new("acct", "p");
        for (config, caller, verb, request, forced) in [
            (controlling(), &live, "create_media_buy", request(), 0),
            (controlling(), &buyer(), "create_media_buy", request(), 1),
            (controlling(), &buyer(), "get_products", json!({"buying_mode": "wholesale"}), 0),
            (Config::default(), &buyer(), "create_media_buy", request(), 0),
        ] {
            let (handoff, registry, _) = configured_handoff(config, FakeRegistry::default(), |_, _| submitted()).await;
            handoff.force_arm(&buyer(), verb, arm()).await.unwrap();
            let text = request.to_string();
            let answer = if verb == "get_products" {
                let handler = |_| async { Ok(Direct::Complete(json!({"products": []}))) };
                handoff.answer_directly(caller, verb, text.as_bytes(), handler).await.unwrap()
            } else {
                call(&handoff, caller, verb, &request).await.unwrap()
            };
            assert_ne!(answer.task_id, "task_io");
            assert_eq!(registry.forcing.lock().unwrap().len(), forced, "{verb}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_id_in_use_is_a_conflict() {
        let (handoff, registry, _) = controlled(forcing([Ok(Forced::Taken)]), |_, _| submitted()).await;
        handoff.force_arm(&buyer(), "create_media_buy", arm()).await.unwrap();
        let error = call(&handoff, &buyer(), "create_media_buy", &request()).await.unwrap_err().to_adcp();
        assert_eq!(error.code, "CONFLICT");
        assert!(registry.claimed.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_directive_is_checked() {
        let (handoff, registry, _) = controlled(FakeRegistry::default(), |_, _| Say::Nothing).await;
        let live = handoff.force_arm(&Caller::new("acct", "p"), "create_media_buy", arm()).await;
        assert!(matches!(live, Err(SandboxError::Forbidden)));
        let submitted = |task_id: String, evaluation_id| ForcedArm::Submitted { task_id, message: None, evaluation_id };
        let id = |task_id| submitted(task_id, None);
        for (verb, arm) in [
            ("get_media_buys", arm()),
            ("create_media_buy", id(String::new())),
            ("create_media_buy", id("ä".repeat(129))),
            ("create_media_buy", id("a\nb".into())),
            ("create_media_buy", id(handoff_proto::TaskId::generate().into())),
            ("get_products", ForcedArm::Answer(json!([]))),
            ("get_creative_features", submitted("task_io".into(), Some(String::new()))),
            ("get_creative_features", submitted("task_io".into(), Some("e".repeat(256)))),
            ("create_media_buy", submitted("task_io".into(), Some("eval_1".into()))),
        ] {
            let refused = handoff.force_arm(&buyer(), verb, arm.clone()).await;
            assert!(matches!(refused, Err(SandboxError::InvalidParams { .. })), "{arm:?}: {refused:?}");
        }
        assert!(registry.directive.lock().unwrap().is_none());
        handoff.force_arm(&buyer(), "create_media_buy", id("ä".repeat(128))).await.unwrap();
    }
}
