//! Clients that others wrote, unmodified.

mod inspector;
mod javascript;
mod python;

use anyhow::{Context, Result};
use handoff_tests::front::{API_KEY, Front};
use serde_json::{Value, json};
use std::{path::Path, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

pub(crate) const PROGRAMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/programs/");
pub(crate) const REVIEWS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/acme-seller/reviews/");
// The protocol's package for Python takes a processor most of a minute to load, and others load it, too.
const PATIENCE: Duration = Duration::from_secs(400);

/// A buyer's program that takes orders, one a line, and says what its client made of the answers.
pub(crate) struct Buyer {
    _child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Buyer {
    /// With the protocol's client for Python.
    pub(crate) async fn python(front: &Front) -> Result<Self> {
        Self::python_as(front, API_KEY).await
    }

    /// The same with another credential.
    pub(crate) async fn python_as(front: &Front, credential: &str) -> Result<Self> {
        let mut command = Command::new(variable("HANDOFF_BUYER_PYTHON")?);
        command.arg(format!("{PROGRAMS}buyer.py"));
        Self::start(command, &front.url(), credential).await
    }

    /// With the protocol's client for JavaScript.
    async fn javascript(front: &Front) -> Result<Self> {
        Self::start(Self::node()?, &front.url(), API_KEY).await
    }

    /// The same at a URL whose certificate is of an authority of its own.
    pub(crate) async fn javascript_trusting(authority: &Path, url: &str, credential: &str) -> Result<Self> {
        let mut command = Self::node()?;
        command.env("NODE_EXTRA_CA_CERTS", authority);
        Self::start(command, url, credential).await
    }

    fn node() -> Result<Command> {
        let mut command = Command::new(variable("HANDOFF_BUYER_NODE")?);
        command.env("NODE_PATH", variable("HANDOFF_BUYER_NODE_MODULES")?).arg(format!("{PROGRAMS}buyer.cjs"));
        Ok(command)
    }

    async fn start(mut command: Command, url: &str, credential: &str) -> Result<Self> {
        let mut child = command
            .arg(url)
            .env("BUYER_API_KEY", credential)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let orders = child.stdin.take().context("a pipe")?;
        let answers = BufReader::new(child.stdout.take().context("a pipe")?).lines();
        let mut buyer = Self { _child: child, orders, answers };
        buyer.read().await?;
        Ok(buyer)
    }

    async fn read(&mut self) -> Result<Value> {
        let line = timeout(PATIENCE, self.answers.next_line()).await.context("the client does not answer")??;
        Ok(serde_json::from_str(&line.context("the client is gone")?)?)
    }

    /// What the client makes of a call, an exception too.
    async fn try_call(&mut self, call: &str, request: &Value) -> Value {
        let order = json!({"call": call, "request": request}).to_string() + "\n";
        self.orders.write_all(order.as_bytes()).await.expect("the client reads");
        self.read().await.expect("the client answers")
    }

    pub(crate) async fn call(&mut self, call: &str, request: &Value) -> Value {
        let answer = self.try_call(call, request).await;
        assert_eq!(answer.get("raised"), None, "{call}: {answer}");
        answer
    }
}

pub(crate) fn variable(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("run make test, which sets {name}"))
}
