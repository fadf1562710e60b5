//! Temporal's payload codec of a process without keys.

use super::{
    OpenError,
    payload::{is_sealed, key_id},
};
use futures::future::{BoxFuture, FutureExt, ready};
use temporalio_common::{
    data_converters::{PayloadCodec, PayloadConversionError, SerializationContextData},
    protos::temporal::api::common::v1::Payload,
};

/// Writes and reads in clear. What is encrypted is an error that names its key, as in a process that has other keys: taken for
/// a payload of some unknown kind, a reviewer's decision would be dropped, and a request would fail its run.
pub(super) struct InClear;

impl PayloadCodec for InClear {
    fn encode(
        &self,
        _: &SerializationContextData,
        payloads: Vec<Payload>,
    ) -> BoxFuture<'static, Result<Vec<Payload>, PayloadConversionError>> {
        ready(Ok(payloads)).boxed()
    }

    fn decode(
        &self,
        _: &SerializationContextData,
        payloads: Vec<Payload>,
    ) -> BoxFuture<'static, Result<Vec<Payload>, PayloadConversionError>> {
        let sealed = payloads.iter().find(|payload| is_sealed(payload));
        let missing = sealed.map(|payload| OpenError::UnknownKey { key: key_id(payload).into_owned() });
        ready(missing.map_or(Ok(payloads), |error| Err(PayloadConversionError::EncodingError(error.into())))).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{EncryptingCodec, Key, KeyRing};
    use secrecy::ExposeSecret;
    use std::sync::Arc;

    #[tokio::test]
    async fn what_is_in_clear_passes_and_what_is_encrypted_names_its_key() {
        let payload = |text: &str| {
            let metadata = [("encoding".to_owned(), b"binary/weird".to_vec())].into();
            Payload { metadata, data: text.into(), ..Default::default() }
        };
        let context = SerializationContextData::None;
        let clear = vec![payload("1"), Payload::default()];
        let written = InClear.encode(&context, clear.clone()).await.unwrap();
        assert_eq!(InClear.decode(&context, written).await.unwrap(), clear);
        let ring = KeyRing::parse(Key::generate("k").unwrap().expose_secret()).unwrap();
        let mut sealed = EncryptingCodec::new(Arc::new(ring)).seal(vec![payload("the secret")]).await.unwrap();
        sealed.insert(0, payload("1"));
        let error = InClear.decode(&context, sealed).await.unwrap_err().to_string();
        assert!(error.contains("\"k\"") && error.contains("HANDOFF_ENCRYPTION_KEYS"), "{error}");
    }
}
