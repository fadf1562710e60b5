//! `handoff sandbox`.

use super::{
    exit::Exit,
    output::{Output, table},
    problem::Problem,
};
use crate::{
    Config, Error, Handoff,
    sandbox::{ClearAction, ClearedProposal, ClearedRequest, may_reset},
};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

#[derive(Debug, Subcommand)]
pub(super) enum SandboxCommand {
    /// Clear what is kept of sandbox accounts: tasks and their runs, keys, webhooks, proposals, forced answers, governance agents
    ///
    /// Live accounts are not touched. What the seller's business keeps is the seller's to clear. Needs
    /// HANDOFF_COMPLIANCE_TESTING=true, which production refuses.
    Reset(ResetArgs),
}

#[derive(Debug, Args)]
pub(super) struct ResetArgs {
    /// Only this account
    #[arg(long, visible_alias = "scope")]
    account: Option<String>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(command: SandboxCommand, config: Config, output: &Output) -> Result<Exit, Problem> {
    match command {
        SandboxCommand::Reset(args) => reset(args, config, output).await,
    }
}

async fn reset(args: ResetArgs, config: Config, output: &Output) -> Result<Exit, Problem> {
    // Before anything is connected.
    may_reset(&config).map_err(Error::from)?;
    let handoff = Handoff::connect(config).await?;
    let report = handoff.reset_sandbox(args.account.as_deref(), args.dry_run).await?;
    let requests = report.requests(&ClearAction::Cleared);
    let proposals = report.proposals(&ClearAction::Cleared);
    let left = report.requests.len() - requests + report.proposals.len() - proposals;
    let shown = json!({
        "dry_run": report.dry_run,
        "requests": report.requests.iter().map(request_json).collect::<Value>(),
        "proposals": report.proposals.iter().map(proposal_json).collect::<Value>(),
        "runs": report.runs(),
        "directives": report.directives,
        "governance_agents": report.governance_agents,
    });
    output.data(&shown, || {
        let requests = report.requests.iter().map(|request| {
            let task = &request.task;
            [task.task_id.clone(), task.verb.clone(), task.scope.clone(), request.action.to_string()]
        });
        let proposals = report.proposals.iter().map(|proposal| {
            let key = &proposal.key;
            [key.proposal_id.clone(), "proposal".to_owned(), key.scope.clone(), proposal.action.to_string()]
        });
        let done = if report.dry_run { "WOULD BE" } else { "WAS" };
        table(&["ID", "WHAT", "ACCOUNT", done], requests.chain(proposals))
    });
    output.talk(&format!(
        "{requests} requests, {} open runs, {proposals} proposals, {} forced answers and {} governance agents cleared, {left} left",
        report.runs(),
        report.directives,
        report.governance_agents
    ));
    Ok(if report.is_partial() { Exit::Unavailable } else { Exit::Ok })
}

fn request_json(request: &ClearedRequest) -> Value {
    let task = &request.task;
    let shown = json!({
        "task_id": task.task_id,
        "task_type": task.verb,
        "account": task.scope,
        "principal": task.principal,
        "runs": request.runs,
    });
    acted(shown, &request.action)
}

fn proposal_json(proposal: &ClearedProposal) -> Value {
    let key = &proposal.key;
    let shown = json!({"proposal_id": key.proposal_id, "account": key.scope, "principal": key.principal});
    acted(shown, &proposal.action)
}

fn acted(mut shown: Value, action: &ClearAction) -> Value {
    match action {
        ClearAction::Skipped { reason } => {
            shown["action"] = "skipped".into();
            shown["reason"] = reason.clone().into();
        }
        action => shown["action"] = action.to_string().into(),
    }
    shown
}
