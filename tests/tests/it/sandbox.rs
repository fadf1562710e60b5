//! What a sandbox's compliance controller does to real runs: the next answer, and the end of a task that waits.

use crate::{on_both_databases, webhooks::Endpoint};
use handoff_client::{
    Answer, CallError, Caller, Config, Direct, DirectContext, Handoff, SigningSource, Viewer,
    codec::{Key, KeySource},
    sandbox::{ForcedArm, SandboxCompletion, SandboxError},
};
use handoff_proto::{
    releases::Release,
    v1::{TaskRef, decision::Kind},
    wire::{AdcpError, TaskStatus},
};
use handoff_store::{Forced, NewClaim};
use handoff_tests::{
    Kind as Database, PRINCIPAL, SCOPE, World, fresh_key,
    lab::{QUICK_VERB, handlers},
    request,
};
use handoff_webhooks::keys::{Algorithm, LocalKey};
use serde_json::{Value, json};
use std::time::Duration;
use temporalio_client::WorkflowExecutionStatus;

const VERB: &str = "create_media_buy";
const DISCOVERY: &str = "get_products";

/// No other test's: they share a Temporal server, and workflow ids with it.
pub(crate) fn unique(name: &str) -> String {
    format!("{name}_{}", fresh_key())
}

fn buyer() -> Caller {
    Caller::new(SCOPE, PRINCIPAL).sandbox(true)
}

pub(crate) fn submitting(task_id: &str) -> ForcedArm {
    ForcedArm::Submitted { task_id: task_id.into(), message: Some("Awaiting a signature".into()), evaluation_id: None }
}

/// The client of a seller who lets compliance tests control sandbox accounts.
fn controlled(world: &World) -> Handoff {
    world.client(|config| config.compliance_testing = true)
}

pub(crate) async fn force(world: &World, verb: &str, arm: ForcedArm) {
    world.handoff.force_arm(&buyer(), verb, arm).await.unwrap();
}

pub(crate) async fn send(world: &World, verb: &str, request: &Value) -> Answer {
    controlled(world).call(&buyer(), verb, request.to_string().as_bytes()).await.unwrap()
}

async fn discover(world: &World, request: &Value) -> Result<Answer, CallError> {
    controlled(world).answer_directly(&buyer(), DISCOVERY, request.to_string().as_bytes(), never).await
}

async fn never(_: DirectContext) -> Result<Direct, AdcpError> {
    panic!("the seller was asked")
}

pub(crate) async fn complete(world: &World, task_id: &str, result: &Value) -> Result<SandboxCompletion, SandboxError> {
    world.handoff.complete_in_sandbox(&buyer(), task_id, result).await
}

pub(crate) fn completion(previous: &str, current: &str) -> SandboxCompletion {
    SandboxCompletion { previous: previous.into(), current: current.into() }
}

pub(crate) async fn waits(world: &World, verb: &str) -> bool {
    let request = TaskRef { scope: SCOPE.into(), principal: PRINCIPAL.into(), verb: verb.into(), ..Default::default() };
    world.registry.directive(&request).await.unwrap().is_some()
}

pub(crate) fn is_forced(answer: &Answer, task_id: &str) {
    let told = json!({
        "status": "submitted", "task_id": task_id, "message": "Awaiting a signature", "context": {"correlation_id": "it"},
    });
    assert_eq!((&answer.body, answer.replayed), (&told, false));
}

on_both_databases! {
    async fn the_next_call_is_submitted_with_the_task_id_verbatim(world: World) {
        let _worker = world.worker().await.unwrap();
        for (number, verb) in [VERB, QUICK_VERB].into_iter().enumerate() {
            let (first, second) = (unique(&format!("first:ä/{number}")), unique("second"));
            force(&world, verb, submitting(&first)).await;
            let request = request(&fresh_key(), json!({}));
            is_forced(&send(&world, verb, &request).await, &first);
            assert!(!waits(&world, verb).await);
            assert!(world.calls.of("decide", &first).is_empty(), "the seller was asked");
            assert_eq!(world.task(&first).await.unwrap().status, "submitted");
            // The same request again is a replay, and leaves the next directive to the next request.
            force(&world, verb, submitting(&second)).await;
            let replay = send(&world, verb, &request).await;
            assert_eq!((replay.task_id.as_str(), replay.replayed), (first.as_str(), true));
            assert_eq!(replay.body["message"], "Awaiting a signature");
            assert!(waits(&world, verb).await);
            let next = send(&world, verb, &handoff_tests::request(&fresh_key(), json!({}))).await;
            is_forced(&next, &second);
            // And then the seller decides again.
            let usual = send(&world, verb, &handoff_tests::request(&fresh_key(), json!({}))).await;
            assert_eq!(usual.status, "completed");
        }
    }

    async fn a_forced_task_is_completed_once(world: World) {
        let forced = unique("task_forced");
        let _worker = world.worker().await.unwrap();
        force(&world, VERB, submitting(&forced)).await;
        send(&world, VERB, &request(&fresh_key(), json!({}))).await;
        let result = json!({"media_buy_id": "mb_1", "packages": []});
        // Whose it is not, it does not exist for.
        for other in [Caller::new(SCOPE, "agent.other.example"), Caller::new("acct_other", PRINCIPAL)] {
            let refused = world.handoff.complete_in_sandbox(&other.sandbox(true), &forced, &result).await;
            assert!(matches!(refused, Err(SandboxError::NotFound)), "{refused:?}");
        }
        assert!(matches!(complete(&world, "unknown", &result).await, Err(SandboxError::NotFound)));
        let live = world.handoff.complete_in_sandbox(&Caller::new(SCOPE, PRINCIPAL), &forced, &result).await;
        assert!(matches!(live, Err(SandboxError::Forbidden)));
        let invalid = complete(&world, &forced, &json!([])).await;
        assert!(matches!(invalid, Err(SandboxError::InvalidParams { field: "result", .. })));
        assert_eq!(world.task(&forced).await.unwrap().status, "submitted");

        assert_eq!(complete(&world, &forced, &result).await.unwrap(), completion("submitted", "completed"));
        let task = world.task(&forced).await.unwrap();
        assert_eq!((task.status.as_str(), task.result_json), ("completed", result.to_string()));
        world.called("completed", &forced).await;
        assert_eq!(complete(&world, &forced, &result).await.unwrap(), completion("completed", "completed"));
        let other = complete(&world, &forced, &json!({"media_buy_id": "mb_2", "packages": []})).await;
        assert!(matches!(other, Err(SandboxError::InvalidTransition { current }) if current == "completed"));
        world.closed(&forced).await;
    }

    async fn an_ended_task_is_ended_for_the_controller_too(world: World) {
        let _worker = world.worker().await.unwrap();
        let task_id = world.submit(VERB, json!({"arm": "workflow"})).await;
        let denied = handoff_tests::decision::fail(AdcpError::correctable("POLICY_VIOLATION", "no"));
        world.handoff.resolve(&Viewer::Operator, &task_id, denied).await.unwrap();
        let refused = complete(&world, &task_id, &json!({"media_buy_id": "mb", "packages": []})).await;
        assert!(matches!(refused, Err(SandboxError::InvalidTransition { current }) if current == "failed"));
        // A task at work ends, too.
        let gate = json!({"arm": "task", "hold": {"work": "gate"}});
        let task_id = world.submit(VERB, gate).await;
        world.called("work", &task_id).await;
        let done = complete(&world, &task_id, &json!({"media_buy_id": "mb", "packages": []})).await.unwrap();
        assert_eq!(done.current, "completed");
        world.calls.open("gate");
    }

    async fn discovery_goes_the_workflows_way(world: World) {
        let _worker = world.worker().await.unwrap();
        let keyless = json!({"buying_mode": "brief", "context": {"correlation_id": "it"}});
        for (number, request) in [request(&fresh_key(), json!({})), keyless].into_iter().enumerate() {
            let task_id = unique("task_products");
            force(&world, DISCOVERY, submitting(&task_id)).await;
            is_forced(&discover(&world, &request).await.unwrap(), &task_id);
            if number == 0 {
                assert!(discover(&world, &request).await.unwrap().replayed);
            }
            complete(&world, &task_id, &json!({"products": []})).await.unwrap();
            world.closed(&task_id).await;
        }
        assert_eq!(world.unfinished().await, Vec::<String>::new());
    }

    async fn what_is_declined_is_declined_at_once(world: World) {
        // No worker: there is nothing to run.
        let arm = ForcedArm::rejected("Below the minimum.", Some(json!(["Raise the budget."])));
        force(&world, DISCOVERY, arm).await;
        let request = request(&fresh_key(), json!({}));
        let declined = json!({"status": "rejected", "reason": "Below the minimum.", "suggestions": ["Raise the budget."]});
        for replayed in [false, true] {
            let answer = discover(&world, &request).await.unwrap();
            assert_eq!((answer.status.as_str(), answer.replayed), ("rejected", replayed));
            let told = ["status", "reason", "suggestions"].map(|field| answer.body[field].clone());
            assert_eq!(told, ["status", "reason", "suggestions"].map(|field| declined[field].clone()));
        }
        assert!(!waits(&world, DISCOVERY).await);
        assert_eq!(world.unfinished().await, Vec::<String>::new());
    }

    async fn a_live_request_is_the_sellers(world: World) {
        let forced = unique("task_forced");
        let _worker = world.worker().await.unwrap();
        force(&world, VERB, submitting(&forced)).await;
        // The same account and agent, but nothing of a sandbox.
        let answer = world.call(VERB, json!({})).await.unwrap();
        assert_eq!(answer.status, "completed");
        assert_eq!(world.calls.of("decide", &answer.task_id), ["1"]);
        assert!(waits(&world, VERB).await);
        let live = world.handoff.force_arm(&Caller::new(SCOPE, PRINCIPAL), VERB, submitting("other")).await;
        assert!(matches!(live, Err(SandboxError::Forbidden)));
        // Nor is anything forced where the seller lets nobody control anything.
        let request = request(&fresh_key(), json!({})).to_string();
        let answer = world.handoff.call(&buyer(), VERB, request.as_bytes()).await.unwrap();
        assert_eq!(answer.status, "completed");
        assert!(waits(&world, VERB).await);
    }

    async fn anothers_task_id_is_refused(world: World) {
        let forced = unique("task_forced");
        let _worker = world.worker().await.unwrap();
        // Free when both asked for it.
        let stranger = Caller::new("acct_other", "agent.other.example").sandbox(true);
        world.handoff.force_arm(&stranger, VERB, submitting(&forced)).await.unwrap();
        force(&world, VERB, submitting(&forced)).await;
        is_forced(&send(&world, VERB, &request(&fresh_key(), json!({}))).await, &forced);
        let refused = world.handoff.force_arm(&stranger, VERB, submitting(&forced)).await.unwrap_err();
        assert!(matches!(&refused, SandboxError::InvalidState(_)), "{refused:?}");
        let request = request(&fresh_key(), json!({})).to_string();
        let refused = controlled(&world).call(&stranger, VERB, request.as_bytes()).await.unwrap_err().to_adcp();
        assert_eq!(refused.code, "CONFLICT");
        assert_eq!(world.task(&forced).await.unwrap().status, "submitted");
    }

    async fn an_open_task_is_replaced_when_its_id_is_forced_again(world: World) {
        let forced = unique("task_forced");
        let _worker = world.worker().await.unwrap();
        let requests = [VERB, VERB, QUICK_VERB].map(|verb| (verb, request(&fresh_key(), json!({}))));
        for (verb, request) in &requests {
            force(&world, verb, submitting(&forced)).await;
            is_forced(&send(&world, verb, request).await, &forced);
            assert_eq!(world.unfinished().await, std::slice::from_ref(&forced));
        }
        let result = json!({"media_buy_id": "mb", "packages": []});
        assert_eq!(complete(&world, &forced, &result).await.unwrap(), completion("submitted", "completed"));
        world.closed(&forced).await;
        // The keys of those before are forgotten: what is said again is a request like any other.
        let (verb, request) = &requests[0];
        let usual = send(&world, verb, request).await;
        assert_eq!((usual.status.as_str(), usual.replayed), ("completed", false));
    }

    async fn of_two_calls_at_once_one_replaces_an_open_task(world: World) {
        let forced = unique("task_forced");
        let _worker = world.worker().await.unwrap();
        for _ in 0..3 {
            force(&world, VERB, submitting(&forced)).await;
            let requests = [request(&fresh_key(), json!({})), request(&fresh_key(), json!({}))];
            let (one, other) = futures::join!(send(&world, VERB, &requests[0]), send(&world, VERB, &requests[1]));
            let (submitted, usual) = if one.task_id == forced { (one, other) } else { (other, one) };
            is_forced(&submitted, &forced);
            assert_eq!(usual.status, "completed");
            // What the slower one closed was not the faster one's run.
            let run = world.run(&forced).describe(Default::default()).await.unwrap();
            assert_eq!(run.status(), WorkflowExecutionStatus::Running);
        }
        let result = json!({"media_buy_id": "mb", "packages": []});
        assert_eq!(complete(&world, &forced, &result).await.unwrap(), completion("submitted", "completed"));
    }

    async fn the_same_story_twice_on_one_database(world: World) {
        let forced = unique("task_forced");
        let _worker = world.worker().await.unwrap();
        for round in 1..=3 {
            force(&world, VERB, submitting(&forced)).await;
            is_forced(&send(&world, VERB, &request(&fresh_key(), json!({}))).await, &forced);
            let result = json!({"media_buy_id": format!("mb_{round}"), "packages": []});
            assert_eq!(complete(&world, &forced, &result).await.unwrap(), completion("submitted", "completed"));
            assert_eq!(world.task(&forced).await.unwrap().result_json, result.to_string());
            world.closed(&forced).await;
        }
    }

    async fn a_call_that_died_after_its_claim_is_taken_up_by_the_next(world: World) {
        let _worker = world.worker().await.unwrap();
        for verb in [VERB, DISCOVERY] {
            let task_id = unique("task_died");
            force(&world, verb, submitting(&task_id)).await;
            let request = request(&fresh_key(), json!({}));
            let caller =
                TaskRef { scope: SCOPE.into(), principal: PRINCIPAL.into(), verb: verb.into(), ..Default::default() };
            let directive = world.registry.directive(&caller).await.unwrap().unwrap();
            let claim = NewClaim {
                task: directive.task.clone(),
                protocol: "media-buy".into(),
                idempotency_key: request["idempotency_key"].as_str().map(str::to_owned),
                request_hash: handoff_proto::json::request_hash(&request).unwrap(),
                context_json: None,
                webhook: None,
                proposal: None,
                release: Release::LATEST,
                sandbox: true,
            };
            let claimed = world.registry.claim_forced(&claim, &directive, None).await.unwrap();
            assert_eq!(claimed, Forced::Claimed { answer: None });
            assert!(world.task(&task_id).await.is_none(), "nobody was told yet");
            let answer = match verb {
                DISCOVERY => discover(&world, &request).await.unwrap(),
                _ => send(&world, verb, &request).await,
            };
            assert_eq!((answer.status.as_str(), answer.task_id.as_str()), ("submitted", task_id.as_str()));
            complete(&world, &task_id, &json!({"products": [], "media_buy_id": "mb", "packages": []})).await.unwrap();
        }
    }

    async fn a_review_in_the_sandbox_approves_itself(world: World) {
        let seller = handlers(world.calls.clone());
        let delay = |config: &mut Config| config.sandbox_review_delay = Duration::from_millis(50);
        let _worker = world.worker_with(delay, seller).await.unwrap();
        let approval = json!({"media_buy_id": "mb_approved", "packages": []});
        for verb in [VERB, QUICK_VERB] {
            let lab = json!({"arm": "workflow", "approval": approval});
            let sandbox = send(&world, verb, &request(&fresh_key(), lab.clone())).await;
            assert_eq!(sandbox.status, "submitted");
            let task = world.reaches(&sandbox.task_id, TaskStatus::Completed).await;
            assert_eq!((task.result_json, task.reason.as_str()), (approval.to_string(), "sandbox"));
            assert_eq!(world.calls.of("review", &sandbox.task_id), ["1"], "it is a review like any other");
            // A live one waits for its reviewer: its run knows of no approval.
            let live = world.submit(verb, lab).await;
            let recorded = world.registry.standing(&world.reference(&live)).await.unwrap();
            let Some(Kind::HandoffToWorkflow(handoff)) = recorded.decision.unwrap().kind else { panic!() };
            assert_eq!(handoff.sandbox_approval, None);
            world.handoff.resolve(&Viewer::Operator, &live, handoff_tests::decision::cancel()).await.unwrap();
            world.reaches(&live, TaskStatus::Canceled).await;
        }
    }

    async fn a_reviewer_in_the_sandbox_may_still_be_faster(world: World) {
        let seller = handlers(world.calls.clone());
        let never = |config: &mut Config| config.sandbox_review_delay = Duration::from_secs(3600);
        let _worker = world.worker_with(never, seller).await.unwrap();
        let lab = json!({"arm": "workflow", "approval": {"media_buy_id": "by_itself", "packages": []}});
        let answer = send(&world, VERB, &request(&fresh_key(), lab)).await;
        let result = json!({"media_buy_id": "by_hand", "packages": []});
        complete(&world, &answer.task_id, &result).await.unwrap();
        assert_eq!(world.task(&answer.task_id).await.unwrap().result_json, result.to_string());
        world.closed(&answer.task_id).await;
    }
}

/// Its webhook never arrives, so that its run has something left to do.
async fn an_open_run_does_not_hold_its_task_id(kind: Database) {
    let configure = |config: &mut Config| {
        config.encryption = KeySource::Text(Key::generate("k").unwrap());
        config.webhooks.signing = SigningSource::Pem(LocalKey::generate_pem(Algorithm::Ed25519).unwrap());
    };
    let forced = unique("task_open");
    let world = World::configured(kind, configure).await.unwrap();
    let _worker = world.worker_with(|_| (), handlers(world.calls.clone())).await.unwrap();
    for round in 0..=2 {
        force(&world, VERB, submitting(&forced)).await;
        let mut request = request(&fresh_key(), json!({}));
        // Nobody listens there.
        request["push_notification_config"] = json!({"url": "http://127.0.0.1:9/", "operation_id": "op-1"});
        is_forced(&send(&world, VERB, &request).await, &forced);
        if round == 0 {
            // It stays open.
            continue;
        }
        let result = json!({"media_buy_id": format!("mb_{round}"), "packages": []});
        complete(&world, &forced, &result).await.unwrap();
        assert_eq!(world.task(&forced).await.unwrap().result_json, result.to_string());
        let (webhook, _) = world.registry.webhook_log(&forced).await.unwrap().unwrap();
        assert_eq!(webhook.state, handoff_store::WebhookState::Pending);
    }
    // And one that arrives tells of its own task.
    let endpoint = Endpoint::start([]).await;
    force(&world, VERB, submitting(&forced)).await;
    let mut request = request(&fresh_key(), json!({}));
    request["push_notification_config"] = json!({"url": endpoint.url(), "operation_id": "op-2"});
    is_forced(&send(&world, VERB, &request).await, &forced);
    complete(&world, &forced, &json!({"media_buy_id": "mb_last", "packages": []})).await.unwrap();
    world.closed(&forced).await;
    let bodies: Vec<Value> = endpoint.came().iter().map(|delivery| delivery.json()).collect();
    assert_eq!(bodies.len(), 1);
    assert_eq!((&bodies[0]["task_id"], &bodies[0]["operation_id"]), (&json!(forced), &json!("op-2")));
    assert_eq!(bodies[0]["result"]["media_buy_id"], "mb_last");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_run_does_not_hold_its_task_id_on_sqlite() {
    an_open_run_does_not_hold_its_task_id(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_run_does_not_hold_its_task_id_on_postgres() {
    an_open_run_does_not_hold_its_task_id(Database::Postgres).await;
}
