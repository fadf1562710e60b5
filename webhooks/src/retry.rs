//! What an answer means, and when to try again.

use crate::{Attempt, ErrorClass};
use std::time::Duration;

/// When to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// After the first failure. Each later one doubles it.
    pub first: Duration,
    /// After the first answer that says the request is wrong: that passes when somebody mends the receiver.
    pub first_slow: Duration,
    /// The longest pause, and the most that `Retry-After` is believed.
    pub longest: Duration,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { first: Duration::from_secs(2), first_slow: Duration::from_secs(60), longest: Duration::from_secs(3_600) }
    }
}

/// What to do after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It arrived.
    Delivered,
    /// The receiver wants no more of this delivery.
    Stop,
    /// Not before this.
    Retry(Duration),
}

impl Schedule {
    /// Judges an attempt. `number` counts from 1; `chance` is from 0 to 1, and spreads the attempts of many.
    pub fn judge(&self, attempt: &Attempt, number: u32, chance: f64) -> Verdict {
        let first = match (attempt.status, attempt.class) {
            (_, None) => return Verdict::Delivered,
            (_, Some(ErrorClass::Conflict | ErrorClass::SignatureRefused | ErrorClass::Undeliverable)) => {
                return Verdict::Stop;
            }
            (_, Some(ErrorClass::Url | ErrorClass::Address | ErrorClass::Redirect)) => self.first_slow,
            (Some(408 | 425 | 429), _) => self.first,
            (Some(400..=499), _) => self.first_slow,
            _ => self.first,
        };
        let doubled = first.saturating_mul(2_u32.saturating_pow(number.saturating_sub(1)));
        let pause = doubled.max(attempt.retry_after.unwrap_or_default()).min(self.longest);
        // A quarter more at most: never earlier than was asked for.
        Verdict::Retry(pause.mul_f64(1.0 + chance.clamp(0.0, 1.0) / 4.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16) -> Attempt {
        Attempt::answered(status, None, false)
    }

    fn pause(attempt: &Attempt, number: u32) -> u64 {
        match Schedule::default().judge(attempt, number, 0.0) {
            Verdict::Retry(pause) => pause.as_secs(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn success_and_refusal_end_a_delivery_and_nothing_else_does() {
        let judge = |attempt: &Attempt| Schedule::default().judge(attempt, 1, 0.5);
        for status in [200, 201, 202, 204] {
            assert_eq!(judge(&answered(status)), Verdict::Delivered);
        }
        assert_eq!(judge(&answered(409)), Verdict::Stop);
        assert_eq!(judge(&Attempt::answered(401, None, true)), Verdict::Stop);
        for status in [100, 301, 308, 400, 401, 403, 404, 410, 413, 429, 500, 503, 599] {
            assert!(matches!(judge(&answered(status)), Verdict::Retry(_)), "{status}");
        }
    }

    #[test]
    fn pauses_double_up_to_a_bound_and_what_looks_permanent_is_tried_slowly() {
        assert_eq!([1, 2, 3, 4].map(|number| pause(&answered(503), number)), [2, 4, 8, 16]);
        assert_eq!([1, 2].map(|number| pause(&answered(404), number)), [60, 120]);
        assert_eq!(pause(&answered(301), 1), 60);
        assert_eq!(pause(&answered(429), 1), 2);
        assert_eq!([40, u32::MAX].map(|number| pause(&answered(500), number)), [3_600, 3_600]);
        assert_eq!(pause(&Attempt::failed(ErrorClass::Connect), 1), 2);
        assert_eq!(pause(&Attempt::failed(ErrorClass::Address), 1), 60);
    }

    #[test]
    fn retry_after_is_honoured_within_bounds() {
        let after = |seconds| Attempt::answered(503, Some(Duration::from_secs(seconds)), false);
        assert_eq!([0, 1, 30, 100_000].map(|seconds| pause(&after(seconds), 1)), [2, 2, 30, 3_600]);
        let most = Schedule::default().judge(&after(100), 1, 1.0);
        assert_eq!(most, Verdict::Retry(Duration::from_secs(125)));
    }
}
