//! What is said between buyers and a seller is recorded as it is, and what is none of the protocol's messages is found.

use axum::{
    Router,
    http::HeaderMap,
    response::IntoResponse,
    routing::{get, post},
};
use handoff_tests::recorder::{Recorder, check};
use serde_json::{Value, json};
use tokio::net::TcpListener;

fn call(tool: &str, request: Value, answer: Value) -> Value {
    let is_error = answer["status"] == "failed";
    json!({"tool": tool, "request": request, "answer": answer, "is_error": is_error})
}

fn failed(code: &str, recovery: &str) -> Value {
    let error = json!({"code": code, "message": "m", "recovery": recovery});
    json!({"status": "failed", "adcp_error": error, "errors": [error], "adcp_version": "3.2"})
}

#[tokio::test]
async fn what_is_invalid_is_found_and_named() {
    let wholesale = json!({"buying_mode": "wholesale", "context": {"n": 1}});
    let products = json!({"status": "completed", "products": [], "cache_scope": "public", "adcp_version": "3.2"});
    let purchase = json!({
        "adcp_major_version": 3, "idempotency_key": "0123456789abcdef", "account": {"account_id": "a"},
        "brand": {"domain": "test.example"}, "start_time": "asap", "end_time": "2027-03-31T00:00:00Z",
        "packages": [{"product_id": "p", "pricing_option_id": "o", "budget": 5}],
    });
    // As 3.0 has it, which puts the media buy's status in the place of the task's, and says the key again.
    let bought = json!({
        "status": "active", "media_buy_status": "active", "media_buy_id": "m", "confirmed_at": "2026-08-12T12:00:00Z",
        "revision": 1, "packages": [], "idempotency_key": "0123456789abcdef", "adcp_version": "3.0",
    });
    let list = json!({"scenario": "list_scenarios"});
    let listed = json!({"status": "completed", "success": true, "scenarios": ["seed_product"], "adcp_version": "3.0"});
    let poll = json!({"task_id": "t", "include_result": true});
    let polled = |result: Value| {
        json!({
            "status": "completed", "task_id": "t", "task_type": "get_products", "protocol": "media-buy", "result": result,
            "created_at": "2026-08-12T12:00:00Z", "updated_at": "2026-08-12T12:00:00Z",
        })
    };
    let good = [
        call("get_products", wholesale.clone(), products.clone()),
        call("get_products", wholesale.clone(), json!({"status": "submitted", "task_id": "t", "message": "m"})),
        call("get_products", wholesale.clone(), json!({"status": "rejected", "reason": "no"})),
        // Broken on purpose, and refused.
        call("get_products", json!({"buying_mode": "none"}), failed("VALIDATION_ERROR", "correctable")),
        // Its schema knows of no errors.
        call("get_media_buys", json!({}), failed("ACCOUNT_NOT_FOUND", "terminal")),
        call("create_media_buy", purchase.clone(), bought.clone()),
        call("comply_test_controller", list.clone(), listed.clone()),
        call("tasks_get", poll.clone(), polled(products.clone())),
    ];
    let checked = check(&good).await.unwrap();
    assert_eq!(checked.invalid, [Value::Null; 0], "{:#?}", checked.invalid);
    assert_eq!((checked.adcp.as_str(), checked.requests, checked.answers, checked.unread), ("3.2.4", 6, 8, 2));

    let without = |value: &Value, field: &str| {
        let mut value = value.clone();
        value.as_object_mut().unwrap().remove(field);
        value
    };
    let bad = [
        (call("get_products", json!({"buying_mode": "none"}), products.clone()), "request", "/buying_mode"),
        (call("get_products", wholesale.clone(), without(&products, "cache_scope")), "answer", "cache_scope"),
        (call("get_products", wholesale.clone(), without(&products, "status")), "answer", "status"),
        (call("get_products", wholesale.clone(), json!({"status": "submitted"})), "answer", "task_id"),
        (call("get_products", wholesale.clone(), json!(null)), "answer", "no object"),
        (call("get_products", wholesale, failed("ACCOUNT_NOT_FOUND", "never")), "answer", "recovery"),
        (call("get_media_buys", json!({}), failed("ACCOUNT_NOT_FOUND", "never")), "answer", "recovery"),
        (call("create_media_buy", purchase, without(&bought, "packages")), "answer", "packages"),
        (call("comply_test_controller", list, without(&listed, "success")), "answer", "success"),
        (call("get_task_status", poll.clone(), polled(without(&products, "cache_scope"))), "answer", "cache_scope"),
        (call("get_task_status", poll, without(&polled(products), "task_type")), "answer", "task_type"),
        (call("a_sellers_own", json!({}), json!({"status": "completed"})), "answer", "no such tool"),
    ];
    // Together: the check takes longer to begin than to do.
    let calls: Vec<Value> = good.into_iter().chain(bad.iter().map(|(call, _, _)| call.clone())).collect();
    let found = check(&calls).await.unwrap().invalid;
    for (place, (call, what, word)) in bad.iter().enumerate() {
        let line = calls.len() - bad.len() + place + 1;
        let named = found.iter().find(|found| found["line"] == json!(line) && found["what"] == json!(what));
        let named = named.unwrap_or_else(|| panic!("{call}: {found:#?}"));
        assert_eq!(named["tool"], call["tool"]);
        assert!(named["problems"].to_string().contains(word), "{call}: {named}");
    }
    assert!(found.iter().all(|found| found["line"].as_u64() > Some(8)), "{found:#?}");
}

// Spaces, order and numbers as they are.
const ANSWER: &str = r#"{"id": 1, "result":{"structuredContent":{"z":1.10,"a":1e2}, "isError":true}}"#;

async fn answer(headers: HeaderMap, asked: String) -> impl IntoResponse {
    let told = if asked.contains("refuse") { r#"{"error":{"code":-32602}}"# } else { ANSWER };
    ([("x-told", headers["x-asked"].clone())], told)
}

#[tokio::test]
async fn a_recorder_changes_nothing_and_writes_calls_down() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let door = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move { axum::serve(listener, Router::new().route("/mcp", post(answer))).await });
    let recorder = Recorder::before([&door]).await.unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let send = async |path: &str, body: &str| {
        let sent = http.post(format!("{}{path}", recorder.base())).header("x-asked", "yes").body(body.to_owned());
        let answer = sent.send().await.unwrap();
        (answer.status().as_u16(), answer.headers().get("x-told").cloned(), answer.text().await.unwrap())
    };
    let asked = r#"{"id":1,"method":"tools/call","params":{"name":"get_products","arguments":{"brief":"ä"}}}"#;
    let (status, header, body) = send("/mcp", asked).await;
    assert_eq!((status, header.unwrap().as_bytes(), body.as_str()), (200, b"yes".as_slice(), ANSWER));
    send("/mcp", r#"{"id":2,"method":"tools/call","params":{"name":"refuse"}}"#).await;
    send("/mcp", r#"{"id":3,"method":"tools/list"}"#).await;
    send("/mcp", "no JSON").await;
    assert_eq!(send("/elsewhere", "{}").await.0, 404);
    let expected = r#"{"tool":"get_products","request":{"brief":"ä"},"answer":{"z":1.10,"a":1e2},"is_error":true}"#;
    let expected: Value = serde_json::from_str(expected).unwrap();
    assert_eq!(recorder.calls(), [expected]);
    serving.abort();
}

#[tokio::test]
async fn a_recorder_asks_its_doors_in_turn_over_one_connection_too() {
    let (mut doors, mut serving) = (Vec::new(), Vec::new());
    for name in ["a", "b", "c"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        doors.push(format!("http://{}", listener.local_addr().unwrap()));
        let router = Router::new().route("/name", get(move || async move { name }));
        serving.push(tokio::spawn(async move { axum::serve(listener, router).await }));
    }
    let recorder = Recorder::before(&doors).await.unwrap();
    // What has an answer behind it is sent over the connection that is there.
    let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(1).build().unwrap();
    let mut told = String::new();
    for _ in 0..7 {
        let answer = http.get(format!("{}/name", recorder.base())).send().await.unwrap();
        told += &answer.text().await.unwrap();
    }
    assert_eq!((told.as_str(), recorder.shares()), ("abcabca", vec![3, 2, 2]));
    serving.iter().for_each(tokio::task::JoinHandle::abort);
}
