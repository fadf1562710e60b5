//! What the tests are made of.

use crate::database::Database;
use handoff_proto::{
    TaskId,
    releases::Release,
    v1::{
        AdcpError, Completion, Decision, HandoffToTask, HandoffToWorkflow, HistoryEntry, Settlement, Standing,
        TaskRecord, TaskRef, completion::Cancellation, completion::Outcome, decision::Complete, decision::Kind,
        decision::Void,
    },
};
use handoff_store::{
    Cipher, CipherError, Claim, ClaimView, NewClaim, Place, Registry, RegistryOptions, Sealed, Viewer, Webhook,
};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom, SystemRandom},
};
use std::{sync::Arc, time::Duration};

/// A registry that keeps answers for a day.
pub(crate) async fn registry(database: &Database) -> Arc<dyn Registry> {
    registry_with_ttl(database, Duration::from_secs(86_400)).await
}

pub(crate) async fn registry_with_ttl(database: &Database, replay_ttl: Duration) -> Arc<dyn Registry> {
    let cipher = database.sealed.then(|| ring(&["k"]));
    let options = RegistryOptions { replay_ttl, cipher, ..Default::default() };
    handoff_store::connect(&database.url, options).await.unwrap()
}

/// A registry with these keys, the active one first, or with none, that forgets answers at once.
pub(crate) async fn registry_with_keys(database: &Database, keys: &[&str]) -> Arc<dyn Registry> {
    let cipher = (!keys.is_empty()).then(|| ring(keys));
    let options = RegistryOptions { replay_ttl: Duration::ZERO, cipher, ..Default::default() };
    handoff_store::connect(&database.url, options).await.unwrap()
}

pub(crate) fn ring(keys: &[&str]) -> Arc<dyn Cipher> {
    Arc::new(Ring(keys.iter().map(|key| (*key).to_owned()).collect()))
}

/// A cipher whose keys are made of their ids.
#[derive(Debug)]
struct Ring(Vec<String>);

fn key(id: &str) -> LessSafeKey {
    let bytes = ring::digest::digest(&ring::digest::SHA256, id.as_bytes());
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes.as_ref()).unwrap())
}

#[async_trait::async_trait]
impl Cipher for Ring {
    async fn active_key(&self) -> Result<String, CipherError> {
        Ok(self.0[0].clone())
    }

    async fn seal(&self, place: &Place<'_>, clear: &str) -> Result<Sealed, CipherError> {
        let mut bytes = vec![0; NONCE_LEN];
        SystemRandom::new().fill(&mut bytes).unwrap();
        let nonce = Nonce::try_assume_unique_for_key(&bytes).unwrap();
        let mut content = clear.as_bytes().to_vec();
        key(&self.0[0]).seal_in_place_append_tag(nonce, Aad::from(place.to_bytes()), &mut content).unwrap();
        bytes.append(&mut content);
        Ok(Sealed { key: self.0[0].clone(), bytes })
    }

    async fn open(&self, place: &Place<'_>, mut sealed: Sealed) -> Result<String, CipherError> {
        if !self.0.contains(&sealed.key) {
            return Err(CipherError::MissingKey { key: sealed.key });
        }
        let (nonce, content) = sealed.bytes.split_at_mut(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(nonce).unwrap();
        match key(&sealed.key).open_in_place(nonce, Aad::from(place.to_bytes()), content) {
            Ok(clear) => Ok(String::from_utf8(clear.to_vec()).unwrap()),
            Err(_) => Err(CipherError::NotAuthentic { key: sealed.key }),
        }
    }
}

pub(crate) fn webhook(config_json: &str, has_secret: bool) -> Option<Webhook> {
    Some(Webhook { config_json: config_json.into(), has_secret })
}

pub(crate) fn new_task() -> TaskRef {
    TaskRef {
        task_id: TaskId::generate().to_string(),
        scope: "acct_1".into(),
        principal: "agent_1".into(),
        verb: "create_media_buy".into(),
    }
}

pub(crate) fn claim_of(task: &TaskRef, key: Option<&str>) -> NewClaim {
    NewClaim {
        task: task.clone(),
        protocol: "media-buy".into(),
        idempotency_key: key.map(Into::into),
        request_hash: "hash".into(),
        context_json: Some(r#"{"trace":"t-1"}"#.into()),
        webhook: None,
        proposal: None,
        release: Release::LATEST,
        sandbox: false,
    }
}

/// A claimed task, with a key of its own.
pub(crate) async fn claimed(registry: &dyn Registry) -> TaskRef {
    let task = new_task();
    let key = format!("key-{}", task.task_id);
    assert_eq!(registry.claim(&claim_of(&task, Some(&key))).await.unwrap(), Claim::New);
    task
}

pub(crate) async fn submitted(registry: &dyn Registry) -> TaskRef {
    let task = claimed(registry).await;
    registry.record_decision(&task, &to_task()).await.unwrap();
    task
}

pub(crate) async fn pending(registry: &dyn Registry) -> TaskRef {
    let task = claimed(registry).await;
    registry.record_decision(&task, &to_workflow()).await.unwrap();
    task
}

/// Submitted before anything was decided.
pub(crate) async fn promoted(registry: &dyn Registry) -> TaskRef {
    let task = claimed(registry).await;
    assert!(registry.accept(&task).await.unwrap().submitted);
    task
}

pub(crate) async fn completed(registry: &dyn Registry) -> TaskRef {
    let task = submitted(registry).await;
    registry.settle(&task, &result(r#"{"media_buy_id":"mb_1"}"#)).await.unwrap();
    task
}

pub(crate) fn decision(kind: Kind) -> Decision {
    Decision { kind: Some(kind) }
}

pub(crate) fn complete(result: &str) -> Decision {
    decision(Kind::Complete(Complete { result_json: result.into() }))
}

pub(crate) fn to_task() -> Decision {
    decision(Kind::HandoffToTask(HandoffToTask {
        handler: "book".into(),
        input_json: "{}".into(),
        ..Default::default()
    }))
}

pub(crate) fn to_workflow() -> Decision {
    let handoff = HandoffToWorkflow { handler: "review".into(), input_json: "{}".into(), ..Default::default() };
    decision(Kind::HandoffToWorkflow(handoff))
}

pub(crate) fn refuse(code: &str) -> Decision {
    decision(Kind::Refuse(error(code)))
}

pub(crate) fn void() -> Option<Decision> {
    Some(decision(Kind::Void(Void {})))
}

pub(crate) fn error(code: &str) -> AdcpError {
    AdcpError {
        code: code.into(),
        message: format!("{code} happened"),
        recovery: "correctable".into(),
        retry_after: Some(7),
        details_json: r#"{"limit":1.10}"#.into(),
        ..Default::default()
    }
}

pub(crate) fn result(text: &str) -> Completion {
    Completion {
        outcome: Some(Outcome::ResultJson(text.into())),
        decision_id: "d-1".into(),
        actor: "ann".into(),
        reason: "looks good".into(),
    }
}

pub(crate) fn failure(code: &str) -> Completion {
    Completion { outcome: Some(Outcome::Error(error(code))), ..Default::default() }
}

pub(crate) fn cancellation() -> Completion {
    Completion { outcome: Some(Outcome::Cancellation(Cancellation {})), actor: "ops".into(), ..Default::default() }
}

pub(crate) fn note(event: &str) -> HistoryEntry {
    HistoryEntry { event: event.into(), ..Default::default() }
}

pub(crate) fn buyer() -> Viewer {
    Viewer::Buyer { scope: "acct_1".into(), principal: "agent_1".into() }
}

/// Everything about a task that can be read, to see that something changed nothing.
pub(crate) async fn everything(
    registry: &dyn Registry,
    task: &TaskRef,
) -> (Standing, ClaimView, Option<TaskRecord>, Option<TaskRef>) {
    let viewer = Viewer::Buyer { scope: task.scope.clone(), principal: task.principal.clone() };
    (
        registry.standing(task).await.unwrap(),
        registry.claim_view(task).await.unwrap(),
        registry.get(&viewer, &task.task_id, true).await.unwrap(),
        registry.find(&viewer, &task.task_id).await.unwrap(),
    )
}

pub(crate) async fn record(registry: &dyn Registry, task: &TaskRef) -> Option<TaskRecord> {
    registry.get(&buyer(), &task.task_id, true).await.unwrap()
}

pub(crate) async fn status(registry: &dyn Registry, task: &TaskRef) -> Option<String> {
    Some(record(registry, task).await?.status)
}

pub(crate) async fn events(registry: &dyn Registry, task: &TaskRef) -> Vec<String> {
    let history = record(registry, task).await.unwrap().history;
    history.into_iter().map(|entry| entry.event).collect()
}

pub(crate) fn ended(settlement: &Option<Settlement>) -> &str {
    settlement.as_ref().map_or("", |settlement| &settlement.status)
}

pub(crate) fn submitted_body(task: &TaskRef) -> String {
    handoff_proto::wire::submitted_body(&task.task_id).to_string()
}
