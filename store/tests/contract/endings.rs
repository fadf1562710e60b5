//! How tasks go on and end.

use crate::{database::Database, support::*};
use handoff_proto::v1::{Completion, Progress, TaskRecord};
use handoff_store::{Claim, ClaimView, RegistryError};
use std::sync::Arc;

pub(crate) async fn first_settle_wins(database: Arc<Database>) {
    let registry = registry(&database).await;
    let task = submitted(&*registry).await;
    let first = result(r#"{"media_buy_id":"mb_1"}"#);
    let recorded = registry.settle(&task, &first).await.unwrap();
    assert_eq!(recorded, first.to_settlement());
    let before = everything(&*registry, &task).await;
    // The same again, spelled differently, another decision, and a late step of everything else.
    let same = result(r#"{ "media_buy_id": "mb_1" }"#);
    assert!(recorded.as_ref().unwrap().same_outcome(&same.to_settlement().unwrap()));
    for late in [first, same, result(r#"{"media_buy_id":"mb_2"}"#), failure("LATE"), cancellation()] {
        assert_eq!(registry.settle(&task, &late).await.unwrap(), recorded);
    }
    registry.accept(&task).await.unwrap();
    registry.record_decision(&task, &refuse("LATE")).await.unwrap();
    assert!(!registry.update_progress(&task, &Progress::default()).await.unwrap());
    assert_eq!(registry.discard(&task, &error("LATE")).await.unwrap(), recorded);
    assert_eq!(everything(&*registry, &task).await, before);
    let record = before.2.unwrap();
    assert_eq!((record.actor.as_str(), record.reason.as_str()), ("ann", "looks good"));
    assert_eq!((record.decision_id.as_str(), record.result_json.as_str()), ("d-1", r#"{"media_buy_id":"mb_1"}"#));
    assert_eq!(record.completed_at, record.updated_at);
    registry.close().await;
}

pub(crate) async fn concurrent_settles_have_one_winner(database: Arc<Database>) {
    let registry = registry(&database).await;
    let task = submitted(&*registry).await;
    let calls = (0..50).map(|number| {
        let (registry, task) = (Arc::clone(&registry), task.clone());
        tokio::spawn(async move {
            let completion = match number % 3 {
                0 => failure(&format!("E_{number}")),
                1 => cancellation(),
                _ => result(&format!(r#"{{"number":{number}}}"#)),
            };
            registry.settle(&task, &completion).await.unwrap()
        })
    });
    let told: Vec<_> = futures::future::join_all(calls).await.into_iter().map(Result::unwrap).collect();
    assert!(told.iter().all(|settlement| *settlement == told[0] && settlement.is_some()));
    assert_eq!(registry.standing(&task).await.unwrap().settlement, told[0]);
    assert_eq!(events(&*registry, &task).await.len(), 4);
    registry.close().await;
}

pub(crate) async fn every_outcome_has_its_status(database: Arc<Database>) {
    let registry = registry(&database).await;
    for (completion, expected) in [
        (result("{}"), "completed"),
        (result(r#"{"status":"rejected"}"#), "rejected"),
        (failure("NO"), "failed"),
        (cancellation(), "canceled"),
    ] {
        let task = submitted(&*registry).await;
        let recorded = registry.settle(&task, &completion).await.unwrap();
        assert_eq!(recorded, completion.to_settlement());
        assert_eq!(status(&*registry, &task).await.as_deref(), Some(expected));
    }
    let task = submitted(&*registry).await;
    let error = registry.settle(&task, &Completion::default()).await.unwrap_err();
    assert!(matches!(error, RegistryError::InvalidQuery { .. }), "{error}");
    assert_eq!(status(&*registry, &task).await.as_deref(), Some("submitted"));
    registry.close().await;
}

pub(crate) async fn settle_closes_an_open_journal(database: Arc<Database>) {
    let registry = registry(&database).await;
    let task = promoted(&*registry).await;
    registry.settle(&task, &failure("GONE")).await.unwrap();
    let standing = registry.standing(&task).await.unwrap();
    assert_eq!((standing.decision, ended(&standing.settlement)), (void(), "failed"));
    registry.close().await;
}

pub(crate) async fn settle_of_a_pending_task_shows_its_end(database: Arc<Database>) {
    let registry = registry(&database).await;
    let task = pending(&*registry).await;
    assert_eq!(ended(&registry.settle(&task, &result("{}")).await.unwrap()), "completed");
    assert_eq!(status(&*registry, &task).await.as_deref(), Some("completed"));
    let ClaimView::Answered(answer) = registry.claim_view(&task).await.unwrap() else { panic!("not answered") };
    assert_eq!((answer.status.as_str(), answer.body_json), ("submitted", submitted_body(&task)));
    // A late enqueue: the end stays.
    let before = everything(&*registry, &task).await;
    assert_eq!(ended(&registry.accept(&task).await.unwrap().settlement), "completed");
    assert_eq!(ended(&registry.discard(&task, &error("UNABLE")).await.unwrap()), "completed");
    assert_eq!(everything(&*registry, &task).await, before);
    registry.close().await;
}

pub(crate) async fn settle_without_a_task_does_nothing(database: Arc<Database>) {
    let registry = registry(&database).await;
    let (unknown, undecided, answered, refused) =
        (new_task(), claimed(&*registry).await, claimed(&*registry).await, claimed(&*registry).await);
    registry.record_decision(&answered, &complete("{}")).await.unwrap();
    registry.record_decision(&refused, &refuse("NO")).await.unwrap();
    for task in [unknown, undecided, answered, refused] {
        let before = everything(&*registry, &task).await;
        assert_eq!(registry.settle(&task, &result("{}")).await.unwrap(), None);
        assert!(!registry.update_progress(&task, &Progress::default()).await.unwrap());
        assert_eq!(everything(&*registry, &task).await, before);
    }
    registry.close().await;
}

pub(crate) async fn progress_works_and_stragglers_are_dropped(database: Arc<Database>) {
    let registry = registry(&database).await;
    let task = submitted(&*registry).await;
    for percentage in [10.5, 20.0, 15.0] {
        let progress = Progress {
            percentage: Some(percentage),
            current_step: "copy\0".into(),
            total_steps: Some(3),
            ..Default::default()
        };
        assert!(registry.update_progress(&task, &progress).await.unwrap());
        let record = record(&*registry, &task).await.unwrap();
        assert_eq!((record.status.as_str(), record.progress), ("working", Some(progress)));
    }
    assert_eq!(events(&*registry, &task).await, ["claimed", "decided", "submitted", "working"]);
    registry.settle(&task, &result("{}")).await.unwrap();
    let before = everything(&*registry, &task).await;
    assert!(!registry.update_progress(&task, &Progress::default()).await.unwrap());
    assert_eq!(everything(&*registry, &task).await, before);
    let pending = pending(&*registry).await;
    assert!(!registry.update_progress(&pending, &Progress::default()).await.unwrap());
    registry.close().await;
}

pub(crate) async fn the_history_tells_who_reported_progress(database: Arc<Database>) {
    let registry = registry(&database).await;
    let task = submitted(&*registry).await;
    let by = |actor: &str, reason: &str, percentage: f64| Progress {
        percentage: Some(percentage),
        actor: actor.into(),
        reason: reason.into(),
        ..Default::default()
    };
    for report in [
        by("ann", "counted", 10.0),
        by("ann", "counted", 20.0),
        by("bob", "counted", 30.0),
        by("bob", "counted", 40.0),
        by("", "", 50.0),
        by("bob", "counted again", 60.0),
    ] {
        assert!(registry.update_progress(&task, &report).await.unwrap());
    }
    let told = |task: &TaskRecord| -> Vec<_> {
        let lines = task.history.iter().skip(3);
        lines.map(|entry| [&entry.event, &entry.status, &entry.actor, &entry.reason].map(String::clone)).collect()
    };
    let record_now = record(&*registry, &task).await.unwrap();
    assert_eq!(
        told(&record_now),
        [
            ["working", "working", "ann", "counted"],
            ["progressed", "working", "bob", "counted"],
            ["progressed", "working", "", ""],
            ["progressed", "working", "bob", "counted again"],
        ]
    );
    assert_eq!(record_now.progress.unwrap().percentage, Some(60.0));
    let unstorable = registry.update_progress(&task, &by("a\0", "", 70.0)).await.unwrap_err();
    assert!(unstorable.to_string().contains("progress.actor"), "{unstorable}");
    // Whoever gives another reason each time doesn't fill the history.
    for number in 0..120 {
        assert!(registry.update_progress(&task, &by("bob", &number.to_string(), 80.0)).await.unwrap());
    }
    assert_eq!(record(&*registry, &task).await.unwrap().history.len(), 4 + 100);
    registry.close().await;
}

pub(crate) async fn discard_of_a_pending_task_releases_its_claim(database: Arc<Database>) {
    let registry = registry(&database).await;
    let task = new_task();
    registry.claim(&claim_of(&task, Some("k"))).await.unwrap();
    registry.record_decision(&task, &to_workflow()).await.unwrap();
    for _ in 0..2 {
        assert_eq!(registry.discard(&task, &error("UNABLE")).await.unwrap(), None);
        let standing = registry.standing(&task).await.unwrap();
        assert_eq!((standing.decision, standing.refusal), (Some(refuse("UNABLE")), Some(error("UNABLE"))));
        assert!(!standing.submitted);
        assert!(matches!(registry.claim_view(&task).await.unwrap(), ClaimView::Refused { .. }));
    }
    assert_eq!(registry.claim(&claim_of(&new_task(), Some("k"))).await.unwrap(), Claim::New);
    // A late accept or settle brings nothing back.
    assert!(!registry.accept(&task).await.unwrap().submitted);
    assert_eq!(registry.settle(&task, &result("{}")).await.unwrap(), None);
    assert_eq!(record(&*registry, &task).await, None);
    registry.close().await;
}

pub(crate) async fn discard_of_an_undecided_request_refuses_it(database: Arc<Database>) {
    let registry = registry(&database).await;
    let task = new_task();
    registry.claim(&claim_of(&task, Some("k"))).await.unwrap();
    assert_eq!(registry.discard(&task, &error("DECIDE_FAILED")).await.unwrap(), None);
    assert_eq!(registry.claim(&claim_of(&new_task(), Some("k"))).await.unwrap(), Claim::New);
    // A handler that answers after all changes nothing.
    let late = registry.record_decision(&task, &complete("{}")).await.unwrap();
    assert_eq!(late.refusal, Some(error("DECIDE_FAILED")));
    // What was answered, refused or never there has nothing to take back.
    let (unknown, answered, refused) = (new_task(), claimed(&*registry).await, claimed(&*registry).await);
    registry.record_decision(&answered, &complete("{}")).await.unwrap();
    registry.record_decision(&refused, &refuse("NO")).await.unwrap();
    for task in [unknown, answered, refused] {
        let before = everything(&*registry, &task).await;
        assert_eq!(registry.discard(&task, &error("NO")).await.unwrap(), None);
        assert_eq!(everything(&*registry, &task).await, before);
    }
    registry.close().await;
}

pub(crate) async fn discard_of_a_submitted_task_fails_it(database: Arc<Database>) {
    let registry = registry(&database).await;
    let task = pending(&*registry).await;
    registry.accept(&task).await.unwrap();
    let settlement = registry.discard(&task, &error("UNABLE")).await.unwrap();
    assert_eq!((ended(&settlement), settlement.as_ref().unwrap().error.as_ref()), ("failed", Some(&error("UNABLE"))));
    assert_eq!(registry.discard(&task, &error("AGAIN")).await.unwrap(), settlement);
    assert!(matches!(registry.claim_view(&task).await.unwrap(), ClaimView::Answered(_)));
    registry.close().await;
}

pub(crate) async fn discard_of_an_ended_task_keeps_its_end(database: Arc<Database>) {
    let registry = registry(&database).await;
    let task = completed(&*registry).await;
    let before = everything(&*registry, &task).await;
    assert_eq!(registry.discard(&task, &error("UNABLE")).await.unwrap(), before.0.settlement);
    assert_eq!(everything(&*registry, &task).await, before);
    registry.close().await;
}

pub(crate) async fn bodies_stay_as_written(database: Arc<Database>) {
    let registry = registry(&database).await;
    let large = format!(r#"{{"text":"{}"}}"#, "x".repeat(1_400_000));
    for body in
        [r#"{"z":1.10,"a":1E400}"#, r#"{ "b" : 12345678901234567890123, "b":"\u0000\ud83d\ude00 'x' $1 ?" }"#, &large]
    {
        let task = submitted(&*registry).await;
        registry.settle(&task, &result(body)).await.unwrap();
        assert_eq!(record(&*registry, &task).await.unwrap().result_json, body);
        assert_eq!(registry.standing(&task).await.unwrap().settlement.unwrap().result_json, body);
        let task = claimed(&*registry).await;
        registry.record_decision(&task, &complete(body)).await.unwrap();
        assert!(
            matches!(registry.claim_view(&task).await.unwrap(), ClaimView::Answered(answer) if answer.body_json == body)
        );
    }
    registry.close().await;
}

pub(crate) async fn text_no_database_can_store_does_not_block_a_settle(database: Arc<Database>) {
    let registry = registry(&database).await;
    let task = submitted(&*registry).await;
    let mut completion = failure("NO");
    completion.reason = "a\0b".into();
    let recorded = registry.settle(&task, &completion).await.unwrap().unwrap();
    assert_eq!((recorded.status.as_str(), recorded.reason.as_str()), ("failed", "a\u{fffd}b"));
    assert_eq!(registry.standing(&task).await.unwrap().settlement, Some(recorded));
    registry.close().await;
}

pub(crate) async fn history_tells_every_transition_once(database: Arc<Database>) {
    let registry = registry(&database).await;
    let task = pending(&*registry).await;
    for _ in 0..2 {
        registry.accept(&task).await.unwrap();
        registry.update_progress(&task, &Progress::default()).await.unwrap();
    }
    for _ in 0..2 {
        registry.settle(&task, &result("{}")).await.unwrap();
    }
    let history = record(&*registry, &task).await.unwrap().history;
    let told: Vec<_> = history.iter().map(|entry| (entry.event.as_str(), entry.status.as_str())).collect();
    let expected = [
        ("claimed", ""),
        ("decided", ""),
        ("submitted", "submitted"),
        ("working", "working"),
        ("completed", "completed"),
    ];
    assert_eq!(told, expected);
    assert_eq!(history[1].detail_json, r#"{"decision":"handoff_to_workflow"}"#);
    assert_eq!((history[4].actor.as_str(), history[4].reason.as_str()), ("ann", "looks good"));
    assert!(history.iter().all(|entry| entry.at.is_some()));
    assert!(registry.get(&buyer(), &task.task_id, false).await.unwrap().unwrap().history.is_empty());
    registry.close().await;
}

pub(crate) async fn appended_history_is_written_once(database: Arc<Database>) {
    let registry = registry(&database).await;
    let task = submitted(&*registry).await;
    let before = registry.unfinished(i64::MAX, None, 1).await.unwrap();
    let mut dropped = note("signal_dropped");
    dropped.detail_json = r#"{"reason":"not JSON"}"#.into();
    let entries = [("dropped:1".to_owned(), dropped), ("dropped:2".to_owned(), note("signal_dropped"))];
    for _ in 0..2 {
        registry.append_history(&task, &entries).await.unwrap();
    }
    registry
        .append_history(&task, &[("dropped:2".to_owned(), note("other")), ("x\0".to_owned(), note("y\0"))])
        .await
        .unwrap();
    let events = events(&*registry, &task).await;
    assert_eq!(events, ["claimed", "decided", "submitted", "signal_dropped", "signal_dropped", "y\u{fffd}"]);
    // The request itself is as it was.
    assert_eq!(registry.unfinished(i64::MAX, None, 1).await.unwrap(), before);
    let many: Vec<_> = (0..250).map(|number| (format!("many:{number}"), note("many"))).collect();
    registry.append_history(&task, &many).await.unwrap();
    registry.append_history(&task, &[]).await.unwrap();
    assert_eq!(record(&*registry, &task).await.unwrap().history.len(), 256);
    registry.append_history(&new_task(), &entries).await.unwrap();
    registry.close().await;
}
