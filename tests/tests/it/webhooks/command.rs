//! `handoff webhook`: what an operator sees of webhooks, and sends once more.

use super::{Endpoint, REGULAR_VERB, Say, ends, log, started, submit, world};
use handoff_store::WebhookState;
use handoff_tests::{Kind, World, binary, eventually};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::process::Command;

async fn command(world: &World, words: &[&str]) -> (i32, Value) {
    let mut command = Command::new(binary("handoff"));
    command.envs(world.environment()).arg("webhook").args(words).arg("--json");
    let output = command.output().await.expect("handoff runs");
    (output.status.code().unwrap_or(-1), serde_json::from_slice(&output.stdout).unwrap_or_default())
}

/// The ids in an answer, sorted.
fn ids(list: &Value) -> Vec<&str> {
    let mut ids: Vec<&str> =
        list.as_array().unwrap().iter().filter_map(|one| one["task_id"].as_str().or(one.as_str())).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_listed_and_a_time_range_is_sent_once_more() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let world = world(kind, |config| config.webhooks.horizon = Duration::from_secs(3600)).await;
        let worker = started(&world).await;
        let (refused, taken) = (Endpoint::start([Say::Status(409)]).await, Endpoint::start([]).await);
        let mut tasks = Vec::new();
        for endpoint in [&refused, &taken, &taken] {
            let task_id = submit(&world, REGULAR_VERB, &endpoint.url(), json!({"arm": "task"})).await;
            ends(&world, &task_id).await;
            world.closed(&task_id).await;
            tasks.push(task_id);
        }
        let (code, all) = command(&world, &["list"]).await;
        assert_eq!((code, ids(&all["webhooks"])), (0, sorted(&[&tasks[0], &tasks[1], &tasks[2]])), "{all}");
        let (_, stopped) = command(&world, &["list", "--state", "stopped"]).await;
        assert_eq!(ids(&stopped["webhooks"]), [tasks[0].as_str()]);
        let (_, one) = command(&world, &["list", "--limit", "1"]).await;
        assert_eq!(ids(&one["webhooks"]), [tasks[0].as_str()], "the oldest first");
        // The last one ended here; those before it did not.
        let since = all["webhooks"][2]["ended_at"].as_str().unwrap();
        let (_, late) = command(&world, &["list", "--ended-after", since]).await;
        assert_eq!(ids(&late["webhooks"]), [tasks[2].as_str()]);
        let (code, shown) = command(&world, &["show", &tasks[0]]).await;
        assert_eq!(
            (code, &shown["log"][0]["error_class"], &shown["log"][0]["status"]),
            (0, &json!("conflict"), &json!(409))
        );
        assert!(!shown.to_string().contains(&refused.url()), "where it goes is the buyer's: {shown}");

        let (code, begun) = command(&world, &["redeliver", "--ended-before", since]).await;
        assert_eq!((code, ids(&begun["redelivering"])), (0, sorted(&[&tasks[0], &tasks[1]])), "{begun}");
        eventually("both came again", || async {
            (refused.came().len() == 2 && taken.came().len() == 3).then_some(())
        })
        .await;
        eventually("the one that was refused is delivered", || async {
            (log(&world, &tasks[0]).await.0.state == WebhookState::Delivered).then_some(())
        })
        .await;
        let came = refused.came();
        assert_eq!(came[0].body, came[1].body, "the same delivery");
        assert_eq!(came[0].header("idempotency-key"), came[1].header("idempotency-key"));
        let again = taken.came();
        assert_eq!(again[0].body, again[2].body);

        let (code, unknown) = command(&world, &["redeliver", "task_unknown"]).await;
        assert_eq!((code, &unknown["error"]["code"]), (4, &json!("REFERENCE_NOT_FOUND")), "{unknown}");
        let (code, _) = command(&world, &["redeliver"]).await;
        assert_eq!(code, 2, "all of them only by name");
        let (code, none) = command(&world, &["list", "--state", "expired"]).await;
        assert_eq!((code, &none["webhooks"]), (0, &json!([])));
        worker.stop().await;
    }
}

fn sorted<'a>(tasks: &[&'a String]) -> Vec<&'a str> {
    let mut ids: Vec<&str> = tasks.iter().map(|task_id| task_id.as_str()).collect();
    ids.sort_unstable();
    ids
}
