//! A buyer's endpoint over TLS that takes everything and counts what was signed. It is the same for both senders, and a process
//! of its own, so that nothing of it is in what they cost.

use super::told::Teller;
use anyhow::{Context, Result};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    serve::Listener,
};
use serde_json::json;
use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
    server::TlsStream,
};

const BACKLOG: usize = 64;

/// Says its port, and then how many came whenever it is asked.
pub(crate) async fn run(directory: &Path) -> Result<()> {
    let certificates = CertificateDer::pem_file_iter(directory.join("server.pem"))?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(directory.join("server-key.pem"))?;
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(certificates, key)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (connected, connections) = mpsc::channel(BACKLOG);
    // To some machines, localhost is IPv6's first.
    let second = TcpListener::bind(("::1", address.port())).await.ok();
    for listener in [Some(listener), second].into_iter().flatten() {
        tokio::spawn(accept(listener, acceptor.clone(), connected.clone()));
    }
    let signed = Arc::new(AtomicU64::new(0));
    let router = Router::new().fallback(take).with_state(signed.clone());
    tokio::spawn(async move { axum::serve(Handshaken { connections, address }, router).await });
    let mut teller = Teller::new();
    teller.answer(&json!({"port": address.port()})).await?;
    while teller.next().await?.is_some() {
        teller.answer(&json!({"signed": signed.load(Ordering::Relaxed)})).await?;
    }
    Ok(())
}

async fn take(State(signed): State<Arc<AtomicU64>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let input = headers.get("signature-input").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !body.is_empty() && headers.contains_key("signature") && input.contains("alg=\"ed25519\"") {
        signed.fetch_add(1, Ordering::Relaxed);
    }
    StatusCode::OK
}

// Handshakes beside each other, so that a sender that makes many does not wait for this.
async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    connected: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
) -> Result<()> {
    loop {
        let (stream, peer) = listener.accept().await.context("a connection")?;
        stream.set_nodelay(true)?;
        let (acceptor, connected) = (acceptor.clone(), connected.clone());
        tokio::spawn(async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                let _ = connected.send((stream, peer)).await;
            }
        });
    }
}

struct Handshaken {
    connections: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    address: SocketAddr,
}

impl Listener for Handshaken {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.connections.recv().await {
            Some(connection) => connection,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        Ok(self.address)
    }
}
