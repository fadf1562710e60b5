//! Answers of the front door, byte for byte, and what each of them has to be.

use crate::Schemas;
use reqwest::{
    RequestBuilder, StatusCode,
    header::{self, HeaderMap},
};
use serde_json::{Value, json};
use std::{collections::HashSet, sync::OnceLock, time::Duration};

// Longer than any answer takes, shorter than any test may.
const PATIENCE: Duration = Duration::from_secs(60);
// What only a programmer would say.
const INTERNALS: [&str; 5] = ["panicked", ".rs:", "unwrap()", "sqlx", "stack backtrace"];

/// An HTTP answer, whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: String,
}

impl Answer {
    /// What a request is answered.
    pub async fn to(request: RequestBuilder) -> Self {
        let response = request.timeout(PATIENCE).send().await.expect("an answer in time");
        let (status, headers) = (response.status(), response.headers().clone());
        Self { status, headers, body: response.text().await.expect("text") }
    }

    /// The body.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{}: not JSON: {}", self.status, self.body))
    }

    /// What is left when one call's own marks are taken away: its time, and what it is called in the log.
    #[must_use]
    pub fn without_marks(mut self) -> Self {
        for own in ["date", "x-correlation-id"] {
            self.headers.remove(own);
        }
        self
    }

    /// The code of the error that it is, if it is one.
    pub fn code(&self) -> Option<String> {
        let body = self.json();
        let of_the_tool = &body["result"]["structuredContent"]["errors"][0];
        let of_the_transport = &body["error"]["data"]["adcp_error"];
        let error = [of_the_tool, of_the_transport].into_iter().find(|error| error.is_object())?;
        Some(error["code"].as_str()?.to_owned())
    }

    /// Panics unless it says what a client can act on: a tool's result, an error in the protocol's own words, or JSON-RPC's.
    /// Nothing was wrong with the server; so it must not say that anything was.
    pub fn assert_structured(&self, what: &str) {
        let told = format!("{what}: {} {}", self.status, self.body.chars().take(2_000).collect::<String>());
        assert!(!self.status.is_server_error(), "{told}");
        assert!(self.headers.contains_key("x-correlation-id"), "{told}");
        if self.status == StatusCode::ACCEPTED {
            assert_eq!(self.body, "", "{told}");
            return;
        }
        let kind = self.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        assert!(kind.starts_with("application/json"), "{kind}: {told}");
        let body = self.json();
        assert_eq!(body["jsonrpc"], "2.0", "{told}");
        match (body.get("result"), body.get("error")) {
            (Some(result), None) => {
                assert_eq!(self.status, 200, "{told}");
                if let Some(content) = result.get("structuredContent") {
                    assert_tool_result(result, content, &told);
                }
            }
            (None, Some(error)) => {
                assert!(error["code"].is_i64() && !error["message"].as_str().unwrap_or_default().is_empty(), "{told}");
                if let Some(error) = error["data"].get("adcp_error") {
                    assert_error(error, &told);
                }
                assert_no_internals(error, &told);
            }
            _ => panic!("neither result nor error: {told}"),
        }
    }
}

fn assert_tool_result(result: &Value, content: &Value, told: &str) {
    let text: Value = serde_json::from_str(result["content"][0]["text"].as_str().expect(told)).expect(told);
    assert_eq!(&text, content, "{told}");
    let failed = content["status"] == "failed";
    assert_eq!(result["isError"] == true, failed && content.get("task_id").is_none(), "{told}");
    if result["isError"] == true {
        let errors = content["errors"].as_array().expect(told);
        assert!(!errors.is_empty(), "{told}");
        for error in errors.iter().chain(content.get("adcp_error")) {
            assert_error(error, told);
        }
    }
}

fn assert_error(error: &Value, told: &str) {
    let vocabulary = Vocabulary::get();
    let issues = vocabulary.schemas.issues("core/error.json", error);
    assert!(issues.is_empty(), "not as the protocol has errors: {issues:?}: {told}");
    let code = error["code"].as_str().unwrap_or_default();
    assert!(code.starts_with("X_") || vocabulary.codes.contains(code), "{code} is no word of the protocol: {told}");
    assert!(error["recovery"].is_string(), "{told}");
    assert_ne!(code, "SERVICE_UNAVAILABLE", "{told}");
    assert_no_internals(error, told);
}

fn assert_no_internals(error: &Value, told: &str) {
    for field in ["message", "suggestion"] {
        let text = error[field].as_str().unwrap_or_default().to_ascii_lowercase();
        for internal in INTERNALS {
            assert!(!text.contains(internal), "{internal:?} is nothing for strangers: {told}");
        }
    }
}

struct Vocabulary {
    schemas: Schemas,
    codes: HashSet<String>,
}

impl Vocabulary {
    fn get() -> &'static Self {
        static READ: OnceLock<Vocabulary> = OnceLock::new();
        READ.get_or_init(|| {
            let schemas = Schemas::find().expect("run make test, which sets HANDOFF_ADCP_SCHEMAS");
            let codes = schemas.read("enums/error-code.json")["enum"].take();
            let codes = codes.as_array().expect("a list").iter().filter_map(|code| code.as_str().map(str::to_owned));
            Self { codes: codes.collect(), schemas }
        })
    }
}

/// A JSON-RPC request that calls a tool.
pub fn tool_call(tool: &str, arguments: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": tool, "arguments": arguments}})
}
