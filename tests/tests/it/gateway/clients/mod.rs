//! Clients that others wrote, unmodified.

mod inspector;
mod javascript;
mod python;

use anyhow::{Context, Result};
use handoff_tests::front::{API_KEY, Front};
use serde_json::{Value, json};
use std::{process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

pub(crate) const PROGRAMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/programs/");
pub(crate) const REVIEWS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/acme-seller/reviews/");
const PATIENCE: Duration = Duration::from_secs(120);

/// A buyer's program that takes orders, one a line, and says what its client made of the answers.
pub(crate) struct Buyer {
    _child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Buyer {
    /// With the protocol's client for Python.
    pub(crate) async fn python(front: &Front) -> Result<Self> {
        let mut command = Command::new(variable("HANDOFF_BUYER_PYTHON")?);
        command.arg(format!("{PROGRAMS}buyer.py"));
        Self::start(command, front).await
    }

    /// With the protocol's client for JavaScript.
    async fn javascript(front: &Front) -> Result<Self> {
        let mut command = Command::new(variable("HANDOFF_BUYER_NODE")?);
        command.env("NODE_PATH", variable("HANDOFF_BUYER_NODE_MODULES")?).arg(format!("{PROGRAMS}buyer.cjs"));
        Self::start(command, front).await
    }

    async fn start(mut command: Command, front: &Front) -> Result<Self> {
        let mut child = command
            .arg(front.url())
            .env("BUYER_API_KEY", API_KEY)
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
