//! What can become of a media buy.

use handoff::prelude::*;

/// From which status to which; the rest is refused.
pub(crate) const STEPS: &[(&str, &[&str])] = &[
    ("pending_creatives", &["pending_start", "active", "paused", "canceled", "rejected"]),
    ("pending_start", &["active", "paused", "canceled", "rejected"]),
    ("active", &["paused", "completed", "canceled"]),
    ("paused", &["active", "completed", "canceled"]),
    ("completed", &[]),
    ("rejected", &[]),
    ("canceled", &[]),
];

/// Whether nothing becomes of it any more.
pub(crate) fn is_final(status: &str) -> bool {
    STEPS.iter().any(|(from, to)| *from == status && to.is_empty())
}

/// Refuses a status that is none, or that can't follow. The same status again is no step.
pub(crate) fn check(steps: &[(&str, &[&str])], from: &str, to: &str) -> Result<(), AdcpError> {
    if !steps.iter().any(|(known, _)| *known == to) {
        let known: Vec<&str> = steps.iter().map(|(known, _)| *known).collect();
        return Err(AdcpError::correctable("INVALID_PARAMS", format!("{to:?} is none of {}.", known.join(", ")))
            .field("params.status"));
    }
    let follows = steps.iter().any(|(known, next)| *known == from && next.contains(&to));
    if from == to || follows {
        return Ok(());
    }
    Err(AdcpError::correctable("INVALID_TRANSITION", format!("What is {from} does not become {to}."))
        .details(json!({"current_state": from})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_follows_or_is_refused() {
        assert!(is_final("canceled") && !is_final("paused") && !is_final("unheard_of"));
        assert_eq!(check(STEPS, "active", "completed"), Ok(()));
        assert_eq!(check(STEPS, "completed", "completed"), Ok(()));
        let error = check(STEPS, "completed", "active").unwrap_err();
        assert_eq!(
            (error.code.as_str(), *error.details.unwrap()),
            ("INVALID_TRANSITION", json!({"current_state": "completed"}))
        );
        assert_eq!(check(STEPS, "paused", "pending_start").unwrap_err().code, "INVALID_TRANSITION");
        assert_eq!(check(STEPS, "active", "finished").unwrap_err().code, "INVALID_PARAMS");
    }
}
