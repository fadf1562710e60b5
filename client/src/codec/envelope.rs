//! Bytes, sealed and opened: what payloads and the registry's values have in common.
//!
//! Sealed bytes are the format's version (one byte), the nonce (12 bytes), and what AES-256-GCM makes of a flag (one byte:
//! compressed or not) and the content. What they are, the version, the key's id and what else they belong to are
//! authenticated with it.

use super::{Key, KeyProvider, KeyUnavailable};
use ring::{
    aead::{Aad, NONCE_LEN, Nonce},
    rand::{SecureRandom, SystemRandom},
};
use std::{borrow::Cow, sync::Arc};

const VERSION: u8 = 1;
const PLAIN: u8 = 0;
const ZSTD: u8 = 1;

// Below that the saving is not worth the time.
const COMPRESS_FROM: usize = 4096;
const LEVEL: i32 = 3;
// Several times what Temporal lets through in one message, so that only a bomb is larger.
pub(super) const MAX_OPENED_BYTES: usize = 16 << 20;

/// What sealed bytes are for. Those for one purpose open for no other.
#[derive(Clone, Copy)]
pub(super) enum Purpose<'a> {
    /// Temporal's payloads.
    Payload,
    /// A value in the registry, at this place.
    Value(&'a [u8]),
}

impl Purpose<'_> {
    fn authenticated(self, key_id: &str, version: u8) -> Aad<Vec<u8>> {
        let version = [version];
        Aad::from(match self {
            Self::Payload => [b"handoff-payload", &version[..], key_id.as_bytes()].concat(),
            Self::Value(place) => {
                let length = (key_id.len() as u64).to_be_bytes();
                [b"handoff-registry", &version[..], &length, key_id.as_bytes(), place].concat()
            }
        })
    }
}

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
        "a payload or value is encrypted with key {key:?}, which is not in the key ring; nothing is lost: add the key to HANDOFF_ENCRYPTION_KEYS or HANDOFF_ENCRYPTION_KEYS_FILE of this process"
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

/// The key with this id.
pub(super) async fn find(keys: &dyn KeyProvider, id: &str) -> Result<Arc<Key>, OpenError> {
    if id.is_empty() {
        return Err(OpenError::Format { key: String::new(), reason: "it names no key" });
    }
    keys.find(id).await?.ok_or_else(|| OpenError::UnknownKey { key: id.to_owned() })
}

/// Encrypts bytes, compressed where that helps.
pub(super) fn seal(key: &Key, purpose: Purpose<'_>, content: Vec<u8>) -> Result<Vec<u8>, SealError> {
    let refused = || SealError::Cipher { key: key.id().to_owned() };
    let mut sealed = vec![0; 1 + NONCE_LEN];
    sealed[0] = VERSION;
    SystemRandom::new().fill(&mut sealed[1..]).map_err(|_| refused())?;
    let nonce = Nonce::try_assume_unique_for_key(&sealed[1..]).map_err(|_| refused())?;
    let mut content = pack(content);
    let authenticated = purpose.authenticated(key.id(), VERSION);
    key.cipher.seal_in_place_append_tag(nonce, authenticated, &mut content).map_err(|_| refused())?;
    sealed.append(&mut content);
    Ok(sealed)
}

/// Decrypts bytes that name this key.
pub(super) fn open<'a>(key: &Key, purpose: Purpose<'_>, sealed: &'a mut [u8]) -> Result<Cow<'a, [u8]>, OpenError> {
    let format = |reason| OpenError::Format { key: key.id().to_owned(), reason };
    let (head, content) = sealed.split_at_mut_checked(1 + NONCE_LEN).ok_or(format("it is cut short"))?;
    if head[0] != VERSION {
        return Err(format("its format is newer than this build"));
    }
    let not_authentic = |_| OpenError::NotAuthentic { key: key.id().to_owned() };
    let nonce = Nonce::try_assume_unique_for_key(&head[1..]).map_err(not_authentic)?;
    let authenticated = purpose.authenticated(key.id(), VERSION);
    let opened = key.cipher.open_in_place(nonce, authenticated, content).map_err(not_authentic)?;
    // From here on it is what a holder of the key wrote.
    unpack(opened).map_err(format)
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
    fn what_is_sealed_for_one_purpose_opens_for_no_other() {
        let key = Key::new("k", &[1; 32]).unwrap();
        let purposes = [Purpose::Payload, Purpose::Value(b"here"), Purpose::Value(b"there")];
        for (index, purpose) in purposes.into_iter().enumerate() {
            let sealed = seal(&key, purpose, b"secret".to_vec()).unwrap();
            for (other, at) in purposes.into_iter().enumerate() {
                let mut sealed = sealed.clone();
                let opened = open(&key, at, &mut sealed);
                assert_eq!(opened.is_ok(), index == other, "{index} {other}");
            }
        }
    }
}
