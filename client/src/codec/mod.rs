//! Encryption of everything that Temporal and the registry store: requests, results, handler inputs, heartbeats, decisions,
//! errors, reasons.
//!
//! - [`KeyRing`], [`KeyProvider`], [`KeySource`]: the keys, from the environment, a file, or a key service.
//! - [`EncryptingCodec`]: Temporal's payload codec on top of them.
//! - [`RegistryCipher`]: what seals the registry's values, on top of the same.
//! - [`serve`]: the endpoint with which Temporal's UI and CLI show what is encrypted.
//!
//! Invariants:
//! - A payload is either encrypted whole, with the key's id outside, or was written in clear by somebody else, and is
//!   read as it is.
//! - What can't be opened is an error that names the key's id, never dropped: it may be a decision, and the key may come
//!   back.
//! - No message, log or `Debug` holds key material or what was encrypted.

mod aes;
mod envelope;
mod in_clear;
mod key_file;
mod keys;
mod payload;
mod registry;
mod serve;

pub use aes::EncryptingCodec;
pub use envelope::{OpenError, SealError};
pub(crate) use key_file::create_private;
pub use keys::{Key, KeyError, KeyProvider, KeyRing, KeySource, KeyUnavailable};
pub(crate) use payload::{is_sealed, key_id};
pub use registry::RegistryCipher;
pub use serve::{CodecServer, MIN_TOKEN_BYTES, ServeError, router, serve};

use in_clear::InClear;
use std::sync::Arc;
use temporalio_common::{
    data_converters::{DataConverter, DefaultFailureConverter, PayloadConverter, SerializationContextData},
    payload_visitor::decode_payloads,
    protos::temporal::api::failure::v1::Failure,
};

/// How everything that Temporal carries is written: the one converter of clients, workers and the replayer. Without
/// keys, in clear, and what is encrypted is an error like any other that a process lacks the key for.
pub fn data_converter(keys: Option<Arc<dyn KeyProvider>>) -> DataConverter {
    let converter = PayloadConverter::default();
    match keys {
        // With `true`, messages and stack traces of failures travel as payloads too.
        Some(keys) => DataConverter::new(converter, DefaultFailureConverter::new(true), EncryptingCodec::new(keys)),
        None => DataConverter::new(converter, DefaultFailureConverter::default(), InClear),
    }
}

/// What a failure says; with keys its message travels encrypted, beside it.
pub(crate) async fn failure_message(converter: &DataConverter, mut failure: Failure) -> String {
    let context = SerializationContextData::None;
    if let Err(error) = decode_payloads(&mut failure, converter.codec(), &context).await {
        return format!("{} ({error})", failure.message);
    }
    let in_clear = failure.message.clone();
    let read = converter.failure_converter().to_error(failure, converter.payload_converter(), &context);
    read.map_or(in_clear, |error| error.failure().message.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;
    use temporalio_common::{
        error::{ApplicationFailure, OutgoingActivityError, OutgoingError},
        payload_visitor::encode_payloads,
    };

    async fn written(converter: &DataConverter) -> Failure {
        let error = ApplicationFailure::builder("the secret").type_name("POLICY_VIOLATION".to_owned()).build();
        let context = SerializationContextData::None;
        let error = OutgoingError::Activity(OutgoingActivityError::Application(error.into()));
        let mut failure = converter.to_failure(&context, error);
        encode_payloads(&mut failure, converter.codec(), &context).await.unwrap();
        failure
    }

    #[tokio::test]
    async fn failures_are_encrypted_too_and_read_again() {
        let ring = || KeySource::Text(Key::generate("k").unwrap()).load().unwrap();
        let (ours, theirs) = (data_converter(ring()), data_converter(ring()));
        let failure = written(&ours).await;
        assert!(!failure.encode_to_vec().windows(6).any(|bytes| bytes == b"secret"), "{failure:?}");
        assert_eq!(failure_message(&ours, failure.clone()).await, "the secret");
        let unreadable = failure_message(&theirs, failure).await;
        assert!(unreadable.contains("\"k\""), "{unreadable}");
        let in_clear = data_converter(None);
        assert_eq!(failure_message(&in_clear, written(&in_clear).await).await, "the secret");
        let unreadable = failure_message(&in_clear, written(&ours).await).await;
        assert!(unreadable.contains("\"k\"") && !unreadable.contains("secret"), "{unreadable}");
    }
}
