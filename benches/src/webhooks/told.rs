//! A process that does what the lines of its standard input say, and answers each by a line of JSON.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::process::Stdio;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines, Stdin, Stdout},
    process::{Child, ChildStdin, ChildStdout, Command},
};

/// Such a process; killed with this value.
pub(super) struct Told {
    _child: Child,
    pid: u32,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Told {
    pub(super) fn start(command: &mut Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let pid = child.id().context("the process is gone at once")?;
        let (input, output) = (child.stdin.take().context("a pipe")?, child.stdout.take().context("a pipe")?);
        Ok(Self { _child: child, pid, input, output: BufReader::new(output).lines() })
    }

    /// Says a line and hears the answer.
    pub(super) async fn ask(&mut self, line: &str) -> Result<Value> {
        self.input.write_all(format!("{line}\n").as_bytes()).await?;
        self.hear().await
    }

    /// What it says next.
    pub(super) async fn hear(&mut self) -> Result<Value> {
        let line = self.output.next_line().await?.context("the process ended")?;
        serde_json::from_str(&line).context(line)
    }

    pub(super) fn id(&self) -> u32 {
        self.pid
    }
}

/// The other end, within such a process.
pub(super) struct Teller {
    input: Lines<BufReader<Stdin>>,
    output: Stdout,
}

impl Teller {
    pub(super) fn new() -> Self {
        Self { input: BufReader::new(tokio::io::stdin()).lines(), output: tokio::io::stdout() }
    }

    /// The next line's word and number, until there are no more.
    pub(super) async fn next(&mut self) -> Result<Option<(String, usize)>> {
        let Some(line) = self.input.next_line().await? else { return Ok(None) };
        let mut words = line.split_whitespace();
        let Some(word) = words.next() else { bail!("an empty line") };
        Ok(Some((word.to_owned(), words.next().unwrap_or("0").parse()?)))
    }

    pub(super) async fn answer(&mut self, answer: &Value) -> Result<()> {
        self.output.write_all(format!("{answer}\n").as_bytes()).await?;
        Ok(self.output.flush().await?)
    }
}
