//! Keys: what they are, and where they come from.

use async_trait::async_trait;
use base64::{Engine, alphabet, engine};
use ring::{
    aead::{AES_256_GCM, LessSafeKey, UnboundKey},
    rand::{SecureRandom, SystemRandom},
};
use secrecy::{ExposeSecret, SecretString};
use std::{fmt, path::PathBuf, sync::Arc};
use zeroize::Zeroizing;

const KEY_BYTES: usize = 32;
const MAX_ID_BYTES: usize = 64;

// Tools differ in whether they pad.
const BASE64: engine::GeneralPurpose = engine::GeneralPurpose::new(
    &alphabet::STANDARD,
    engine::GeneralPurposeConfig::new().with_decode_padding_mode(engine::DecodePaddingMode::Indifferent),
);

/// A key of 256 bits, and the id under which payloads name it.
pub struct Key {
    id: String,
    pub(super) cipher: LessSafeKey,
}

impl Key {
    /// From bytes, which the caller should wipe afterwards.
    pub fn new(id: impl Into<String>, bytes: &[u8]) -> Result<Self, KeyError> {
        let id = id.into();
        let legible = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if id.is_empty() || id.len() > MAX_ID_BYTES || !id.chars().all(legible) {
            return Err(KeyError::Id);
        }
        match UnboundKey::new(&AES_256_GCM, bytes) {
            Ok(key) => Ok(Self { id, cipher: LessSafeKey::new(key) }),
            Err(_) => Err(KeyError::Length { id, bytes: bytes.len() }),
        }
    }

    /// A fresh key as text, `id:base64`. Treat it as what it is.
    pub fn generate(id: &str) -> Result<SecretString, KeyError> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        SystemRandom::new().fill(bytes.as_mut()).map_err(|_| KeyError::NoRandomness)?;
        Self::new(id, bytes.as_ref())?;
        let mut text = Zeroizing::new(format!("{id}:"));
        BASE64.encode_string(bytes.as_ref(), &mut text);
        Ok(SecretString::from(text.as_str()))
    }

    /// Its id, which is no secret.
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Where the codec gets its keys while it works. Implement it for a key service (KMS), and cache: it is asked for
/// every batch of payloads.
#[async_trait]
pub trait KeyProvider: Send + Sync + 'static {
    /// The key that encrypts from now on.
    async fn active(&self) -> Result<Arc<Key>, KeyUnavailable>;

    /// The key with this id; `None` if there is none.
    async fn find(&self, id: &str) -> Result<Option<Arc<Key>>, KeyUnavailable>;
}

/// A key service can't be asked. Its message is shown and stored: no key material in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the keys can't be reached: {0}")]
pub struct KeyUnavailable(pub String);

/// Keys that are known in full: the first encrypts, all decrypt.
#[derive(Clone, Debug)]
pub struct KeyRing {
    keys: Vec<Arc<Key>>,
}

impl KeyRing {
    /// From `id:base64` entries, separated by commas or line ends; empty lines and lines that begin with `#` are skipped.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let entries = text.lines().filter(|line| !line.trim_start().starts_with('#')).flat_map(|line| line.split(','));
        let mut keys: Vec<Arc<Key>> = vec![];
        for (number, entry) in entries.map(str::trim).filter(|entry| !entry.is_empty()).enumerate() {
            // What can't be read is not quoted: it may well be a key.
            let unreadable = || KeyError::Malformed { number: number + 1 };
            let (id, text) = entry.split_once(':').ok_or_else(unreadable)?;
            let bytes = Zeroizing::new(BASE64.decode(text.trim()).map_err(|_| unreadable())?);
            let key = Key::new(id.trim(), &bytes)?;
            if keys.iter().any(|other| other.id == key.id) {
                return Err(KeyError::Duplicate { id: key.id });
            }
            keys.push(Arc::new(key));
        }
        if keys.is_empty() { Err(KeyError::Empty) } else { Ok(Self { keys }) }
    }

    /// The ids, the active key's first.
    pub fn ids(&self) -> Vec<&str> {
        self.keys.iter().map(|key| key.id()).collect()
    }
}

#[async_trait]
impl KeyProvider for KeyRing {
    async fn active(&self) -> Result<Arc<Key>, KeyUnavailable> {
        self.keys.first().cloned().ok_or_else(|| KeyUnavailable("the ring is empty".into()))
    }

    async fn find(&self, id: &str) -> Result<Option<Arc<Key>>, KeyUnavailable> {
        Ok(self.keys.iter().find(|key| key.id == id).cloned())
    }
}

/// Where the keys come from, as configured.
#[derive(Clone, Default)]
pub enum KeySource {
    /// There are none: payloads are stored in clear.
    #[default]
    None,
    /// The text of a [`KeyRing`].
    Text(SecretString),
    /// A file with that text.
    File(PathBuf),
    /// A key service, set up by code.
    Provider(Arc<dyn KeyProvider>),
    /// Two of them at once, which is refused when they are loaded.
    Ambiguous,
}

impl KeySource {
    /// From what was configured: text, a file, or neither.
    pub(crate) fn from_settings(text: Option<SecretString>, file: Option<PathBuf>) -> Self {
        // An empty variable is how some deployments unset one.
        let text = text.filter(|text| !text.expose_secret().trim().is_empty());
        match (text, file.filter(|file| !file.as_os_str().is_empty())) {
            (None, None) => Self::None,
            (Some(text), None) => Self::Text(text),
            (None, Some(file)) => Self::File(file),
            (Some(_), Some(_)) => Self::Ambiguous,
        }
    }

    /// The keys, if there are any.
    pub fn load(&self) -> Result<Option<Arc<dyn KeyProvider>>, KeyError> {
        let ring = match self {
            Self::None => return Ok(None),
            Self::Provider(provider) => return Ok(Some(provider.clone())),
            Self::Ambiguous => return Err(KeyError::Ambiguous),
            Self::Text(text) => KeyRing::parse(text.expose_secret())?,
            Self::File(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| KeyError::File { path: path.clone(), reason: error.to_string() })?;
                KeyRing::parse(&Zeroizing::new(text))?
            }
        };
        Ok(Some(Arc::new(ring)))
    }

    /// Is anything configured at all?
    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Text(_) => "Text(***)",
            Self::File(path) => return write!(f, "File({})", path.display()),
            Self::Provider(_) => "Provider",
            Self::Ambiguous => "Ambiguous",
        })
    }
}

/// Why keys can't be used. Names ids, never key material.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// No keys where there should be some.
    #[error("the key ring is empty: write id:base64 with 32 bytes in base64, the active key first")]
    Empty,
    /// An entry is not `id:base64`.
    #[error("entry {number} of the key ring is not id:base64")]
    Malformed {
        /// Which, from 1.
        number: usize,
    },
    /// An id that can't be one.
    #[error("a key's id must have 1 to 64 letters, digits, dots, dashes or underscores")]
    Id,
    /// A key of another length.
    #[error("key {id:?} has {bytes} bytes, but must have 32")]
    Length {
        /// Its id.
        id: String,
        /// Its length.
        bytes: usize,
    },
    /// Two keys with one id.
    #[error("key {id:?} is there twice")]
    Duplicate {
        /// The id.
        id: String,
    },
    /// The file can't be read.
    #[error("the key file {} can't be read: {reason}", path.display())]
    File {
        /// Where it should be.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// Keys from two places.
    #[error("set HANDOFF_ENCRYPTION_KEYS or HANDOFF_ENCRYPTION_KEYS_FILE, not both")]
    Ambiguous,
    /// The system has no random bytes.
    #[error("the system gives no random bytes")]
    NoRandomness,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(id: &str) -> String {
        Key::generate(id).unwrap().expose_secret().to_owned()
    }

    #[tokio::test]
    async fn the_first_key_of_a_ring_is_active_and_all_are_found() {
        let ring = KeyRing::parse(&format!("# the ring\n{},{}\n\n{}\n", text("c"), text("b"), text("a"))).unwrap();
        assert_eq!(ring.ids(), ["c", "b", "a"]);
        assert_eq!(ring.active().await.unwrap().id(), "c");
        assert!(ring.find("a").await.unwrap().is_some() && ring.find("x").await.unwrap().is_none());
    }

    #[test]
    fn base64_may_come_without_its_padding() {
        assert!(KeyRing::parse(text("k").trim_end_matches('=')).is_ok());
    }

    #[test]
    fn what_is_no_ring_is_refused_without_being_quoted() {
        let good = text("k");
        let secret = good.split_once(':').unwrap().1.to_owned();
        let length = |bytes| KeyError::Length { id: "k".into(), bytes };
        for (bad, error) in [
            (String::new(), KeyError::Empty),
            (" , \n# nothing\n".into(), KeyError::Empty),
            (secret.clone(), KeyError::Malformed { number: 1 }),
            (format!("{good},k2:{secret}!"), KeyError::Malformed { number: 2 }),
            (format!(":{secret}"), KeyError::Id),
            (format!("a b:{secret}"), KeyError::Id),
            (format!("{}:{secret}", "i".repeat(65)), KeyError::Id),
            ("k:c2hvcnQ=".into(), length(5)),
            (format!("k:{}", BASE64.encode([1; 33])), length(33)),
            (format!("{good},{}", text("k")), KeyError::Duplicate { id: "k".into() }),
        ] {
            let refused = KeyRing::parse(&bad).unwrap_err();
            assert_eq!(refused, error);
            assert!(!format!("{refused} {refused:?}").contains(&secret));
        }
    }

    #[test]
    fn debug_shows_ids_alone() {
        let good = text("k1");
        let secret = good.split_once(':').unwrap().1.to_owned();
        let source = KeySource::Text(good.clone().into());
        let shown = format!("{source:?} {:?}", KeyRing::parse(&good).unwrap());
        assert!(shown.contains("k1") && !shown.contains(&secret), "{shown}");
    }

    #[test]
    fn keys_come_from_one_place() {
        let text = Some(SecretString::from(text("k")));
        let file = Some(PathBuf::from("/none/such"));
        let error = |text, file| KeySource::from_settings(text, file).load().map(|_| ()).unwrap_err();
        assert_eq!(error(text.clone(), file.clone()), KeyError::Ambiguous);
        assert!(error(None, file).to_string().contains("/none/such"));
        assert!(KeySource::from_settings(Some(" ".into()), Some("".into())).is_none());
        assert!(KeySource::from_settings(text, None).load().unwrap().is_some());
    }
}
