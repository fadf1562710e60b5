//! What each transaction does to a request. No SQL, no I/O, no clock of its own: a rule takes the row as it was locked
//! and the moment, changes the row, and says what is to be answered. Both databases run exactly these rules.
//!
//! Invariants (`reference/model/verb_life.py` has what breaks without them):
//! - A journal that holds anything is never written again; a task that ended stays as it ended.
//! - A recorded answer never changes.
//! - The proposal that a request names is consumed or released by the transaction that ends the request.
//! - Only a claim in flight or answered belongs to its task; any other closes the journal to it.

pub(crate) mod claim;
pub(crate) mod decide;
pub(crate) mod direct;
pub(crate) mod finish;
pub(crate) mod maintain;
pub(crate) mod proposals;
pub(crate) mod purchase;
mod request;
pub(crate) mod sandbox;

pub(crate) use request::{ClaimState, Request};

use handoff_proto::v1::HistoryEntry;
use std::borrow::Cow;

/// One transaction's moment, and the history that it leaves.
pub(crate) struct Step {
    /// Microseconds since 1970.
    pub(crate) now: i64,
    /// How long a claim lasts once its end is recorded, in microseconds.
    pub(crate) replay_ttl: i64,
    pub(crate) entries: Vec<Entry>,
    /// The history so far is to be deleted.
    pub(crate) forgets: bool,
    pub(crate) ledger: purchase::Ledger,
}

/// A line of history about to be appended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// Unique within the task: an entry whose key is there already is not written again.
    pub(crate) key: Cow<'static, str>,
    pub(crate) at: i64,
    pub(crate) event: String,
    pub(crate) status: String,
    pub(crate) actor: String,
    pub(crate) reason: String,
    pub(crate) detail_json: String,
}

impl Entry {
    /// An entry that a caller brought; without a time of its own it gets `now`.
    pub(crate) fn brought(key: &str, entry: &HistoryEntry, now: i64) -> Self {
        let at = entry.at.as_ref().and_then(handoff_proto::convert::to_datetime).map(|at| at.timestamp_micros());
        let text = |text: &String| request::storable(text.clone()).unwrap_or_default();
        Self {
            key: text(&key.to_owned()).into(),
            at: at.unwrap_or(now),
            event: text(&entry.event),
            status: text(&entry.status),
            actor: text(&entry.actor),
            reason: text(&entry.reason),
            detail_json: text(&entry.detail_json),
        }
    }
}

impl Step {
    pub(crate) fn new(now: i64, replay_ttl: i64) -> Self {
        Self { now, replay_ttl, entries: Vec::new(), forgets: false, ledger: purchase::Ledger::default() }
    }

    /// When a claim ends whose end is recorded now.
    fn expiry(&self) -> i64 {
        self.now.saturating_add(self.replay_ttl)
    }

    /// Appends a transition. Each happens at most once in a request's life, so the event itself makes the key; the
    /// prefix keeps it apart from keys that callers choose.
    fn log(&mut self, request: &Request, event: &'static str) -> &mut Entry {
        self.entries.push(Entry {
            key: format!("registry.{event}").into(),
            at: self.now,
            event: event.to_owned(),
            status: request.visible_status().map(|status| status.to_string()).unwrap_or_default(),
            actor: String::new(),
            reason: String::new(),
            detail_json: String::new(),
        });
        let last = self.entries.len() - 1;
        &mut self.entries[last]
    }
}
