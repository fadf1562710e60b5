//! Percentiles.

use serde::Serialize;

/// The middle and the slow end of many measurements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl Spread {
    pub(crate) fn of(values: &[f64]) -> Self {
        Self { p50: percentile(values, 0.50), p99: percentile(values, 0.99) }
    }
}

/// The middle of a few numbers; of an even number, the mean of the two in the middle. 0 of none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

// By the nearest rank, so that every answer was measured. 0 of none.
fn percentile(values: &[f64], share: f64) -> f64 {
    let sorted = sorted(values);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_measurements_and_medians_are_middles() {
        let values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!(Spread::of(&values), Spread { p50: 100.0, p99: 198.0 });
        assert_eq!(Spread::of(&[3.0]), Spread { p50: 3.0, p99: 3.0 });
        assert_eq!(Spread::of(&[]), Spread::default());
        assert_eq!((median(&[9.0, 1.0, 2.0]), median(&[4.0, 1.0, 2.0, 9.0]), median(&[])), (2.0, 3.0, 0.0));
    }
}
