//! A reviewer's result, compared with what the protocol says of its verb.

use super::problem::Problem;
use handoff_proto::wire::{AdcpError, Issue};
use serde_json::Value;

/// What a reviewer's result is compared with before it is sent.
pub trait ReviewCheck {
    /// What is wrong with a result that is to be this verb's answer, as the buyer would get it; nothing where nothing is known. An
    /// error says why it can't be compared.
    fn issues(&self, verb: &str, result: &Value) -> Result<Vec<Issue>, String>;

    /// Is a result that is wrong refused? Else it is only warned of.
    fn refuses(&self) -> bool;
}

pub(super) fn compare(check: &dyn ReviewCheck, verb: &str, result: &Value) -> Result<(), Problem> {
    let issues = check.issues(verb, result).map_err(Problem::usage)?;
    if issues.is_empty() {
        return Ok(());
    }
    if check.refuses() {
        let message = format!("The result is not as the protocol's schema of {verb} says; nothing was sent.");
        let error = AdcpError::correctable("VALIDATION_ERROR", message)
            .suggestion("Correct it. With --unchecked it is sent as it is.")
            .issues(issues);
        return Err(Problem::refused(error));
    }
    let told: Vec<String> = issues.iter().map(|issue| format!("{}: {}", issue.pointer, issue.message)).collect();
    tracing::warn!(verb, issues = told.join("; "), "the result is not as the protocol's schema says");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::Exit;
    use serde_json::json;

    /// Knows one verb, whose answers are empty.
    struct Fake {
        refuses: bool,
    }

    impl ReviewCheck for Fake {
        fn issues(&self, verb: &str, result: &Value) -> Result<Vec<Issue>, String> {
            let issue = |name: &String| Issue {
                pointer: format!("/{name}"),
                message: "No.".into(),
                keyword: String::new(),
                schema_id: None,
                schema_path: None,
            };
            match verb {
                "create_media_buy" => Ok(result.as_object().unwrap().keys().map(issue).collect()),
                "get_products" => Err("the schemas can't be read".into()),
                _ => Ok(Vec::new()),
            }
        }

        fn refuses(&self) -> bool {
            self.refuses
        }
    }

    #[test]
    fn what_is_wrong_is_refused_by_its_places_or_only_warned_of() {
        let strict = Fake { refuses: true };
        compare(&strict, "create_media_buy", &json!({})).unwrap();
        compare(&strict, "sync_creatives", &json!({"a": 1})).unwrap();
        let problem = compare(&strict, "create_media_buy", &json!({"a": 1, "b": 2})).unwrap_err();
        assert_eq!((problem.exit, problem.error.code.as_str()), (Exit::Refused, "VALIDATION_ERROR"));
        let text = problem.text();
        for part in ["create_media_buy", "/a No.", "/b No.", "--unchecked"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        compare(&Fake { refuses: false }, "create_media_buy", &json!({"a": 1})).unwrap();
        let unknown = compare(&strict, "get_products", &json!({})).unwrap_err();
        assert_eq!(unknown.exit, Exit::Usage);
    }
}
