//! Variables that look like settings, but that nothing reads: most likely a slip of the pen.

use serde::Serialize;
use std::fmt;

const PREFIX: &str = "HANDOFF_";
// What the reference has, every program of this build reads: this one, or a seller's. A test holds it against them.
const REFERENCE: &str = include_str!("../../../docs/configuration.md");
// More letters wrong than this, and it is another word.
const LIKENESS: f64 = 0.75;

/// A `HANDOFF_…` variable that nothing reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnknownVariable {
    /// Its name.
    pub variable: String,
    /// The variable that was meant, most likely.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
}

impl fmt::Display for UnknownVariable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.nearest {
            Some(nearest) => write!(f, "{} is no setting; is {nearest} meant?", self.variable),
            None => write!(f, "{} is no setting", self.variable),
        }
    }
}

/// Those among these names that nothing reads, in order.
pub fn unknown_variables(names: impl IntoIterator<Item = String>) -> Vec<UnknownVariable> {
    let known: Vec<&str> = known().collect();
    let mut unknown: Vec<UnknownVariable> = names
        .into_iter()
        .filter(|name| name.starts_with(PREFIX) && !known.contains(&name.as_str()))
        .map(|variable| UnknownVariable { nearest: nearest(&variable, &known), variable })
        .collect();
    unknown.sort_by(|a, b| a.variable.cmp(&b.variable));
    unknown
}

/// The names of this process's variables.
pub(crate) fn of_this_process() -> Vec<String> {
    std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect()
}

fn known() -> impl Iterator<Item = &'static str> {
    let word = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    REFERENCE.split(move |c| !word(c)).filter(|name| name.starts_with(PREFIX) && name.len() > PREFIX.len())
}

fn nearest(name: &str, known: &[&str]) -> Option<String> {
    let likeness = |other: &str| strsim::normalized_damerau_levenshtein(&name[PREFIX.len()..], &other[PREFIX.len()..]);
    let best = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) >= LIKENESS).then(|| (*best).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_is_found_and_the_right_name_given() {
        let names = ["HANDOFF_REGISTRY_URI", "HANDOFF_TASK_QUEUE", "HANDOFF_STICKY_TIMOUT", "HANDOFF_XYZ", "PATH"];
        let unknown = unknown_variables(names.map(str::to_owned));
        let found: Vec<_> = unknown.iter().map(|found| (found.variable.as_str(), found.nearest.as_deref())).collect();
        assert_eq!(
            found,
            [
                ("HANDOFF_REGISTRY_URI", Some("HANDOFF_REGISTRY_URL")),
                ("HANDOFF_STICKY_TIMOUT", Some("HANDOFF_STICKY_TIMEOUT")),
                ("HANDOFF_XYZ", None),
            ]
        );
    }
}
