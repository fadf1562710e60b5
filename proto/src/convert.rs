//! Between protobuf messages and the wire types.

use crate::{
    v1::{self, completion, decision},
    wire::{AdcpError, Recovery, TaskStatus, without_write_only},
};
use chrono::{DateTime, SecondsFormat, Utc};
use pbjson_types::Timestamp;
use serde_json::{Map, Value};
use std::time::Duration;

/// A time as AdCP writes it, in microseconds and UTC. `None` outside chrono's range.
pub fn rfc3339(time: &Timestamp) -> Option<String> {
    Some(to_datetime(time)?.to_rfc3339_opts(SecondsFormat::Micros, true))
}

/// A timestamp as a date and time. `None` outside chrono's range.
pub fn to_datetime(time: &Timestamp) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(time.seconds, u32::try_from(time.nanos).ok()?)
}

/// A date and time as a timestamp.
pub fn to_timestamp(time: DateTime<Utc>) -> Timestamp {
    Timestamp { seconds: time.timestamp(), nanos: i32::try_from(time.timestamp_subsec_nanos()).unwrap_or(0) }
}

/// A duration as protobuf has it; beyond its range the longest it has.
pub fn to_proto_duration(duration: Duration) -> pbjson_types::Duration {
    pbjson_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

/// A protobuf duration; a negative one is zero.
pub fn to_duration(duration: &pbjson_types::Duration) -> Duration {
    Duration::new(u64::try_from(duration.seconds).unwrap_or(0), u32::try_from(duration.nanos).unwrap_or(0))
}

impl v1::AdcpError {
    /// The wire form.
    pub fn to_wire(&self) -> AdcpError {
        AdcpError {
            code: self.code.clone(),
            message: self.message.clone(),
            recovery: match self.recovery.as_str() {
                "transient" => Recovery::Transient,
                "correctable" => Recovery::Correctable,
                _ => Recovery::Terminal,
            },
            field: non_empty(&self.field),
            suggestion: non_empty(&self.suggestion),
            retry_after: self.retry_after.map(|seconds| u16::try_from(seconds).unwrap_or(3600)),
            issues: serde_json::from_str(&self.issues_json).unwrap_or_default(),
            details: serde_json::from_str(&self.details_json).ok(),
        }
    }
}

impl v1::AdcpError {
    /// Without what the protocol marks write-only.
    #[must_use]
    pub fn without_write_only(self) -> Self {
        Self { details_json: without_write_only(self.details_json), ..self }
    }
}

impl From<&AdcpError> for v1::AdcpError {
    fn from(error: &AdcpError) -> Self {
        Self {
            code: error.code.clone(),
            message: error.message.clone(),
            recovery: error.recovery.as_str().to_owned(),
            field: error.field.as_deref().unwrap_or_default().to_owned(),
            suggestion: error.suggestion.as_deref().unwrap_or_default().to_owned(),
            retry_after: error.retry_after.map(u32::from),
            details_json: error.details.as_ref().map(|details| details.to_string()).unwrap_or_default(),
            issues_json: if error.issues.is_empty() {
                String::new()
            } else {
                serde_json::to_string(&error.issues).unwrap_or_default()
            },
        }
    }
}

impl From<AdcpError> for v1::AdcpError {
    fn from(error: AdcpError) -> Self {
        Self::from(&error)
    }
}

impl v1::Progress {
    /// The wire form: only what is known.
    pub fn to_wire(&self) -> Value {
        let mut wire = Map::new();
        if let Some(percentage) = self.percentage.and_then(serde_json::Number::from_f64) {
            wire.insert("percentage".into(), Value::Number(percentage));
        }
        if !self.current_step.is_empty() {
            wire.insert("current_step".into(), self.current_step.clone().into());
        }
        if let Some(total_steps) = self.total_steps {
            wire.insert("total_steps".into(), total_steps.into());
        }
        if let Some(step_number) = self.step_number {
            wire.insert("step_number".into(), step_number.into());
        }
        if !self.message.is_empty() {
            wire.insert("message".into(), self.message.clone().into());
        }
        Value::Object(wire)
    }
}

impl v1::TaskInput {
    /// The same with no more of the request than its `context`.
    #[must_use]
    pub fn with_context_only(&self) -> Self {
        let request: Value = serde_json::from_str(&self.request_json).unwrap_or_default();
        let kept = request.get("context").map(|context| Map::from_iter([("context".to_owned(), context.clone())]));
        Self {
            task: self.task.clone(),
            request_json: Value::Object(kept.unwrap_or_default()).to_string(),
            sync_deadline: self.sync_deadline,
            sandbox: self.sandbox,
            correlation_id: self.correlation_id.clone(),
            trace: self.trace.clone(),
            caller_keeps_sync_deadline: self.caller_keeps_sync_deadline,
        }
    }

    /// What ties logs and spans of the call together.
    pub fn call_context(&self) -> v1::CallContext {
        v1::CallContext {
            correlation_id: self.correlation_id.clone(),
            trace: self.trace.clone(),
            sandbox: self.sandbox,
        }
    }
}

impl v1::Decision {
    /// Without what the protocol marks write-only in what the buyer is told.
    #[must_use]
    pub fn without_write_only(self) -> Self {
        let kind = self.kind.map(|kind| match kind {
            decision::Kind::Complete(complete) => {
                decision::Kind::Complete(decision::Complete { result_json: without_write_only(complete.result_json) })
            }
            decision::Kind::Refuse(error) => decision::Kind::Refuse(error.without_write_only()),
            handed_off => handed_off,
        });
        Self { kind }
    }
}

impl v1::Completion {
    /// Without what the protocol marks write-only.
    #[must_use]
    pub fn without_write_only(self) -> Self {
        let outcome = self.outcome.map(|outcome| match outcome {
            completion::Outcome::ResultJson(result) => completion::Outcome::ResultJson(without_write_only(result)),
            completion::Outcome::Error(error) => completion::Outcome::Error(error.without_write_only()),
            cancellation => cancellation,
        });
        Self { outcome, ..self }
    }

    /// The task status that this decision leads to. A result with `status: rejected` rejects.
    pub fn status(&self) -> Option<TaskStatus> {
        Some(match self.outcome.as_ref()? {
            completion::Outcome::ResultJson(result) => {
                let rejected = serde_json::from_str::<Value>(result)
                    .is_ok_and(|result| result.get("status").and_then(Value::as_str) == Some("rejected"));
                if rejected { TaskStatus::Rejected } else { TaskStatus::Completed }
            }
            completion::Outcome::Error(_) => TaskStatus::Failed,
            completion::Outcome::Cancellation(_) => TaskStatus::Canceled,
        })
    }

    /// The settlement that recording this decision makes.
    pub fn to_settlement(&self) -> Option<v1::Settlement> {
        let mut settlement = v1::Settlement {
            status: self.status()?.to_string(),
            decision_id: self.decision_id.clone(),
            actor: self.actor.clone(),
            reason: self.reason.clone(),
            ..Default::default()
        };
        match self.outcome.as_ref()? {
            completion::Outcome::ResultJson(result) => settlement.result_json.clone_from(result),
            completion::Outcome::Error(error) => settlement.error = Some(error.clone()),
            completion::Outcome::Cancellation(_) => {}
        }
        Some(settlement)
    }
}

impl v1::HousekeepingSummary {
    /// Adds what another page saw and did.
    pub fn add(&mut self, other: &Self) {
        let oldest = |time: &Option<Timestamp>| time.as_ref().map(|time| (time.seconds, time.nanos));
        self.examined += other.examined;
        self.settled += other.settled;
        self.discarded += other.discarded;
        self.voided += other.voided;
        self.left += other.left;
        self.changed += other.changed;
        self.purged += other.purged;
        self.kept += other.kept;
        self.forgotten += other.forgotten;
        self.swept += other.swept;
        self.released += other.released;
        self.errors += other.errors;
        self.redelivered += other.redelivered;
        self.problems.extend(other.problems.iter().cloned());
        if other.oldest_left.is_some() {
            let is_older = self.oldest_left.is_none() || oldest(&other.oldest_left) < oldest(&self.oldest_left);
            self.oldest_left = if is_older { other.oldest_left } else { self.oldest_left };
        }
    }

    /// Something was written.
    pub fn wrote(&self) -> bool {
        let settled = self.settled + self.discarded + self.voided + self.redelivered;
        settled + self.purged + self.forgotten + self.swept + self.released > 0
    }
}

impl v1::Settlement {
    /// With the result's digest in place of the result.
    #[must_use]
    pub fn without_result(mut self) -> Self {
        self.result_digest = self.digest();
        self.result_json.clear();
        self
    }

    /// Equal by outcome and canonical result or error, never by who, why or when.
    pub fn same_outcome(&self, other: &Self) -> bool {
        self.status == other.status
            && self.digest() == other.digest()
            && match (&self.error, &other.error) {
                (Some(a), Some(b)) => {
                    crate::json::canonical(&a.to_wire().to_json()) == crate::json::canonical(&b.to_wire().to_json())
                }
                (None, None) => true,
                _ => false,
            }
    }

    // What has no canonical form is equal to itself alone.
    fn digest(&self) -> String {
        if self.result_json.is_empty() {
            return self.result_digest.clone();
        }
        let digest = serde_json::from_str(&self.result_json).ok().and_then(|result| crate::json::digest(&result).ok());
        digest.unwrap_or_else(|| self.result_json.clone())
    }
}

fn non_empty(text: &str) -> Option<Box<str>> {
    (!text.is_empty()).then(|| text.into())
}
