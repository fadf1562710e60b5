//! Progress that an external system reports on a waiting task.

use crate::{Error, Tasks};
use handoff_proto::{limits::MAX_TEXT_BYTES, v1::Progress};
use handoff_store::Viewer;

/// What became of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProgressReport {
    /// Recorded; polls show it.
    Recorded,
    /// The task has ended, or nobody was told about it yet: the report was dropped.
    Dropped,
    /// The report can't be used.
    Invalid {
        /// Why.
        message: String,
    },
    /// No such task for this viewer.
    NotFound,
}

impl Tasks {
    /// Records a task's progress, in place of what was reported before. The history says whose it is, where `actor` is set.
    /// Buyers report none.
    pub async fn report_progress(
        &self,
        viewer: &Viewer,
        task_id: &str,
        progress: &Progress,
    ) -> Result<ProgressReport, Error> {
        if let Some(message) = problem(progress) {
            return Ok(ProgressReport::Invalid { message });
        }
        if matches!(viewer, Viewer::Buyer { .. }) {
            return Ok(ProgressReport::NotFound);
        }
        let Some(task) = self.registry.find(viewer, task_id).await? else { return Ok(ProgressReport::NotFound) };
        let recorded = self.registry.update_progress(&task, progress).await?;
        Ok(if recorded { ProgressReport::Recorded } else { ProgressReport::Dropped })
    }
}

fn problem(progress: &Progress) -> Option<String> {
    if let Some(percentage) = progress.percentage
        && !(0.0..=100.0).contains(&percentage)
    {
        return Some(format!("percentage is {percentage}, but must be 0 to 100"));
    }
    for (name, steps) in [("total_steps", progress.total_steps), ("step_number", progress.step_number)] {
        if steps == Some(0) {
            return Some(format!("{name} is 0, but steps count from 1"));
        }
    }
    let texts = [
        ("current_step", &progress.current_step),
        ("message", &progress.message),
        ("actor", &progress.actor),
        ("reason", &progress.reason),
    ];
    if let Some((name, _)) = texts.iter().find(|(_, text)| text.len() > MAX_TEXT_BYTES) {
        return Some(format!("{name} is longer than {MAX_TEXT_BYTES} bytes"));
    }
    let unstorable = |(_, text): &&(&str, &String)| text.contains('\0');
    texts.iter().find(unstorable).map(|(name, _)| format!("{name} holds U+0000"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_between_0_and_100() {
        for (percentage, usable) in [(0.0, true), (100.0, true), (-0.1, false), (100.1, false), (f64::NAN, false)] {
            let progress = Progress { percentage: Some(percentage), ..Default::default() };
            assert_eq!(problem(&progress).is_none(), usable, "{percentage}");
        }
        assert!(problem(&Progress { message: "x".repeat(5000), ..Default::default() }).is_some());
        assert!(problem(&Progress { actor: "x".repeat(5000), ..Default::default() }).is_some());
        assert!(problem(&Progress { reason: "a\0b".into(), ..Default::default() }).is_some());
    }
}
