//! Attempts of activities on workers.

use super::{Next, decide, runs};
use crate::{
    model::Model,
    state::{Activity, End, Execution, Key, Run, State, Task, Word},
    step::{Did, Step},
};

pub(crate) fn successors(model: &Model, state: &State, next: &mut Next) {
    for &execution in &state.executions {
        let mut done = state.clone();
        done.executions.retain(|other| other.id != execution.id);
        let mut outcomes = Vec::new();
        match execution.next {
            Activity::Accept => outcomes.push(accept(model, done, execution.key)),
            Activity::Enqueue => enqueue(model, done, execution, &mut outcomes),
            Activity::RunTask => run_task(state, done, execution, &mut outcomes),
            Activity::Settle(end) => settle(model, state, done, execution.key, end, &mut outcomes),
            Activity::Discard => {
                model.discard(&mut done, execution.key);
                outcomes.push((Did::Discard, done));
            }
            _ => decide::outcomes(model, state, done, execution, &mut outcomes),
        }
        let Execution { id, key, .. } = execution;
        next.extend(outcomes.into_iter().map(|(did, after)| (Step::Execution { id, key, did }, after)));
    }
}

/// What an execution may have done, and the state after.
pub(crate) type Outcomes = Vec<(Did, State)>;

fn accept(model: &Model, mut after: State, key: Key) -> (Did, State) {
    let before = after.of(key).task;
    model.accept(&mut after, key);
    let request = after.of_mut(key);
    let writes = request.task != before;
    if request.task == Task::Submitted && matches!(request.run, Run::Deciding | Run::Enqueueing) {
        request.promoted = true;
        request.told.insert(Word::Submitted);
    }
    (Did::Accept { writes }, after)
}

/// The run still waits for this activity, and this is its newest attempt.
fn is_awaited(done: &State, execution: Execution, run: Run) -> bool {
    let newer =
        |other: &Execution| other.id > execution.id && other.key == execution.key && other.next == execution.next;
    done.of(execution.key).run == run && !done.executions.iter().any(newer)
}

fn enqueue(model: &Model, mut called: State, execution: Execution, outcomes: &mut Outcomes) {
    let key = execution.key;
    called.of_mut(key).enqueued = true;
    let awaited = is_awaited(&called, execution, Run::Enqueueing);
    let early = [End::Completed, End::Failed].into_iter().find(|&end| called.of(key).external.contains(end));

    let mut wilco = called.clone();
    if awaited {
        if model.rules.pending && wilco.of(key).task == Task::Pending {
            model.accept(&mut wilco, key);
        }
        if wilco.of(key).task.is_open() {
            wilco.tell(key, Word::Submitted);
        }
        match early {
            _ if wilco.of(key).task.has_ended() => wilco.of_mut(key).run = Run::Publishing,
            Some(end) => runs::settle(&mut wilco, key, end),
            None => wilco.of_mut(key).run = Run::Waiting,
        }
    }
    outcomes.push((Did::Wilco { accepts: awaited }, wilco));

    if !model.rules.discard_in_workflow {
        model.discard(&mut called, key);
        outcomes.push((Did::UnableDiscards, called));
    } else if awaited {
        match early {
            Some(end) => runs::settle(&mut called, key, end),
            None => {
                called.of_mut(key).run = Run::Settling;
                called.start(key, Activity::Discard);
            }
        }
        outcomes.push((Did::Unable, called));
    }
}

fn run_task(state: &State, done: State, execution: Execution, outcomes: &mut Outcomes) {
    let key = execution.key;
    if state.budgets.reports > 0 {
        let mut after = state.clone();
        after.budgets.reports -= 1;
        if after.of(key).task == Task::Submitted {
            after.of_mut(key).task = Task::Working;
        }
        outcomes.push((Did::Report, after));
    }
    for end in [End::Completed, End::Failed] {
        let mut after = done.clone();
        if is_awaited(&done, execution, Run::Running) {
            runs::settle(&mut after, key, end);
        }
        outcomes.push((Did::FinishTask(end), after));
    }
}

fn settle(model: &Model, state: &State, mut after: State, key: Key, end: End, outcomes: &mut Outcomes) {
    model.settle(&mut after, key, end);
    let request = after.of_mut(key);
    if request.run == Run::Settling {
        if matches!(request.task, Task::Absent | Task::Purged | Task::Discarded) {
            request.run = Run::Closed;
        } else if !request.webhooks.is_empty() {
            request.run = Run::Publishing;
        }
    }
    if state.budgets.late_settles > 0 {
        let mut again = after.clone();
        again.executions.clone_from(&state.executions);
        again.budgets.late_settles -= 1;
        outcomes.push((Did::Settle { end, again: true }, again));
    }
    outcomes.push((Did::Settle { end, again: false }, after));
}
