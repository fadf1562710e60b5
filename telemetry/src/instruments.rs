//! Handoff's own instruments. `docs/metrics.md`, the dashboard and the alerts in `deploy/` are checked against this list.

/// What an instrument measures with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, from 0 when the process starts.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations in buckets.
    Histogram,
}

impl Kind {
    /// Prometheus's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// An instrument, as a scrape shows it.
#[derive(Debug)]
pub struct Instrument {
    /// With the suffixes of its unit and kind.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it counts, and what a step that runs twice does to it.
    pub help: &'static str,
    /// Upper bounds of a histogram's buckets, in seconds.
    pub buckets: &'static [f64],
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Instrument {
    Instrument { name, kind: Kind::Counter, labels, help, buckets: &[] }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Instrument {
    Instrument { name, kind: Kind::Gauge, labels, help, buckets: &[] }
}

const fn histogram(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    buckets: &'static [f64],
) -> Instrument {
    Instrument { name, kind: Kind::Histogram, labels, help, buckets }
}

const CALLS: &[f64] = &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0];
const DATABASE: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
// To thirty days: reviews take their time.
const LIVES: &[f64] = &[
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
    900.0,
    3_600.0,
    14_400.0,
    43_200.0,
    86_400.0,
    259_200.0,
    604_800.0,
    2_592_000.0,
];

/// Claims.
pub const CLAIMS: Instrument = counter(
    "handoff_claims_total",
    &["verb", "outcome"],
    "Requests that claimed their idempotency key, by what they found: new, attached, answered, conflict, expired or \
     unknown. Once per call of the client, however often it tried.",
);
/// Calls.
pub const CALL_DURATION: Instrument = histogram(
    "handoff_call_duration_seconds",
    &["verb", "outcome"],
    "How long buyers waited for an answer: completed, submitted, replayed, refused, unavailable or failed. Once per call \
     of the client.",
    CALLS,
);
/// Decisions from outside.
pub const RESOLVE_DURATION: Instrument = histogram(
    "handoff_resolve_duration_seconds",
    &["outcome"],
    "How long a reviewer's decision took: accepted, duplicate, conflict, invalid, recorded, not_found or failed. Once \
     per call of the client.",
    CALLS,
);
/// Decisions of the seller.
pub const DECISIONS: Instrument = counter(
    "handoff_decisions_total",
    &["verb", "decision"],
    "Sellers' decisions that were recorded: complete, refuse, handoff_to_task or handoff_to_workflow. Once per request: \
     a decision that is made again is not recorded again.",
);
/// Time to decision.
pub const DECISION_DURATION: Instrument = histogram(
    "handoff_decision_duration_seconds",
    &["verb", "arm"],
    "From the claim to the seller's decision. Once per request.",
    LIVES,
);
/// Accepted tasks.
pub const TASKS_SUBMITTED: Instrument = counter(
    "handoff_tasks_submitted_total",
    &["verb", "arm"],
    "Tasks that became visible to their buyers as submitted. Once per task.",
);
/// Time to completion.
pub const COMPLETION_DURATION: Instrument = histogram(
    "handoff_completion_duration_seconds",
    &["verb", "arm", "state"],
    "From the claim to the request's end: completed, failed, rejected, canceled, refused (nobody had been told \
     submitted) or unknown (its run was lost). Its count is the number of requests that ended. Once per request: the \
     first recorded end counts.",
    LIVES,
);
/// Dropped signals.
pub const SIGNALS_DROPPED: Instrument = counter(
    "handoff_signals_dropped_total",
    &["verb"],
    "Signals that could not be used and were written into their task's history: malformed, unknown, or too late. A run \
     writes down its first 100. Once per signal.",
);
/// Conflicts.
pub const SETTLE_CONFLICTS: Instrument = counter(
    "handoff_settle_conflicts_total",
    &["verb"],
    "Ends that were to be recorded where another was recorded already. A step that runs again after a crash counts \
     again.",
);
/// Attempts at webhooks.
pub const WEBHOOK_ATTEMPT_DURATION: Instrument = histogram(
    "handoff_webhook_attempt_duration_seconds",
    &["outcome"],
    "How long attempts to deliver webhooks took: delivered, or what went wrong in a word. Every attempt counts, but one \
     whose process died.",
    CALLS,
);
/// Ends of webhooks.
pub const WEBHOOKS_ENDED: Instrument = counter(
    "handoff_webhooks_ended_total",
    &["state"],
    "Webhooks that came to an end: delivered, stopped (their receiver wants no more of it, or they can't be sent) or \
     expired. One that ends twice, on two workers, may count twice.",
);
/// Registry latency.
pub const REGISTRY_DURATION: Instrument = histogram(
    "handoff_registry_call_duration_seconds",
    &["operation", "outcome"],
    "How long the registry took, by operation and outcome: ok, unavailable (may succeed later) or failed. Every call \
     counts, repeated ones too.",
    DATABASE,
);
/// Open requests.
pub const TASKS_OPEN: Instrument = gauge(
    "handoff_tasks_open",
    &["verb", "arm", "state"],
    "Requests in the registry that have not ended, as last counted: undecided, pending (nobody was told yet), or the \
     task's status. The same in every process of one registry: take the maximum, not the sum.",
);
/// Age of the oldest.
pub const OLDEST_OPEN_TASK_AGE: Instrument = gauge(
    "handoff_oldest_open_task_age_seconds",
    &["verb", "arm", "state"],
    "Since the oldest of those requests was claimed, as last counted; 0 where there is none.",
);
/// Age of the oldest webhook.
pub const OLDEST_PENDING_WEBHOOK_AGE: Instrument = gauge(
    "handoff_oldest_pending_webhook_age_seconds",
    &[],
    "Since the task of the oldest webhook ended that has not arrived and is still tried, as last looked; 0 where there is \
     none. The same in every process of one registry: take the maximum, not the sum.",
);
/// When they were counted.
pub const TASKS_COUNTED: Instrument = gauge(
    "handoff_tasks_counted_timestamp_seconds",
    &[],
    "When this process last counted the open requests, in seconds since 1970. It does so every 15 seconds, however many \
     scrape.",
);
/// Housekeeping's rounds.
pub const HOUSEKEEPING_ROUNDS: Instrument = counter(
    "handoff_housekeeping_rounds_total",
    &["round", "outcome"],
    "Rounds of reconcile, redeliver, purge and forget, by outcome: ok or failed. A round that is repeated counts again.",
);
/// What reconciling ended.
pub const HOUSEKEEPING_SETTLED: Instrument = counter(
    "handoff_housekeeping_settled_total",
    &["action"],
    "Requests whose run was gone and that were ended: settled, discarded or voided. Once per request.",
);
/// What reconciling had told.
pub const HOUSEKEEPING_REDELIVERED: Instrument = counter(
    "handoff_housekeeping_redelivered_total",
    &[],
    "Webhooks whose run was gone, and for which a redelivery was started. One that two rounds at once find may count \
     twice.",
);
/// What was purged.
pub const HOUSEKEEPING_PURGED: Instrument = counter(
    "handoff_housekeeping_purged_total",
    &[],
    "Ended requests that were purged. One that is purged twice by two rounds at once may count twice.",
);
/// When housekeeping last did its work.
pub const HOUSEKEEPING_LAST_SUCCESS: Instrument = gauge(
    "handoff_housekeeping_last_success_timestamp_seconds",
    &["round"],
    "When this process last ended a round well, in seconds since 1970.",
);
/// The build.
pub const BUILD_INFO: Instrument = gauge("handoff_build_info", &["version"], "1, with this process's version.");

/// All of them.
pub const ALL: &[&Instrument] = &[
    &CLAIMS,
    &CALL_DURATION,
    &RESOLVE_DURATION,
    &DECISIONS,
    &DECISION_DURATION,
    &TASKS_SUBMITTED,
    &COMPLETION_DURATION,
    &SIGNALS_DROPPED,
    &SETTLE_CONFLICTS,
    &WEBHOOK_ATTEMPT_DURATION,
    &WEBHOOKS_ENDED,
    &REGISTRY_DURATION,
    &TASKS_OPEN,
    &OLDEST_OPEN_TASK_AGE,
    &OLDEST_PENDING_WEBHOOK_AGE,
    &TASKS_COUNTED,
    &HOUSEKEEPING_ROUNDS,
    &HOUSEKEEPING_SETTLED,
    &HOUSEKEEPING_REDELIVERED,
    &HOUSEKEEPING_PURGED,
    &HOUSEKEEPING_LAST_SUCCESS,
    &BUILD_INFO,
];

/// Instruments of the Temporal SDK that the dashboard and the alerts use; an integration test finds each in a worker's scrape.
pub const OF_THE_SDK: &[&str] = &[
    "temporal_num_pollers",
    "temporal_request_latency_seconds",
    "temporal_sticky_cache_size",
    "temporal_workflow_task_execution_latency_seconds",
    "temporal_worker_task_slots_available",
];

#[cfg(test)]
mod tests;
