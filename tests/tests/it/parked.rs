//! Many tasks in the workflow arm, far more than a worker keeps in memory.

use futures::{StreamExt, stream};
use handoff_proto::{wire::TaskStatus, workflows::COMPLETE};
use handoff_tests::{Kind, World, eventually_within, lab::QUICK_VERB, payload};
use serde_json::json;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// How many tasks are parked. 2,000 take ten minutes where the processor is shared.
const PARKED: &str = "HANDOFF_TEST_PARKED";
const PARKED_UNLESS_TOLD: usize = 400;
/// Runs that the worker keeps in memory.
const CACHED: &str = "100";
/// How many calls are under way at once: as many as keep the server busy.
const AT_ONCE: usize = 16;
/// What a thousand more parked tasks may cost a worker whose cache is full. In its cache they would be some 80 MB.
const GROWTH: u64 = 10 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread")]
async fn parked_tasks_cost_no_memory_and_each_completes_after_a_restart() {
    let world = World::with_own_temporal(Kind::Sqlite).await.unwrap();
    let mut worker = world.worker_process_with(&[("LAB_CACHE", CACHED)]).unwrap();
    let parked = std::env::var(PARKED).ok().map_or(PARKED_UNLESS_TOLD, |number| number.parse().expect("a number"));
    let begun = Instant::now();
    let mut tasks = park(&world, parked / 2).await;
    let half = worker.resident_bytes().await.unwrap();
    tasks.extend(park(&world, parked / 2).await);
    let all = worker.resident_bytes().await.unwrap();
    println!("{parked} parked after {:?}: {half} bytes resident at the half, {all} now", begun.elapsed());
    assert!(all < half + GROWTH, "{half} bytes with {} parked, {all} with {parked}", parked / 2);

    assert!(worker.terminate().await.unwrap().success());
    let decide = |task_id: String| {
        let world = &world;
        async move {
            world.signal(&task_id, COMPLETE, vec![payload("json/plain", r#"{"media_buy_id":"mb"}"#)]).await;
        }
    };
    stream::iter(tasks.clone()).map(decide).buffer_unordered(AT_ONCE).collect::<()>().await;
    let _cold = world.worker_process_with(&[("LAB_CACHE", CACHED)]).unwrap();
    eventually_within(PATIENCE, "each task has ended", || async { world.unfinished().await.is_empty().then_some(()) })
        .await;
    println!("each has ended after {:?}", begun.elapsed());
    for task_id in &tasks {
        let task = world.task(task_id).await.expect("the task is there");
        assert_eq!(task.status, TaskStatus::Completed.as_str(), "{task:?}");
    }
    // Whatever was rebuilt from history.
    for task_id in &tasks {
        world.asked_once("review", task_id);
    }
    assert_eq!(tasks.iter().collect::<BTreeSet<_>>().len(), parked);
}

async fn park(world: &World, number: usize) -> Vec<String> {
    let submits = stream::iter(0..number).map(|_| world.submit(QUICK_VERB, json!({"arm": "workflow"})));
    submits.buffer_unordered(AT_ONCE).collect().await
}
