//! Endpoints that speak no HTTP, or not to its end.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// How an endpoint treats a request that it has read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Manner {
    /// The connection is reset.
    Reset,
    /// The answer's head never ends, byte by byte.
    DripHead,
    /// The head is a success, and the body never ends, byte by byte.
    DripBody,
    /// A success with ten megabytes.
    Flood,
}

type Bodies = Arc<Mutex<Vec<Vec<u8>>>>;

/// An endpoint on this machine that treats its first requests so, and answers 200 to the others.
pub(super) struct Rude {
    port: u16,
    came: Bodies,
    serving: tokio::task::JoinHandle<()>,
}

impl Rude {
    pub(super) async fn start(manners: impl IntoIterator<Item = Manner>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (came, plan) = (Bodies::default(), Arc::new(Mutex::new(manners.into_iter().collect::<VecDeque<_>>())));
        let seen = came.clone();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, seen.clone(), plan.clone()));
            }
        });
        Self { port, came, serving }
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }

    /// The bodies, in order.
    pub(super) fn came(&self) -> Vec<Vec<u8>> {
        self.came.lock().unwrap().clone()
    }
}

impl Drop for Rude {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(mut stream: TcpStream, came: Bodies, plan: Arc<Mutex<VecDeque<Manner>>>) {
    let Some(body) = request(&mut stream).await else { return };
    came.lock().unwrap().push(body);
    let manner = plan.lock().unwrap().pop_front();
    // Whoever is treated so hangs up.
    let _ = match manner {
        None => stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await,
        Some(Manner::Reset) => stream.set_zero_linger(),
        Some(Manner::DripHead) => drip(stream, b"HTTP/1.1 200 OK\r\nx-never: ").await,
        Some(Manner::DripBody) => drip(stream, b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n").await,
        Some(Manner::Flood) => flood(stream).await,
    };
}

/// The body of a request.
async fn request(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let (mut seen, mut chunk) = (Vec::new(), [0; 8192]);
    loop {
        let read = stream.read(&mut chunk).await.ok().filter(|read| *read > 0)?;
        seen.extend_from_slice(&chunk[..read]);
        let Some(end) = seen.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&seen[..end]).to_ascii_lowercase();
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok())?;
        if seen.len() >= end + 4 + length {
            return Some(seen[end + 4..].to_vec());
        }
    }
}

async fn drip(mut stream: TcpStream, head: &[u8]) -> std::io::Result<()> {
    stream.write_all(head).await?;
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    loop {
        ticks.tick().await;
        stream.write_all(b"x").await?;
    }
}

async fn flood(mut stream: TcpStream) -> std::io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10485760\r\n\r\n").await?;
    for _ in 0..10 {
        stream.write_all(&vec![b'x'; 1 << 20]).await?;
    }
    Ok(())
}
