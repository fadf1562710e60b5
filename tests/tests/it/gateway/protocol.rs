//! HTTP and JSON-RPC, around the tools: what is asked wrongly is told so, and nothing comes of it.

use crate::on_both_databases;
use handoff_client::Viewer;
use handoff_tests::{
    Kind, World,
    answer::{Answer, tool_call},
    decision, eventually, fresh_key,
    front::{API_KEY, Acme, Front, acme_request},
};
use reqwest::Method;
use serde_json::{Value, json};

const OK: u16 = 200;
const METHOD_NOT_FOUND: i64 = -32601;
const INVALID_PARAMS: i64 = -32602;
const INVALID_REQUEST: i64 = -32600;

async fn send(front: &Front, message: &Value) -> Answer {
    Answer::to(front.post(API_KEY).body(message.to_string())).await
}

fn request(method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params})
}

fn list_with_id(id: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/list"})
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_nobody_serves_are_told_so() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let acme = Acme::new(&world).unwrap();
    let mut front = acme.gateway().await.unwrap();
    let call = |params: Value| request("tools/call", params);
    for (message, status, code) in [
        (request("tools/unknown", json!({})), OK, METHOD_NOT_FOUND),
        (request(&"x".repeat(100_000), json!({})), OK, METHOD_NOT_FOUND),
        (request("resources/list", json!({})), OK, METHOD_NOT_FOUND),
        (request("prompts/get", json!({"name": "x"})), OK, METHOD_NOT_FOUND),
        (request("completion/complete", json!({})), OK, METHOD_NOT_FOUND),
        (request("logging/setLevel", json!({"level": "debug"})), OK, METHOD_NOT_FOUND),
        // AdCP's polls are tools; these are MCP's own tasks, of which there are none.
        (request("tasks/get", json!({"taskId": "task_1"})), OK, METHOD_NOT_FOUND),
        (request("tasks/list", json!({})), OK, METHOD_NOT_FOUND),
        (request("", json!({})), 400, INVALID_REQUEST),
        (request("initialize", json!({})), OK, INVALID_PARAMS),
        (
            request("initialize", json!({"protocolVersion": 5, "capabilities": {}, "clientInfo": {}})),
            OK,
            INVALID_PARAMS,
        ),
        (request("server/discover", json!({})), 400, INVALID_PARAMS),
        (request("tools/list", json!([])), 400, INVALID_PARAMS),
        (request("tools/list", json!(5)), 400, INVALID_PARAMS),
        (call(json!({"name": 5, "arguments": {}})), 400, INVALID_PARAMS),
        (call(json!({"name": "", "arguments": {}})), OK, INVALID_PARAMS),
        (call(json!({"name": "x".repeat(100_000), "arguments": {}})), OK, INVALID_PARAMS),
        (call(json!({"name": "GET_TASK_STATUS", "arguments": {}})), OK, INVALID_PARAMS),
        (call(json!({"name": "list_tasks", "arguments": {}, "_meta": 5})), 400, INVALID_REQUEST),
        (list_with_id(json!(null)), 400, INVALID_REQUEST),
        (list_with_id(json!(1.5)), 400, INVALID_REQUEST),
        (list_with_id(json!(true)), 400, INVALID_REQUEST),
        (list_with_id(json!([])), 400, INVALID_REQUEST),
        (list_with_id(json!(1e30)), 400, INVALID_REQUEST),
        (json!({"jsonrpc": "2.0", "id": 7, "result": {}}), 400, INVALID_REQUEST),
        (json!({"jsonrpc": "2.0", "id": 7, "error": {"code": 1, "message": "x"}}), 400, INVALID_REQUEST),
        (json!({"jsonrpc": "1.0", "id": 7, "method": "tools/list"}), 400, INVALID_REQUEST),
        (json!({"jsonrpc": 2.0, "id": 7, "method": "tools/list"}), 400, INVALID_REQUEST),
    ] {
        let what: String = message.to_string().chars().take(200).collect();
        let answer = send(&front, &message).await;
        answer.assert_structured(&what);
        let body = answer.json();
        assert_eq!((answer.status.as_u16(), body["error"]["code"].as_i64()), (status, Some(code)), "{what}: {body}");
        assert!(answer.body.len() < 2_000, "{what}: {body}");
        let id = Some(&message["id"]).filter(|id| *id == 7);
        assert_eq!(&body["id"], id.unwrap_or(&Value::Null), "{what}: {body}");
    }
    for id in [json!(-1), json!(0), json!(""), json!("x".repeat(10_000)), json!(i64::MAX)] {
        let answer = send(&front, &list_with_id(id.clone())).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["id"]), (OK, &id));
    }
    front.assert_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_awaits_no_answer_is_not_made() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let acme = Acme::new(&world).unwrap();
    let front = acme.gateway().await.unwrap();
    let arguments = acme_request("create_media_buy.guaranteed");
    let params = json!({"name": "create_media_buy", "arguments": arguments});
    let before = front.scrape().await.value("handoff_registry_call_duration_seconds_count", &[]);
    for message in [
        json!({"jsonrpc": "2.0", "method": "tools/call", "params": params}),
        json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}}),
        json!({"jsonrpc": "2.0", "method": "notifications/unknown", "params": {"a": 1}}),
    ] {
        let answer = send(&front, &message).await;
        answer.assert_structured(&message.to_string());
        assert_eq!(answer.status, 202, "{message}");
    }
    assert!(world.unfinished().await.is_empty());
    let after = front.scrape().await.value("handoff_registry_call_duration_seconds_count", &[]);
    assert_eq!(after, before, "the registry was asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_methods_types_and_headers_are_told_what_is_served() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let acme = Acme::new(&world).unwrap();
    let mut front = acme.gateway().await.unwrap();
    let list = list_with_id(json!(7)).to_string();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let to = |method: &str, path: &str| {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        http.request(method, format!("{}{path}", front.base)).bearer_auth(API_KEY).body(list.clone())
    };

    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "post"] {
        let answer = Answer::to(to(method, "/mcp").header("content-type", "application/json")).await;
        answer.assert_structured(method);
        assert_eq!((answer.status.as_u16(), &answer.headers["allow"]), (405, &"POST".parse().unwrap()), "{method}");
    }
    for (method, path, status) in [
        ("POST", "/", 404),
        ("GET", "/sse", 404),
        ("POST", "/MCP", 404),
        ("POST", "//mcp", 404),
        ("POST", "/mcp/x", 404),
        ("POST", "/mcp%2f", 404),
        ("GET", "/.well-known/oauth-protected-resource", 404),
        ("GET", "/healthz/", 404),
        ("POST", "/healthz", 405),
        ("DELETE", "/metrics", 405),
    ] {
        let answer = Answer::to(to(method, path).header("content-type", "application/json")).await;
        answer.assert_structured(path);
        assert_eq!(answer.status, status, "{method} {path}");
    }

    let typed = |name: &'static str, value: &str| {
        let request = to("POST", "/mcp").header(name, value);
        if name == "content-type" { request } else { request.header("content-type", "application/json") }
    };
    for (name, value, status) in [
        ("accept", "text/html", 406),
        ("accept", "text/event-stream", 406),
        ("accept", "", 406),
        ("accept", "application/json", 200),
        ("accept", "*/*", 200),
        ("accept", "text/html, application/*;q=0.5", 200),
        ("content-type", "", 415),
        ("content-type", "text/json", 415),
        ("content-type", "application/jsonx", 415),
        ("content-type", "multipart/form-data; boundary=x", 415),
        ("content-type", "APPLICATION/JSON; Charset=\"utf-8\"", 200),
        ("content-encoding", "gzip", 415),
        ("content-encoding", "identity", 200),
        ("mcp-protocol-version", "1999-01-01", 400),
        ("mcp-protocol-version", "2025-06-18", 200),
        // Its own headers have to be there, and right.
        ("mcp-protocol-version", "2026-07-28", 400),
        ("mcp-session-id", "somebody's", 200),
        ("last-event-id", "5", 200),
        ("host", "evil.example", 403),
        ("host", "localhost", 200),
        ("origin", "http://evil.example", 403),
        ("origin", "null", 403),
        ("origin", "http://localhost:3000", 200),
    ] {
        let what = format!("{name}: {value}");
        let answer = Answer::to(typed(name, value)).await;
        answer.assert_structured(&what);
        assert_eq!(answer.status, status, "{what}: {}", answer.body);
    }
    let slash = Answer::to(to("POST", "/mcp/?a=b").header("content-type", "application/json")).await;
    assert_eq!(slash.status, 200, "{}", slash.body);
    front.assert_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_another_version_of_the_protocol_is_told_so() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let acme = Acme::new(&world).unwrap();
    let front = acme.gateway().await.unwrap();
    for tool in ["create_media_buy", "get_products", "get_task_status", "get_adcp_capabilities", "get_media_buys"] {
        for (field, value) in [("adcp_version", json!("4.0")), ("adcp_major_version", json!(99))] {
            let answer = send(&front, &tool_call(tool, &json!({field: value, "context": {"a": 1}}))).await;
            answer.assert_structured(tool);
            let body = &answer.json()["result"]["structuredContent"];
            assert_eq!(body["adcp_error"]["code"], "VERSION_UNSUPPORTED", "{tool}: {body}");
            assert_eq!(
                body["adcp_error"]["details"]["supported_versions"],
                json!(["3.0", "3.1", "3.2"]),
                "{tool}: {body}"
            );
            assert_eq!(body["context"], json!({"a": 1}), "{tool}: {body}");
        }
    }
    for (pin, served) in [
        (json!({}), "3.2"),
        (json!({"adcp_version": "3.2"}), "3.2"),
        (json!({"adcp_version": "3.9"}), "3.2"),
        (json!({"adcp_version": "3.1", "adcp_major_version": 3}), "3.1"),
        (json!({"adcp_version": "3.0", "adcp_major_version": 3}), "3.0"),
        (json!({"adcp_major_version": 3}), "3.0"),
    ] {
        let capabilities = front.call("get_adcp_capabilities", &pin).await;
        assert_eq!(capabilities.body["adcp_version"], served, "{pin}");
        assert_eq!(capabilities.body["adcp"]["supported_versions"], json!(["3.0", "3.1", "3.2"]), "{pin}");
    }
}

on_both_databases! {
    async fn an_older_buyer_is_told_in_the_words_of_its_release(world: World) {
        let acme = Acme::new(&world).unwrap();
        let _worker = acme.worker().unwrap();
        let front = acme.gateway().await.unwrap();
        let of = |mut request: Value, release: &str| {
            request["adcp_version"] = json!(release);
            request
        };
        let request = acme_request("create_media_buy.non_guaranteed");
        let bought = front.call("create_media_buy", &of(request.clone(), "3.0")).await.body;
        assert!(bought["media_buy_id"].is_string(), "{bought}");
        assert_eq!((&bought["status"], &bought["adcp_version"]), (&bought["media_buy_status"], &json!("3.0")), "{bought}");
        assert!(["pending_creatives", "pending_start", "active"].contains(&bought["status"].as_str().unwrap()), "{bought}");
        let again = front.call("create_media_buy", &of(request.clone(), "3.0")).await.body;
        assert_eq!((&again["replayed"], &again["status"]), (&json!(true), &bought["status"]), "{again}");
        for release in ["3.1", "3.2"] {
            let newer = acme_request("create_media_buy.non_guaranteed");
            let newer = front.call("create_media_buy", &of(newer, release)).await.body;
            assert_eq!((&newer["status"], &newer["adcp_version"]), (&json!("completed"), &json!(release)), "{newer}");
            assert!(newer["media_buy_status"].is_string(), "{newer}");
        }
        let mut other = of(request.clone(), "3.0");
        other["end_time"] = json!("2031-01-01T00:00:00Z");
        let conflict = front.call("create_media_buy", &other).await.body;
        let names: Vec<&str> = conflict["adcp_error"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!((names, &conflict["adcp_error"]["code"]), (vec!["code", "message"], &json!("IDEMPOTENCY_CONFLICT")));

        let submitted = front.call("create_media_buy", &of(acme_request("create_media_buy.guaranteed"), "3.0")).await.body;
        assert_eq!(submitted["status"], "submitted", "{submitted}");
        let task_id = &submitted["task_id"];
        let done = eventually("the task is completed", || async {
            let poll = json!({"task_id": task_id, "include_result": true, "adcp_major_version": 3});
            let told = front.call("tasks/get", &poll).await.body;
            (told["status"] == "completed").then_some(told)
        })
        .await;
        assert_eq!(done["result"]["status"], done["result"]["media_buy_status"], "{done}");
        assert_ne!(done["result"]["status"], "completed", "{done}");
        // The task is of the release of its own request, whichever the poll is of.
        for release in ["3.1", "3.2"] {
            let poll = json!({"task_id": task_id, "include_result": true, "adcp_version": release});
            let told = front.call("get_task_status", &poll).await.body;
            assert_eq!((&told["adcp_version"], &told["result"]), (&json!(release), &done["result"]), "{told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_release_does_not_have_is_refused_in_it() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let lab = Acme::lab(&world).unwrap().set("HANDOFF_VALIDATION", "off");
    let _worker = lab.worker().unwrap();
    let front = lab.gateway().await.unwrap();
    let account = json!({"account_id": "acct"});
    let buy = json!({"account": account, "idempotency_key": fresh_key(), "adcp_version": "3.1"});
    let refused = front.call("buy_products", &buy).await;
    assert_eq!((refused.code(), &refused.body["errors"][0]["field"]), ("UNSUPPORTED_FEATURE", &json!("adcp_version")));
    // 3.0 has the tool, and no answer to it that comes later.
    let signals = |release: &str| json!({"account": account, "adcp_version": release, "lab": {"arm": "workflow"}});
    assert_eq!(front.call("get_signals", &signals("3.0")).await.code(), "X_HANDOFF_ASYNC_NOT_ALLOWED");
    assert_eq!(front.call("get_signals", &signals("3.1")).await.body["status"], "submitted");
    let result = json!({"status": "rejected", "reason": "no"});
    let products = |release: &str| json!({"account": account, "adcp_version": release, "lab": {"result": result}});
    assert_eq!(front.call("get_products", &products("3.1")).await.code(), "UNSUPPORTED_FEATURE");
    assert_eq!(front.call("get_products", &products("3.2")).await.body["status"], "rejected");
    // Nor is it said later, to whoever asks: the task is of the release that has no words for it.
    for (release, said) in [("3.1", json!("UNSUPPORTED_FEATURE")), ("3.2", json!(null))] {
        let asked = json!({"account": account, "adcp_version": release, "lab": {"arm": "workflow"}});
        let submitted = front.call("get_products", &asked).await.body;
        assert_eq!(submitted["status"], "submitted", "{submitted}");
        let task_id = submitted["task_id"].as_str().unwrap();
        let declined = world.handoff.resolve(&Viewer::Operator, task_id, decision::complete(&result)).await.unwrap();
        assert_eq!(declined.as_str(), "accepted");
        let poll = json!({"task_id": task_id, "include_result": true, "account": account});
        let told = front.call("get_task_status", &poll).await.body;
        assert_eq!((&told["status"], &told["result"]["errors"][0]["code"]), (&json!("rejected"), &said), "{told}");
        assert_eq!(told["result"].get("reason").is_some(), release == "3.2", "{told}");
    }
}
