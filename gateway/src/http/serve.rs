//! Connections: as axum serves them, but with an end to how long the head of a request may take.

use axum::{Router, serve::Listener};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use std::{pin::pin, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// Serves until `stop`, then finishes what was begun. A connection without a whole head for `head_timeout`, idle or dawdling, is
/// closed.
pub(crate) async fn serve(
    mut listener: TcpListener,
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
        connections.spawn(attend(http.clone(), stream, router.clone(), closing.clone()));
    }
    drop(listener);
    closing.cancel();
    while connections.join_next().await.is_some() {}
}

async fn attend(http: http1::Builder, stream: TcpStream, router: Router, closing: CancellationToken) {
    // Answers are written whole: there is nothing to wait for.
    let _ = stream.set_nodelay(true);
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
