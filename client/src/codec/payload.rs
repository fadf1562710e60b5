//! One payload, sealed and opened.
//!
//! A sealed payload has the metadata `encoding: binary/encrypted` and `encryption-key-id`, as in Temporal's own samples,
//! and as data: the format's version (one byte), the nonce (12 bytes), and what AES-256-GCM makes of the flag (one byte:
//! compressed or not) and the whole payload, its metadata included. Version and key id are authenticated with it.

use super::{Key, KeyUnavailable};
use prost::Message;
use ring::{
    aead::{Aad, NONCE_LEN, Nonce},
    rand::{SecureRandom, SystemRandom},
};
use std::borrow::Cow;
use temporalio_common::protos::temporal::api::common::v1::Payload;

pub(super) const ENCODING: &str = "encoding";
pub(super) const ENCRYPTED: &[u8] = b"binary/encrypted";
const KEY_ID: &str = "encryption-key-id";

const VERSION: u8 = 1;
const PLAIN: u8 = 0;
const ZSTD: u8 = 1;

// Below that the saving is not worth the time.
const COMPRESS_FROM: usize = 4096;
const LEVEL: i32 = 3;
// Several times what Temporal lets through in one message, so that only a bomb is larger.
pub(super) const MAX_OPENED_BYTES: usize = 16 << 20;

/// Why a payload can't be encrypted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The key service can't be asked.
    #[error(transparent)]
    Unavailable(#[from] KeyUnavailable),
    /// The system has no random bytes, or the payload is larger than the cipher allows.
    #[error("the payload can't be encrypted with key {key:?}")]
    Cipher {
        /// The key's id.
        key: String,
    },
}

/// Why an encrypted payload can't be read. Names the key's id, never key material or content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The key service can't be asked.
    #[error(transparent)]
    Unavailable(#[from] KeyUnavailable),
    /// The ring has no such key.
    #[error(
        "a payload is encrypted with key {key:?}, which is not in the key ring; nothing is lost: add the key to HANDOFF_ENCRYPTION_KEYS or HANDOFF_ENCRYPTION_KEYS_FILE of this process"
    )]
    UnknownKey {
        /// The id that the payload names.
        key: String,
    },
    /// The key does not fit, or the payload was changed.
    #[error(
        "a payload does not open with key {key:?}: it was altered or cut, or this process has another key under that id"
    )]
    NotAuthentic {
        /// The key's id.
        key: String,
    },
    /// It is not written as this build writes and reads.
    #[error("a payload that is marked as encrypted with key {key:?} can't be read: {reason}")]
    Format {
        /// The id that the payload names; empty if none.
        key: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

pub(super) fn is_sealed(payload: &Payload) -> bool {
    payload.metadata.get(ENCODING).is_some_and(|encoding| encoding == ENCRYPTED)
}

/// The id of the key that a sealed payload names. It comes from outside: it is shown, so it is bounded and printable.
pub(super) fn key_id(payload: &Payload) -> Cow<'_, str> {
    let id = payload.metadata.get(KEY_ID).map_or(&[][..], Vec::as_slice);
    String::from_utf8_lossy(&id[..id.len().min(64)])
}

/// Encrypts a whole payload.
pub(super) fn seal(key: &Key, payload: &Payload) -> Result<Payload, SealError> {
    let refused = || SealError::Cipher { key: key.id().to_owned() };
    let mut data = vec![0; 1 + NONCE_LEN];
    data[0] = VERSION;
    SystemRandom::new().fill(&mut data[1..]).map_err(|_| refused())?;
    let nonce = Nonce::try_assume_unique_for_key(&data[1..]).map_err(|_| refused())?;
    let mut content = pack(payload.encode_to_vec());
    key.cipher.seal_in_place_append_tag(nonce, associated(key.id(), VERSION), &mut content).map_err(|_| refused())?;
    data.append(&mut content);
    let metadata = [(ENCODING.to_owned(), ENCRYPTED.to_vec()), (KEY_ID.to_owned(), key.id().as_bytes().to_vec())];
    Ok(Payload { metadata: metadata.into(), data, ..Default::default() })
}

/// Decrypts a payload that names this key.
pub(super) fn open(key: &Key, mut payload: Payload) -> Result<Payload, OpenError> {
    let format = |reason| OpenError::Format { key: key.id().to_owned(), reason };
    let (head, content) = payload.data.split_at_mut_checked(1 + NONCE_LEN).ok_or(format("it is cut short"))?;
    if head[0] != VERSION {
        return Err(format("its format is newer than this build"));
    }
    let not_authentic = |_| OpenError::NotAuthentic { key: key.id().to_owned() };
    let nonce = Nonce::try_assume_unique_for_key(&head[1..]).map_err(not_authentic)?;
    let opened = key.cipher.open_in_place(nonce, associated(key.id(), VERSION), content).map_err(not_authentic)?;
    // From here on it is what a holder of the key wrote.
    let bytes = unpack(opened).map_err(format)?;
    Payload::decode(bytes.as_ref()).map_err(|_| format("its content is no payload"))
}

fn associated(key_id: &str, version: u8) -> Aad<Vec<u8>> {
    Aad::from([b"handoff-payload", &[version][..], key_id.as_bytes()].concat())
}

fn pack(bytes: Vec<u8>) -> Vec<u8> {
    let flagged = |flag, bytes: &[u8]| [&[flag][..], bytes].concat();
    if bytes.len() >= COMPRESS_FROM {
        match zstd::bulk::compress(&bytes, LEVEL) {
            Ok(compressed) if compressed.len() < bytes.len() => return flagged(ZSTD, &compressed),
            _ => {}
        }
    }
    flagged(PLAIN, &bytes)
}

fn unpack(content: &[u8]) -> Result<Cow<'_, [u8]>, &'static str> {
    match content.split_first() {
        Some((&PLAIN, bytes)) => Ok(bytes.into()),
        Some((&ZSTD, bytes)) => zstd::bulk::decompress(bytes, MAX_OPENED_BYTES)
            .map(Cow::from)
            .map_err(|_| "it does not decompress, or to more than 16 MiB"),
        Some(_) => Err("its compression is unknown to this build"),
        None => Err("it is empty"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_decompression_bomb_is_refused() {
        let bomb = zstd::bulk::compress(&vec![0; MAX_OPENED_BYTES + 1], LEVEL).unwrap();
        assert!(bomb.len() < 10_000);
        assert!(unpack(&[&[ZSTD][..], &bomb].concat()).is_err());
        let largest = zstd::bulk::compress(&vec![0; MAX_OPENED_BYTES], LEVEL).unwrap();
        assert_eq!(unpack(&[&[ZSTD][..], &largest].concat()).unwrap().len(), MAX_OPENED_BYTES);
        assert!(unpack(&[7]).is_err() && unpack(&[]).is_err());
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
