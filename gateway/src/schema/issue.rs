//! Validation errors as the protocol's `issues[]`.

use super::branch;
use handoff_proto::wire::Issue;
use jsonschema::{
    ValidationError, Validator,
    error::{TypeKind, ValidationErrorKind as Kind},
    paths::Location,
};
use serde_json::Value;

/// The most issues of one value: whoever made more mistakes mends these first.
pub(super) const MOST_ISSUES: usize = 20;
/// The longest pointer and the longest message, in characters.
pub(super) const LONGEST_TEXT: usize = 300;
const MOST_OPTIONS: usize = 12;

/// What is wrong with an invalid value.
pub(super) fn issues(validator: &Validator, value: &Value) -> Vec<Issue> {
    let mut issues: Vec<Issue> = Vec::new();
    for error in validator.iter_errors(value) {
        let mut mistakes = Vec::new();
        branch::unfold(&error, &mut mistakes);
        for issue in mistakes.into_iter().flat_map(of) {
            let known = |other: &Issue| other.pointer == issue.pointer && other.keyword == issue.keyword;
            if !issues.iter().any(known) {
                issues.push(issue);
            }
            if issues.len() == MOST_ISSUES {
                return issues;
            }
        }
    }
    issues
}

/// One mistake: one issue, or one for each field that must not be there.
fn of(error: &ValidationError<'_>) -> Vec<Issue> {
    let at = |pointer: String, message: String| Issue {
        pointer: shorten(&pointer, LONGEST_TEXT),
        message: shorten(&message, LONGEST_TEXT),
        keyword: error.kind().keyword().to_owned(),
        schema_id: schema(error).map(|(id, _)| id),
        schema_path: schema(error).map(|(_, path)| path),
    };
    let place = error.instance_path();
    match error.kind() {
        Kind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            vec![at(place.join(name).as_str().to_owned(), format!("{name} is required."))]
        }
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            let one =
                |name: &String| at(place.join(name).as_str().to_owned(), "This field is not allowed here.".into());
            unexpected.iter().take(MOST_ISSUES).map(one).collect()
        }
        Kind::PropertyNames { error } => of(error),
        kind => vec![at(told(place), message(kind))],
    }
}

fn told(place: &Location) -> String {
    place.as_str().to_owned()
}

// Only what the schema says, never what the value holds.
fn message(kind: &Kind) -> String {
    match kind {
        Kind::Type { kind: TypeKind::Single(expected) } => format!("Must be of type {expected}."),
        Kind::Type { kind: TypeKind::Multiple(expected) } => {
            let names: Vec<String> = expected.iter().map(|name| name.to_string()).collect();
            format!("Must be of type {}.", names.join(" or "))
        }
        Kind::Constant { expected_value } => format!("Must be {expected_value}."),
        Kind::Enum { options } => match options.as_array() {
            Some(options) if options.len() <= MOST_OPTIONS => {
                let options: Vec<String> = options.iter().map(Value::to_string).collect();
                format!("Must be one of {}.", options.join(", "))
            }
            _ => "Must be one of the values that the schema lists.".into(),
        },
        Kind::Pattern { pattern } => format!("Must match {pattern}."),
        Kind::Format { format } => format!("Must be a valid {format}."),
        Kind::MinLength { limit } => format!("Must have at least {limit} characters."),
        Kind::MaxLength { limit } => format!("Must have at most {limit} characters."),
        Kind::MinItems { limit } => format!("Must have at least {limit} items."),
        Kind::MaxItems { limit } => format!("Must have at most {limit} items."),
        Kind::MinProperties { limit } => format!("Must have at least {limit} fields."),
        Kind::MaxProperties { limit } => format!("Must have at most {limit} fields."),
        Kind::Minimum { limit } => format!("Must be at least {limit}."),
        Kind::Maximum { limit } => format!("Must be at most {limit}."),
        Kind::ExclusiveMinimum { limit } => format!("Must be more than {limit}."),
        Kind::ExclusiveMaximum { limit } => format!("Must be less than {limit}."),
        Kind::MultipleOf { multiple_of } => format!("Must be a multiple of {multiple_of}."),
        Kind::UniqueItems => "Must not hold the same item twice.".into(),
        Kind::Contains => "Holds no item of the kind that the schema asks for.".into(),
        Kind::FalseSchema => "Must not be there.".into(),
        Kind::Not { .. } => "Is not allowed as it is: some of its fields exclude each other.".into(),
        Kind::AnyOf { .. } | Kind::OneOfNotValid { .. } => "Fits none of the alternatives of the schema.".into(),
        Kind::OneOfMultipleValid { .. } => {
            "Fits more than one alternative of the schema; exactly one is allowed.".into()
        }
        Kind::BacktrackLimitExceeded { .. } | Kind::RegexEngineFailure { .. } => {
            "Is too intricate to be compared with the schema's pattern.".into()
        }
        _ => "Is not as the schema asks for.".into(),
    }
}

/// `schema_id` and `schemaPath`: the schema that rejects, and where in it.
fn schema(error: &ValidationError<'_>) -> Option<(String, String)> {
    let location = error.absolute_keyword_location()?;
    let fragment = location.fragment().map(|fragment| fragment.as_str()).unwrap_or_default();
    Some((shorten(location.path().as_str(), LONGEST_TEXT), shorten(&format!("#{fragment}"), LONGEST_TEXT)))
}

/// A name from outside, fit to be shown.
fn shorten(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
