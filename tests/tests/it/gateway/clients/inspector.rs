//! The MCP inspector's command line: a client of MCP that knows nothing of AdCP.

use super::variable;
use handoff_tests::{
    Kind, World, eventually,
    front::{API_KEY, Acme, Front, acme_request},
};
use serde_json::{Value, json};
use std::process::Stdio;
use tokio::process::Command;

// Its exit codes.
const AUTH_REQUIRED: i32 = 3;
const TOOL_IS_ERROR: i32 = 5;

struct Inspector<'a> {
    front: &'a Front,
    home: tempfile::TempDir,
}

impl<'a> Inspector<'a> {
    fn new(front: &'a Front) -> Self {
        Self { front, home: tempfile::tempdir().unwrap() }
    }

    async fn run(&self, api_key: &str, arguments: &[&str]) -> (i32, Value, String) {
        let output = Command::new(variable("HANDOFF_BUYER_NODE").unwrap())
            .arg(format!("{}/.bin/mcp-inspector", variable("HANDOFF_BUYER_NODE_MODULES").unwrap()))
            .args(["--cli", &self.front.url(), "--format", "json", "--connect-timeout", "60000"])
            .args(["--header", &format!("Authorization: Bearer {api_key}")])
            .args(arguments)
            .env("HOME", self.home.path())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .unwrap();
        let answer = serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default()["result"].take();
        (output.status.code().unwrap_or(-1), answer, String::from_utf8_lossy(&output.stderr).into_owned())
    }

    async fn tools(&self, era: &str) -> Vec<String> {
        let (code, answer, talk) =
            self.run(API_KEY, &["--protocol-era", era, "--method", "tools/list", "--strict"]).await;
        assert_eq!(code, 0, "{era}: {talk}");
        let tools = answer["tools"].as_array().expect("tools");
        tools.iter().map(|tool| tool["name"].as_str().expect("a name").to_owned()).collect()
    }

    async fn call(&self, era: &str, tool: &str, arguments: &Value) -> (i32, Value) {
        let (method, arguments) = (["--protocol-era", era, "--method", "tools/call"], arguments.to_string());
        let call = [&method[..], &["--tool-name", tool, "--tool-args-json", &arguments]].concat();
        let (code, answer, talk) = self.run(API_KEY, &call).await;
        let text: Value = serde_json::from_str(answer["content"][0]["text"].as_str().expect(&talk)).unwrap();
        assert_eq!(text, answer["structuredContent"], "{tool}");
        assert_eq!(answer["isError"], json!(code != 0), "{tool}: {answer}");
        (code, text)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mcp_inspector_lists_and_calls_tools() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let acme = Acme::new(&world).unwrap();
    let _worker = acme.worker().unwrap();
    let front = acme.gateway().await.unwrap();
    let inspector = Inspector::new(&front);

    // The handshake of a session, and the stateless release of MCP that has none.
    for era in ["legacy", "modern"] {
        let tools = inspector.tools(era).await;
        for name in ["create_media_buy", "get_adcp_capabilities", "get_products", "get_task_status", "list_tasks"] {
            assert!(tools.iter().any(|tool| tool == name), "{era}: {tools:?}");
        }
        let (code, capabilities) = inspector.call(era, "get_adcp_capabilities", &json!({})).await;
        assert_eq!((code, &capabilities["adcp"]["major_versions"]), (0, &json!([3])), "{era}: {capabilities}");

        let (code, submitted) =
            inspector.call(era, "create_media_buy", &acme_request("create_media_buy.guaranteed")).await;
        assert_eq!((code, &submitted["status"]), (0, &json!("submitted")), "{era}: {submitted}");
        let poll = json!({"task_id": submitted["task_id"], "include_result": true});
        let done = eventually("the task is completed", || async {
            let (code, polled) = inspector.call(era, "get_task_status", &poll).await;
            assert_eq!(code, 0, "{era}: {polled}");
            (polled["status"] == "completed").then_some(polled)
        })
        .await;
        assert!(done["result"]["media_buy_id"].is_string(), "{era}: {done}");

        let too_low = acme_request("create_media_buy.budget_too_low");
        let (code, refused) = inspector.call(era, "create_media_buy", &too_low).await;
        assert_eq!((code, &refused["adcp_error"]["code"]), (TOOL_IS_ERROR, &json!("BUDGET_TOO_LOW")), "{era}");
    }

    let (code, _, talk) = inspector.run("a-key-of-nobodys", &["--method", "tools/list"]).await;
    assert_eq!(code, AUTH_REQUIRED, "{talk}");
}
