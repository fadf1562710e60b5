//! The endpoint over real HTTP.

use super::*;
use crate::codec::{Key, KeyRing};
use serde_json::Value;
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
};

const TOKEN: &str = "a token of some length";
const UI: &str = "http://localhost:8233";

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), ServeError>>,
}

fn settings() -> CodecServer {
    let ring = KeyRing::parse(Key::generate("k").unwrap().expose_secret()).unwrap();
    CodecServer { keys: Arc::new(ring), token: TOKEN.into(), origins: vec![UI.into()] }
}

async fn start() -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let serving = tokio::spawn(serve(listener, settings(), async move { drop(stopped.await) }));
    Running { address, stop, serving }
}

impl Running {
    /// The status, and everything after it.
    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: codec\r\nconnection: close\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
        stream.write_all(request.as_bytes()).await.unwrap();
        // A server that refuses does not have to read to the end.
        let _ = stream.write_all(body.as_bytes()).await;
        let mut answer = vec![];
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap_or_else(|| panic!("{answer:?}")).parse().unwrap();
        (status, answer)
    }

    async fn post(&self, path: &str, body: &str) -> (u16, Value) {
        let token = format!("Bearer {TOKEN}");
        let headers = [("authorization", token.as_str()), ("content-type", "application/json")];
        let (status, answer) = self.send("POST", path, &headers, body).await;
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        (status, serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}")))
    }
}

fn plain() -> Value {
    json!({"payloads": [
        {"metadata": {"encoding": BASE64_STANDARD.encode("json/plain")}, "data": BASE64_STANDARD.encode("\"secret\"")},
        {"metadata": {"encoding": BASE64_STANDARD.encode("binary/null")}},
    ]})
}

#[tokio::test]
async fn what_is_encoded_is_decoded_and_order_is_kept() {
    let server = start().await;
    let (status, encoded) = server.post("/encode", &plain().to_string()).await;
    assert_eq!(status, 200, "{encoded}");
    let encrypted = BASE64_STANDARD.encode("binary/encrypted");
    assert_eq!(encoded["payloads"][1]["metadata"]["encoding"], encrypted);
    let (status, decoded) = server.post("/decode", &encoded.to_string()).await;
    assert_eq!((status, decoded), (200, plain()));
    // What was never encrypted passes.
    assert_eq!(server.post("/decode", &plain().to_string()).await, (200, plain()));
}

#[tokio::test]
async fn only_the_token_opens_it() {
    let server = start().await;
    let json = ("content-type", "application/json");
    let wrong = ["Bearer", "Bearer a token of some lengti", "Bearer a token", &format!("Basic {TOKEN}"), TOKEN];
    for path in ["/decode", "/encode", "/elsewhere"] {
        assert_eq!(server.send("POST", path, &[json], &plain().to_string()).await.0, 401);
        for token in wrong {
            let headers = [json, ("authorization", token)];
            let (status, answer) = server.send("POST", path, &headers, &plain().to_string()).await;
            assert_eq!(status, 401, "{token:?}");
            assert!(!answer.contains(TOKEN), "{answer}");
        }
    }
}

#[tokio::test]
async fn pages_of_the_ui_may_call_it_and_others_may_not() {
    let server = start().await;
    let asking = |origin| {
        [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "x-namespace"),
        ]
    };
    let (status, answer) = server.send("OPTIONS", "/decode", &asking(UI), "").await;
    assert_eq!(status, 200, "without a token: browsers send none here");
    assert!(answer.contains(&format!("access-control-allow-origin: {UI}")), "{answer}");
    for header in ["authorization", "content-type", "x-namespace"] {
        assert!(answer.contains(header), "{answer}");
    }
    let (_, answer) = server.send("OPTIONS", "/decode", &asking("http://evil.example"), "").await;
    assert!(!answer.contains("access-control-allow-origin"), "{answer}");
    // The answer itself, and refusals too, say who may read them.
    let (_, answer) = server.send("POST", "/decode", &[("origin", UI)], "").await;
    assert!(answer.contains(&format!("access-control-allow-origin: {UI}")), "{answer}");
}

#[tokio::test]
async fn bad_input_is_refused_and_not_quoted() {
    let server = start().await;
    let sealed = |key: &str, data: &str| {
        let metadata = json!({
            "encoding": BASE64_STANDARD.encode("binary/encrypted"), "encryption-key-id": BASE64_STANDARD.encode(key),
        });
        json!({"payloads": [{"metadata": metadata, "data": BASE64_STANDARD.encode(data)}]}).to_string()
    };
    for (body, status, part) in [
        ("secret".to_owned(), 400, "JSON"),
        (r#"{"payloads": "secret"}"#.into(), 422, "JSON"),
        (r#"{"payloads": [{"data": "secret!"}]}"#.into(), 400, "base64"),
        (sealed("gone", "secret"), 400, "gone"),
        (sealed("k", "secret"), 400, "cut"),
        (format!("\"{}\"", "x".repeat(MAX_BODY_BYTES)), 413, "too large"),
    ] {
        let (answered, answer) = server.post("/decode", &body).await;
        let message = answer["message"].as_str().unwrap_or_default();
        assert!(answered == status && message.contains(part) && !message.contains("secret"), "{answered} {answer}");
    }
}

#[tokio::test]
async fn it_stops_when_told() {
    let server = start().await;
    assert_eq!(server.post("/decode", "{}").await, (200, json!({"payloads": []})));
    server.stop.send(()).unwrap();
    server.serving.await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[test]
fn tokens_that_can_be_guessed_and_origins_that_nobody_sends_are_refused() {
    let short = CodecServer { token: "secret".into(), ..settings() };
    assert!(matches!(router(short), Err(ServeError::Token)));
    for origin in ["*", "localhost:8233", "http://localhost:8233/", "http://ui.example/path", "null"] {
        let origins = vec![origin.to_owned()];
        assert!(matches!(router(CodecServer { origins, ..settings() }), Err(ServeError::Origin(_))), "{origin}");
    }
    let origins = vec!["https://ui.example".to_owned(), "http://127.0.0.1:8233".to_owned()];
    assert!(router(CodecServer { origins, ..settings() }).is_ok());
}
