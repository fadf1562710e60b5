//! The newest run: is it encrypted as this process would, and on which task queue are runs?

use super::Check;
use crate::{
    Config,
    codec::{EncryptingCodec, is_sealed, key_id},
    queue,
    run_input::stored_input,
};
use temporalio_client::{Client, grpc::WorkflowService};
use temporalio_common::protos::temporal::api::{
    common::v1::Payload, workflow::v1::WorkflowExecutionInfo, workflowservice::v1::ListWorkflowExecutionsRequest,
};

const NAME: &str = "stored payloads";
const SAME_KEYS: &str = "Give every worker and client the same HANDOFF_ENCRYPTION_KEYS (or HANDOFF_ENCRYPTION_KEYS_FILE); a key \
    that was rotated out stays in the list until no run needs it.";

/// Compares the newest run of the task queue with this process's keys; nothing if there is none to compare.
pub(super) async fn check(config: &Config, client: &Client) -> Option<Check> {
    let queue = &config.task_queue;
    if queue.contains(['\'', '\\']) {
        return None;
    }
    let run = newest(client, &format!("HandoffScope IS NOT NULL AND TaskQueue = '{queue}'")).await?;
    let payload = stored_input(client, run.execution?).await?;
    judge(config, payload).await
}

/// The task queue of the newest run, whichever it is.
pub(super) async fn newest_task_queue(client: &Client) -> Option<String> {
    Some(newest(client, "HandoffScope IS NOT NULL").await?.task_queue).filter(|queue| !queue.is_empty())
}

async fn judge(config: &Config, payload: Payload) -> Option<Check> {
    let sealed = is_sealed(&payload);
    // Keys that can't be loaded have a check of their own.
    match (config.encryption.load().ok()?, sealed) {
        (None, false) => None,
        (Some(_), false) => {
            let found = "the newest run is stored in clear: whoever began it has no keys";
            Some(Check::warn(NAME, found, SAME_KEYS))
        }
        (None, true) => {
            let found =
                format!("the newest run is encrypted with key {:?}, and this process has no keys", key_id(&payload));
            Some(Check::fail(NAME, found, SAME_KEYS))
        }
        (Some(keys), true) => {
            let id = key_id(&payload).into_owned();
            Some(match EncryptingCodec::new(keys).open(vec![payload]).await {
                Ok(_) => Check::ok(NAME, format!("the newest run opens with key {id:?}")),
                Err(error) => Check::fail(NAME, error.to_string(), SAME_KEYS),
            })
        }
    }
}

async fn newest(client: &Client, query: &str) -> Option<WorkflowExecutionInfo> {
    let request = ListWorkflowExecutionsRequest {
        namespace: client.options().namespace.clone(),
        page_size: 1,
        query: query.to_owned(),
        ..Default::default()
    };
    let listed = WorkflowService::list_workflow_executions(&mut client.clone(), queue::brief(request)).await.ok()?;
    listed.into_inner().executions.into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        CheckStatus,
        codec::{Key, KeySource},
    };

    #[tokio::test]
    async fn keys_must_be_those_of_the_newest_run() {
        let source = |id| KeySource::Text(Key::generate(id).unwrap());
        let (theirs, other, same_id) = (source("k1"), source("k2"), source("k1"));
        let plain = Payload { data: b"{}".to_vec(), ..Default::default() };
        let codec = EncryptingCodec::new(theirs.load().unwrap().unwrap());
        let sealed = codec.seal(vec![plain.clone()]).await.unwrap().remove(0);
        let judged = async |encryption, payload: &Payload| {
            judge(&Config { encryption, ..Config::default() }, payload.clone()).await.map(|check| check.status)
        };
        assert_eq!(judged(theirs.clone(), &sealed).await, Some(CheckStatus::Ok));
        assert_eq!(judged(other, &sealed).await, Some(CheckStatus::Fail));
        assert_eq!(judged(same_id, &sealed).await, Some(CheckStatus::Fail));
        assert_eq!(judged(KeySource::None, &sealed).await, Some(CheckStatus::Fail));
        assert_eq!(judged(theirs, &plain).await, Some(CheckStatus::Warn));
        assert_eq!(judged(KeySource::None, &plain).await, None);
    }
}
