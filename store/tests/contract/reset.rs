//! Clearing sandbox accounts: everything that is kept of them goes, each as it was seen, and nothing of anybody else's.

use crate::{
    database::Database,
    ledger_support::{all_of, at, begun, found, offer, stands, told, uses},
    support::{self, *},
};
use handoff_proto::v1::{HandoffToWorkflow, TaskRef, decision::Kind};
use handoff_store::{
    Claim, ClaimView, Cleared, Directive, Lease, NewClaim, Proposal, ProposalKey, ProposalState, Registry,
    SandboxRequest, Seen, WebhookAttempt, WebhookState,
};
use serde_json::json;
use std::{sync::Arc, time::Duration};

const WEBHOOK: &str = r#"{"url":"https://buyer.example","operation_id":"op"}"#;
const BUY: &str = "create_media_buy";

fn of(scope: &str) -> TaskRef {
    TaskRef { scope: scope.into(), ..new_task() }
}

/// Claims a request of a sandbox account, with a key of its own and a webhook.
async fn sandboxed(registry: &dyn Registry, task: &TaskRef) {
    let key = format!("key-{}", task.task_id);
    let claim = NewClaim { sandbox: true, webhook: support::webhook(WEBHOOK, false), ..claim_of(task, Some(&key)) };
    assert_eq!(registry.claim(&claim).await.unwrap(), Claim::New);
}

async fn requests(registry: &dyn Registry, scope: Option<&str>) -> Vec<SandboxRequest> {
    registry.sandbox_requests(scope, None, 1_000).await.unwrap()
}

async fn tasks(registry: &dyn Registry, scope: Option<&str>) -> Vec<TaskRef> {
    requests(registry, scope).await.into_iter().map(|request| request.task).collect()
}

async fn look(registry: &dyn Registry, task: &TaskRef) -> Seen {
    match registry.clear_request(task, None).await.unwrap() {
        Cleared::Kept { seen } => seen,
        other => panic!("{other:?}"),
    }
}

async fn clear(registry: &dyn Registry, task: &TaskRef) {
    let seen = look(registry, task).await;
    assert_eq!(registry.clear_request(task, Some(seen)).await.unwrap(), Cleared::Deleted);
}

/// What a completed discovery offers, to this account.
async fn offered(registry: &dyn Registry, scope: &str, sandbox: bool, ids: &[&str]) {
    let task = TaskRef { verb: "get_products".into(), ..of(scope) };
    let proposals = ids.iter().map(|id| json!({"proposal_id": id})).collect::<Vec<_>>();
    let body = json!({"products": [], "proposals": proposals}).to_string();
    let kept = registry.keep_proposals(&task, &body, sandbox).await.unwrap();
    assert_eq!(kept.written, ids);
}

async fn proposals(registry: &dyn Registry, scope: Option<&str>) -> Vec<Proposal> {
    registry.sandbox_proposals(scope, None, 1_000).await.unwrap()
}

async fn proposal_ids(registry: &dyn Registry, scope: Option<&str>) -> Vec<String> {
    proposals(registry, scope).await.into_iter().map(|proposal| proposal.key.proposal_id).collect()
}

fn seen(proposal: &Proposal) -> Seen {
    Seen { created_at: proposal.created_at, version: proposal.version }
}

/// A claimed purchase, in or out of the sandbox, whose proposal is reserved.
async fn buying(registry: &dyn Registry, proposal_id: &str, sandbox: bool) -> TaskRef {
    let task = TaskRef { verb: BUY.into(), ..new_task() };
    let claim = NewClaim { sandbox, proposal: Some(uses(proposal_id)), ..claim_of(&task, Some(&task.task_id)) };
    assert_eq!(registry.claim(&claim).await.unwrap(), Claim::New);
    assert_eq!(registry.begin(&task).await.unwrap(), Default::default());
    task
}

/// Brings a request to where it stands.
async fn comes_to(registry: &dyn Registry, task: &TaskRef, stage: &str) {
    match stage {
        "claimed" => {}
        "answered" => drop(registry.record_decision(task, &complete("{}")).await.unwrap()),
        "refused" => drop(registry.record_decision(task, &refuse("NO")).await.unwrap()),
        "pending" => drop(registry.record_decision(task, &to_workflow()).await.unwrap()),
        _ => {
            registry.record_decision(task, &to_task()).await.unwrap();
            registry.append_history(task, &[("own".into(), note("noted"))]).await.unwrap();
        }
    }
    if !["told", "purged"].contains(&stage) {
        return;
    }
    registry.settle(task, &result(r#"{"media_buy_id":"mb_1"}"#)).await.unwrap();
    let webhook = registry.webhook_delivery(task).await.unwrap().unwrap();
    let attempt = WebhookAttempt { at: 1, duration: Duration::from_millis(1), status: Some(200), error_class: None };
    let told = registry.record_webhook(task, &webhook.idempotency_key, Some(&attempt), WebhookState::Delivered);
    told.await.unwrap();
    if stage == "purged" {
        assert!(registry.purge(task).await.unwrap());
    }
}

pub(crate) async fn nothing_is_left_of_a_cleared_request(database: Arc<Database>) {
    // What was answered may be purged at once.
    let registry = registry_with_ttl(&database, Duration::ZERO).await;
    for stage in ["claimed", "leased", "answered", "refused", "pending", "submitted", "told", "purged"] {
        let task = new_task();
        if stage == "leased" {
            let claim = NewClaim { sandbox: true, ..claim_of(&task, Some(&format!("key-{}", task.task_id))) };
            let lease = Lease { until: i64::MAX, rerunnable: false };
            registry.claim_directly(&claim, &lease).await.unwrap();
        } else {
            sandboxed(&*registry, &task).await;
            comes_to(&*registry, &task, stage).await;
        }
        let listed = requests(&*registry, None).await;
        assert_eq!(listed.len(), 1, "{stage}");
        assert_eq!((&listed[0].task, listed[0].seen), (&task, look(&*registry, &task).await), "{stage}");
        assert_eq!(listed[0].has_webhook, !["leased", "purged"].contains(&stage), "{stage}");
        clear(&*registry, &task).await;

        assert_eq!(requests(&*registry, None).await, [], "{stage}");
        assert_eq!(registry.claim_view(&task).await.unwrap(), ClaimView::Missing, "{stage}");
        assert_eq!(record(&*registry, &task).await, None, "{stage}");
        assert_eq!(registry.webhook_log(&task.task_id).await.unwrap(), None, "{stage}");
        assert_eq!(registry.webhook_delivery(&task).await.unwrap(), None, "{stage}");
        // Its key and its id are as if they had never been used, and what is recorded under them begins anew.
        let again = NewClaim { sandbox: true, ..claim_of(&task, Some(&format!("key-{}", task.task_id))) };
        assert_eq!(registry.claim(&again).await.unwrap(), Claim::New, "{stage}");
        assert!(registry.accept(&task).await.unwrap().submitted, "{stage}");
        assert_eq!(events(&*registry, &task).await, ["claimed", "submitted"], "{stage}");
        clear(&*registry, &task).await;
        // A second time it is not there.
        for seen in [None, Some(listed[0].seen)] {
            assert_eq!(registry.clear_request(&task, seen).await.unwrap(), Cleared::Missing, "{stage}");
        }
    }
    registry.close().await;
}

pub(crate) async fn late_steps_of_a_cleared_task_change_nothing(database: Arc<Database>) {
    let registry = registry(&database).await;
    let task = new_task();
    sandboxed(&*registry, &task).await;
    comes_to(&*registry, &task, "submitted").await;
    clear(&*registry, &task).await;
    assert_eq!(registry.begin(&task).await.unwrap().decision, void());
    assert_eq!(registry.record_decision(&task, &to_task()).await.unwrap().decision, void());
    assert_eq!(registry.accept(&task).await.unwrap().decision, void());
    assert_eq!(registry.settle(&task, &result("{}")).await.unwrap(), None);
    assert_eq!(registry.discard(&task, &error("NO")).await.unwrap(), None);
    assert!(!registry.update_progress(&task, &Default::default()).await.unwrap());
    assert_eq!(registry.begin_notification(&task, 3).await.unwrap(), None);
    assert_eq!(registry.renew_webhook(&task).await.unwrap(), None);
    assert_eq!(registry.record_webhook(&task, "whk", None, WebhookState::Delivered).await.unwrap(), None);
    registry.append_history(&task, &[("late".into(), note("late"))]).await.unwrap();
    assert_eq!(registry.claim_view(&task).await.unwrap(), ClaimView::Missing);
    assert_eq!(
        (requests(&*registry, None).await, registry.unfinished(i64::MAX, None, 10).await.unwrap()),
        (vec![], vec![])
    );
    registry.close().await;
}

pub(crate) async fn live_rows_and_other_accounts_stay(database: Arc<Database>) {
    let registry = registry(&database).await;
    let (own, other, live) = (of("acct_1"), of("acct_2"), submitted(&*registry).await);
    for task in [&own, &other] {
        sandboxed(&*registry, task).await;
    }
    assert_eq!(tasks(&*registry, None).await, [own.clone(), other.clone()]);
    assert_eq!(tasks(&*registry, Some("acct_1")).await, std::slice::from_ref(&own));
    assert_eq!(tasks(&*registry, Some("acct_3")).await, []);
    // A live one is not found, however well it is described; nor is one that is another's.
    let before = everything(&*registry, &live).await;
    let observed = registry.unfinished(i64::MAX, None, 10).await.unwrap();
    let version = observed.iter().find(|observed| observed.task == live).unwrap().version;
    let created = record(&*registry, &live).await.unwrap().created_at.unwrap();
    let described = Seen { created_at: created.seconds * 1_000_000 + i64::from(created.nanos) / 1_000, version };
    let own_seen = look(&*registry, &own).await;
    for (task, seen) in [
        (live.clone(), Some(described)),
        (live.clone(), None),
        (TaskRef { scope: "acct_2".into(), ..own.clone() }, Some(own_seen)),
        (TaskRef { principal: "agent_2".into(), ..own.clone() }, Some(own_seen)),
        (TaskRef { scope: "acct_1\0".into(), ..own.clone() }, Some(own_seen)),
    ] {
        assert_eq!(registry.clear_request(&task, seen).await.unwrap(), Cleared::Missing, "{task:?}");
    }
    assert_eq!(everything(&*registry, &live).await, before);
    clear(&*registry, &own).await;
    assert_eq!(tasks(&*registry, None).await, [other]);
    assert_eq!(everything(&*registry, &live).await, before);
    let again = claim_of(&new_task(), Some(&format!("key-{}", live.task_id)));
    assert!(
        matches!(registry.claim(&again).await.unwrap(), Claim::Answered { task_id, .. } if task_id == live.task_id)
    );
    registry.close().await;
}

pub(crate) async fn what_changed_since_it_was_seen_stays(database: Arc<Database>) {
    let registry = registry(&database).await;
    let task = new_task();
    sandboxed(&*registry, &task).await;
    let first = look(&*registry, &task).await;
    registry.record_decision(&task, &to_task()).await.unwrap();
    let before = everything(&*registry, &task).await;
    let kept = registry.clear_request(&task, Some(first)).await.unwrap();
    let Cleared::Kept { seen } = kept else { panic!("{kept:?}") };
    assert_eq!((seen, everything(&*registry, &task).await), (look(&*registry, &task).await, before));
    assert_ne!(seen, first);
    clear(&*registry, &task).await;
    // Nor is one cleared that has taken its place.
    sandboxed(&*registry, &task).await;
    registry.record_decision(&task, &to_task()).await.unwrap();
    let kept = registry.clear_request(&task, Some(seen)).await.unwrap();
    assert!(matches!(kept, Cleared::Kept { seen: now } if now != seen), "{kept:?}");
    registry.close().await;
}

pub(crate) async fn pages_go_through_hundreds_while_they_are_cleared(database: Arc<Database>) {
    let registry = registry(&database).await;
    let mut expected = Vec::new();
    for number in 0..330 {
        let task = of(&format!("acct_{}", number % 3));
        let claim = NewClaim { sandbox: true, ..claim_of(&task, Some(&task.task_id)) };
        registry.claim(&claim).await.unwrap();
        if number % 10 == 0 {
            claimed(&*registry).await;
        }
        expected.push(task);
    }
    expected.sort_by(|one, other| (&one.scope, &one.task_id).cmp(&(&other.scope, &other.task_id)));
    let own: Vec<_> = expected.iter().filter(|task| task.scope == "acct_1").cloned().collect();
    assert_eq!(walked(&*registry, Some("acct_1"), false).await, own);
    assert_eq!(walked(&*registry, None, false).await, expected);
    assert_eq!(walked(&*registry, Some("acct_1"), true).await, own);
    expected.retain(|task| task.scope != "acct_1");
    assert_eq!(walked(&*registry, None, true).await, expected);
    assert_eq!(walked(&*registry, None, true).await, []);
    assert_eq!(registry.unfinished(i64::MAX, None, 1_000).await.unwrap().len(), 33, "the live ones");
    registry.close().await;
}

async fn walked(registry: &dyn Registry, scope: Option<&str>, clearing: bool) -> Vec<TaskRef> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = registry.sandbox_requests(scope, after.as_ref(), 50).await.unwrap();
        let Some(last) = page.last() else { return all };
        assert!(page.len() <= 50);
        after = Some(last.task.clone());
        for request in page {
            if clearing {
                let cleared = registry.clear_request(&request.task, Some(request.seen)).await.unwrap();
                assert_eq!(cleared, Cleared::Deleted);
            }
            all.push(request.task);
        }
    }
}

pub(crate) async fn two_who_clear_at_once_delete_once(database: Arc<Database>) {
    let registry = registry(&database).await;
    for _ in 0..10 {
        let task = new_task();
        sandboxed(&*registry, &task).await;
        comes_to(&*registry, &task, "told").await;
        let seen = look(&*registry, &task).await;
        let clears = (0..4).map(|_| {
            let (registry, task) = (Arc::clone(&registry), task.clone());
            tokio::spawn(async move { registry.clear_request(&task, Some(seen)).await.unwrap() })
        });
        let cleared: Vec<_> = futures::future::join_all(clears).await.into_iter().map(Result::unwrap).collect();
        let count = |wanted| cleared.iter().filter(|cleared| **cleared == wanted).count();
        assert_eq!((count(Cleared::Deleted), count(Cleared::Missing)), (1, 3), "{cleared:?}");
    }
    registry.close().await;
}

pub(crate) async fn what_can_not_be_opened_any_more_is_cleared(database: Arc<Database>) {
    let registry = registry_with_keys(&database, &["lost"]).await;
    let task = new_task();
    sandboxed(&*registry, &task).await;
    comes_to(&*registry, &task, "told").await;
    offered(&*registry, "acct_1", true, &["p"]).await;
    registry.close().await;
    let registry = registry_with_keys(&database, &["other"]).await;
    assert!(registry.standing(&task).await.is_err(), "it is sealed");
    clear(&*registry, &task).await;
    let proposal = proposals(&*registry, None).await.remove(0);
    assert_eq!(registry.clear_proposal(&proposal.key, seen(&proposal)).await.unwrap(), Cleared::Deleted);
    registry.close().await;
}

pub(crate) async fn proposals_of_sandboxes_go_with_their_history(database: Arc<Database>) {
    let registry = registry(&database).await;
    offered(&*registry, "acct_1", true, &["bought", "declined", "open"]).await;
    offered(&*registry, "acct_2", true, &["other"]).await;
    offered(&*registry, "acct_1", false, &["live"]).await;
    // Offered to a live account as well, before or after.
    offered(&*registry, "acct_1", true, &["both"]).await;
    offered(&*registry, "acct_1", false, &["both"]).await;
    registry.decline_proposal(&at("declined"), &Default::default()).await.unwrap().unwrap();
    let buyer = buying(&*registry, "bought", true).await;
    let bought = r#"{"media_buy_id":"mb_1","revision":1}"#;
    registry.record_decision(&buyer, &complete(bought)).await.unwrap();
    assert_eq!(stands(&*registry, "bought").await.0, ProposalState::Consumed);
    assert_eq!(proposal_ids(&*registry, None).await, ["bought", "declined", "open", "other"]);
    assert_eq!(proposal_ids(&*registry, Some("acct_2")).await, ["other"]);

    let live = [all_of(&*registry, &at("live")).await, all_of(&*registry, &at("both")).await];
    for id in ["live", "both"] {
        let live = found(&*registry, id).await.unwrap();
        assert_eq!(registry.clear_proposal(&live.key, seen(&live)).await.unwrap(), Cleared::Missing, "{id}");
    }
    for proposal in proposals(&*registry, Some("acct_1")).await {
        let stale = Seen { version: proposal.version + 1, ..seen(&proposal) };
        let kept = Cleared::Kept { seen: seen(&proposal) };
        assert_eq!(registry.clear_proposal(&proposal.key, stale).await.unwrap(), kept);
        for cleared in [Cleared::Deleted, Cleared::Missing] {
            assert_eq!(registry.clear_proposal(&proposal.key, seen(&proposal)).await.unwrap(), cleared);
        }
        assert_eq!(registry.proposal_history(&at(&proposal.key.proposal_id)).await.unwrap(), None);
    }
    assert_eq!(proposal_ids(&*registry, None).await, ["other"]);
    assert_eq!([all_of(&*registry, &at("live")).await, all_of(&*registry, &at("both")).await], live);
    // Offered and bought again, as if for the first time: the media buy's id is free, too.
    offered(&*registry, "acct_1", true, &["bought"]).await;
    assert_eq!(told(&*registry, "bought").await, ["committed"]);
    let buyer = buying(&*registry, "bought", true).await;
    registry.record_decision(&buyer, &complete(bought)).await.unwrap();
    assert_eq!(stands(&*registry, "bought").await, (ProposalState::Consumed, Some(buyer.task_id)));
    registry.close().await;
}

pub(crate) async fn a_task_is_cleared_before_the_proposal_that_it_is_buying(database: Arc<Database>) {
    let registry = registry(&database).await;
    offered(&*registry, "acct_1", true, &["p"]).await;
    let task = buying(&*registry, "p", true).await;
    let reserved = found(&*registry, "p").await.unwrap();
    let kept = Cleared::Kept { seen: seen(&reserved) };
    assert_eq!(registry.clear_proposal(&reserved.key, seen(&reserved)).await.unwrap(), kept, "it is being bought");
    clear(&*registry, &task).await;
    assert_eq!(stands(&*registry, "p").await, (ProposalState::Committed, None));
    assert_eq!(told(&*registry, "p").await, ["committed", "reserved", "released"]);
    let released = found(&*registry, "p").await.unwrap();
    let kept = Cleared::Kept { seen: seen(&released) };
    assert_eq!(registry.clear_proposal(&released.key, seen(&reserved)).await.unwrap(), kept, "it has changed");
    assert_eq!(registry.clear_proposal(&released.key, seen(&released)).await.unwrap(), Cleared::Deleted);
    // One that no request of the registry's holds is in nobody's way.
    offered(&*registry, "acct_1", true, &["q"]).await;
    registry.try_reserve(&new_task(), &uses("q")).await.unwrap().unwrap();
    let reserved = found(&*registry, "q").await.unwrap();
    assert_eq!(registry.clear_proposal(&reserved.key, seen(&reserved)).await.unwrap(), Cleared::Deleted);
    // And one that was offered to a live account is released, and stays.
    crate::ledger_support::commit(&*registry, &offer("live")).await;
    let task = buying(&*registry, "live", true).await;
    clear(&*registry, &task).await;
    assert_eq!(stands(&*registry, "live").await, (ProposalState::Committed, None));
    registry.close().await;
}

pub(crate) async fn what_a_live_task_buys_is_no_sandboxs(database: Arc<Database>) {
    let registry = registry(&database).await;
    // The account was a sandbox when it was offered this, and is none any more.
    offered(&*registry, "acct_1", true, &["p"]).await;
    let task = begun(&*registry, "p").await;
    for result in ["", r#"{"media_buy_id":"mb_1","revision":1}"#] {
        if !result.is_empty() {
            registry.record_decision(&task, &complete(result)).await.unwrap();
        }
        let held = found(&*registry, "p").await.unwrap();
        assert_eq!(proposals(&*registry, None).await, []);
        assert_eq!(registry.clear_proposal(&held.key, seen(&held)).await.unwrap(), Cleared::Missing);
        assert_eq!(found(&*registry, "p").await, Some(held));
    }
    assert_eq!(stands(&*registry, "p").await, (ProposalState::Consumed, Some(task.task_id)));
    registry.close().await;
}

pub(crate) async fn directives_are_cleared(database: Arc<Database>) {
    let registry = registry(&database).await;
    let mut directives = Vec::new();
    for (scope, verb) in [("acct_1", BUY), ("acct_1", "get_products"), ("acct_2", BUY)] {
        let task = TaskRef { verb: verb.into(), ..of(scope) };
        let handoff = HandoffToWorkflow::forced(Some("soon"), None);
        let directive =
            Directive { task, decision: decision(Kind::HandoffToWorkflow(handoff)), id: new_task().task_id };
        assert!(registry.put_directive(&directive).await.unwrap());
        directives.push(directive);
    }
    for (scope, dry_run, cleared) in [
        (Some("acct_3"), false, 0),
        (Some("acct_1\0"), false, 0),
        (None, true, 3),
        (Some("acct_1"), true, 2),
        (Some("acct_1"), false, 2),
        (Some("acct_1"), false, 0),
    ] {
        assert_eq!(registry.clear_directives(scope, dry_run).await.unwrap(), cleared, "{scope:?} {dry_run}");
    }
    assert_eq!(registry.directive(&directives[0].task).await.unwrap(), None);
    assert_eq!(registry.directive(&directives[2].task).await.unwrap().as_ref(), Some(&directives[2]));
    assert_eq!(registry.clear_directives(None, false).await.unwrap(), 1);
    assert_eq!(registry.directive(&directives[2].task).await.unwrap(), None);
    registry.close().await;
}

pub(crate) async fn what_no_database_can_store_is_not_there_to_be_cleared(database: Arc<Database>) {
    let registry = registry(&database).await;
    let task = new_task();
    sandboxed(&*registry, &task).await;
    offered(&*registry, "acct_1", true, &["p"]).await;
    assert_eq!(requests(&*registry, Some("acct_1\0")).await, []);
    assert_eq!(proposals(&*registry, Some("acct_1\0")).await, []);
    let broken = ProposalKey { proposal_id: "p\0".into(), ..at("p").key };
    let nothing = Seen { created_at: 0, version: 1 };
    assert_eq!(registry.clear_proposal(&broken, nothing).await.unwrap(), Cleared::Missing);
    for task_id in ["t\0", ""] {
        let broken = TaskRef { task_id: task_id.into(), ..task.clone() };
        assert_eq!(registry.clear_request(&broken, Some(nothing)).await.unwrap(), Cleared::Missing);
    }
    assert_eq!(
        (tasks(&*registry, None).await, proposal_ids(&*registry, None).await),
        (vec![task], vec!["p".to_owned()])
    );
    registry.close().await;
}
