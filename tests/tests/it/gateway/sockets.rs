//! Bytes that are hardly HTTP, and clients that hang up, dawdle, or send without end.

use handoff_tests::{
    Kind, World,
    answer::tool_call,
    eventually,
    front::{API_KEY, Acme, Front, acme_request},
};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

// Longer than the front door waits for anything here.
const PATIENCE: Duration = Duration::from_secs(30);

async fn connect(front: &Front) -> TcpStream {
    let address = front.base.strip_prefix("http://").expect("an address");
    TcpStream::connect(address).await.expect("the door is open")
}

/// All that comes back until the connection is closed; no more is sent.
async fn told(front: &Front, bytes: &[u8]) -> String {
    let mut stream = connect(front).await;
    // Who is refused early may find the connection closed.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    heard(stream).await
}

async fn heard(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset is an end as well.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the connection is closed in time");
    String::from_utf8_lossy(&answer).into_owned()
}

fn status(answer: &str) -> Option<u16> {
    answer.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

fn head(length: &str) -> String {
    format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {API_KEY}\r\ncontent-type: application/json\r\n{length}\r\n"
    )
}

fn body_of(answer: &str) -> Value {
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
    serde_json::from_str(body).unwrap_or_else(|_| panic!("not JSON: {answer}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http_is_refused_and_harms_nobody() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let acme = Acme::new(&world).unwrap().set("HANDOFF_BODY_TIMEOUT", "1s");
    let mut front = acme.gateway().await.unwrap();
    let list = r#"{"jsonrpc":"2.0","id":7,"method":"tools/list"}"#;
    let post = |length: &str, body: &str| format!("{}{body}", head(length)).into_bytes();
    let chunked = "transfer-encoding: chunked\r\n";
    let long = format!("x-long: {}\r\n", "y".repeat(1_000_000));
    let many = (0..500).map(|number| format!("x-{number}: y\r\n")).collect::<String>();
    // None: a closed connection is answer enough.
    for (what, bytes, expected) in [
        ("nothing", vec![], None),
        ("zeroes", vec![0; 4_000], Some(400)),
        ("a line", b"hello\r\n\r\n".to_vec(), Some(400)),
        ("an old request", b"GET /\r\n\r\n".to_vec(), Some(400)),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), Some(400)),
        ("half a head", b"POST /mcp HTTP/1.1\r\nhost: loc".to_vec(), None),
        ("a long header", post(&long, ""), Some(431)),
        ("many headers", post(&many, ""), Some(431)),
        ("two lengths", post("content-length: 5\r\ncontent-length: 6\r\n", "hello"), Some(400)),
        ("a negative length", post("content-length: -5\r\n", ""), Some(400)),
        ("a length in letters", post("content-length: five\r\n", ""), Some(400)),
        ("a huge length", post("content-length: 99999999999999999999999\r\n", ""), Some(400)),
        ("no chunk", post(chunked, "zz\r\n"), None),
        ("half a chunk", post(chunked, "ff\r\n{"), None),
        ("another encoding", post("transfer-encoding: gzip\r\n", "x"), Some(400)),
    ] {
        let answer = told(&front, &bytes).await;
        if let Some(expected) = expected {
            assert_eq!(status(&answer), Some(expected), "{what}: {answer}");
        } else {
            assert!(answer.is_empty() || status(&answer).is_some_and(|status| status < 500), "{what}: {answer}");
        }
    }
    // Two requests in one breath are two answers.
    let length = format!("content-length: {}\r\n", list.len());
    let twice = [post(&length, list), post(&format!("connection: close\r\n{length}"), list)].concat();
    let mut stream = connect(&front).await;
    stream.write_all(&twice).await.unwrap();
    assert_eq!(heard(stream).await.matches("HTTP/1.1 200").count(), 2);
    // What is behind a body is not part of it: a length and chunks together are not two meanings.
    let smuggled =
        format!("{}0\r\n\r\nGET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n", head(&format!("{length}{chunked}")));
    let answer = told(&front, smuggled.as_bytes()).await;
    assert!(status(&answer).is_none_or(|status| status == 400), "{answer}");
    front.assert_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_does_not_come_ends_its_connection() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let acme = Acme::new(&world).unwrap().set("HANDOFF_HEAD_TIMEOUT", "1s");
    let mut front = acme.gateway().await.unwrap();
    let mut dawdling = connect(&front).await;
    dawdling.write_all(b"POST /mcp HTTP/1.1\r\nhost: local").await.unwrap();
    assert!(!heard(dawdling).await.contains("200"));
    // Drop by drop is no way around it.
    let (mut reader, mut writer) = connect(&front).await.into_split();
    let drip = tokio::spawn(async move {
        writer.write_all(b"GET /healthz HTTP/1.1\r\nx: ").await?;
        let mut drops = tokio::time::interval(Duration::from_millis(100));
        loop {
            drops.tick().await;
            writer.write_all(b"y").await?;
        }
        #[expect(unreachable_code, reason = "the type of what ends it")]
        std::io::Result::Ok(())
    });
    let mut nothing = Vec::new();
    let _ = timeout(PATIENCE, reader.read_to_end(&mut nothing)).await.expect("the connection is closed in time");
    drop(reader);
    timeout(PATIENCE, drip).await.expect("it can't go on").unwrap().unwrap_err();
    // One that is used in time stays open. A busy machine may not use it in time.
    eventually("one is used twice", || twice(&front)).await;
    front.assert_unharmed().await;
}

/// Asks twice on one connection; nothing, if it was closed.
async fn twice(front: &Front) -> Option<()> {
    let mut stream = connect(front).await;
    for _ in 0..2 {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.ok()?;
        let mut first = [0; 12];
        timeout(PATIENCE, stream.read_exact(&mut first)).await.expect("in time").ok()?;
        assert_eq!(&first, b"HTTP/1.1 200");
        // The rest of the answer, as far as it has come.
        let mut rest = [0; 4_000];
        let _ = stream.read(&mut rest).await.ok()?;
    }
    Some(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_late_or_endless_are_told_so() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let acme = Acme::new(&world).unwrap().set("HANDOFF_BODY_TIMEOUT", "3s");
    let mut front = acme.gateway().await.unwrap();

    // Half of it, and no more: but the client listens.
    let mut stream = connect(&front).await;
    stream
        .write_all(format!("{}{{\"jsonrpc\"", head("connection: close\r\ncontent-length: 500\r\n")).as_bytes())
        .await
        .unwrap();
    let answer = heard(stream).await;
    assert_eq!(status(&answer), Some(408), "{answer}");
    assert_eq!(body_of(&answer)["error"]["data"]["adcp_error"]["code"], "INVALID_REQUEST");

    // Without end, in chunks: no length says so beforehand.
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    let mut stream = connect(&front).await;
    stream.write_all(head("transfer-encoding: chunked\r\n").as_bytes()).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let endless = tokio::spawn(async move { while writer.write_all(chunk.as_bytes()).await.is_ok() {} });
    let mut first = [0; 12];
    timeout(PATIENCE, reader.read_exact(&mut first)).await.expect("in time").unwrap();
    assert_eq!(&first, b"HTTP/1.1 413");
    drop(reader);
    timeout(PATIENCE, endless).await.expect("the connection is closed").unwrap();
    front.assert_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buyer_that_hangs_up_has_begun_what_it_asked_for() {
    let world = World::new(Kind::Postgres).await.unwrap();
    let acme = Acme::new(&world).unwrap();
    let _worker = acme.worker().unwrap();
    let mut front = acme.gateway().await.unwrap();
    let request = acme_request("create_media_buy.guaranteed");
    let call = tool_call("create_media_buy", &request).to_string();
    let mut stream = connect(&front).await;
    stream
        .write_all(format!("{}{call}", head(&format!("content-length: {}\r\n", call.len()))).as_bytes())
        .await
        .unwrap();
    // Until the request is claimed; then nobody listens any more.
    eventually("the request is claimed", || async {
        let claims =
            front.scrape().await.value("handoff_registry_call_duration_seconds_count", &[("operation", "claim")]);
        (claims > 0.0).then_some(())
    })
    .await;
    drop(stream);
    let answer = front.call("create_media_buy", &request).await;
    assert_eq!((&answer.body["status"], answer.is_error), (&json!("submitted"), false), "{}", answer.body);
    let listed = front.call("list_tasks", &json!({"account": request["account"]})).await;
    assert_eq!(listed.body["query_summary"]["total_matching"], 1, "{}", listed.body);
    front.assert_unharmed().await;
}
