//! The ledger by itself: put, commit, reserve, finalise, release, decline, discard.

use crate::{database::Database, ledger_support::*, support::*};
use handoff_proto::{
    errors,
    v1::TaskRef,
    wire::{OfferedProposal, Recovery},
};
use handoff_store::{
    ProposalCause, ProposalFilter, ProposalKey, ProposalRef, ProposalState, RegistryError, RegistryOptions, Viewer,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

const LONG_AGO: i64 = 1_000_000;

pub(crate) async fn a_draft_is_overwritten_until_it_is_committed(database: Arc<Database>) {
    let registry = registry(&database).await;
    let (first, cheaper) = (offer("p"), OfferedProposal { body_json: r#"{"price":1.0}"#.into(), ..offer("p") });
    for _ in 0..2 {
        let put = registry.put_draft(&at("p"), &first, &nobody()).await.unwrap().unwrap();
        assert_eq!((put.state, put.version), (ProposalState::Draft, 1));
    }
    registry.put_draft(&at("p"), &cheaper, &nobody()).await.unwrap().unwrap();
    let record = registry.get_proposal(&at("p")).await.unwrap().unwrap();
    assert_eq!(record.body_json, r#"{"price":1.0}"#);
    for _ in 0..2 {
        let committed = commit(&*registry, &OfferedProposal { expires_at: Some(i64::MAX), ..first.clone() }).await;
        assert_eq!((committed.state, committed.expires_at), (ProposalState::Committed, Some(i64::MAX)));
    }
    // Its inventory is held: no late draft takes it back. New terms of a committed proposal are its terms.
    let late = registry.put_draft(&at("p"), &cheaper, &nobody()).await.unwrap();
    assert_eq!(code(late), "INVALID_STATE");
    commit(&*registry, &OfferedProposal { expires_at: Some(LONG_AGO), ..cheaper.clone() }).await;
    registry.put_draft(&at("p"), &first, &nobody()).await.unwrap().unwrap();
    assert_eq!(told(&*registry, "p").await, ["drafted", "drafted", "committed", "committed", "drafted"]);
    registry.close().await;
}

pub(crate) async fn what_is_bought_or_declined_is_never_overwritten(database: Arc<Database>) {
    let registry = registry(&database).await;
    for id in ["consuming", "consumed", "declined"] {
        commit(&*registry, &OfferedProposal { expires_at: Some(i64::MAX), ..offer(id) }).await;
    }
    let task = new_task();
    registry.try_reserve(&task, &uses("consuming")).await.unwrap().unwrap();
    buy(&*registry, "consumed", "mb_1", 1).await;
    registry.decline_proposal(&at("declined"), &nobody()).await.unwrap().unwrap();
    for id in ["consuming", "consumed", "declined"] {
        let before = all_of(&*registry, &at(id)).await;
        let other = OfferedProposal { body_json: "{}".into(), ..offer(id) };
        assert_eq!(code(registry.put_draft(&at(id), &other, &nobody()).await.unwrap()), "INVALID_STATE", "{id}");
        assert_eq!(code(registry.commit_proposal(&at(id), &other, &nobody()).await.unwrap()), "INVALID_STATE", "{id}");
        assert_eq!(all_of(&*registry, &at(id)).await, before);
    }
    registry.close().await;
}

pub(crate) async fn a_reservation_is_its_tasks(database: Arc<Database>) {
    let registry = registry(&database).await;
    commit(&*registry, &offer("p")).await;
    let (one, other) = (new_task(), new_task());
    let reserved = registry.try_reserve(&one, &uses("p")).await.unwrap().unwrap();
    assert_eq!((reserved.state, reserved.held_by.as_ref()), (ProposalState::Consuming, Some(&one.task_id)));
    assert_eq!(registry.try_reserve(&one, &uses("p")).await.unwrap().unwrap(), reserved);
    let busy = refusal(registry.try_reserve(&other, &uses("p")).await.unwrap());
    assert_eq!((busy.code.as_str(), busy.recovery, busy.retry_after), ("CONFLICT", Recovery::Transient, Some(60)));
    // Nobody else's release, finalize, decline or discard.
    let stays = registry.release_proposal(&at("p"), &other.task_id, &nobody()).await.unwrap();
    assert_eq!(stays, Some(reserved.clone()));
    let finalized = registry.finalize_proposal(&at("p"), &other.task_id, &bought("mb", 1), &nobody()).await.unwrap();
    assert_eq!(code(finalized), errors::NOT_FINALIZED);
    assert_eq!(code(registry.decline_proposal(&at("p"), &nobody()).await.unwrap()), "CONFLICT");
    assert!(!registry.discard_proposal(&at("p")).await.unwrap());
    assert_eq!(found(&*registry, "p").await, Some(reserved));
    // Released, and taken by the other: the first one's late steps change nothing.
    for _ in 0..2 {
        registry.release_proposal(&at("p"), &one.task_id, &nobody()).await.unwrap();
        assert_eq!(stands(&*registry, "p").await, (ProposalState::Committed, None));
    }
    let taken = registry.try_reserve(&other, &uses("p")).await.unwrap().unwrap();
    registry.release_proposal(&at("p"), &one.task_id, &nobody()).await.unwrap();
    assert_eq!(code(registry.try_reserve(&one, &uses("p")).await.unwrap()), "CONFLICT");
    assert_eq!(found(&*registry, "p").await, Some(taken));
    let mut consumed = Vec::new();
    for _ in 0..2 {
        let done = registry.finalize_proposal(&at("p"), &other.task_id, &bought("mb", 1), &nobody()).await.unwrap();
        consumed.push(done.unwrap());
    }
    assert_eq!(consumed[0], consumed[1]);
    let again = registry.finalize_proposal(&at("p"), &other.task_id, &bought("mb_2", 1), &nobody()).await.unwrap();
    assert_eq!(code(again), errors::NOT_FINALIZED);
    for late in [&one, &other] {
        let stays = registry.release_proposal(&at("p"), &late.task_id, &nobody()).await.unwrap();
        assert_eq!(stays.as_ref(), Some(&consumed[0]));
    }
    let executed = refusal(registry.try_reserve(&one, &uses("p")).await.unwrap());
    assert_eq!((executed.code.as_str(), executed.recovery), ("INVALID_STATE", Recovery::Correctable));
    assert_eq!(registry.try_reserve(&other, &uses("p")).await.unwrap().unwrap(), consumed[0]);
    assert_eq!(told(&*registry, "p").await, ["committed", "reserved", "released", "reserved", "consumed"]);
    registry.close().await;
}

pub(crate) async fn a_hundred_reservations_have_one_winner(database: Arc<Database>) {
    let registry = registry(&database).await;
    commit(&*registry, &offer("p")).await;
    let tasks: Vec<TaskRef> = (0..100).map(|_| new_task()).collect();
    let calls = tasks.iter().cloned().map(|task| {
        let registry = Arc::clone(&registry);
        tokio::spawn(async move { (task.task_id.clone(), registry.try_reserve(&task, &uses("p")).await.unwrap()) })
    });
    let told: Vec<_> = futures::future::join_all(calls).await.into_iter().map(Result::unwrap).collect();
    let winners: Vec<_> = told.iter().filter(|(_, ruled)| ruled.is_ok()).map(|(id, _)| id.clone()).collect();
    assert_eq!(winners.len(), 1);
    assert!(told.iter().filter_map(|(_, ruled)| ruled.as_ref().err()).all(|error| error.code == "CONFLICT"));
    assert_eq!(stands(&*registry, "p").await, (ProposalState::Consuming, Some(winners[0].clone())));
    assert_eq!(crate::ledger_support::told(&*registry, "p").await, ["committed", "reserved"]);
    registry.close().await;
}

pub(crate) async fn refusals_are_the_protocols(database: Arc<Database>) {
    let registry = registry(&database).await;
    registry.put_draft(&at("draft"), &offer("draft"), &nobody()).await.unwrap().unwrap();
    commit(&*registry, &OfferedProposal { expires_at: Some(LONG_AGO), ..offer("expired") }).await;
    commit(&*registry, &OfferedProposal { terms_digest: Some("sha256:a".into()), ..offer("terms") }).await;
    commit(&*registry, &OfferedProposal { io_id: Some("io_1".into()), ..offer("io") }).await;
    commit(&*registry, &offer("declined")).await;
    for _ in 0..2 {
        registry.decline_proposal(&at("declined"), &nobody()).await.unwrap().unwrap();
    }
    assert_eq!(told(&*registry, "declined").await, ["committed", "declined"]);
    let task = new_task();
    let terms = |digest: Option<&str>| handoff_store::ProposalUse {
        terms_digest: digest.map(Into::into),
        field: "body.proposal_id".into(),
        ..uses("terms")
    };
    for (wanted, code, field) in [
        (uses("missing"), "PROPOSAL_NOT_FOUND", "proposal_id"),
        (uses(""), "PROPOSAL_NOT_FOUND", "proposal_id"),
        (uses("draft"), "PROPOSAL_NOT_COMMITTED", "proposal_id"),
        (uses("expired"), "PROPOSAL_EXPIRED", "proposal_id"),
        (uses("declined"), "INVALID_STATE", "proposal_id"),
        (terms(Some("sha256:b")), "PROPOSAL_NOT_FOUND", "proposal_terms_digest"),
        (uses("io"), "IO_REQUIRED", "io_acceptance"),
        (handoff_store::ProposalUse { io_id: Some("io_2".into()), ..uses("io") }, "IO_REQUIRED", "io_acceptance"),
        (
            handoff_store::ProposalUse { field: "refine[0].proposal_id".into(), ..uses("draft") },
            "PROPOSAL_NOT_COMMITTED",
            "refine[0].proposal_id",
        ),
    ] {
        let error = refusal(registry.try_reserve(&task, &wanted).await.unwrap());
        let told = (error.code.as_str(), error.field.as_deref(), error.recovery);
        assert_eq!(told, (code, Some(field), Recovery::Correctable), "{wanted:?}");
    }
    let signed = handoff_store::ProposalUse { io_id: Some("io_1".into()), ..uses("io") };
    for (wanted, task) in [(terms(Some("sha256:a")), new_task()), (signed, new_task())] {
        registry.try_reserve(&task, &wanted).await.unwrap().unwrap();
    }
    let unknown = registry.decline_proposal(&at("missing"), &nobody()).await.unwrap();
    assert_eq!(code(unknown), "PROPOSAL_NOT_FOUND");
    let unknown = registry.finalize_proposal(&at("missing"), &task.task_id, &bought("mb", 1), &nobody()).await.unwrap();
    assert_eq!(code(unknown), "PROPOSAL_NOT_FOUND");
    assert_eq!(registry.release_proposal(&at("missing"), &task.task_id, &nobody()).await.unwrap(), None);
    registry.close().await;
}

pub(crate) async fn expiry_is_looked_at_when_reserving_and_never_later(database: Arc<Database>) {
    let strict = registry(&database).await;
    let options = RegistryOptions {
        proposal_grace: Duration::from_secs(3_600),
        cipher: database.sealed.then(|| ring(&["k"])),
        ..Default::default()
    };
    let patient = handoff_store::connect(&database.url, options).await.unwrap();
    let a_minute_ago = chrono_micros() - 60_000_000;
    commit(&*strict, &OfferedProposal { expires_at: Some(a_minute_ago), ..offer("p") }).await;
    let task = new_task();
    assert_eq!(code(strict.try_reserve(&task, &uses("p")).await.unwrap()), "PROPOSAL_EXPIRED");
    patient.try_reserve(&task, &uses("p")).await.unwrap().unwrap();
    // Past its time and its grace, the reservation is still one, and a purchase.
    strict.try_reserve(&task, &uses("p")).await.unwrap().unwrap();
    strict.finalize_proposal(&at("p"), &task.task_id, &bought("mb", 1), &nobody()).await.unwrap().unwrap();
    assert_eq!(stands(&*strict, "p").await.0, ProposalState::Consumed);
    patient.close().await;
    strict.close().await;
}

pub(crate) async fn only_a_committed_proposals_time_can_be_ended(database: Arc<Database>) {
    let registry = registry(&database).await;
    let cause = ProposalCause { actor: "controller".into(), reason: "expire_proposal".into(), ..nobody() };
    let expire = async |id: &str| registry.expire_proposal(&at(id), &cause).await.unwrap();
    for (id, expires_at) in [("endless", None), ("held", Some(i64::MAX)), ("over", Some(LONG_AGO))] {
        commit(&*registry, &OfferedProposal { expires_at, ..offer(id) }).await;
        let mut ends = Vec::new();
        for _ in 0..2 {
            let expired = expire(id).await.unwrap();
            assert_eq!(expired.state, ProposalState::Committed, "{id}");
            ends.push(expired.expires_at);
        }
        assert!(ends[0] == ends[1] && ends[0] < Some(chrono_micros()), "{id}: {ends:?}");
        let events: &[&str] = if id == "over" { &["committed"] } else { &["committed", "expired"] };
        assert_eq!(told(&*registry, id).await, events, "{id}");
        assert_eq!(code(registry.try_reserve(&new_task(), &uses(id)).await.unwrap()), "PROPOSAL_EXPIRED", "{id}");
    }
    let last = registry.proposal_history(&at("held")).await.unwrap().unwrap().pop().unwrap();
    assert_eq!((last.actor.as_str(), last.reason.as_str()), ("controller", "expire_proposal"));
    // Offered anew, its time begins anew.
    commit(&*registry, &OfferedProposal { expires_at: Some(i64::MAX), ..offer("held") }).await;
    let task = new_task();
    registry.try_reserve(&task, &uses("held")).await.unwrap().unwrap();

    registry.put_draft(&at("draft"), &offer("draft"), &nobody()).await.unwrap().unwrap();
    commit(&*registry, &offer("declined")).await;
    registry.decline_proposal(&at("declined"), &nobody()).await.unwrap().unwrap();
    commit(&*registry, &offer("bought")).await;
    buy(&*registry, "bought", "mb", 1).await;
    for (id, refused) in [
        ("draft", "PROPOSAL_NOT_COMMITTED"),
        ("held", "CONFLICT"),
        ("declined", "INVALID_STATE"),
        ("bought", "INVALID_STATE"),
        ("missing", "PROPOSAL_NOT_FOUND"),
    ] {
        let before = all_of(&*registry, &at(id)).await;
        assert_eq!(code(expire(id).await), refused, "{id}");
        assert_eq!(all_of(&*registry, &at(id)).await, before, "{id}");
    }
    let foreign = ProposalRef::new("acct_2", PRINCIPAL, "endless");
    assert_eq!(code(registry.expire_proposal(&foreign, &cause).await.unwrap()), "PROPOSAL_NOT_FOUND");
    registry.close().await;
}

fn chrono_micros() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_micros()).unwrap()
}

pub(crate) async fn only_drafts_and_declined_proposals_are_discarded(database: Arc<Database>) {
    let registry = registry(&database).await;
    registry.put_draft(&at("draft"), &offer("draft"), &nobody()).await.unwrap().unwrap();
    commit(&*registry, &offer("declined")).await;
    registry.decline_proposal(&at("declined"), &nobody()).await.unwrap().unwrap();
    commit(&*registry, &offer("committed")).await;
    commit(&*registry, &offer("consumed")).await;
    buy(&*registry, "consumed", "mb", 1).await;
    for (id, goes) in [("draft", true), ("declined", true), ("committed", false), ("consumed", false), ("x", false)] {
        assert_eq!(registry.discard_proposal(&at(id)).await.unwrap(), goes, "{id}");
        assert!(!registry.discard_proposal(&at(id)).await.unwrap(), "{id}");
        let stays = ["committed", "consumed"].contains(&id);
        assert_eq!(registry.proposal_history(&at(id)).await.unwrap().is_some(), stays, "{id}");
    }
    // The same id again is another proposal.
    registry.put_draft(&at("draft"), &offer("draft"), &nobody()).await.unwrap().unwrap();
    assert_eq!(told(&*registry, "draft").await, ["drafted"]);
    registry.close().await;
}

pub(crate) async fn history_tells_who_when_and_why(database: Arc<Database>) {
    let registry = registry(&database).await;
    let cause = ProposalCause { actor: "ann".into(), reason: "by hand".into(), ..ProposalCause::task("task_0") };
    registry.commit_proposal(&at("p"), &offer("p"), &cause).await.unwrap().unwrap();
    let task = new_task();
    registry.try_reserve(&task, &uses("p")).await.unwrap().unwrap();
    registry.release_proposal(&at("p"), &task.task_id, &cause).await.unwrap();
    let history = registry.proposal_history(&at("p")).await.unwrap().unwrap();
    let told: Vec<_> = history
        .iter()
        .map(|entry| (entry.event.as_str(), entry.task_id.as_deref(), entry.actor.as_str(), entry.reason.as_str()))
        .collect();
    let reserved = ("reserved", Some(task.task_id.as_str()), "", "");
    let by_hand = |event| (event, Some("task_0"), "ann", "by hand");
    assert_eq!(told, [by_hand("committed"), reserved, by_hand("released")]);
    assert!(history.windows(2).all(|pair| pair[0].at <= pair[1].at && pair[0].at > LONG_AGO));
    registry.close().await;
}

pub(crate) async fn another_scopes_proposal_is_not_found(database: Arc<Database>) {
    let registry = registry(&database).await;
    commit(&*registry, &offer("p")).await;
    commit(&*registry, &offer("bought")).await;
    buy(&*registry, "bought", "mb", 1).await;
    let before = (all_of(&*registry, &at("p")).await, all_of(&*registry, &at("bought")).await);
    let owners = [("acct_2", "agent_1"), ("acct_1", "agent_2"), ("", ""), ("acct_1\0", "agent_1")];
    for (scope, principal) in owners {
        let foreign = ProposalRef::new(scope, principal, "p");
        let unknown = ProposalRef::new(scope, principal, "never-was");
        let task = TaskRef { scope: scope.into(), principal: principal.into(), ..new_task() };
        assert_eq!(registry.get_proposal(&foreign).await.unwrap(), None);
        assert_eq!(registry.proposal_history(&foreign).await.unwrap(), None);
        assert_eq!(registry.get_by_media_buy_id(scope, principal, "mb").await.unwrap(), None);
        assert_eq!(
            registry.try_reserve(&task, &uses("p")).await.unwrap(),
            registry.try_reserve(&task, &uses("never-was")).await.unwrap()
        );
        for one in [&foreign, &unknown] {
            let done = registry.finalize_proposal(one, &task.task_id, &bought("mb_2", 1), &nobody()).await.unwrap();
            assert_eq!(code(done), "PROPOSAL_NOT_FOUND");
            assert_eq!(code(registry.decline_proposal(one, &nobody()).await.unwrap()), "PROPOSAL_NOT_FOUND");
            assert_eq!(registry.release_proposal(one, &task.task_id, &nobody()).await.unwrap(), None);
            assert!(!registry.discard_proposal(one).await.unwrap());
        }
        let viewer = Viewer::Buyer { scope: scope.into(), principal: principal.into() };
        let filter = ProposalFilter { viewer, state: None, proposal_id: Some("p".into()), after: None };
        assert_eq!(registry.list_proposals(&filter, 10).await.unwrap(), []);
    }
    assert_eq!((all_of(&*registry, &at("p")).await, all_of(&*registry, &at("bought")).await), before);
    // Each has its own of the same name.
    let other = ProposalRef::new("acct_2", "agent_1", "p");
    registry.put_draft(&other, &offer("p"), &nobody()).await.unwrap().unwrap();
    assert_eq!(stands(&*registry, "p").await.0, ProposalState::Committed);
    registry.close().await;
}

pub(crate) async fn lists_page_by_scope_principal_and_id(database: Arc<Database>) {
    let registry = registry(&database).await;
    let mut expected = BTreeMap::new();
    for (scope, principal) in [("acct_1", "agent_1"), ("acct_1", "agent_2"), ("acct_2", "agent_1")] {
        for number in 0..3 {
            let id = format!("p{number}");
            let task = TaskRef { scope: scope.into(), principal: principal.into(), ..new_task() };
            let proposal = ProposalRef::new(scope, principal, &id);
            registry.commit_proposal(&proposal, &offer(&id), &nobody()).await.unwrap().unwrap();
            if number == 1 {
                registry.try_reserve(&task, &uses(&id)).await.unwrap().unwrap();
            }
            expected
                .insert(proposal.key, if number == 1 { ProposalState::Consuming } else { ProposalState::Committed });
        }
    }
    let all = async |viewer: &Viewer, state: Option<ProposalState>, proposal_id: Option<&str>| {
        let mut filter =
            ProposalFilter { viewer: viewer.clone(), state, proposal_id: proposal_id.map(Into::into), after: None };
        let mut found: Vec<ProposalKey> = Vec::new();
        loop {
            let page = registry.list_proposals(&filter, 2).await.unwrap();
            let Some(last) = page.last() else { return found };
            filter.after = Some(last.key.clone());
            found.extend(page.into_iter().map(|proposal| proposal.key));
        }
    };
    let reviewer = |scopes: &[&str]| Viewer::Reviewer { scopes: scopes.iter().map(|s| (*s).to_owned()).collect() };
    let keys = |sees: &dyn Fn(&ProposalKey, ProposalState) -> bool| {
        let seen = expected.iter().filter(|(key, state)| sees(key, **state));
        seen.map(|(key, _)| key.clone()).collect::<Vec<_>>()
    };
    assert_eq!(all(&Viewer::Operator, None, None).await, keys(&|_, _| true));
    assert_eq!(all(&Viewer::Operator, None, Some("p2")).await, keys(&|key, _| key.proposal_id == "p2"));
    let consuming = Some(ProposalState::Consuming);
    assert_eq!(all(&Viewer::Operator, consuming, None).await, keys(&|_, state| Some(state) == consuming));
    assert_eq!(all(&buyer(), None, None).await, keys(&|key, _| key.scope == SCOPE && key.principal == PRINCIPAL));
    assert_eq!(all(&reviewer(&["acct_2", "a\0"]), None, None).await, keys(&|key, _| key.scope == "acct_2"));
    assert_eq!(all(&reviewer(&[]), None, None).await, []);
    assert_eq!(all(&Viewer::Operator, None, Some("p\0")).await, []);
    registry.close().await;
}

pub(crate) async fn what_no_database_can_store_of_a_proposal_is_refused(database: Arc<Database>) {
    let registry = registry(&database).await;
    let long = "p".repeat(1_021);
    for (proposal, offer) in [
        (at("p\0"), offer("p")),
        (at(""), offer("p")),
        (at(&long), offer("p")),
        (ProposalRef::new("", PRINCIPAL, "p"), offer("p")),
        (at("p"), OfferedProposal { body_json: "\0".into(), ..offer("p") }),
        (at("p"), OfferedProposal { terms_digest: Some("\0".into()), ..offer("p") }),
        (at("p"), OfferedProposal { base_media_buy_id: Some(long.clone()), ..offer("p") }),
    ] {
        let error = registry.put_draft(&proposal, &offer, &nobody()).await.unwrap_err();
        assert!(matches!(error, RegistryError::InvalidQuery { .. }), "{error}");
    }
    // The longest that the protocol allows, in a database that orders by bytes.
    let longest = "\u{1f4b0}".repeat(255);
    commit(&*registry, &offer(&longest)).await;
    buy(&*registry, &longest, &"\u{1f4b0}".repeat(255), 1).await;
    registry.close().await;
}
