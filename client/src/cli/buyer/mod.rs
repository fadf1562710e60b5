//! `handoff buyer`: calls a seller over MCP, as a buyer's agent does.

mod session;

use super::{
    exit::Exit,
    input,
    output::{Output, pretty},
    problem::Problem,
};
use crate::{backoff::Backoff, config};
use clap::{Args, Subcommand};
use handoff_proto::wire::{AdcpError, TaskStatus};
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use session::{Answered, Session};
use std::time::Duration;

const QUICK: Duration = Duration::from_millis(500);
const SLOW: Duration = Duration::from_secs(10);
// Together well over a minute: a seller that restarts is waited for.
const TRIES: u32 = 12;

#[derive(Debug, Subcommand)]
pub(super) enum BuyerCommand {
    /// List the seller's tools
    Tools(SellerArgs),
    /// Call a tool, and print the answer
    Call(CallArgs),
    /// Show a task
    Poll(PollArgs),
    /// Show a task, and every change of it until its end
    Watch(PollArgs),
}

/// Which seller.
#[derive(Debug, Args)]
pub(super) struct SellerArgs {
    /// The seller's MCP endpoint, such as http://127.0.0.1:8080/mcp
    #[arg(long = "seller", env = "HANDOFF_BUYER_URL", value_name = "URL")]
    url: String,
    /// The buyer's API key. Give it by the environment: flags are seen in process lists
    #[arg(long, env = "HANDOFF_BUYER_API_KEY", hide_env_values = true, value_parser = config::secret, value_name = "KEY")]
    api_key: Option<SecretString>,
}

#[derive(Debug, Args)]
pub(super) struct CallArgs {
    #[command(flatten)]
    seller: SellerArgs,
    /// The tool, for example create_media_buy
    tool: String,
    /// The request, a JSON object; - is stdin; an empty one unless told
    #[arg(long, short, value_name = "FILE")]
    file: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct PollArgs {
    #[command(flatten)]
    seller: SellerArgs,
    /// The task's id
    task_id: String,
    /// The account that the task is for, by the seller's id
    #[arg(long)]
    account: Option<String>,
}

pub(super) async fn run(command: BuyerCommand, output: &Output) -> Result<Exit, Problem> {
    match command {
        BuyerCommand::Tools(seller) => tools(seller, output).await,
        BuyerCommand::Call(call) => send(call, output).await,
        BuyerCommand::Poll(poll) => {
            let body = Session::open(&poll.seller).await?.call("get_task_status", poll.request()).await?.done()?;
            output.data(&body, || pretty(&body));
            Ok(Exit::Ok)
        }
        BuyerCommand::Watch(poll) => watch(poll, output).await,
    }
}

async fn tools(seller: SellerArgs, output: &Output) -> Result<Exit, Problem> {
    let tools = Session::open(&seller).await?.tools().await?;
    output.data(&json!({"tools": tools}), || {
        let names = tools.iter().filter_map(|tool| tool.get("name").and_then(Value::as_str));
        names.collect::<Vec<_>>().join("\n")
    });
    Ok(Exit::Ok)
}

async fn send(call: CallArgs, output: &Output) -> Result<Exit, Problem> {
    let request = match &call.file {
        Some(file) => serde_json::from_slice(&input::read(file)?)
            .map_err(|error| Problem::usage(format!("{file} is not a JSON object: {error}")))?,
        None => Map::new(),
    };
    let body = Session::open(&call.seller).await?.call(&call.tool, request).await?.done()?;
    output.data(&body, || pretty(&body));
    if let (Some("submitted"), Some(task_id)) = (text(&body, "status"), text(&body, "task_id")) {
        output.talk(&format!("submitted; follow it with: handoff buyer watch --seller {} {task_id}", call.seller.url));
    }
    Ok(Exit::Ok)
}

async fn watch(poll: PollArgs, output: &Output) -> Result<Exit, Problem> {
    let session = Session::open(&poll.seller).await?;
    let mut backoff = Backoff::new(QUICK, SLOW);
    let (mut seen, mut failures) = (None, 0);
    loop {
        match session.call("get_task_status", poll.request()).await.and_then(Answered::done) {
            Ok(task) => {
                failures = 0;
                if seen.as_ref() != Some(&task) {
                    backoff = Backoff::new(QUICK, SLOW);
                    output.item(&task, || line(&task));
                    if text(&task, "status").and_then(|status| status.parse().ok()).is_some_and(TaskStatus::is_terminal)
                    {
                        output.talk(&pretty(&task));
                        return Ok(Exit::Ok);
                    }
                    seen = Some(task);
                }
            }
            Err(problem) if problem.exit == Exit::Unavailable && failures < TRIES => failures += 1,
            Err(problem) => return Err(problem),
        }
        tokio::time::sleep(backoff.pause()).await;
    }
}

impl PollArgs {
    fn request(&self) -> Map<String, Value> {
        let mut request = Map::new();
        request.insert("task_id".into(), self.task_id.clone().into());
        request.insert("include_result".into(), true.into());
        if let Some(account) = &self.account {
            request.insert("account".into(), json!({"account_id": account}));
        }
        request
    }
}

fn line(task: &Value) -> String {
    let step = task.pointer("/progress/current_step").and_then(Value::as_str).unwrap_or_default();
    let (when, status) = (text(task, "updated_at"), text(task, "status"));
    format!("{}  {:<14}  {step}", when.unwrap_or_default(), status.unwrap_or_default()).trim_end().to_owned()
}

fn text<'a>(body: &'a Value, field: &str) -> Option<&'a str> {
    body.get(field)?.as_str()
}

/// The protocol's error in a failed body.
fn error_of(body: &Value) -> AdcpError {
    let error = body.get("adcp_error").or_else(|| body.pointer("/errors/0")).or_else(|| body.get("error"));
    error
        .and_then(|error| serde_json::from_value(error.clone()).ok())
        .unwrap_or_else(|| AdcpError::terminal("X_HANDOFF_UNEXPECTED", "The seller failed without saying why."))
}
