//! A database that is away in the middle of a purchase or an offer is waited for.

use super::{BUY, buy, committed, purchase, state, transitions};
use handoff_client::Caller;
use handoff_proto::{wire::TaskStatus, workflows::COMPLETE};
use handoff_store::ProposalState;
use handoff_tests::{Kind, PRINCIPAL, SCOPE, World, eventually, fresh_key, payload};
use serde_json::json;
use std::time::{Duration, Instant};

const OUTAGE: Duration = Duration::from_secs(60);

// Three requests at once, each where it needs the registry next: one to reserve, one to settle its purchase, one to keep what was
// finalized for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_minute_without_a_database_loses_nothing() {
    let world = World::new(Kind::Postgres).await.unwrap();
    let worker = world.worker_process().unwrap();
    let (to_reserve, to_settle) = (committed(&world).await, committed(&world).await);
    let to_finalize = format!("prop_{}", fresh_key());
    let gate = fresh_key();
    let lab = json!({"arm": "task", "hold": {"work": gate}});
    let settling = buy(&world, &to_settle, lab).await.unwrap().task_id;
    world.called("work", &settling).await;
    let finalizing = world.submit("get_products", json!({"arm": "workflow"})).await;
    world.called("review", &finalizing).await;
    worker.pause().await.unwrap();
    let asked = purchase(&fresh_key(), &to_reserve, json!({"arm": "task"}));
    let known = world.unfinished().await;
    let (handoff, text) = (world.handoff.clone(), asked.to_string());
    let answer = tokio::spawn(async move { handoff.call(&Caller::new(SCOPE, PRINCIPAL), BUY, text.as_bytes()).await });
    let reserving = eventually("the request is claimed", || async {
        world.unfinished().await.into_iter().find(|task_id| !known.contains(task_id))
    })
    .await;
    eventually("its run is there", || async {
        world.run(&reserving).describe(Default::default()).await.is_ok().then_some(())
    })
    .await;
    let mut scheduled = Vec::new();
    for task_id in [&reserving, &settling, &finalizing] {
        scheduled.push((task_id, activities(&world, task_id).await));
    }

    world.database_away(true).await.unwrap();
    let away = Instant::now();
    worker.resume().await.unwrap();
    world.calls.open(&gate);
    let offer = json!({"proposal_id": to_finalize, "name": "Sports", "allocations": [], "proposal_status": "committed",
        "expires_at": "2099-01-01T00:00:00Z"});
    let result = json!({"products": [], "proposals": [offer]}).to_string();
    world.signal(&finalizing, COMPLETE, vec![payload("json/plain", result)]).await;
    for (task_id, before) in scheduled {
        eventually("a regular activity waits for the registry", || async {
            let (now, last) = (activities(&world, task_id).await, world.events(task_id).await.pop());
            (now > before && last.as_deref() == Some("ACTIVITY_TASK_SCHEDULED")).then_some(())
        })
        .await;
    }
    assert_eq!(world.calls.of("decide", &reserving), [] as [String; 0], "the seller is called after the reserve");
    eventually("the time is over", || async { (away.elapsed() >= OUTAGE).then_some(()) }).await;
    world.database_away(false).await.unwrap();

    // Who asked was told to ask again, or has the answer by now.
    match answer.await.unwrap() {
        Ok(answer) => assert_eq!(answer.status, "submitted"),
        Err(error) => assert!(error.is_transient(), "{error:?}"),
    }
    for (task_id, proposal_id) in [(&settling, &to_settle), (&reserving, &to_reserve)] {
        world.reaches(task_id, TaskStatus::Completed).await;
        assert_eq!(state(&world, proposal_id).await, ProposalState::Consumed);
        let events: Vec<String> = transitions(&world, proposal_id).await.into_iter().map(|(event, _)| event).collect();
        assert_eq!(events, ["committed", "reserved", "consumed"]);
    }
    world.reaches(&finalizing, TaskStatus::Completed).await;
    assert_eq!(state(&world, &to_finalize).await, ProposalState::Committed);
    assert_eq!(world.send(BUY, &asked).await.unwrap().task_id, reserving);
    assert_eq!(world.calls.of("decide", &reserving).len(), 1);
}

/// How many regular activities its run has scheduled.
async fn activities(world: &World, task_id: &str) -> usize {
    world.events(task_id).await.iter().filter(|event| *event == "ACTIVITY_TASK_SCHEDULED").count()
}
