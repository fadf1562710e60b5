//! The command `worker`.

use crate::{Role, Worker, WorkerSettings};
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use handoff_activities::seller::Handlers;
use handoff_client::{
    Config,
    duration::{self, OrOff},
    temporal,
};
use handoff_telemetry::Metrics;
use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

/// How the worker runs. What is given here wins over what the seller's code set.
#[derive(Args, Clone, Debug)]
pub(crate) struct WorkerArgs {
    /// After the order to stop, how long running work may go on before it is handed over
    #[arg(long, env = "HANDOFF_SHUTDOWN_GRACE", value_parser = duration::parse, value_name = "DURATION", global = true, help_heading = "Worker")]
    shutdown_grace: Option<Duration>,
    /// How long a run waits for the worker that has it in memory before any worker may go on with it
    #[arg(long, env = "HANDOFF_STICKY_TIMEOUT", value_parser = duration::parse, value_name = "DURATION", global = true, help_heading = "Worker")]
    sticky_timeout: Option<Duration>,
    /// Runs kept in memory
    #[arg(long, env = "HANDOFF_MAX_CACHED_WORKFLOWS", value_name = "NUMBER", global = true, help_heading = "Worker")]
    max_cached_workflows: Option<usize>,
    /// How long a quick verb handler may take before it is invoked again the regular way: up to 3s
    #[arg(long, env = "HANDOFF_QUICK_TIMEOUT", value_parser = duration::parse, value_name = "DURATION", global = true, help_heading = "Worker")]
    quick_timeout: Option<Duration>,
    /// How long a verb handler may take, all attempts together
    #[arg(long, env = "HANDOFF_DECIDE_TIMEOUT", value_parser = duration::parse, value_name = "DURATION", global = true, help_heading = "Worker")]
    decide_timeout: Option<Duration>,
    /// After this long without a sign of life from its worker an attempt to decide is given up
    #[arg(long, env = "HANDOFF_DECIDE_HEARTBEAT", value_parser = duration::parse, value_name = "DURATION", global = true, help_heading = "Worker")]
    decide_heartbeat: Option<Duration>,
    /// Which part of the work it does: all, engine (all but sending webhooks) or publisher (sending webhooks alone)
    #[arg(long, env = "HANDOFF_WORKER_ROLE", value_name = "ROLE", global = true, help_heading = "Worker")]
    worker_role: Option<Role>,
    /// How often requests that nobody drives or nobody needs are looked for: 1s to 1d, or off. Of several workers on a task
    /// queue, the last that started says
    #[arg(long, env = "HANDOFF_HOUSEKEEPING_EVERY", value_parser = duration::parse_or_off, value_name = "DURATION", global = true, help_heading = "Housekeeping")]
    housekeeping_every: Option<OrOff>,
    /// How long an unfinished request must have been silent before its run is looked for
    #[arg(long, env = "HANDOFF_RECONCILE_AFTER", value_parser = duration::parse, value_name = "DURATION", global = true, help_heading = "Housekeeping")]
    reconcile_after: Option<Duration>,
    /// How old an ended request must be to be purged: at least 7d, and at least the idempotency TTL
    #[arg(long, env = "HANDOFF_RETENTION", value_parser = duration::parse, value_name = "DURATION", global = true, help_heading = "Housekeeping")]
    retention: Option<Duration>,
    /// How long after the purge an idempotency key stays expired before it is free again: at least the idempotency TTL
    #[arg(long, env = "HANDOFF_TOMBSTONE_RETENTION", value_parser = duration::parse, value_name = "DURATION", global = true, help_heading = "Housekeeping")]
    tombstone_retention: Option<Duration>,
    /// How long ago a proposal must have expired, been declined or, without an end of its own, last changed, to be deleted
    #[arg(long, env = "HANDOFF_PROPOSAL_RETENTION", value_parser = duration::parse, value_name = "DURATION", global = true, help_heading = "Housekeeping")]
    proposal_retention: Option<Duration>,
    /// How long ago a draft of a proposal must have last changed to be deleted
    #[arg(long, env = "HANDOFF_DRAFT_RETENTION", value_parser = duration::parse, value_name = "DURATION", global = true, help_heading = "Housekeeping")]
    draft_retention: Option<Duration>,
    /// Where to serve /metrics, such as 127.0.0.1:9464; off unless given, but `dev` takes a free port of 127.0.0.1. It needs no
    /// login: give it no address that others reach
    #[arg(long, env = "HANDOFF_METRICS_ADDRESS", value_name = "IP:PORT", global = true, help_heading = "Telemetry")]
    metrics_address: Option<SocketAddr>,
    /// Worker deployment, for Temporal's worker versioning with AutoUpgrade
    #[arg(
        long,
        env = "HANDOFF_DEPLOYMENT",
        value_name = "NAME",
        requires = "build_id",
        global = true,
        help_heading = "Worker"
    )]
    deployment: Option<String>,
    /// Build id within the deployment
    #[arg(
        long,
        env = "HANDOFF_BUILD_ID",
        value_name = "ID",
        requires = "deployment",
        global = true,
        help_heading = "Worker"
    )]
    build_id: Option<String>,
}

impl WorkerArgs {
    /// Begins to measure, if anybody is to see it. Needs a Tokio runtime.
    pub(crate) fn start_metrics(&self, command: &super::Own) -> Result<Metrics> {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Ok(match (self.metrics_address, command) {
            (Some(address), _) => Metrics::start(Some(address))?,
            (None, super::Own::Dev(_)) => Metrics::start(Some(any_port))?,
            // Its own HTTP port has `/metrics`.
            (None, super::Own::Gateway) => Metrics::start(None)?,
            (None, super::Own::Worker) => Metrics::off(),
        })
    }

    /// The command with what the seller's code set as its defaults. What can't be written exactly has none.
    pub(crate) fn with_defaults(command: clap::Command, settings: &WorkerSettings) -> clap::Command {
        let exact = |value| Some(duration::format(value)).filter(|text| duration::parse(text) == Ok(value));
        [
            ("shutdown_grace", exact(settings.shutdown_grace)),
            ("sticky_timeout", exact(settings.sticky_timeout)),
            ("max_cached_workflows", Some(settings.max_cached_workflows.to_string())),
            ("quick_timeout", exact(settings.timeouts.quick)),
            ("decide_timeout", exact(settings.timeouts.decide)),
            ("decide_heartbeat", exact(settings.timeouts.heartbeat)),
            ("worker_role", settings.role.to_possible_value().map(|role| role.get_name().to_owned())),
            ("housekeeping_every", settings.housekeeping.every.map_or_else(|| Some("off".to_owned()), exact)),
            ("reconcile_after", exact(settings.housekeeping.reconcile_after)),
            ("retention", exact(settings.housekeeping.retention)),
            ("tombstone_retention", exact(settings.housekeeping.tombstone_retention)),
            ("proposal_retention", exact(settings.housekeeping.proposal_retention)),
            ("draft_retention", exact(settings.housekeeping.draft_retention)),
        ]
        .into_iter()
        .filter_map(|(id, default)| Some((id, default?)))
        .fold(command, |command, (id, default)| {
            // clap keeps it for as long as the process lives.
            let default: &'static str = Box::leak(default.into_boxed_str());
            command.mut_arg(id, |arg| arg.default_value(default))
        })
    }

    pub(crate) fn apply(self, mut settings: WorkerSettings, config: &Config) -> Result<WorkerSettings> {
        settings.task_queue.clone_from(&config.task_queue);
        settings.metrics = config.metrics.clone();
        let signing = std::mem::take(&mut settings.webhooks.signing);
        settings.webhooks = config.webhooks.clone();
        if settings.webhooks.signing.is_none() {
            settings.webhooks.signing = signing;
        }
        settings.environment = config.environment;
        settings.agent_url = config.agent_url();
        settings.role = self.worker_role.unwrap_or(settings.role);
        settings.shutdown_grace = self.shutdown_grace.unwrap_or(settings.shutdown_grace);
        settings.sticky_timeout = self.sticky_timeout.unwrap_or(settings.sticky_timeout);
        settings.max_cached_workflows = self.max_cached_workflows.unwrap_or(settings.max_cached_workflows);
        settings.timeouts.quick = self.quick_timeout.unwrap_or(settings.timeouts.quick);
        settings.timeouts.decide = self.decide_timeout.unwrap_or(settings.timeouts.decide);
        settings.timeouts.heartbeat = self.decide_heartbeat.unwrap_or(settings.timeouts.heartbeat);
        settings.timeouts.sandbox_review = config.sandbox_review_delay;
        settings.deployment = self.deployment.zip(self.build_id).or(settings.deployment);
        let housekeeping = &mut settings.housekeeping;
        if let Some(OrOff(every)) = self.housekeeping_every {
            housekeeping.every = every;
        }
        housekeeping.reconcile_after = self.reconcile_after.unwrap_or(housekeeping.reconcile_after);
        housekeeping.retention = self.retention.unwrap_or(housekeeping.retention);
        housekeeping.tombstone_retention = self.tombstone_retention.unwrap_or(housekeeping.tombstone_retention);
        housekeeping.proposal_retention = self.proposal_retention.unwrap_or(housekeeping.proposal_retention);
        housekeeping.draft_retention = self.draft_retention.unwrap_or(housekeeping.draft_retention);
        housekeeping.check(config.idempotency_ttl)?;
        if settings.timeouts.quick > Duration::from_secs(3) {
            bail!("HANDOFF_QUICK_TIMEOUT is {}, but must be at most 3s", duration::format(settings.timeouts.quick));
        }
        for (name, value) in [
            ("HANDOFF_STICKY_TIMEOUT", settings.sticky_timeout),
            ("HANDOFF_QUICK_TIMEOUT", settings.timeouts.quick),
            ("HANDOFF_DECIDE_TIMEOUT", settings.timeouts.decide),
            ("HANDOFF_DECIDE_HEARTBEAT", settings.timeouts.heartbeat),
        ] {
            if value.is_zero() {
                bail!("{name} must be longer than zero");
            }
        }
        Ok(settings)
    }
}

pub(crate) async fn run(name: &str, config: &Config, handlers: Handlers, settings: WorkerSettings) -> Result<()> {
    config.check()?;
    let worker = connect(config, handlers, &settings).await?;
    let metrics = config.metrics.address().map(|address| format!("http://{address}/metrics"));
    tracing::info!(
        task_queue = settings.task_queue,
        registry = config.redacted_registry_url(),
        metrics,
        "{name}: the worker runs; Ctrl-C or SIGTERM stops it"
    );
    let stop = worker.shutdown_handle();
    let running = worker.run();
    tokio::pin!(running);
    tokio::select! {
        ended = &mut running => return ended,
        told = super::told_to_stop() => told?,
    }
    tracing::info!("{name}: stopping; running work may go on for {}", duration::format(settings.shutdown_grace));
    stop();
    running.await
}

/// A worker, connected with Temporal and the registry.
pub(crate) async fn connect(config: &Config, handlers: Handlers, settings: &WorkerSettings) -> Result<Worker> {
    let client = temporal::connect(config).await?;
    let registry = handoff_store::connect(&config.registry_url, config.registry_options()?)
        .await
        .with_context(|| format!("the registry {} can't be opened", config.redacted_registry_url()))?;
    Worker::new(client, registry, handlers, settings)
}
