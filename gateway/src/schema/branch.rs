//! Which alternative of a `oneOf` or `anyOf` was meant: its mistakes are the ones to tell.

use jsonschema::{ValidationError, error::ValidationErrorKind as Kind};
use serde_json::Value;

/// What fitted worst, most telling first; the least is the alternative that was meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Misfit {
    /// It is for another type of value.
    other_type: usize,
    /// A field that tells alternatives apart has another's value.
    other_constant: usize,
    /// Fields of its own are missing, or others' are there.
    other_fields: usize,
    /// Mistakes further inside.
    inside: usize,
}

// What a failure is known by: without it, an answer that says `completed` was meant to be a success, whatever it lacks.
const ERRORS: &str = "errors";

/// The mistakes behind a combinator's, as deep as they can be told; the combinator's own if it can't be told which
/// alternative was meant.
pub(super) fn unfold<'e>(error: &'e ValidationError<'_>, found: &mut Vec<&'e ValidationError<'e>>) {
    let (Kind::AnyOf { context } | Kind::OneOfNotValid { context }) = error.kind() else {
        found.push(error);
        return;
    };
    let place = error.instance_path().as_str();
    let completed = is_completed(error, place);
    let misfits: Vec<Misfit> = context.iter().map(|branch| misfit(branch, place, completed)).collect();
    let Some(least) = misfits.iter().min().copied() else {
        found.push(error);
        return;
    };
    if least.other_constant > 0
        && let Some(wrong) = same_constant(context, place)
    {
        found.push(wrong);
        return;
    }
    let mut meant = context.iter().zip(&misfits).filter(|(_, misfit)| **misfit == least).map(|(branch, _)| branch);
    let Some(first) = meant.next().filter(|branch| !branch.is_empty()) else {
        found.push(error);
        return;
    };
    let others: Vec<_> = meant.collect();
    let before = found.len();
    for mistake in first {
        let same = |other: &ValidationError<'_>| {
            other.instance_path() == mistake.instance_path() && target(other) == target(mistake)
        };
        if others.iter().all(|branch| branch.iter().any(same)) {
            unfold(mistake, found);
        }
    }
    if found.len() == before {
        found.push(error);
    }
}

fn misfit(branch: &[ValidationError<'_>], place: &str, completed: bool) -> Misfit {
    let mut misfit = Misfit { other_type: 0, other_constant: 0, other_fields: 0, inside: 0 };
    for mistake in branch {
        let here = mistake.instance_path().as_str() == place;
        match mistake.kind() {
            Kind::Type { .. } if here => misfit.other_type += 1,
            Kind::Constant { .. } if here || is_child(mistake, place) => misfit.other_constant += 1,
            Kind::AdditionalProperties { unexpected } if here => misfit.other_fields += unexpected.len(),
            Kind::FalseSchema if is_child(mistake, place) => misfit.other_fields += 1,
            Kind::Required { property } if here && completed && property == ERRORS => misfit.other_constant += 1,
            Kind::Required { .. } | Kind::Not { .. } if here => misfit.other_fields += 1,
            Kind::AnyOf { context } | Kind::OneOfNotValid { context } if here => {
                if let Some(least) = context.iter().map(|branch| self::misfit(branch, place, completed)).min() {
                    misfit.other_type += least.other_type;
                    misfit.other_constant += least.other_constant;
                    misfit.other_fields += least.other_fields;
                    misfit.inside += least.inside;
                }
            }
            _ => misfit.inside += 1,
        }
    }
    misfit
}

/// It is an answer that says that it is no failure.
fn is_completed(error: &ValidationError<'_>, place: &str) -> bool {
    place.is_empty() && error.instance().get("status").is_some_and(|status| status == "completed")
}

fn is_child(mistake: &ValidationError<'_>, place: &str) -> bool {
    let inside = mistake.instance_path().as_str().strip_prefix(place).and_then(|rest| rest.strip_prefix('/'));
    inside.is_some_and(|rest| !rest.contains('/'))
}

/// No alternative has this value of the field that tells them apart.
fn same_constant<'e>(context: &'e [Vec<ValidationError<'static>>], place: &str) -> Option<&'e ValidationError<'e>> {
    let constants = |branch: &'e [ValidationError<'static>]| {
        branch.iter().filter(|mistake| matches!(mistake.kind(), Kind::Constant { .. }) && is_child(mistake, place))
    };
    let (first, others) = context.split_first()?;
    constants(first).find(|wrong| {
        let same = |other: &ValidationError<'_>| other.instance_path() == wrong.instance_path();
        others.iter().all(|branch| constants(branch).any(same))
    })
}

// What a mistake is about, beyond its place.
fn target<'e>(mistake: &'e ValidationError<'_>) -> (&'e str, Option<&'e Value>) {
    let property = match mistake.kind() {
        Kind::Required { property } => Some(property),
        _ => None,
    };
    (mistake.kind().keyword(), property)
}
