//! What is owed to webhooks: made once, sent until it arrives, and logged.

use super::{Engine, Result, now};
use crate::{
    Notification, RegistryError, WebhookAttempt, WebhookDelivery, WebhookState,
    rules::Request,
    sql::{
        requests,
        webhooks::{self, WebhookRow, body_place},
    },
    store::{Store, Transaction},
};
use handoff_proto::{
    convert::to_timestamp,
    v1::{TaskRecord, TaskRef},
    wire::{WebhookEvent, progress_body, webhook_body},
};
use ring::rand::{SecureRandom, SystemRandom};

impl<S: Store> Engine<S> {
    /// Owes a webhook, in the transaction that ends its task; `at` is when it is first made.
    pub(super) async fn owe(&self, transaction: &mut S::Transaction, request: &Request, at: i64) -> Result<()> {
        let statement = webhooks::insert(&request.task.task_id, &fresh_key()?, at, self.horizon_from(at));
        transaction.execute(statement).await?;
        Ok(())
    }

    /// The webhook of a task with its body, made now if it was not before.
    pub(super) async fn deliverable(&self, task: &TaskRef) -> Result<Option<WebhookDelivery>> {
        let mut transaction = self.store.write().await?;
        let Some((request, mut row)) = self.locked(&mut transaction, task).await? else { return Ok(None) };
        let stored = transaction.rows(requests::whole(&task.task_id)).await?.pop();
        let Some(stored) = stored else { return Ok(None) };
        let mut stored = self.vault.open_row(stored).await?;
        let config_json = stored.take_webhook();
        let state = row.state()?;
        let place = body_place(task, &row.idempotency_key);
        let ended = stored.record(Vec::new())?;
        let not_before = ended.progress.as_ref().map_or(0, |progress| progress.notified_until);
        let body = match row.body_json.take() {
            Some(sealed) => Some(self.vault.open(&place, sealed).await?),
            None => {
                let body = make_body(&ended, &row, config_json.as_deref());
                if let Some(body) = &body {
                    let sealed = self.vault.seal(&place, body).await?;
                    let changes = vec![("body_json", sealed.into())];
                    transaction.execute(webhooks::update(&task.task_id, changes)).await?;
                }
                body
            }
        };
        let record = row.record()?;
        transaction.commit().await?;
        Ok(Some(WebhookDelivery {
            task: request.task,
            state,
            idempotency_key: row.idempotency_key,
            config_json,
            body,
            attempts: record.attempts,
            created_at: record.created_at,
            expires_at: record.expires_at,
            not_before,
        }))
    }

    /// What a notification of progress says that was begun.
    pub(super) async fn notification(&self, task: &TaskRef, number: u32) -> Result<Option<Notification>> {
        let stored = self.store.rows(requests::whole(&task.task_id)).await?.pop();
        let Some(stored) = stored else { return Ok(None) };
        let mut stored = self.vault.open_row(stored).await?;
        let Some(config_json) = stored.take_webhook() else { return Ok(None) };
        let event = WebhookEvent { idempotency_key: fresh_key()?, timestamp: to_timestamp(chrono::Utc::now()) };
        let registered = serde_json::from_str(&config_json).unwrap_or_default();
        // It may have ended meanwhile.
        let body = progress_body(&stored.record(Vec::new())?, &event, &registered);
        Ok(body.map(|body| Notification { number, config_json, body: body.to_string() }))
    }

    pub(super) async fn log_attempt(
        &self,
        task: &TaskRef,
        idempotency_key: &str,
        attempt: Option<&WebhookAttempt>,
        state: WebhookState,
    ) -> Result<Option<WebhookState>> {
        let mut transaction = self.store.write().await?;
        let Some((_, row)) = self.locked(&mut transaction, task).await? else { return Ok(None) };
        let recorded = row.state()?;
        if row.idempotency_key != idempotency_key {
            return Ok(Some(recorded));
        }
        if let Some(attempt) = attempt {
            transaction.execute(webhooks::append_attempt(&row, attempt)).await?;
        }
        // What arrived has arrived, whatever a late attempt says; what ended otherwise may still arrive.
        let after = match (recorded, state) {
            (WebhookState::Delivered, _) => WebhookState::Delivered,
            (recorded, WebhookState::Pending) => recorded,
            (_, state) => state,
        };
        let changes = vec![("state", after.as_str().into()), ("updated_at", now().into())];
        transaction.execute(webhooks::update(&task.task_id, changes)).await?;
        transaction.commit().await?;
        Ok(Some(after))
    }

    pub(super) async fn renew(&self, task: &TaskRef) -> Result<Option<WebhookState>> {
        let mut transaction = self.store.write().await?;
        let Some((_, row)) = self.locked(&mut transaction, task).await? else { return Ok(None) };
        let (before, now) = (row.state()?, now());
        let mut changes = vec![("state", WebhookState::Pending.as_str().into()), ("updated_at", now.into())];
        if row.expires_at <= now {
            changes.extend([
                ("idempotency_key", fresh_key()?.into()),
                ("generation", (row.generation + 1).into()),
                ("body_json", None::<String>.into()),
                ("created_at", now.into()),
                ("expires_at", self.horizon_from(now).into()),
            ]);
        }
        transaction.execute(webhooks::update(&task.task_id, changes)).await?;
        transaction.commit().await?;
        Ok(Some(before))
    }

    /// Locks a task's row, and reads its webhook. A task that ended before there were webhooks is owed one now, if it
    /// registered any and `submitted` was said.
    async fn locked(&self, transaction: &mut S::Transaction, task: &TaskRef) -> Result<Option<(Request, WebhookRow)>> {
        let lock = requests::lock_outline(S::DIALECT, task);
        let Some(request) = self.one(transaction.rows(lock).await?).await? else { return Ok(None) };
        if !request.owes_webhook() {
            return Ok(None);
        }
        if let Some(row) = transaction.webhooks(webhooks::by_task(&task.task_id)).await?.pop() {
            return Ok(Some((request, row)));
        }
        self.owe(transaction, &request, now()).await?;
        let row = transaction.webhooks(webhooks::by_task(&task.task_id)).await?.pop();
        Ok(row.map(|row| (request, row)))
    }

    fn horizon_from(&self, now: i64) -> i64 {
        now.saturating_add(self.webhook_horizon)
    }
}

/// `None`: what was registered is not kept any more, or says no operation id.
fn make_body(task: &TaskRecord, row: &WebhookRow, config_json: Option<&str>) -> Option<String> {
    let registered = serde_json::from_str(config_json?).ok()?;
    let timestamp = to_timestamp(chrono::DateTime::from_timestamp_micros(row.created_at)?);
    let event = WebhookEvent { idempotency_key: row.idempotency_key.clone(), timestamp };
    Some(webhook_body(task, &event, &registered)?.to_string())
}

fn fresh_key() -> Result<String> {
    let mut bytes = [0; 16];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| RegistryError::Unavailable("the system gives no random bytes".to_owned()))?;
    Ok(bytes.iter().fold(String::from("whk_"), |key, byte| key + &format!("{byte:02x}")))
}
