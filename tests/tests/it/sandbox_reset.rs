//! `handoff sandbox reset`: everything of the sandbox goes, with its runs, whatever it is at and whenever the command dies; and
//! nothing of anybody else's.

use crate::{
    on_both_databases,
    sandbox::{complete, completion, force, is_forced, send, submitting, unique, waits},
    webhooks::{Endpoint, Say},
};
use handoff_client::{
    Answer, Config, SigningSource, Viewer,
    codec::{Key, KeySource},
};
use handoff_proto::{
    releases::Release,
    v1::TaskRef,
    wire::TaskStatus,
    workflows::{RedeliveryWorkflow, redelivery_workflow_id},
};
use handoff_store::{NewClaim, ProposalRef, ProposalState, WebhookState};
use handoff_tests::{
    Kind, PRINCIPAL, Process, SCOPE, World, binary, eventually, few_at_once, fresh_key,
    lab::{Fault, Moment, QUICK_VERB, handlers},
    request,
};
use handoff_webhooks::keys::{Algorithm, LocalKey};
use serde_json::{Value, json};
use temporalio_client::WorkflowExecutionStatus::{self, Running, Terminated};
use tokio::process::Command;

const VERB: &str = "create_media_buy";

fn command(world: &World, words: &[&str]) -> Command {
    let mut command = Command::new(binary("handoff"));
    command.envs(world.environment()).env("HANDOFF_COMPLIANCE_TESTING", "true");
    command.args(["sandbox", "reset", "--json"]).args(words);
    command
}

/// How the command ended, and what it said.
async fn reset(world: &World, words: &[&str]) -> (i32, Value) {
    let output = command(world, words).output().await.expect("handoff runs");
    (output.status.code().unwrap_or(-1), serde_json::from_slice(&output.stdout).unwrap_or_default())
}

/// The ids of what was cleared, sorted.
fn ids(report: &Value, list: &str, id: &str) -> Vec<String> {
    let mut ids: Vec<String> = report[list]
        .as_array()
        .unwrap_or_else(|| panic!("{report}"))
        .iter()
        .map(|one| {
            assert_eq!(one["action"], "cleared", "{report}");
            one[id].as_str().expect("an id").to_owned()
        })
        .collect();
    ids.sort_unstable();
    ids
}

fn sorted<const N: usize>(ids: [&String; N]) -> Vec<String> {
    let mut ids: Vec<String> = ids.into_iter().cloned().collect();
    ids.sort_unstable();
    ids
}

/// A committed proposal, offered in or out of the sandbox.
async fn offered(world: &World, sandbox: bool) -> String {
    let proposal_id = unique("prop");
    let task = TaskRef { verb: "get_products".into(), ..world.reference(&unique("discovery")) };
    let body = json!({"products": [], "proposals": [{"proposal_id": proposal_id, "name": "Sports"}]}).to_string();
    let kept = world.registry.keep_proposals(&task, &body, sandbox).await.expect("the registry answers");
    assert_eq!(kept.written, std::slice::from_ref(&proposal_id));
    proposal_id
}

async fn state(world: &World, proposal_id: &str) -> Option<ProposalState> {
    let named = ProposalRef::new(SCOPE, PRINCIPAL, proposal_id);
    let found = world.registry.get_proposal(&named).await.expect("the registry answers");
    found.map(|found| found.proposal.state)
}

async fn run(world: &World, task_id: &str) -> WorkflowExecutionStatus {
    world.run(task_id).describe(Default::default()).await.expect("its run").status()
}

/// How many requests and proposals of the sandbox there are.
async fn left(world: &World) -> usize {
    let requests = world.registry.sandbox_requests(None, None, 1_000).await.expect("the registry answers");
    let proposals = world.registry.sandbox_proposals(None, None, 1_000).await.expect("the registry answers");
    requests.len() + proposals.len()
}

/// Something of everything that a sandbox has.
struct Sandbox {
    answered: (Value, Answer),
    waiting: (Value, Answer),
    completed: (Value, Answer),
    buying: Answer,
    forced: (Value, String),
    bought: String,
    proposal: String,
}

impl Sandbox {
    async fn fill(world: &World) -> Self {
        let (bought, proposal) = (offered(world, true).await, offered(world, true).await);
        let mut purchase = request(&fresh_key(), json!({"arm": "workflow"}));
        purchase["proposal_id"] = bought.clone().into();
        let forced = (request(&fresh_key(), json!({})), unique("task_forced"));
        force(world, VERB, submitting(&forced.1)).await;
        is_forced(&send(world, VERB, &forced.0).await, &forced.1);
        let sandbox = Self {
            answered: sent(world, json!({})).await,
            waiting: sent(world, json!({"arm": "workflow"})).await,
            completed: sent(world, json!({"arm": "task"})).await,
            buying: send(world, VERB, &purchase).await,
            forced,
            bought,
            proposal,
        };
        force(world, QUICK_VERB, submitting(&unique("next"))).await;
        world.reaches(&sandbox.completed.1.task_id, TaskStatus::Completed).await;
        for (_, ended) in [&sandbox.answered, &sandbox.completed] {
            world.closed(&ended.task_id).await;
        }
        for reviewed in [&sandbox.waiting.1, &sandbox.buying] {
            world.called("review", &reviewed.task_id).await;
        }
        sandbox
    }

    fn open(&self) -> [&String; 3] {
        [&self.waiting.1.task_id, &self.buying.task_id, &self.forced.1]
    }

    fn all(&self) -> [&String; 5] {
        let [waiting, buying, forced] = self.open();
        [&self.answered.1.task_id, waiting, &self.completed.1.task_id, buying, forced]
    }
}

async fn sent(world: &World, lab: Value) -> (Value, Answer) {
    let request = request(&fresh_key(), lab);
    let answer = send(world, VERB, &request).await;
    (request, answer)
}

on_both_databases! {
    async fn everything_of_the_sandbox_goes_and_nothing_else(world: World) {
        let _worker = world.worker().await.unwrap();
        // Of the same account and agent, but live.
        let live_request = request(&fresh_key(), json!({"arm": "workflow"}));
        let live = world.send(VERB, &live_request).await.unwrap().task_id;
        let live_proposal = offered(&world, false).await;
        let sandbox = Sandbox::fill(&world).await;
        let unfinished = world.unfinished().await;

        let (code, planned) = reset(&world, &["--dry-run"]).await;
        assert_eq!((code, ids(&planned, "requests", "task_id")), (0, sorted(sandbox.all())), "{planned}");
        assert_eq!((&planned["dry_run"], &planned["runs"], &planned["directives"]), (&json!(true), &json!(3), &json!(1)));
        let (code, none) = reset(&world, &["--account", "acct_other"]).await;
        assert_eq!((code, ids(&none, "requests", "task_id"), &none["directives"]), (0, vec![], &json!(0)));
        assert!(waits(&world, QUICK_VERB).await);
        assert_eq!((left(&world).await, world.unfinished().await), (7, unfinished));
        for open in sandbox.open() {
            assert_eq!(run(&world, open).await, Running);
        }

        let (code, report) = reset(&world, &["--account", SCOPE]).await;
        assert_eq!((code, ids(&report, "requests", "task_id")), (0, sorted(sandbox.all())), "{report}");
        assert_eq!(ids(&report, "proposals", "proposal_id"), sorted([&sandbox.bought, &sandbox.proposal]));
        assert_eq!((&report["runs"], &report["directives"]), (&json!(3), &json!(1)), "{report}");
        for task_id in sandbox.all() {
            assert!(world.task(task_id).await.is_none(), "{task_id}");
        }
        for open in sandbox.open() {
            assert_eq!(run(&world, open).await, Terminated);
        }
        assert_eq!((left(&world).await, waits(&world, QUICK_VERB).await), (0, false));
        let (code, again) = reset(&world, &[]).await;
        assert_eq!((code, ids(&again, "requests", "task_id"), &again["directives"]), (0, vec![], &json!(0)));

        // The live ones stand as they stood.
        assert_eq!(run(&world, &live).await, Running);
        assert_eq!(state(&world, &live_proposal).await, Some(ProposalState::Committed));
        let replay = world.send(VERB, &live_request).await.unwrap();
        assert_eq!((&replay.task_id, replay.replayed), (&live, true));
        // What is said again in the sandbox is said for the first time.
        for (request, before) in [&sandbox.answered, &sandbox.waiting, &sandbox.completed] {
            let anew = send(&world, VERB, request).await;
            assert_eq!((&anew.status, anew.replayed), (&before.status, false));
            assert_ne!(anew.task_id, before.task_id);
        }
        world.handoff.resolve(&Viewer::Operator, &live, handoff_tests::decision::cancel()).await.unwrap();
        world.reaches(&live, TaskStatus::Canceled).await;
    }

    async fn the_same_story_with_the_same_keys_twice(world: World) {
        let _worker = world.worker().await.unwrap();
        let (forced, story) = (unique("task_forced"), request(&fresh_key(), json!({})));
        for round in 1..=3 {
            force(&world, VERB, submitting(&forced)).await;
            is_forced(&send(&world, VERB, &story).await, &forced);
            // Within a run the key means what it means.
            assert!(send(&world, VERB, &story).await.replayed, "{round}");
            if round != 2 {
                let result = json!({"media_buy_id": format!("mb_{round}"), "packages": []});
                assert_eq!(complete(&world, &forced, &result).await.unwrap(), completion("submitted", "completed"));
            }
            let (code, report) = reset(&world, &[]).await;
            assert_eq!((code, ids(&report, "requests", "task_id")), (0, sorted([&forced])), "{report}");
        }
        assert_eq!(world.unfinished().await, Vec::<String>::new());
    }
}

/// A handler that is at work, a webhook that does not arrive, and one that is told once more.
async fn late_steps_change_nothing(kind: Kind) {
    let configure = |config: &mut Config| {
        config.encryption = KeySource::Text(Key::generate("k").unwrap());
        config.webhooks.signing = SigningSource::Pem(LocalKey::generate_pem(Algorithm::Ed25519).unwrap());
    };
    let world = World::configured(kind, configure).await.unwrap();
    let _worker = world.worker_with(|_| (), handlers(world.calls.clone())).await.unwrap();
    let (quiet, down) = (Endpoint::start([]).await, Endpoint::start(vec![Say::Status(500); 100]).await);
    let refusing = Endpoint::start(std::iter::once(Say::Status(409)).chain(vec![Say::Status(500); 100])).await;
    let gate = fresh_key();
    let working = submitted(&world, &quiet, json!({"arm": "task", "hold": {"work": gate}})).await;
    world.called("work", &working).await;
    let telling = submitted(&world, &down, json!({"arm": "task"})).await;
    eventually("it was tried", || async { (!down.came().is_empty()).then_some(()) }).await;
    let told = submitted(&world, &refusing, json!({"arm": "task"})).await;
    world.closed(&told).await;
    assert_eq!(world.registry.webhook_log(&told).await.unwrap().unwrap().0.state, WebhookState::Stopped);
    assert!(world.handoff.redeliver_webhook(&told).await.unwrap());
    eventually("it was tried again", || async { (refusing.came().len() > 1).then_some(()) }).await;

    let (code, report) = reset(&world, &[]).await;
    assert_eq!((code, ids(&report, "requests", "task_id")), (0, sorted([&working, &telling, &told])), "{report}");
    assert_eq!(report["runs"], 3, "{report}");
    for open in [&working, &telling] {
        assert_eq!(run(&world, open).await, Terminated);
    }
    let redelivery = world.temporal_client.get_workflow_handle::<RedeliveryWorkflow>(redelivery_workflow_id(&told));
    assert_eq!(redelivery.describe(Default::default()).await.unwrap().status(), Terminated);

    // The handler comes to its end, and nobody hears of it.
    world.calls.open(&gate);
    eventually("it returns", || async { world.calls.of("returned", &working).pop() }).await;
    is_told_of_another(&world).await;
    let tried = [down.came().len(), refusing.came().len()];
    is_told_of_another(&world).await;
    assert_eq!([down.came().len(), refusing.came().len()], tried);
    assert!(quiet.came().is_empty());
    for task_id in [&working, &telling, &told] {
        assert!(world.task(task_id).await.is_none(), "{task_id}");
        assert_eq!(world.registry.webhook_log(task_id).await.unwrap(), None, "{task_id}");
    }
    assert_eq!(world.calls.of("completed", &working), Vec::<String>::new());
    let (code, report) = reset(&world, &[]).await;
    assert_eq!((code, report["requests"].as_array().map(Vec::len)), (0, Some(2)), "the others alone: {report}");
}

/// A task of the sandbox whose webhook goes there.
async fn submitted(world: &World, endpoint: &Endpoint, lab: Value) -> String {
    let mut request = request(&fresh_key(), lab);
    request["push_notification_config"] = json!({"url": endpoint.url(), "operation_id": "op-1"});
    let answer = send(world, VERB, &request).await;
    assert_eq!(answer.status, "submitted", "{}", answer.body);
    answer.task_id
}

/// By then the worker has done what it had to do.
async fn is_told_of_another(world: &World) {
    let endpoint = Endpoint::start([]).await;
    let task_id = submitted(world, &endpoint, json!({"arm": "task"})).await;
    world.closed(&task_id).await;
    assert_eq!(endpoint.came().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn late_steps_of_a_cleared_task_change_nothing_on_sqlite() {
    late_steps_change_nothing(Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn late_steps_of_a_cleared_task_change_nothing_on_postgres() {
    late_steps_change_nothing(Kind::Postgres).await;
}

/// The command's process dies there, and the command once more.
async fn a_killed_reset_is_finished_by_the_next(kind: Kind, fault: Fault) {
    let name = format!("{kind:?}, {fault}");
    let world = World::new(kind).await.expect("a world");
    let _worker = world.worker().await.expect("a worker");
    let live = world.submit(VERB, json!({"arm": "workflow"})).await;
    let sandbox = Sandbox::fill(&world).await;
    let mut doomed = world.faulty_reset_process(&fault).expect("a process");
    let ended = doomed.wait().await.expect("it can be waited for");
    assert!(!ended.success() && !world.calls.first_time("fault"), "{name}: it did not die there");

    // Whatever is still there is there with its history.
    for task_id in sandbox.all() {
        if let Some(task) = world.task(task_id).await {
            assert!(task.history.iter().any(|entry| entry.event == "claimed"), "{name}: {task:?}");
        }
    }
    let (code, report) = reset(&world, &[]).await;
    assert_eq!((code, left(&world).await, waits(&world, QUICK_VERB).await), (0, 0, false), "{name}: {report}");
    for open in sandbox.open() {
        assert_eq!(run(&world, open).await, Terminated, "{name}");
    }
    let (request, before) = &sandbox.waiting;
    let anew = send(&world, VERB, request).await;
    assert!(anew.task_id != before.task_id && !anew.replayed, "{name}: {}", anew.body);
    force(&world, VERB, submitting(&sandbox.forced.1)).await;
    is_forced(&send(&world, VERB, &sandbox.forced.0).await, &sandbox.forced.1);
    assert_eq!(run(&world, &live).await, Running, "{name}");
    assert_eq!(world.task(&live).await.expect("the live task").status, "submitted", "{name}");
}

async fn killed_resets(kind: Kind) {
    let transactions = ["look_to_clear", "clear_request", "clear_proposal", "clear_directives", "clear_governance"];
    let faults = transactions.into_iter().flat_map(|transaction| {
        [Moment::Before, Moment::After].map(|moment| Fault { transaction: transaction.into(), moment })
    });
    few_at_once(faults.map(|fault| a_killed_reset_is_finished_by_the_next(kind, fault))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_survives_a_kill_on_sqlite() {
    killed_resets(Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_survives_a_kill_on_postgres() {
    killed_resets(Kind::Postgres).await;
}

/// The command itself, each time as soon as something is gone.
async fn killed_wherever_it_is(kind: Kind) {
    let world = World::new(kind).await.unwrap();
    for number in 0..200 {
        let task = TaskRef { verb: VERB.into(), ..world.reference(&unique("task")) };
        let claim = NewClaim {
            task,
            protocol: "media-buy".into(),
            idempotency_key: Some(fresh_key()),
            request_hash: "hash".into(),
            context_json: None,
            webhook: None,
            proposal: None,
            release: Release::LATEST,
            sandbox: number % 10 != 0,
        };
        world.registry.claim(&claim).await.unwrap();
    }
    loop {
        let before = left(&world).await;
        if before == 0 {
            break;
        }
        let mut process = Process::start(command(&world, &[]).stdout(std::process::Stdio::null())).unwrap();
        eventually("something is gone", || async { (left(&world).await < before).then_some(()) }).await;
        process.kill().await.unwrap();
    }
    let (code, report) = reset(&world, &[]).await;
    assert_eq!((code, left(&world).await), (0, 0), "{report}");
    assert_eq!(world.unfinished().await.len(), 20, "the live ones");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_may_be_killed_wherever_it_is() {
    killed_wherever_it_is(Kind::Sqlite).await;
    killed_wherever_it_is(Kind::Postgres).await;
}

#[tokio::test]
async fn it_is_refused_where_nothing_is_tested() {
    // Nobody is there; it is refused before anybody is asked.
    let mut command = Command::new(binary("handoff"));
    command.env("HANDOFF_REGISTRY_URL", "postgres://127.0.0.1:9/none").env_remove("HANDOFF_COMPLIANCE_TESTING");
    let output = command.args(["sandbox", "reset", "--json"]).output().await.unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &said["error"]["code"]), (Some(2), &json!("CONFIGURATION_ERROR")), "{said}");
    let message = said["error"]["message"].as_str().unwrap();
    assert!(message.contains("HANDOFF_COMPLIANCE_TESTING=true"), "{message}");
}
