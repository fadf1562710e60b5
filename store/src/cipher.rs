//! What seals the registry's bodies, for those who have keys.

use async_trait::async_trait;
use std::fmt;

/// Seals and opens single values. The registry calls it inside its transactions, for each value: keys should be at hand.
#[async_trait]
pub trait Cipher: fmt::Debug + Send + Sync + 'static {
    /// The id of the key that seals from now on.
    async fn active_key(&self) -> Result<String, CipherError>;

    /// Seals a value with the active key, for this place only.
    async fn seal(&self, place: &Place<'_>, clear: &str) -> Result<Sealed, CipherError>;

    /// Opens a value that was sealed for this place.
    async fn open(&self, place: &Place<'_>, sealed: Sealed) -> Result<String, CipherError>;
}

/// Where a value stands. Sealed for one place, it opens in no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The task's account.
    pub scope: &'a str,
    /// The task.
    pub task_id: &'a str,
    /// The column, with its table where that is not `requests`.
    pub column: &'static str,
    /// The entry of the task's history; empty elsewhere.
    pub entry: &'a str,
}

impl Place<'_> {
    /// The same bytes for the same place, and others for every other: to be authenticated with the value.
    pub fn to_bytes(&self) -> Vec<u8> {
        let parts = [self.scope, self.task_id, self.column, self.entry];
        // Lengths keep neighbours apart.
        parts.iter().flat_map(|part| [&(part.len() as u64).to_be_bytes(), part.as_bytes()].concat()).collect()
    }
}

/// A sealed value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The id of its key, which is no secret: letters, digits, dots, dashes and underscores.
    pub key: String,
    /// Everything else.
    pub bytes: Vec<u8>,
}

/// Why a value can't be sealed or opened. Names the key's id, never key material or content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CipherError {
    /// The key service can't be asked; the same call may succeed later.
    #[error("the keys can't be reached: {0}")]
    Unavailable(String),
    /// This process does not have the key.
    #[error(
        "it is sealed with key {key:?}, which this process does not have; nothing is lost: add the key to HANDOFF_ENCRYPTION_KEYS or HANDOFF_ENCRYPTION_KEYS_FILE"
    )]
    MissingKey {
        /// The id that the value names.
        key: String,
    },
    /// The key does not fit.
    #[error(
        "it does not open with key {key:?}: it was altered or moved, or this process has another key under that id"
    )]
    NotAuthentic {
        /// The key's id.
        key: String,
    },
    /// It is not written as this build writes and reads.
    #[error("it is marked as sealed with key {key:?}, and can't be read: {reason}")]
    Format {
        /// The id that the value names; empty if none.
        key: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The system has no random bytes, or the value is too large.
    #[error("it can't be sealed with key {key:?}")]
    Refused {
        /// The key's id.
        key: String,
    },
}

impl CipherError {
    /// May the same call succeed later, in this process?
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_differ_have_different_bytes() {
        let place = |scope, task_id, column, entry| Place { scope, task_id, column, entry }.to_bytes();
        let all = [
            place("a", "bc", "reason", ""),
            place("ab", "c", "reason", ""),
            place("a", "bc", "result_json", ""),
            place("a", "bc", "reason", "submitted"),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(all[index + 1..].iter().all(|other| one != other), "{index}");
        }
    }
}
