//! What a task's buyer is told of its result: in the release that its request was claimed under, put there once.

use crate::{
    database::Database,
    sealing::end_webhook,
    support::{self, *},
};
use handoff_proto::{
    releases::Release,
    v1::{Completion, TaskRecord, TaskRef},
    wire::{GetTaskStatusRequest, task_status_body},
};
use handoff_store::{NewClaim, Registry};
use serde_json::{Value, json};
use std::sync::Arc;

const CONFIG: &str = r#"{"url":"https://buyer.example/hook","operation_id":"op-1"}"#;
const BOUGHT: &str = r#"{"media_buy_id":"mb_1","price":1.10,"media_buy_status":"pending_start"}"#;
const BOUGHT_IN_3_0: &str =
    r#"{"status":"pending_start","media_buy_id":"mb_1","price":1.10,"media_buy_status":"pending_start"}"#;

async fn claimed_under(registry: &dyn Registry, release: Release, verb: &str) -> TaskRef {
    let task = TaskRef { verb: verb.into(), ..new_task() };
    let claim = NewClaim { release, webhook: support::webhook(CONFIG, false), ..claim_of(&task, None) };
    registry.claim(&claim).await.unwrap();
    task
}

async fn submitted_under(registry: &dyn Registry, release: Release, verb: &str) -> TaskRef {
    let task = claimed_under(registry, release, verb).await;
    registry.record_decision(&task, &to_task()).await.unwrap();
    task
}

/// What a poll shows of the result; the webhook says the same.
async fn told(registry: &dyn Registry, task: &TaskRef) -> (TaskRecord, Value) {
    let record = record(registry, task).await.unwrap();
    let poll = GetTaskStatusRequest { include_result: true, ..Default::default() };
    let result = task_status_body(&record, &poll)["result"].take();
    let body = registry.webhook_delivery(task).await.unwrap().unwrap().body.unwrap();
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["result"], result);
    (record, result)
}

pub(crate) async fn a_result_is_told_in_its_requests_release_however_it_comes(database: Arc<Database>) {
    let registry = registry(&database).await;
    for release in Release::ALL {
        let fresh = || claimed_under(&*registry, release, "create_media_buy");
        let (at_work, early, accepted, late) = (fresh().await, fresh().await, fresh().await, fresh().await);
        registry.record_decision(&at_work, &to_task()).await.unwrap();
        registry.record_decision(&early, &to_workflow()).await.unwrap();
        registry.record_decision(&accepted, &to_workflow()).await.unwrap();
        registry.accept(&accepted).await.unwrap();
        for task in [&at_work, &early, &accepted] {
            registry.settle(task, &result(BOUGHT)).await.unwrap();
        }
        // Decided after `submitted` was said.
        registry.accept(&late).await.unwrap();
        registry.record_decision(&late, &complete(BOUGHT)).await.unwrap();
        let (told_json, status) = match release {
            Release::V3_0 => (BOUGHT_IN_3_0, "pending_start"),
            _ => ("", "completed"),
        };
        for task in [at_work, early, accepted, late] {
            let (record, result) = told(&*registry, &task).await;
            assert_eq!((record.result_json.as_str(), record.told_json.as_str()), (BOUGHT, told_json), "{release}");
            assert_eq!((&result["status"], &result["media_buy_id"]), (&json!(status), &json!("mb_1")), "{release}");
            assert_eq!(result["context"], json!({"trace": "t-1"}), "{release}");
            let settlement = registry.standing(&task).await.unwrap().settlement.unwrap();
            assert_eq!(settlement.result_json, BOUGHT, "{release}: whoever asks what was decided is told that");
        }
    }
    registry.close().await;
}

pub(crate) async fn a_completion_is_compared_with_what_was_decided(database: Arc<Database>) {
    let registry = registry(&database).await;
    let task = submitted_under(&*registry, Release::V3_0, "create_media_buy").await;
    let recorded = registry.settle(&task, &result(BOUGHT)).await.unwrap().unwrap();
    let before = everything(&*registry, &task).await;
    let same = |completion: &Completion| recorded.same_outcome(&completion.to_settlement().unwrap());
    let spelled = result(r#"{ "media_buy_status": "pending_start", "price": 1.10, "media_buy_id": "mb_1" }"#);
    assert!(same(&result(BOUGHT)) && same(&spelled));
    assert!(!same(&result(BOUGHT_IN_3_0)), "nobody decided that");
    for late in [result(BOUGHT), spelled, result(BOUGHT_IN_3_0), failure("LATE")] {
        assert_eq!(registry.settle(&task, &late).await.unwrap().as_ref(), Some(&recorded));
    }
    assert_eq!(everything(&*registry, &task).await, before);
    registry.close().await;
}

pub(crate) async fn what_has_no_other_words_is_told_as_it_is(database: Arc<Database>) {
    let registry = registry(&database).await;
    for (verb, completion, status) in [
        ("create_media_buy", failure("NO"), "failed"),
        ("create_media_buy", result(r#"{"status":"rejected","reason":"no"}"#), "rejected"),
        ("create_media_buy", result(r#"{"media_buy_id":"mb_1"}"#), "completed"),
        ("sync_creatives", result(r#"{"creatives":[],"media_buy_status":"active"}"#), "completed"),
    ] {
        let task = submitted_under(&*registry, Release::V3_0, verb).await;
        registry.settle(&task, &completion).await.unwrap();
        let (record, result) = told(&*registry, &task).await;
        assert_eq!((record.status.as_str(), record.told_json.as_str()), (status, ""), "{verb}");
        assert_eq!(result["status"], status, "{verb}");
    }
    registry.close().await;
}

pub(crate) async fn a_decline_that_a_release_can_not_say_is_refused_in_it(database: Arc<Database>) {
    let registry = registry(&database).await;
    let declined = result(r#"{"status":"rejected","reason":"sold out"}"#);
    for release in Release::ALL {
        let task = submitted_under(&*registry, release, "get_products").await;
        let recorded = registry.settle(&task, &declined).await.unwrap();
        assert_eq!(recorded.map(|settlement| settlement.status).as_deref(), Some("rejected"), "{release}");
        let (record, result) = told(&*registry, &task).await;
        assert_eq!(record.status, "rejected", "{release}");
        if release == Release::V3_2 {
            assert_eq!(result["reason"], "sold out");
        } else {
            assert_eq!(result["errors"][0]["code"], "UNSUPPORTED_FEATURE", "{release}");
            assert_eq!(result.get("reason"), None, "{release}");
        }
    }
    registry.close().await;
}

pub(crate) async fn a_request_without_a_known_release_is_told_as_its_seller_said(database: Arc<Database>) {
    let registry = registry(&database).await;
    // Claimed by a build that recorded none, and by one that speaks more than this.
    for recorded in ["NULL", "'3.9'"] {
        let task = submitted_under(&*registry, Release::V3_0, "create_media_buy").await;
        let sql = format!("UPDATE requests SET adcp_version = {recorded} WHERE task_id = '{}'", task.task_id);
        database.execute(&sql).await;
        registry.settle(&task, &result(BOUGHT)).await.unwrap();
        let (record, result) = told(&*registry, &task).await;
        assert_eq!((record.told_json.as_str(), &result["status"]), ("", &json!("completed")), "{recorded}");
    }
    registry.close().await;
}

pub(crate) async fn what_was_told_stays_until_it_is_purged(database: Arc<Database>) {
    let registry = registry_with_keys(&database, if database.sealed { &["k"] } else { &[] }).await;
    let task = submitted_under(&*registry, Release::V3_0, "create_media_buy").await;
    registry.settle(&task, &result(BOUGHT)).await.unwrap();
    // Whatever the release's words will be in later builds.
    database.execute("UPDATE requests SET adcp_version = '3.2'").await;
    assert_eq!(told(&*registry, &task).await.1["status"], "pending_start");
    end_webhook(&*registry, &task).await;
    assert!(registry.purge(&task).await.unwrap());
    assert_eq!(record(&*registry, &task).await, None);
    registry.close().await;
}
