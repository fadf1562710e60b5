//! Telling webhooks how far tasks are: by the process that hears of it, each time in one attempt, and never after the end.

use super::webhooks::{AT_ONCE, registered};
use handoff_proto::{limits::NOTIFICATION_TIME, v1::TaskRef};
use handoff_store::{Notification, Registry, RegistryError};
use handoff_telemetry::Metrics;
use handoff_webhooks::{Attempt, ErrorClass, Lanes, Sender};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};
use tokio::time::Instant;

/// Sends notifications of progress, at most so many a task. Cheap to clone.
#[derive(Clone)]
pub struct Notifier {
    registry: Arc<dyn Registry>,
    sender: Sender,
    at_most: u32,
    lanes: Lanes,
    metrics: Metrics,
}

impl Notifier {
    /// With the registry that counts them, and what sends them.
    pub fn new(registry: Arc<dyn Registry>, sender: Sender, at_most: u32, metrics: Metrics) -> Self {
        Self { registry, sender, at_most, lanes: Lanes::new(AT_ONCE), metrics }
    }

    /// Tells how far a task is, and says by which notification. `None`: there is no more to tell about it.
    async fn tell(&self, task: &TaskRef) -> Result<Option<u32>, RegistryError> {
        // The end's webhook waits no longer for it than the registry counts, from later on.
        let deadline = Instant::now() + NOTIFICATION_TIME;
        let Some(notification) = self.registry.begin_notification(task, self.at_most).await? else { return Ok(None) };
        let began = Instant::now();
        let attempt = tokio::time::timeout_at(deadline, self.send(&notification)).await;
        let attempt = attempt.unwrap_or_else(|_| Attempt::failed(ErrorClass::Timeout));
        let class = attempt.class.map(|class| class.as_str());
        let took = began.elapsed();
        tracing::info!(
            task_id = task.task_id,
            number = notification.number,
            status = attempt.status,
            error_class = class,
            took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "a notification of progress"
        );
        self.metrics.webhook_attempted(class.unwrap_or("delivered"), took);
        Ok(Some(notification.number))
    }

    async fn send(&self, notification: &Notification) -> Attempt {
        let Some(registration) = registered(Some(&notification.config_json)) else {
            return Attempt::failed(ErrorClass::Undeliverable);
        };
        let Some(_lane) = self.lanes.enter(&registration.origin()) else {
            return Attempt::failed(ErrorClass::Busy);
        };
        self.sender.attempt(&registration, notification.body.as_bytes(), chrono::Utc::now().timestamp()).await
    }
}

/// The notifications of one task while its handler is at work: one at a time, which the handler does not wait for.
pub(super) struct Notifying {
    notifier: Notifier,
    task: TaskRef,
    // One is on its way, or there are no more to come.
    busy: Arc<AtomicBool>,
}

impl Notifying {
    pub(super) fn new(notifier: Notifier, task: TaskRef) -> Self {
        Self { notifier, task, busy: Arc::default() }
    }

    /// Tells how far the task is now, unless one is on its way.
    pub(super) fn tell(&self) {
        if self.busy.swap(true, SeqCst) {
            return;
        }
        let (notifier, task, busy) = (self.notifier.clone(), self.task.clone(), self.busy.clone());
        tokio::spawn(async move {
            let told = notifier.tell(&task).await;
            busy.store(matches!(told, Ok(None)), SeqCst);
            let ended = match told {
                Ok(Some(number)) => notifier.registry.end_notification(&task, number).await,
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = ended {
                tracing::warn!(task_id = task.task_id, %error, "a notification of progress was not recorded");
            }
        });
    }
}
