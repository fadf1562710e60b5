//! What every activity is logged and traced with.

use handoff_proto::v1::{CallContext, TaskInput, TaskRef};
use handoff_telemetry::{SPANS, trace::Run};
use opentelemetry::KeyValue;
use std::time::SystemTime;
use temporalio_sdk::activities::{ActivityError, ActivityInfo};
use tracing::{Instrument, Span, field::Empty};

/// One attempt of an activity, and the run that it belongs to.
pub(super) struct Spans {
    task: TaskRef,
    call: CallContext,
    workflow_id: String,
    run_id: String,
    span: Span,
}

impl Spans {
    /// Of an activity that is given the call's input.
    pub(super) fn of_input(info: &ActivityInfo, input: Option<&TaskInput>) -> Self {
        let call = input.map(TaskInput::call_context);
        Self::new(info, input.and_then(|input| input.task.as_ref()), call.as_ref())
    }

    /// What is missing, because another build left it out, stays empty.
    pub(super) fn new(info: &ActivityInfo, task: Option<&TaskRef>, call: Option<&CallContext>) -> Self {
        let (task, call) = (task.cloned().unwrap_or_default(), call.cloned().unwrap_or_default());
        let workflow_id = info.workflow_id.clone().unwrap_or_default();
        let run_id = info.workflow_run_id.clone().unwrap_or_default();
        // As an error, it is there whatever the filter says; it logs nothing by itself.
        let span = tracing::error_span!(
            target: SPANS,
            "activity",
            otel.name = info.activity_type,
            otel.status_code = Empty,
            activity = info.activity_type,
            task_id = task.task_id,
            scope = task.scope,
            verb = task.verb,
            workflow_id,
            run_id,
            attempt = info.attempt,
            correlation_id = call.correlation_id,
        );
        let spans = Self { task, call, workflow_id, run_id, span };
        spans.run().adopt(&spans.span);
        spans
    }

    /// Writes the run's own span, which this activity is the first part of.
    pub(super) fn write_run(&self, began: SystemTime) {
        let attributes = [
            ("task_id", &self.task.task_id),
            ("scope", &self.task.scope),
            ("verb", &self.task.verb),
            ("workflow_id", &self.workflow_id),
            ("run_id", &self.run_id),
            ("correlation_id", &self.call.correlation_id),
        ];
        let attributes = attributes.map(|(name, value)| KeyValue::new(name, value.clone()));
        self.run().write(format!("run {}", self.task.verb), began, attributes.to_vec());
    }

    /// Does the activity's work inside its span.
    pub(super) async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, ActivityError>>,
    ) -> Result<T, ActivityError> {
        let result = work.instrument(self.span.clone()).await;
        if result.is_err() {
            // Without its text, which may be the seller's.
            self.span.record("otel.status_code", "ERROR");
        }
        result
    }

    fn run(&self) -> Run<'_> {
        Run { carried: self.call.trace.as_ref(), run_id: &self.run_id }
    }
}
