//! The command `dev`: comes up, works, and leaves nothing behind; with TLS, if it is to.

use crate::gateway::clients::Buyer;
use handoff_tests::{Scrape, binary, eventually};
use reqwest::Certificate;
use serde_json::{Value, json};
use std::{collections::HashMap, os::unix::fs::PermissionsExt, path::Path, process::Stdio};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
};

/// A running `acme-seller dev`, and what it printed about itself.
pub(crate) struct Dev {
    process: Child,
    temporal: String,
    registry: String,
    keys: String,
    api_key: String,
    metrics: String,
    /// What it said to export.
    exports: HashMap<String, String>,
}

async fn start(directory: &Path) -> Dev {
    start_with(directory, &[]).await
}

async fn start_with(directory: &Path, flags: &[&str]) -> Dev {
    Dev::configured(directory, flags, |_| ()).await
}

impl Dev {
    /// With settings of its own, once it is up.
    pub(crate) async fn configured(directory: &Path, flags: &[&str], configure: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new(binary("acme-seller"));
        command
            .args(["dev", "--data-dir"])
            .arg(directory)
            .args(flags)
            .env("ACME_DATA_DIR", directory.join("acme"))
            .env("HANDOFF_LOG", "off")
            .env_remove("HANDOFF_REGISTRY_URL")
            .env_remove("HANDOFF_ENCRYPTION_KEYS")
            .env_remove("HANDOFF_ENCRYPTION_KEYS_FILE")
            .env_remove("HANDOFF_DEV_API_KEY")
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        configure(&mut command);
        let mut process = command.spawn().expect("acme-seller is started");
        let mut lines = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        let (mut metrics, mut exports) = (None, HashMap::new());
        while let Some(line) = lines.next_line().await.expect("its output") {
            let line = line.trim();
            if let Some((name, value)) = line.strip_prefix("export ").and_then(|export| export.split_once('=')) {
                exports.insert(name.to_owned(), value.to_owned());
            }
            if let Some(url) = line.strip_prefix("Metrics") {
                metrics = Some(url.trim().to_owned());
            }
            if line.ends_with("acme-seller doctor") {
                break;
            }
        }
        let exported = |name: &str| exports.get(name).cloned().unwrap_or_else(|| panic!("no {name}: {exports:?}"));
        Self {
            process,
            temporal: exported("TEMPORAL_ADDRESS"),
            registry: exported("HANDOFF_REGISTRY_URL"),
            keys: exported("HANDOFF_ENCRYPTION_KEYS_FILE"),
            api_key: exported("HANDOFF_BUYER_API_KEY"),
            metrics: metrics.expect("its metrics"),
            exports,
        }
    }

    /// What it said to export under this name.
    pub(crate) fn exported(&self, name: &str) -> String {
        self.exports.get(name).cloned().unwrap_or_else(|| panic!("no {name}: {:?}", self.exports))
    }

    async fn handoff(&self, arguments: &[&str]) -> std::process::Output {
        Command::new(binary("handoff"))
            .args(arguments)
            .env("TEMPORAL_ADDRESS", &self.temporal)
            .env("HANDOFF_REGISTRY_URL", &self.registry)
            .env("HANDOFF_ENCRYPTION_KEYS_FILE", &self.keys)
            .output()
            .await
            .expect("handoff runs")
    }

    pub(crate) async fn interrupt(mut self) {
        let pid = self.process.id().expect("it runs").to_string();
        Command::new("kill").args(["-INT", &pid]).status().await.expect("kill runs");
        assert!(self.process.wait().await.expect("it ends").success(), "a Ctrl-C is no error");
        self.server_is_gone().await;
    }

    /// As a crash would: nothing of it gets to run.
    async fn kill(mut self) {
        self.process.kill().await.expect("it is killed");
        self.server_is_gone().await;
    }

    async fn server_is_gone(&self) {
        eventually("the embedded server is gone", || async {
            TcpStream::connect(&self.temporal).await.is_err().then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dev_comes_up_works_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let dev = start(directory.path()).await;
    let doctor = dev.handoff(&["doctor"]).await;
    assert!(doctor.status.success(), "{}", String::from_utf8_lossy(&doctor.stdout));
    // Another one would open the same databases.
    let second =
        Command::new(binary("acme-seller")).args(["dev", "--data-dir"]).arg(directory.path()).output().await.unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(!second.status.success() && said.contains("another `dev` runs on"), "{said}");
    let metrics = dev.metrics.strip_prefix("http://").and_then(|url| url.strip_suffix("/metrics")).unwrap();
    assert!(metrics.starts_with("127.0.0.1:"), "{metrics}");
    assert_eq!(Scrape::of(metrics).await.unwrap().value("handoff_build_info", &[]), 1.0);
    let request =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/acme-seller/requests/create_media_buy.insertion_order.json");
    let call = ["--json", "verb", "call", "create_media_buy", "--file", request, "--account", "a", "--principal", "p"];
    let answer = dev.handoff(&call).await;
    assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
    let key = std::fs::read_to_string(&dev.keys).unwrap();
    let mode = std::fs::metadata(&dev.keys).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "nobody else reads the key");
    let api_key = dev.api_key.clone();
    dev.interrupt().await;
    // What was submitted is there again when it comes up again.
    let again = start(directory.path()).await;
    let tasks = again.handoff(&["task", "list", "--status", "submitted", "--json"]).await;
    let tasks: serde_json::Value = serde_json::from_slice(&tasks.stdout).unwrap();
    assert_eq!(tasks["tasks"].as_array().map(Vec::len), Some(1), "{tasks}");
    assert_eq!(std::fs::read_to_string(&again.keys).unwrap(), key, "the key is made once");
    assert_eq!(again.api_key, api_key, "so is the buyer's");
    again.kill().await;
    start(directory.path()).await.interrupt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_tls_clients_that_trust_its_authority_reach_it() {
    let directory = tempfile::tempdir().unwrap();
    let dev = start_with(directory.path(), &["--tls", "--gateway-address", "127.0.0.1:0"]).await;
    let (url, key) = (dev.exported("HANDOFF_BUYER_URL"), dev.exported("HANDOFF_BUYER_API_KEY"));
    let authority = dev.exported("NODE_EXTRA_CA_CERTS");
    assert_eq!(dev.exported("SSL_CERT_FILE"), authority);
    let mode = std::fs::metadata(directory.path().join("tls/server.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "nobody else reads the key");
    let base = url.strip_suffix("/mcp").unwrap();
    let port = base.strip_prefix("https://localhost:").unwrap();

    let _ = rustls::crypto::ring::default_provider().install_default();
    let trusted = Certificate::from_pem_bundle(&std::fs::read(&authority).unwrap()).unwrap();
    let client = reqwest::Client::builder().no_proxy().tls_certs_merge(trusted).build().unwrap();
    let json_at = async |url: &str| -> Value {
        let response = client.get(url).send().await.unwrap();
        assert_eq!(response.status(), 200, "{url}");
        serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
    };
    // By https, the documents that publish its keys are what verifiers want them to be.
    let brand = json_at(&format!("{base}/.well-known/brand.json")).await;
    assert_eq!(brand["agents"][0]["url"], json!(url));
    let jwks = json_at(brand["agents"][0]["jwks_uri"].as_str().unwrap()).await;
    assert_eq!(jwks["keys"].as_array().unwrap().len(), 1, "{jwks}");
    assert_eq!(json_at(&format!("https://127.0.0.1:{port}/healthz")).await["status"], "ok");
    let strangers = reqwest::Client::builder().no_proxy().build().unwrap();
    assert!(strangers.get(format!("{base}/healthz")).send().await.is_err(), "nobody else trusts it");
    assert!(strangers.get(format!("http://127.0.0.1:{port}/healthz")).send().await.is_err(), "nothing is in clear");

    let mut buyer = Buyer::javascript_trusting(Path::new(&authority), &url, &key).await.unwrap();
    let capabilities = buyer.call("get_adcp_capabilities", &json!({})).await;
    assert_eq!(capabilities["success"], true, "{capabilities}");
    drop(buyer);
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params":
        {"name": "get_adcp_capabilities", "arguments": {}}});
    let call = client.post(&url).bearer_auth(&key).header("content-type", "application/json");
    let answer = call.body(message.to_string()).send().await.unwrap().bytes().await.unwrap();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    let capabilities = &answer["result"]["structuredContent"];
    assert_eq!(capabilities["webhook_signing"]["supported"], true, "{answer}");
    assert_eq!(capabilities["identity"]["brand_json_url"], format!("{base}/.well-known/brand.json"));
    assert_eq!(capabilities["identity"]["key_origins"], json!({"webhook_signing": base}));
    drop(client);
    dev.interrupt().await;
}
