//! An issuer of access tokens, over TLS with an authority of its own.

use anyhow::{Context, Result};
use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
    serve::Listener,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use handoff_webhooks::keys::{Algorithm, LocalKey, Signer};
use handoff_worker::DevelopmentTls;
use serde_json::{Value, json};
use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::SystemTime,
};
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

// As issuers have them that serve several.
const REALM: &str = "/realms/buyers";

/// A key that signs tokens.
pub struct TokenKey(LocalKey);

impl TokenKey {
    /// A fresh one; its id is its own.
    pub fn new(algorithm: Algorithm) -> Result<Self> {
        let pem = LocalKey::generate_pem(algorithm)?;
        Ok(Self(LocalKey::read_pem(&pem)?.into_iter().next().context("a key")?))
    }

    /// What else may be signed with it.
    pub fn signer(&self) -> &dyn Signer {
        &self.0
    }

    /// The token that has these claims, under this key's id.
    pub async fn token(&self, claims: &Value) -> String {
        self.token_named(&self.0.public_key().kid, claims).await
    }

    /// The same under another id.
    pub async fn token_named(&self, id: &str, claims: &Value) -> String {
        let head = json!({"alg": self.0.public_key().alg, "typ": "at+jwt", "kid": id});
        let encode = |part: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(part);
        let message = format!("{}.{}", encode(head.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
        let signature = self.0.sign(message.as_bytes()).await.expect("a signature");
        format!("{message}.{}", encode(&signature))
    }
}

#[derive(Default)]
struct Shared {
    base: String,
    keys: Mutex<Vec<Value>>,
    away: AtomicBool,
    fetches: AtomicUsize,
}

/// A running issuer.
pub struct Issuer {
    shared: Arc<Shared>,
    directory: TempDir,
    serving: AbortHandle,
}

impl Issuer {
    /// On a free port, with these keys.
    pub async fn start(keys: &[&TokenKey]) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let tls = TlsAcceptor::from(DevelopmentTls::open(directory.path())?.server());
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let base = format!("https://localhost:{}", listener.local_addr()?.port());
        let shared = Arc::new(Shared { base, ..Shared::default() });
        let at = |path: &str| format!("{REALM}/.well-known/{path}");
        let router = Router::new()
            .route(&at("openid-configuration"), get(metadata))
            // Not where RFC 8414 has it, but where the storyboards look.
            .route(&at("oauth-authorization-server"), get(metadata))
            .route("/keys", get(published))
            .with_state(shared.clone());
        let serving = axum::serve(OverTls { listener, tls }, router);
        let serving = tokio::spawn(async move { drop(serving.await) }).abort_handle();
        let issuer = Self { shared, directory, serving };
        issuer.publish(keys);
        Ok(issuer)
    }

    /// Its name, as tokens have it in `iss`.
    pub fn url(&self) -> String {
        format!("{}{REALM}", self.shared.base)
    }

    /// Where its keys are.
    pub fn keys_url(&self) -> String {
        format!("{}/keys", self.shared.base)
    }

    /// The file with the certificate that its clients have to trust.
    pub fn authority(&self) -> String {
        self.directory.path().join("ca.pem").display().to_string()
    }

    /// From now on it has these keys and no others.
    pub fn publish(&self, keys: &[&TokenKey]) {
        let published = keys.iter().map(|key| serde_json::to_value(key.0.public_key()).expect("JSON"));
        *self.shared.keys.lock().expect("keys") = published.collect();
    }

    /// Answers nothing but errors, or no longer so.
    pub fn set_away(&self, away: bool) {
        self.shared.away.store(away, Ordering::SeqCst);
    }

    /// How often somebody wanted its keys, or what leads to them where that already failed.
    pub fn fetches(&self) -> usize {
        self.shared.fetches.load(Ordering::SeqCst)
    }

    /// What a token says for this agent and audience; it is good for ten minutes.
    pub fn claims(&self, agent: &str, audience: &str) -> Value {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock").as_secs();
        json!({"iss": self.url(), "aud": audience, "sub": agent, "iat": now, "exp": now + 600})
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn metadata(State(shared): State<Arc<Shared>>) -> Response {
    if shared.away.load(Ordering::SeqCst) {
        shared.fetches.fetch_add(1, Ordering::SeqCst);
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let Shared { base, .. } = &*shared;
    Json(json!({
        "issuer": format!("{base}{REALM}"),
        "jwks_uri": format!("{base}/keys"),
        "token_endpoint": format!("{base}/token"),
    }))
    .into_response()
}

async fn published(State(shared): State<Arc<Shared>>) -> Response {
    shared.fetches.fetch_add(1, Ordering::SeqCst);
    if shared.away.load(Ordering::SeqCst) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let keys = shared.keys.lock().expect("keys").clone();
    Json(json!({"keys": keys})).into_response()
}

struct OverTls {
    listener: TcpListener,
    tls: TlsAcceptor,
}

impl Listener for OverTls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.listener).await;
            if let Ok(stream) = self.tls.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}
