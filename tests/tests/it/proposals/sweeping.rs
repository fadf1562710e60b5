//! What housekeeping does about proposals, and the commands for them.

use super::{buy, committed, committed_as, purchase, reference, state};
use handoff_client::{HousekeepingSettings, housekeeping::SweepAges};
use handoff_proto::wire::TaskStatus;
use handoff_store::ProposalState;
use handoff_tests::{Kind, World, binary, eventually, fresh_key};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::process::Command;

const NOW: SweepAges = SweepAges { drafts: Duration::ZERO, ended: Duration::ZERO, reserved: Duration::ZERO };

async fn handoff(world: &World, words: &[&str]) -> (i32, Value) {
    let mut command = Command::new(binary("handoff"));
    // What the lab is answered with is none of the protocol's results.
    command.envs(world.environment()).env("HANDOFF_VALIDATION", "off").args(words).arg("--json");
    let output = command.output().await.expect("handoff runs");
    let shown = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code().unwrap_or(-1), shown)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_takes_what_nobody_buys_and_no_live_reservation() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let world = World::new(kind).await.unwrap();
        let worker = world.worker().await.unwrap();
        let draft = committed_as(&world, |offer| offer.committed = false).await;
        let expired = committed_as(&world, |offer| offer.expires_at = Some(1)).await;
        let held = committed(&world).await;
        let task_id = buy(&world, &held, json!({"arm": "workflow"})).await.unwrap().task_id;
        world.called("review", &task_id).await;
        let bought = committed(&world).await;
        buy(&world, &bought, json!({})).await.unwrap();
        let swept = world.handoff.sweep_proposals(NOW).await.unwrap();
        assert_eq!((swept.drafts, swept.expired, swept.idle, swept.released.len()), (1, 1, 0, 0));
        assert_eq!(state(&world, &held).await, ProposalState::Consuming);
        assert_eq!(state(&world, &bought).await, ProposalState::Consumed);
        for gone in [&draft, &expired] {
            assert_eq!(handoff(&world, &["proposal", "get", gone]).await.0, 4);
        }
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schedule_sweeps_and_frees_what_a_lost_run_held() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let world = World::new(kind).await.unwrap();
        let settings = HousekeepingSettings {
            every: Some(Duration::from_secs(1)),
            reconcile_after: Duration::ZERO,
            draft_retention: Duration::ZERO,
            proposal_retention: Duration::ZERO,
            ..Default::default()
        };
        let lasting = async || committed_as(&world, |offer| offer.expires_at = Some(4_070_908_800_000_000)).await;
        let (held, lost) = (lasting().await, lasting().await);
        let worker = world.keeping_worker(settings).await.unwrap();
        let mut tasks = Vec::new();
        for proposal_id in [&held, &lost] {
            tasks.push(buy(&world, proposal_id, json!({"arm": "workflow"})).await.unwrap().task_id);
            world.called("review", &tasks[tasks.len() - 1]).await;
        }
        let draft = committed_as(&world, |offer| offer.committed = false).await;
        let expired = committed_as(&world, |offer| offer.expires_at = Some(1)).await;
        world.run(&tasks[1]).terminate(Default::default()).await.unwrap();
        for gone in [&draft, &expired] {
            eventually("it is swept", || async {
                let found = world.handoff.registry().get_proposal(&reference(gone)).await.unwrap();
                found.is_none().then_some(())
            })
            .await;
        }
        world.reaches(&tasks[1], TaskStatus::Failed).await;
        assert_eq!(state(&world, &lost).await, ProposalState::Committed);
        assert_eq!(state(&world, &held).await, ProposalState::Consuming, "its run is at work");
        buy(&world, &lost, json!({})).await.unwrap();
        crate::housekeeping::remove(&world).await;
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_can_not_read_a_proposal_does_not_release_it() {
    let keys = crate::encryption::ring(&crate::encryption::key("k"));
    let world = World::configured(Kind::Sqlite, |config| config.encryption = keys).await.unwrap();
    let worker = world.worker().await.unwrap();
    let proposal_id = committed(&world).await;
    let task_id = buy(&world, &proposal_id, json!({"arm": "workflow"})).await.unwrap().task_id;
    world.called("review", &task_id).await;
    let release = ["proposal", "release", &proposal_id, "--force", "--actor", "ann", "--reason", "stuck", "--json"];
    let mut command = Command::new(binary("handoff"));
    command.args(release).envs(world.environment()).env_remove("HANDOFF_ENCRYPTION_KEYS");
    let output = command.env_remove("HANDOFF_ENCRYPTION_KEYS_FILE").output().await.expect("handoff runs");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["error"]["code"], handoff_proto::errors::KEYS_MISSING, "{told}");
    assert_eq!(state(&world, &proposal_id).await, ProposalState::Consuming);
    let (code, released) = handoff(&world, &release[..8]).await;
    assert_eq!((code, &released["state"]), (0, &json!("committed")), "{released}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_show_a_proposal_and_release_no_live_one() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let worker = world.worker().await.unwrap();
    let proposal_id = committed(&world).await;
    let (code, listed) = handoff(&world, &["proposal", "list", "--state", "committed"]).await;
    assert_eq!((code, &listed["proposals"][0]["proposal_id"]), (0, &json!(proposal_id)));
    let release = ["proposal", "release", &proposal_id, "--actor", "ann", "--reason", "stuck"];
    assert_eq!(handoff(&world, &release).await.0, 3, "nothing holds it");
    let task_id = buy(&world, &proposal_id, json!({"arm": "workflow"})).await.unwrap().task_id;
    world.called("review", &task_id).await;
    let (code, refused) = handoff(&world, &release).await;
    assert_eq!((code, &refused["error"]["code"]), (3, &json!("INVALID_STATE")), "{refused}");
    assert_eq!(state(&world, &proposal_id).await, ProposalState::Consuming);
    let forced = ["proposal", "release", &proposal_id, "--force", "--actor", "ann", "--reason", "stuck"];
    let (code, released) = handoff(&world, &forced).await;
    assert_eq!((code, &released["state"]), (0, &json!("committed")), "{released}");
    // Who lost its reservation can't succeed.
    let result = json!({"media_buy_id": "mb"}).to_string();
    handoff(&world, &["task", "complete", &task_id, "--result", &result]).await;
    let task = world.reaches(&task_id, TaskStatus::Failed).await;
    assert_eq!(task.error.unwrap().code, handoff_proto::errors::NOT_FINALIZED);
    buy(&world, &proposal_id, json!({})).await.unwrap();
    let (code, shown) = handoff(&world, &["proposal", "get", &proposal_id, "--body"]).await;
    assert_eq!((code, &shown["state"], &shown["body"]["name"]), (0, &json!("consumed"), &json!("Sports")));
    let events: Vec<&str> =
        shown["history"].as_array().unwrap().iter().filter_map(|entry| entry["event"].as_str()).collect();
    assert_eq!(events, ["committed", "reserved", "released", "reserved", "consumed"]);
    assert_eq!((&shown["history"][2]["actor"], &shown["history"][2]["reason"]), (&json!("ann"), &json!("stuck")));
    let again = purchase(&fresh_key(), &proposal_id, json!({}));
    assert!(world.send(super::BUY, &again).await.is_err());
    worker.stop().await;
}
