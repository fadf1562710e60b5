//! Polls: `get_task_status`, `list_tasks`, and a task's history. They read the registry, never Temporal.

use crate::{CallError, Config, Error, Handoff, ProgressReport};
use futures::Stream;
use handoff_proto::{
    v1::{HistoryEntry, Progress, TaskRecord},
    wire::{AdcpError, GetTaskStatusRequest, ListTasksRequest, task_status_body, with_context},
};
use handoff_store::{Health, Registry, TaskPage, Viewer};
use serde_json::{Map, Value, json};
use std::{fmt, sync::Arc};

/// Reads tasks from the registry; needs no Temporal. Cheap to clone.
#[derive(Clone)]
pub struct Tasks {
    pub(crate) registry: Arc<dyn Registry>,
}

impl Tasks {
    /// Opens the registry, migrating its schema first.
    pub async fn connect(config: &Config) -> Result<Self, Error> {
        config.check()?;
        Ok(Self::new(handoff_store::connect(&config.registry_url, config.registry_options()?).await?))
    }

    /// From a registry that is open already.
    pub fn new(registry: Arc<dyn Registry>) -> Self {
        Self { registry }
    }

    /// The answer to a poll. A task that is unknown and one that is another's are the same to the viewer.
    pub async fn get_task_status(&self, viewer: &Viewer, request: &GetTaskStatusRequest) -> Result<Value, CallError> {
        let found = self.registry.get(viewer, &request.task_id, request.include_history).await;
        match found.map_err(CallError::registry)? {
            Some(task) => Ok(task_status_body(&task, request)),
            None => Err(no_such_task().into()),
        }
    }

    /// The answer to `list_tasks`.
    pub async fn list_tasks(&self, viewer: &Viewer, request: &ListTasksRequest) -> Result<Value, CallError> {
        let page = self.registry.list(viewer, request).await.map_err(CallError::registry)?;
        Ok(list_body(&page, request))
    }

    /// The scope of a task, whoever asks: only to look for the task there as its own buyer.
    pub async fn scope_of(&self, task_id: &str) -> Result<Option<String>, CallError> {
        let found = self.registry.find(&Viewer::Operator, task_id).await.map_err(CallError::registry)?;
        Ok(found.map(|task| task.scope))
    }

    /// Reaches the registry's database.
    pub async fn health(&self) -> Result<Health, Error> {
        Ok(self.registry.health().await?)
    }

    /// A task as the registry has it; `None` if it is not there for this viewer.
    pub async fn task(
        &self,
        viewer: &Viewer,
        task_id: &str,
        include_history: bool,
    ) -> Result<Option<TaskRecord>, Error> {
        Ok(self.registry.get(viewer, task_id, include_history).await?)
    }

    /// What happened to a task, oldest first; `None` if it is not there for this viewer.
    pub async fn history(&self, viewer: &Viewer, task_id: &str) -> Result<Option<Vec<HistoryEntry>>, Error> {
        Ok(self.task(viewer, task_id, true).await?.map(|task| task.history))
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").finish_non_exhaustive()
    }
}

impl Handoff {
    /// The part of this client that needs no Temporal.
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// See [`Tasks::get_task_status`].
    pub async fn get_task_status(&self, viewer: &Viewer, request: &GetTaskStatusRequest) -> Result<Value, CallError> {
        self.tasks.get_task_status(viewer, request).await
    }

    /// See [`Tasks::list_tasks`].
    pub async fn list_tasks(&self, viewer: &Viewer, request: &ListTasksRequest) -> Result<Value, CallError> {
        self.tasks.list_tasks(viewer, request).await
    }

    /// See [`Tasks::history`].
    pub async fn history(&self, viewer: &Viewer, task_id: &str) -> Result<Option<Vec<HistoryEntry>>, Error> {
        self.tasks.history(viewer, task_id).await
    }

    /// See [`Tasks::watch`].
    pub fn watch(
        &self,
        viewer: &Viewer,
        task_id: &str,
    ) -> impl Stream<Item = Result<TaskRecord, Error>> + Send + use<> {
        self.tasks.watch(viewer, task_id)
    }

    /// See [`Tasks::report_progress`].
    pub async fn report_progress(
        &self,
        viewer: &Viewer,
        task_id: &str,
        progress: &Progress,
    ) -> Result<ProgressReport, Error> {
        self.tasks.report_progress(viewer, task_id, progress).await
    }
}

/// What every poll for a task answers that the viewer can't see, whatever the reason.
pub fn no_such_task() -> AdcpError {
    AdcpError::correctable("REFERENCE_NOT_FOUND", "There is no such task.")
        .field("task_id")
        .suggestion("Check the task_id, and the account that the task was submitted for.")
}

pub(crate) fn list_body(page: &TaskPage, request: &ListTasksRequest) -> Value {
    let mut summary = Map::new();
    if let Some(total) = page.total {
        summary.insert("total_matching".into(), total.into());
    }
    summary.insert("returned".into(), page.tasks.len().into());
    if let Ok(Value::Object(filters)) = serde_json::to_value(&request.filters) {
        summary.insert("filters_applied".into(), filters.keys().cloned().collect());
    }
    summary.insert("sort_applied".into(), json!(request.sort));

    let mut pagination = Map::new();
    pagination.insert("has_more".into(), page.next_cursor.is_some().into());
    if let Some(cursor) = &page.next_cursor {
        pagination.insert("cursor".into(), cursor.clone().into());
    }
    if let Some(total) = page.total {
        pagination.insert("total_count".into(), total.into());
    }

    let tasks = page.tasks.iter().map(|task| list_item(task, request.include_history));
    let body = json!({
        "status": "completed",
        "query_summary": summary,
        "tasks": tasks.collect::<Vec<_>>(),
        "pagination": pagination,
    });
    with_context(body, request.context.as_ref())
}

// As in a poll, but `protocol` is called `domain` here.
fn list_item(task: &TaskRecord, include_history: bool) -> Value {
    let poll = GetTaskStatusRequest { include_history, ..Default::default() };
    let mut body = task_status_body(task, &poll);
    if let Some(item) = body.as_object_mut() {
        for only_polled in ["progress", "error"] {
            item.remove(only_polled);
        }
        if let Some(domain) = item.remove("protocol") {
            item.insert("domain".into(), domain);
        }
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use handoff_proto::{v1, wire::ListTasksFilters};

    #[test]
    fn a_list_has_the_protocols_shape() {
        let task = TaskRecord {
            task: Some(v1::TaskRef { task_id: "t".into(), verb: "get_signals".into(), ..Default::default() }),
            protocol: "signals".into(),
            status: "failed".into(),
            created_at: Some(v1::ProtoTimestamp { seconds: 1, nanos: 0 }),
            updated_at: Some(v1::ProtoTimestamp { seconds: 2, nanos: 0 }),
            error: Some(v1::AdcpError { code: "A".into(), message: "b".into(), ..Default::default() }),
            ..Default::default()
        };
        let page = TaskPage { tasks: vec![task], next_cursor: Some("next".into()), total: Some(3) };
        let request = ListTasksRequest {
            filters: ListTasksFilters { task_type: Some("get_signals".into()), ..Default::default() },
            context: Some(json!({"c": 1})),
            ..Default::default()
        };
        assert_eq!(
            list_body(&page, &request),
            json!({
                "status": "completed",
                "query_summary": {
                    "total_matching": 3,
                    "returned": 1,
                    "filters_applied": ["task_type"],
                    "sort_applied": {"field": "created_at", "direction": "desc"},
                },
                "tasks": [{
                    "task_id": "t", "task_type": "get_signals", "domain": "signals", "status": "failed",
                    "created_at": "1970-01-01T00:00:01.000000Z", "updated_at": "1970-01-01T00:00:02.000000Z",
                    "has_webhook": false,
                }],
                "pagination": {"has_more": true, "cursor": "next", "total_count": 3},
                "context": {"c": 1},
            })
        );
        let last = list_body(&TaskPage::default(), &ListTasksRequest::default());
        assert_eq!(last["pagination"], json!({"has_more": false}));
        assert_eq!(last["query_summary"]["returned"], 0);
    }

    #[tokio::test]
    async fn cursors_pass_through_and_wrong_ones_are_refused() {
        let tasks = Tasks::new(Arc::new(crate::testing::FakeRegistry::default()));
        let page = |cursor: Option<&str>| {
            let mut request = ListTasksRequest::default();
            request.pagination.cursor = cursor.map(str::to_owned);
            let tasks = tasks.clone();
            async move { tasks.list_tasks(&Viewer::Operator, &request).await }
        };
        let first = page(None).await.unwrap();
        let second = page(first["pagination"]["cursor"].as_str()).await.unwrap();
        assert_eq!(second["pagination"]["has_more"], false);
        let wrong = page(Some("wrong")).await.unwrap_err().to_adcp();
        assert_eq!(wrong.field.as_deref(), Some("pagination.cursor"));
        let unknown = GetTaskStatusRequest { task_id: "unknown".into(), ..Default::default() };
        let error = tasks.get_task_status(&Viewer::Operator, &unknown).await.unwrap_err().to_adcp();
        assert_eq!(error, no_such_task());
    }
}
