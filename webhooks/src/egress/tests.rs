//! The client against an endpoint that answers bytes, and names that resolve as a test says.

use super::*;
use async_trait::async_trait;
use reqwest::header::HeaderMap;
use std::{
    collections::VecDeque,
    io,
    net::IpAddr,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use url::Url;

/// Answers each lookup with the next of these; the last stays.
#[derive(Debug)]
struct Names(Mutex<VecDeque<Vec<IpAddr>>>);

impl Names {
    fn new(answers: &[&[&str]]) -> Arc<Self> {
        let answers = answers.iter().map(|answer| answer.iter().map(|address| address.parse().unwrap()).collect());
        Arc::new(Self(Mutex::new(answers.collect())))
    }
}

#[async_trait]
impl Lookup for Names {
    async fn lookup(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        let mut answers = self.0.lock().unwrap();
        let next = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        next.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// An endpoint that counts connections and requests, and answers each request with these bytes; with none, never.
struct Server {
    port: u16,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(answer: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = Self { port, connections: Arc::default(), requests: Arc::default() };
        let (connections, requests) = (server.connections.clone(), server.requests.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, answer.clone(), requests.clone()));
            }
        });
        server
    }

    fn url(&self, host: &str) -> Url {
        format!("http://{host}:{}/hook", self.port).parse().unwrap()
    }
}

async fn serve(mut stream: TcpStream, answer: Vec<u8>, requests: Arc<Mutex<Vec<String>>>) {
    let mut seen = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut chunk).await {
        seen.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&seen).into_owned();
        if text.ends_with("BODY") || (text.starts_with("GET ") && text.ends_with("\r\n\r\n")) {
            requests.lock().unwrap().push(text);
            seen.clear();
            if stream.write_all(&answer).await.is_err() {
                return;
            }
        }
    }
}

fn egress(names: Arc<Names>, allowed: &str) -> Egress {
    let options = EgressOptions {
        https_only: false,
        allowed: allowed.parse().unwrap(),
        timeout: Duration::from_millis(400),
        lookup: names,
        ..EgressOptions::default()
    };
    Egress::new(&options).unwrap()
}

async fn post(egress: &Egress, url: &Url) -> Result<Answer, EgressError> {
    egress.post(url, HeaderMap::new(), b"BODY".to_vec()).await
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const LOOPBACK: &str = "127.0.0.0/8";

#[tokio::test]
async fn only_what_was_checked_is_connected_to() {
    let server = Server::start(OK.to_vec()).await;
    let url = server.url("buyer.example");
    for (answers, allowed, expected) in [
        (&[&["127.0.0.1"][..]][..], "", EgressError::Address),
        (&[&["93.184.216.34", "127.0.0.1"]], "", EgressError::Address),
        (&[&["127.0.0.1", "10.0.0.1"]], LOOPBACK, EgressError::Address),
        (&[&["::ffff:127.0.0.1"]], LOOPBACK, EgressError::Address),
        (&[&["64:ff9b::127.0.0.1"]], "", EgressError::Address),
        (&[&[]], LOOPBACK, EgressError::Dns),
        (&[], LOOPBACK, EgressError::Dns),
    ] {
        assert_eq!(post(&egress(Names::new(answers), allowed), &url).await, Err(expected), "{answers:?}");
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 0);
    // A name whose address changes is asked once for each connection, and what it says then is what counts.
    let changing = egress(Names::new(&[&["127.0.0.1"], &["10.0.0.1"]]), LOOPBACK);
    assert_eq!(post(&changing, &url).await.unwrap().status, 200);
    assert_eq!(post(&changing, &server.url("other.example")).await, Err(EgressError::Address));
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn addresses_in_urls_and_users_are_refused_before_anything_is_asked() {
    let server = Server::start(OK.to_vec()).await;
    let client = egress(Names::new(&[&["127.0.0.1"]]), "10.0.0.0/8");
    for host in
        ["127.0.0.1", "2130706433", "0x7f.1", "0177.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "user:pass@b.example"]
    {
        assert_eq!(post(&client, &server.url(host)).await, Err(EgressError::Url), "{host}");
    }
    let strict =
        Egress::new(&EgressOptions { allowed: LOOPBACK.parse().unwrap(), ..EgressOptions::default() }).unwrap();
    assert_eq!(post(&strict, &server.url("127.0.0.1")).await, Err(EgressError::Url), "plain http");
    assert_eq!(server.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn connections_are_shared_and_redirects_are_not_followed() {
    let server = Server::start(OK.to_vec()).await;
    let client = egress(Names::new(&[&["127.0.0.1"]]), LOOPBACK);
    for _ in 0..5 {
        assert_eq!(post(&client, &server.url("buyer.example")).await.unwrap().status, 200);
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    let sent = server.requests.lock().unwrap()[0].to_ascii_lowercase();
    assert!(
        sent.starts_with("post /hook http/1.1\r\n") && sent.contains(&format!("host: buyer.example:{}", server.port))
    );
    let elsewhere = format!(
        "HTTP/1.1 307 X\r\nlocation: {}\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n",
        server.url("b.example")
    );
    let redirecting = Server::start(elsewhere.into_bytes()).await;
    let answer = post(&client, &redirecting.url("buyer.example")).await.unwrap();
    assert_eq!((answer.status, answer.retry_after), (307, Some(Duration::from_secs(7))));
    assert_eq!(server.requests.lock().unwrap().len(), 5);
}

#[tokio::test]
async fn what_goes_wrong_has_a_word() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let client = egress(Names::new(&[&["127.0.0.1"]]), LOOPBACK);
    let nobody: Url = format!("http://buyer.example:{gone}/").parse().unwrap();
    assert_eq!(post(&client, &nobody).await, Err(EgressError::Connect));
    let silent = Server::start(Vec::new()).await;
    assert_eq!(post(&client, &silent.url("buyer.example")).await, Err(EgressError::Timeout));
    let babbling = Server::start(b"no HTTP at all\r\n\r\n".to_vec()).await;
    assert_eq!(post(&client, &babbling.url("buyer.example")).await, Err(EgressError::Lost));
    // No TLS there.
    let https: Url = format!("https://buyer.example:{}/", babbling.port).parse().unwrap();
    let refused = post(&client, &https).await.unwrap_err();
    assert!(matches!(refused, EgressError::Tls | EgressError::Timeout), "{refused:?}");
    // A head that is there counts, whatever becomes of the body.
    let endless =
        Server::start([b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n", &[b'x'; 200_000][..]].concat()).await;
    assert_eq!(post(&client, &endless.url("buyer.example")).await.unwrap().status, 200);
    let slow = Server::start(b"HTTP/1.1 503 X\r\ncontent-length: 100\r\n\r\nslow".to_vec()).await;
    assert_eq!(post(&client, &slow.url("buyer.example")).await.unwrap().status, 503);
}

#[tokio::test]
async fn a_document_is_read_whole_or_not_at_all() {
    let client = egress(Names::new(&[&["127.0.0.1"]]), LOOPBACK);
    let server = Server::start(OK.to_vec()).await;
    let url = server.url("issuer.example");
    let document = client.get(&url, 2).await.unwrap();
    assert_eq!((document.status, document.body.as_slice()), (200, &b"ok"[..]));
    assert_eq!(client.get(&url, 1).await, Err(EgressError::TooLarge));
    let endless =
        Server::start([b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n", &[b'x'; 200_000][..]].concat()).await;
    assert_eq!(client.get(&endless.url("issuer.example"), 100_000).await, Err(EgressError::TooLarge));
    let slow = Server::start(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nslow".to_vec()).await;
    assert_eq!(client.get(&slow.url("issuer.example"), 100).await, Err(EgressError::Timeout));
    let elsewhere = format!("HTTP/1.1 302 X\r\nlocation: {url}\r\ncontent-length: 0\r\n\r\n");
    let redirecting = Server::start(elsewhere.into_bytes()).await;
    assert_eq!(client.get(&redirecting.url("issuer.example"), 100).await.unwrap().status, 302);
    assert_eq!(server.requests.lock().unwrap().len(), 2);
    let strict = egress(Names::new(&[&["127.0.0.1"]]), "10.0.0.0/8");
    for refused in ["127.0.0.1", "user:pass@issuer.example"] {
        assert_eq!(strict.get(&server.url(refused), 100).await, Err(EgressError::Url), "{refused}");
    }
    assert_eq!(strict.get(&url, 100).await, Err(EgressError::Address));
}

#[tokio::test]
async fn a_refused_signature_is_recognised() {
    for (challenge, refuses) in [
        ("Signature error=\"webhook_signature_invalid\"", true),
        ("signature realm=\"x\", error=\"webhook_signature_key_unknown\"", true),
        ("Bearer error=\"invalid_token\"", false),
        ("Signature", false),
    ] {
        let answer = format!("HTTP/1.1 401 X\r\nwww-authenticate: {challenge}\r\ncontent-length: 0\r\n\r\n");
        let server = Server::start(answer.into_bytes()).await;
        let client = egress(Names::new(&[&["127.0.0.1"]]), LOOPBACK);
        let answer = post(&client, &server.url("buyer.example")).await.unwrap();
        assert_eq!((answer.status, answer.refuses_signature), (401, refuses), "{challenge}");
    }
}

#[tokio::test]
async fn a_name_is_looked_at_and_not_connected_to() {
    let server = Server::start(OK.to_vec()).await;
    for (answers, allowed, expected) in [
        (&[&["127.0.0.1"][..]][..], LOOPBACK, Ok(())),
        (&[&["93.184.216.34"]], "", Ok(())),
        (&[&["127.0.0.1"]], "", Err(EgressError::Address)),
        (&[&["93.184.216.34", "10.0.0.1"]], "", Err(EgressError::Address)),
        (&[&[]], LOOPBACK, Err(EgressError::Dns)),
        (&[], LOOPBACK, Err(EgressError::Dns)),
    ] {
        let url = server.url("agent.example");
        assert_eq!(egress(Names::new(answers), allowed).may_reach(&url).await, expected, "{answers:?}");
    }
    let client = egress(Names::new(&[&["127.0.0.1"]]), LOOPBACK);
    assert_eq!(client.may_reach(&server.url("127.0.0.1")).await, Ok(()));
    for refused in ["10.0.0.1", "user:pass@agent.example"] {
        assert_eq!(client.may_reach(&server.url(refused)).await, Err(EgressError::Url), "{refused}");
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 0);
}
