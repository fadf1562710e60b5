//! The knobs of Acme's sandbox: how its tests and the demo make things slow, flaky or deadly.
//!
//! A request of a sandbox account may carry them in `ext.acme_test`; in any other request they are ignored.
//!
//! | knob | what it does |
//! |---|---|
//! | `arm` | `"task"` or `"workflow"`: a plan to complete at once goes to the back office, or to a reviewer, instead; what the plan recorded stays recorded |
//! | `decide_delay_ms` | the verb handler takes this much longer |
//! | `decide_panics` | the verb handler panics on attempts up to this one; the first try of a quick handler counts as another attempt 1 |
//! | `book_delay_ms` | booking a line, or a step of a chore, takes this long |
//! | `fail_attempts` | attempts of the task handler up to this one fail, worth another attempt, after its first line |
//! | `panic_attempts` | attempts of the task handler up to this one panic after its first line |
//! | `fail_finally` | the task handler fails for good after its first line |
//! | `enqueue` | `"unable"`: the desk is closed. `"error"`: it answers an error. `"slow"`: the first attempt files the ticket and times out. `"panic_once"`: the first attempt files it and panics |
//! | `deadline_ms` | how long the reviewer has |
//! | `remind_after_ms` | when the reviewer is reminded |
//! | `escalate_after_ms` | when the review is overdue |
//! | `exit_at` | the process aborts, once for each task, at `"decide"`, `"authorized"`, `"decided"`, `"book_line_N"` (before line N), `"booked_line_N"` (after it), `"chore"`, `"enqueue"` or `"enqueued"` |

use crate::{
    Acme, Origin,
    order_book::{Key, Ledger},
};
use handoff::prelude::*;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The `ext` object of a request, as far as Acme knows it.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Ext {
    #[serde(default)]
    acme_test: Option<Value>,
}

impl Ext {
    /// The knobs, if the request is the sandbox's.
    pub fn knobs(&self, sandbox: bool) -> Result<Knobs, AdcpError> {
        match &self.acme_test {
            Some(knobs) if sandbox => serde_json::from_value(knobs.clone()).map_err(|error| {
                AdcpError::correctable("INVALID_REQUEST", format!("The sandbox has no such knob: {error}."))
                    .field("ext.acme_test")
            }),
            _ => Ok(Knobs::default()),
        }
    }
}

/// Which arm to take instead of completing at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arm {
    /// A task handler.
    Task,
    /// A reviewer.
    Workflow,
}

/// How filing a review goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnqueueFault {
    /// The desk is closed.
    Unable,
    /// It answers an error.
    Error,
    /// The first attempt files the ticket and times out.
    Slow,
    /// The first attempt files the ticket and panics.
    PanicOnce,
}

/// What the sandbox wants otherwise; see the module. Without any, everything is as in life.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "the module's table says what each knob does")]
pub struct Knobs {
    pub arm: Option<Arm>,
    pub decide_delay_ms: u64,
    pub decide_panics: u32,
    pub book_delay_ms: Option<u64>,
    pub fail_attempts: u32,
    pub panic_attempts: u32,
    pub fail_finally: bool,
    pub enqueue: Option<EnqueueFault>,
    pub deadline_ms: Option<u64>,
    pub remind_after_ms: Option<u64>,
    pub escalate_after_ms: Option<u64>,
    pub exit_at: Option<String>,
}

/// How long a review may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) deadline: Duration,
    pub(crate) remind_after: Option<Duration>,
    pub(crate) escalate_after: Duration,
}

impl Knobs {
    pub(crate) async fn before_deciding(&self, acme: &Acme, origin: &Origin, attempt: u32) -> Result<(), AdcpError> {
        tokio::time::sleep(Duration::from_millis(self.decide_delay_ms)).await;
        self.exit_at(acme, &origin.token, "decide").await?;
        assert!(attempt > self.decide_panics, "the sandbox wants attempt {attempt} to decide to panic");
        Ok(())
    }

    /// How an attempt of a task handler ends early, if the sandbox wants it to.
    pub(crate) fn fault(&self, attempt: u32) -> Result<(), AdcpError> {
        assert!(attempt > self.panic_attempts, "the sandbox wants attempt {attempt} to panic");
        if self.fail_finally {
            return Err(AdcpError::correctable(
                "PRODUCT_UNAVAILABLE",
                "The inventory was sold while it was being booked.",
            )
            .suggestion("Ask for other dates or another product."));
        }
        if attempt <= self.fail_attempts {
            return Err(AdcpError::transient("SERVICE_UNAVAILABLE", "Acme's order system is away.").retry_after(1));
        }
        Ok(())
    }

    pub(crate) fn delay(&self, usual: Duration) -> Duration {
        self.book_delay_ms.map_or(usual, Duration::from_millis)
    }

    pub(crate) fn patience(&self, usual: Patience) -> Patience {
        let or = |millis: Option<u64>, usual| millis.map(Duration::from_millis).or(usual);
        Patience {
            deadline: or(self.deadline_ms, None).unwrap_or(usual.deadline),
            remind_after: or(self.remind_after_ms, usual.remind_after),
            escalate_after: or(self.escalate_after_ms, None).unwrap_or(usual.escalate_after),
        }
    }

    /// Ends the process here, if the sandbox wants that and it has not happened to this task yet.
    pub(crate) async fn exit_at(&self, acme: &Acme, token: &str, point: &str) -> Result<(), AdcpError> {
        if self.exit_at.as_deref() != Some(point) {
            return Ok(());
        }
        let first = acme.book.enter(Ledger::Exits, Key::of(&[token, point])?, json!({"point": point})).await?.is_new();
        if first {
            tracing::warn!(token, point, "the sandbox ends this process");
            std::process::abort();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ext(knobs: Value) -> Ext {
        serde_json::from_value(json!({"acme_test": knobs, "other": 1})).unwrap()
    }

    #[test]
    fn live_requests_turn_no_knob() {
        assert_eq!(ext(json!({"exit_at": "decide"})).knobs(false).unwrap(), Knobs::default());
        assert_eq!(ext(json!("nonsense")).knobs(false).unwrap(), Knobs::default());
    }

    #[test]
    fn the_sandbox_names_a_knob_that_it_does_not_have() {
        let knobs = ext(json!({"fail_attempts": 2, "arm": "task", "enqueue": "panic_once"})).knobs(true).unwrap();
        assert_eq!((knobs.fail_attempts, knobs.arm), (2, Some(Arm::Task)));
        let error = ext(json!({"fail_atempts": 2})).knobs(true).unwrap_err();
        assert_eq!(error.field.as_deref(), Some("ext.acme_test"));
        assert!(error.message.contains("fail_atempts"), "{error}");
    }

    #[test]
    fn faults_end_with_the_attempts() {
        let knobs = Knobs { fail_attempts: 2, ..Knobs::default() };
        assert!(knobs.fault(2).unwrap_err().is_transient());
        assert_eq!(knobs.fault(3), Ok(()));
        assert!(!Knobs { fail_finally: true, ..Knobs::default() }.fault(9).unwrap_err().is_transient());
    }
}
