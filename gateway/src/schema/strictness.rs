//! What happens to what is not as the schemas say.

use std::{fmt, str::FromStr};

/// What happens to requests and answers that are not as the protocol's schemas say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strictness {
    /// They are refused.
    #[default]
    Strict,
    /// They pass, and the log says what is wrong.
    Warn,
    /// They are not looked at.
    Off,
}

impl Strictness {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Strict, Self::Warn, Self::Off];

    /// As settings spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Warn => "warn",
            Self::Off => "off",
        }
    }
}

impl fmt::Display for Strictness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no strictness.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is none of strict, warn, off")]
pub struct ParseStrictnessError(String);

impl FromStr for Strictness {
    type Err = ParseStrictnessError;

    fn from_str(text: &str) -> Result<Self, ParseStrictnessError> {
        Self::ALL
            .into_iter()
            .find(|strictness| strictness.as_str() == text)
            .ok_or_else(|| ParseStrictnessError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_reads_back() {
        for strictness in Strictness::ALL {
            assert_eq!(strictness.to_string().parse(), Ok(strictness));
        }
        assert!("Strict".parse::<Strictness>().is_err());
    }
}
