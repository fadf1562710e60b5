//! A task is told in the release of its own request, whoever asks, in whichever release, and however often.

use super::*;
use crate::gateway::clients::{PROGRAMS, variable};
use handoff_client::{Resolved, Viewer};
use handoff_proto::releases::Release;
use handoff_tests::{
    decision,
    front::{Acme, Front},
};
use std::process::Stdio;
use tokio::{io::AsyncWriteExt, process::Command};

#[tokio::test(flavor = "multi_thread")]
async fn poll_webhook_and_replay_are_of_the_submitted_release_sqlite() {
    each_release_is_told(Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn poll_webhook_and_replay_are_of_the_submitted_release_postgres() {
    each_release_is_told(Kind::Postgres).await;
}

async fn each_release_is_told(kind: Kind) {
    let world = world(kind, |_| ()).await;
    let worker = started(&world).await;
    let SigningSource::Pem(keys) = &world.config().webhooks.signing else { panic!("no keys") };
    let lab = Acme::lab(&world)
        .unwrap()
        .set("HANDOFF_VALIDATION", "off")
        .set("HANDOFF_WEBHOOK_SIGNING_KEYS", keys.expose_secret());
    let front = lab.gateway().await.unwrap();
    for release in Release::ALL {
        a_purchase_is_told(&world, &lab, &front, release).await;
    }
    worker.stop().await;
}

/// As a reviewer says it, and as its seller and 3.2's buyers are told.
fn bought(media_buy_id: &str) -> Value {
    json!({
        "status": "completed", "media_buy_id": media_buy_id, "media_buy_status": "pending_start",
        "confirmed_at": "2027-01-20T14:05:00Z", "revision": 1, "packages": [],
    })
}

async fn a_purchase_is_told(world: &World, lab: &Acme<'_>, front: &Front, release: Release) {
    let endpoint = Endpoint::start([]).await;
    let account = json!({"account_id": "acct"});
    let request = json!({
        "account": account, "idempotency_key": fresh_key(), "adcp_version": release.as_str(), "context": {"n": 1},
        "push_notification_config": {"url": endpoint.url(), "operation_id": "op-1"}, "lab": {"arm": "workflow"},
    });
    let submitted = front.call(REGULAR_VERB, &request).await.body;
    assert_eq!(
        (&submitted["status"], &submitted["adcp_version"]),
        (&json!("submitted"), &json!(release.as_str())),
        "{submitted}"
    );
    let task_id = submitted["task_id"].as_str().unwrap().to_owned();

    // Decisions are compared with what was decided, and reviewers are told of that.
    for (media_buy_id, expected) in [("mb_1", "accepted"), ("mb_1", "duplicate"), ("mb_2", "conflict")] {
        let completion = decision::complete(&bought(media_buy_id));
        let resolved = world.handoff.resolve(&Viewer::Operator, &task_id, completion).await.unwrap();
        assert_eq!(resolved.as_str(), expected, "{release}");
        let (Resolved::Accepted { recorded } | Resolved::Duplicate { recorded } | Resolved::Conflict { recorded }) =
            resolved
        else {
            panic!("{release}: {media_buy_id}: nothing is recorded")
        };
        assert_eq!(serde_json::from_str::<Value>(&recorded.result_json).unwrap(), bought("mb_1"), "{release}");
    }

    let mut told = vec![polled(world, &task_id).await["result"].clone()];
    for asked_in in Release::ALL.map(Release::as_str) {
        let poll = json!({"task_id": task_id, "include_result": true, "account": account, "adcp_version": asked_in});
        let poll = front.call("get_task_status", &poll).await.body;
        assert_eq!((&poll["status"], &poll["adcp_version"]), (&json!("completed"), &json!(asked_in)), "{poll}");
        told.push(poll["result"].clone());
        let list = json!({"account": account, "filters": {"task_ids": [task_id]}, "adcp_version": asked_in});
        let list = front.call("list_tasks", &list).await.body;
        let listed = &list["tasks"][0];
        assert_eq!((&listed["task_id"], &listed["status"]), (&json!(task_id), &json!("completed")), "{list}");
    }
    ends(world, &task_id).await;
    let webhook = endpoint.came().pop().unwrap().json();
    assert_eq!((&webhook["status"], endpoint.came().len()), (&json!("completed"), 1), "{webhook}");
    told.push(webhook["result"].clone());
    let shown = lab.handoff(&["task", "get", &task_id]).await.unwrap();
    told.push(shown["result"].clone());
    let mut expected = bought("mb_1");
    if release == Release::V3_0 {
        expected["status"] = json!("pending_start");
        assert_eq!(shown["decided_result"], bought("mb_1"));
    } else {
        assert_eq!(shown.get("decided_result"), None, "{shown}");
    }
    expected["context"] = json!({"n": 1});
    for said in &told {
        assert_eq!(said.to_string(), expected.to_string(), "{release}");
    }
    for (schema, body) in
        [("core/mcp-webhook-payload.json", &webhook), ("media-buy/create-media-buy-response.json", &webhook["result"])]
    {
        assert_eq!(wrong(release, schema, body).await, json!([]), "{release}: {schema}: {body}");
    }

    // The seller is told in its own release.
    world.called("completed", &task_id).await;
    assert!(world.calls.of("completed", &task_id).iter().all(|status| status == "completed"), "{release}");
    // What was said first is said again, and nobody is told once more.
    let mut again = front.call(REGULAR_VERB, &request).await.body;
    assert_eq!(again.as_object_mut().unwrap().remove("replayed"), Some(json!(true)), "{again}");
    assert_eq!(again, submitted);
    assert_eq!(endpoint.came().len(), 1);
}

/// What is wrong with a value by a schema of the release, as the protocol's own package has it.
async fn wrong(release: Release, schema: &str, value: &Value) -> Value {
    let mut checking = Command::new(variable("HANDOFF_BUYER_PYTHON").unwrap())
        .arg(format!("{PROGRAMS}check_schema.py"))
        .args([release.as_str(), schema])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = checking.stdin.take().unwrap();
    stdin.write_all(value.to_string().as_bytes()).await.unwrap();
    drop(stdin);
    let output = checking.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{release}: {schema}");
    serde_json::from_slice(&output.stdout).unwrap()
}
