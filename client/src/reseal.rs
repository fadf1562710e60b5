//! Rotating the registry's keys: which of them its values need, and sealing them with the active one.

use crate::{Error, Tasks};
use std::collections::BTreeMap;

// Each task is a transaction of its own; this is how many are listed at once.
const BATCH: u32 = 200;

/// What resealing found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResealReport {
    /// Nothing was written.
    pub dry_run: bool,
    /// Tasks that were looked at.
    pub tasks: u64,
    /// How many values each key sealed, by the key's id, before anything was done; `None`: values in clear.
    pub values: BTreeMap<Option<String>, u64>,
    /// Tasks with values that were sealed anew, or would be.
    pub resealed: u64,
    /// Tasks that were left as they are, because a key of theirs is missing.
    pub unreadable: u64,
}

impl Tasks {
    /// Seals with the active key what other keys seal, or none, so that those are no longer needed. May be stopped and repeated
    /// at any time, beside everything else that goes on.
    pub async fn reseal(&self, dry_run: bool) -> Result<ResealReport, Error> {
        let mut report = ResealReport { dry_run, ..ResealReport::default() };
        let mut after: Option<String> = None;
        loop {
            let batch = self.registry.reseal(after.as_deref(), BATCH, dry_run).await?;
            report.tasks += batch.tasks;
            report.resealed += batch.resealed;
            report.unreadable += batch.unreadable;
            for (key, values) in batch.values {
                *report.values.entry(key).or_default() += values;
            }
            match batch.next {
                Some(next) => after = Some(next),
                None => return Ok(report),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn batches_follow_each_other_to_the_end() {
        let tasks = Tasks::new(Arc::new(crate::testing::FakeRegistry::default()));
        let report = tasks.reseal(true).await.unwrap();
        assert_eq!((report.dry_run, report.tasks, report.resealed), (true, 2, 2));
        assert_eq!(report.values, [(Some("old".to_owned()), 4), (None, 2)].into());
    }
}
