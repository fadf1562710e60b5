//! The registry's cipher over the keys.

use super::{
    KeyProvider, OpenError, SealError,
    envelope::{self, Purpose},
};
use async_trait::async_trait;
use handoff_store::{Cipher, CipherError, Place, Sealed};
use std::{fmt, sync::Arc};

/// Seals the registry's values with the active key, each for its place, and opens each with the key that it names.
#[derive(Clone)]
pub struct RegistryCipher {
    keys: Arc<dyn KeyProvider>,
}

impl RegistryCipher {
    /// Over these keys.
    pub fn new(keys: Arc<dyn KeyProvider>) -> Self {
        Self { keys }
    }
}

#[async_trait]
impl Cipher for RegistryCipher {
    async fn active_key(&self) -> Result<String, CipherError> {
        let key = self.keys.active().await.map_err(|error| CipherError::Unavailable(error.0))?;
        Ok(key.id().to_owned())
    }

    async fn seal(&self, place: &Place<'_>, clear: &str) -> Result<Sealed, CipherError> {
        let key = self.keys.active().await.map_err(|error| CipherError::Unavailable(error.0))?;
        let bytes = envelope::seal(&key, Purpose::Value(&place.to_bytes()), clear.as_bytes().to_vec());
        Ok(Sealed { key: key.id().to_owned(), bytes: bytes.map_err(not_sealed)? })
    }

    async fn open(&self, place: &Place<'_>, mut sealed: Sealed) -> Result<String, CipherError> {
        let key = envelope::find(&*self.keys, &sealed.key).await.map_err(not_opened)?;
        let opened = envelope::open(&key, Purpose::Value(&place.to_bytes()), &mut sealed.bytes).map_err(not_opened)?;
        String::from_utf8(opened.into_owned())
            .map_err(|_| CipherError::Format { key: sealed.key, reason: "its content is no text" })
    }
}

fn not_sealed(error: SealError) -> CipherError {
    match error {
        SealError::Unavailable(error) => CipherError::Unavailable(error.0),
        SealError::Cipher { key } => CipherError::Refused { key },
    }
}

fn not_opened(error: OpenError) -> CipherError {
    match error {
        OpenError::Unavailable(error) => CipherError::Unavailable(error.0),
        OpenError::UnknownKey { key } => CipherError::MissingKey { key },
        OpenError::NotAuthentic { key } => CipherError::NotAuthentic { key },
        OpenError::Format { key, reason } => CipherError::Format { key, reason },
    }
}

impl fmt::Debug for RegistryCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryCipher").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Key, KeyRing};
    use secrecy::ExposeSecret;

    const PLACE: Place<'_> = Place { scope: "acct", task_id: "t", column: "result_json", entry: "" };

    fn text(id: &str) -> String {
        Key::generate(id).unwrap().expose_secret().to_owned()
    }

    fn cipher(ring: &str) -> RegistryCipher {
        RegistryCipher::new(Arc::new(KeyRing::parse(ring).unwrap()))
    }

    #[tokio::test]
    async fn a_value_opens_where_it_was_sealed_and_nowhere_else() {
        let cipher = cipher(&text("k"));
        let sealed = cipher.seal(&PLACE, "the secret").await.unwrap();
        assert_eq!(sealed.key, "k");
        assert!(!sealed.bytes.windows(6).any(|bytes| bytes == b"secret"));
        assert_eq!(cipher.open(&PLACE, sealed.clone()).await.unwrap(), "the secret");
        for elsewhere in [
            Place { scope: "other", ..PLACE },
            Place { task_id: "u", ..PLACE },
            Place { column: "reason", ..PLACE },
            Place { entry: "e", ..PLACE },
        ] {
            let error = cipher.open(&elsewhere, sealed.clone()).await.unwrap_err();
            assert_eq!(error, CipherError::NotAuthentic { key: "k".into() }, "{elsewhere:?}");
        }
    }

    #[tokio::test]
    async fn a_rotated_ring_opens_old_values_and_a_missing_key_is_named() {
        let (old, new) = (text("old"), text("new"));
        let before = cipher(&old).seal(&PLACE, "1").await.unwrap();
        let rotated = cipher(&format!("{new},{old}"));
        assert_eq!(rotated.open(&PLACE, before.clone()).await.unwrap(), "1");
        assert_eq!(rotated.seal(&PLACE, "2").await.unwrap().key, "new");
        assert_eq!(rotated.active_key().await.unwrap(), "new");
        let error = cipher(&new).open(&PLACE, before.clone()).await.unwrap_err();
        assert_eq!(error, CipherError::MissingKey { key: "old".into() });
        assert!(error.to_string().contains("HANDOFF_ENCRYPTION_KEYS") && !error.is_transient());
        let other = cipher(&text("old")).open(&PLACE, before).await.unwrap_err();
        assert_eq!(other, CipherError::NotAuthentic { key: "old".into() });
    }

    #[tokio::test]
    async fn large_values_are_compressed() {
        let cipher = cipher(&text("k"));
        let large = "x".repeat(1_000_000);
        let sealed = cipher.seal(&PLACE, &large).await.unwrap();
        assert!(sealed.bytes.len() < 1_000, "{}", sealed.bytes.len());
        assert_eq!(cipher.open(&PLACE, sealed).await.unwrap(), large);
    }
}
