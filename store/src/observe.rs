//! Watching a registry from outside: what it wrote, and how long that took.

use crate::rules::{Entry, Request};
use handoff_proto::v1::decision::Kind;
use std::{fmt, sync::Arc, time::Duration};

/// Is told what a registry did, after it did it. Must be quick: every call waits for it.
pub trait Observer: Send + Sync + 'static {
    /// A transition was committed. A step that runs again writes nothing, and tells nothing.
    fn wrote(&self, transition: &Transition<'_>);

    /// A call ended: after this long, and how.
    fn called(&self, operation: &'static str, took: Duration, outcome: CallOutcome);

    /// A settle found another end than its own recorded. A settle that runs again says so again.
    fn conflicted(&self, verb: &str);
}

/// How a call of a registry ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    /// It was done.
    Ok,
    /// The database was away, locked or too slow; the same call may succeed later.
    Unavailable,
    /// It was refused, or a stored value can't be read.
    Failed,
}

impl CallOutcome {
    /// As a label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unavailable => "unavailable",
            Self::Failed => "failed",
        }
    }
}

/// How a request is or was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arm {
    /// Nobody decided, yet or any more.
    Undecided,
    /// At once: a result or a refusal.
    Sync,
    /// By a task handler.
    Task,
    /// By a decision from outside.
    Workflow,
    /// By a decision that was made after the buyer had been told `submitted`.
    Late,
}

impl Arm {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Undecided, Self::Sync, Self::Task, Self::Workflow, Self::Late];

    /// As a label, and as the registry stores it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Undecided => "undecided",
            Self::Sync => "sync",
            Self::Task => "task",
            Self::Workflow => "workflow",
            Self::Late => "late",
        }
    }

    pub(crate) fn of(request: &Request) -> Self {
        match &request.journal {
            Some(Kind::HandoffToTask(_)) => Self::Task,
            Some(Kind::HandoffToWorkflow(_)) => Self::Workflow,
            _ if request.visible => Self::Late,
            Some(Kind::Complete(_) | Kind::Refuse(_)) => Self::Sync,
            Some(Kind::Void(_)) | None => Self::Undecided,
        }
    }
}

/// What changed about a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transition<'a> {
    /// The request's verb.
    pub verb: &'a str,
    /// How it is answered, as far as that is known after the change.
    pub arm: Arm,
    /// The change.
    pub event: Event,
}

/// A change that happens at most once in a request's life, but for dropped signals.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// The seller's decision was recorded, so long after the claim.
    Decided {
        /// complete, refuse, handoff_to_task or handoff_to_workflow.
        decision: &'static str,
        /// Since the claim.
        after: Duration,
    },
    /// The task became visible.
    Submitted,
    /// The request came to its end, so long after the claim.
    Ended {
        /// completed, failed, rejected, canceled, refused (nobody was told `submitted`) or unknown (its run was lost).
        state: &'static str,
        /// Since the claim.
        after: Duration,
    },
    /// Signals that could not be used were written down.
    SignalsDropped {
        /// How many that were not there before.
        number: u64,
    },
}

/// What two states of a row have between them. Only the history tells a seller's decision from a request that was taken back.
pub(crate) fn events(before: &Request, after: &Request, entries: &[Entry]) -> Vec<Event> {
    let mut events = Vec::new();
    let since_claim = |at: i64| Duration::from_micros(u64::try_from(at - after.created_at).unwrap_or(0));
    if entries.iter().any(|entry| entry.key == "registry.decided")
        && let Some(decision) = after.journal.as_ref().and_then(decision)
    {
        let at = after.decided_at.unwrap_or(after.updated_at);
        events.push(Event::Decided { decision, after: since_claim(at) });
    }
    if !before.visible && after.visible {
        events.push(Event::Submitted);
    }
    if before.stage().is_some() && after.stage().is_none() {
        let at = after.completed_at.unwrap_or(after.updated_at);
        events.push(Event::Ended { state: end(after), after: since_claim(at) });
    }
    events
}

fn decision(journal: &Kind) -> Option<&'static str> {
    match journal {
        Kind::Complete(_) => Some("complete"),
        Kind::HandoffToTask(_) => Some("handoff_to_task"),
        Kind::HandoffToWorkflow(_) => Some("handoff_to_workflow"),
        Kind::Refuse(_) => Some("refuse"),
        Kind::Void(_) => None,
    }
}

fn end(request: &Request) -> &'static str {
    match (request.status, &request.journal) {
        (Some(status), _) => status.as_str(),
        (None, Some(Kind::Complete(_))) => "completed",
        (None, Some(Kind::Refuse(_))) => "refused",
        _ => "unknown",
    }
}

/// Who watches, if anybody does.
#[derive(Clone, Default)]
pub struct Watch(Option<Arc<dyn Observer>>);

impl Watch {
    /// This one.
    pub fn by(observer: Arc<dyn Observer>) -> Self {
        Self(Some(observer))
    }

    pub(crate) fn observer(&self) -> Option<&Arc<dyn Observer>> {
        self.0.as_ref()
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Watch(somebody)" } else { "Watch(nobody)" })
    }
}
