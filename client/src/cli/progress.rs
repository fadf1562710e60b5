//! `handoff task progress`: what an external system reports on a task. Works without Temporal.

use super::{
    args::{self, ProgressArgs, ProgressValues},
    exit::Exit,
    input,
    output::Output,
    problem::Problem,
};
use crate::{ProgressReport, Tasks, Viewer, tasks::no_such_task};
use handoff_proto::v1::Progress;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// A report as it was typed.
pub(super) struct Report {
    viewer: Viewer,
    task_id: String,
    progress: Progress,
}

impl ProgressArgs {
    pub(super) fn report(self) -> Result<Report, Problem> {
        let progress = Progress {
            actor: self.actor.unwrap_or_else(input::user),
            reason: self.reason.unwrap_or_default(),
            ..self.progress.read()?
        };
        Ok(Report { viewer: args::reviewer(self.account), task_id: self.task_id, progress })
    }
}

pub(super) async fn send(report: Report, tasks: &Tasks, output: &Output) -> Result<Exit, Problem> {
    let Report { viewer, task_id, progress } = report;
    let (status, exit) = match tasks.report_progress(&viewer, &task_id, &progress).await? {
        ProgressReport::Recorded => ("recorded", Exit::Ok),
        ProgressReport::Dropped => ("dropped", Exit::Conflict),
        ProgressReport::Invalid { message } => return Err(Problem::invalid(message)),
        ProgressReport::NotFound => return Err(Problem::refused(no_such_task())),
    };
    output.data(&json!({"task_id": task_id, "status": status}), || match exit {
        Exit::Ok => "recorded".into(),
        _ => "dropped: the task has ended, or was not submitted".into(),
    });
    Ok(exit)
}

impl ProgressValues {
    // A flag beats what the JSON says.
    fn read(self) -> Result<Progress, Problem> {
        let given = match (self.progress, self.file) {
            (Some(progress), _) => parse(progress.as_bytes())?,
            (None, Some(file)) => parse(&input::read(&file)?)?,
            (None, None) => Reported::default(),
        };
        Ok(Progress {
            percentage: self.percentage.or(given.percentage),
            current_step: self.step.unwrap_or(given.current_step),
            total_steps: self.total_steps.or(given.total_steps),
            step_number: self.step_number.or(given.step_number),
            message: self.message.unwrap_or(given.message),
            ..Default::default()
        })
    }
}

/// Progress as the protocol has it in a `working` response.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Reported {
    percentage: Option<f64>,
    current_step: String,
    total_steps: Option<u32>,
    step_number: Option<u32>,
    message: String,
}

fn parse(text: &[u8]) -> Result<Reported, Problem> {
    // Through an object: serde would take a list of the values, too.
    let fields: serde_json::Result<Map<String, Value>> = serde_json::from_slice(text);
    let read = fields.and_then(|fields| serde_json::from_value(fields.into()));
    read.map_err(|error| Problem::invalid(format!("this is no progress: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{
        Cli,
        args::{Command, TaskCommand},
    };
    use clap::Parser;

    fn read(words: &[&str]) -> Result<Progress, Problem> {
        let line = [&["handoff", "task", "progress", "t"], words].concat();
        match Cli::try_parse_from(line).unwrap().command.0 {
            Command::Task(TaskCommand::Progress(args)) => args.progress.read(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn progress_is_read_from_flags_a_literal_and_a_file() {
        let literal = r#"{"percentage":40,"current_step":"traffic","total_steps":5,"step_number":2,"message":"m"}"#;
        let whole = read(&["--progress", literal]).unwrap();
        assert_eq!(
            (
                whole.percentage,
                whole.current_step.as_str(),
                whole.total_steps,
                whole.step_number,
                whole.message.as_str()
            ),
            (Some(40.0), "traffic", Some(5), Some(2), "m")
        );
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("progress.json");
        std::fs::write(&file, literal).unwrap();
        assert_eq!(read(&["--file", file.to_str().unwrap()]).unwrap(), whole);
        let beaten = read(&["--progress", literal, "--percentage", "60", "--step", "booking"]).unwrap();
        assert_eq!((beaten.percentage, beaten.current_step.as_str()), (Some(60.0), "booking"));
        assert_eq!((beaten.total_steps, beaten.message), (Some(5), "m".to_owned()));
    }

    #[test]
    fn what_is_no_progress_is_refused() {
        for bad in [
            "",
            "[]",
            "nonsense",
            r#"{"percent":1}"#,
            r#"{"percentage":"much"}"#,
            r#"{"actor":"me"}"#,
            r#"{"reports":9}"#,
        ] {
            assert_eq!(read(&["--progress", bad]).unwrap_err().exit, Exit::Refused, "{bad}");
        }
        let both = ["handoff", "task", "progress", "t", "--progress", "{}", "--file", "f"];
        assert!(Cli::try_parse_from(both).is_err());
        assert!(Cli::try_parse_from(["handoff", "task", "progress", "t"]).is_err());
    }
}
