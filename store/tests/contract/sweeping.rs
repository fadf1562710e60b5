//! What a sweep takes, and what the database holds of proposals.

use crate::{database::Database, ledger_support::*, support::*};
use handoff_proto::wire::OfferedProposal;
use handoff_store::{ProposalCause, ProposalState, Registry, SweepBounds, Swept};
use std::{collections::BTreeMap, sync::Arc};

const NOTHING: SweepBounds = SweepBounds { drafts_before: 0, expired_before: 0, idle_before: 0, reserved_before: 0 };
const ALL: SweepBounds =
    SweepBounds { drafts_before: i64::MAX, expired_before: i64::MAX, idle_before: i64::MAX, reserved_before: i64::MAX };

async fn put(registry: &dyn Registry, id: &str, committed: bool, expires_at: Option<i64>) {
    let offer = OfferedProposal { expires_at, ..offer(id) };
    if committed {
        commit(registry, &offer).await;
    } else {
        registry.put_draft(&at(id), &offer, &nobody()).await.unwrap().unwrap();
    }
}

async fn left(registry: &dyn Registry) -> Vec<String> {
    let filter = handoff_store::ProposalFilter {
        viewer: handoff_store::Viewer::Operator,
        state: None,
        proposal_id: None,
        after: None,
    };
    let all = registry.list_proposals(&filter, 100).await.unwrap();
    all.into_iter().map(|proposal| proposal.key.proposal_id).collect()
}

pub(crate) async fn a_sweep_takes_what_nobody_will_buy(database: Arc<Database>) {
    let registry = registry(&database).await;
    put(&*registry, "a-draft", false, Some(7_000)).await;
    put(&*registry, "b-draft-without-end", false, None).await;
    put(&*registry, "c-expired", true, Some(5_000)).await;
    put(&*registry, "d-held", true, Some(i64::MAX)).await;
    put(&*registry, "e-without-end", true, None).await;
    put(&*registry, "f-declined", true, None).await;
    registry.decline_proposal(&at("f-declined"), &nobody()).await.unwrap().unwrap();
    put(&*registry, "g-bought", true, None).await;
    buy(&*registry, "g-bought", "mb", 1).await;
    put(&*registry, "h-being-bought", true, None).await;
    let holder = begun(&*registry, "h-being-bought").await;
    let all = left(&*registry).await;
    assert_eq!(registry.sweep_proposals(&NOTHING, 10).await.unwrap(), Swept::default());
    assert_eq!(left(&*registry).await, all);
    for (bounds, swept, gone) in [
        (SweepBounds { expired_before: 5_000, ..NOTHING }, Swept::default(), &[][..]),
        (SweepBounds { expired_before: 5_001, ..NOTHING }, Swept { expired: 1, ..Default::default() }, &["c-expired"]),
        (SweepBounds { expired_before: 9_000, ..NOTHING }, Swept { expired: 1, ..Default::default() }, &["a-draft"]),
        (
            SweepBounds { drafts_before: i64::MAX, ..NOTHING },
            Swept { drafts: 1, ..Default::default() },
            &["b-draft-without-end"],
        ),
        (
            SweepBounds { idle_before: i64::MAX, ..NOTHING },
            Swept { idle: 2, ..Default::default() },
            &["e-without-end", "f-declined"],
        ),
    ] {
        let before = left(&*registry).await;
        assert_eq!(registry.sweep_proposals(&bounds, 10).await.unwrap(), swept, "{bounds:?}");
        let expected: Vec<_> = before.into_iter().filter(|id| !gone.contains(&id.as_str())).collect();
        assert_eq!(left(&*registry).await, expected, "{bounds:?}");
    }
    assert_eq!(registry.sweep_proposals(&ALL, 10).await.unwrap(), Swept::default());
    assert_eq!(left(&*registry).await, ["d-held", "g-bought", "h-being-bought"]);
    assert_eq!(stands(&*registry, "h-being-bought").await, (ProposalState::Consuming, Some(holder.task_id)));
    assert_eq!(registry.proposal_history(&at("a-draft")).await.unwrap(), None);
    registry.close().await;
}

pub(crate) async fn a_sweep_takes_as_many_as_it_may(database: Arc<Database>) {
    let registry = registry(&database).await;
    for number in 0..5 {
        put(&*registry, &format!("p{number}"), false, None).await;
    }
    let mut counts = Vec::new();
    loop {
        let swept = registry.sweep_proposals(&ALL, 2).await.unwrap();
        counts.push(swept.drafts);
        if swept.drafts < 2 {
            break;
        }
    }
    assert_eq!(counts, [2, 2, 1]);
    registry.close().await;
}

pub(crate) async fn a_reservation_whose_task_is_gone_is_released(database: Arc<Database>) {
    let registry = registry(&database).await;
    for id in ["gone", "ended", "open", "pending"] {
        put(&*registry, id, true, None).await;
    }
    // No transaction of the registry leaves such: it takes a reservation past them.
    let gone = new_task();
    registry.try_reserve(&gone, &uses("gone")).await.unwrap().unwrap();
    let ended = claimed(&*registry).await;
    registry.record_decision(&ended, &refuse("NO")).await.unwrap();
    registry.try_reserve(&ended, &uses("ended")).await.unwrap().unwrap();
    begun(&*registry, "open").await;
    let pending = begun(&*registry, "pending").await;
    registry.record_decision(&pending, &to_workflow()).await.unwrap();
    let bounds = SweepBounds { reserved_before: i64::MAX, ..NOTHING };
    assert_eq!(registry.sweep_proposals(&NOTHING, 10).await.unwrap(), Swept::default());
    let mut released = registry.sweep_proposals(&bounds, 10).await.unwrap().released;
    released.sort();
    let mut expected = vec![gone.task_id, ended.task_id];
    expected.sort();
    assert_eq!(released, expected);
    for id in ["gone", "ended"] {
        assert_eq!(stands(&*registry, id).await, (ProposalState::Committed, None));
        let last = registry.proposal_history(&at(id)).await.unwrap().unwrap().pop().unwrap();
        assert_eq!((last.event.as_str(), last.actor.as_str()), ("released", "sweep"));
    }
    for id in ["open", "pending"] {
        assert_eq!(stands(&*registry, id).await.0, ProposalState::Consuming);
    }
    assert_eq!(registry.sweep_proposals(&bounds, 10).await.unwrap(), Swept::default());
    registry.close().await;
}

/// A proposal, its history and a request for it, all with marks in them.
async fn marked(registry: &dyn Registry) {
    let offer = OfferedProposal { body_json: r#"{"note":"MARK-body"}"#.into(), ..offer("p") };
    let cause = ProposalCause { actor: "MARK-actor".into(), reason: "MARK-reason".into(), ..nobody() };
    registry.commit_proposal(&at("p"), &offer, &cause).await.unwrap().unwrap();
    let wanted = handoff_store::ProposalUse { io_id: Some("MARK-io".into()), ..uses("p") };
    claimed_with(registry, wanted).await;
}

pub(crate) async fn nothing_of_a_proposal_is_readable_with_keys(database: Arc<Database>) {
    const MARKS: [&str; 4] = ["MARK-body", "MARK-actor", "MARK-reason", "MARK-io"];
    let registry = registry(&database).await;
    marked(&*registry).await;
    let record = registry.get_proposal(&at("p")).await.unwrap().unwrap();
    assert_eq!(record.body_json, r#"{"note":"MARK-body"}"#);
    let history = registry.proposal_history(&at("p")).await.unwrap().unwrap();
    assert_eq!((history[0].actor.as_str(), history[0].reason.as_str()), ("MARK-actor", "MARK-reason"));
    let held = crate::sealing::held(&database).await;
    let readable = |mark: &&str| held.windows(mark.len()).any(|window| window == mark.as_bytes());
    let expected: &[&str] = if database.sealed { &[] } else { &MARKS };
    assert_eq!(MARKS.into_iter().filter(readable).collect::<Vec<_>>(), expected);
    registry.close().await;
}

pub(crate) async fn a_proposal_that_was_moved_does_not_open(database: Arc<Database>) {
    let registry = registry_with_keys(&database, &["k"]).await;
    marked(&*registry).await;
    let other = handoff_store::ProposalRef::new("acct_2", PRINCIPAL, "p");
    registry.commit_proposal(&other, &offer("p"), &nobody()).await.unwrap().unwrap();
    let moving = "UPDATE proposals SET body_json = (SELECT body_json FROM proposals WHERE scope = 'acct_1')";
    database.execute(moving).await;
    let error = registry.get_proposal(&other).await.unwrap_err();
    assert!(error.to_string().contains("proposals.body_json of p"), "{error}");
    registry.get_proposal(&at("p")).await.unwrap();
    // It can still be bought, replaced and swept.
    let replaced = registry.commit_proposal(&other, &offer("p"), &nobody()).await.unwrap().unwrap();
    assert_eq!(replaced.version, 2);
    assert_eq!(registry.get_proposal(&other).await.unwrap().unwrap().body_json, offer("p").body_json);
    registry.close().await;
}

pub(crate) async fn proposals_are_resealed_after_the_tasks(database: Arc<Database>) {
    let old = registry_with_keys(&database, &["old"]).await;
    for number in 0..3 {
        put(&*old, &format!("q{number}"), true, None).await;
    }
    marked(&*old).await;
    old.close().await;
    let both = registry_with_keys(&database, &["new", "old"]).await;
    let reseal = async |dry_run: bool| {
        let (mut after, mut tasks, mut resealed) = (None, 0, 0);
        let mut values: BTreeMap<Option<String>, u64> = BTreeMap::new();
        loop {
            let batch = both.reseal(after.as_deref(), 2, dry_run).await.unwrap();
            tasks += batch.tasks;
            resealed += batch.resealed;
            assert_eq!(batch.unreadable, 0);
            for (key, count) in batch.values {
                *values.entry(key).or_default() += count;
            }
            after = batch.next;
            if after.is_none() {
                return (tasks, resealed, values);
            }
        }
    };
    // Four bodies, actor and reason; context and proposal of the request.
    let values = |key: &str| BTreeMap::from([(Some(key.to_owned()), 8)]);
    assert_eq!(reseal(true).await, (5, 5, values("old")));
    assert_eq!(reseal(false).await, (5, 5, values("old")));
    assert_eq!(reseal(true).await, (5, 0, values("new")));
    both.close().await;
    let new = registry_with_keys(&database, &["new"]).await;
    assert_eq!(new.get_proposal(&at("p")).await.unwrap().unwrap().body_json, r#"{"note":"MARK-body"}"#);
    assert_eq!(new.proposal_history(&at("p")).await.unwrap().unwrap()[0].actor, "MARK-actor");
    new.close().await;
}
