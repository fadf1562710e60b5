//! `handoff task`: what reads tasks. Works without Temporal.

use super::{
    args::{GetArgs, ListArgs, TaskArgs},
    exit::Exit,
    output::{Output, table},
    problem::Problem,
    show,
};
use crate::{
    CallError, Tasks,
    tasks::{list_body, no_such_task},
};
use futures::{StreamExt, pin_mut};
use handoff_proto::{
    v1::TaskRecord,
    wire::{AdcpError, ListTasksFilters, ListTasksRequest, Pagination},
};
use serde_json::{Value, json};

pub(super) async fn get(args: GetArgs, tasks: &Tasks, output: &Output) -> Result<Exit, Problem> {
    let viewer = args.task.viewer.viewer();
    match tasks.task(&viewer, &args.task.task_id, args.history).await? {
        Some(task) => {
            output.data(&show::task_json(&task, args.history), || {
                let mut text = show::task_text(&task);
                if args.history {
                    text.push_str("\n\n");
                    text.push_str(&history_table(&task));
                }
                text
            });
            Ok(Exit::Ok)
        }
        None => Err(missing(tasks, &viewer, &args.task.task_id).await?),
    }
}

pub(super) async fn list(args: ListArgs, tasks: &Tasks, output: &Output) -> Result<Exit, Problem> {
    let viewer = args.viewer.viewer();
    let request = ListTasksRequest {
        filters: ListTasksFilters {
            protocols: args.protocol,
            statuses: args.status,
            task_types: args.verb,
            created_after: args.created_after,
            created_before: args.created_before,
            updated_after: args.updated_after,
            updated_before: args.updated_before,
            context_contains: args.context_contains,
            has_webhook: args.has_webhook,
            ..Default::default()
        },
        sort: args.sort.sort(args.ascending),
        pagination: Pagination { max_results: args.limit, cursor: args.cursor },
        ..Default::default()
    };
    let page = tasks.registry.list(&viewer, &request).await.map_err(CallError::registry)?;
    let mut body = list_body(&page, &request);
    name_owners(&mut body, &page.tasks);
    output.data(&body, || {
        let rows = page.tasks.iter().map(|task| {
            let reference = task.task.clone().unwrap_or_default();
            let created = show::time(task.created_at.as_ref());
            let progress = show::progress(task);
            [
                reference.task_id,
                reference.verb,
                task.status.clone(),
                reference.scope,
                reference.principal,
                created,
                progress,
            ]
        });
        table(&["TASK", "VERB", "STATUS", "ACCOUNT", "PRINCIPAL", "CREATED", "PROGRESS"], rows)
    });
    let total = page.total.map(|total| format!(" of {total}")).unwrap_or_default();
    output.talk(&format!("{}{total} tasks", page.tasks.len()));
    if let Some(cursor) = &page.next_cursor {
        output.talk(&format!("next page: --cursor {cursor}"));
    }
    Ok(Exit::Ok)
}

pub(super) async fn watch(args: TaskArgs, tasks: &Tasks, output: &Output) -> Result<Exit, Problem> {
    let viewer = args.viewer.viewer();
    let changes = tasks.watch(&viewer, &args.task_id);
    pin_mut!(changes);
    let mut last = None;
    while let Some(task) = changes.next().await {
        let task = task?;
        output.item(&show::task_json(&task, false), || {
            let when = show::time(task.updated_at.as_ref());
            format!("{when}  {:<14}  {}", task.status, show::progress(&task)).trim_end().to_owned()
        });
        last = Some(task);
    }
    match last {
        Some(task) => {
            output.talk(&show::task_text(&task));
            Ok(Exit::Ok)
        }
        None => Err(missing(tasks, &viewer, &args.task_id).await?),
    }
}

pub(super) async fn history(args: TaskArgs, tasks: &Tasks, output: &Output) -> Result<Exit, Problem> {
    let viewer = args.viewer.viewer();
    match tasks.task(&viewer, &args.task_id, true).await? {
        Some(task) => {
            let entries = task.history.iter().map(show::entry_json).collect::<Value>();
            output.data(&json!({"task_id": args.task_id, "history": entries}), || history_table(&task));
            Ok(Exit::Ok)
        }
        None => Err(missing(tasks, &viewer, &args.task_id).await?),
    }
}

fn history_table(task: &TaskRecord) -> String {
    let rows = task.history.iter().map(|entry| {
        let who =
            if entry.reason.is_empty() { entry.actor.clone() } else { format!("{}: {}", entry.actor, entry.reason) };
        let who = who.trim_start_matches(": ").to_owned();
        [show::time(entry.at.as_ref()), entry.event.clone(), entry.status.clone(), who, entry.detail_json.clone()]
    });
    table(&["AT", "EVENT", "STATUS", "BY", "DETAIL"], rows)
}

// A request may be there without being a task that anybody was told about.
async fn missing(tasks: &Tasks, viewer: &crate::Viewer, task_id: &str) -> Result<Problem, Problem> {
    let hidden = match viewer {
        crate::Viewer::Buyer { .. } => None,
        _ => tasks.registry.find(viewer, task_id).await.map_err(CallError::registry)?,
    };
    Ok(Problem::refused(match hidden {
        None => no_such_task(),
        Some(task) => {
            let message = "The request is there, but it is no task: it is not decided yet, or was answered at once.";
            AdcpError::correctable("REFERENCE_NOT_FOUND", message).details(show::reference_json(&task))
        }
    }))
}

fn name_owners(body: &mut Value, tasks: &[TaskRecord]) {
    let items = body.get_mut("tasks").and_then(Value::as_array_mut);
    for (item, task) in items.into_iter().flatten().zip(tasks) {
        if let (Some(fields), Some(reference)) = (item.as_object_mut(), &task.task) {
            fields.insert("account".into(), reference.scope.clone().into());
            fields.insert("principal".into(), reference.principal.clone().into());
        }
    }
}
