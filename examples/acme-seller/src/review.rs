//! Reviews: an enqueue handler files a ticket, and somebody at Acme decides on it, days later.

use crate::{
    Acme,
    order_book::{Key, Ledger},
    sandbox::{EnqueueFault, Knobs, Patience},
};
use chrono::{DateTime, Utc};
use handoff::prelude::*;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The longest that filing a ticket may take.
pub(crate) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Who at Acme decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Desk {
    /// Sales signs insertion orders.
    InsertionOrders,
    /// Ad policy looks at batches of creatives.
    Creatives,
    /// Whoever is there.
    Any,
}

impl Desk {
    /// The enqueue handler that files at this desk.
    pub fn handler(self) -> &'static str {
        match self {
            Self::InsertionOrders => "insertion_order_review",
            Self::Creatives => "creative_batch_review",
            Self::Any => "desk_review",
        }
    }

    pub(crate) fn patience(self) -> Patience {
        let days = match self {
            Self::InsertionOrders => 7,
            Self::Creatives | Self::Any => 2,
        };
        Patience { deadline: DAY * days, remind_after: Some(DAY), escalate_after: DAY * days / 2 + DAY / 2 }
    }
}

/// What a reviewer decides on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ticket {
    /// Who decides.
    pub desk: Desk,
    /// What it is about.
    pub subject: String,
    /// The result to complete the task with, if it is approved as it is.
    pub approve_with: Value,
    /// Until when the account's governance agent has approved it: after that, nobody at Acme can.
    #[serde(default)]
    pub(crate) approved_until: Option<DateTime<Utc>>,
    #[serde(default)]
    pub(crate) knobs: Knobs,
}

impl Ticket {
    pub(crate) fn new(desk: Desk, subject: impl Into<String>, approve_with: Value) -> Self {
        Self { desk, subject: subject.into(), approve_with, approved_until: None, knobs: Knobs::default() }
    }

    /// How long it may be decided on.
    pub(crate) fn deadline(&self, usual: Duration) -> Duration {
        let Some(until) = self.approved_until else { return usual };
        let left = (until - Utc::now()).to_std().unwrap_or_default();
        usual.min(left.max(Duration::from_secs(1)))
    }
}

/// The enqueue handler of all desks. Files once for each task, however often it is called.
pub(crate) async fn file(context: Context<Acme>, ticket: Ticket) -> Result<Acknowledgement, AdcpError> {
    let acme = context.state();
    let fault = ticket.knobs.enqueue;
    ticket.knobs.exit_at(acme, &context.task_id, "enqueue").await?;
    match fault {
        Some(EnqueueFault::Unable) => {
            return Ok(Acknowledgement::unable(AdcpError::correctable("PRODUCT_UNAVAILABLE", "The desk is closed.")));
        }
        Some(EnqueueFault::Error) => {
            return Err(AdcpError::correctable(
                "POLICY_VIOLATION",
                "Acme does not sign insertion orders of this kind.",
            ));
        }
        _ => {}
    }
    let key = Key::of(&[&context.task_id])?;
    let filed = json!({
        "task_id": context.task_id,
        "workflow_id": context.workflow_id,
        "verb": context.verb,
        "account": context.account,
        "principal": context.principal,
        "sandbox": context.sandbox,
        "desk": ticket.desk,
        "subject": ticket.subject,
        "approve_with": ticket.approve_with,
    });
    // An error would take the task back, although the ticket may have been filed; time that runs out leaves it open.
    while let Err(error) = acme.book.enter(Ledger::Reviews, key.clone(), filed.clone()).await {
        tracing::warn!(task_id = context.task_id, %error, "the ticket is not filed yet");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    ticket.knobs.exit_at(acme, &context.task_id, "enqueued").await?;
    match fault {
        Some(EnqueueFault::Slow) if context.attempt == 1 => tokio::time::sleep(2 * ATTEMPT_TIMEOUT).await,
        Some(EnqueueFault::PanicOnce) => assert!(context.attempt > 1, "the sandbox wants this attempt to panic"),
        _ => {}
    }
    Ok(Acknowledgement::wilco().info(format!("Filed with {}.", ticket.desk.handler())))
}
