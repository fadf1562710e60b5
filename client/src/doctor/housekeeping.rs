//! Housekeeping: scheduled, on time, and without failures.

use super::Check;
use crate::{
    duration,
    housekeeping::{LastRound, ScheduleStatus, schedule_status},
};
use chrono::{DateTime, Utc};
use handoff_proto::workflows::housekeeping_schedule_id;
use std::time::Duration;
use temporalio_client::{Client, WorkflowExecutionStatus};

const NAME: &str = "housekeeping";
// Rounds may be late: a worker restarts, a server is slow.
const INTERVALS: u32 = 3;
const LEAST_PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn check(client: &Client, task_queue: &str) -> Check {
    match schedule_status(client, task_queue).await {
        Ok(status) => judge(status, task_queue, Utc::now()),
        Err(error) => Check::warn(NAME, error.to_string(), "Run `handoff doctor` again."),
    }
}

fn judge(status: Option<ScheduleStatus>, task_queue: &str, now: DateTime<Utc>) -> Check {
    let id = housekeeping_schedule_id(task_queue);
    let Some(status) = status else {
        return Check::warn(
            NAME,
            format!("there is no schedule {id:?}: lost runs are not noticed, and nothing is purged"),
            "Start a worker with HANDOFF_HOUSEKEEPING_EVERY other than off, or run `handoff reconcile` and `handoff purge` yourself.",
        );
    };
    if status.paused {
        return Check::warn(
            NAME,
            format!("the schedule {id:?} is paused"),
            format!("temporal schedule toggle --schedule-id {id} --unpause --reason \"...\""),
        );
    }
    let every = status
        .every
        .map_or_else(|| "at times of its own".to_owned(), |every| format!("every {}", duration::format(every)));
    let patience = status.every.map(|every| (every * INTERVALS).max(LEAST_PATIENCE));
    let begun = status.last.as_ref().map_or(status.created_at, |last| last.started_at);
    let ago = begun.and_then(|begun| (now - begun).to_std().ok()).unwrap_or_default();
    let ago = Duration::from_secs(ago.as_secs());
    let overdue = patience.is_some_and(|patience| ago > patience);
    let when = duration::format(ago);
    let mend = format!(
        "Check that workers poll task queue {task_queue:?}, and their logs; `temporal schedule describe --schedule-id {id}` shows more."
    );
    match status.last {
        None if overdue => Check::warn(NAME, format!("{every}, but no round has begun for {when}"), mend),
        None => Check::ok(NAME, format!("{every}; no round yet")),
        Some(last) => judge_round(last, &every, &when, overdue, mend),
    }
}

fn judge_round(last: LastRound, every: &str, when: &str, overdue: bool, mend: String) -> Check {
    let id = &last.workflow_id;
    if let Some(failure) = last.failure {
        let found = format!("{every}; the round {id:?}, {when} ago, did not complete: {failure}");
        return Check::fail(NAME, found, mend);
    }
    if overdue {
        let state =
            if last.status == Some(WorkflowExecutionStatus::Running) { "is still running" } else { "was the last" };
        return Check::warn(NAME, format!("{every}, but the round {id:?}, which began {when} ago, {state}"), mend);
    }
    let Some(summary) = last.summary else {
        return Check::ok(NAME, format!("{every}; a round began {when} ago"));
    };
    let found = format!(
        "{every}; the last round, {when} ago: {} unfinished looked at, {} ended, {} purged, {} forgotten, {} errors",
        summary.examined,
        summary.settled + summary.discarded + summary.voided,
        summary.purged,
        summary.forgotten,
        summary.errors,
    );
    match summary.problems.first() {
        Some(problem) => Check::fail(NAME, format!("{found}; given up: {problem}"), mend),
        None if summary.errors > 0 => Check::warn(NAME, found, mend),
        None => Check::ok(NAME, found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CheckStatus;
    use chrono::TimeDelta;
    use handoff_proto::v1::HousekeepingSummary;

    fn status(minutes_ago: i64, change: impl FnOnce(&mut LastRound)) -> ScheduleStatus {
        let started_at = Some(DateTime::UNIX_EPOCH - TimeDelta::minutes(minutes_ago));
        let mut last = LastRound {
            workflow_id: "reconcile-q-1".into(),
            started_at,
            status: Some(WorkflowExecutionStatus::Completed),
            summary: Some(HousekeepingSummary::default()),
            failure: None,
        };
        change(&mut last);
        ScheduleStatus { every: Some(Duration::from_secs(300)), paused: false, created_at: None, last: Some(last) }
    }

    #[test]
    fn what_is_missing_late_or_failed_is_told() {
        let judged = |status| judge(status, "q", DateTime::UNIX_EPOCH);
        let young = ScheduleStatus { last: None, created_at: Some(DateTime::UNIX_EPOCH), ..status(0, |_| ()) };
        let erring = HousekeepingSummary { errors: 1, ..Default::default() };
        let broken = HousekeepingSummary { problems: vec!["purge: corrupt".into()], ..Default::default() };
        let running = |last: &mut LastRound| {
            (last.status, last.summary) = (Some(WorkflowExecutionStatus::Running), None);
        };
        for (status, expected, said) in [
            (None, CheckStatus::Warn, "reconcile-q"),
            (Some(ScheduleStatus { paused: true, ..young.clone() }), CheckStatus::Warn, "paused"),
            (Some(young.clone()), CheckStatus::Ok, "no round yet"),
            (
                Some(ScheduleStatus { created_at: Some(DateTime::UNIX_EPOCH - TimeDelta::minutes(16)), ..young }),
                CheckStatus::Warn,
                "no round has begun for 16m",
            ),
            (Some(status(14, |_| ())), CheckStatus::Ok, "14m ago"),
            (Some(status(16, |_| ())), CheckStatus::Warn, "was the last"),
            (Some(status(1, running)), CheckStatus::Ok, "began 1m ago"),
            (Some(status(16, running)), CheckStatus::Warn, "still running"),
            (Some(status(1, |last| last.failure = Some("boom".into()))), CheckStatus::Fail, "boom"),
            (Some(status(1, |last| last.summary = Some(erring))), CheckStatus::Warn, "1 errors"),
            (Some(status(1, |last| last.summary = Some(broken))), CheckStatus::Fail, "purge: corrupt"),
        ] {
            let check = judged(status);
            assert_eq!(check.status, expected, "{check:?}");
            assert!(check.found.contains(said), "{said}: {check:?}");
        }
    }
}
