//! `handoff task complete`, `fail` and `cancel`.

use super::{
    args::{self, CancelArgs, CompleteArgs, DecisionArgs, FailArgs},
    exit::Exit,
    input,
    output::Output,
    problem::Problem,
    review::{self, ReviewCheck},
    show,
};
use crate::{Config, Error, Handoff, Resolved, Viewer, tasks::no_such_task};
use handoff_proto::{
    completion::{self, Intent},
    v1::{Completion, completion::Outcome},
    wire::{AdcpError, Recovery},
};
use serde_json::{Value, json};

/// A decision as it was typed.
#[derive(Debug)]
pub(super) struct Decision {
    viewer: Viewer,
    task_id: String,
    completion: Completion,
}

impl CompleteArgs {
    pub(super) fn decision(self) -> Result<Decision, Problem> {
        let text = match (self.result.result, self.result.file) {
            (Some(result), _) => result.into_bytes(),
            (None, Some(file)) => input::read(&file)?,
            (None, None) => return Err(Problem::usage("either --result or --file is needed")),
        };
        Ok(self.decision.of(read(&text, Intent::Complete)?))
    }
}

impl FailArgs {
    pub(super) fn decision(self) -> Result<Decision, Problem> {
        let completion = match (self.code, self.error, self.file) {
            (Some(code), _, _) => {
                let recovery = self.recovery.map_or(Recovery::Terminal, Recovery::from);
                let mut error = AdcpError::terminal(code, self.message.unwrap_or_default());
                error.recovery = recovery;
                if let Some(field) = self.field {
                    error = error.field(field);
                }
                if let Some(suggestion) = self.suggestion {
                    error = error.suggestion(suggestion);
                }
                Completion { outcome: Some(Outcome::Error(error.into())), ..Default::default() }
            }
            (None, Some(error), _) => read(error.as_bytes(), Intent::Fail)?,
            (None, None, Some(file)) => read(&input::read(&file)?, Intent::Fail)?,
            (None, None, None) => return Err(Problem::usage("either --code, --error or --file is needed")),
        };
        Ok(self.decision.of(completion))
    }
}

impl CancelArgs {
    pub(super) fn decision(self) -> Result<Decision, Problem> {
        let outcome = Some(Outcome::Cancellation(Default::default()));
        Ok(self.decision.of(Completion { outcome, ..Default::default() }))
    }
}

impl DecisionArgs {
    // A flag beats what a file says.
    fn of(self, mut completion: Completion) -> Decision {
        if let Some(decision_id) = self.decision_id {
            completion.decision_id = decision_id;
        }
        if let Some(reason) = self.reason {
            completion.reason = reason;
        }
        match self.actor {
            Some(actor) => completion.actor = actor,
            None if completion.actor.is_empty() => completion.actor = input::user(),
            None => {}
        }
        Decision { viewer: args::reviewer(self.account), task_id: self.task_id, completion }
    }
}

/// With a check only what passes it is sent.
pub(super) async fn send(
    decision: Decision,
    check: Option<&dyn ReviewCheck>,
    config: Config,
    output: &Output,
) -> Result<Exit, Problem> {
    let handoff = Handoff::connect(config).await?;
    if let Some(check) = check {
        decision.compare(check, &handoff).await?;
    }
    let resolved = handoff.resolve(&decision.viewer, &decision.task_id, decision.completion).await?;
    let (exit, shown, text) = outcome(&decision.task_id, resolved)?;
    output.data(&shown, || text);
    Ok(exit)
}

impl Decision {
    async fn compare(&self, check: &dyn ReviewCheck, handoff: &Handoff) -> Result<(), Problem> {
        let Some(Outcome::ResultJson(result)) = &self.completion.outcome else { return Ok(()) };
        let result = serde_json::from_str(result).map_err(|error| Problem::invalid(error.to_string()))?;
        match handoff.registry().find(&self.viewer, &self.task_id).await.map_err(Error::from)? {
            Some(task) => review::compare(check, &task.verb, &result),
            // It is said when it is sent.
            None => Ok(()),
        }
    }
}

fn outcome(task_id: &str, resolved: Resolved) -> Result<(Exit, Value, String), Problem> {
    let (exit, status, recorded) = match resolved {
        Resolved::Accepted { recorded } => (Exit::Ok, "accepted", recorded),
        Resolved::Duplicate { recorded } => (Exit::Ok, "duplicate", recorded),
        Resolved::Conflict { recorded } => (Exit::Conflict, "conflict", recorded),
        Resolved::Recorded { decision_id } => {
            let shown = json!({"task_id": task_id, "status": "recorded", "decision_id": decision_id});
            let text = format!(
                "recorded, not yet decided: no worker answered; it applies as soon as one does\ndecision  {decision_id}"
            );
            return Ok((Exit::Recorded, shown, text));
        }
        Resolved::Invalid { message } => return Err(Problem::invalid(message)),
        Resolved::NotFound => return Err(Problem::refused(no_such_task())),
    };
    let by = [(" by ", &recorded.actor), (": ", &recorded.reason)];
    let by: String =
        by.iter().filter(|(_, text)| !text.is_empty()).map(|(mark, text)| format!("{mark}{text}")).collect();
    let text = match status {
        "accepted" => format!("accepted: the task is {}", recorded.status),
        "duplicate" => format!("duplicate: the task was {} already{by}", recorded.status),
        _ => format!("conflict: the task is {} otherwise{by}; nothing was changed", recorded.status),
    };
    let shown = json!({"task_id": task_id, "status": status, "recorded": show::settlement_json(&recorded)});
    Ok((exit, shown, text))
}

fn read(text: &[u8], intent: Intent) -> Result<Completion, Problem> {
    completion::from_json(text, intent).map_err(|error| Problem::invalid(error.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{
        Cli,
        args::{Command, TaskCommand},
    };
    use clap::Parser;
    use handoff_proto::v1::Settlement;

    fn decision(line: &[&str]) -> Result<Decision, Problem> {
        match Cli::try_parse_from(line).unwrap().command.0 {
            Command::Task(TaskCommand::Complete(args)) => args.decision(),
            Command::Task(TaskCommand::Fail(args)) => args.decision(),
            Command::Task(TaskCommand::Cancel(args)) => args.decision(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn results_errors_and_cancellations_are_read() {
        let complete = ["handoff", "task", "complete", "t", "--result", r#"{"a":1}"#, "--actor", "me"];
        let completion = decision(&complete).unwrap().completion;
        assert_eq!(completion.outcome, Some(Outcome::ResultJson(r#"{"a":1}"#.into())));
        assert_eq!(completion.actor, "me");
        let envelope = r#"{"result":{"a":1},"actor":"from the file","decision_id":"d"}"#;
        let read =
            decision(&["handoff", "task", "complete", "t", "--result", envelope, "--decision-id", "flag"]).unwrap();
        assert_eq!((read.completion.actor.as_str(), read.completion.decision_id.as_str()), ("from the file", "flag"));
        let fail = ["handoff", "task", "fail", "t", "--code", "POLICY_VIOLATION", "--message", "no", "--account", "a"];
        let failed = decision(&fail).unwrap();
        assert_eq!(failed.viewer, Viewer::Reviewer { scopes: vec!["a".into()] });
        assert!(matches!(failed.completion.outcome, Some(Outcome::Error(error)) if error.recovery == "terminal"));
        let cancel = decision(&["handoff", "task", "cancel", "t", "--reason", "why"]).unwrap().completion;
        assert!(matches!(cancel.outcome, Some(Outcome::Cancellation(_))) && !cancel.actor.is_empty());
        let refused = decision(&["handoff", "task", "complete", "t", "--result", "nonsense"]).unwrap_err();
        assert_eq!(refused.exit, Exit::Refused);
    }

    #[test]
    fn each_outcome_has_its_exit_code() {
        let recorded = Settlement { status: "completed".into(), actor: "ann".into(), ..Default::default() };
        let exit = |resolved| outcome("t", resolved).map_or_else(|problem| problem.exit, |(exit, _, _)| exit);
        assert_eq!(exit(Resolved::Accepted { recorded: recorded.clone() }), Exit::Ok);
        assert_eq!(exit(Resolved::Duplicate { recorded: recorded.clone() }), Exit::Ok);
        assert_eq!(exit(Resolved::Conflict { recorded: recorded.clone() }), Exit::Conflict);
        assert_eq!(exit(Resolved::Recorded { decision_id: "d".into() }), Exit::Recorded);
        assert_eq!(exit(Resolved::Invalid { message: "no".into() }), Exit::Refused);
        assert_eq!(exit(Resolved::NotFound), Exit::NotFound);
        let (_, _, text) = outcome("t", Resolved::Conflict { recorded }).unwrap();
        assert!(text.contains("by ann"), "{text}");
    }
}
