//! How a task goes on and ends.

use super::{Entry, Request, Step, purchase, request::End};
use crate::ObservedStage;
use handoff_proto::{
    limits::NOTIFICATION_TIME,
    v1::{AdcpError, Completion, Progress, Settlement, decision::Kind},
    wire::TaskStatus,
};

#[allow(clippy::cast_possible_truncation)] // some seconds
const NOTIFICATION_MICROS: i64 = NOTIFICATION_TIME.as_micros() as i64;

// A system that reports every second with another reason each time doesn't grow the history for ever.
const MAX_REPORTS_IN_HISTORY: u32 = 100;

/// Replaces the progress of an open task. `false`: there is none. The history says who began to report, and each time that
/// another does, or for another reason.
pub(crate) fn progress(request: &mut Request, progress: &Progress, step: &mut Step) -> bool {
    if !request.visible || request.is_terminal() {
        return false;
    }
    let earlier = request.progress();
    let Progress { notifications, notified_until, mut reports, .. } = earlier;
    if request.status == Some(TaskStatus::Submitted) {
        request.status = Some(TaskStatus::Working);
        attribute(step.log(request, "working"), progress);
    } else if (&progress.actor, &progress.reason) != (&earlier.actor, &earlier.reason)
        && reports < MAX_REPORTS_IN_HISTORY
    {
        let entry = step.log(request, "progressed");
        // Not the number of reports: an earlier build's worker sets that back.
        entry.key = format!("registry.progressed.{}", request.version).into();
        attribute(entry, progress);
        reports += 1;
    }
    request.set_progress(&Progress { notifications, notified_until, reports, ..progress.clone() });
    true
}

fn attribute(entry: &mut Entry, progress: &Progress) {
    entry.actor.clone_from(&progress.actor);
    entry.reason.clone_from(&progress.reason);
}

/// Begins a notification of the progress of a task that is at work, unless it has had so many; says which it is.
pub(crate) fn begin_notification(request: &mut Request, at_most: u32, step: &Step) -> Option<u32> {
    let mut progress = request.progress();
    let at_work = request.visible && request.status == Some(TaskStatus::Working);
    if !at_work || !request.has_webhook || progress.notifications >= at_most {
        return None;
    }
    progress.notifications += 1;
    progress.notified_until = step.now + NOTIFICATION_MICROS;
    request.set_progress(&progress);
    Some(progress.notifications)
}

/// The last notification is not on its way any more, if it is this one.
pub(crate) fn end_notification(request: &mut Request, number: u32) {
    let progress = request.progress();
    if progress.notifications == number && progress.notified_until != 0 {
        request.set_progress(&Progress { notified_until: 0, ..progress });
    }
}

/// Records the first end of a task; says which end is recorded.
pub(crate) fn settle(request: &mut Request, completion: &Completion, step: &mut Step) -> Option<Settlement> {
    if let Some(end) = End::of(completion) {
        let end = purchase::admit_end(request, completion.outcome.as_ref(), end, step);
        end_task(request, end, step);
    }
    request.settlement()
}

/// Takes back a request that nobody was told about, decided for the workflow arm or not at all; fails a task that somebody
/// was told about.
pub(crate) fn discard(request: &mut Request, error: &AdcpError, step: &mut Step) -> Option<Settlement> {
    if request.is_pending() || request.stage() == Some(ObservedStage::Claimed) {
        take_back(request, error, step);
        step.log(request, "discarded").reason = error.code.clone();
    } else {
        end_task(request, End::failed(error, "", ""), step);
    }
    request.settlement()
}

pub(super) fn end_task(request: &mut Request, end: End, step: &mut Step) {
    let voided = matches!(request.journal, Some(Kind::Void(_)));
    if request.status.is_none() || request.is_terminal() || voided {
        return;
    }
    // A pending task that is decided early: the claim is told `submitted`, and the first poll sees the end.
    request.submit(step);
    request.end(end, step);
}

pub(super) fn take_back(request: &mut Request, error: &AdcpError, step: &Step) {
    request.status = None;
    request.decide(Kind::Refuse(error.clone()), step);
    request.release(step);
}
