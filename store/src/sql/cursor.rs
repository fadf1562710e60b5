//! Where a page begins. A cursor is opaque, and belongs to one viewer, filter and order.

use crate::RegistryError;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

// Longer than any that this registry gives: a name and a task id.
const MAX_BYTES: usize = 2_048;

/// The last task of a page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cursor {
    /// What the list was sorted by.
    #[serde(rename = "v")]
    pub(crate) value: Position,
    /// Decides between equal values.
    #[serde(rename = "t")]
    pub(crate) task_id: String,
    /// Fingerprint of the query.
    #[serde(rename = "q")]
    pub(crate) query: String,
}

/// A value of the column that a list is sorted by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Position {
    /// A time in microseconds since 1970.
    #[serde(rename = "i")]
    Time(i64),
    /// A name, and when the task was created: of one name, the order is that of creation.
    #[serde(rename = "n")]
    Name(String, i64),
}

impl Cursor {
    pub(crate) fn encode(&self) -> Result<String, RegistryError> {
        let json = serde_json::to_vec(self).map_err(|error| RegistryError::Corrupt(error.to_string()))?;
        Ok(URL_SAFE_NO_PAD.encode(json))
    }

    /// Reads a cursor of the query with this fingerprint.
    pub(crate) fn decode(text: &str, query: &str) -> Result<Self, RegistryError> {
        if text.len() > MAX_BYTES {
            return Err(RegistryError::InvalidCursor);
        }
        let json = URL_SAFE_NO_PAD.decode(text).map_err(|_| RegistryError::InvalidCursor)?;
        let cursor: Self = serde_json::from_slice(&json).map_err(|_| RegistryError::InvalidCursor)?;
        if cursor.query == query && !cursor.task_id.contains('\0') {
            Ok(cursor)
        } else {
            Err(RegistryError::InvalidCursor)
        }
    }
}

/// The fingerprint of a query, given as a canonical text.
pub(crate) fn fingerprint(query: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, query.as_bytes());
    URL_SAFE_NO_PAD.encode(&digest.as_ref()[..16])
}
