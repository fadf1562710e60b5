//! `accept`, `settle`, `discard` and `record_dropped_signals`: registry transactions that show, end, take back, or annotate a
//! task.

use super::{Activities, guard};
use crate::seller::{Failure, Subject, TaskCanceled, TaskCompleted, TaskFailed, TaskRejected};
use chrono::Utc;
use handoff_proto::{
    convert::to_timestamp,
    v1::{
        DiscardInput, DiscardOutput, HistoryEntry, RecordDroppedSignalsInput, SettleInput, SettleOutput, Settlement,
        Standing, TaskInput, WebhookEnd, WebhookInput,
    },
};
use handoff_store::{WebhookDelivery, WebhookState};
use temporalio_sdk::activities::{ActivityContext, ActivityError};

impl Activities {
    pub(super) async fn accept_task(&self, input: TaskInput) -> Result<Standing, ActivityError> {
        let standing = self.registry.accept(&guard::task_of(&input)?).await.map_err(guard::registry_error)?;
        Ok(guard::without_result(standing))
    }

    pub(super) async fn settle_task(
        &self,
        ctx: &ActivityContext,
        input: SettleInput,
    ) -> Result<SettleOutput, ActivityError> {
        let task = guard::required(input.task, "task")?;
        let completion = guard::required(input.completion, "completion")?;
        let subject = Subject::new(&task, input.call.as_ref());
        let completion = self.completing(ctx, &task, &subject, completion).await?;
        let settlement = self.registry.settle(&task, &completion).await.map_err(guard::registry_error)?;
        self.ended(&task, &subject, settlement.as_ref()).await;
        let dispatcher = &self.handlers.dispatcher;
        let notify = settlement.as_ref().is_some_and(|settlement| match settlement.status.as_str() {
            "completed" => dispatcher.handles::<TaskCompleted>(),
            "failed" => dispatcher.handles::<TaskFailed>(),
            "rejected" => dispatcher.handles::<TaskRejected>(),
            _ => dispatcher.handles::<TaskCanceled>(),
        });
        let webhook = self.webhooks.clone().filter(|_| settlement.as_ref().is_some_and(|ended| ended.webhook));
        Ok(SettleOutput { settlement: settlement.map(Settlement::without_result), notify, webhook })
    }

    pub(super) async fn give_webhook_up(&self, input: WebhookInput) -> Result<WebhookEnd, ActivityError> {
        let task = guard::required(input.task, "task")?;
        let owed = self.registry.webhook_delivery(&task).await.map_err(guard::registry_error)?;
        let owed = match owed {
            Some(owed) if owed.state == WebhookState::Pending => owed,
            ended => return Ok(webhook_end(ended.as_ref())),
        };
        let key = &owed.idempotency_key;
        let recorded = self.registry.record_webhook(&task, key, None, WebhookState::Expired).await;
        let state = recorded.map_err(guard::registry_error)?.unwrap_or(WebhookState::Expired);
        Ok(webhook_end(Some(&WebhookDelivery { state, ..owed })))
    }

    pub(super) async fn begin_webhook_anew(&self, input: WebhookInput) -> Result<WebhookEnd, ActivityError> {
        let task = guard::required(input.task, "task")?;
        self.registry.renew_webhook(&task).await.map_err(guard::registry_error)?;
        let owed = self.registry.webhook_delivery(&task).await.map_err(guard::registry_error)?;
        Ok(webhook_end(owed.as_ref()))
    }

    pub(super) async fn discard_task(&self, input: DiscardInput) -> Result<DiscardOutput, ActivityError> {
        let task = guard::required(input.task, "task")?;
        let error = guard::required(input.error, "error")?;
        let settlement = self.registry.discard(&task, &error).await.map_err(guard::registry_error)?;
        let subject = Subject::new(&task, input.call.as_ref());
        match &settlement {
            None => self.failing(&task.verb, subject, Failure::Refused(error.to_wire())).await,
            ended => self.ended(&task, &subject, ended.as_ref()).await,
        }
        Ok(DiscardOutput { settlement: settlement.map(Settlement::without_result) })
    }

    pub(super) async fn append_dropped_signals(&self, input: RecordDroppedSignalsInput) -> Result<(), ActivityError> {
        let task = guard::required(input.task, "task")?;
        let at = to_timestamp(Utc::now());
        let entries: Vec<(String, HistoryEntry)> = input
            .signals
            .into_iter()
            .map(|dropped| {
                let entry = HistoryEntry {
                    at: Some(at),
                    event: "signal_dropped".to_owned(),
                    reason: format!("{}: {}", dropped.signal, dropped.reason),
                    ..Default::default()
                };
                (format!("signal_dropped-{}", dropped.number), entry)
            })
            .collect();
        self.registry.append_history(&task, &entries).await.map_err(guard::registry_error)
    }
}

/// How far a webhook is, as the run is told.
pub(super) fn webhook_end(owed: Option<&WebhookDelivery>) -> WebhookEnd {
    match owed {
        Some(owed) => WebhookEnd { state: owed.state.as_str().to_owned(), attempts: owed.attempts },
        None => WebhookEnd { state: "none".to_owned(), attempts: 0 },
    }
}
