//! What a reviewer sends is compared with the protocol's schemas first.

use handoff_proto::wire::TaskStatus;
use handoff_tests::{Kind, World, binary};
use serde_json::{Value, json};
use tokio::process::Command;

const APPROVAL: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/acme-seller/reviews/approve_insertion_order.json");
const REJECTION: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/acme-seller/reviews/reject_insertion_order.json");
const NONSENSE: &str = r#"{"media_buy": 1}"#;
const OK: i32 = 0;
const REFUSED: i32 = 3;

/// How `task complete` ended, and what it printed.
async fn complete(world: &World, program: &str, validation: &str, words: &[&str]) -> (i32, Value) {
    let mut command = Command::new(binary(program));
    command.args(["--json", "task", "complete"]).args(words).envs(world.environment());
    command.env("HANDOFF_VALIDATION", validation).env("LAB_DIR", world.lab_directory()).kill_on_drop(true);
    let output = command.output().await.expect("the program runs");
    (output.status.code().unwrap_or(-1), serde_json::from_slice(&output.stdout).unwrap_or_default())
}

async fn waiting(world: &World) -> String {
    world.submit("create_media_buy", json!({"arm": "workflow"})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_of_another_shape_is_refused_before_anything_is_sent() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let worker = world.worker().await.unwrap();
    let mut wrong: Value = serde_json::from_str(&std::fs::read_to_string(APPROVAL).unwrap()).unwrap();
    wrong["revision"] = json!("one");
    let wrong = wrong.to_string();
    // The program of its own, and a seller's.
    for program in ["handoff", "lab-seller"] {
        let task_id = waiting(&world).await;
        for (result, place) in [(NONSENSE, "/media_buy_id"), (wrong.as_str(), "/revision")] {
            let (code, told) = complete(&world, program, "strict", &[task_id.as_str(), "--result", result]).await;
            let error = &told["error"];
            assert_eq!(
                (code, &error["code"], &told["retry_safe"]),
                (REFUSED, &json!("VALIDATION_ERROR"), &json!(false))
            );
            assert_eq!(error["issues"][0]["pointer"], place, "{told}");
        }
        let events = world.events(&task_id).await;
        assert!(!events.iter().any(|event| event.contains("SIGNALED")), "{events:?}");
        assert_eq!(world.task(&task_id).await.unwrap().status, "submitted");
        let (code, told) = complete(&world, program, "strict", &[task_id.as_str(), "--file", APPROVAL]).await;
        assert_eq!((code, &told["status"]), (OK, &json!("accepted")), "{told}");
        world.reaches(&task_id, TaskStatus::Completed).await;
    }
    let task_id = waiting(&world).await;
    let (code, told) = complete(&world, "handoff", "strict", &[task_id.as_str(), "--file", REJECTION]).await;
    assert_eq!((code, &told["recorded"]["status"]), (OK, &json!("rejected")), "{told}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_means_it_sends_it_all_the_same() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let worker = world.worker().await.unwrap();
    for (validation, flags) in [("strict", &["--unchecked"][..]), ("warn", &[][..]), ("off", &[][..])] {
        let task_id = waiting(&world).await;
        let words = [&[task_id.as_str(), "--result", NONSENSE][..], flags].concat();
        let (code, told) = complete(&world, "handoff", validation, &words).await;
        assert_eq!((code, &told["status"]), (OK, &json!("accepted")), "{validation}: {told}");
        world.reaches(&task_id, TaskStatus::Completed).await;
    }
    worker.stop().await;
}
