//! The command line.

use super::{
    api_key::ApiKeyCommand, buyer::BuyerCommand, proposal::ProposalCommand, sandbox::SandboxCommand,
    webhook::WebhookCommand,
};
use crate::{ConfigArgs, Viewer, config, duration};
use chrono::{DateTime, Utc};
use clap::{ArgMatches, Args, FromArgMatches, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use handoff_proto::wire::{Recovery, SortDirection, SortField, TaskStatus};
use handoff_telemetry::TelemetryArgs;
use secrecy::SecretString;
use std::{net::SocketAddr, time::Duration};

/// Call AdCP verbs, follow tasks, decide on them, and look after them.
///
/// Exit codes: 0 done, 1 unexpected, 2 usage, 3 refused, 4 not found, 5 conflict, 6 unavailable (try again), 7 recorded but
/// not settled yet.
#[derive(Debug, Parser)]
#[command(name = "handoff", version, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    pub(super) config: ConfigArgs,
    #[command(flatten)]
    pub(super) telemetry: TelemetryArgs,
    /// Print JSON
    #[arg(long, global = true)]
    pub(super) json: bool,
    #[command(subcommand)]
    pub(super) command: Commands,
}

/// The commands of `handoff`, for a binary that has them beside its own: flatten them into its own commands.
#[derive(Debug)]
pub struct Commands(pub(super) Command);

impl FromArgMatches for Commands {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Command::from_arg_matches(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}

impl Subcommand for Commands {
    fn augment_subcommands(command: clap::Command) -> clap::Command {
        Command::augment_subcommands(command)
    }

    fn augment_subcommands_for_update(command: clap::Command) -> clap::Command {
        Command::augment_subcommands_for_update(command)
    }

    fn has_subcommand(name: &str) -> bool {
        Command::has_subcommand(name)
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Call verbs, as a buyer's agent does
    #[command(subcommand)]
    Verb(VerbCommand),
    /// Follow tasks and decide on them
    #[command(subcommand)]
    Task(TaskCommand),
    /// Call a seller over MCP, as a buyer's agent does
    #[command(subcommand)]
    Buyer(BuyerCommand),
    /// API keys of buyers' agents
    #[command(subcommand)]
    ApiKey(ApiKeyCommand),
    /// Webhooks: what arrived, what did not, and the keys that sign them
    #[command(subcommand)]
    Webhook(WebhookCommand),
    /// Proposals: what was offered, reserved, bought
    #[command(subcommand)]
    Proposal(ProposalCommand),
    /// Sandbox accounts, in which the protocol's tests run
    #[command(subcommand)]
    Sandbox(SandboxCommand),
    /// Check everything that Handoff needs, and say how to mend what is wrong
    Doctor,
    /// Print every setting: what it is now and from where, its default, what it means
    Config(ShowConfigArgs),
    /// Explain an error of Handoff's own: what happened, whether a retry is safe, what to do
    Explain(ExplainArgs),
    /// Print completions for a shell
    ///
    /// For example: source <(handoff completions bash)
    Completions {
        /// The shell
        shell: Shell,
    },
    /// End requests whose run is gone
    Reconcile(ReconcileArgs),
    /// Purge requests that ended long ago, and forget keys that were purged long ago
    Purge(PurgeArgs),
    /// Keys of payload encryption, and the endpoint with which Temporal's UI and CLI read what is encrypted
    #[command(subcommand)]
    Codec(CodecCommand),
    /// Look after the registry
    #[command(subcommand)]
    Registry(RegistryCommand),
}

#[derive(Debug, Subcommand)]
pub(super) enum RegistryCommand {
    /// Seal with the active key what older keys seal, so that those can be removed
    Reseal(ResealArgs),
}

#[derive(Debug, Args)]
pub(super) struct ResealArgs {
    /// Only count which keys are needed
    #[arg(long)]
    pub(super) dry_run: bool,
}

#[derive(Debug, Args)]
pub(super) struct ShowConfigArgs {
    /// Print the reference of all settings, as the documentation has it
    #[arg(long, conflicts_with = "json")]
    pub(super) markdown: bool,
}

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// The error's code, such as X_HANDOFF_RUN_LOST; all codes unless given
    pub(super) code: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum CodecCommand {
    /// Serve POST /encode and /decode for Temporal's UI and CLI
    Serve(ServeCodecArgs),
    /// Print a fresh key, id:base64
    GenerateKey(GenerateKeyArgs),
}

#[derive(Debug, Args)]
pub(super) struct ServeCodecArgs {
    /// Where to listen; port 0 is any free one
    #[arg(long, env = "HANDOFF_CODEC_LISTEN", default_value = "127.0.0.1:8234", value_name = "IP:PORT")]
    pub(super) listen: SocketAddr,
    /// What callers have to send as Authorization: Bearer …; at least 16 bytes. Give it by the environment: flags are seen in
    /// process lists
    #[arg(long, env = "HANDOFF_CODEC_TOKEN", hide_env_values = true, value_parser = config::secret, value_name = "TOKEN")]
    pub(super) token: SecretString,
    /// Origin of a Temporal UI that may call this, such as http://localhost:8233; may be repeated
    #[arg(long, env = "HANDOFF_CODEC_CORS_ORIGINS", value_delimiter = ',', value_name = "ORIGIN")]
    pub(super) cors_origin: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct GenerateKeyArgs {
    /// The key's id, which is stored in clear; made of the time unless given
    #[arg(long)]
    pub(super) id: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum VerbCommand {
    /// Call a verb with a request, and print the answer
    Call(CallArgs),
    /// List the verbs that can be answered `submitted`
    List,
}

#[derive(Debug, Subcommand)]
pub(super) enum TaskCommand {
    /// Show a task
    Get(GetArgs),
    /// List tasks
    List(ListArgs),
    /// Show a task, and every change of it until its end
    Watch(TaskArgs),
    /// Show what happened to a task
    History(TaskArgs),
    /// Complete a waiting task with a result
    Complete(CompleteArgs),
    /// Fail a waiting task with an error
    Fail(FailArgs),
    /// Cancel a task
    Cancel(CancelArgs),
    /// Report a task's progress
    Progress(ProgressArgs),
}

#[derive(Debug, Args)]
pub(super) struct CallArgs {
    /// The verb, for example create_media_buy
    pub(super) name: String,
    /// The request, a JSON object; - is stdin
    #[arg(long, short, value_name = "FILE")]
    pub(super) file: String,
    /// The account, as the seller's account resolver names it
    #[arg(long, visible_alias = "scope", env = "HANDOFF_ACCOUNT")]
    pub(super) account: String,
    /// The agent on whose behalf the call is made
    #[arg(long, env = "HANDOFF_PRINCIPAL")]
    pub(super) principal: String,
    /// The account is a sandbox
    #[arg(long)]
    pub(super) sandbox: bool,
}

/// On whose behalf tasks are read: an operator, unless told.
#[derive(Debug, Args)]
pub(super) struct ViewerArgs {
    /// See only this account's tasks
    #[arg(long, visible_alias = "scope")]
    account: Option<String>,
    /// See only this agent's tasks of the account
    #[arg(long, requires = "account")]
    principal: Option<String>,
}

impl ViewerArgs {
    pub(super) fn viewer(self) -> Viewer {
        match (self.account, self.principal) {
            (None, _) => Viewer::Operator,
            (Some(account), None) => Viewer::Reviewer { scopes: vec![account] },
            (Some(scope), Some(principal)) => Viewer::Buyer { scope, principal },
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct TaskArgs {
    /// The task's id
    pub(super) task_id: String,
    #[command(flatten)]
    pub(super) viewer: ViewerArgs,
}

#[derive(Debug, Args)]
pub(super) struct GetArgs {
    #[command(flatten)]
    pub(super) task: TaskArgs,
    /// Also what happened to it
    #[arg(long)]
    pub(super) history: bool,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    pub(super) viewer: ViewerArgs,
    /// With this status; may be repeated
    #[arg(long)]
    pub(super) status: Vec<TaskStatus>,
    /// Of this verb; may be repeated
    #[arg(long)]
    pub(super) verb: Vec<String>,
    /// Of this protocol, for example media-buy; may be repeated
    #[arg(long)]
    pub(super) protocol: Vec<String>,
    /// Created after this time (RFC 3339), or this long ago (2h, 7d)
    #[arg(long, value_parser = time, value_name = "TIME")]
    pub(super) created_after: Option<DateTime<Utc>>,
    /// Created before this time, or this long ago
    #[arg(long, value_parser = time, value_name = "TIME")]
    pub(super) created_before: Option<DateTime<Utc>>,
    /// Changed after this time, or this long ago
    #[arg(long, value_parser = time, value_name = "TIME")]
    pub(super) updated_after: Option<DateTime<Utc>>,
    /// Changed before this time, or this long ago
    #[arg(long, value_parser = time, value_name = "TIME")]
    pub(super) updated_before: Option<DateTime<Utc>>,
    /// The request's `context` holds this text
    #[arg(long, value_name = "TEXT")]
    pub(super) context_contains: Option<String>,
    /// With (true) or without (false) a webhook
    #[arg(long, value_name = "BOOL")]
    pub(super) has_webhook: Option<bool>,
    /// Sorted by
    #[arg(long, value_enum, default_value = "created-at")]
    pub(super) sort: SortBy,
    /// Smallest first
    #[arg(long)]
    pub(super) ascending: bool,
    /// Tasks a page
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100), value_name = "NUMBER")]
    pub(super) limit: u32,
    /// The page that this cursor begins
    #[arg(long)]
    pub(super) cursor: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum SortBy {
    CreatedAt,
    UpdatedAt,
    Status,
    Verb,
    Protocol,
}

impl SortBy {
    pub(super) fn sort(self, ascending: bool) -> handoff_proto::wire::Sort {
        let field = match self {
            Self::CreatedAt => SortField::CreatedAt,
            Self::UpdatedAt => SortField::UpdatedAt,
            Self::Status => SortField::Status,
            Self::Verb => SortField::TaskType,
            Self::Protocol => SortField::Protocol,
        };
        let direction = if ascending { SortDirection::Asc } else { SortDirection::Desc };
        handoff_proto::wire::Sort { field, direction }
    }
}

/// Who decides, and why.
#[derive(Debug, Args)]
pub(super) struct DecisionArgs {
    /// The task's id
    pub(super) task_id: String,
    /// Decide only if the task is of this account; may be repeated
    #[arg(long, visible_alias = "scope")]
    pub(super) account: Vec<String>,
    /// Who decides; the user's name unless told
    #[arg(long, env = "HANDOFF_ACTOR")]
    pub(super) actor: Option<String>,
    /// Why
    #[arg(long)]
    pub(super) reason: Option<String>,
    /// The decision's own id: with the same one the command is safe to repeat
    #[arg(long)]
    pub(super) decision_id: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct CompleteArgs {
    #[command(flatten)]
    pub(super) decision: DecisionArgs,
    #[command(flatten)]
    pub(super) result: ResultArgs,
    /// Send the result even if it is not as the protocol's schemas say
    #[arg(long)]
    pub(super) unchecked: bool,
}

/// The result that the buyer gets.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct ResultArgs {
    /// File with the result, or with a completion; - is stdin
    #[arg(long, short, value_name = "FILE")]
    pub(super) file: Option<String>,
    /// The result as JSON
    #[arg(long, value_name = "JSON")]
    pub(super) result: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct FailArgs {
    #[command(flatten)]
    pub(super) decision: DecisionArgs,
    /// The error's code: of the protocol, or X_VENDOR_CODE
    #[arg(long, requires = "message", required_unless_present_any = ["error", "file"])]
    pub(super) code: Option<String>,
    /// The error, for people
    #[arg(long, requires = "code")]
    pub(super) message: Option<String>,
    /// Whether the buyer can recover from it
    #[arg(long, value_enum, requires = "code")]
    pub(super) recovery: Option<RecoveryArg>,
    /// Path of the offending field in the request
    #[arg(long, requires = "code")]
    pub(super) field: Option<String>,
    /// What the buyer can do about it
    #[arg(long, requires = "code")]
    pub(super) suggestion: Option<String>,
    /// The AdCP error as JSON
    #[arg(long, value_name = "JSON", conflicts_with = "code")]
    pub(super) error: Option<String>,
    /// File with the AdCP error, or with a completion; - is stdin
    #[arg(long, short, value_name = "FILE", conflicts_with_all = ["code", "error"])]
    pub(super) file: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum RecoveryArg {
    Transient,
    Correctable,
    Terminal,
}

impl From<RecoveryArg> for Recovery {
    fn from(recovery: RecoveryArg) -> Self {
        match recovery {
            RecoveryArg::Transient => Self::Transient,
            RecoveryArg::Correctable => Self::Correctable,
            RecoveryArg::Terminal => Self::Terminal,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct CancelArgs {
    #[command(flatten)]
    pub(super) decision: DecisionArgs,
}

#[derive(Debug, Args)]
pub(super) struct ProgressArgs {
    /// The task's id
    pub(super) task_id: String,
    /// Report only if the task is of this account; may be repeated
    #[arg(long, visible_alias = "scope")]
    pub(super) account: Vec<String>,
    /// Who reports; the user's name unless told
    #[arg(long, env = "HANDOFF_ACTOR")]
    pub(super) actor: Option<String>,
    /// Why; for the task's history, the buyer is not told
    #[arg(long)]
    pub(super) reason: Option<String>,
    #[command(flatten)]
    pub(super) progress: ProgressValues,
}

/// How far the task is.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(super) struct ProgressValues {
    /// File with the progress as JSON; - is stdin
    #[arg(long, short, value_name = "FILE")]
    pub(super) file: Option<String>,
    /// The progress as JSON: percentage, current_step, step_number, total_steps, message
    #[arg(long, value_name = "JSON", conflicts_with = "file")]
    pub(super) progress: Option<String>,
    /// 0 to 100
    #[arg(long)]
    pub(super) percentage: Option<f64>,
    /// What is being done
    #[arg(long, value_name = "TEXT")]
    pub(super) step: Option<String>,
    /// Which step, from 1
    #[arg(long, value_name = "NUMBER")]
    pub(super) step_number: Option<u32>,
    /// How many steps there are
    #[arg(long, value_name = "NUMBER")]
    pub(super) total_steps: Option<u32>,
    /// Anything else, for people
    #[arg(long, value_name = "TEXT")]
    pub(super) message: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ReconcileArgs {
    /// Only say what would be done
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Leave requests alone that changed more recently
    #[arg(long, default_value = "5m", value_parser = duration::parse, value_name = "DURATION")]
    pub(super) min_age: Duration,
}

#[derive(Debug, Args)]
pub(super) struct PurgeArgs {
    /// Only say what would be done
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Keep requests that ended more recently: at least 7d, and at least the idempotency TTL
    #[arg(long, env = "HANDOFF_RETENTION", default_value = "30d", value_parser = duration::parse, value_name = "DURATION")]
    pub(super) older_than: Duration,
    /// Keep keys expired that were purged more recently: at least the idempotency TTL
    #[arg(long, env = "HANDOFF_TOMBSTONE_RETENTION", default_value = "90d", value_parser = duration::parse, value_name = "DURATION")]
    pub(super) tombstones_older_than: Duration,
}

/// Everyone's tasks, or those of these accounts.
pub(super) fn reviewer(accounts: Vec<String>) -> Viewer {
    if accounts.is_empty() { Viewer::Operator } else { Viewer::Reviewer { scopes: accounts } }
}

pub(super) fn time(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.to_utc());
    }
    duration::parse(text)
        .ok()
        .and_then(|ago| Utc::now().checked_sub_signed(chrono::TimeDelta::from_std(ago).ok()?))
        .ok_or_else(|| format!("{text:?} is neither a time, such as 2027-01-31T12:00:00Z, nor a duration, such as 2h"))
}

#[cfg(test)]
mod tests;
