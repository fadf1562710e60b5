//! Why a command did not do what it was asked for: what is wrong, where, and whether a retry is safe.

use super::exit::Exit;
use crate::{CallError, Error};
use handoff_proto::{
    errors,
    wire::{AdcpError, Recovery},
};
use serde_json::{Value, json};

/// A problem to be shown.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) exit: Exit,
    pub(super) error: Box<AdcpError>,
    /// What stdout gets instead, with `--json`.
    pub(super) body: Option<Box<Value>>,
}

impl Problem {
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, AdcpError::correctable(errors::USAGE, message))
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Exit::Refused, AdcpError::correctable("INVALID_REQUEST", message))
    }

    pub(super) fn refused(error: AdcpError) -> Self {
        Self::new(Exit::of_refusal(&error), error)
    }

    fn new(exit: Exit, error: AdcpError) -> Self {
        Self { exit, error: Box::new(error), body: None }
    }

    pub(super) fn json(&self) -> Value {
        match &self.body {
            Some(body) => (**body).clone(),
            None => json!({"error": self.error.to_json(), "retry_safe": self.retry_safe()}),
        }
    }

    pub(super) fn text(&self) -> String {
        let error = &self.error;
        let mut lines = vec![format!("error: {} ({})", error.message, error.code)];
        let mut add = |name: &str, text: &str| lines.push(format!("  {name:<12}{text}"));
        if let Some(field) = &error.field {
            add("field:", field);
        }
        for issue in &error.issues {
            add("issue:", &format!("{} {}", issue.pointer, issue.message));
        }
        if let Some(suggestion) = &error.suggestion {
            add("suggestion:", suggestion);
        }
        add("retry:", &self.retry());
        if errors::CODES.contains(&error.code.as_str()) {
            add("more:", &format!("handoff explain {}", error.code));
        }
        lines.join("\n")
    }

    fn retry_safe(&self) -> bool {
        self.error.is_transient()
    }

    fn retry(&self) -> String {
        match (self.error.recovery, self.error.retry_after) {
            (Recovery::Transient, Some(seconds)) => format!("safe, in {seconds} s"),
            (Recovery::Transient, None) => "safe".into(),
            (Recovery::Correctable, _) => "only after a correction".into(),
            (Recovery::Terminal, _) => "no".into(),
        }
    }
}

impl From<Error> for Problem {
    // The operator sees what a buyer does not.
    fn from(error: Error) -> Self {
        let exit = Exit::of_error(&error);
        let (message, lacks_keys) = (error.to_string(), error.lacks_keys());
        let error = match exit {
            Exit::Usage if lacks_keys => errors::keys_missing(message),
            // No retry: whatever was sent is there.
            Exit::Unexpected if lacks_keys => AdcpError {
                recovery: Recovery::Terminal,
                ..errors::keys_missing(message)
                    .suggestion("Look with `handoff task get`, in a shell that has the workers' keys.")
            },
            Exit::Unavailable => AdcpError::transient("SERVICE_UNAVAILABLE", message),
            Exit::Usage => AdcpError::correctable("CONFIGURATION_ERROR", message),
            _ => AdcpError::terminal(errors::UNEXPECTED, message).suggestion("`handoff doctor` shows what is missing."),
        };
        Self::new(exit, error)
    }
}

impl From<CallError> for Problem {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(error) => Self::refused(error),
            CallError::Infrastructure(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::unavailable;
    use handoff_store::{CipherError, RegistryError};

    #[test]
    fn a_problem_says_what_where_and_whether_to_retry() {
        let error =
            AdcpError::correctable("INVALID_REQUEST", "It is malformed.").field("time_budget").suggestion("Do.");
        let text = Problem::refused(error).text();
        for part in ["It is malformed.", "INVALID_REQUEST", "time_budget", "Do.", "only after a correction"] {
            assert!(text.contains(part), "{text}");
        }
        let problem = Problem::refused(unavailable("Later.", 10));
        assert!(problem.text().contains("safe, in 10 s"));
        assert_eq!(problem.json()["retry_safe"], true);
    }

    #[test]
    fn a_missing_key_is_named_with_where_it_goes() {
        let error = CipherError::MissingKey { key: "k-7".into() };
        let sealed = RegistryError::Sealed { task_id: "t".into(), column: "decision", error };
        let before = Problem::from(Error::from(sealed));
        let sent = Problem::from(Error::AnswerUnreadable { sent: "decision", sealed: true, reason: "k-7".into() });
        for (problem, exit, retry) in [(before, Exit::Usage, "only after a correction"), (sent, Exit::Unexpected, "no")]
        {
            let text = problem.text();
            for part in ["k-7", "X_HANDOFF_KEYS_MISSING", &format!("retry:      {retry}"), "handoff explain"] {
                assert!(text.contains(part), "{part}: {text}");
            }
            assert_eq!((problem.exit, &problem.json()["retry_safe"]), (exit, &json!(false)), "{text}");
        }
        let unreadable = Error::AnswerUnreadable { sent: "decision", sealed: false, reason: "newer".into() };
        assert_eq!(Problem::from(unreadable).error.code, errors::UNEXPECTED);
    }
}
