//! The client against an endpoint that answers as a test says.

use super::*;
use crate::EgressOptions;
use std::sync::{Arc, Mutex};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const SECRET: &str = "gov-token-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

type Requests = Arc<Mutex<Vec<(String, Value)>>>;
type Answers = fn(&str) -> String;

/// Answers each message by its method, and keeps heads and messages.
async fn serve(answers: Answers) -> (String, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://127.0.0.1:{}/mcp", listener.local_addr().unwrap().port());
    let requests = Requests::default();
    let kept = requests.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(talk(stream, answers, kept.clone()));
        }
    });
    (url, requests)
}

async fn talk(mut stream: TcpStream, answers: Answers, requests: Requests) -> Option<()> {
    let mut seen = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).await.ok().filter(|read| *read > 0)?;
        seen.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8(seen.clone()).ok()?;
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let head = head.to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
        if body.len() < length {
            continue;
        }
        let message: Value = serde_json::from_str(body).unwrap_or_default();
        let method = message["method"].as_str().unwrap_or("delete").to_owned();
        requests.lock().unwrap().push((head, message));
        seen.clear();
        stream.write_all(answers(&method).as_bytes()).await.ok()?;
    }
}

fn http(head: &str, body: &str) -> String {
    format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn json_answer(id: u64, result: &str) -> String {
    http(
        "200 OK\r\ncontent-type: application/json",
        &format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{result}}}"),
    )
}

fn greeting(method: &str) -> Option<String> {
    Some(match method {
        "initialize" => http(
            "200 OK\r\ncontent-type: application/json\r\nmcp-session-id: s-1",
            r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-03-26","capabilities":{}}}"#,
        ),
        "notifications/initialized" => http("202 Accepted", ""),
        "delete" => http("200 OK", ""),
        _ => return None,
    })
}

async fn ask(url: &str) -> Result<Value, McpError> {
    let options =
        EgressOptions { https_only: false, allowed: "127.0.0.0/8".parse().unwrap(), ..EgressOptions::default() };
    let egress = Egress::new(&options).unwrap();
    McpAgent::new(url, SECRET).unwrap().call(&egress, "check_governance", &json!({"plan_id": "p"})).await
}

#[tokio::test]
async fn a_tool_is_called_in_a_session_with_the_credentials() {
    let (url, requests) = serve(|method| {
        greeting(method)
            .unwrap_or_else(|| json_answer(2, r#"{"structuredContent":{"verdict":"approved"},"content":[]}"#))
    })
    .await;
    assert_eq!(ask(&url).await, Ok(json!({"verdict": "approved"})));
    let requests = requests.lock().unwrap();
    let methods: Vec<_> = requests.iter().map(|(_, message)| message["method"].as_str().unwrap_or("")).collect();
    assert_eq!(methods, ["initialize", "notifications/initialized", "tools/call", ""]);
    assert!(requests[3].0.starts_with("delete /mcp "));
    for (number, (head, _)) in requests.iter().enumerate() {
        assert!(head.contains(&format!("authorization: bearer {SECRET}")), "{head}");
        assert_eq!(head.contains("mcp-session-id: s-1"), number > 0, "{head}");
    }
    assert!(requests[2].0.contains("mcp-protocol-version: 2025-03-26"));
    let params = json!({"name": "check_governance", "arguments": {"plan_id": "p"}});
    assert_eq!(requests[2].1["params"], params);
}

#[tokio::test]
async fn an_answer_is_found_among_events_and_in_text() {
    let (url, _) = serve(|method| {
        greeting(method).unwrap_or_else(|| {
            let result = r#"{"content":[{"type":"text","text":"{\"status\":\"denied\"}"}]}"#;
            let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{}}"#;
            let events = format!("data: {progress}\n\ndata: {{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{result}}}\n\n");
            // The stream stays open.
            format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 99999\r\n\r\n{events}")
        })
    })
    .await;
    assert_eq!(ask(&url).await, Ok(json!({"status": "denied"})));
}

#[tokio::test]
async fn what_is_no_answer_has_a_word() {
    let check = async |answers: Answers, expected: McpError| {
        let (url, _) = serve(answers).await;
        assert_eq!(ask(&url).await, Err(expected));
    };
    check(|_| http("401 X\r\nwww-authenticate: Bearer", ""), McpError::Status(401)).await;
    check(|_| http("307 X\r\nlocation: http://127.0.0.1:9/", ""), McpError::Status(307)).await;
    check(|_| http("200 OK", "<html>"), McpError::Malformed).await;
    check(|_| http("200 OK", &"[".repeat(9_000)), McpError::Malformed).await;
    check(|_| http("200 OK", &"x".repeat(MAX_ANSWER_BYTES + 1)), McpError::Egress(EgressError::TooLarge)).await;
    check(|_| json_answer(7, "{}"), McpError::Malformed).await;
    check(|method| greeting(method).unwrap_or_else(|| json_answer(2, "5")), McpError::Malformed).await;
    check(|method| greeting(method).unwrap_or_else(|| json_answer(2, r#"{"content":[]}"#)), McpError::Malformed).await;
    check(|method| greeting(method).unwrap_or_else(|| json_answer(2, r#"{"isError":true}"#)), McpError::Refused).await;
    check(
        |method| {
            let error = r#"{"jsonrpc":"2.0","id":2,"error":{"code":-32602,"message":"no"}}"#;
            greeting(method).unwrap_or_else(|| http("200 OK", error))
        },
        McpError::Refused,
    )
    .await;
}

#[test]
fn only_https_and_this_machine_are_asked_and_nothing_is_shown() {
    for bad in ["http://g.example/mcp", "http://10.0.0.1/mcp", "ftp://g.example", "g.example", "https://g.example/#x"] {
        assert!(McpAgent::new(bad, SECRET).is_err(), "{bad}");
    }
    for good in ["https://g.example/mcp", "http://localhost:9/mcp", "http://127.0.0.1:9/mcp", "http://[::1]:9/mcp"] {
        assert!(!format!("{:?}", McpAgent::new(good, SECRET).unwrap()).contains(SECRET));
    }
    assert_eq!(McpAgent::new("https://g.example:8443/a/b?c=d", SECRET).unwrap().origin(), "https://g.example:8443");
}
