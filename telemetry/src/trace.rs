//! Traces: spans of calls and activities, and how a run belongs to the call that started it.
//!
//! A run has no process of its own, lasts days, and is replayed; so no span lives as long as it does. Its span is written once,
//! by the activity `begin`, under an id that follows from the run's id. Every other activity of the run, in whichever process,
//! computes the same id and puts itself below it.

use handoff_proto::v1::TraceContext;
use opentelemetry::{
    Context, KeyValue,
    propagation::TextMapPropagator,
    trace::{
        Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer,
    },
};
use opentelemetry_sdk::{
    propagation::TraceContextPropagator,
    trace::{IdGenerator, RandomIdGenerator},
};
use ring::digest::{SHA256, digest};
use std::{cell::Cell, collections::HashMap, time::SystemTime};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The target of spans that are exported; no others are, and no events. What such a span holds leaves the process.
pub const SPANS: &str = "handoff::span";

/// The current span's place in its trace, for whoever goes on with the work elsewhere. `None` when nothing is traced.
pub fn carry() -> Option<TraceContext> {
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut carrier);
    let traceparent = carrier.remove("traceparent")?;
    Some(TraceContext { traceparent, tracestate: carrier.remove("tracestate").unwrap_or_default() })
}

/// Puts a span, before it is entered, below what somebody else carried here. What can't be read changes nothing.
pub fn set_parent(span: &Span, carried: &TraceContext) {
    if let Some(parent) = read(carried) {
        // It fails where nothing is traced.
        let _ = span.set_parent(Context::new().with_remote_span_context(parent));
    }
}

/// Ties a span to another trace.
pub fn link(span: &Span, carried: &TraceContext) {
    if let Some(other) = read(carried) {
        span.add_link(other);
    }
}

/// A run of a workflow.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// What the call that started it carried; a run of a call that was not traced begins a trace of its own.
    pub carried: Option<&'a TraceContext>,
    /// Temporal's id of the run.
    pub run_id: &'a str,
}

impl Run<'_> {
    /// Puts an activity's span, before it is entered, below this run's.
    pub fn adopt(&self, span: &Span) {
        let _ = span.set_parent(Context::new().with_remote_span_context(self.place()));
    }

    /// Writes this run's span, with these attributes. If it is written again, it is under the same id.
    pub fn write(&self, name: String, began: SystemTime, attributes: Vec<KeyValue>) {
        let place = self.place();
        let parent = match self.carried.and_then(read) {
            Some(parent) => Context::new().with_remote_span_context(parent),
            None => Context::new(),
        };
        let builder = SpanBuilder::from_name(name)
            .with_kind(SpanKind::Consumer)
            .with_start_time(began)
            .with_attributes(attributes);
        let tracer = opentelemetry::global::tracer("handoff");
        NEXT.set(Some((place.trace_id(), place.span_id())));
        let mut span = tracer.build_with_context(builder, &parent);
        NEXT.set(None);
        span.end();
    }

    fn place(&self) -> SpanContext {
        let digest = digest(&SHA256, self.run_id.as_bytes());
        let bytes = digest.as_ref();
        let span_id = SpanId::from_bytes(first(bytes));
        match self.carried.and_then(read) {
            Some(parent) => {
                SpanContext::new(parent.trace_id(), span_id, parent.trace_flags(), true, parent.trace_state().clone())
            }
            None => {
                let trace_id = TraceId::from_bytes(first(&bytes[8..]));
                SpanContext::new(trace_id, span_id, TraceFlags::SAMPLED, true, TraceState::default())
            }
        }
    }
}

thread_local! {
    // What the next span on this thread is called; the builder of spans has no other way to say it.
    static NEXT: Cell<Option<(TraceId, SpanId)>> = const { Cell::new(None) };
}

/// Random ids, but for runs.
#[derive(Debug, Default)]
pub(crate) struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        NEXT.get().map_or_else(|| self.0.new_trace_id(), |(trace_id, _)| trace_id)
    }

    fn new_span_id(&self) -> SpanId {
        NEXT.get().map_or_else(|| self.0.new_span_id(), |(_, span_id)| span_id)
    }
}

fn read(carried: &TraceContext) -> Option<SpanContext> {
    let mut carrier = HashMap::from([("traceparent".to_owned(), carried.traceparent.clone())]);
    if !carried.tracestate.is_empty() {
        carrier.insert("tracestate".to_owned(), carried.tracestate.clone());
    }
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier);
    let place = context.span().span_context().clone();
    place.is_valid().then_some(place)
}

fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    std::array::from_fn(|index| bytes.get(index).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::trace::SdkTracerProvider;

    const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn carried(traceparent: &str) -> TraceContext {
        TraceContext { traceparent: traceparent.into(), tracestate: "vendor=1".into() }
    }

    #[test]
    fn a_run_has_one_id_everywhere_within_the_trace_of_its_call() {
        let call = carried(TRACEPARENT);
        let run = Run { carried: Some(&call), run_id: "run-1" };
        let place = run.place();
        assert_eq!(place, Run { carried: Some(&call), run_id: "run-1" }.place());
        assert_eq!(place.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_ne!(place.span_id().to_string(), "00f067aa0ba902b7");
        assert_eq!(place.trace_state().get("vendor"), Some("1"));
        assert_ne!(place.span_id(), Run { carried: Some(&call), run_id: "run-2" }.place().span_id());
        // A caller that does not record its trace keeps ours from being recorded, too.
        let unsampled = carried(&TRACEPARENT.replace("-01", "-00"));
        assert!(!Run { carried: Some(&unsampled), run_id: "run-1" }.place().is_sampled());
    }

    #[test]
    fn what_cannot_be_read_begins_a_trace_of_its_own() {
        for bad in ["", "00", "00-0-0-01", &TRACEPARENT.replace("00f0", "zzzz"), &"x".repeat(10_000)] {
            let call = carried(bad);
            let place = Run { carried: Some(&call), run_id: "run-1" }.place();
            assert_eq!(place, Run { carried: None, run_id: "run-1" }.place(), "{bad}");
            assert!(place.is_valid() && place.is_sampled());
        }
    }

    #[test]
    fn only_a_runs_span_gets_a_fixed_id() {
        let tracer = SdkTracerProvider::builder().with_id_generator(Ids::default()).build().tracer("test");
        let ids = || {
            let span = tracer.build_with_context(SpanBuilder::from_name("span"), &Context::new());
            (span.span_context().trace_id(), span.span_context().span_id())
        };
        let fixed = (TraceId::from(7_u128), SpanId::from(9_u64));
        NEXT.set(Some(fixed));
        assert_eq!(ids(), fixed);
        NEXT.set(None);
        assert_ne!(ids(), fixed);
        assert_ne!(ids(), ids());
    }
}
