//! Recording what happens.

use crate::{
    endpoint::{Endpoint, EndpointError},
    instruments::{
        BUILD_INFO, CALL_DURATION, CLAIMS, COMPLETION_DURATION, DECISION_DURATION, DECISIONS,
        HOUSEKEEPING_LAST_SUCCESS, HOUSEKEEPING_PURGED, HOUSEKEEPING_REDELIVERED, HOUSEKEEPING_ROUNDS,
        HOUSEKEEPING_SETTLED, Instrument, OLDEST_OPEN_TASK_AGE, OLDEST_PENDING_WEBHOOK_AGE, REGISTRY_DURATION,
        RESOLVE_DURATION, SETTLE_CONFLICTS, SIGNALS_DROPPED, TASKS_COUNTED, TASKS_OPEN, TASKS_SUBMITTED,
        WEBHOOK_ATTEMPT_DURATION, WEBHOOKS_ENDED,
    },
};
use handoff_proto::verbs::{self, VERBS};
use handoff_store::{CallOutcome, Event, Observer, OpenTasks, Transition, Watch, WebhookState};
use std::{
    collections::BTreeSet,
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use temporalio_common::telemetry::{
    TelemetryOptions,
    metrics::{
        CoreMeter, Counter, GaugeF64, HistogramDuration, MetricAttributes, MetricKeyValue, MetricParameters,
        NewAttributes, TemporalMeter,
    },
    telemetry_init,
};

/// What this process measures: nothing, unless it has an endpoint. Cheap to clone.
#[derive(Clone, Default)]
pub struct Metrics(Option<Arc<Inner>>);

struct Inner {
    endpoint: Endpoint,
    meter: Arc<dyn CoreMeter>,
    claims: Counter,
    call_duration: HistogramDuration,
    resolve_duration: HistogramDuration,
    decisions: Counter,
    decision_duration: HistogramDuration,
    tasks_submitted: Counter,
    completion_duration: HistogramDuration,
    signals_dropped: Counter,
    settle_conflicts: Counter,
    webhook_attempt_duration: HistogramDuration,
    webhooks_ended: Counter,
    oldest_pending_webhook_age: GaugeF64,
    registry_duration: HistogramDuration,
    tasks_open: GaugeF64,
    oldest_open_task_age: GaugeF64,
    tasks_counted: GaugeF64,
    housekeeping_rounds: Counter,
    housekeeping_settled: Counter,
    housekeeping_redelivered: Counter,
    housekeeping_purged: Counter,
    housekeeping_last_success: GaugeF64,
    /// Groups that a scrape shows: one that is empty now has to be shown as empty.
    shown: Mutex<BTreeSet<[String; 3]>>,
}

impl Metrics {
    /// Measures nothing, at no cost.
    pub fn off() -> Self {
        Self::default()
    }

    /// Serves `/metrics` on this address; without one only [`Metrics::render`] shows what is measured. Needs a Tokio runtime,
    /// which then serves.
    pub fn start(address: Option<SocketAddr>) -> Result<Self, EndpointError> {
        let (endpoint, meter) = Endpoint::start(address)?;
        let inner = Inner::new(endpoint, meter);
        inner.show_what_has_not_happened();
        Ok(Self(Some(Arc::new(inner))))
    }

    /// Where `/metrics` is served.
    pub fn address(&self) -> Option<SocketAddr> {
        self.0.as_ref().map(|inner| inner.endpoint.address)
    }

    /// What a scrape shows, in Prometheus's text format (`text/plain; version=0.0.4`): for a process that has an HTTP server
    /// already, and serves `/metrics` there.
    pub async fn render(&self) -> Result<String, EndpointError> {
        match &self.0 {
            Some(inner) => inner.endpoint.render().await,
            None => Err(EndpointError::Off),
        }
    }

    /// For the SDK's runtime, so that its instruments are beside these.
    pub fn core_meter(&self) -> Option<Arc<dyn CoreMeter>> {
        self.0.as_ref().map(|inner| inner.meter.clone())
    }

    /// For the SDK's connections, which prefix the names of their instruments.
    pub fn connection_meter(&self) -> Option<TemporalMeter> {
        let options = TelemetryOptions::builder().metrics(self.core_meter()?).attach_service_name(false).build();
        telemetry_init(options).ok()?.get_temporal_metric_meter()
    }

    /// For `RegistryOptions::watch`: what the registry writes, and how long it takes.
    pub fn watch(&self) -> Watch {
        match &self.0 {
            Some(inner) => Watch::by(inner.clone()),
            None => Watch::default(),
        }
    }

    /// A request claimed its key.
    pub fn claimed(&self, verb: &str, outcome: &'static str) {
        let Some(inner) = &self.0 else { return };
        inner.claims.add(1, &inner.labels(&CLAIMS, [known(verb), outcome]));
    }

    /// A buyer was answered.
    pub fn called(&self, verb: &str, outcome: &'static str, took: Duration) {
        let Some(inner) = &self.0 else { return };
        inner.call_duration.record(took, &inner.labels(&CALL_DURATION, [known(verb), outcome]));
    }

    /// A reviewer was answered.
    pub fn resolved(&self, outcome: &'static str, took: Duration) {
        let Some(inner) = &self.0 else { return };
        inner.resolve_duration.record(took, &inner.labels(&RESOLVE_DURATION, [outcome]));
    }

    /// A webhook was tried: `delivered`, or what went wrong in a word.
    pub fn webhook_attempted(&self, outcome: &'static str, took: Duration) {
        let Some(inner) = &self.0 else { return };
        inner.webhook_attempt_duration.record(took, &inner.labels(&WEBHOOK_ATTEMPT_DURATION, [outcome]));
    }

    /// A webhook came to an end.
    pub fn webhook_ended(&self, state: &'static str) {
        let Some(inner) = &self.0 else { return };
        inner.webhooks_ended.add(1, &inner.labels(&WEBHOOKS_ENDED, [state]));
    }

    /// The oldest webhook that is still tried was made then, in microseconds since 1970.
    pub(crate) fn oldest_pending_webhook(&self, created_at: Option<i64>, at: SystemTime) {
        let Some(inner) = &self.0 else { return };
        let now = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let age = created_at.map_or(Duration::ZERO, |created_at| {
            now.saturating_sub(Duration::from_micros(u64::try_from(created_at).unwrap_or(0)))
        });
        inner.oldest_pending_webhook_age.record(age.as_secs_f64(), &inner.labels(&OLDEST_PENDING_WEBHOOK_AGE, []));
    }

    /// What housekeeping does.
    pub fn housekeeping(&self) -> Housekeeping<'_> {
        Housekeeping(self.0.as_deref())
    }

    /// The open requests were counted.
    pub(crate) fn counted(&self, groups: &[OpenTasks], at: SystemTime) {
        let Some(inner) = &self.0 else { return };
        let now = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let names = |group: &OpenTasks| [known(&group.verb).to_owned(), group.arm.clone(), group.state.clone()];
        let Ok(mut shown) = inner.shown.lock() else { return };
        let gone: Vec<[String; 3]> =
            shown.iter().filter(|names_of| !groups.iter().any(|group| names(group) == **names_of)).cloned().collect();
        let present = groups.iter().map(|group| {
            let oldest = Duration::from_micros(u64::try_from(group.oldest).unwrap_or(0));
            // Counts are far below 2^53.
            #[allow(clippy::cast_precision_loss)]
            (names(group), group.count as f64, now.saturating_sub(oldest).as_secs_f64())
        });
        for (names, count, age) in present.chain(gone.into_iter().map(|names| (names, 0.0, 0.0))) {
            let labels = inner.labels(&TASKS_OPEN, names.each_ref().map(String::as_str));
            inner.tasks_open.record(count, &labels);
            inner.oldest_open_task_age.record(age, &labels);
            shown.insert(names);
        }
        inner.tasks_counted.record(now.as_secs_f64(), &inner.labels(&TASKS_COUNTED, []));
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("address", &self.address()).finish()
    }
}

/// Housekeeping's instruments.
#[derive(Clone, Copy)]
pub struct Housekeeping<'a>(Option<&'a Inner>);

impl Housekeeping<'_> {
    /// A round (`reconcile`, `redeliver`, `purge`, `forget`) ended, well or not.
    pub fn round(&self, round: &'static str, ok: bool) {
        let Some(inner) = self.0 else { return };
        let outcome = if ok { "ok" } else { "failed" };
        inner.housekeeping_rounds.add(1, &inner.labels(&HOUSEKEEPING_ROUNDS, [round, outcome]));
        if ok {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let labels = inner.labels(&HOUSEKEEPING_LAST_SUCCESS, [round]);
            inner.housekeeping_last_success.record(now.as_secs_f64(), &labels);
        }
    }

    /// Requests whose run was gone were ended: `settled`, `discarded` or `voided`.
    pub fn settled(&self, action: &'static str, number: u64) {
        let Some(inner) = self.0 else { return };
        inner.housekeeping_settled.add(number, &inner.labels(&HOUSEKEEPING_SETTLED, [action]));
    }

    /// Webhooks whose run was gone are told by another.
    pub fn redelivered(&self, number: u64) {
        let Some(inner) = self.0 else { return };
        inner.housekeeping_redelivered.add(number, &inner.labels(&HOUSEKEEPING_REDELIVERED, []));
    }

    /// Requests were purged.
    pub fn purged(&self, number: u64) {
        let Some(inner) = self.0 else { return };
        inner.housekeeping_purged.add(number, &inner.labels(&HOUSEKEEPING_PURGED, []));
    }
}

impl Inner {
    fn new(endpoint: Endpoint, meter: Arc<dyn CoreMeter>) -> Self {
        // The meter appends the suffixes itself, but to a gauge's name.
        let params = |instrument: &Instrument, suffix: &str| {
            let name = instrument.name.strip_suffix(suffix).unwrap_or(instrument.name);
            MetricParameters::builder().name(name.to_owned()).description(instrument.help).build()
        };
        let counter = |instrument| meter.counter(params(instrument, "_total"));
        let histogram = |instrument| meter.histogram_duration(params(instrument, "_seconds"));
        let gauge = |instrument: &Instrument| {
            meter.gauge_f64(MetricParameters::builder().name(instrument.name).description(instrument.help).build())
        };
        Self {
            claims: counter(&CLAIMS),
            call_duration: histogram(&CALL_DURATION),
            resolve_duration: histogram(&RESOLVE_DURATION),
            decisions: counter(&DECISIONS),
            decision_duration: histogram(&DECISION_DURATION),
            tasks_submitted: counter(&TASKS_SUBMITTED),
            completion_duration: histogram(&COMPLETION_DURATION),
            signals_dropped: counter(&SIGNALS_DROPPED),
            settle_conflicts: counter(&SETTLE_CONFLICTS),
            webhook_attempt_duration: histogram(&WEBHOOK_ATTEMPT_DURATION),
            webhooks_ended: counter(&WEBHOOKS_ENDED),
            oldest_pending_webhook_age: gauge(&OLDEST_PENDING_WEBHOOK_AGE),
            registry_duration: histogram(&REGISTRY_DURATION),
            tasks_open: gauge(&TASKS_OPEN),
            oldest_open_task_age: gauge(&OLDEST_OPEN_TASK_AGE),
            tasks_counted: gauge(&TASKS_COUNTED),
            housekeeping_rounds: counter(&HOUSEKEEPING_ROUNDS),
            housekeeping_settled: counter(&HOUSEKEEPING_SETTLED),
            housekeeping_redelivered: counter(&HOUSEKEEPING_REDELIVERED),
            housekeeping_purged: counter(&HOUSEKEEPING_PURGED),
            housekeeping_last_success: gauge(&HOUSEKEEPING_LAST_SUCCESS),
            shown: Mutex::default(),
            endpoint,
            meter,
        }
    }

    // A counter that appears with its first increment hides that increment from `increase()`.
    fn show_what_has_not_happened(&self) {
        for verb in VERBS {
            self.signals_dropped.add(0, &self.labels(&SIGNALS_DROPPED, [verb.name]));
            self.settle_conflicts.add(0, &self.labels(&SETTLE_CONFLICTS, [verb.name]));
        }
        for state in [WebhookState::Delivered, WebhookState::Stopped, WebhookState::Expired] {
            self.webhooks_ended.add(0, &self.labels(&WEBHOOKS_ENDED, [state.as_str()]));
        }
        let build = BUILD_INFO;
        let build_info =
            self.meter.gauge_f64(MetricParameters::builder().name(build.name).description(build.help).build());
        build_info.record(1.0, &self.labels(&build, [env!("CARGO_PKG_VERSION")]));
    }

    fn labels<const N: usize>(&self, instrument: &Instrument, values: [&str; N]) -> MetricAttributes {
        debug_assert_eq!(instrument.labels.len(), N, "{}", instrument.name);
        let labels = instrument.labels.iter().zip(values);
        let labels = labels.map(|(label, value)| MetricKeyValue::new(*label, value.to_owned()));
        self.meter.new_attributes(NewAttributes::new(labels.collect()))
    }
}

impl Observer for Inner {
    fn wrote(&self, transition: &Transition<'_>) {
        let (verb, arm) = (known(transition.verb), transition.arm.as_str());
        match transition.event {
            Event::Decided { decision, after } => {
                self.decisions.add(1, &self.labels(&DECISIONS, [verb, decision]));
                self.decision_duration.record(after, &self.labels(&DECISION_DURATION, [verb, arm]));
            }
            Event::Submitted => self.tasks_submitted.add(1, &self.labels(&TASKS_SUBMITTED, [verb, arm])),
            Event::Ended { state, after } => {
                self.completion_duration.record(after, &self.labels(&COMPLETION_DURATION, [verb, arm, state]));
            }
            Event::SignalsDropped { number } => {
                self.signals_dropped.add(number, &self.labels(&SIGNALS_DROPPED, [verb]));
            }
        }
    }

    fn called(&self, operation: &'static str, took: Duration, outcome: CallOutcome) {
        self.registry_duration.record(took, &self.labels(&REGISTRY_DURATION, [operation, outcome.as_str()]));
    }

    fn conflicted(&self, verb: &str) {
        self.settle_conflicts.add(1, &self.labels(&SETTLE_CONFLICTS, [known(verb)]));
    }
}

// Labels come from the table of verbs, whatever a row says.
fn known(verb: &str) -> &'static str {
    verbs::find(verb).map_or("other", |verb| verb.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use handoff_store::Arm;

    fn group(verb: &str, count: u64, oldest: u64) -> OpenTasks {
        let oldest = i64::try_from(oldest * 1_000_000).unwrap();
        OpenTasks { verb: verb.into(), arm: "workflow".into(), state: "submitted".into(), count, oldest }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_recorded_is_shown_under_its_name() {
        let metrics = Metrics::start(None).unwrap();
        metrics.claimed("create_media_buy", "new");
        metrics.called("create_media_buy", "completed", Duration::from_millis(20));
        metrics.resolved("accepted", Duration::from_millis(20));
        let inner = metrics.0.as_ref().unwrap();
        let wrote = |event| inner.wrote(&Transition { verb: "create_media_buy", arm: Arm::Task, event });
        wrote(Event::Decided { decision: "handoff_to_task", after: Duration::from_millis(30) });
        wrote(Event::Submitted);
        wrote(Event::Ended { state: "completed", after: Duration::from_secs(86_400) });
        wrote(Event::SignalsDropped { number: 3 });
        inner.conflicted("no_such_verb");
        Observer::called(&**inner, "claim", Duration::from_micros(700), CallOutcome::Ok);
        metrics.housekeeping().round("purge", true);
        metrics.housekeeping().settled("settled", 2);
        metrics.housekeeping().purged(5);
        metrics.housekeeping().redelivered(4);
        metrics.webhook_attempted("timeout", Duration::from_secs(10));
        metrics.webhook_ended("delivered");
        metrics.oldest_pending_webhook(Some(400_000_000), UNIX_EPOCH + Duration::from_secs(1_000));
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        metrics.counted(&[group("create_media_buy", 7, 400), group("get_products", 1, 999)], now);
        metrics.counted(&[group("get_products", 2, 990)], now);
        let text = metrics.render().await.unwrap();
        for line in [
            r#"handoff_claims_total{outcome="new",verb="create_media_buy"} 1"#,
            r#"handoff_call_duration_seconds_bucket{outcome="completed",verb="create_media_buy",le="0.025"} 1"#,
            r#"handoff_call_duration_seconds_bucket{outcome="completed",verb="create_media_buy",le="0.01"} 0"#,
            r#"handoff_resolve_duration_seconds_count{outcome="accepted"} 1"#,
            r#"handoff_decisions_total{decision="handoff_to_task",verb="create_media_buy"} 1"#,
            r#"handoff_completion_duration_seconds_sum{arm="task",state="completed",verb="create_media_buy"} 86400"#,
            r#"handoff_signals_dropped_total{verb="create_media_buy"} 3"#,
            r#"handoff_signals_dropped_total{verb="get_products"} 0"#,
            r#"handoff_settle_conflicts_total{verb="other"} 1"#,
            r#"handoff_registry_call_duration_seconds_bucket{operation="claim",outcome="ok",le="0.001"} 1"#,
            r#"handoff_tasks_open{arm="workflow",state="submitted",verb="create_media_buy"} 0"#,
            r#"handoff_tasks_open{arm="workflow",state="submitted",verb="get_products"} 2"#,
            r#"handoff_oldest_open_task_age_seconds{arm="workflow",state="submitted",verb="get_products"} 10"#,
            "handoff_tasks_counted_timestamp_seconds 1000",
            "handoff_housekeeping_purged_total 5",
            "handoff_housekeeping_redelivered_total 4",
            r#"handoff_webhook_attempt_duration_seconds_count{outcome="timeout"} 1"#,
            r#"handoff_webhooks_ended_total{state="delivered"} 1"#,
            r#"handoff_webhooks_ended_total{state="expired"} 0"#,
            "handoff_oldest_pending_webhook_age_seconds 600",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
        }
        // Everything in the list is recorded by somebody, and shown under the name that the list says.
        for instrument in crate::instruments::ALL {
            let help = format!("# HELP {} ", instrument.name);
            let kind = format!("# TYPE {} {}", instrument.name, instrument.kind.as_str());
            assert!(text.contains(&help) && text.contains(&kind), "{} is not in\n{text}", instrument.name);
        }
    }

    #[tokio::test]
    async fn metrics_that_are_off_do_nothing() {
        let metrics = Metrics::off();
        metrics.claimed("create_media_buy", "new");
        metrics.housekeeping().round("purge", true);
        assert!(metrics.address().is_none() && metrics.core_meter().is_none());
        assert!(matches!(metrics.render().await, Err(EndpointError::Off)));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_address_that_is_taken_is_named() {
        let first = Metrics::start(None).unwrap();
        let error = Metrics::start(first.address()).unwrap_err().to_string();
        assert!(error.contains("HANDOFF_METRICS_ADDRESS") && error.contains("127.0.0.1"), "{error}");
    }
}
