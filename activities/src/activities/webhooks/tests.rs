//! Deliveries from a registry of their own to an endpoint of their own.

use super::*;
use handoff_proto::{
    TaskId,
    releases::Release,
    v1::{Completion, Decision, HandoffToTask, Progress, completion::Outcome, decision::Kind},
    wire::{GetTaskStatusRequest, task_status_body},
};
use handoff_store::{NewClaim, RegistryOptions, Viewer, Webhook};
use handoff_webhooks::{
    Egress, EgressOptions,
    egress::Lookup,
    keys::{Algorithm, LocalKey, SigningKeys},
    signature::{Received, ReplayGuard, verify},
};
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    net::IpAddr,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

type Requests = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// An endpoint that answers with these statuses, then 200.
struct Endpoint {
    port: u16,
    came: Requests,
}

impl Endpoint {
    async fn start(statuses: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Self { port: listener.local_addr().unwrap().port(), came: Requests::default() };
        let (came, plan) = (endpoint.came.clone(), Arc::new(Mutex::new(VecDeque::from(statuses.to_vec()))));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, came.clone(), plan.clone()));
            }
        });
        endpoint
    }

    fn came(&self) -> Vec<(String, Vec<u8>)> {
        self.came.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, came: Requests, plan: Arc<Mutex<VecDeque<u16>>>) {
    let (mut seen, mut chunk) = (Vec::new(), [0; 8192]);
    while let Ok(read @ 1..) = stream.read(&mut chunk).await {
        seen.extend_from_slice(&chunk[..read]);
        let Some(end) = seen.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(seen[..end].to_vec()).unwrap();
        let length: usize = header(&head, "content-length").parse().unwrap();
        if seen.len() >= end + 4 + length {
            came.lock().unwrap().push((head, seen[end + 4..].to_vec()));
            seen.clear();
            let status = plan.lock().unwrap().pop_front().unwrap_or(200);
            // A name is asked for each connection.
            let answer = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            return;
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> &'a str {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.into_iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
}

/// Answers each question for a name with the next of these addresses, and counts.
#[derive(Debug)]
struct Names {
    answers: Mutex<VecDeque<IpAddr>>,
    asked: AtomicUsize,
}

impl Names {
    fn new(answers: &[&str]) -> Arc<Self> {
        let answers = answers.iter().map(|answer| answer.parse().unwrap()).collect();
        Arc::new(Self { answers: Mutex::new(answers), asked: AtomicUsize::new(0) })
    }
}

#[async_trait::async_trait]
impl Lookup for Names {
    async fn lookup(&self, _: &str) -> std::io::Result<Vec<IpAddr>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.answers
            .lock()
            .unwrap()
            .pop_front()
            .map(|answer| vec![answer])
            .ok_or_else(|| std::io::ErrorKind::NotFound.into())
    }
}

struct Bench {
    activities: WebhookActivities,
    host: &'static str,
    keys: SigningKeys,
    endpoint: Endpoint,
    _directory: tempfile::TempDir,
}

impl Bench {
    async fn new(statuses: &[u16], webhook_horizon: Duration) -> Self {
        Self::with(statuses, webhook_horizon, "127.0.0.1", EgressOptions::default()).await
    }

    async fn with(statuses: &[u16], webhook_horizon: Duration, host: &'static str, egress: EgressOptions) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = RegistryOptions { webhook_horizon, ..RegistryOptions::default() };
        let url = format!("sqlite:{}", directory.path().join("registry.db").display());
        let registry = handoff_store::connect(&url, options).await.unwrap();
        let keys = SigningKeys::from_pem(&LocalKey::generate_pem(Algorithm::Es256).unwrap()).unwrap();
        let options = EgressOptions { https_only: false, allowed: "127.0.0.0/8".parse().unwrap(), ..egress };
        let sender = Sender::new(Egress::new(&options).unwrap(), Some(keys.clone()));
        let activities = WebhookActivities::new(registry, sender, Schedule::default(), Metrics::off());
        Self { activities, host, keys, endpoint: Endpoint::start(statuses).await, _directory: directory }
    }

    /// A task that ended, whose webhook is owed.
    async fn ended(&self, operation_id: Option<&str>) -> TaskRef {
        let task = self.working(operation_id).await;
        self.end(&task).await;
        task
    }

    async fn end(&self, task: &TaskRef) {
        let outcome = Some(Outcome::ResultJson(r#"{"media_buy_id":"mb","price":1.10}"#.into()));
        let completion = Completion { outcome, ..Default::default() };
        assert!(self.activities.registry.settle(task, &completion).await.unwrap().unwrap().webhook);
    }

    /// A task of the task arm.
    async fn working(&self, operation_id: Option<&str>) -> TaskRef {
        let task = TaskRef {
            task_id: TaskId::generate().into(),
            scope: "acct".into(),
            principal: "agent".into(),
            verb: "create_media_buy".into(),
        };
        let url = format!("http://{}:{}/hook?key=value", self.host, self.endpoint.port);
        let config = json!({"url": url, "operation_id": operation_id});
        let claim = NewClaim {
            task: task.clone(),
            protocol: "media-buy".into(),
            idempotency_key: None,
            request_hash: String::new(),
            context_json: Some(r#"{"n":1}"#.into()),
            webhook: Some(Webhook { config_json: config.to_string(), has_secret: false }),
            proposal: None,
            release: Release::LATEST,
            sandbox: false,
        };
        let registry = &self.activities.registry;
        registry.claim(&claim).await.unwrap();
        let decision = Decision { kind: Some(Kind::HandoffToTask(HandoffToTask::default())) };
        registry.record_decision(&task, &decision).await.unwrap();
        task
    }

    async fn deliver(&self, task: &TaskRef) -> Result<WebhookEnd, ActivityError> {
        self.activities.deliver(WebhookInput { task: Some(task.clone()), call: None }).await
    }

    async fn log(&self, task: &TaskRef) -> (WebhookState, Vec<(Option<u16>, Option<String>)>) {
        let (webhook, attempts) = self.activities.registry.webhook_log(&task.task_id).await.unwrap().unwrap();
        (webhook.state, attempts.into_iter().map(|attempt| (attempt.status, attempt.error_class)).collect())
    }
}

const DAY: Duration = Duration::from_secs(86_400);

fn end(state: &str, attempts: u32) -> WebhookEnd {
    WebhookEnd { state: state.to_owned(), attempts }
}

#[tokio::test]
async fn a_delivery_is_tried_until_it_arrives_and_then_never_again() {
    let bench = Bench::new(&[503, 404], DAY).await;
    let task = bench.ended(Some("op-1")).await;
    for _ in 0..2 {
        assert!(bench.deliver(&task).await.is_err());
    }
    assert_eq!(bench.deliver(&task).await.unwrap(), end("delivered", 3));
    assert_eq!(bench.deliver(&task).await.unwrap(), end("delivered", 3), "a second run sends nothing");
    let failed = |status| (Some(status), Some("status".to_owned()));
    assert_eq!(bench.log(&task).await, (WebhookState::Delivered, vec![failed(503), failed(404), (Some(200), None)]));
    let came = bench.endpoint.came();
    assert_eq!(came.len(), 3);
    let url = format!("http://127.0.0.1:{}/hook?key=value", bench.endpoint.port);
    let mut guard = ReplayGuard::default();
    for (head, body) in &came {
        assert_eq!(*body, came[0].1);
        let headers: Vec<(&str, &str)> = head.lines().filter_map(|line| line.split_once(": ")).collect();
        let received = Received { method: "POST", url: &url, headers: &headers, body };
        let verified = verify(&received, bench.keys.published(), &mut guard, Utc::now().timestamp());
        assert_eq!(verified.as_deref(), Ok(bench.keys.published()[0].kid.as_str()));
    }
    let body: Value = serde_json::from_slice(&came[0].1).unwrap();
    let poll = GetTaskStatusRequest { include_result: true, ..Default::default() };
    let record = bench.activities.registry.get(&Viewer::Operator, &task.task_id, false).await.unwrap().unwrap();
    let polled = task_status_body(&record, &poll);
    assert_eq!((&body["result"], &body["timestamp"]), (&polled["result"], &polled["completed_at"]));
    assert_eq!((&body["operation_id"], &body["context"]), (&json!("op-1"), &json!({"n": 1})));
    assert!(String::from_utf8_lossy(&came[0].1).contains("1.10"));
}

#[tokio::test]
async fn a_receiver_may_stop_a_delivery_and_a_redelivery_sends_the_same() {
    let bench = Bench::new(&[409], DAY).await;
    let task = bench.ended(Some("op-1")).await;
    assert_eq!(bench.deliver(&task).await.unwrap(), end("stopped", 1));
    assert_eq!(bench.deliver(&task).await.unwrap(), end("stopped", 1));
    assert_eq!(bench.endpoint.came().len(), 1);
    bench.activities.registry.renew_webhook(&task).await.unwrap();
    assert_eq!(bench.deliver(&task).await.unwrap(), end("delivered", 2));
    let came = bench.endpoint.came();
    assert_eq!((came.len(), &came[0].1), (2, &came[1].1));
}

#[tokio::test]
async fn past_its_horizon_a_delivery_is_expired_and_renewed_it_is_another() {
    let bench = Bench::new(&[], Duration::ZERO).await;
    let task = bench.ended(Some("op-1")).await;
    let before = bench.activities.registry.webhook_delivery(&task).await.unwrap().unwrap();
    assert_eq!(bench.deliver(&task).await.unwrap(), end("expired", 0));
    assert!(bench.endpoint.came().is_empty());
    bench.activities.registry.renew_webhook(&task).await.unwrap();
    let after = bench.activities.registry.webhook_delivery(&task).await.unwrap().unwrap();
    assert_ne!(after.idempotency_key, before.idempotency_key);
    let body = |delivery: &WebhookDelivery| serde_json::from_str::<Value>(delivery.body.as_deref().unwrap()).unwrap();
    assert_eq!(body(&after)["notification_id"], body(&before)["notification_id"]);
    assert_ne!(body(&after)["timestamp"], body(&before)["timestamp"]);
    // A pause that would outlast the horizon is not waited for: after a 404 it is a minute.
    let brief = Bench::new(&[404], Duration::from_secs(30)).await;
    let task = brief.ended(Some("op-1")).await;
    assert_eq!(brief.deliver(&task).await.unwrap(), end("expired", 1));
}

#[tokio::test]
async fn what_cannot_be_sent_is_stopped_and_said() {
    let bench = Bench::new(&[], DAY).await;
    let task = bench.ended(None).await;
    assert_eq!(bench.deliver(&task).await.unwrap(), end("stopped", 1));
    assert_eq!(bench.log(&task).await.1, [(None, Some("undeliverable".to_owned()))]);
    assert!(bench.endpoint.came().is_empty());
    let stranger = TaskRef { principal: "another".into(), ..task };
    assert_eq!(bench.deliver(&stranger).await.unwrap(), end("none", 0));
}

#[tokio::test]
async fn an_endpoint_that_is_full_is_left_alone_and_nothing_is_logged() {
    let bench = Bench::new(&[], DAY).await;
    let task = bench.ended(Some("op-1")).await;
    let origin = format!("http://127.0.0.1:{}", bench.endpoint.port);
    let lanes: Vec<_> = (0..AT_ONCE).map(|_| bench.activities.lanes.enter(&origin).unwrap()).collect();
    assert!(bench.deliver(&task).await.is_err());
    assert_eq!(bench.log(&task).await, (WebhookState::Pending, Vec::new()));
    drop(lanes);
    assert_eq!(bench.deliver(&task).await.unwrap(), end("delivered", 1));
}

#[tokio::test]
async fn a_name_that_changes_after_it_was_checked_leads_nowhere_else() {
    // Asked a second time it would lead elsewhere: it is asked once an attempt, and connected to what was said.
    let names = Names::new(&["127.0.0.1", "10.0.0.1", "169.254.169.254", "127.0.0.1"]);
    let egress = EgressOptions { lookup: names.clone(), ..EgressOptions::default() };
    let bench = Bench::with(&[503], DAY, "buyer.example", egress).await;
    let task = bench.ended(Some("op-1")).await;
    for (attempt, came) in [(1, 1), (2, 1), (3, 1)] {
        assert!(bench.deliver(&task).await.is_err());
        assert_eq!((names.asked.load(Ordering::SeqCst), bench.endpoint.came().len()), (attempt, came));
    }
    assert_eq!(bench.deliver(&task).await.unwrap(), end("delivered", 4));
    let refused = (None, Some("address_refused".to_owned()));
    let log = [(Some(503), Some("status".to_owned())), refused.clone(), refused, (Some(200), None)];
    assert_eq!(bench.log(&task).await, (WebhookState::Delivered, log.to_vec()));
    let came = bench.endpoint.came();
    assert_eq!((came.len(), &came[0].1), (2, &came[1].1));
}

#[tokio::test]
async fn the_end_waits_for_a_notification_of_progress_that_is_on_its_way() {
    let bench = Bench::new(&[], DAY).await;
    let registry = bench.activities.registry.clone();
    let task = bench.working(Some("op-1")).await;
    registry.update_progress(&task, &Progress { current_step: "booking".into(), ..Default::default() }).await.unwrap();
    let notification = registry.begin_notification(&task, 1).await.unwrap().unwrap();
    bench.end(&task).await;
    assert!(bench.deliver(&task).await.is_err());
    assert_eq!((bench.endpoint.came().len(), bench.log(&task).await), (0, (WebhookState::Pending, Vec::new())));
    registry.end_notification(&task, notification.number).await.unwrap();
    assert_eq!(bench.deliver(&task).await.unwrap(), end("delivered", 1));
}
