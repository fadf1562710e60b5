//! `handoff explain`.

use super::{exit::Exit, output::Output, problem::Problem};
use serde_json::json;

/// The pages of these codes. One that is missing does not compile; a test finds one too few.
macro_rules! pages {
    ($($code:literal),+ $(,)?) => {
        [$(($code, include_str!(concat!("../../../docs/errors/", $code, ".md")))),+]
    };
}

const PAGES: &[(&str, &str)] = &pages![
    "X_HANDOFF_ASYNC_NOT_ALLOWED",
    "X_HANDOFF_DEADLINE_EXCEEDED",
    "X_HANDOFF_DECIDE_FAILED",
    "X_HANDOFF_DISCARDED",
    "X_HANDOFF_ENQUEUE_FAILED",
    "X_HANDOFF_ENQUEUE_UNABLE",
    "X_HANDOFF_HANDLER_FAILED",
    "X_HANDOFF_HANDLER_MISSING",
    "X_HANDOFF_INPUT_INVALID",
    "X_HANDOFF_KEYS_MISSING",
    "X_HANDOFF_KEYS_REQUIRED",
    "X_HANDOFF_NOT_FINALIZED",
    "X_HANDOFF_OUTCOME_UNKNOWN",
    "X_HANDOFF_RESULT_INVALID",
    "X_HANDOFF_RESULT_TOO_LARGE",
    "X_HANDOFF_RUN_LOST",
    "X_HANDOFF_TASK_FAILED",
    "X_HANDOFF_UNEXPECTED",
    "X_HANDOFF_USAGE",
];

pub(super) fn run(args: super::args::ExplainArgs, output: &Output) -> Result<Exit, Problem> {
    let Some(code) = args.code else {
        let all: Vec<_> = PAGES.iter().map(|(code, page)| json!({"code": code, "summary": summary(page)})).collect();
        let line = |(code, page): &(&str, &str)| format!("{code:<30}{}", summary(page));
        output.data(&json!({"errors": all}), || PAGES.iter().map(line).collect::<Vec<_>>().join("\n"));
        return Ok(Exit::Ok);
    };
    let wanted = code.trim().to_ascii_uppercase();
    let found = PAGES.iter().find(|(code, _)| *code == wanted || code.strip_prefix("X_HANDOFF_") == Some(&wanted));
    let Some((code, page)) = found else {
        let message = format!("{code} is no error of Handoff's own; `handoff explain` lists those");
        return Err(Problem::usage(message));
    };
    output.data(&json!({"code": code, "summary": summary(page), "page": page}), || page.trim_end().to_owned());
    Ok(Exit::Ok)
}

/// The page's first paragraph below its title.
fn summary(page: &str) -> String {
    page.split("\n\n").nth(1).unwrap_or_default().replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use handoff_proto::errors::CODES;
    use std::{collections::BTreeSet, path::Path};

    const INDEX: &str = include_str!("../../../docs/errors.md");

    #[test]
    fn codes_pages_files_and_index_agree() {
        let codes: BTreeSet<&str> = CODES.into_iter().collect();
        assert_eq!(PAGES.iter().map(|(code, _)| *code).collect::<BTreeSet<_>>(), codes);
        let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/errors").read_dir().unwrap();
        let files: BTreeSet<String> =
            files.map(|file| file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned()).collect();
        assert_eq!(files.iter().map(String::as_str).collect::<BTreeSet<_>>(), codes);
        let rows: Vec<&str> = INDEX.lines().filter(|line| line.starts_with("| [`")).collect();
        assert_eq!(rows.len(), codes.len());
        for (code, page) in PAGES {
            let link = format!("| [`{code}`](errors/{code}.md) |");
            let row = rows.iter().find(|row| row.starts_with(&link)).unwrap_or_else(|| panic!("{link}"));
            assert!(row.ends_with(&format!("| {} |", summary(page))), "{row}");
        }
    }

    #[test]
    fn every_page_says_what_happened_and_what_to_do() {
        for (code, page) in PAGES {
            assert!(page.starts_with(&format!("# {code}\n\n")), "{code}");
            for heading in ["What happened", "Is a retry safe?", "What the buyer does", "What the seller does"] {
                let section = page.split(&format!("\n## {heading}\n\n")).nth(1).unwrap_or_default();
                assert!(section.split("\n#").next().is_some_and(|text| text.trim().len() > 5), "{code}: {heading}");
            }
        }
    }

    #[test]
    fn pages_and_constructors_agree_on_recovery() {
        use handoff_proto::errors;
        for error in [
            errors::deadline_exceeded(),
            errors::decide_failed(),
            errors::enqueue_failed(),
            errors::enqueue_unable(),
            errors::task_failed(),
            errors::result_too_large(1, 1),
            errors::result_invalid(""),
            errors::async_not_allowed(),
            errors::not_finalized(""),
            errors::outcome_unknown(),
            errors::run_lost(),
            errors::handler_failed(""),
            errors::keys_required(""),
            errors::keys_missing(""),
        ] {
            let (_, page) = PAGES.iter().find(|(code, _)| *code == error.code).unwrap();
            assert!(page.contains(&format!("\nRecovery: {}.\n", error.recovery.as_str())), "{}", error.code);
        }
    }
}
