//! One payload, sealed and opened.
//!
//! A sealed payload has the metadata `encoding: binary/encrypted` and `encryption-key-id`, as in Temporal's own samples, and as
//! data the whole payload, its metadata included, as [`super::envelope`] seals it.

use super::{
    Key,
    envelope::{self, OpenError, Purpose, SealError},
};
use prost::Message;
use std::borrow::Cow;
use temporalio_common::protos::temporal::api::common::v1::Payload;

pub(super) const ENCODING: &str = "encoding";
pub(super) const ENCRYPTED: &[u8] = b"binary/encrypted";
const KEY_ID: &str = "encryption-key-id";

pub(crate) fn is_sealed(payload: &Payload) -> bool {
    payload.metadata.get(ENCODING).is_some_and(|encoding| encoding == ENCRYPTED)
}

/// The id of the key that a sealed payload names. It comes from outside: it is shown, so it is bounded and printable.
pub(crate) fn key_id(payload: &Payload) -> Cow<'_, str> {
    let id = payload.metadata.get(KEY_ID).map_or(&[][..], Vec::as_slice);
    String::from_utf8_lossy(&id[..id.len().min(64)])
}

/// Encrypts a whole payload.
pub(super) fn seal(key: &Key, payload: &Payload) -> Result<Payload, SealError> {
    let data = envelope::seal(key, Purpose::Payload, payload.encode_to_vec())?;
    let metadata = [(ENCODING.to_owned(), ENCRYPTED.to_vec()), (KEY_ID.to_owned(), key.id().as_bytes().to_vec())];
    Ok(Payload { metadata: metadata.into(), data, ..Default::default() })
}

/// Decrypts a payload that names this key.
pub(super) fn open(key: &Key, mut payload: Payload) -> Result<Payload, OpenError> {
    let bytes = envelope::open(key, Purpose::Payload, &mut payload.data)?;
    Payload::decode(bytes.as_ref())
        .map_err(|_| OpenError::Format { key: key.id().to_owned(), reason: "its content is no payload" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::rand::{SecureRandom, SystemRandom};

    fn key(id: &str, byte: u8) -> Key {
        Key::new(id, &[byte; 32]).unwrap()
    }

    fn payload(data: impl Into<Vec<u8>>) -> Payload {
        let metadata = [(ENCODING.to_owned(), b"json/plain".to_vec())].into();
        Payload { metadata, data: data.into(), ..Default::default() }
    }

    #[test]
    fn what_is_sealed_opens_and_hides_everything_but_the_key_id() {
        let (key, original) = (key("k1", 1), payload("the secret"));
        let sealed = seal(&key, &original).unwrap();
        assert!(is_sealed(&sealed) && key_id(&sealed) == "k1");
        let written = sealed.encode_to_vec();
        assert!(!written.windows(6).any(|bytes| bytes == b"secret" || bytes == b"json/p"));
        assert_ne!(seal(&key, &original).unwrap().data, sealed.data, "each time under another nonce");
        assert_eq!(open(&key, sealed).unwrap(), original);
    }

    #[test]
    fn large_payloads_are_compressed_if_it_helps() {
        let key = key("k", 1);
        let large = payload(vec![b'x'; 1_000_000]);
        let sealed = seal(&key, &large).unwrap();
        assert!(sealed.data.len() < 1_000, "{}", sealed.data.len());
        assert_eq!(open(&key, sealed).unwrap(), large);
        let mut noise = vec![0; 100_000];
        SystemRandom::new().fill(&mut noise).unwrap();
        let noise = payload(noise);
        let sealed = seal(&key, &noise).unwrap();
        assert!(sealed.data.len() < 100_100, "{}", sealed.data.len());
        assert_eq!(open(&key, sealed).unwrap(), noise);
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_noticed() {
        let key = key("k", 1);
        let sealed = seal(&key, &payload("secret")).unwrap();
        for at in 0..sealed.data.len() {
            let mut changed = sealed.clone();
            changed.data[at] ^= 1;
            let error = open(&key, changed).unwrap_err();
            assert!(error.to_string().contains("\"k\""), "{error}");
            let mut cut = sealed.clone();
            cut.data.truncate(at);
            open(&key, cut).unwrap_err();
        }
    }

    #[test]
    fn another_key_and_another_id_do_not_open_it() {
        let sealed = seal(&key("k", 1), &payload("secret")).unwrap();
        assert_eq!(open(&key("k", 2), sealed.clone()), Err(OpenError::NotAuthentic { key: "k".into() }));
        assert_eq!(open(&key("l", 1), sealed), Err(OpenError::NotAuthentic { key: "l".into() }));
    }
}
