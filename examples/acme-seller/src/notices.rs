//! What follows when a task ends or waits too long: people at Acme are told, and the order book is brought in line.

use crate::{
    Acme, Origin, booking, creatives,
    media_buy::{self, Change},
    order_book::{Entered, Key, Ledger},
};
use async_trait::async_trait;
use handoff::{
    prelude::*,
    seller::{Handler, TaskSummary},
};
use serde::Deserialize;

/// Writes a line for each condition of a task, once, and does what the condition asks for.
#[derive(Clone, Debug)]
pub struct NoticeBoard {
    acme: Acme,
}

impl NoticeBoard {
    /// Acme's.
    pub fn new(acme: Acme) -> Self {
        Self { acme }
    }

    /// Writes a line, once for each task and condition.
    pub async fn pin(&self, task: &TaskSummary, condition: &str, text: String) -> Result<(), AdcpError> {
        let line = json!({
            "condition": condition,
            "task_id": task.task_id,
            "verb": task.verb,
            "account": task.account,
            "sandbox": task.sandbox,
            "text": text,
        });
        self.acme.book.enter(Ledger::Notices, Key::of(&[&task.task_id, condition])?, line).await?;
        Ok(())
    }

    /// Brings the order book in line with what the buyer was told, whoever completed the task.
    pub async fn carry_out(&self, task: &TaskSummary, result: &Value) -> Result<(), AdcpError> {
        let origin = origin(task);
        match task.verb.as_str() {
            "create_media_buy" => {
                media_buy::enter(&self.acme, &origin.account, &origin.token, result.clone()).await?;
            }
            "update_media_buy" => self.amend(&origin, result).await?,
            "sync_creatives" => creatives::take(&self.acme, &origin, result).await?,
            _ => {}
        }
        Ok(())
    }

    /// Takes back what a request booked that did not come to a media buy.
    pub async fn take_back(&self, task: &TaskSummary) -> Result<(), AdcpError> {
        if task.verb == "create_media_buy" {
            booking::release(&self.acme, &task.task_id).await?;
            media_buy::undo(&self.acme, &origin(task)).await?;
        }
        Ok(())
    }

    async fn amend(&self, origin: &Origin, result: &Value) -> Result<(), AdcpError> {
        #[derive(Deserialize)]
        struct Told {
            media_buy_id: String,
            #[serde(default)]
            media_buy_status: Option<String>,
            #[serde(default)]
            affected_packages: Vec<media_buy::Package>,
        }
        let told: Told = serde_json::from_value(result.clone()).map_err(|error| media_buy::unreadable(&error))?;
        loop {
            let found = media_buy::find(&self.acme, &origin.account, &told.media_buy_id).await?;
            let Some((media_buy, changes)) = found else { return Ok(()) };
            if changes.iter().any(|change| change.token == origin.token) {
                return Ok(());
            }
            let mut packages = media_buy.packages;
            for package in &mut packages {
                if let Some(told) = told.affected_packages.iter().find(|told| told.package_id == package.package_id) {
                    *package = told.clone();
                }
            }
            let change = Change {
                token: origin.token.clone(),
                media_buy_status: told.media_buy_status.clone().unwrap_or(media_buy.media_buy_status),
                revision: media_buy.revision + 1,
                packages,
                result: result.clone(),
            };
            let entered = media_buy::enter_change(&self.acme, &origin.account, &told.media_buy_id, change).await?;
            if let Entered::New(_) = entered {
                return Ok(());
            }
        }
    }
}

fn origin(task: &TaskSummary) -> Origin {
    Origin {
        account: task.account.clone(),
        principal: task.principal.clone(),
        token: task.task_id.clone(),
        sandbox: task.sandbox,
    }
}

fn acknowledge(result: Result<(), AdcpError>) -> Acknowledgement {
    match result {
        Ok(()) => Acknowledgement::wilco(),
        Err(error) => Acknowledgement::unable(error),
    }
}

#[async_trait]
impl Handler<TaskCompleted> for NoticeBoard {
    async fn handle(&self, TaskCompleted { task, result }: TaskCompleted) -> Acknowledgement {
        let text = format!("{} is done.", task.verb);
        let told = self.pin(&task, "task_completed", text).await;
        acknowledge(told.and(self.carry_out(&task, &result).await))
    }
}

#[async_trait]
impl Handler<TaskFailed> for NoticeBoard {
    async fn handle(&self, TaskFailed { task, error }: TaskFailed) -> Acknowledgement {
        let text = format!("{} failed: {error}.", task.verb);
        let told = self.pin(&task, "task_failed", text).await;
        acknowledge(told.and(self.take_back(&task).await))
    }
}

#[async_trait]
impl Handler<TaskRejected> for NoticeBoard {
    async fn handle(&self, TaskRejected { task, .. }: TaskRejected) -> Acknowledgement {
        let text = format!("{} was rejected.", task.verb);
        acknowledge(self.pin(&task, "task_rejected", text).await)
    }
}

#[async_trait]
impl Handler<TaskCanceled> for NoticeBoard {
    async fn handle(&self, TaskCanceled { task, actor, reason }: TaskCanceled) -> Acknowledgement {
        let text = format!("{} was canceled by {actor}: {reason}.", task.verb);
        let told = self.pin(&task, "task_canceled", text).await;
        acknowledge(told.and(self.take_back(&task).await))
    }
}

#[async_trait]
impl Handler<ReviewReminder> for NoticeBoard {
    async fn handle(&self, ReviewReminder { task, number, .. }: ReviewReminder) -> Acknowledgement {
        let text = format!("{} still waits for its review.", task.verb);
        acknowledge(self.pin(&task, &format!("review_reminder_{number}"), text).await)
    }
}

#[async_trait]
impl Handler<ReviewOverdue> for NoticeBoard {
    async fn handle(&self, ReviewOverdue { task, deadline }: ReviewOverdue) -> Acknowledgement {
        let by = deadline.map(|deadline| format!(" It fails at {deadline}.")).unwrap_or_default();
        let text = format!("The review of {} is overdue.{by}", task.verb);
        acknowledge(self.pin(&task, "review_overdue", text).await)
    }
}

#[async_trait]
impl Handler<DecisionDiscarded> for NoticeBoard {
    async fn handle(&self, DecisionDiscarded { task, .. }: DecisionDiscarded) -> Acknowledgement {
        let text = format!("What was decided about {} came too late.", task.verb);
        let told = self.pin(&task, "decision_discarded", text).await;
        acknowledge(told.and(self.take_back(&task).await))
    }
}
