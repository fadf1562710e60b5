//! What a verb handler decides.

use handoff_proto::{
    convert::to_proto_duration,
    errors,
    limits::{MAX_HANDLER_INPUT_BYTES, MAX_RESULT_BYTES},
    v1::{self, decision::Kind, handoff_to_workflow::SandboxApproval},
    wire::{AdcpError, strip_write_only},
};
use serde::Serialize;
use std::time::Duration;

/// A verb handler's answer, besides an `AdcpError`.
#[derive(Clone, Debug)]
pub struct Decision(Arm);

#[derive(Clone, Debug)]
enum Arm {
    Complete(Body),
    Task {
        handler: String,
        input: Body,
    },
    Workflow {
        handler: String,
        input: Body,
        deadline: Option<Duration>,
        reminders: Vec<Duration>,
        escalate_after: Option<Duration>,
        sandbox_approval: Option<Body>,
    },
}

type Body = Result<String, String>;

impl Decision {
    /// Answers at once with this result.
    pub fn complete(result: impl Serialize) -> Self {
        Self(Arm::Complete(to_json(result)))
    }

    /// Has the named task handler do it; the buyer is told `submitted`.
    pub fn handoff_to_task(handler: impl Into<String>, input: impl Serialize) -> Self {
        Self(Arm::Task { handler: handler.into(), input: to_json(input) })
    }

    /// Calls the named enqueue handler, then waits for an external decision; the buyer is told `submitted`. Without a
    /// [`Decision::deadline`] the wait ends after 7 days.
    pub fn handoff_to_workflow(handler: impl Into<String>, input: impl Serialize) -> Self {
        Self(Arm::Workflow {
            handler: handler.into(),
            input: to_json(input),
            deadline: None,
            reminders: Vec::new(),
            escalate_after: None,
            sandbox_approval: None,
        })
    }

    /// How long to wait for the external decision before the task fails. Only for the workflow arm.
    #[must_use]
    pub fn deadline(mut self, after: Duration) -> Self {
        if let Arm::Workflow { deadline, .. } = &mut self.0 {
            *deadline = Some(after);
        }
        self
    }

    /// Notifies the handlers of `ReviewReminder` this long into the wait; may be called several times. Only for the workflow arm.
    #[must_use]
    pub fn remind_after(mut self, after: Duration) -> Self {
        if let Arm::Workflow { reminders, .. } = &mut self.0 {
            reminders.push(after);
        }
        self
    }

    /// Notifies the handlers of `ReviewOverdue` this long into the wait. Only for the workflow arm.
    #[must_use]
    pub fn escalate_after(mut self, after: Duration) -> Self {
        if let Arm::Workflow { escalate_after, .. } = &mut self.0 {
            *escalate_after = Some(after);
        }
        self
    }

    /// For a request in a sandbox account: what the decision is when nobody has decided for a while
    /// (`HANDOFF_SANDBOX_REVIEW_DELAY`), so that a buyer can test against a seller whose reviewers don't look there. To any other
    /// request it means nothing. Only for the workflow arm.
    #[must_use]
    pub fn sandbox_approval(mut self, result: impl Serialize) -> Self {
        if let Arm::Workflow { sandbox_approval, .. } = &mut self.0 {
            *sandbox_approval = Some(to_json(result));
        }
        self
    }

    pub(crate) fn prepare(self) -> Result<Prepared, AdcpError> {
        Ok(match self.0 {
            Arm::Complete(result) => Prepared::Complete(result_json(result)?),
            Arm::Task { handler, input } => {
                Prepared::Task(v1::HandoffToTask { handler, input_json: input_json(input)?, ..Default::default() })
            }
            Arm::Workflow { handler, input, deadline, reminders, escalate_after, sandbox_approval } => {
                let approval = sandbox_approval.map(result_json).transpose()?;
                Prepared::Workflow(v1::HandoffToWorkflow {
                    handler,
                    input_json: input_json(input)?,
                    deadline: deadline.map(to_proto_duration),
                    reminders: reminders.into_iter().map(to_proto_duration).collect(),
                    escalate_after: escalate_after.map(to_proto_duration),
                    sandbox_approval: approval.map(|result_json| SandboxApproval { result_json, after: None }),
                    ..Default::default()
                })
            }
        })
    }
}

/// A decision whose bodies are checked.
pub(crate) enum Prepared {
    Complete(String),
    Task(v1::HandoffToTask),
    Workflow(v1::HandoffToWorkflow),
}

impl Prepared {
    pub(crate) fn into_message(self) -> v1::Decision {
        let kind = match self {
            Self::Complete(result_json) => Kind::Complete(v1::decision::Complete { result_json }),
            Self::Task(handoff) => Kind::HandoffToTask(handoff),
            Self::Workflow(handoff) => Kind::HandoffToWorkflow(handoff),
        };
        v1::Decision { kind: Some(kind) }
    }
}

/// A seller's result as JSON text.
pub(crate) fn to_json(value: impl Serialize) -> Body {
    serde_json::to_string(&value).map_err(|error| error.to_string())
}

/// Checks that a result is an object within the limits and with a canonical form, and takes out what the protocol marks
/// write-only: what Temporal keeps and the schemas are asked about is what is recorded.
pub(crate) fn result_json(body: Body) -> Result<String, AdcpError> {
    let text = within(body, MAX_RESULT_BYTES)?;
    let mut value =
        handoff_proto::json::parse_object(text.as_bytes(), MAX_RESULT_BYTES).map_err(errors::result_invalid)?;
    handoff_proto::json::canonical(&value).map_err(errors::result_invalid)?;
    Ok(if strip_write_only(&mut value) { value.to_string() } else { text })
}

fn input_json(body: Body) -> Result<String, AdcpError> {
    within(body, MAX_HANDLER_INPUT_BYTES)
}

fn within(body: Body, limit: usize) -> Result<String, AdcpError> {
    let text = body.map_err(errors::result_invalid)?;
    if text.len() > limit {
        return Err(errors::result_too_large(text.len(), limit));
    }
    Ok(text)
}
