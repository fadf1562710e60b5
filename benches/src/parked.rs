//! Memory of a worker with parked tasks, within its cache and beyond.

use crate::{
    peer::{Peer, Shape},
    process::resident_mb,
};
use anyhow::Result;
use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;

/// Resident memory of Handoff's worker.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Parked {
    /// Runs that it keeps in memory.
    pub(crate) cached: usize,
    pub(crate) idle_mb: f64,
    /// With as many parked as it keeps.
    pub(crate) full_mb: f64,
    /// Parked in all, in the end.
    pub(crate) parked: usize,
    pub(crate) beyond_mb: f64,
}

impl Parked {
    /// MB that a thousand parked tasks take in the cache.
    pub(crate) fn per_thousand_cached(&self) -> f64 {
        (self.full_mb - self.idle_mb) * 1_000.0 / self.cached as f64
    }

    /// MB that a thousand more take beyond it.
    pub(crate) fn per_thousand_beyond(&self) -> f64 {
        (self.beyond_mb - self.full_mb) * 1_000.0 / (self.parked - self.cached) as f64
    }
}

/// Parks tasks until the cache of `peer`, which holds `cached`, is full, and then `beyond` more.
pub(crate) async fn measure(peer: &Peer, cached: usize, beyond: usize, at_once: usize) -> Result<Parked> {
    let resident = || resident_mb(peer.worker.id());
    // What any number of tasks takes once: connections, threads, buffers.
    park(peer, 50, at_once).await?;
    let idle_mb = resident()?;
    park(peer, cached, at_once).await?;
    let full_mb = resident()?;
    park(peer, beyond, at_once).await?;
    Ok(Parked { cached, idle_mb, full_mb, parked: cached + beyond, beyond_mb: resident()? })
}

async fn park(peer: &Peer, number: usize, at_once: usize) -> Result<()> {
    let submits = stream::iter(0..number).map(|_| peer.submit(Shape::Workflow));
    submits.buffer_unordered(at_once).try_for_each(|_| async { Ok(()) }).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_per_thousand_tasks() {
        let parked = Parked { cached: 500, idle_mb: 20.0, full_mb: 50.0, parked: 2_500, beyond_mb: 52.0 };
        assert!((parked.per_thousand_cached() - 60.0).abs() < 1e-9);
        assert!((parked.per_thousand_beyond() - 1.0).abs() < 1e-9);
    }
}
