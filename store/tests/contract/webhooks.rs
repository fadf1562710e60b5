//! What is owed to a webhook, from the end of its task to its own.

use crate::{
    database::Database,
    support::{self, *},
};
use handoff_proto::{
    v1::{Progress, Settlement, TaskRef},
    wire::{GetTaskStatusRequest, task_status_body},
};
use handoff_store::{Registry, RegistryOptions, WebhookAttempt, WebhookDelivery, WebhookFilter, WebhookState};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

const CONFIG: &str = r#"{"url":"https://buyer.example/hook","operation_id":"op-1"}"#;
const HORIZON: Duration = Duration::from_secs(86_400);

async fn registry_with_horizon(database: &Database, webhook_horizon: Duration) -> Arc<dyn Registry> {
    let cipher = database.sealed.then(|| ring(&["k"]));
    let options = RegistryOptions { replay_ttl: Duration::ZERO, webhook_horizon, cipher, ..Default::default() };
    handoff_store::connect(&database.url, options).await.unwrap()
}

async fn registered(registry: &dyn Registry, config: Option<&str>) -> TaskRef {
    let task = new_task();
    let webhook = config.and_then(|config| support::webhook(config, false));
    registry.claim(&handoff_store::NewClaim { webhook, ..claim_of(&task, None) }).await.unwrap();
    task
}

async fn ended(registry: &dyn Registry) -> (TaskRef, Settlement) {
    let task = registered(registry, Some(CONFIG)).await;
    registry.record_decision(&task, &to_task()).await.unwrap();
    let settlement = registry.settle(&task, &result(r#"{"media_buy_id":"mb_1","price":1.10}"#)).await.unwrap().unwrap();
    (task, settlement)
}

async fn owed(registry: &dyn Registry, task: &TaskRef) -> WebhookDelivery {
    registry.webhook_delivery(task).await.unwrap().unwrap()
}

async fn listed(registry: &dyn Registry, states: &[WebhookState]) -> Vec<TaskRef> {
    let filter = WebhookFilter { states: states.to_vec(), ..Default::default() };
    registry.webhooks(&filter, 100).await.unwrap().into_iter().map(|webhook| webhook.task).collect()
}

fn attempt(at: i64, status: Option<u16>, error_class: Option<&str>) -> WebhookAttempt {
    WebhookAttempt { at, duration: Duration::from_millis(7), status, error_class: error_class.map(Into::into) }
}

pub(crate) async fn only_ended_tasks_that_were_submitted_owe_a_webhook(database: Arc<Database>) {
    let registry = registry_with_horizon(&database, HORIZON).await;
    // Answered at once, refused, still open, and without a webhook.
    let at_once = registered(&*registry, Some(CONFIG)).await;
    registry.record_decision(&at_once, &complete("{}")).await.unwrap();
    let refused = registered(&*registry, Some(CONFIG)).await;
    registry.record_decision(&refused, &refuse("NO")).await.unwrap();
    let discarded = registered(&*registry, Some(CONFIG)).await;
    registry.record_decision(&discarded, &to_workflow()).await.unwrap();
    registry.discard(&discarded, &error("NO")).await.unwrap();
    let open = registered(&*registry, Some(CONFIG)).await;
    registry.record_decision(&open, &to_task()).await.unwrap();
    let without = registered(&*registry, None).await;
    registry.record_decision(&without, &to_task()).await.unwrap();
    assert!(!registry.settle(&without, &result("{}")).await.unwrap().unwrap().webhook);
    for task in [&at_once, &refused, &discarded, &open, &without, &new_task()] {
        assert_eq!(registry.webhook_delivery(task).await.unwrap(), None);
        assert_eq!(registry.webhook_log(&task.task_id).await.unwrap(), None);
        assert_eq!(registry.renew_webhook(task).await.unwrap(), None);
    }
    assert_eq!(listed(&*registry, &[]).await, []);
    // Every end, and every way to it.
    let (settled, settlement) = ended(&*registry).await;
    assert!(settlement.webhook);
    let failed = registered(&*registry, Some(CONFIG)).await;
    registry.accept(&failed).await.unwrap();
    assert!(registry.discard(&failed, &error("NO")).await.unwrap().unwrap().webhook);
    let late = registered(&*registry, Some(CONFIG)).await;
    registry.accept(&late).await.unwrap();
    assert!(registry.record_decision(&late, &complete("{}")).await.unwrap().settlement.unwrap().webhook);
    let canceled = registered(&*registry, Some(CONFIG)).await;
    registry.accept(&canceled).await.unwrap();
    assert!(registry.settle(&canceled, &cancellation()).await.unwrap().unwrap().webhook);
    let reconciled = registered(&*registry, Some(CONFIG)).await;
    registry.accept(&reconciled).await.unwrap();
    let unfinished = registry.unfinished(i64::MAX, None, 10).await.unwrap();
    let observed = unfinished.iter().find(|observed| observed.task == reconciled).unwrap();
    registry.reconcile(observed, &error("LOST")).await.unwrap();
    let tasks = [settled, failed, late, canceled, reconciled];
    assert_eq!(listed(&*registry, &[WebhookState::Pending]).await, tasks);
    for task in &tasks {
        assert_eq!(owed(&*registry, task).await.state, WebhookState::Pending);
    }
}

pub(crate) async fn a_webhooks_body_is_made_once_and_says_what_a_poll_says(database: Arc<Database>) {
    let registry = registry_with_horizon(&database, HORIZON).await;
    let (task, _) = ended(&*registry).await;
    let deliveries = futures::future::join_all((0..10).map(|_| owed(&*registry, &task))).await;
    let first = &deliveries[0];
    assert!(deliveries.iter().all(|other| other == first));
    // A settle that comes again changes nothing.
    registry.settle(&task, &result("{}")).await.unwrap();
    assert_eq!(owed(&*registry, &task).await, *first);
    let body: Value = serde_json::from_str(first.body.as_deref().unwrap()).unwrap();
    let poll = GetTaskStatusRequest { include_result: true, ..Default::default() };
    let polled = task_status_body(&record(&*registry, &task).await.unwrap(), &poll);
    assert_eq!((&body["result"], &body["operation_id"]), (&polled["result"], &json!("op-1")));
    assert!(first.body.as_deref().unwrap().contains("1.10"));
    assert_eq!(
        (&body["idempotency_key"], &body["timestamp"]),
        (&json!(first.idempotency_key), &polled["completed_at"])
    );
    assert_eq!(first.config_json.as_deref(), Some(CONFIG));
    assert_eq!(first.expires_at - first.created_at, HORIZON.as_micros() as i64);
    assert!(!format!("{first:?}").contains("mb_1"));
    // Another's is not there.
    let other = TaskRef { principal: "agent_2".into(), ..task.clone() };
    assert_eq!(registry.webhook_delivery(&other).await.unwrap(), None);
    // Without an operation id there is no body, and it can be said so.
    let mute = registered(&*registry, Some(r#"{"url":"https://buyer.example"}"#)).await;
    registry.accept(&mute).await.unwrap();
    registry.settle(&mute, &result("{}")).await.unwrap();
    assert_eq!(owed(&*registry, &mute).await.body, None);
}

pub(crate) async fn attempts_are_logged_and_what_arrived_has_arrived(database: Arc<Database>) {
    let registry = registry_with_horizon(&database, HORIZON).await;
    let (task, _) = ended(&*registry).await;
    let key = owed(&*registry, &task).await.idempotency_key;
    let tries = [attempt(1, Some(503), Some("status")), attempt(2, None, Some("timeout")), attempt(3, Some(200), None)];
    let states = [WebhookState::Pending, WebhookState::Pending, WebhookState::Delivered];
    for (attempt, state) in tries.iter().zip(states) {
        let after = registry.record_webhook(&task, &key, Some(attempt), state).await.unwrap();
        assert_eq!(after, Some(state));
    }
    // Late ones are logged, and change nothing.
    let late = attempt(4, None, Some("connect"));
    for state in [WebhookState::Pending, WebhookState::Stopped, WebhookState::Expired] {
        let after = registry.record_webhook(&task, &key, Some(&late), state).await.unwrap();
        assert_eq!(after, Some(WebhookState::Delivered));
    }
    let (webhook, attempts) = registry.webhook_log(&task.task_id).await.unwrap().unwrap();
    assert_eq!((webhook.state, webhook.attempts), (WebhookState::Delivered, 6));
    assert_eq!(attempts[..3], tries);
    // Another key's attempt is another's.
    let foreign = registry.record_webhook(&task, "whk_other", Some(&late), WebhookState::Stopped).await.unwrap();
    assert_eq!((foreign, owed(&*registry, &task).await.attempts), (Some(WebhookState::Delivered), 6));
    // What was given up may still arrive.
    let (other, _) = ended(&*registry).await;
    let key = owed(&*registry, &other).await.idempotency_key;
    registry.record_webhook(&other, &key, None, WebhookState::Expired).await.unwrap();
    assert_eq!(listed(&*registry, &[WebhookState::Expired]).await, std::slice::from_ref(&other));
    let after = registry.record_webhook(&other, &key, Some(&tries[2]), WebhookState::Delivered).await.unwrap();
    assert_eq!(after, Some(WebhookState::Delivered));
    assert_eq!(listed(&*registry, &[WebhookState::Delivered, WebhookState::Stopped]).await, [task, other]);
}

pub(crate) async fn a_renewed_webhook_keeps_its_key_within_its_horizon_alone(database: Arc<Database>) {
    let registry = registry_with_horizon(&database, HORIZON).await;
    let (task, _) = ended(&*registry).await;
    let first = owed(&*registry, &task).await;
    registry
        .record_webhook(
            &task,
            &first.idempotency_key,
            Some(&attempt(1, Some(409), Some("conflict"))),
            WebhookState::Stopped,
        )
        .await
        .unwrap();
    assert_eq!(registry.renew_webhook(&task).await.unwrap(), Some(WebhookState::Stopped));
    assert_eq!(owed(&*registry, &task).await, WebhookDelivery { attempts: 1, ..first });
    // Past its horizon.
    let brief = registry_with_horizon(&database, Duration::ZERO).await;
    let (task, _) = ended(&*brief).await;
    let first = owed(&*brief, &task).await;
    brief
        .record_webhook(&task, &first.idempotency_key, Some(&attempt(1, None, Some("dns"))), WebhookState::Expired)
        .await
        .unwrap();
    assert_eq!(brief.renew_webhook(&task).await.unwrap(), Some(WebhookState::Expired));
    let second = owed(&*brief, &task).await;
    assert!(second.idempotency_key != first.idempotency_key && second.created_at > first.created_at);
    let body = |delivery: &WebhookDelivery| serde_json::from_str::<Value>(delivery.body.as_deref().unwrap()).unwrap();
    let (before, after) = (body(&first), body(&second));
    assert_eq!(after["notification_id"], before["notification_id"]);
    assert_eq!((&after["result"], &after["idempotency_key"]), (&before["result"], &json!(second.idempotency_key)));
    assert_ne!(after["timestamp"], before["timestamp"]);
    assert_eq!((second.state, second.attempts), (WebhookState::Pending, 0));
}

pub(crate) async fn webhooks_are_listed_page_by_page(database: Arc<Database>) {
    let registry = registry_with_horizon(&database, HORIZON).await;
    let mut tasks = Vec::new();
    for _ in 0..5 {
        tasks.push(ended(&*registry).await.0);
    }
    let mut filter = WebhookFilter::default();
    let mut seen = Vec::new();
    loop {
        let page = registry.webhooks(&filter, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        filter.after = Some((last.created_at, last.task.task_id.clone()));
        seen.extend(page.into_iter().map(|webhook| (webhook.task, webhook.created_at)));
    }
    assert_eq!(seen.iter().map(|(task, _)| task.clone()).collect::<Vec<_>>(), tasks);
    let filter =
        WebhookFilter { created_after: Some(seen[1].1), created_before: Some(seen[3].1), ..Default::default() };
    let between = registry.webhooks(&filter, 10).await.unwrap();
    assert_eq!(between.into_iter().map(|webhook| webhook.task).collect::<Vec<_>>(), tasks[1..3]);
}

pub(crate) async fn a_request_is_kept_while_its_webhook_may_be_sent(database: Arc<Database>) {
    let registry = registry_with_horizon(&database, HORIZON).await;
    let (task, _) = ended(&*registry).await;
    let key = owed(&*registry, &task).await.idempotency_key;
    assert!(!registry.purge(&task).await.unwrap());
    registry.record_webhook(&task, &key, Some(&attempt(1, Some(200), None)), WebhookState::Delivered).await.unwrap();
    assert!(registry.purge(&task).await.unwrap());
    assert_eq!(registry.webhook_delivery(&task).await.unwrap(), None);
    assert_eq!(registry.webhook_log(&task.task_id).await.unwrap(), None);
    assert!(registry.purge(&task).await.unwrap() && registry.forget(&task).await.unwrap());
    // What nobody sent within its horizon is not waited for.
    let brief = registry_with_horizon(&database, Duration::ZERO).await;
    let (task, _) = ended(&*brief).await;
    owed(&*brief, &task).await;
    assert!(brief.purge(&task).await.unwrap() && brief.forget(&task).await.unwrap());
}

pub(crate) async fn progress_is_told_so_often_and_not_after_the_end(database: Arc<Database>) {
    let registry = registry_with_horizon(&database, HORIZON).await;
    let begin = async |task: &TaskRef| registry.begin_notification(task, 2).await.unwrap();
    let task = registered(&*registry, Some(CONFIG)).await;
    registry.record_decision(&task, &to_task()).await.unwrap();
    assert_eq!(begin(&task).await, None, "it is not at work yet");
    let progress = |step: u32| Progress { step_number: Some(step), ..Default::default() };
    registry.update_progress(&task, &progress(1)).await.unwrap();
    let first = begin(&task).await.unwrap();
    assert_eq!((first.number, first.config_json.as_str()), (1, CONFIG));
    let body: Value = serde_json::from_str(&first.body).unwrap();
    assert_eq!(
        (&body["status"], &body["task_id"], &body["result"]),
        (&json!("working"), &json!(task.task_id), &json!({"step_number": 1}))
    );
    assert!(!format!("{first:?}").contains("buyer.example"));
    // What a poll sees is the progress alone, and more of it does not begin the count anew.
    registry.update_progress(&task, &progress(2)).await.unwrap();
    let polled = task_status_body(&record(&*registry, &task).await.unwrap(), &GetTaskStatusRequest::default());
    assert_eq!(polled["progress"], json!({"step_number": 2}));
    let second = begin(&task).await.unwrap();
    assert_ne!(serde_json::from_str::<Value>(&second.body).unwrap()["idempotency_key"], body["idempotency_key"]);
    // The first one's end says nothing about the second.
    registry.end_notification(&task, 1).await.unwrap();
    assert_eq!((second.number, begin(&task).await), (2, None));
    let settled_at = chrono::Utc::now().timestamp_micros();
    registry.settle(&task, &result("{}")).await.unwrap();
    assert!(owed(&*registry, &task).await.not_before > settled_at);
    registry.end_notification(&task, 2).await.unwrap();
    assert_eq!(owed(&*registry, &task).await.not_before, 0);
    assert_eq!(registry.begin_notification(&task, 9).await.unwrap(), None, "it has ended");
    // Without a webhook, without an operation id, and another's.
    let bare = r#"{"url":"https://buyer.example/hook"}"#;
    for config in [None, Some(bare)] {
        let silent = registered(&*registry, config).await;
        registry.record_decision(&silent, &to_task()).await.unwrap();
        registry.update_progress(&silent, &progress(1)).await.unwrap();
        assert_eq!(begin(&silent).await, None);
        registry.settle(&silent, &result("{}")).await.unwrap();
        if config.is_some() {
            assert_eq!(owed(&*registry, &silent).await.not_before, 0);
        }
    }
    assert_eq!(begin(&TaskRef { principal: "agent_2".into(), ..task }).await, None);
}
