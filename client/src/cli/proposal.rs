//! `handoff proposal`.

use super::{
    args::ViewerArgs,
    exit::Exit,
    output::{Output, pairs, table},
    problem::Problem,
};
use crate::{
    Config, Error, Tasks, duration,
    housekeeping::{self, SweepAges},
};
use chrono::{DateTime, SecondsFormat};
use clap::{Args, Subcommand, ValueEnum};
use handoff_proto::{
    v1::{TaskRef, decision::Kind},
    wire::AdcpError,
};
use handoff_store::{Proposal, ProposalCause, ProposalEntry, ProposalFilter, ProposalRef, ProposalState, Registry};
use serde_json::{Value, json};
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub(super) enum ProposalCommand {
    /// List proposals, by account, agent and id
    List(ListProposalsArgs),
    /// Show a proposal, and what happened to it
    Get(ProposalArgs),
    /// End the reservation of a proposal whose task has ended or is gone
    Release(ReleaseArgs),
    /// Delete what nobody will buy, and release reservations whose task has ended or is gone, as housekeeping does
    Sweep(SweepArgs),
}

#[derive(Debug, Args)]
pub(super) struct ListProposalsArgs {
    #[command(flatten)]
    viewer: ViewerArgs,
    /// Only in this state
    #[arg(long, value_enum, value_name = "STATE")]
    state: Option<State>,
    /// At most so many
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: u32,
}

#[derive(Debug, Args)]
pub(super) struct ProposalArgs {
    /// The proposal's id
    proposal_id: String,
    #[command(flatten)]
    viewer: ViewerArgs,
    /// Also the proposal as the seller offered it
    #[arg(long)]
    body: bool,
}

#[derive(Debug, Args)]
pub(super) struct ReleaseArgs {
    /// The proposal's id
    proposal_id: String,
    #[command(flatten)]
    viewer: ViewerArgs,
    /// Even if its task is still open: when that succeeds after all, it fails for having lost its reservation
    #[arg(long)]
    force: bool,
    /// Who does it; the user's name unless told
    #[arg(long, env = "HANDOFF_ACTOR")]
    actor: Option<String>,
    /// Why
    #[arg(long, default_value = "")]
    reason: String,
}

#[derive(Debug, Args)]
pub(super) struct SweepArgs {
    /// Keep drafts that changed more recently
    #[arg(long, env = "HANDOFF_DRAFT_RETENTION", default_value = "30d", value_parser = duration::parse, value_name = "DURATION")]
    drafts_older_than: Duration,
    /// Keep proposals that expired, or were declined or committed without an end, more recently
    #[arg(long, env = "HANDOFF_PROPOSAL_RETENTION", default_value = "30d", value_parser = duration::parse, value_name = "DURATION")]
    older_than: Duration,
    /// Keep reservations that were made more recently
    #[arg(long, env = "HANDOFF_RECONCILE_AFTER", default_value = "5m", value_parser = duration::parse, value_name = "DURATION")]
    reserved_longer_than: Duration,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum State {
    Draft,
    Committed,
    Consuming,
    Consumed,
    Declined,
}

impl From<State> for ProposalState {
    fn from(state: State) -> Self {
        match state {
            State::Draft => Self::Draft,
            State::Committed => Self::Committed,
            State::Consuming => Self::Consuming,
            State::Consumed => Self::Consumed,
            State::Declined => Self::Declined,
        }
    }
}

pub(super) async fn run(command: ProposalCommand, config: &Config, output: &Output) -> Result<Exit, Problem> {
    let tasks = Tasks::connect(config).await?;
    let registry = &*tasks.registry;
    match command {
        ProposalCommand::List(args) => list(args, registry, output).await,
        ProposalCommand::Get(args) => get(args, registry, output).await,
        ProposalCommand::Release(args) => release(args, registry, output).await,
        ProposalCommand::Sweep(args) => sweep(&args, registry, output).await,
    }
}

async fn list(args: ListProposalsArgs, registry: &dyn Registry, output: &Output) -> Result<Exit, Problem> {
    let filter = ProposalFilter {
        viewer: args.viewer.viewer(),
        state: args.state.map(Into::into),
        proposal_id: None,
        after: None,
    };
    let found = registry.list_proposals(&filter, args.limit).await.map_err(Error::from)?;
    output.data(&json!({"proposals": found.iter().map(to_json).collect::<Value>()}), || {
        let rows = found.iter().map(|proposal| {
            [
                proposal.key.proposal_id.clone(),
                proposal.state.as_str().to_owned(),
                proposal.expires_at.map(at).unwrap_or_default(),
                proposal.key.scope.clone(),
                proposal.key.principal.clone(),
                proposal.held_by.clone().unwrap_or_default(),
                proposal.media_buy_id.clone().unwrap_or_default(),
            ]
        });
        table(&["PROPOSAL", "STATE", "EXPIRES", "ACCOUNT", "AGENT", "TASK", "MEDIA BUY"], rows)
    });
    Ok(Exit::Ok)
}

async fn get(args: ProposalArgs, registry: &dyn Registry, output: &Output) -> Result<Exit, Problem> {
    let proposal = find(registry, args.viewer, &args.proposal_id).await?;
    let named = reference(&proposal);
    let history = registry.proposal_history(&named).await.map_err(Error::from)?.unwrap_or_default();
    let mut shown = to_json(&proposal);
    shown["history"] = history.iter().map(entry_json).collect();
    if args.body {
        let record = registry.get_proposal(&named).await.map_err(Error::from)?;
        shown["body"] = record.and_then(|record| serde_json::from_str(&record.body_json).ok()).unwrap_or_default();
    }
    output.data(&shown, || {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let facts = pairs(&[
            ("proposal", proposal.key.proposal_id.clone()),
            ("state", proposal.state.as_str().to_owned()),
            ("account", proposal.key.scope.clone()),
            ("agent", proposal.key.principal.clone()),
            ("expires", proposal.expires_at.map(at).unwrap_or_default()),
            ("refined from", text(&proposal.parent_proposal_id)),
            ("changes", text(&proposal.base_media_buy_id)),
            ("task", text(&proposal.held_by)),
            ("media buy", text(&proposal.media_buy_id)),
        ]);
        let rows = history.iter().map(|entry| {
            let task = entry.task_id.clone().unwrap_or_default();
            [at(entry.at), entry.event.clone(), task, entry.actor.clone(), entry.reason.clone()]
        });
        let body = if args.body { format!("\n\n{}", super::output::pretty(&shown["body"])) } else { String::new() };
        format!("{facts}\n\n{}{body}", table(&["AT", "EVENT", "TASK", "ACTOR", "REASON"], rows))
    });
    Ok(Exit::Ok)
}

async fn release(args: ReleaseArgs, registry: &dyn Registry, output: &Output) -> Result<Exit, Problem> {
    let proposal = find(registry, args.viewer, &args.proposal_id).await?;
    let held = (proposal.state == ProposalState::Consuming).then(|| proposal.held_by.clone()).flatten();
    let Some(task_id) = held else {
        return Err(Problem::invalid(format!(
            "{} is {}: nothing holds it.",
            args.proposal_id,
            proposal.state.as_str()
        )));
    };
    if !args.force && is_open(registry, &proposal, &task_id).await? {
        let error = AdcpError::correctable("INVALID_STATE", format!("{task_id} is still buying it."))
            .suggestion(format!("Wait for it, or end it: handoff task cancel {task_id}"));
        return Err(Problem::refused(error));
    }
    // Opens it: who can't read a proposal writes nothing into its history.
    registry.get_proposal(&reference(&proposal)).await.map_err(Error::from)?;
    let actor = args.actor.unwrap_or_else(super::input::user);
    let cause = ProposalCause { task_id: None, actor, reason: args.reason };
    let released = registry.release_proposal(&reference(&proposal), &task_id, &cause).await.map_err(Error::from)?;
    // Its own end may have been faster.
    let now = released.unwrap_or(proposal);
    output.data(&to_json(&now), || format!("{} is {}", now.key.proposal_id, now.state.as_str()));
    Ok(Exit::Ok)
}

async fn sweep(args: &SweepArgs, registry: &dyn Registry, output: &Output) -> Result<Exit, Problem> {
    let ages =
        SweepAges { drafts: args.drafts_older_than, ended: args.older_than, reserved: args.reserved_longer_than };
    let swept = housekeeping::sweep(registry, ages).await?;
    let (deleted, released) = (swept.drafts + swept.expired + swept.idle, swept.released);
    output.data(&json!({"deleted": deleted, "released": released}), || released.join("\n"));
    output.talk(&format!("{deleted} deleted, {} released", released.len()));
    Ok(Exit::Ok)
}

/// The only proposal of this id that the viewer sees.
async fn find(registry: &dyn Registry, viewer: ViewerArgs, proposal_id: &str) -> Result<Proposal, Problem> {
    let filter =
        ProposalFilter { viewer: viewer.viewer(), state: None, proposal_id: Some(proposal_id.to_owned()), after: None };
    let mut found = registry.list_proposals(&filter, 2).await.map_err(Error::from)?;
    match (found.pop(), found.pop()) {
        (Some(proposal), None) => Ok(proposal),
        (None, _) => Err(Problem::refused(AdcpError::correctable("PROPOSAL_NOT_FOUND", "There is no such proposal."))),
        _ => {
            Err(Problem::usage("several accounts or agents have a proposal of this id: say --account and --principal"))
        }
    }
}

async fn is_open(registry: &dyn Registry, proposal: &Proposal, task_id: &str) -> Result<bool, Problem> {
    let task = TaskRef {
        task_id: task_id.to_owned(),
        scope: proposal.buyer_scope.clone().unwrap_or_default(),
        principal: proposal.key.principal.clone(),
        ..TaskRef::default()
    };
    let standing = registry.standing(&task).await.map_err(Error::from)?;
    let goes_on = match standing.decision.and_then(|decision| decision.kind) {
        None | Some(Kind::HandoffToTask(_) | Kind::HandoffToWorkflow(_)) => true,
        Some(Kind::Complete(_) | Kind::Refuse(_) | Kind::Void(_)) => false,
    };
    Ok(goes_on && standing.settlement.is_none())
}

fn reference(proposal: &Proposal) -> ProposalRef {
    ProposalRef { key: proposal.key.clone(), brand_scope: None }
}

fn to_json(proposal: &Proposal) -> Value {
    json!({
        "proposal_id": proposal.key.proposal_id,
        "account": proposal.key.scope,
        "principal": proposal.key.principal,
        "kind": proposal.kind.as_str(),
        "state": proposal.state.as_str(),
        "terms_digest": proposal.terms_digest,
        "expires_at": proposal.expires_at.map(at),
        "parent_proposal_id": proposal.parent_proposal_id,
        "base_media_buy_id": proposal.base_media_buy_id,
        "task_id": proposal.held_by,
        "buyer_account": proposal.buyer_scope,
        "media_buy_id": proposal.media_buy_id,
        "created_at": at(proposal.created_at),
        "updated_at": at(proposal.updated_at),
    })
}

fn entry_json(entry: &ProposalEntry) -> Value {
    json!({
        "at": at(entry.at),
        "event": entry.event,
        "task_id": entry.task_id,
        "actor": entry.actor,
        "reason": entry.reason,
    })
}

fn at(micros: i64) -> String {
    let at = DateTime::from_timestamp_micros(micros).unwrap_or_default();
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}
