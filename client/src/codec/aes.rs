//! Temporal's payload codec over the keys.

use super::{
    KeyProvider, OpenError, SealError, envelope,
    payload::{is_sealed, key_id, open, seal},
};
use futures::future::{BoxFuture, FutureExt};
use std::{fmt, sync::Arc};
use temporalio_common::{
    data_converters::{PayloadCodec, PayloadConversionError, SerializationContextData},
    protos::temporal::api::common::v1::Payload,
};

/// Encrypts every payload with the active key, and decrypts each with the key that it names. Payloads in clear pass: a
/// person at a terminal types them so.
#[derive(Clone)]
pub struct EncryptingCodec {
    keys: Arc<dyn KeyProvider>,
}

impl EncryptingCodec {
    /// Over these keys.
    pub fn new(keys: Arc<dyn KeyProvider>) -> Self {
        Self { keys }
    }

    /// Encrypts each payload.
    pub async fn seal(&self, payloads: Vec<Payload>) -> Result<Vec<Payload>, SealError> {
        if payloads.is_empty() {
            return Ok(payloads);
        }
        let key = self.keys.active().await?;
        payloads.iter().map(|payload| seal(&key, payload)).collect()
    }

    /// Decrypts each payload that is encrypted, and leaves the others as they are.
    pub async fn open(&self, payloads: Vec<Payload>) -> Result<Vec<Payload>, OpenError> {
        let mut opened = Vec::with_capacity(payloads.len());
        for payload in payloads {
            opened.push(if is_sealed(&payload) { self.open_one(payload).await? } else { payload });
        }
        Ok(opened)
    }

    async fn open_one(&self, payload: Payload) -> Result<Payload, OpenError> {
        let key = envelope::find(&*self.keys, &key_id(&payload)).await?;
        open(&key, payload)
    }
}

impl PayloadCodec for EncryptingCodec {
    fn encode(
        &self,
        _: &SerializationContextData,
        payloads: Vec<Payload>,
    ) -> BoxFuture<'static, Result<Vec<Payload>, PayloadConversionError>> {
        let codec = self.clone();
        async move { codec.seal(payloads).await.map_err(|error| PayloadConversionError::EncodingError(error.into())) }
            .boxed()
    }

    fn decode(
        &self,
        _: &SerializationContextData,
        payloads: Vec<Payload>,
    ) -> BoxFuture<'static, Result<Vec<Payload>, PayloadConversionError>> {
        let codec = self.clone();
        async move { codec.open(payloads).await.map_err(|error| PayloadConversionError::EncodingError(error.into())) }
            .boxed()
    }
}

impl fmt::Debug for EncryptingCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptingCodec").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Key, KeyRing, KeyUnavailable};
    use secrecy::ExposeSecret;

    fn text(id: &str) -> String {
        Key::generate(id).unwrap().expose_secret().to_owned()
    }

    fn codec(ring: &str) -> EncryptingCodec {
        EncryptingCodec::new(Arc::new(KeyRing::parse(ring).unwrap()))
    }

    fn payload(text: &str) -> Payload {
        let metadata = [("encoding".to_owned(), b"json/plain".to_vec())].into();
        Payload { metadata, data: text.into(), ..Default::default() }
    }

    #[tokio::test]
    async fn after_a_rotation_old_payloads_open_and_new_ones_have_the_new_key() {
        let (old, new) = (text("old"), text("new"));
        let before = codec(&old).seal(vec![payload("1")]).await.unwrap();
        let rotated = codec(&format!("{new},{old}"));
        let after = rotated.seal(vec![payload("2")]).await.unwrap();
        assert_eq!((key_id(&before[0]), key_id(&after[0])), ("old".into(), "new".into()));
        let both = vec![before[0].clone(), payload("in clear"), after[0].clone()];
        let opened = rotated.open(both).await.unwrap();
        assert_eq!(opened, [payload("1"), payload("in clear"), payload("2")]);
        // A process that was not rotated yet says which key it needs, and reads what it can.
        assert_eq!(codec(&old).open(after).await, Err(OpenError::UnknownKey { key: "new".into() }));
        assert_eq!(codec(&old).open(before).await.unwrap(), [payload("1")]);
    }

    #[tokio::test]
    async fn errors_name_the_key_and_hold_no_secret() {
        let (ours, theirs) = (text("ours"), text("theirs"));
        let sealed = codec(&theirs).seal(vec![payload("the secret")]).await.unwrap();
        let decoding = codec(&ours).decode(&SerializationContextData::None, sealed);
        let error = decoding.await.unwrap_err().to_string();
        assert!(error.contains("\"theirs\"") && error.contains("HANDOFF_ENCRYPTION_KEYS"), "{error}");
        assert!(!error.contains("secret") && !error.contains(ours.split_once(':').unwrap().1), "{error}");
    }

    #[tokio::test]
    async fn what_only_claims_to_be_encrypted_is_an_error() {
        let mut nameless = payload("");
        nameless.metadata.insert("encoding".into(), b"binary/encrypted".to_vec());
        let error = codec(&text("k")).open(vec![nameless.clone()]).await.unwrap_err();
        assert!(matches!(error, OpenError::Format { .. }));
        nameless.metadata.insert("encryption-key-id".into(), vec![0xff; 10_000]);
        let error = codec(&text("k")).open(vec![nameless]).await.unwrap_err();
        assert!(error.to_string().len() < 1_000, "what is shown is bounded");
    }

    struct Away;

    #[async_trait::async_trait]
    impl KeyProvider for Away {
        async fn active(&self) -> Result<Arc<Key>, KeyUnavailable> {
            Err(KeyUnavailable("the service is away".into()))
        }

        async fn find(&self, _: &str) -> Result<Option<Arc<Key>>, KeyUnavailable> {
            Err(KeyUnavailable("the service is away".into()))
        }
    }

    #[tokio::test]
    async fn a_key_service_that_is_away_is_no_unknown_key_and_nothing_goes_out_in_clear() {
        let sealed = codec(&text("k")).seal(vec![payload("1")]).await.unwrap();
        let away = EncryptingCodec::new(Arc::new(Away));
        assert!(matches!(away.open(sealed).await, Err(OpenError::Unavailable(_))));
        assert!(away.seal(vec![payload("1")]).await.is_err());
    }
}
