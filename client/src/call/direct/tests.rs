//! Direct answers, on a real registry that several clients share, and a Temporal that answers as each test says.

use super::{Direct, DirectOptions};
use crate::{
    Answer, CallError, Caller, Config, Handoff, ReconcileAction,
    testing::{Calls, Say, fake_temporal, told},
};
use futures::future::join_all;
use handoff_proto::{
    errors,
    v1::{self, decision::Kind, outcome},
    wire::AdcpError,
};
use handoff_store::{RegistryOptions, Viewer};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;
use tokio::sync::Notify;

const PLAIN: &str = "sync_accounts";
const DISCOVERY: &str = "get_products";

/// Several processes' clients on one registry.
struct Seller {
    clients: Vec<Handoff>,
    temporal: Vec<Calls>,
    executions: Arc<AtomicUsize>,
    _directory: TempDir,
}

impl Seller {
    async fn new(clients: usize, config: Config) -> Self {
        Self::with(clients, config, |_, _| Say::Error(tonic::Status::unavailable("down"))).await
    }

    async fn with(clients: usize, config: Config, says: fn(&str, usize) -> Say) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", directory.path().join("registry.db").display());
        let mut seller = Self { clients: vec![], temporal: vec![], executions: Arc::default(), _directory: directory };
        for _ in 0..clients {
            let registry = handoff_store::connect(&url, RegistryOptions::default()).await.unwrap();
            let (temporal, calls) = fake_temporal(says).await;
            seller.clients.push(Handoff::from_parts(temporal, registry, config.clone()));
            seller.temporal.push(calls);
        }
        seller
    }

    async fn answer(&self, client: usize, tool: &str, request: &Value) -> Result<Answer, CallError> {
        let executions = self.executions.clone();
        let handler = async move |_| {
            let number = executions.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            Ok(Direct::Complete(json!({"accounts": [], "execution": number})))
        };
        self.answer_by(client, tool, request, handler).await
    }

    async fn answer_by<H, F>(&self, client: usize, tool: &str, request: &Value, handler: H) -> Result<Answer, CallError>
    where
        H: FnOnce(super::DirectContext) -> F + Send + 'static,
        F: Future<Output = Result<Direct, AdcpError>> + Send + 'static,
    {
        let text = request.to_string();
        self.clients[client].answer_directly(&caller(), tool, text.as_bytes(), handler).await
    }

    fn executions(&self) -> usize {
        self.executions.load(Ordering::SeqCst)
    }

    fn temporal_calls(&self) -> usize {
        self.temporal.iter().map(|calls| calls.lock().unwrap().len()).sum()
    }

    async fn unfinished(&self) -> usize {
        self.clients[0].registry().unfinished(i64::MAX, None, 100).await.unwrap().len()
    }
}

async fn panics(_: super::DirectContext) -> Result<Direct, AdcpError> {
    unwind()
}

// A panic without its message: to print a backtrace, where that is asked for, takes longer than a brief deadline.
fn unwind() -> ! {
    std::panic::resume_unwind(Box::new("a panic"))
}

async fn hangs(_: super::DirectContext) -> Result<Direct, AdcpError> {
    std::future::pending().await
}

fn caller() -> Caller {
    Caller::new("acct", "agent")
}

/// For who waits in vain.
fn brief() -> Config {
    Config { sync_deadline: Duration::from_millis(200), grace: Duration::from_millis(300), ..Config::default() }
}

/// For who gets an answer, however busy the machine is.
fn patient() -> Config {
    Config { grace: Duration::from_secs(10), ..brief() }
}

fn keyed(key: &str) -> Value {
    json!({"idempotency_key": format!("{key}-0123456789abcdef"), "context": {"n": 1}})
}

fn refusal(answer: Result<Answer, CallError>) -> AdcpError {
    match answer {
        Err(CallError::Refused(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_duplicates_over_three_processes_are_one_execution() {
    let config = Config { sync_deadline: Duration::from_secs(60), ..Config::default() };
    for tool in [PLAIN, DISCOVERY, "list_products"] {
        let seller = Seller::new(3, config.clone()).await;
        let calls = (0..300).map(|number| {
            let mut request = keyed(&format!("key{}", number % 3));
            request["context"] = json!({"call": number});
            let seller = &seller;
            async move { (number, seller.answer(number % 3, tool, &request).await.unwrap()) }
        });
        let answers = join_all(calls).await;
        assert_eq!(seller.executions(), 3, "{tool}");
        assert_eq!(answers.iter().filter(|(_, answer)| !answer.replayed).count(), 3, "{tool}");
        for (number, answer) in &answers {
            let same = &answers[number % 3].1;
            assert_eq!(answer.body["execution"], same.body["execution"]);
            assert_eq!(answer.body["context"], json!({"call": number}));
            assert_eq!(answer.body.get("replayed").is_some(), answer.replayed);
        }
        assert_eq!((seller.temporal_calls(), seller.unfinished().await), (0, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_recorded_and_said_again() {
    let seller = Seller::new(2, patient()).await;
    let first = seller.answer(0, PLAIN, &keyed("a")).await.unwrap();
    let expected = json!({"status": "completed", "accounts": [], "execution": 0, "context": {"n": 1}});
    assert_eq!((first.body, first.replayed), (expected, false));
    let mut other_context = keyed("a");
    other_context["context"] = json!({"n": 2});
    let again = seller.answer(1, PLAIN, &other_context).await.unwrap();
    assert_eq!((&again.body["context"], &again.body["replayed"]), (&json!({"n": 2}), &json!(true)));
    let mut other = keyed("a");
    other["accounts"] = json!(["secret"]);
    let conflict = refusal(seller.answer(0, PLAIN, &other).await);
    assert_eq!(conflict.code, "IDEMPOTENCY_CONFLICT");
    assert!(!conflict.to_json().to_string().contains("secret"));
    assert_eq!(refusal(seller.answer(0, "sync_governance", &keyed("a")).await).code, "IDEMPOTENCY_CONFLICT");
    let missing = refusal(seller.answer(0, PLAIN, &json!({})).await);
    assert_eq!((missing.code.as_str(), missing.field.as_deref()), ("INVALID_REQUEST", Some("idempotency_key")));
    assert_eq!(seller.executions(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_leaves_nothing_behind() {
    let seller = Seller::new(1, patient()).await;
    let requests = [
        ("get_media_buys", keyed("a")),
        (DISCOVERY, json!({})),
        ("get_signals", keyed("a")),
        ("list_products", json!({})),
    ];
    for (number, (tool, request)) in requests.iter().cycle().take(8).enumerate() {
        let answer = seller.answer(0, tool, request).await.unwrap();
        assert_eq!((answer.body["execution"].as_u64(), answer.replayed), (Some(number as u64), false));
    }
    // A closed answer that has no status.
    assert_eq!(seller.answer(0, "list_products", &json!({})).await.unwrap().body.get("status"), None);
    let all = handoff_proto::wire::ListTasksRequest::default();
    let tasks = seller.clients[0].registry().list(&Viewer::Operator, &all).await.unwrap();
    let purgeable = seller.clients[0].registry().purgeable(i64::MAX, None, 10).await.unwrap();
    assert_eq!((tasks.tasks.len(), purgeable.len(), seller.unfinished().await, seller.temporal_calls()), (0, 0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_frees_the_key_for_the_next_call() {
    for tool in [PLAIN, DISCOVERY] {
        let seller = Seller::new(2, patient()).await;
        let refused = |_| async { Err(AdcpError::transient("RATE_LIMITED", "later")) };
        assert_eq!(refusal(seller.answer_by(0, tool, &keyed("a"), refused).await).code, "RATE_LIMITED");
        let mut changed = keyed("a");
        changed["note"] = json!("another request");
        assert!(!seller.answer(1, tool, &changed).await.unwrap().replayed);
        assert!(seller.answer(0, tool, &changed).await.unwrap().replayed);
        assert_eq!(seller.executions(), 1);
    }
    let seller = Seller::new(1, patient()).await;
    let handoff = |_| async { Ok(Direct::HandOff(to_task())) };
    assert_eq!(refusal(seller.answer_by(0, PLAIN, &keyed("a"), handoff).await).code, errors::ASYNC_NOT_ALLOWED);
    assert!(!seller.answer(0, PLAIN, &keyed("a")).await.unwrap().replayed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_handler_goes_on_and_is_waited_for() {
    let seller = Seller::new(2, brief()).await;
    let gate = Arc::new(Notify::new());
    let (opened, executions) = (gate.clone(), seller.executions.clone());
    let slow = async move |_| {
        executions.fetch_add(1, Ordering::SeqCst);
        opened.notified().await;
        Ok(Direct::Complete(json!({"late": true})))
    };
    let error = refusal(seller.answer_by(0, PLAIN, &keyed("a"), slow).await);
    assert_eq!((error.code.as_str(), error.is_transient()), ("IDEMPOTENCY_IN_FLIGHT", true));
    assert_eq!(refusal(seller.answer(1, PLAIN, &keyed("a")).await).code, "IDEMPOTENCY_IN_FLIGHT");
    gate.notify_one();
    seller.clients[0].direct_done().await;
    let answer = seller.answer(1, PLAIN, &keyed("a")).await.unwrap();
    assert_eq!((&answer.body["late"], answer.replayed, seller.executions()), (&json!(true), true, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buyer_who_hangs_up_does_not_stop_a_handler() {
    let seller = Seller::new(1, patient()).await;
    let (begun, gate) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (has_begun, opened) = (begun.clone(), gate.clone());
    let handler = async move |_| {
        has_begun.notify_one();
        opened.notified().await;
        Ok(Direct::Complete(json!({"done": true})))
    };
    let request = keyed("a");
    tokio::select! {
        answer = seller.answer_by(0, PLAIN, &request, handler) => panic!("{answer:?}"),
        () = begun.notified() => {}
    }
    gate.notify_one();
    seller.clients[0].direct_done().await;
    assert!(seller.answer(0, PLAIN, &request).await.unwrap().replayed);
}

/// A process that dies after its claim: its lease lapses, and nobody says what the handler did.
async fn died(seller: &Seller, options: DirectOptions) {
    let request = keyed("a").to_string();
    let executions = seller.executions.clone();
    let hangs = async move |_| {
        executions.fetch_add(1, Ordering::SeqCst);
        std::future::pending().await
    };
    let answer = seller.clients[0].answer_directly_with(&caller(), PLAIN, request.as_bytes(), options, hangs).await;
    assert_eq!(refusal(answer).code, "IDEMPOTENCY_IN_FLIGHT");
    seller.clients[0].direct_done().await;
}

fn short_lease() -> Config {
    Config { in_flight_max: Duration::from_millis(1), ..brief() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_knows_is_not_done_again_and_ends_unknown() {
    let seller = Seller::new(2, short_lease()).await;
    died(&seller, DirectOptions::default()).await;
    // While the lease is running and after it, until somebody reconciles.
    assert_eq!(refusal(seller.answer(1, PLAIN, &keyed("a")).await).code, "IDEMPOTENCY_IN_FLIGHT");
    let task = &seller.clients[1].registry().unfinished(i64::MAX, None, 10).await.unwrap()[0].task;
    while seller.clients[1].registry().direct_view(task).await.unwrap() == handoff_store::DirectView::Leased {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(refusal(seller.answer(1, PLAIN, &keyed("a")).await).code, "IDEMPOTENCY_IN_FLIGHT");
    let mut other = keyed("a");
    other["x"] = json!(1);
    assert_eq!(refusal(seller.answer(1, PLAIN, &other).await).code, "IDEMPOTENCY_CONFLICT");
    assert_eq!(seller.executions(), 1);
    let (temporal, _) = fake_temporal(|_, _| Say::Message(vec![])).await;
    let operator = Handoff::from_parts(temporal, seller.clients[1].registry().clone(), short_lease());
    let report = operator.reconcile(false, Duration::ZERO).await.unwrap();
    assert_eq!(report.count(&ReconcileAction::Voided), 1, "{report:?}");
    assert_eq!(refusal(seller.answer(1, PLAIN, &keyed("a")).await).code, errors::OUTCOME_UNKNOWN);
    assert_eq!(seller.executions(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rerunnable_handler_is_called_again_with_the_same_token() {
    let config = Config { sync_deadline: Duration::from_secs(10), ..short_lease() };
    let seller = Seller::new(2, config).await;
    let options = DirectOptions { rerunnable: true, ..DirectOptions::default() };
    let tokens = Arc::new(std::sync::Mutex::new(Vec::new()));
    let attempt = |client: usize, hangs: bool| {
        let tokens = tokens.clone();
        let handler = async move |context: super::DirectContext| {
            tokens.lock().unwrap().push(context.idempotency_token().to_owned());
            if hangs {
                std::future::pending::<()>().await;
            }
            Ok(Direct::Complete(json!({"by": client})))
        };
        let (handoff, request) = (seller.clients[client].clone(), keyed("a").to_string());
        async move { handoff.answer_directly_with(&caller(), PLAIN, request.as_bytes(), options, handler).await }
    };
    assert_eq!(refusal(attempt(0, true).await).code, "IDEMPOTENCY_IN_FLIGHT");
    let answer = attempt(1, false).await.unwrap();
    assert_eq!((&answer.body["by"], answer.replayed), (&json!(1), true));
    let tokens = tokens.lock().unwrap();
    assert!(tokens.len() == 2 && tokens[0] == tokens[1], "{tokens:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_keeps_the_claim_of_what_may_have_been_done() {
    let seller = Seller::new(1, patient()).await;
    let (temporal, _) = fake_temporal(|_, _| Say::Message(vec![])).await;
    let hasty = Handoff::from_parts(temporal, seller.clients[0].registry().clone(), brief());
    for told in [true, false] {
        let key = keyed(if told { "told" } else { "panicked" });
        // A handler whose panic was caught further inside, and one that panics right here.
        let handler = async move |context: super::DirectContext| {
            if !told {
                unwind()
            }
            Err(errors::handler_failed(context.correlation_id()))
        };
        assert_eq!(refusal(seller.answer_by(0, PLAIN, &key, handler).await).code, errors::HANDLER_FAILED);
        let again = hasty.answer_directly(&caller(), PLAIN, key.to_string().as_bytes(), panics).await;
        assert_eq!(refusal(again).code, "IDEMPOTENCY_IN_FLIGHT");
        // Discovery only reads.
        let key = keyed(if told { "d1" } else { "d2" });
        assert_eq!(refusal(seller.answer_by(0, DISCOVERY, &key, panics).await).code, errors::HANDLER_FAILED);
        assert!(!seller.answer(0, DISCOVERY, &key).await.unwrap().replayed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_answer_is_the_sellers_error() {
    let seller = Seller::new(1, patient()).await;
    for (result, code) in
        [(json!([]), errors::RESULT_INVALID), (json!({"x": "y".repeat(1_000_001)}), errors::RESULT_TOO_LARGE)]
    {
        let handler = async move |_| Ok(Direct::Complete(result));
        assert_eq!(refusal(seller.answer_by(0, "get_media_buys", &json!({}), handler).await).code, code);
    }
}

fn to_task() -> v1::Decision {
    let handoff = v1::HandoffToTask { handler: "work".into(), input_json: "{}".into(), ..Default::default() };
    v1::Decision { kind: Some(Kind::HandoffToTask(handoff)) }
}

fn run_says_submitted(_: &str, _: usize) -> Say {
    told(outcome::Kind::Submitted(Default::default()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_off_is_submitted_only_when_its_run_says_so() {
    // With a key, what the handler says is recorded within the time; without one, it takes the time that it takes.
    for (request, grace) in [(keyed("a"), Duration::from_secs(3)), (json!({}), brief().grace)] {
        let handoff = |_| async { Ok(Direct::HandOff(to_task())) };
        // Temporal is down: nothing is submitted, and nothing is lost.
        let down = Seller::new(1, Config { grace, ..brief() }).await;
        assert_eq!(refusal(down.answer_by(0, DISCOVERY, &request, handoff).await).code, "SERVICE_UNAVAILABLE");
        let observed = down.clients[0].registry().unfinished(i64::MAX, None, 10).await.unwrap();
        assert_eq!(observed[0].stage, handoff_store::ObservedStage::Pending);
        let standing = down.clients[0].registry().standing(&observed[0].task).await.unwrap();
        assert_eq!((standing.decision, standing.submitted), (Some(to_task()), false));
        // Up again: a retry attaches to what is recorded, and does not decide again.
        let (temporal, _) = fake_temporal(run_says_submitted).await;
        let up = Handoff::from_parts(temporal, down.clients[0].registry().clone(), patient());
        if request.get("idempotency_key").is_some() {
            let answer =
                up.answer_directly(&caller(), DISCOVERY, request.to_string().as_bytes(), panics).await.unwrap();
            assert_eq!((answer.status.as_str(), &answer.task_id), ("submitted", &observed[0].task.task_id));
        }
    }
    // Wholesale must not.
    let seller = Seller::with(1, patient(), run_says_submitted).await;
    for key in [Some(keyed("a")), None] {
        let mut request = key.unwrap_or_else(|| json!({}));
        request["buying_mode"] = json!("wholesale");
        let handoff = |_| async { Ok(Direct::HandOff(to_task())) };
        let error = refusal(seller.answer_by(0, DISCOVERY, &request, handoff).await);
        assert_eq!(error.code, errors::ASYNC_NOT_ALLOWED);
    }
    assert_eq!((seller.temporal_calls(), seller.unfinished().await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_budget_ends_the_handler_is_dropped_and_a_run_decides() {
    struct Dropped(Arc<AtomicUsize>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    for request in [keyed("a"), json!({})] {
        let seller = Seller::with(1, patient(), run_says_submitted).await;
        let dropped = Arc::new(AtomicUsize::new(0));
        let guard = Dropped(dropped.clone());
        let slow = async move |_| {
            let _guard = guard;
            std::future::pending().await
        };
        let answer = seller.answer_by(0, DISCOVERY, &request, slow).await.unwrap();
        assert_eq!((answer.status.as_str(), dropped.load(Ordering::SeqCst)), ("submitted", 1));
        let observed = seller.clients[0].registry().unfinished(i64::MAX, None, 10).await.unwrap();
        assert_eq!(observed[0].stage, handoff_store::ObservedStage::Claimed, "undecided");
    }
    // Keyless wholesale: nobody could find what a run would find.
    let seller = Seller::with(1, patient(), run_says_submitted).await;
    let request = json!({"buying_mode": "wholesale"});
    let answer = seller.answer_by(0, DISCOVERY, &request, hangs).await.unwrap();
    assert_eq!((answer.status.as_str(), &answer.body["incomplete"][0]["scope"]), ("completed", &json!("products")));
    assert_eq!((seller.temporal_calls(), seller.unfinished().await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn verbs_that_commit_are_decided_by_their_workflow() {
    let seller = Seller::with(1, patient(), run_says_submitted).await;
    let answer = seller.answer_by(0, "create_media_buy", &keyed("a"), panics).await.unwrap();
    assert_eq!(answer.status, "submitted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_knows_its_request_and_logs_do_not() {
    let seller = Seller::new(1, patient()).await;
    let mut request = keyed("a");
    request["time_budget"] = json!({"interval": 1, "unit": "seconds"});
    let handler = async |context: super::DirectContext| {
        assert_eq!(context.buyer_context(), Some(json!({"n": 1})));
        assert!(context.time_budget() <= Duration::from_secs(1) && !context.sandbox());
        assert!(!context.correlation_id().is_empty());
        assert_eq!(context.input().task.as_ref().unwrap().scope, "acct");
        assert!(!format!("{context:?}").contains("idempotency_key"));
        Ok(Direct::Complete(json!({"token": context.idempotency_token()})))
    };
    let answer = seller.answer_by(0, DISCOVERY, &request, handler).await.unwrap();
    assert_eq!(answer.body["token"], answer.task_id.as_str());
}
