//! External decisions on waiting tasks: complete, fail, cancel.

mod deliver;

use crate::{Error, Handoff};
use deliver::Delivery;
use handoff_proto::{
    completion,
    ids::OUTCOME_UPDATE_ID,
    limits::MAX_ENCODED_BYTES,
    v1::{Completion, Settlement, TaskRef, decision::Kind},
};
use handoff_store::Viewer;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tracing::{Instrument, Span, field::Empty};

// It becomes an update id.
const MAX_DECISION_ID_BYTES: usize = 255;
// A connection to the registry that breaks is replaced at once; a registry that is away longer is for the caller to wait for.
const REGISTRY_PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(500)];

/// What became of a decision.
#[derive(Clone, Debug, PartialEq)]
pub enum Resolved {
    /// It is the task's end, now or since this same decision was sent before.
    Accepted {
        /// The task's end.
        recorded: Settlement,
    },
    /// The task had ended in the same way by another's decision.
    Duplicate {
        /// The task's end.
        recorded: Settlement,
    },
    /// The task had ended otherwise, or could not be ended as decided; nothing was changed.
    Conflict {
        /// The task's end.
        recorded: Settlement,
    },
    /// It can't be used; nothing was changed.
    Invalid {
        /// Why.
        message: String,
    },
    /// It is recorded in Temporal and applies as soon as a worker takes it up; it is not settled yet.
    Recorded {
        /// Sending the decision again with this id is safe.
        decision_id: String,
    },
    /// No such task for this viewer.
    NotFound,
}

impl Resolved {
    /// In a word.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Accepted { .. } => "accepted",
            Self::Duplicate { .. } => "duplicate",
            Self::Conflict { .. } => "conflict",
            Self::Invalid { .. } => "invalid",
            Self::Recorded { .. } => "recorded",
            Self::NotFound => "not_found",
        }
    }
}

impl Handoff {
    /// Sends a decision to a waiting task, and waits until it is settled; while no worker answers it is recorded instead. A
    /// buyer decides nothing: to a [`Viewer::Buyer`] there is no such task. Without the keys of what is stored of the task nothing
    /// is sent ([`Error::lacks_keys`]).
    pub async fn resolve(&self, viewer: &Viewer, task_id: &str, completion: Completion) -> Result<Resolved, Error> {
        let began = Instant::now();
        let span = tracing::error_span!(
            target: handoff_telemetry::SPANS,
            "resolve",
            otel.kind = "client",
            otel.status_code = Empty,
            task_id = Empty,
            scope = Empty,
            verb = Empty,
            workflow_id = Empty,
            outcome = Empty,
        );
        let resolved = self.resolve_within(viewer, task_id, completion).instrument(span.clone()).await;
        let outcome = match &resolved {
            Ok(resolved) => resolved.as_str(),
            Err(_) => "failed",
        };
        span.record("outcome", outcome);
        if resolved.is_err() {
            span.record("otel.status_code", "ERROR");
        }
        self.config().metrics.resolved(outcome, began.elapsed());
        resolved
    }

    async fn resolve_within(&self, viewer: &Viewer, task_id: &str, completion: Completion) -> Result<Resolved, Error> {
        let completion = match prepare(completion) {
            Ok(completion) => completion,
            Err(message) => return Ok(Resolved::Invalid { message }),
        };
        if matches!(viewer, Viewer::Buyer { .. }) {
            return Ok(Resolved::NotFound);
        }
        let mut pauses = REGISTRY_PAUSES.into_iter();
        loop {
            // The decision's id makes it the same one each time.
            match self.resolve_once(viewer, task_id, &completion).await {
                Err(Error::Registry(error)) if error.is_transient() => match pauses.next() {
                    Some(pause) => sleep(pause).await,
                    None => return Err(error.into()),
                },
                resolved => return resolved,
            }
        }
    }

    async fn resolve_once(&self, viewer: &Viewer, task_id: &str, completion: &Completion) -> Result<Resolved, Error> {
        let Some(task) = self.registry().find(viewer, task_id).await? else { return Ok(Resolved::NotFound) };
        // What somebody typed as an id is none until it is found.
        let span = Span::current();
        span.record("task_id", &task.task_id).record("scope", &task.scope).record("verb", &task.verb);
        span.record("workflow_id", task.workflow_id());
        // Opens what is sealed of the request: who can't read it decides nothing on it.
        let standing = self.registry().standing(&task).await?;
        if let Some(recorded) = standing.settlement {
            return Ok(verdict(recorded, completion));
        }
        if standing.decision.is_none() && !standing.submitted {
            // Of an undecided request the registry may hold nothing that is sealed.
            self.check_run_opens(&task).await?;
        }
        match self.deliver(&task, completion).await? {
            // The run knows the end without its result; the registry has it whole.
            Delivery::Settled(recorded) => Ok(verdict(self.settlement(&task).await?.unwrap_or(*recorded), completion)),
            Delivery::Refused(message) => match self.settlement(&task).await? {
                Some(recorded) => Ok(verdict(recorded, completion)),
                None => Ok(Resolved::Invalid { message }),
            },
            Delivery::Recorded => Ok(Resolved::Recorded { decision_id: completion.decision_id.clone() }),
            Delivery::RunGone => self.without_run(&task, completion).await,
        }
    }

    async fn settlement(&self, task: &TaskRef) -> Result<Option<Settlement>, Error> {
        Ok(self.registry().standing(task).await?.settlement)
    }

    // The run is over, or never began: only the registry knows what became of the request.
    async fn without_run(&self, task: &TaskRef, completion: &Completion) -> Result<Resolved, Error> {
        let standing = self.registry().standing(task).await?;
        if let Some(recorded) = standing.settlement {
            return Ok(verdict(recorded, completion));
        }
        let message = match standing.decision.and_then(|decision| decision.kind) {
            Some(Kind::Complete(_)) => "the request was answered at once; there is no task to decide on",
            Some(Kind::Refuse(_)) => "the request was refused; there is no task to decide on",
            Some(Kind::Void(_)) => "the request was taken back; there is no task to decide on",
            Some(Kind::HandoffToTask(_) | Kind::HandoffToWorkflow(_)) | None => {
                return Err(Error::RunGone { task_id: task.task_id.clone() });
            }
        };
        Ok(Resolved::Invalid { message: message.to_owned() })
    }
}

fn prepare(mut completion: Completion) -> Result<Completion, String> {
    if completion.decision_id.is_empty() {
        completion.decision_id = uuid::Uuid::now_v7().to_string();
    }
    let id = &completion.decision_id;
    if id.len() > MAX_DECISION_ID_BYTES || id.chars().any(char::is_control) || id == OUTCOME_UPDATE_ID {
        return Err(format!(
            "decision_id must be at most {MAX_DECISION_ID_BYTES} bytes without control characters, and not {OUTCOME_UPDATE_ID:?}"
        ));
    }
    let completion = completion::check(completion).map_err(|error| error.0)?;
    match serde_json::to_vec(&completion) {
        Ok(encoded) if encoded.len() <= MAX_ENCODED_BYTES => Ok(completion),
        Ok(encoded) => Err(format!("{} bytes when encoded, at most {MAX_ENCODED_BYTES} are allowed", encoded.len())),
        Err(error) => Err(error.to_string()),
    }
}

/// How a decision fared against the task's recorded end.
fn verdict(recorded: Settlement, completion: &Completion) -> Resolved {
    match completion.to_settlement() {
        Some(ours) if recorded.same_outcome(&ours) => {
            if recorded.decision_id == completion.decision_id {
                Resolved::Accepted { recorded }
            } else {
                Resolved::Duplicate { recorded }
            }
        }
        _ => Resolved::Conflict { recorded },
    }
}

#[cfg(test)]
mod tests;
