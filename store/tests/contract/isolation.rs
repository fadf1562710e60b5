//! What does not match does not exist.

use crate::{database::Database, support::*};
use handoff_proto::{
    v1::{Progress, TaskRef},
    wire::ListTasksRequest,
};
use handoff_store::{ClaimView, DirectView, Lease, Observation, Reconciled, Viewer};
use std::{sync::Arc, time::Duration};

fn foreigners(task: &TaskRef) -> Vec<TaskRef> {
    let foreign =
        |scope: &str, principal: &str| TaskRef { scope: scope.into(), principal: principal.into(), ..task.clone() };
    vec![foreign("acct_2", "agent_1"), foreign("acct_1", "agent_2"), foreign("", ""), foreign("acct_1\0", "agent_1")]
}

pub(crate) async fn no_method_crosses_scope_or_principal(database: Arc<Database>) {
    let registry = registry_with_ttl(&database, Duration::ZERO).await;
    let tasks = [
        claimed(&*registry).await,
        pending(&*registry).await,
        promoted(&*registry).await,
        submitted(&*registry).await,
        completed(&*registry).await,
    ];
    for task in &tasks {
        let before = everything(&*registry, task).await;
        let unknown = new_task();
        for foreign in foreigners(task) {
            // Word for word what an id that never was is told.
            assert_eq!(registry.standing(&foreign).await.unwrap(), registry.standing(&unknown).await.unwrap());
            assert_eq!(registry.claim_view(&foreign).await.unwrap(), ClaimView::Missing);
            for decision in [complete("{}"), to_task(), to_workflow(), refuse("NO")] {
                assert_eq!(registry.record_decision(&foreign, &decision).await.unwrap().decision, void());
            }
            let lease = Lease { until: i64::MAX, rerunnable: true };
            assert_eq!(registry.direct_view(&foreign).await.unwrap(), DirectView::Ended(ClaimView::Missing));
            assert!(!registry.take_over(&foreign, &lease).await.unwrap());
            assert_eq!(registry.record_direct(&foreign, &complete("{}"), &lease).await.unwrap().decision, void());
            registry.hand_over(&foreign, Some(&lease)).await.unwrap();
            assert_eq!(registry.accept(&foreign).await.unwrap(), registry.accept(&unknown).await.unwrap());
            assert!(!registry.update_progress(&foreign, &Progress::default()).await.unwrap());
            assert_eq!(registry.settle(&foreign, &result("{}")).await.unwrap(), None);
            assert_eq!(registry.discard(&foreign, &error("NO")).await.unwrap(), None);
            registry.append_history(&foreign, &[("foreign".into(), note("foreign"))]).await.unwrap();
            assert!(!registry.purge(&foreign).await.unwrap());
            let observed = registry.unfinished(i64::MAX, None, 10).await.unwrap();
            for observed in observed.into_iter().filter(|observed| observed.task == *task) {
                let foreign = Observation { task: foreign.clone(), ..observed };
                assert_eq!(registry.reconcile(&foreign, &error("GONE")).await.unwrap(), Reconciled::Changed);
            }
            let viewer = Viewer::Buyer { scope: foreign.scope.clone(), principal: foreign.principal.clone() };
            assert_eq!(registry.get(&viewer, &task.task_id, true).await.unwrap(), None);
            assert_eq!(registry.get(&viewer, &task.task_id, false).await.unwrap(), None);
            assert_eq!(registry.find(&viewer, &task.task_id).await.unwrap(), None);
            let page = registry.list(&viewer, &ListTasksRequest::default()).await.unwrap();
            assert_eq!((page.tasks.len(), page.total, page.next_cursor), (0, Some(0), None));
            assert_eq!(everything(&*registry, task).await, before);
        }
    }
    registry.close().await;
}

pub(crate) async fn viewers_see_what_is_theirs(database: Arc<Database>) {
    let registry = registry(&database).await;
    let mut tasks = Vec::new();
    for (scope, principal) in
        [("acct_1", "agent_1"), ("acct_1", "agent_2"), ("acct_2", "agent_1"), ("acct_3", "agent_1")]
    {
        let task = TaskRef { scope: scope.into(), principal: principal.into(), ..new_task() };
        registry.claim(&claim_of(&task, Some("k"))).await.unwrap();
        registry.record_decision(&task, &to_task()).await.unwrap();
        tasks.push(task);
    }
    let reviewer =
        |scopes: &[&str]| Viewer::Reviewer { scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect() };
    for (viewer, expected) in [
        (buyer(), vec![0]),
        (reviewer(&["acct_1"]), vec![0, 1]),
        (reviewer(&["acct_3", "acct_1", "acct_1", "nobody", "a\0"]), vec![0, 1, 3]),
        (reviewer(&[]), vec![]),
        (reviewer(&["a\0"]), vec![]),
        (Viewer::Operator, vec![0, 1, 2, 3]),
    ] {
        for (index, task) in tasks.iter().enumerate() {
            let may = expected.contains(&index);
            assert_eq!(registry.get(&viewer, &task.task_id, false).await.unwrap().is_some(), may, "{viewer:?} {index}");
            assert_eq!(registry.find(&viewer, &task.task_id).await.unwrap().as_ref() == Some(task), may);
        }
        let page = registry.list(&viewer, &ListTasksRequest::default()).await.unwrap();
        let mut listed: Vec<_> = page.tasks.into_iter().filter_map(|record| record.task).collect();
        listed.reverse();
        assert_eq!(listed, expected.iter().map(|index| tasks[*index].clone()).collect::<Vec<_>>(), "{viewer:?}");
        assert_eq!(page.total, Some(expected.len() as u64));
    }
    assert_eq!(registry.get(&Viewer::Operator, "a\0", true).await.unwrap(), None);
    registry.close().await;
}

pub(crate) async fn pending_tasks_are_found_but_not_seen(database: Arc<Database>) {
    let registry = registry(&database).await;
    for task in [claimed(&*registry).await, pending(&*registry).await] {
        for viewer in [buyer(), Viewer::Reviewer { scopes: vec!["acct_1".into()] }, Viewer::Operator] {
            assert_eq!(registry.get(&viewer, &task.task_id, false).await.unwrap(), None);
            assert_eq!(registry.find(&viewer, &task.task_id).await.unwrap().as_ref(), Some(&task));
            assert!(registry.list(&viewer, &ListTasksRequest::default()).await.unwrap().tasks.is_empty());
        }
    }
    registry.close().await;
}
