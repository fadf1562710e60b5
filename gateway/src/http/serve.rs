//! Connections: as axum serves them, but with an end to how long the head of a request may take, and with TLS where a machine has no
//! proxy that brings it.

use axum::{Router, serve::Listener};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use std::{pin::pin, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// Serves until `stop`, then finishes what was begun. A connection without a whole head for `head_timeout`, idle or dawdling, is
/// closed.
pub(crate) async fn serve(
    mut listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    head_timeout: Duration,
    stop: impl Future<Output = ()>,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(head_timeout);
    let (mut connections, closing) = (JoinSet::new(), CancellationToken::new());
    let mut stop = pin!(stop);
    loop {
        // It waits and goes on where the machine has no more sockets.
        let (stream, _) = tokio::select! {
            accepted = Listener::accept(&mut listener) => accepted,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            () = &mut stop => break,
        };
        let attended = Attended { http: http.clone(), router: router.clone(), closing: closing.clone() };
        connections.spawn(welcome(stream, tls.clone(), head_timeout, attended));
    }
    drop(listener);
    closing.cancel();
    while connections.join_next().await.is_some() {}
}

/// What a connection is served by.
struct Attended {
    http: http1::Builder,
    router: Router,
    closing: CancellationToken,
}

async fn welcome(stream: TcpStream, tls: Option<TlsAcceptor>, timeout: Duration, attended: Attended) {
    // Answers are written whole: there is nothing to wait for.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return attend(stream, attended).await };
    let shaken = tokio::select! {
        shaken = tokio::time::timeout(timeout, tls.accept(stream)) => shaken,
        () = attended.closing.cancelled() => return,
    };
    match shaken {
        Ok(Ok(stream)) => attend(stream, attended).await,
        Ok(Err(error)) => tracing::debug!(%error, "a handshake failed"),
        Err(_) => tracing::debug!("a handshake took too long"),
    }
}

async fn attend(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, attended: Attended) {
    let Attended { http, router, closing } = attended;
    let service = TowerToHyperService::new(router);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke off");
    }
}
