//! What happens between two states, for traces, invariants and the replay.

use crate::state::{Decision, End, Journal, Key, Run, Word};
use std::fmt;

/// One SQL commit, one call of a handler, or one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Claim { client: u8, key: Key },
    Attach { client: u8, key: Key },
    Replay { client: u8, key: Key, told: Word },
    Expired { client: u8 },
    StartRun { client: u8, key: Key },
    JoinRun { client: u8, key: Key },
    RetryDecide { key: Key },
    SyncDeadline { key: Key },
    RetryEnqueue { key: Key },
    RetryTask { key: Key },
    External { key: Key, end: End, during: Run },
    Terminate { key: Key },
    Cancel { key: Key },
    Deliver { key: Key, told: Word },
    Observe { key: Key, run: Run },
    Reconcile { key: Key, changed: bool },
    TtlPasses { key: Key },
    Purge { key: Key },
    Execution { id: u8, key: Key, did: Did },
}

/// What an execution did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Did {
    BeginFinds(Journal),
    BeginVoid,
    BeginProposalBusy,
    Begin,
    ReserveStopped,
    Reserve,
    ReserveConflict,
    CallHandler(Decision),
    RecordFinds { journal: Journal, asked: Decision },
    RecordVoid { asked: Decision },
    RecordEnded { asked: Decision },
    Record(Decision),
    Accept { writes: bool },
    Wilco { accepts: bool },
    Unable,
    UnableDiscards,
    Report,
    FinishTask(End),
    Settle { end: End, again: bool },
    Discard,
}

impl Did {
    /// The activity that did it.
    pub(crate) fn activity(self) -> &'static str {
        match self {
            Self::Accept { .. } => "accept",
            Self::Wilco { .. } | Self::Unable | Self::UnableDiscards => "enqueue",
            Self::Report | Self::FinishTask(_) => "run_task",
            Self::Settle { .. } => "settle",
            Self::Discard => "discard",
            _ => "decide",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Claim { client, key } => write!(f, "client {client} claims {key}"),
            Self::Attach { client, key } => write!(f, "client {client} attaches to {key}"),
            Self::Replay { client, key, told } => write!(f, "client {client} is told {told:?} of {key}"),
            Self::Expired { client } => write!(f, "client {client} is told that the key expired"),
            Self::StartRun { client, key } => write!(f, "client {client} starts the run of {key}"),
            Self::JoinRun { client, key } => write!(f, "client {client} joins the run of {key}"),
            Self::RetryDecide { key } => write!(f, "decide {key} is retried beside a paused attempt"),
            Self::SyncDeadline { key } => write!(f, "the sync deadline of {key} passes: accept is scheduled"),
            Self::RetryEnqueue { key } => write!(f, "enqueue {key} is retried beside a paused attempt"),
            Self::RetryTask { key } => write!(f, "run_task {key} is retried beside a paused attempt"),
            Self::External { key, end, during } => write!(f, "a reviewer says {end:?} of {key} while {during:?}"),
            Self::Terminate { key } => write!(f, "an operator terminates {key}"),
            Self::Cancel { key } => write!(f, "{key} is cancelled"),
            Self::Deliver { key, told } => write!(f, "webhook {told:?} of {key} is delivered, the run closes"),
            Self::Observe { key, run } => write!(f, "reconcile sees {key}, its run is {run:?}"),
            Self::Reconcile { key, changed: false } => write!(f, "reconcile acts on {key}"),
            Self::Reconcile { key, changed: true } => write!(f, "reconcile finds {key} changed"),
            Self::TtlPasses { key } => write!(f, "the TTL of the key, held by {key}, passes"),
            Self::Purge { key } => write!(f, "{key} is purged"),
            Self::Execution { id, key, did } => write!(f, "{}#{id} {key}: {did:?}", did.activity()),
        }
    }
}
