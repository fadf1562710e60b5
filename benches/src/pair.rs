//! The two that are compared at the front door and in sending webhooks, and how neighbours are compared.

use crate::stats::median;
use serde::Serialize;
use std::fmt;

/// Whose code serves or sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Seller {
    Handoff,
    /// The protocol's own SDK for Python.
    Python,
}

impl Seller {
    pub(crate) const BOTH: [Self; 2] = [Self::Handoff, Self::Python];

    /// Both, in the order of this round: the next one has the opposite.
    pub(crate) fn order(round: usize) -> [Self; 2] {
        if round.is_multiple_of(2) { Self::BOTH } else { [Self::Python, Self::Handoff] }
    }
}

impl fmt::Display for Seller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handoff => "Handoff",
            Self::Python => "Python SDK",
        })
    }
}

/// What was measured of one of the two in one round.
pub(crate) trait Measurement {
    fn seller(&self) -> Seller;
    fn round(&self) -> usize;
}

/// How many times as much as Python's Handoff's is: the middle of the ratios within each round, because only neighbours were
/// measured on the same machine. A round in which either is too small to be measured says nothing.
pub(crate) fn ratio<'a, M: Measurement + 'a>(
    measured: impl Iterator<Item = &'a M> + Clone,
    of: impl Fn(&M) -> f64,
) -> Option<f64> {
    let ratios = measured.clone().filter(|ours| ours.seller() == Seller::Handoff).filter_map(|ours| {
        let theirs =
            measured.clone().find(|theirs| theirs.seller() == Seller::Python && theirs.round() == ours.round())?;
        let (ours, theirs) = (of(ours), of(theirs));
        (ours > 0.0 && theirs > 0.0).then(|| ours / theirs)
    });
    let ratios: Vec<f64> = ratios.collect();
    (!ratios.is_empty()).then(|| median(&ratios))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct One(Seller, usize, f64);

    impl Measurement for One {
        fn seller(&self) -> Seller {
            self.0
        }
        fn round(&self) -> usize {
            self.1
        }
    }

    #[test]
    fn neighbours_are_compared_and_what_could_not_be_measured_is_not() {
        let all = [
            One(Seller::Handoff, 0, 1.0),
            One(Seller::Python, 0, 10.0),
            One(Seller::Python, 1, 100.0),
            One(Seller::Handoff, 1, 30.0),
            One(Seller::Handoff, 2, 0.0),
            One(Seller::Python, 2, 10.0),
        ];
        let found = ratio(all.iter(), |one| one.2).unwrap();
        assert!((found - 0.2).abs() < 1e-9, "{found}");
        assert_eq!(ratio(all[..1].iter(), |one| one.2), None);
        assert_eq!((Seller::order(0)[0], Seller::order(1)[0]), (Seller::Handoff, Seller::Python));
    }
}
