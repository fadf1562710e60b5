//! `HANDOFF_ENV=production`, by real processes: what is refused, and a start that is allowed.

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, Response},
};
use futures::stream;
use handoff_client::codec::{Key, KeySource};
use handoff_tests::{Kind, PRINCIPAL, SCOPE, World, binary, eventually};
use http_body::Frame;
use http_body_util::StreamBody;
use prost::Message;
use serde_json::Value;
use std::{convert::Infallible, path::PathBuf, process::Output};
use temporalio_common::protos::temporal::api::workflowservice::v1::GetClusterInfoResponse;
use tokio::{net::TcpListener, process::Command, task::JoinHandle};
use tonic::{codegen::Service, transport::Channel};

const USAGE: i32 = 2;
const CLUSTER_INFO: &str = "/temporal.api.workflowservice.v1.WorkflowService/GetClusterInfo";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_durable_or_not_safe_is_refused_by_workers_and_commands() {
    let world = production_world().await;
    let temporal = Front::of(&world).await;
    let sqlite = format!("sqlite:{}", temporary("refused.db").display());
    for (variable, value, told) in [
        ("HANDOFF_REGISTRY_URL", sqlite.as_str(), "set HANDOFF_REGISTRY_URL to a PostgreSQL database"),
        ("HANDOFF_ENCRYPTION_KEYS", "", "set HANDOFF_ENCRYPTION_KEYS or HANDOFF_ENCRYPTION_KEYS_FILE"),
        ("HANDOFF_PUBLIC_URL", "http://ads.seller.example", "set HANDOFF_PUBLIC_URL to https://"),
        ("HANDOFF_JWT_ISSUER", "http://issuer.example", "set HANDOFF_JWT_ISSUER to https://"),
        ("HANDOFF_COMPLIANCE_TESTING", "true", "unset HANDOFF_COMPLIANCE_TESTING"),
        ("TEMPORAL_ADDRESS", &world.temporal.address(), "set TEMPORAL_ADDRESS to a server on PostgreSQL"),
    ] {
        let run = |program: &str, words: &[&str]| {
            let mut command = production(&world, &temporal, program);
            command.args(words).env(variable, value);
            async move { command.output().await.unwrap() }
        };
        let (worker, command) =
            futures::join!(run("acme-seller", &["worker"]), run("handoff", &["reconcile", "--dry-run"]));
        assert!(!worker.status.success(), "{variable}");
        assert_eq!(command.status.code(), Some(USAGE), "{variable}");
        for refused in [worker, command] {
            let said = stderr(&refused);
            assert!(said.contains("HANDOFF_ENV=production refuses") && said.contains(told), "{variable}: {said}");
        }
    }
    assert!(!temporary("refused.db").exists(), "nothing was made before it was refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_durable_and_safe_is_allowed() {
    let world = production_world().await;
    let temporal = Front::of(&world).await;
    let data = tempfile::tempdir().unwrap();
    let mut worker = production(&world, &temporal, "acme-seller");
    worker.arg("worker").env("ACME_DATA_DIR", data.path());
    let mut worker = handoff_tests::Process::start(&mut worker).unwrap();

    let request = |file: &str| acme(&format!("requests/{file}.json"));
    let (file, by) = (request("create_media_buy.insertion_order"), ["--account", SCOPE, "--principal", PRINCIPAL]);
    let call = ["verb", "call", "create_media_buy", "--file", &file];
    let submitted = handoff(&world, &temporal, &[&call[..], &by].concat()).await;
    assert_eq!(submitted["status"], "submitted", "{submitted}");
    let task_id = submitted["task_id"].as_str().unwrap();
    let approval = acme("reviews/approve_insertion_order.json");
    let decided = handoff(&world, &temporal, &["task", "complete", task_id, "--file", &approval]).await;
    assert_eq!(decided["status"], "accepted", "{decided}");
    eventually("the buyer's poll shows the end", || async {
        let poll = ["task", "get", task_id];
        let task = handoff(&world, &temporal, &[&poll[..], &by].concat()).await;
        (task["status"] == "completed").then_some(())
    })
    .await;
    let doctor = production(&world, &temporal, "handoff").args(["doctor"]).output().await.unwrap();
    assert!(doctor.status.success(), "{}", String::from_utf8_lossy(&doctor.stdout));
    assert!(worker.terminate().await.unwrap().success());
}

/// A world on PostgreSQL, with keys.
async fn production_world() -> World {
    let keys = Key::generate("k1").unwrap();
    World::configured(Kind::Postgres, |config| config.encryption = KeySource::Text(keys)).await.unwrap()
}

/// A program, as a deployment of this world would run it.
fn production(world: &World, temporal: &Front, program: &str) -> Command {
    let mut command = Command::new(binary(program));
    command.envs(world.environment()).kill_on_drop(true).env("HANDOFF_ENV", "production");
    command.env("TEMPORAL_ADDRESS", &temporal.address).env("HANDOFF_PUBLIC_URL", "https://ads.seller.example");
    command
}

async fn handoff(world: &World, temporal: &Front, words: &[&str]) -> Value {
    let ran = production(world, temporal, "handoff").arg("--json").args(words).output().await.unwrap();
    assert!(ran.status.success(), "{words:?}: {}{}", String::from_utf8_lossy(&ran.stdout), stderr(&ran));
    serde_json::from_slice(&ran.stdout).unwrap()
}

fn acme(file: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/acme-seller").join(file);
    path.display().to_string()
}

fn temporary(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("handoff-{}-{name}", std::process::id()))
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The Temporal server of a world, but for what it says that it stores in: no server on PostgreSQL can be had from a
/// package, and the gate asks.
struct Front {
    address: String,
    serving: JoinHandle<()>,
}

impl Front {
    async fn of(world: &World) -> Self {
        let server = Channel::from_shared(format!("http://{}", world.temporal.address())).unwrap().connect_lazy();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let pass = Router::new().fallback(pass).with_state(server);
        let serving = tokio::spawn(async move { axum::serve(listener, pass).await.unwrap() });
        Self { address, serving }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn pass(State(mut server): State<Channel>, request: Request) -> Response<Body> {
    if request.uri().path() == CLUSTER_INFO {
        return stores_in_postgres();
    }
    std::future::poll_fn(|cx| server.poll_ready(cx)).await.unwrap();
    match server.call(request.map(tonic::body::Body::new)).await {
        Ok(answer) => answer.map(Body::new),
        // The caller went away, or the server did.
        Err(error) => Response::builder().status(502).body(Body::from(error.to_string())).unwrap(),
    }
}

fn stores_in_postgres() -> Response<Body> {
    let info = GetClusterInfoResponse { persistence_store: "postgres12".into(), ..Default::default() }.encode_to_vec();
    let length = u32::try_from(info.len()).unwrap().to_be_bytes();
    let message = [&[0], &length[..], &info].concat();
    let status = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
    let frames = [Ok::<_, Infallible>(Frame::data(message.into())), Ok(Frame::trailers(status))];
    let body = Body::new(StreamBody::new(stream::iter(frames)));
    Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}
