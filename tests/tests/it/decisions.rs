//! External decisions: the first one is the task's end, and everybody is told the same about it.

use crate::on_both_databases;
use chrono::Utc;
use futures::future::join_all;
use handoff_client::{Answer, CallError, Caller, ProgressReport, Resolved, Viewer};
use handoff_proto::{
    convert::to_datetime,
    errors,
    v1::{Completion, Progress, Settlement},
    wire::{AdcpError, GetTaskStatusRequest, TaskStatus},
};
use handoff_tests::{PRINCIPAL, SCOPE, World, decision, eventually, lab::QUICK_VERB};
use serde_json::json;
use std::time::Duration;

const VERB: &str = "create_media_buy";

on_both_databases! {
    async fn the_same_decision_again_is_a_duplicate(world: World) {
        let _worker = world.worker().await.unwrap();
        for first in [approval("mb"), rejection(), denial(), decision::cancel()] {
            let task_id = waiting(&world).await;
            let first = Completion { decision_id: "first".into(), ..first };
            let recorded = accepted(resolve(&world, &task_id, first.clone()).await);
            assert_eq!(recorded, first.to_settlement().unwrap());
            let duplicate = Resolved::Duplicate { recorded: recorded.clone() };
            let again = Completion { decision_id: "second".into(), ..first.clone() };
            assert_eq!(resolve(&world, &task_id, again.clone()).await, duplicate);
            world.closed(&task_id).await;
            assert_eq!(resolve(&world, &task_id, again).await, duplicate);
            // With its own id it is the decision that was accepted, however often it is sent.
            assert_eq!(resolve(&world, &task_id, first).await, Resolved::Accepted { recorded: recorded.clone() });
            is_the_end(&world, &task_id, &recorded).await;
        }
    }

    async fn neither_spelling_nor_who_nor_why_makes_another_decision(world: World) {
        let _worker = world.worker().await.unwrap();
        let task_id = waiting(&world).await;
        let text = r#"{"media_buy_id": "mb", "packages": [{"price": 1.0, "at": 1e2}], "name": "\u00e9"}"#;
        let first = by("ann", "in budget", decision::complete_with_text(text));
        let recorded = accepted(resolve(&world, &task_id, first).await);
        assert_eq!(recorded.result_json, text, "recorded as it was written");
        let spelled = r#"{"name":"é","packages":[{"at":100.0,"price":1}],"media_buy_id":"mb"}"#;
        for (actor, reason) in [("ann", "in budget"), ("bob", "looks good"), ("", "")] {
            let again = by(actor, reason, decision::complete_with_text(spelled));
            let told = resolve(&world, &task_id, again).await;
            assert_eq!(told, Resolved::Duplicate { recorded: recorded.clone() }, "{actor}");
        }
        let text_for_number = r#"{"name":"é","packages":[{"at":100,"price":"1"}],"media_buy_id":"mb"}"#;
        for other in [r#"{"media_buy_id":"mb"}"#, text_for_number] {
            let told = resolve(&world, &task_id, decision::complete_with_text(other)).await;
            assert_eq!(told, Resolved::Conflict { recorded: recorded.clone() }, "{other}");
        }
        is_the_end(&world, &task_id, &recorded).await;
    }

    async fn errors_are_compared_by_content_too(world: World) {
        let _worker = world.worker().await.unwrap();
        let task_id = waiting(&world).await;
        let failure = |details: &str| {
            let details = serde_json::from_str(details).unwrap();
            decision::fail(AdcpError::correctable("POLICY_VIOLATION", "no").details(details))
        };
        let recorded = accepted(resolve(&world, &task_id, failure(r#"{"a": 1.0, "b": 2}"#)).await);
        let again = resolve(&world, &task_id, failure(r#"{"b": 2.0, "a": 1}"#)).await;
        assert_eq!(again, Resolved::Duplicate { recorded: recorded.clone() });
        let other = resolve(&world, &task_id, failure(r#"{"b": 2, "a": 2}"#)).await;
        assert_eq!(other, Resolved::Conflict { recorded });
    }

    async fn of_two_decisions_at_once_one_wins_and_the_other_is_told_which(world: World) {
        let _worker = world.worker().await.unwrap();
        let contests = [
            (approval("one"), approval("two")),
            (approval("one"), denial()),
            (denial(), approval("one")),
            (approval("one"), rejection()),
            (decision::cancel(), approval("one")),
            (approval("one"), decision::cancel()),
        ];
        let contests = contests.into_iter().map(async |(one, other)| {
            let task_id = waiting(&world).await;
            let (told_one, told_other) =
                futures::join!(resolve(&world, &task_id, one), resolve(&world, &task_id, other));
            let recorded = match (told_one, told_other) {
                (Resolved::Accepted { recorded }, Resolved::Conflict { recorded: named })
                | (Resolved::Conflict { recorded: named }, Resolved::Accepted { recorded }) => {
                    assert_eq!(recorded, named);
                    recorded
                }
                other => panic!("{other:?}"),
            };
            is_the_end(&world, &task_id, &recorded).await;
        });
        join_all(contests).await;
    }

    async fn of_fifty_decisions_at_once_one_is_recorded_and_all_are_told(world: World) {
        let _worker = world.worker().await.unwrap();
        let task_id = waiting(&world).await;
        let decisions = (0..50).map(|n| match n % 5 {
            0 | 1 => approval("same"),
            2 => denial(),
            3 => approval(&format!("mb_{n}")),
            _ => decision::cancel(),
        });
        let decisions: Vec<Completion> = decisions
            .enumerate()
            .map(|(n, completion)| Completion { decision_id: format!("decision-{n}"), ..completion })
            .collect();
        let told = join_all(decisions.iter().map(|decision| resolve(&world, &task_id, decision.clone()))).await;
        let end = world.task(&task_id).await.unwrap();
        for (ours, told) in decisions.iter().zip(&told) {
            let equal = |recorded: &Settlement| recorded.same_outcome(&ours.to_settlement().unwrap());
            let recorded = match told {
                Resolved::Accepted { recorded } => {
                    assert_eq!(recorded.decision_id, ours.decision_id);
                    assert!(equal(recorded));
                    recorded
                }
                Resolved::Duplicate { recorded } => {
                    assert_ne!(recorded.decision_id, ours.decision_id);
                    assert!(equal(recorded));
                    recorded
                }
                Resolved::Conflict { recorded } => {
                    assert!(!equal(recorded), "{ours:?}: {recorded:?}");
                    recorded
                }
                other => panic!("{other:?}"),
            };
            assert_eq!((&recorded.decision_id, &recorded.status), (&end.decision_id, &end.status));
        }
        let accepted = told.iter().filter(|told| matches!(told, Resolved::Accepted { .. })).count();
        assert_eq!(accepted, 1, "{told:?}");
        world.closed(&task_id).await;
        assert_eq!(ends_in(&world, &task_id).await, [end.status]);
    }

    async fn a_decision_before_the_wait_is_kept(world: World) {
        let _worker = world.worker().await.unwrap();
        // While the seller decides, and while the review desk is asked; even if the desk then is unable.
        for (held, review) in [("decide", "wilco"), ("review", "roger"), ("decide", "unable"), ("review", "unable")] {
            let gate = format!("{held}-{review}");
            let lab = json!({"arm": "workflow", "review": review, "hold": {held: gate}});
            let (answer, resolved) = decide_early(&world, &gate, lab, held, approval("early")).await;
            assert_eq!(answer.as_ref().unwrap().status, "submitted", "{held} {review}");
            let recorded = accepted(resolved);
            is_the_end(&world, &answer.unwrap().task_id, &recorded).await;
        }
    }

    async fn a_decision_that_the_seller_forestalls_leaves_a_trace(world: World) {
        let _worker = world.worker().await.unwrap();
        // Submitted at the sync deadline, while the seller still decides.
        let prompt = world.prompt(Duration::from_millis(100));
        let lab = json!({"arm": "complete", "hold": {"decide": "g"}});
        let request = handoff_tests::request(&handoff_tests::fresh_key(), lab).to_string();
        let answer = prompt.call(&Caller::new(SCOPE, PRINCIPAL), VERB, request.as_bytes()).await.unwrap();
        assert_eq!(answer.status, "submitted");
        let hasty = world.client(|config| config.resolve_timeout = Duration::from_millis(500));
        let told = hasty.resolve(&Viewer::Operator, &answer.task_id, approval("by the desk")).await.unwrap();
        assert!(matches!(told, Resolved::Recorded { .. }), "{told:?}");
        world.calls.open("g");
        world.closed(&answer.task_id).await;
        let task = world.task(&answer.task_id).await.unwrap();
        assert!(task.result_json.contains(&format!("mb_{}", answer.task_id)), "{}", task.result_json);
        // The desk was told that its decision is recorded: what became of it has to be found somewhere.
        let told = hasty.resolve(&Viewer::Operator, &answer.task_id, approval("by the desk")).await.unwrap();
        assert!(matches!(told, Resolved::Conflict { .. }), "{told:?}");
        let events: Vec<&str> = task.history.iter().map(|entry| entry.event.as_str()).collect();
        assert!(events.contains(&"signal_dropped"), "{events:?}");
    }

    async fn one_decision_id_for_two_decisions_is_a_conflict(world: World) {
        let _worker = world.worker().await.unwrap();
        let task_id = waiting(&world).await;
        let one = Completion { decision_id: "d".into(), ..approval("one") };
        let other = Completion { decision_id: "d".into(), ..denial() };
        let (told_one, told_other) =
            futures::join!(resolve(&world, &task_id, one), resolve(&world, &task_id, other));
        let recorded = match (told_one, told_other) {
            (Resolved::Accepted { recorded }, Resolved::Conflict { recorded: named })
            | (Resolved::Conflict { recorded: named }, Resolved::Accepted { recorded }) => {
                assert_eq!(recorded, named);
                recorded
            }
            told => panic!("{told:?}"),
        };
        is_the_end(&world, &task_id, &recorded).await;
    }

    async fn a_cancellation_before_the_wait_is_applied(world: World) {
        let _worker = world.worker().await.unwrap();
        for held in ["decide", "review"] {
            let gate = format!("cancel-{held}");
            let lab = json!({"arm": "workflow", "hold": {held: gate}});
            let (answer, resolved) = decide_early(&world, &gate, lab, held, decision::cancel()).await;
            let recorded = accepted(resolved);
            assert_eq!(recorded.status, "canceled", "{held}");
            is_the_end(&world, &answer.unwrap().task_id, &recorded).await;
        }
    }

    async fn there_is_nothing_to_decide_about_a_request_that_was_answered_at_once(world: World) {
        let _worker = world.worker().await.unwrap();
        for arm in ["complete", "refuse"] {
            let gate = format!("at-once-{arm}");
            let lab = json!({"arm": arm, "hold": {"decide": gate}});
            let (answer, early) = decide_early(&world, &gate, lab, "decide", approval("mb")).await;
            assert_eq!(answer.is_ok(), arm == "complete");
            assert!(matches!(early, Resolved::Invalid { .. }), "{arm}: {early:?}");
            let task_id = world.calls.tasks("decide").pop().unwrap();
            world.closed(&task_id).await;
            let late = resolve(&world, &task_id, approval("mb")).await;
            assert!(matches!(late, Resolved::Invalid { .. }), "{arm}: {late:?}");
            assert!(world.task(&task_id).await.is_none(), "{arm}");
        }
    }

    async fn a_decision_ends_a_task_that_is_being_worked_on(world: World) {
        let _worker = world.worker().await.unwrap();
        for completion in [approval("mb"), denial(), decision::cancel()] {
            let lab = json!({"arm": "task", "steps": 2, "hold": {"step-1": "never"}});
            let task_id = world.submit(VERB, lab).await;
            world.called("step", &task_id).await;
            let recorded = accepted(resolve(&world, &task_id, completion).await);
            world.called("stopped", &task_id).await;
            is_the_end(&world, &task_id, &recorded).await;
        }
    }

    async fn after_its_deadline_a_task_can_not_be_completed(world: World) {
        let _worker = world.worker().await.unwrap();
        let task_id = world.submit(VERB, json!({"arm": "workflow", "deadline_ms": 200})).await;
        let end = world.reaches(&task_id, TaskStatus::Failed).await;
        assert_eq!(end.error.unwrap().code, errors::DEADLINE_EXCEEDED);
        for late in [approval("mb"), denial(), decision::cancel()] {
            match resolve(&world, &task_id, late).await {
                Resolved::Conflict { recorded } => {
                    assert_eq!((recorded.status.as_str(), recorded.actor.as_str()), ("failed", "handoff"));
                    assert_eq!(recorded.error.unwrap().code, errors::DEADLINE_EXCEEDED);
                }
                other => panic!("{other:?}"),
            }
            world.closed(&task_id).await;
        }
        let again = decision::fail(errors::deadline_exceeded());
        assert!(matches!(resolve(&world, &task_id, again).await, Resolved::Duplicate { .. }));
        assert_eq!(ends_in(&world, &task_id).await, ["failed"]);
    }

    async fn whoever_may_not_see_a_task_finds_none(world: World) {
        let _worker = world.worker().await.unwrap();
        let task_id = waiting(&world).await;
        let before = (world.task(&task_id).await.unwrap(), world.events(&task_id).await);
        let buyer = |scope: &str, principal: &str| Viewer::Buyer { scope: scope.into(), principal: principal.into() };
        let reviewer = |scopes: &[&str]| Viewer::Reviewer { scopes: scopes.iter().map(ToString::to_string).collect() };
        let strangers = [
            (reviewer(&["acct_other"]), task_id.as_str()),
            (reviewer(&[]), &task_id),
            (reviewer(&["", "%", "acct_%", "ACCT_PINNACLE"]), &task_id),
            (buyer(SCOPE, PRINCIPAL), &task_id),
            (buyer(SCOPE, "agent.other.example"), &task_id),
            (buyer("acct_other", PRINCIPAL), &task_id),
            (Viewer::Operator, "task_unknown"),
            (Viewer::Operator, ""),
            (Viewer::Operator, "task_\0"),
            (reviewer(&[SCOPE]), "task_unknown"),
            (reviewer(&[SCOPE]), &task_id[..task_id.len() - 1]),
        ];
        for (viewer, asked) in &strangers {
            let told = world.handoff.resolve(viewer, asked, approval("stolen")).await.unwrap();
            assert_eq!(told, Resolved::NotFound, "{viewer:?} {asked:?}");
            let reported = world.handoff.report_progress(viewer, asked, &Progress::default()).await.unwrap();
            assert_eq!(reported, ProgressReport::NotFound, "{viewer:?} {asked:?}");
            if *viewer == buyer(SCOPE, PRINCIPAL) {
                continue;
            }
            assert_eq!(world.handoff.history(viewer, asked).await.unwrap(), None, "{viewer:?} {asked:?}");
            let poll = GetTaskStatusRequest { task_id: (*asked).to_owned(), ..Default::default() };
            match world.handoff.get_task_status(viewer, &poll).await {
                Err(CallError::Refused(error)) => assert_eq!(error.code, "REFERENCE_NOT_FOUND"),
                other => panic!("{viewer:?} {asked:?}: {other:?}"),
            }
        }
        assert_eq!((world.task(&task_id).await.unwrap(), world.events(&task_id).await), before);
        // Who may decide still can.
        let told = world.handoff.resolve(&reviewer(&["acct_other", SCOPE]), &task_id, approval("mb")).await.unwrap();
        accepted(told);
    }

    async fn an_unusable_decision_changes_nothing(world: World) {
        let _worker = world.worker().await.unwrap();
        let task_id = waiting(&world).await;
        let before = (world.task(&task_id).await.unwrap(), world.events(&task_id).await);
        for unusable in [
            decision::complete_with_text("not json"),
            decision::complete_with_text("[]"),
            decision::complete_with_text(r#"{"status":"submitted"}"#),
            decision::complete_with_text(r#"{"budget":1e999}"#),
            decision::fail(AdcpError::terminal("", "no code")),
            Completion { actor: "x".repeat(5000), ..approval("mb") },
            Completion { decision_id: "line\nbreak".into(), ..approval("mb") },
            Completion::default(),
        ] {
            let told = resolve(&world, &task_id, unusable.clone()).await;
            assert!(matches!(told, Resolved::Invalid { .. }), "{unusable:?}: {told:?}");
        }
        assert_eq!((world.task(&task_id).await.unwrap(), world.events(&task_id).await), before);
    }

    async fn what_a_database_can_not_hold_is_no_reason_to_lose_a_decision(world: World) {
        let _worker = world.worker().await.unwrap();
        let task_id = waiting(&world).await;
        let odd = by("a\0nn", "be\0cause", decision::complete_with_text(r#"{"media_buy_id":"m\u0000b"}"#));
        let recorded = accepted(resolve(&world, &task_id, odd.clone()).await);
        assert_eq!(recorded.result_json, r#"{"media_buy_id":"m\u0000b"}"#);
        let again = resolve(&world, &task_id, odd).await;
        assert!(matches!(again, Resolved::Duplicate { .. }), "{again:?}");
        is_the_end(&world, &task_id, &recorded).await;
    }

    async fn the_history_says_who_decided_why_and_when(world: World) {
        let _worker = world.worker().await.unwrap();
        for (completion, status) in [
            (approval("mb"), "completed"),
            (denial(), "failed"),
            (rejection(), "rejected"),
            (decision::cancel(), "canceled"),
        ] {
            let task_id = waiting(&world).await;
            let before = Utc::now();
            accepted(resolve(&world, &task_id, by("ann@desk", "over the floor price", completion)).await);
            let task = world.task(&task_id).await.unwrap();
            assert_eq!((task.status.as_str(), task.actor.as_str()), (status, "ann@desk"));
            assert_eq!(task.reason, "over the floor price");
            let events: Vec<&str> = task.history.iter().map(|entry| entry.event.as_str()).collect();
            assert_eq!(events, ["claimed", "decided", "submitted", status]);
            let end = task.history.last().unwrap();
            assert_eq!((end.actor.as_str(), end.reason.as_str()), ("ann@desk", "over the floor price"));
            let at = to_datetime(end.at.as_ref().unwrap()).unwrap();
            assert!(before <= at && at <= Utc::now(), "{before} {at}");
            assert_eq!(task.completed_at, end.at);
        }
    }

    async fn the_handlers_are_told_the_recorded_end(world: World) {
        let _worker = world.worker().await.unwrap();
        for (completion, told, detail) in [
            (approval("mb"), "completed", ""),
            (denial(), "failed", "POLICY_VIOLATION"),
            (decision::cancel(), "canceled", "reviewer"),
        ] {
            let task_id = waiting(&world).await;
            accepted(resolve(&world, &task_id, completion).await);
            world.closed(&task_id).await;
            assert_eq!(world.calls.of(told, &task_id), [detail]);
            let summary = world.run(&task_id).get_result(Default::default()).await.unwrap();
            assert_eq!((summary.status.as_str(), summary.dropped_signals), (told, 0));
        }
    }
}

/// A request, and a decision on it that comes while a handler is held at the gate.
async fn decide_early(
    world: &World,
    gate: &str,
    lab: serde_json::Value,
    held: &str,
    completion: Completion,
) -> (Result<Answer, CallError>, Resolved) {
    let before = world.calls.tasks(held).len();
    let asked = world.call(VERB, lab);
    let decided = async {
        let task_id =
            eventually("the handler is called", || async { world.calls.tasks(held).into_iter().nth(before) }).await;
        let resolving = resolve(world, &task_id, completion);
        let opening = async {
            eventually("the decision is in the history", || async {
                let events = world.events(&task_id).await;
                let updates = events.iter().filter(|event| *event == "WORKFLOW_EXECUTION_UPDATE_ACCEPTED").count();
                (updates == 2).then_some(())
            })
            .await;
            world.calls.open(gate);
        };
        futures::join!(resolving, opening).0
    };
    futures::join!(asked, decided)
}

/// A task that waits for a decision.
async fn waiting(world: &World) -> String {
    world.submit(QUICK_VERB, json!({"arm": "workflow"})).await
}

/// What a reviewer is told who has the patience for a busy machine: there is a worker, so it is never just "recorded".
async fn resolve(world: &World, task_id: &str, completion: Completion) -> Resolved {
    let reviewer = Viewer::Reviewer { scopes: vec![SCOPE.into()] };
    let patient = world.client(|config| config.resolve_timeout = Duration::from_secs(60));
    patient.resolve(&reviewer, task_id, completion).await.expect("there is an answer")
}

fn accepted(resolved: Resolved) -> Settlement {
    match resolved {
        Resolved::Accepted { recorded } => recorded,
        other => panic!("not accepted: {other:?}"),
    }
}

/// The task has this end in the registry, once, and the run has closed with it.
async fn is_the_end(world: &World, task_id: &str, recorded: &Settlement) {
    world.closed(task_id).await;
    let task = world.task(task_id).await.unwrap();
    let end = Settlement {
        status: task.status,
        result_json: task.result_json,
        error: task.error,
        decision_id: task.decision_id,
        actor: task.actor,
        reason: task.reason,
        ..Default::default()
    };
    assert_eq!(&end, recorded);
    assert_eq!(ends_in(world, task_id).await, [end.status]);
}

/// The ends that a task's history has.
async fn ends_in(world: &World, task_id: &str) -> Vec<String> {
    let history = world.task(task_id).await.unwrap().history;
    let events = history.into_iter().map(|entry| entry.event);
    events.filter(|event| event.parse::<TaskStatus>().is_ok_and(TaskStatus::is_terminal)).collect()
}

fn by(actor: &str, reason: &str, completion: Completion) -> Completion {
    Completion { actor: actor.into(), reason: reason.into(), ..completion }
}

fn approval(media_buy_id: &str) -> Completion {
    decision::complete(&json!({"media_buy_id": media_buy_id}))
}

fn rejection() -> Completion {
    decision::complete(&json!({"status": "rejected", "reason": "not our kind of campaign"}))
}

fn denial() -> Completion {
    decision::fail(AdcpError::correctable("POLICY_VIOLATION", "The desk does not take this."))
}
