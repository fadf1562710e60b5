//! `handoff webhook`.

use super::{
    exit::Exit,
    output::{Output, table},
    problem::Problem,
};
use crate::{Config, Handoff, Tasks, tasks::no_such_task};
use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Args, Subcommand, ValueEnum};
use handoff_store::{WebhookAttempt, WebhookFilter, WebhookRecord, WebhookState};
use handoff_webhooks::keys::{Algorithm, LocalKey, jwks_document};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

const PAGE: u32 = 100;

#[derive(Debug, Subcommand)]
pub(super) enum WebhookCommand {
    /// List webhooks of ended tasks, the oldest first
    List(ListWebhooksArgs),
    /// Show the webhook of a task, and each attempt to deliver it
    Show(WebhookArgs),
    /// Send a webhook once more, or those of a time range: the same bytes within the horizon, a new delivery past it
    Redeliver(RedeliverArgs),
    /// Print a fresh private key in PEM, for HANDOFF_WEBHOOK_SIGNING_KEYS_FILE
    GenerateKey(GenerateSigningKeyArgs),
    /// Print the public keys that receivers verify with, as the gateway serves them
    Jwks,
}

#[derive(Debug, Args)]
pub(super) struct WebhookArgs {
    /// The task
    task_id: String,
}

#[derive(Debug, Args)]
pub(super) struct RangeArgs {
    /// Only in this state: pending, delivered, stopped or expired; may be repeated
    #[arg(long, value_enum, value_name = "STATE")]
    state: Vec<State>,
    /// Only of tasks that ended then or later: RFC 3339, or an age such as 2h
    #[arg(long, value_parser = super::args::time, value_name = "TIME")]
    ended_after: Option<DateTime<Utc>>,
    /// Only of tasks that ended before: RFC 3339, or an age such as 2h
    #[arg(long, value_parser = super::args::time, value_name = "TIME")]
    ended_before: Option<DateTime<Utc>>,
}

#[derive(Debug, Args)]
pub(super) struct ListWebhooksArgs {
    #[command(flatten)]
    range: RangeArgs,
    /// At most so many
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: u32,
}

#[derive(Debug, Args)]
pub(super) struct RedeliverArgs {
    /// The task; or say which by state or time
    #[arg(required_unless_present_any = ["state", "ended_after", "ended_before"], conflicts_with_all = ["state", "ended_after", "ended_before"])]
    task_id: Option<String>,
    #[command(flatten)]
    range: RangeArgs,
}

#[derive(Debug, Args)]
pub(super) struct GenerateSigningKeyArgs {
    /// Its algorithm
    #[arg(long, value_enum, default_value = "ed25519")]
    algorithm: AlgorithmName,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AlgorithmName {
    Ed25519,
    Es256,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum State {
    Pending,
    Delivered,
    Stopped,
    Expired,
}

impl From<State> for WebhookState {
    fn from(state: State) -> Self {
        match state {
            State::Pending => Self::Pending,
            State::Delivered => Self::Delivered,
            State::Stopped => Self::Stopped,
            State::Expired => Self::Expired,
        }
    }
}

impl RangeArgs {
    fn filter(&self) -> WebhookFilter {
        WebhookFilter {
            states: self.state.iter().map(|state| (*state).into()).collect(),
            created_after: self.ended_after.map(|at| at.timestamp_micros()),
            created_before: self.ended_before.map(|at| at.timestamp_micros()),
            after: None,
        }
    }
}

pub(super) async fn run(command: WebhookCommand, config: Config, output: &Output) -> Result<Exit, Problem> {
    match command {
        WebhookCommand::List(args) => list(&args, &Tasks::connect(&config).await?, output).await,
        WebhookCommand::Show(args) => one(&args.task_id, &Tasks::connect(&config).await?, output).await,
        WebhookCommand::Redeliver(args) => redeliver(args, &Handoff::connect(config).await?, output).await,
        WebhookCommand::GenerateKey(args) => generate(&args, output),
        WebhookCommand::Jwks => jwks(&config, output),
    }
}

async fn list(args: &ListWebhooksArgs, tasks: &Tasks, output: &Output) -> Result<Exit, Problem> {
    let webhooks = tasks.registry.webhooks(&args.range.filter(), args.limit).await.map_err(crate::Error::from)?;
    let shown = webhooks.iter().map(to_json).collect::<Value>();
    output.data(&json!({"webhooks": shown}), || {
        let rows = webhooks.iter().map(|webhook| {
            let task = &webhook.task;
            let attempts = webhook.attempts.to_string();
            [
                task.task_id.clone(),
                task.verb.clone(),
                webhook.state.as_str().to_owned(),
                attempts,
                at(webhook.created_at),
                at(webhook.updated_at),
            ]
        });
        table(&["TASK", "VERB", "STATE", "ATTEMPTS", "ENDED", "LAST TRIED"], rows)
    });
    Ok(Exit::Ok)
}

async fn one(task_id: &str, tasks: &Tasks, output: &Output) -> Result<Exit, Problem> {
    let found = tasks.registry.webhook_log(task_id).await.map_err(crate::Error::from)?;
    let Some((webhook, attempts)) = found else { return Err(Problem::refused(no_such_task())) };
    let mut shown = to_json(&webhook);
    shown["log"] = attempts.iter().map(attempt_json).collect();
    output.data(&shown, || {
        let rows = attempts.iter().map(|attempt| {
            let status = attempt.status.map(|status| status.to_string()).unwrap_or_default();
            let outcome = attempt.error_class.clone().unwrap_or_else(|| "delivered".to_owned());
            [at(attempt.at), status, outcome, format!("{}ms", attempt.duration.as_millis())]
        });
        format!(
            "{}, key {}\n{}",
            webhook.state.as_str(),
            webhook.idempotency_key,
            table(&["AT", "STATUS", "OUTCOME", "TOOK"], rows)
        )
    });
    Ok(Exit::Ok)
}

async fn redeliver(args: RedeliverArgs, handoff: &Handoff, output: &Output) -> Result<Exit, Problem> {
    let mut begun = Vec::new();
    match args.task_id {
        Some(task_id) => {
            if !handoff.redeliver_webhook(&task_id).await? {
                return Err(Problem::refused(no_such_task()));
            }
            begun.push(task_id);
        }
        None => {
            let mut filter = args.range.filter();
            loop {
                let page = handoff.registry().webhooks(&filter, PAGE).await.map_err(crate::Error::from)?;
                let Some(last) = page.last() else { break };
                filter.after = Some((last.created_at, last.task.task_id.clone()));
                for webhook in &page {
                    if handoff.redeliver_webhook(&webhook.task.task_id).await? {
                        begun.push(webhook.task.task_id.clone());
                    }
                }
            }
        }
    }
    output.data(&json!({"redelivering": begun}), || begun.join("\n"));
    output.talk(&format!("{} begun; `handoff webhook show` says what comes of each", begun.len()));
    Ok(Exit::Ok)
}

fn generate(args: &GenerateSigningKeyArgs, output: &Output) -> Result<Exit, Problem> {
    let algorithm = match args.algorithm {
        AlgorithmName::Ed25519 => Algorithm::Ed25519,
        AlgorithmName::Es256 => Algorithm::Es256,
    };
    let key = LocalKey::generate_pem(algorithm).map_err(|error| Problem::usage(error.to_string()))?;
    output.data(&json!({"pem": key.expose_secret()}), || key.expose_secret().trim_end().to_owned());
    Ok(Exit::Ok)
}

fn jwks(config: &Config, output: &Output) -> Result<Exit, Problem> {
    let keys = config.webhooks.signing.load().map_err(|error| Problem::usage(error.to_string()))?;
    let Some(keys) = keys else {
        return Err(Problem::usage(
            "there are no keys: set HANDOFF_WEBHOOK_SIGNING_KEYS or HANDOFF_WEBHOOK_SIGNING_KEYS_FILE",
        ));
    };
    let document = jwks_document(keys.published());
    output.data(&document, || super::output::pretty(&document));
    Ok(Exit::Ok)
}

fn to_json(webhook: &WebhookRecord) -> Value {
    json!({
        "task_id": webhook.task.task_id,
        "task_type": webhook.task.verb,
        "account": webhook.task.scope,
        "principal": webhook.task.principal,
        "state": webhook.state.as_str(),
        "idempotency_key": webhook.idempotency_key,
        "attempts": webhook.attempts,
        "ended_at": at(webhook.created_at),
        "expires_at": at(webhook.expires_at),
        "updated_at": at(webhook.updated_at),
    })
}

fn attempt_json(attempt: &WebhookAttempt) -> Value {
    json!({
        "at": at(attempt.at),
        "duration_ms": attempt.duration.as_secs_f64() * 1_000.0,
        "status": attempt.status,
        "error_class": attempt.error_class,
    })
}

fn at(micros: i64) -> String {
    let at = DateTime::from_timestamp_micros(micros).unwrap_or_default();
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}
