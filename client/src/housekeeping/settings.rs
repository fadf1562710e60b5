//! How often, and what is old enough.

use crate::{ConfigError, config::within};
use handoff_proto::{convert::to_proto_duration, limits::WEBHOOK_HORIZON, v1::HousekeepingInput};
use std::time::Duration;

// A run that is lost should not stay unnoticed for longer.
const LONGEST_INTERVAL: Duration = Duration::from_secs(86_400);

/// How housekeeping runs by itself, and what it leaves alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HousekeepingSettings {
    /// How often a round begins; `None`: never by itself.
    pub every: Option<Duration>,
    /// How long an unfinished request must have been silent before its run is looked for.
    pub reconcile_after: Duration,
    /// How old an ended request must be to be purged.
    pub retention: Duration,
    /// How old a tombstone must be to be deleted, counted from the purge; then its idempotency key is free again.
    pub tombstone_retention: Duration,
    /// How long ago a proposal must have expired, been declined or, without an end of its own, last changed, to be deleted.
    pub proposal_retention: Duration,
    /// How long ago a draft must have last changed to be deleted.
    pub draft_retention: Duration,
}

impl Default for HousekeepingSettings {
    fn default() -> Self {
        Self {
            every: Some(Duration::from_secs(300)),
            reconcile_after: Duration::from_secs(300),
            retention: Duration::from_secs(30 * 86_400),
            tombstone_retention: Duration::from_secs(90 * 86_400),
            proposal_retention: Duration::from_secs(30 * 86_400),
            draft_retention: Duration::from_secs(30 * 86_400),
        }
    }
}

impl HousekeepingSettings {
    /// Refuses ages at which something would be purged that is still needed.
    pub fn check(&self, idempotency_ttl: Duration) -> Result<(), ConfigError> {
        if let Some(every) = self.every {
            within("HANDOFF_HOUSEKEEPING_EVERY", every, Duration::from_secs(1), LONGEST_INTERVAL)?;
        }
        at_least(
            "HANDOFF_RETENTION",
            self.retention,
            WEBHOOK_HORIZON,
            "webhooks of an ended task are delivered until then",
        )?;
        at_least(
            "HANDOFF_RETENTION",
            self.retention,
            idempotency_ttl,
            "recorded answers are replayed until then (HANDOFF_IDEMPOTENCY_TTL)",
        )?;
        at_least(
            "HANDOFF_TOMBSTONE_RETENTION",
            self.tombstone_retention,
            idempotency_ttl,
            "a key must stay expired at least as long as it was good for (HANDOFF_IDEMPOTENCY_TTL)",
        )
    }

    /// What starts a round.
    pub fn input(&self) -> HousekeepingInput {
        HousekeepingInput {
            reconcile_after: Some(to_proto_duration(self.reconcile_after)),
            retention: Some(to_proto_duration(self.retention)),
            tombstone_retention: Some(to_proto_duration(self.tombstone_retention)),
            page_size: 0,
            progress: None,
            proposal_retention: Some(to_proto_duration(self.proposal_retention)),
            draft_retention: Some(to_proto_duration(self.draft_retention)),
        }
    }
}

fn at_least(name: &'static str, value: Duration, least: Duration, why: &'static str) -> Result<(), ConfigError> {
    if value >= least { Ok(()) } else { Err(ConfigError::TooShort { name, value, least, why }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn nothing_is_purged_that_is_still_needed() {
        let with = |change: fn(&mut HousekeepingSettings)| {
            let mut settings = HousekeepingSettings::default();
            change(&mut settings);
            settings.check(8 * DAY)
        };
        with(|_| ()).unwrap();
        with(|settings| settings.every = None).unwrap();
        with(|settings| settings.retention = 8 * DAY).unwrap();
        for (refused, why) in [
            (with(|settings| settings.retention = 7 * DAY - Duration::from_secs(1)), "webhooks"),
            (with(|settings| settings.retention = 7 * DAY), "HANDOFF_IDEMPOTENCY_TTL"),
            (with(|settings| settings.tombstone_retention = 7 * DAY), "HANDOFF_TOMBSTONE_RETENTION"),
            (with(|settings| settings.every = Some(Duration::from_millis(999))), "HANDOFF_HOUSEKEEPING_EVERY"),
            (with(|settings| settings.every = Some(2 * DAY)), "HANDOFF_HOUSEKEEPING_EVERY"),
        ] {
            let said = refused.unwrap_err().to_string();
            assert!(said.contains(why), "{said}");
        }
    }
}
