//! Idempotency keys as they are stored: only ever compared, so a digest is enough.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use handoff_proto::v1::TaskRef;
use ring::digest::{Context, SHA256};

// Not allowed in a key of the protocol, so no digest is equal to a key that is stored in clear.
const PREFIX: &str = "$sha256$";

/// The digest of a key. Salted with its owner, which separates equal keys of two buyers; it hides what can't be guessed.
pub(crate) fn stored_key(task: &TaskRef, key: &str) -> String {
    let mut digest = Context::new(&SHA256);
    digest.update(b"handoff-idempotency-key");
    for part in [&task.scope, &task.principal, key] {
        // Lengths keep neighbours apart.
        digest.update(&(part.len() as u64).to_be_bytes());
        digest.update(part.as_bytes());
    }
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(digest.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_key_shows_nothing_and_belongs_to_its_owner() {
        let owner = |scope: &str, principal: &str| TaskRef {
            scope: scope.into(),
            principal: principal.into(),
            ..Default::default()
        };
        let stored = stored_key(&owner("a", "p"), "key-of-the-buyer");
        assert!(stored.starts_with(PREFIX) && !stored.contains("buyer") && stored.len() == 51, "{stored}");
        assert_eq!(stored, stored_key(&owner("a", "p"), "key-of-the-buyer"));
        assert_ne!(stored, stored_key(&owner("ap", ""), "key-of-the-buyer"));
        assert_ne!(stored, stored_key(&owner("a", "q"), "key-of-the-buyer"));
    }
}
