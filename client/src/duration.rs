//! Durations as people write them: `500ms`, `10s`, `5m`, `24h`, `7d`, `1h30m`.

use std::{fmt::Write, time::Duration};

// Longest first, so that `ms` is not read as `m`.
const UNITS: [(&str, u64); 5] = [("ms", 1), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];

/// Reads a duration: one or more whole numbers, each with its unit.
pub fn parse(text: &str) -> Result<Duration, String> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(expected(text));
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let number: u64 = number.parse().map_err(|_| expected(text))?;
        let (unit, millis) =
            UNITS.into_iter().find(|(unit, _)| after.starts_with(unit)).ok_or_else(|| expected(text))?;
        total = number
            .checked_mul(millis)
            .and_then(|millis| total.checked_add(millis))
            .ok_or_else(|| format!("{text:?} is too long"))?;
        rest = after[unit.len()..].trim_start();
    }
    Ok(Duration::from_millis(total))
}

/// A duration, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrOff(pub Option<Duration>);

/// Reads a duration, or `off`.
pub fn parse_or_off(text: &str) -> Result<OrOff, String> {
    match text.trim() {
        "off" => Ok(OrOff(None)),
        text => parse(text).map(|duration| OrOff(Some(duration))).map_err(|error| format!("{error}, or off")),
    }
}

/// Writes a duration so that [`parse`] reads it back, to the millisecond.
pub fn format(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, millis) in [UNITS[1], UNITS[2], UNITS[3], UNITS[4], UNITS[0]] {
        if rest >= millis {
            let _ = write!(text, "{}{unit}", rest / millis);
            rest %= millis;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

fn expected(text: &str) -> String {
    format!("{text:?} is not a duration; write for example 500ms, 10s, 5m, 24h or 7d")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for (text, millis) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("5m", 300_000),
            ("1d", 86_400_000),
            ("1h30m", 5_400_000),
            ("1m500ms", 60_500),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
            assert_eq!(format(Duration::from_millis(millis)), text);
        }
        assert_eq!(parse(" 1h 30m "), Ok(Duration::from_secs(5400)));
        assert_eq!(format(Duration::ZERO), "0s");
    }

    #[test]
    fn a_duration_may_be_off() {
        assert_eq!(parse_or_off(" off"), Ok(OrOff(None)));
        assert_eq!(parse_or_off("5m"), Ok(OrOff(Some(Duration::from_secs(300)))));
        assert!(parse_or_off("never").is_err());
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "10", "s", "-1s", "1.5h", "10 s", "10x", "99999999999999999999d", "9999999999999999d"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
