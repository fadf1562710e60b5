//! What an observer is told, and what is counted.

use crate::{database::Database, support::*};
use handoff_store::{
    CallOutcome, Event, ObservedStage, Observer, OpenTasks, Registry, RegistryOptions, Transition, Watch,
};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

/// Writes down what it is told.
#[derive(Default)]
struct Notes {
    wrote: Mutex<Vec<String>>,
    called: Mutex<Vec<(&'static str, CallOutcome)>>,
    conflicts: Mutex<Vec<String>>,
}

impl Observer for Notes {
    fn wrote(&self, transition: &Transition<'_>) {
        assert_eq!(transition.verb, "create_media_buy");
        let event = match transition.event {
            Event::Decided { decision, after } => {
                assert!(after < Duration::from_secs(600));
                decision.to_owned()
            }
            Event::Submitted => "submitted".to_owned(),
            Event::Ended { state, after } => {
                assert!(after < Duration::from_secs(600));
                format!("end {state}")
            }
            Event::SignalsDropped { number } => format!("dropped {number}"),
        };
        self.wrote.lock().unwrap().push(format!("{} {event}", transition.arm.as_str()));
    }

    fn called(&self, operation: &'static str, _: Duration, outcome: CallOutcome) {
        self.called.lock().unwrap().push((operation, outcome));
    }

    fn conflicted(&self, verb: &str) {
        self.conflicts.lock().unwrap().push(verb.to_owned());
    }
}

impl Notes {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.wrote.lock().unwrap())
    }
}

async fn observed(database: &Database) -> (Arc<dyn Registry>, Arc<Notes>) {
    let notes = Arc::new(Notes::default());
    let options = RegistryOptions { watch: Watch::by(notes.clone()), ..Default::default() };
    (handoff_store::connect(&database.url, options).await.unwrap(), notes)
}

pub(crate) async fn an_observer_is_told_each_transition_once(database: Arc<Database>) {
    let (registry, notes) = observed(&database).await;
    let registry = &*registry;
    // Everything twice, as after a crash.
    let task = claimed(registry).await;
    for _ in 0..2 {
        registry.record_decision(&task, &complete("{}")).await.unwrap();
    }
    assert_eq!(notes.take(), ["sync complete", "sync end completed"]);
    let task = claimed(registry).await;
    for _ in 0..2 {
        registry.record_decision(&task, &refuse("NO")).await.unwrap();
    }
    assert_eq!(notes.take(), ["sync refuse", "sync end refused"]);
    let task = submitted(registry).await;
    assert_eq!(notes.take(), ["task handoff_to_task", "task submitted"]);
    for _ in 0..2 {
        registry.settle(&task, &failure("NO")).await.unwrap();
    }
    assert_eq!(notes.take(), ["task end failed"]);
    let task = pending(registry).await;
    assert_eq!(notes.take(), ["workflow handoff_to_workflow"]);
    for _ in 0..2 {
        registry.accept(&task).await.unwrap();
    }
    assert_eq!(notes.take(), ["workflow submitted"]);
    let dropped = [("signal_dropped-1".to_owned(), note("signal_dropped"))];
    for _ in 0..2 {
        registry.append_history(&task, &dropped).await.unwrap();
    }
    registry.append_history(&task, &[("other".into(), note("other"))]).await.unwrap();
    assert_eq!(notes.take(), ["workflow dropped 1"]);
    assert!(notes.conflicts.lock().unwrap().is_empty());
    for completion in [cancellation(), cancellation(), result("{}")] {
        registry.settle(&task, &completion).await.unwrap();
    }
    assert_eq!(notes.take(), ["workflow end canceled"]);
    assert_eq!(*notes.conflicts.lock().unwrap(), ["create_media_buy"]);
    // A late decision, and requests that are taken back: nobody decided those.
    let task = promoted(registry).await;
    registry.record_decision(&task, &complete("{}")).await.unwrap();
    assert_eq!(notes.take(), ["late submitted", "late complete", "late end completed"]);
    for task in [claimed(registry).await, pending(registry).await] {
        notes.take();
        registry.discard(&task, &error("NO")).await.unwrap();
        assert_eq!(notes.take(), ["sync end refused"]);
    }
    claimed(registry).await;
    let lost = registry.unfinished(i64::MAX, None, 10).await.unwrap().remove(0);
    assert_eq!(lost.stage, ObservedStage::Claimed);
    registry.reconcile(&lost, &error("LOST")).await.unwrap();
    assert_eq!(notes.take(), ["undecided end unknown"]);
}

pub(crate) async fn an_observer_is_told_how_calls_end(database: Arc<Database>) {
    let (registry, notes) = observed(&database).await;
    let task = claimed(&*registry).await;
    registry.standing(&task).await.unwrap();
    registry.record_decision(&task, &Default::default()).await.unwrap_err();
    registry.close().await;
    registry.standing(&task).await.unwrap_err();
    assert_eq!(
        *notes.called.lock().unwrap(),
        [
            ("claim", CallOutcome::Ok),
            ("standing", CallOutcome::Ok),
            // The caller's mistake is no trouble of the registry's.
            ("record_decision", CallOutcome::Ok),
            ("standing", CallOutcome::Unavailable),
        ]
    );
}

pub(crate) async fn open_tasks_are_counted_by_arm_and_state(database: Arc<Database>) {
    let registry = registry(&database).await;
    assert_eq!(registry.open_tasks().await.unwrap(), []);
    for _ in 0..2 {
        claimed(&*registry).await;
    }
    pending(&*registry).await;
    promoted(&*registry).await;
    let waiting = pending(&*registry).await;
    registry.accept(&waiting).await.unwrap();
    let working = submitted(&*registry).await;
    registry.update_progress(&working, &Default::default()).await.unwrap();
    completed(&*registry).await;
    let mut open = registry.open_tasks().await.unwrap();
    open.sort_by(|a, b| (&a.arm, &a.state).cmp(&(&b.arm, &b.state)));
    let oldest = |open: &OpenTasks| open.oldest > 1_600_000_000_000_000 && open.verb == "create_media_buy";
    assert!(open.iter().all(oldest), "{open:?}");
    let counts: Vec<_> = open.iter().map(|open| (open.arm.as_str(), open.state.as_str(), open.count)).collect();
    assert_eq!(
        counts,
        [
            ("late", "submitted", 1),
            ("task", "working", 1),
            ("undecided", "undecided", 2),
            ("workflow", "pending", 1),
            ("workflow", "submitted", 1),
        ]
    );
}
