//! Sending webhooks: activities of their own, on a task queue of their own, so that egress can be isolated.

use super::{guard, settle::webhook_end, spans::Spans};
use chrono::Utc;
use handoff_proto::{
    activities::DeliverWebhook,
    v1::{TaskRef, WebhookEnd, WebhookInput},
};
use handoff_store::{Registry, WebhookAttempt, WebhookDelivery, WebhookState};
use handoff_telemetry::Metrics;
use handoff_webhooks::{
    Attempt, ErrorClass, Lanes, OperationIdPolicy, Policy, Registration, Sender,
    retry::{Schedule, Verdict},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use temporalio_common::error::ApplicationFailure;
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

// Deliveries to one endpoint at once: a slow one leaves room for the others.
pub(super) const AT_ONCE: usize = 16;
const BUSY_PAUSE: Duration = Duration::from_secs(1);
// How soon it is looked again whether a notification of progress is still on its way.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// The activity of the publishing task queue.
pub struct WebhookActivities {
    registry: Arc<dyn Registry>,
    sender: Sender,
    schedule: Schedule,
    lanes: Lanes,
    metrics: Metrics,
}

impl WebhookActivities {
    /// With the registry that knows what is owed, and what sends it.
    pub fn new(registry: Arc<dyn Registry>, sender: Sender, schedule: Schedule, metrics: Metrics) -> Self {
        Self { registry, sender, schedule, lanes: Lanes::new(AT_ONCE), metrics }
    }
}

// What it does is said at its definition in handoff-proto.
#[activities]
impl WebhookActivities {
    #[activity(name = DeliverWebhook::NAME)]
    pub async fn deliver_webhook(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: WebhookInput,
    ) -> Result<WebhookEnd, ActivityError> {
        let spans = Spans::new(ctx.info(), input.task.as_ref(), input.call.as_ref());
        spans.within(self.deliver(input)).await
    }
}

impl WebhookActivities {
    async fn deliver(&self, input: WebhookInput) -> Result<WebhookEnd, ActivityError> {
        let task = guard::required(input.task, "task")?;
        let owed = self.registry.webhook_delivery(&task).await.map_err(guard::registry_error)?;
        let delivery = match owed {
            Some(owed) if owed.state == WebhookState::Pending => owed,
            ended => return Ok(webhook_end(ended.as_ref())),
        };
        let at = Utc::now().timestamp_micros();
        if at >= delivery.expires_at {
            return self.finish(&task, &delivery, None, WebhookState::Expired).await;
        }
        if delivery.not_before > at {
            let left = u64::try_from(delivery.not_before - at).map_or(LOOK_AGAIN, Duration::from_micros);
            return Err(again(ErrorClass::Busy, left.min(LOOK_AGAIN)));
        }
        let began = Instant::now();
        let body = delivery.body.as_deref();
        let attempt = match registered(delivery.config_json.as_deref()).zip(body) {
            Some((registration, body)) => {
                let Some(_lane) = self.lanes.enter(&registration.origin()) else {
                    return Err(again(ErrorClass::Busy, spread(BUSY_PAUSE)));
                };
                self.sender.attempt(&registration, body.as_bytes(), at / 1_000_000).await
            }
            None => Attempt::failed(ErrorClass::Undeliverable),
        };
        let class = attempt.class.map(|class| class.as_str());
        let logged = WebhookAttempt {
            at,
            duration: began.elapsed(),
            status: attempt.status,
            error_class: class.map(Into::into),
        };
        tracing::info!(
            task_id = task.task_id,
            attempt = delivery.attempts + 1,
            status = attempt.status,
            error_class = class,
            took_ms = u64::try_from(logged.duration.as_millis()).unwrap_or(u64::MAX),
            "a webhook"
        );
        self.metrics.webhook_attempted(class.unwrap_or("delivered"), logged.duration);
        match self.schedule.judge(&attempt, delivery.attempts + 1, rand::random()) {
            Verdict::Delivered => self.finish(&task, &delivery, Some(&logged), WebhookState::Delivered).await,
            Verdict::Stop => self.finish(&task, &delivery, Some(&logged), WebhookState::Stopped).await,
            Verdict::Retry(pause) if outlasts(pause, &delivery) => {
                self.finish(&task, &delivery, Some(&logged), WebhookState::Expired).await
            }
            Verdict::Retry(pause) => {
                let ended = self.finish(&task, &delivery, Some(&logged), WebhookState::Pending).await?;
                // Somebody else delivered it meanwhile.
                if ended.state != WebhookState::Pending.as_str() {
                    return Ok(ended);
                }
                Err(again(attempt.class.unwrap_or(ErrorClass::Status), pause))
            }
        }
    }

    async fn finish(
        &self,
        task: &TaskRef,
        delivery: &WebhookDelivery,
        attempt: Option<&WebhookAttempt>,
        state: WebhookState,
    ) -> Result<WebhookEnd, ActivityError> {
        let recorded = self.registry.record_webhook(task, &delivery.idempotency_key, attempt, state).await;
        let recorded = recorded.map_err(guard::registry_error)?.unwrap_or(state);
        if recorded != WebhookState::Pending {
            self.metrics.webhook_ended(recorded.as_str());
        }
        let attempts = delivery.attempts + u32::from(attempt.is_some());
        Ok(WebhookEnd { state: recorded.as_str().to_owned(), attempts })
    }
}

/// What was registered. The policy of the day has let it in; the egress has its own.
pub(super) fn registered(config_json: Option<&str>) -> Option<Registration> {
    let config = serde_json::from_str(config_json?).ok()?;
    let lenient = Policy {
        operation_id: OperationIdPolicy::Tolerated,
        allowed: "0.0.0.0/0,::/0".parse().ok()?,
        ..Policy::default()
    };
    Registration::read(&config, &lenient).ok()
}

fn outlasts(pause: Duration, delivery: &WebhookDelivery) -> bool {
    let pause = i64::try_from(pause.as_micros()).unwrap_or(i64::MAX);
    Utc::now().timestamp_micros().saturating_add(pause) >= delivery.expires_at
}

fn spread(pause: Duration) -> Duration {
    pause.mul_f64(1.0 + rand::random::<f64>())
}

/// Says no more than a word: Temporal keeps it in clear.
fn again(class: ErrorClass, pause: Duration) -> ActivityError {
    let message: Box<dyn std::error::Error + Send + Sync> = class.as_str().into();
    ActivityError::application(
        ApplicationFailure::builder(message).type_name("WEBHOOK".to_owned()).next_retry_delay(pause).build(),
    )
}

#[cfg(test)]
mod tests;
