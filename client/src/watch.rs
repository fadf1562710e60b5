//! Following a task until its end.

use crate::{Error, Tasks, backoff::Backoff};
use futures::{Stream, stream};
use handoff_proto::{v1::TaskRecord, wire::TaskStatus};
use handoff_store::Viewer;
use std::time::Duration;

const QUICK: Duration = Duration::from_millis(500);
const SLOW: Duration = Duration::from_secs(10);
// Together well over a minute: a database that restarts is waited for.
const TRIES: u32 = 12;

struct Watch {
    tasks: Tasks,
    viewer: Viewer,
    task_id: String,
    seen: Option<TaskRecord>,
    over: bool,
}

impl Tasks {
    /// The task now and after every change, until it has ended. Empty if the task is not there for this viewer.
    pub fn watch(
        &self,
        viewer: &Viewer,
        task_id: &str,
    ) -> impl Stream<Item = Result<TaskRecord, Error>> + Send + use<> {
        let watch =
            Watch { tasks: self.clone(), viewer: viewer.clone(), task_id: task_id.to_owned(), seen: None, over: false };
        stream::try_unfold(watch, |mut watch| async move { Ok(watch.next().await?.map(|task| (task, watch))) })
    }
}

impl Watch {
    async fn next(&mut self) -> Result<Option<TaskRecord>, Error> {
        let mut backoff = Backoff::new(QUICK, SLOW);
        let mut failures = 0;
        while !self.over {
            if self.seen.is_some() || failures > 0 {
                tokio::time::sleep(backoff.pause()).await;
            }
            let task = match self.tasks.task(&self.viewer, &self.task_id, false).await {
                Ok(Some(task)) => task,
                Ok(None) => return Ok(None),
                Err(error) if error.is_transient() && failures < TRIES => {
                    failures += 1;
                    continue;
                }
                Err(error) => return Err(error),
            };
            failures = 0;
            if self.seen.as_ref() != Some(&task) {
                self.over = task.status.parse::<TaskStatus>().is_ok_and(TaskStatus::is_terminal);
                self.seen = Some(task.clone());
                return Ok(Some(task));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FakeRegistry;
    use futures::TryStreamExt;
    use std::sync::Arc;

    #[tokio::test(start_paused = true)]
    async fn every_change_is_shown_once_and_the_end_is_the_last() {
        let task = |status: &str| Some(TaskRecord { status: status.into(), ..Default::default() });
        let seen = ["submitted", "submitted", "working", "working", "completed", "completed"].map(task);
        let tasks = Tasks::new(Arc::new(FakeRegistry::with_tasks(seen)));
        let shown: Vec<_> = tasks.watch(&Viewer::Operator, "t").map_ok(|task| task.status).try_collect().await.unwrap();
        assert_eq!(shown, ["submitted", "working", "completed"]);
        let nothing = Tasks::new(Arc::new(FakeRegistry::default()));
        let shown: Vec<_> = nothing.watch(&Viewer::Operator, "t").try_collect().await.unwrap();
        assert!(shown.is_empty());
    }
}
