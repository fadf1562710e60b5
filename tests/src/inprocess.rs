//! A worker in the test's own process, on a thread of its own: for sellers that a test writes itself.

use anyhow::{Context, Result};
use handoff_activities::seller::Handlers;
use handoff_store::Registry;
use handoff_worker::{Worker, WorkerSettings};
use std::{sync::Arc, thread::JoinHandle};
use temporalio_client::Client;

type Stop = Box<dyn Fn() + Send>;

/// A running worker; shut down with this value.
pub struct InProcessWorker {
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl InProcessWorker {
    /// Starts it, and waits until it is made. It polls in a moment; what comes before that waits at the server.
    pub async fn start(
        client: Client,
        registry: Arc<dyn Registry>,
        handlers: Handlers,
        settings: WorkerSettings,
    ) -> Result<Self> {
        let (ready, is_ready) = tokio::sync::oneshot::channel::<Result<Stop>>();
        let thread = std::thread::spawn(move || {
            let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(ready.send(Err(error.into()))),
            };
            runtime.block_on(async move {
                match Worker::new(client, registry, handlers, &settings) {
                    Ok(worker) => {
                        let _ = ready.send(Ok(Box::new(worker.shutdown_handle())));
                        if let Err(error) = worker.run().await {
                            eprintln!("the worker stopped: {error:#}");
                        }
                    }
                    Err(error) => drop(ready.send(Err(error))),
                }
            });
        });
        let stop = is_ready.await.context("the worker's thread is gone")??;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Shuts it down gracefully, and waits.
    pub async fn stop(mut self) {
        (self.stop)();
        if let Some(thread) = self.thread.take() {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

impl Drop for InProcessWorker {
    fn drop(&mut self) {
        (self.stop)();
    }
}
