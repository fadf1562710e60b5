//! The command `dev`: comes up, works, and leaves nothing behind.

use handoff_tests::{Scrape, binary, eventually};
use std::{path::Path, process::Stdio};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
};

/// A running `acme-seller dev`, and what it printed about itself.
struct Dev {
    process: Child,
    temporal: String,
    registry: String,
    keys: String,
    metrics: String,
}

async fn start(directory: &Path) -> Dev {
    let mut process = Command::new(binary("acme-seller"))
        .args(["dev", "--data-dir"])
        .arg(directory)
        .env("ACME_DATA_DIR", directory.join("acme"))
        .env("HANDOFF_LOG", "off")
        .env_remove("HANDOFF_REGISTRY_URL")
        .env_remove("HANDOFF_ENCRYPTION_KEYS")
        .env_remove("HANDOFF_ENCRYPTION_KEYS_FILE")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("acme-seller is started");
    let mut lines = BufReader::new(process.stdout.take().expect("a pipe")).lines();
    let (mut temporal, mut registry, mut keys, mut metrics) = (None, None, None, None);
    while let Some(line) = lines.next_line().await.expect("its output") {
        let line = line.trim();
        if let Some(address) = line.strip_prefix("export TEMPORAL_ADDRESS=") {
            temporal = Some(address.to_owned());
        }
        if let Some(url) = line.strip_prefix("export HANDOFF_REGISTRY_URL=") {
            registry = Some(url.to_owned());
        }
        if let Some(path) = line.strip_prefix("export HANDOFF_ENCRYPTION_KEYS_FILE=") {
            keys = Some(path.to_owned());
        }
        if let Some(url) = line.strip_prefix("Metrics") {
            metrics = Some(url.trim().to_owned());
        }
        if line.ends_with("acme-seller doctor") {
            break;
        }
    }
    Dev {
        process,
        temporal: temporal.expect("its address"),
        registry: registry.expect("its registry"),
        keys: keys.expect("its keys"),
        metrics: metrics.expect("its metrics"),
    }
}

impl Dev {
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

    async fn interrupt(mut self) {
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
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&dev.keys).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "nobody else reads the key");
    dev.interrupt().await;
    // What was submitted is there again when it comes up again.
    let again = start(directory.path()).await;
    let tasks = again.handoff(&["task", "list", "--status", "submitted", "--json"]).await;
    let tasks: serde_json::Value = serde_json::from_slice(&tasks.stdout).unwrap();
    assert_eq!(tasks["tasks"].as_array().map(Vec::len), Some(1), "{tasks}");
    assert_eq!(std::fs::read_to_string(&again.keys).unwrap(), key, "the key is made once");
    again.kill().await;
    start(directory.path()).await.interrupt().await;
}
