//! A worker that is paused through its own timeout while another does its work, and goes on late. What it writes then changes
//! nothing.

use super::REGULAR_VERB;
use crate::on_both_databases;
use handoff_proto::wire::TaskStatus;
use handoff_tests::{Process, World, eventually, fresh_key, request};
use serde_json::json;
use std::{net::Ipv4Addr, sync::Arc};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

on_both_databases! {
    async fn a_paused_workers_late_writes_change_nothing(world: World) {
        let link = Link::to(&world).await;
        let paused = link.worker_process(&world);
        let lab = json!({"arm": "task", "steps": 1, "hold": {"work": "g"}});
        let task_id = world.submit(REGULAR_VERB, lab).await;
        world.called("work", &task_id).await;
        link.pause(&paused).await;
        // Its heartbeats stop; past the timeout another worker gets the task, and finishes it.
        let _other = world.worker_process().unwrap();
        eventually("the other worker runs the task", || async {
            (world.calls.of("work", &task_id).len() == 2).then_some(())
        })
        .await;
        world.calls.open("g");
        world.reaches(&task_id, TaskStatus::Completed).await;
        world.closed(&task_id).await;
        let settled = world.task(&task_id).await.unwrap();
        assert_eq!(world.calls.of("returned", &task_id).len(), 1);
        paused.resume().await.unwrap();
        // The first attempt goes on: it reports progress and returns a result.
        eventually("the paused worker goes on", || async {
            (world.calls.of("returned", &task_id).len() == 2).then_some(())
        })
        .await;
        assert_eq!(world.task(&task_id).await.unwrap(), settled);
    }

    async fn a_paused_workers_late_decision_changes_nothing(world: World) {
        let link = Link::to(&world).await;
        let paused = link.worker_process(&world);
        // The first attempt would complete the request; the next one hands it off.
        let lab = json!({"arm": "complete", "hold": {"decide": "g"}, "later": {"arm": "task", "steps": 1}});
        let asked = request(&fresh_key(), lab);
        let (task_id, answer) = world.begin(REGULAR_VERB, &asked).await;
        link.pause(&paused).await;
        let _other = world.worker_process().unwrap();
        let answer = answer.await.unwrap().unwrap();
        assert_eq!((answer.status.as_str(), &answer.task_id), ("submitted", &task_id));
        world.reaches(&task_id, TaskStatus::Completed).await;
        world.closed(&task_id).await;
        let journal = async || world.registry.standing(&world.reference(&task_id)).await.unwrap();
        let (settled, decided) = (world.task(&task_id).await.unwrap(), journal().await);
        assert_eq!(world.calls.of("decide", &task_id).len(), 2);
        assert!(world.calls.of("discarded", &task_id).is_empty());
        world.calls.open("g");
        paused.resume().await.unwrap();
        // Its seller, who may have booked, is told.
        world.called("discarded", &task_id).await;
        assert_eq!((world.task(&task_id).await.unwrap(), journal().await), (settled, decided));
        let again = world.send(REGULAR_VERB, &asked).await.unwrap();
        assert_eq!((again.status.as_str(), &again.task_id, again.replayed), ("submitted", &task_id, true));
        assert_eq!(world.calls.of("decide", &task_id).len(), 2);
    }
}

/// A worker's way to the Temporal server. A paused worker's connections stay open, and each poll that is left in them takes an
/// attempt with it, for as long as that one's heartbeats are not missed, too: a test would wait for minutes.
struct Link {
    address: String,
    cuts: Arc<watch::Sender<()>>,
}

impl Link {
    async fn to(world: &World) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port is free");
        let address = listener.local_addr().expect("it has an address").to_string();
        let (server, cuts) = (world.temporal.address(), Arc::new(watch::Sender::new(())));
        let link = Self { address, cuts: cuts.clone() };
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carry(near, server.clone(), cuts.subscribe()));
            }
        });
        link
    }

    fn worker_process(&self, world: &World) -> Process {
        world.worker_process_with(&[("TEMPORAL_ADDRESS", self.address.as_str())]).expect("a worker")
    }

    /// The worker stops, and its connections end. When it goes on it may connect again.
    async fn pause(&self, worker: &Process) {
        worker.pause().await.expect("the worker can be paused");
        self.cuts.send_replace(());
    }
}

async fn carry(mut near: TcpStream, server: String, mut cuts: watch::Receiver<()>) {
    let Ok(mut far) = TcpStream::connect(server).await else { return };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
        _ = cuts.changed() => {}
    }
}
