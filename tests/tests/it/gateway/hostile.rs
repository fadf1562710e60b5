//! What must not get in: structured answers, and no 5xx without cause.

use handoff_tests::{
    Kind, World, fresh_key,
    front::{API_KEY, Acme, Front, OTHER_API_KEY, acme_request},
};
use reqwest::StatusCode;
use serde_json::{Value, json};

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_task_status","arguments":"#;

fn call(arguments: &str) -> Vec<u8> {
    format!("{CALL}{arguments}}}}}").into_bytes()
}

async fn send(front: &Front, body: Vec<u8>, content_type: &str) -> (StatusCode, Value) {
    let response = front.post_of_type(API_KEY, content_type).body(body).send().await.expect("an answer");
    let status = response.status();
    let text = response.text().await.expect("text");
    (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status}: not JSON: {text}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_no_calls_are_told_so() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let acme = Acme::new(&world).unwrap();
    let front = acme.gateway().await.unwrap();
    let deep = format!("{}{}", r#"{"a":"#.repeat(100), "1") + &"}".repeat(100);
    let wide = format!(r#"{{"task_id":"{}"}}"#, "x".repeat(2_000_000));
    let json_type = "application/json";
    let table: Vec<(&str, Vec<u8>, &str, u16, i64)> = vec![
        ("nothing", vec![], json_type, 400, -32700),
        ("no JSON", b"{".to_vec(), json_type, 400, -32700),
        ("JSON and more", b"{} {}".to_vec(), json_type, 400, -32700),
        (
            "not UTF-8",
            call("{\"task_id\":\"\u{1}\"}").iter().map(|b| if *b == 1 { 0xff } else { *b }).collect(),
            json_type,
            400,
            -32700,
        ),
        ("a key twice", call(r#"{"task_id":"a","task_id":"b"}"#), json_type, 400, -32700),
        ("a key twice, escaped", call(r#"{"task_id":"a","task\u005fid":"b"}"#), json_type, 400, -32700),
        ("a private key", call(r#"{"task_id":{"$serde_json::private::RawValue":"1"}}"#), json_type, 400, -32700),
        ("too deep", call(&deep), json_type, 400, -32700),
        ("much too deep", vec![b'['; 100_000], json_type, 400, -32700),
        ("too large", call(&wide), json_type, 413, -32600),
        ("a batch", b"[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}]".to_vec(), json_type, 400, -32600),
        ("a number", b"5".to_vec(), json_type, 400, -32600),
        ("no version", br#"{"id":1,"method":"tools/list"}"#.to_vec(), json_type, 400, -32600),
        ("no method", br#"{"jsonrpc":"2.0","id":1}"#.to_vec(), json_type, 400, -32600),
        ("an object as id", br#"{"jsonrpc":"2.0","id":{},"method":"tools/list"}"#.to_vec(), json_type, 400, -32600),
        ("no tool", br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}"#.to_vec(), json_type, 400, -32602),
        ("a list as arguments", call("[]"), json_type, 400, -32602),
        ("text", call("{}"), "text/plain", 415, -32600),
        ("a form", call("{}"), "application/x-www-form-urlencoded", 415, -32600),
        ("another charset", call("{}"), "application/json; charset=utf-16", 415, -32600),
    ];
    for (what, body, content_type, status, code) in table {
        let (told, answer) = send(&front, body, content_type).await;
        assert_eq!((told.as_u16(), answer["error"]["code"].as_i64()), (status, Some(code)), "{what}: {answer}");
        assert_eq!(answer["error"]["data"]["adcp_error"]["recovery"], "correctable", "{what}: {answer}");
    }
    let (status, answer) = send(&front, call("{}"), "application/json; charset=UTF-8").await;
    assert_eq!((status.as_u16(), &answer["result"]["isError"]), (200, &json!(true)), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_in_without_a_key() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let acme = Acme::new(&world).unwrap();
    let front = acme.gateway().await.unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let post = || http.post(front.url()).header("content-type", "application/json").body(list);
    for (request, code) in [
        (post(), "AUTH_MISSING"),
        (post().bearer_auth("wrong-key-wrong-key"), "AUTH_INVALID"),
        (post().header("x-adcp-auth", "wrong-key-wrong-key"), "AUTH_INVALID"),
        (post().header("authorization", "Basic abc"), "AUTH_INVALID"),
        (post().header("x-adcp-auth", API_KEY).bearer_auth(OTHER_API_KEY), "AUTH_INVALID"),
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 401, "{code}");
        assert!(response.headers().get("www-authenticate").unwrap().to_str().unwrap().starts_with("Bearer"));
        let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        assert_eq!(answer["error"]["data"]["adcp_error"]["code"], code, "{answer}");
    }
    for request in [post().bearer_auth(API_KEY), post().header("x-adcp-auth", API_KEY)] {
        assert_eq!(request.header("accept", "application/json").send().await.unwrap().status(), 200);
    }
    let other_host = post().bearer_auth(API_KEY).header("host", "evil.example").send().await.unwrap();
    assert_eq!(other_host.status(), 403);
    let get = http.get(front.url()).bearer_auth(API_KEY).send().await.unwrap();
    assert_eq!((get.status().as_u16(), get.headers()["allow"].to_str().unwrap()), (405, "POST"));
    assert_eq!(front.get("/healthz").send().await.unwrap().status(), 200);
    let log = front.log.lock().unwrap().clone();
    assert!(!log.contains("wrong-key"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_tool_refuses_nonsense_with_a_structured_error() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let acme = Acme::new(&world).unwrap();
    let _worker = acme.worker().unwrap();
    let front = acme.gateway().await.unwrap();
    let tools = front.rpc("tools/list", json!({})).await["result"]["tools"].clone();
    let key = fresh_key;
    for tool in tools.as_array().unwrap().iter().filter_map(|tool| tool["name"].as_str()) {
        for arguments in [
            json!({}),
            json!({"account": 5, "idempotency_key": key()}),
            json!({"account": {"account_id": {}}, "idempotency_key": [], "task_id": {}}),
            json!({"account": {"account_id": "no-account:nobody"}, "idempotency_key": key()}),
            json!({"account": {"account_id": "a\u{0}b"}, "idempotency_key": key(), "packages": "x", "media_buy_id": 7}),
            json!({"account": {"account_id": "x".repeat(500)}, "idempotency_key": "short", "filters": {"nonsense": 1}}),
            json!({"account": null, "time_budget": {"interval": -1, "unit": "weeks"}, "idempotency_key": key()}),
        ] {
            let mut arguments = arguments;
            arguments["context"] = json!({"trace": "t"});
            let told = front.call(tool, &arguments).await;
            assert_eq!(told.body["context"], json!({"trace": "t"}), "{tool} {arguments}: {}", told.body);
            if told.is_error {
                let error = &told.body["errors"][0];
                let known = error["code"].is_string() && error["message"].is_string() && error["recovery"].is_string();
                assert!(known, "{tool} {arguments}: {}", told.body);
                assert_ne!(error["code"], "SERVICE_UNAVAILABLE", "{tool} {arguments}: {}", told.body);
            }
        }
    }
    let unknown = front.rpc("tools/call", json!({"name": "drop_tables", "arguments": {}})).await;
    assert_eq!(unknown["error"]["code"], -32602, "{unknown}");
    assert_eq!(unknown["error"]["data"]["adcp_error"]["code"], "UNSUPPORTED_FEATURE");
    let log = front.log.lock().unwrap().clone();
    assert!(!log.contains("panicked"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_task_and_another_agents_are_the_same() {
    let world = World::new(Kind::Postgres).await.unwrap();
    let acme = Acme::new(&world).unwrap();
    let _worker = acme.worker().unwrap();
    let front = acme.gateway().await.unwrap();
    let request = acme_request("create_media_buy.insertion_order");
    let submitted = front.call("create_media_buy", &request).await;
    let task_id = submitted.body["task_id"].as_str().expect("a task").to_owned();
    let other_account = json!({"account_id": "acct_other"});
    let whole = async |task_id: &str, account: Option<&Value>| {
        let mut arguments = json!({"task_id": task_id, "include_result": true});
        if let Some(account) = account {
            arguments["account"] = account.clone();
        }
        let message = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call",
            "params": {"name": "get_task_status", "arguments": arguments}});
        let response = front.post(OTHER_API_KEY).body(message.to_string()).send().await.unwrap();
        let mut headers = response.headers().clone();
        for own in ["date", "x-correlation-id"] {
            headers.remove(own);
        }
        (response.status(), headers, response.text().await.unwrap())
    };
    let unknown = whole("task_00000000000000000000000000000000", None).await;
    assert!(unknown.2.contains("REFERENCE_NOT_FOUND"), "{}", unknown.2);
    assert_eq!(whole(&task_id, None).await, unknown);
    assert_eq!(whole(&task_id, Some(&request["account"])).await, unknown);
    assert_eq!(whole(&task_id, Some(&other_account)).await, unknown);
    // The same agent, another account of its own.
    let elsewhere = front.call("get_task_status", &json!({"task_id": task_id, "account": other_account})).await;
    assert_eq!(elsewhere.code(), "REFERENCE_NOT_FOUND");
    let listed = front.call_as(OTHER_API_KEY, "list_tasks", &json!({"account": request["account"]})).await;
    assert_eq!(listed.body["query_summary"]["total_matching"], 0, "{}", listed.body);
    let own = front.call("get_task_status", &json!({"task_id": task_id})).await;
    assert_eq!(own.body["status"], "submitted");
}
