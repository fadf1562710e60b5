//! API keys of buyers' agents, stored hashed: one line an agent and key, `PRINCIPAL hmac-sha256:HEX`.
//!
//! A key is random and long, so one round of a hash is enough; the agent's name is the hash's key, so that equal API keys don't
//! look equal. An agent may have several, which is how they are changed without a gap.

use crate::codec::create_private;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::{
    hmac,
    rand::{SecureRandom, SystemRandom},
};
use secrecy::{ExposeSecret, SecretString};
use std::{fmt, fmt::Write, path::Path};
use zeroize::Zeroizing;

/// The shortest API key that is accepted, in bytes.
pub const MIN_API_KEY_BYTES: usize = 16;

const ALGORITHM: &str = "hmac-sha256:";
const PURPOSE: &str = "handoff api key, of ";

/// The agents that may call, each known by the hash of its key.
#[derive(Clone, Default)]
pub struct ApiKeys(Vec<Entry>);

#[derive(Clone)]
struct Entry {
    principal: String,
    tag: Vec<u8>,
}

/// Why keys can't be used; holds no key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiKeyError {
    /// The file can't be read.
    #[error("the API keys in {path} can't be read: {source}")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A line is none.
    #[error("line {0} of the API keys is not \"PRINCIPAL hmac-sha256:HEX\"; `handoff api-key hash` makes one")]
    Line(usize),
    /// A key that can be guessed.
    #[error("an API key must have at least {MIN_API_KEY_BYTES} bytes")]
    TooShort,
    /// The agent's name has blanks, or is empty.
    #[error("a principal is a name without blanks")]
    Principal,
    /// The system has no random bytes.
    #[error("the system gives no random bytes")]
    NoRandomness,
}

impl ApiKeys {
    /// Reads a file of lines. Empty ones, and those that begin with `#`, are skipped.
    pub fn read(path: &Path) -> Result<Self, ApiKeyError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ApiKeyError::File { path: path.display().to_string(), source })?;
        Self::parse(&text)
    }

    /// Reads lines.
    pub fn parse(text: &str) -> Result<Self, ApiKeyError> {
        let lines = text.lines().zip(1..).map(|(line, number)| (line.trim(), number));
        let lines = lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
        lines.map(|(line, number)| read_line(line).ok_or(ApiKeyError::Line(number))).collect::<Result<_, _>>().map(Self)
    }

    /// Lets one more agent in.
    pub fn add(&mut self, principal: &str, key: &SecretString) -> Result<(), ApiKeyError> {
        self.0.extend(read_line(&hash_line(principal, key)?));
        Ok(())
    }

    /// Lets others' agents in, too.
    pub fn extend(&mut self, others: Option<&Self>) {
        self.0.extend(others.into_iter().flat_map(|others| others.0.iter().cloned()));
    }

    /// Whose key this is. Every entry is looked at, each in constant time.
    pub fn principal_of(&self, key: &str) -> Option<&str> {
        self.0.iter().fold(None, |found, entry| {
            let own = hmac::verify(&hash_key(&entry.principal), key.as_bytes(), &entry.tag).is_ok();
            if own { Some(entry.principal.as_str()) } else { found }
        })
    }

    /// Is nobody let in?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|entry| &entry.principal)).finish()
    }
}

/// A fresh key.
pub fn generate_api_key() -> Result<SecretString, ApiKeyError> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| ApiKeyError::NoRandomness)?;
    Ok(format!("hk_{}", BASE64_URL_SAFE_NO_PAD.encode(bytes)).into())
}

/// The key in this file, which is made with a fresh one if it is not there; only its owner may read it. Of two processes at once
/// one makes it, and both use it. For development environments.
pub fn api_key_file_or_new(path: &Path) -> Result<SecretString, ApiKeyError> {
    let failed = |source| ApiKeyError::File { path: path.display().to_string(), source };
    if !path.exists() {
        let line = Zeroizing::new(format!("{}\n", generate_api_key()?.expose_secret()));
        create_private(path, &line).map_err(failed)?;
    }
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(failed)?);
    Ok(SecretString::from(text.trim()))
}

/// The line by which this agent's key is known.
pub fn hash_line(principal: &str, key: &SecretString) -> Result<String, ApiKeyError> {
    if principal.is_empty() || principal.contains(char::is_whitespace) || principal.starts_with('#') {
        return Err(ApiKeyError::Principal);
    }
    let key = key.expose_secret();
    if key.len() < MIN_API_KEY_BYTES {
        return Err(ApiKeyError::TooShort);
    }
    let tag = hmac::sign(&hash_key(principal), key.as_bytes());
    let mut line = format!("{principal} {ALGORITHM}");
    for byte in tag.as_ref() {
        let _ = write!(line, "{byte:02x}");
    }
    Ok(line)
}

fn hash_key(principal: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, format!("{PURPOSE}{principal}").as_bytes())
}

fn read_line(line: &str) -> Option<Entry> {
    let (principal, hash) = line.split_once(char::is_whitespace)?;
    let hex = hash.trim().strip_prefix(ALGORITHM)?;
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    let digits = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).ok());
    Some(Entry { principal: principal.to_owned(), tag: digits.collect::<Option<_>>()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_by_their_hash_alone() {
        let (one, two) = (generate_api_key().unwrap(), generate_api_key().unwrap());
        let text = format!(
            "# agents\n\n{}\n  {}\n{}\n",
            hash_line("agent.a", &one).unwrap(),
            hash_line("agent.a", &two).unwrap(),
            hash_line("agent.b", &"another-long-key-of-b".into()).unwrap(),
        );
        assert!(!text.contains(one.expose_secret()));
        let keys = ApiKeys::parse(&text).unwrap();
        assert_eq!(keys.principal_of(one.expose_secret()), Some("agent.a"));
        assert_eq!(keys.principal_of(two.expose_secret()), Some("agent.a"));
        assert_eq!(keys.principal_of("another-long-key-of-b"), Some("agent.b"));
        for wrong in ["", "another-long-key-of-", "another-long-key-of-b "] {
            assert_eq!(keys.principal_of(wrong), None);
        }
        assert_eq!(format!("{keys:?}"), r#"["agent.a", "agent.a", "agent.b"]"#);
    }

    #[test]
    fn a_file_keeps_its_key_for_its_owner() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sub/api-key");
        let made = api_key_file_or_new(&path).unwrap();
        assert_eq!(api_key_file_or_new(&path).unwrap().expose_secret(), made.expose_secret());
        assert!(ApiKeys::default().add("agent.a", &made).is_ok());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let unreadable = api_key_file_or_new(folder.path()).unwrap_err().to_string();
        assert!(unreadable.contains(&folder.path().display().to_string()), "{unreadable}");
    }

    #[test]
    fn what_is_no_line_is_named_without_being_shown() {
        for line in ["agent", "agent s3cret", "agent hmac-sha256:00", &format!("agent hmac-sha256:{}", "zz".repeat(32))]
        {
            let error = ApiKeys::parse(&format!("\n{line}")).unwrap_err().to_string();
            assert!(error.contains("line 2") && !error.contains("s3cret"), "{error}");
        }
        assert!(matches!(hash_line("a b", &"0123456789abcdef".into()), Err(ApiKeyError::Principal)));
        assert!(matches!(hash_line("a", &"0123456789abcde".into()), Err(ApiKeyError::TooShort)));
    }
}
