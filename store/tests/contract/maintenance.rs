//! Requests that nobody drives, or nobody needs.

use crate::{database::Database, support::*};
use handoff_proto::{v1::TaskRef, wire::ListTasksRequest};
use handoff_store::{Candidate, Claim, ClaimView, Observation, ObservedStage, Reconciled, Registry};
use std::{sync::Arc, time::Duration};

async fn observe(registry: &dyn Registry, task: &TaskRef) -> Option<Observation> {
    let all = registry.unfinished(i64::MAX, None, 100).await.unwrap();
    all.into_iter().find(|observed| observed.task == *task)
}

async fn purgeable(registry: &dyn Registry, before: i64) -> Vec<TaskRef> {
    let found = registry.purgeable(before, None, 10).await.unwrap();
    found.into_iter().map(|candidate| candidate.task).collect()
}

pub(crate) async fn unfinished_are_found_in_order(database: Arc<Database>) {
    let registry = registry(&database).await;
    let expected = [
        (claimed(&*registry).await, ObservedStage::Claimed),
        (pending(&*registry).await, ObservedStage::Pending),
        (promoted(&*registry).await, ObservedStage::Submitted),
        (submitted(&*registry).await, ObservedStage::Submitted),
    ];
    registry.update_progress(&expected[3].0, &Default::default()).await.unwrap();
    completed(&*registry).await;
    for decision in [complete("{}"), refuse("NO")] {
        registry.record_decision(&claimed(&*registry).await, &decision).await.unwrap();
    }
    let all = registry.unfinished(i64::MAX, None, 100).await.unwrap();
    let found: Vec<_> = all.iter().map(|observed| (observed.task.clone(), observed.stage)).collect();
    assert_eq!(found, expected);
    // Page by page.
    let mut paged = Vec::new();
    loop {
        let after = paged.last().map(|observed: &Observation| observed.task.task_id.clone());
        let page = registry.unfinished(i64::MAX, after.as_deref(), 2).await.unwrap();
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, all);
    let newest = all.iter().map(|observed| observed.updated_at).max().unwrap();
    assert!(registry.unfinished(newest, None, 100).await.unwrap().iter().all(|observed| observed.updated_at < newest));
    assert!(registry.unfinished(0, None, 100).await.unwrap().is_empty());
    registry.close().await;
}

pub(crate) async fn reconcile_settles_a_submitted_task(database: Arc<Database>) {
    let registry = registry(&database).await;
    for task in [submitted(&*registry).await, promoted(&*registry).await] {
        let observed = observe(&*registry, &task).await.unwrap();
        assert_eq!(registry.reconcile(&observed, &error("GONE")).await.unwrap(), Reconciled::Settled);
        let record = record(&*registry, &task).await.unwrap();
        assert_eq!((record.status.as_str(), record.error), ("failed", Some(error("GONE"))));
        assert_eq!((record.actor.as_str(), record.reason.as_str()), ("reconcile", "GONE happened"));
        assert!(events(&*registry, &task).await.ends_with(&["failed".into(), "reconciled".into()]));
        assert_eq!(registry.reconcile(&observed, &error("GONE")).await.unwrap(), Reconciled::Changed);
    }
    registry.close().await;
}

pub(crate) async fn reconcile_discards_a_pending_task(database: Arc<Database>) {
    let registry = registry(&database).await;
    let task = new_task();
    registry.claim(&claim_of(&task, Some("k"))).await.unwrap();
    registry.record_decision(&task, &to_workflow()).await.unwrap();
    let observed = observe(&*registry, &task).await.unwrap();
    assert_eq!(registry.reconcile(&observed, &error("GONE")).await.unwrap(), Reconciled::Discarded);
    assert_eq!(registry.standing(&task).await.unwrap().refusal, Some(error("GONE")));
    assert_eq!(registry.claim(&claim_of(&new_task(), Some("k"))).await.unwrap(), Claim::New);
    assert_eq!(observe(&*registry, &task).await, None);
    registry.close().await;
}

pub(crate) async fn reconcile_voids_a_claim_until_its_ttl(database: Arc<Database>) {
    for ttl in [Duration::from_secs(3_600), Duration::ZERO] {
        let registry = registry_with_ttl(&database, ttl).await;
        let task = new_task();
        let key = format!("{ttl:?}");
        registry.claim(&claim_of(&task, Some(&key))).await.unwrap();
        let observed = observe(&*registry, &task).await.unwrap();
        assert_eq!(registry.reconcile(&observed, &error("GONE")).await.unwrap(), Reconciled::Voided);
        assert_eq!(registry.standing(&task).await.unwrap().decision, void());
        assert_eq!(registry.claim_view(&task).await.unwrap(), ClaimView::OutcomeUnknown);
        let claim = registry.claim(&claim_of(&new_task(), Some(&key))).await.unwrap();
        if ttl.is_zero() {
            assert_eq!(claim, Claim::Expired);
        } else {
            assert_eq!(claim, Claim::OutcomeUnknown { task_id: task.task_id.clone() });
        }
        assert_eq!(observe(&*registry, &task).await, None);
        registry.close().await;
    }
}

pub(crate) async fn reconcile_leaves_what_has_changed(database: Arc<Database>) {
    let registry = registry(&database).await;
    let task = claimed(&*registry).await;
    let mut stale = vec![observe(&*registry, &task).await.unwrap()];
    registry.record_decision(&task, &to_workflow()).await.unwrap();
    stale.push(observe(&*registry, &task).await.unwrap());
    registry.accept(&task).await.unwrap();
    stale.push(observe(&*registry, &task).await.unwrap());
    registry.update_progress(&task, &Default::default()).await.unwrap();
    let before = everything(&*registry, &task).await;
    for observed in &stale {
        assert_eq!(registry.reconcile(observed, &error("GONE")).await.unwrap(), Reconciled::Changed);
    }
    assert_eq!(everything(&*registry, &task).await, before);
    // Many at once: one acts.
    let observed = observe(&*registry, &task).await.unwrap();
    let calls = (0..10).map(|_| {
        let (registry, observed) = (Arc::clone(&registry), observed.clone());
        tokio::spawn(async move { registry.reconcile(&observed, &error("GONE")).await.unwrap() })
    });
    let done: Vec<_> = futures::future::join_all(calls).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(done.iter().filter(|done| **done == Reconciled::Settled).count(), 1);
    registry.close().await;
}

pub(crate) async fn purge_leaves_a_tombstone(database: Arc<Database>) {
    let registry = registry_with_ttl(&database, Duration::ZERO).await;
    let task = new_task();
    registry.claim(&claim_of(&task, Some("k"))).await.unwrap();
    registry.record_decision(&task, &to_task()).await.unwrap();
    registry.settle(&task, &result(r#"{"secret":1}"#)).await.unwrap();
    assert_eq!(purgeable(&*registry, i64::MAX).await, std::slice::from_ref(&task));
    assert!(purgeable(&*registry, 0).await.is_empty());
    for _ in 0..2 {
        assert!(registry.purge(&task).await.unwrap());
        assert!(purgeable(&*registry, i64::MAX).await.is_empty());
        assert_eq!(record(&*registry, &task).await, None);
        assert!(registry.list(&buyer(), &ListTasksRequest::default()).await.unwrap().tasks.is_empty());
        assert_eq!(registry.claim_view(&task).await.unwrap(), ClaimView::Missing);
        assert_eq!(registry.claim(&claim_of(&new_task(), Some("k"))).await.unwrap(), Claim::Expired);
    }
    registry.close().await;
}

pub(crate) async fn purge_leaves_what_is_not_over(database: Arc<Database>) {
    let registry = registry_with_ttl(&database, Duration::ZERO).await;
    for task in
        [claimed(&*registry).await, pending(&*registry).await, submitted(&*registry).await, promoted(&*registry).await]
    {
        let before = everything(&*registry, &task).await;
        assert!(!registry.purge(&task).await.unwrap());
        assert_eq!(everything(&*registry, &task).await, before);
    }
    assert!(purgeable(&*registry, i64::MAX).await.is_empty());
    registry.close().await;
    // Ended, but the answer is still to be said again.
    let registry = registry_with_ttl(&database, Duration::from_secs(3_600)).await;
    let task = completed(&*registry).await;
    assert!(!registry.purge(&task).await.unwrap());
    assert!(purgeable(&*registry, i64::MAX).await.is_empty());
    assert_eq!(status(&*registry, &task).await.as_deref(), Some("completed"));
    assert!(!registry.purge(&new_task()).await.unwrap());
    registry.close().await;
}

pub(crate) async fn purged_requests_stay_closed(database: Arc<Database>) {
    let registry = registry_with_ttl(&database, Duration::ZERO).await;
    let task = completed(&*registry).await;
    registry.purge(&task).await.unwrap();
    let before = everything(&*registry, &task).await;
    assert_eq!(registry.record_decision(&task, &to_task()).await.unwrap().decision, void());
    assert!(!registry.accept(&task).await.unwrap().submitted);
    assert_eq!(registry.settle(&task, &result("{}")).await.unwrap(), None);
    assert_eq!(registry.discard(&task, &error("NO")).await.unwrap(), None);
    assert!(!registry.update_progress(&task, &Default::default()).await.unwrap());
    registry.append_history(&task, &[("late".into(), note("late"))]).await.unwrap();
    assert_eq!(everything(&*registry, &task).await, before);
    registry.close().await;
}

pub(crate) async fn refused_and_keyless_requests_are_purged_too(database: Arc<Database>) {
    let registry = registry_with_ttl(&database, Duration::ZERO).await;
    let (refused, keyless, voided) = (claimed(&*registry).await, new_task(), claimed(&*registry).await);
    registry.record_decision(&refused, &refuse("NO")).await.unwrap();
    registry.claim(&claim_of(&keyless, None)).await.unwrap();
    registry.record_decision(&keyless, &complete("{}")).await.unwrap();
    let observed = observe(&*registry, &voided).await.unwrap();
    registry.reconcile(&observed, &error("GONE")).await.unwrap();
    let mut found = purgeable(&*registry, i64::MAX).await;
    found.sort_by(|a, b| a.task_id.cmp(&b.task_id));
    let mut expected = vec![refused, keyless, voided];
    expected.sort_by(|a, b| a.task_id.cmp(&b.task_id));
    assert_eq!(found, expected);
    for task in &expected {
        assert!(registry.purge(task).await.unwrap());
        assert_eq!(registry.standing(task).await.unwrap().decision, void());
    }
    registry.close().await;
}

pub(crate) async fn purgeable_and_tombstones_page_by_age(database: Arc<Database>) {
    let registry = registry_with_ttl(&database, Duration::ZERO).await;
    let mut tasks = Vec::new();
    for _ in 0..5 {
        tasks.push(completed(&*registry).await);
    }
    // The youngest by id is the oldest by age, and two are of one age.
    for (task, age) in tasks.iter().zip([3, 2, 2, 5, 1]) {
        let at = 1_000 * (10 - age);
        let id = &task.task_id;
        database.execute(&format!("UPDATE requests SET updated_at = {at} WHERE task_id = '{id}'")).await;
    }
    let expected: Vec<TaskRef> = [3, 0, 1, 2, 4].map(|index: usize| tasks[index].clone()).into();
    let mut paged: Vec<Candidate> = Vec::new();
    loop {
        let page = registry.purgeable(i64::MAX, paged.last(), 2).await.unwrap();
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged.iter().map(|candidate| candidate.task.clone()).collect::<Vec<_>>(), expected);
    assert_eq!(registry.purgeable(6_000, None, 10).await.unwrap().len(), 1);
    for task in &expected {
        assert!(registry.purge(task).await.unwrap());
    }
    let first = registry.tombstones(i64::MAX, None, 3).await.unwrap();
    let rest = registry.tombstones(i64::MAX, first.last(), 3).await.unwrap();
    assert_eq!((first.len(), rest.len()), (3, 2));
    let both = first.iter().chain(&rest).map(|candidate| candidate.task.clone()).collect::<Vec<_>>();
    assert_eq!(both, expected);
    registry.close().await;
}

pub(crate) async fn a_forgotten_key_is_free_again(database: Arc<Database>) {
    let registry = registry_with_ttl(&database, Duration::ZERO).await;
    let task = new_task();
    registry.claim(&claim_of(&task, Some("k"))).await.unwrap();
    registry.record_decision(&task, &complete("{}")).await.unwrap();
    // Only a tombstone is deleted.
    assert!(!registry.forget(&task).await.unwrap());
    assert!(registry.tombstones(i64::MAX, None, 10).await.unwrap().is_empty());
    assert!(registry.purge(&task).await.unwrap());
    assert!(registry.tombstones(0, None, 10).await.unwrap().is_empty());
    let found = registry.tombstones(i64::MAX, None, 10).await.unwrap();
    assert_eq!(found.iter().map(|candidate| &candidate.task).collect::<Vec<_>>(), [&task]);
    assert_eq!(registry.claim(&claim_of(&new_task(), Some("k"))).await.unwrap(), Claim::Expired);
    let foreign = TaskRef { principal: "agent_2".into(), ..task.clone() };
    assert!(!registry.forget(&foreign).await.unwrap());
    assert!(registry.forget(&task).await.unwrap());
    assert!(!registry.forget(&task).await.unwrap());
    assert!(registry.tombstones(i64::MAX, None, 10).await.unwrap().is_empty());
    // Whoever still comes for the old request finds it closed, and brings nothing back.
    assert_eq!(registry.record_decision(&task, &to_task()).await.unwrap().decision, void());
    assert!(!registry.accept(&task).await.unwrap().submitted);
    assert_eq!(registry.settle(&task, &result("{}")).await.unwrap(), None);
    assert_eq!(registry.find(&handoff_store::Viewer::Operator, &task.task_id).await.unwrap(), None);
    assert_eq!(registry.claim(&claim_of(&new_task(), Some("k"))).await.unwrap(), Claim::New);
    registry.close().await;
}

pub(crate) async fn a_tombstone_outlives_its_ttl(database: Arc<Database>) {
    let registry = registry_with_ttl(&database, Duration::ZERO).await;
    let task = completed(&*registry).await;
    assert!(registry.purge(&task).await.unwrap());
    // As if the clock of whoever purged had been ahead.
    let set = format!("UPDATE requests SET expires_at = {} WHERE task_id = '{}'", i64::MAX, task.task_id);
    database.execute(&set).await;
    assert!(registry.tombstones(i64::MAX, None, 10).await.unwrap().is_empty());
    assert!(!registry.forget(&task).await.unwrap());
    registry.close().await;
}
