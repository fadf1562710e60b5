//! Whose signatures are taken, from a file.

use handoff_proto::{tools, verbs};
use handoff_webhooks::{
    egress::Networks,
    keys::Jwk,
    signature::{ContentDigest, Profile},
};
use serde::Deserialize;
use std::path::{Path, PathBuf};

// The protocol's: as much as no signer needs who means it.
const NONCES_PER_KEY: u32 = 1_000_000;
const MAX_KEYID_BYTES: usize = 256;

/// How buyers' requests are signed, and whose signatures are taken: a TOML file with `[[counterparty]]` tables.
#[derive(Clone, Debug)]
pub struct RequestSigning {
    /// What signatures have to be.
    pub profile: Profile,
    /// The operations that nobody may ask for who has no other credential and does not sign.
    pub required_for: Vec<String>,
    /// Who may sign.
    pub counterparties: Vec<Counterparty>,
    /// Private addresses at which keys may be read; `None`: in development this machine's own, in production none.
    pub allowed: Option<Networks>,
    /// Certificates in PEM that are trusted beside the system's where keys are read.
    pub roots: Option<PathBuf>,
}

/// An agent that may sign.
#[derive(Clone, Debug)]
pub struct Counterparty {
    /// What it is called here.
    pub principal: String,
    /// Its keys.
    pub keys: KeySource,
    /// The ids of keys that are not taken any more.
    pub revoked: Vec<String>,
    /// How many nonces of one of its keys may be alive.
    pub nonces_per_key: u32,
}

/// Where keys are from.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// These, until the file is changed.
    Told(Vec<Jwk>),
    /// Read there, again and again: https, or, in development, this machine.
    Published(String),
}

/// Why a file can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SigningFileError {
    /// It can't be read.
    #[error("the file of request signing {path} can't be read: {source}")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is not as it should be.
    #[error("the file of request signing can't be used: {0}")]
    Content(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    profile: Release,
    content_digest: Option<Digest>,
    #[serde(default)]
    required_for: Vec<String>,
    #[serde(default = "nonces_per_key")]
    nonces_per_key: u32,
    allow: Option<String>,
    ca_file: Option<PathBuf>,
    #[serde(default)]
    counterparty: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    principal: String,
    jwks_uri: Option<String>,
    keys: Option<Vec<Jwk>>,
    #[serde(default)]
    revoked: Vec<String>,
    nonces_per_key: Option<u32>,
}

#[derive(Clone, Copy, Default, PartialEq, Deserialize)]
enum Release {
    #[default]
    #[serde(rename = "3.2")]
    Latest,
    #[serde(rename = "3.1")]
    Before,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Digest {
    Required,
    Forbidden,
    Either,
}

fn nonces_per_key() -> u32 {
    NONCES_PER_KEY
}

fn is_operation(name: &str) -> bool {
    verbs::find(name).is_some() || tools::find(name).is_some()
}

impl RequestSigning {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, SigningFileError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| SigningFileError::File { path: path.display().to_string(), source })?;
        Self::parse(&text)
    }

    /// Reads TOML.
    pub fn parse(text: &str) -> Result<Self, SigningFileError> {
        let file: File = toml::from_str(text).map_err(|error| SigningFileError::Content(error.to_string()))?;
        Self::of(file).map_err(SigningFileError::Content)
    }

    fn of(file: File) -> Result<Self, String> {
        let profile = match (file.profile, file.content_digest) {
            (Release::Latest, None | Some(Digest::Required)) => Profile::REQUESTS,
            (Release::Latest, Some(_)) => {
                return Err("content_digest is \"required\" in profile \"3.2\"; another needs profile = \"3.1\"".into());
            }
            // What the protocol takes it for where nothing is said.
            (Release::Before, None | Some(Digest::Either)) => Profile::requests_before_3_2(ContentDigest::Either),
            (Release::Before, Some(Digest::Required)) => Profile::requests_before_3_2(ContentDigest::Required),
            (Release::Before, Some(Digest::Forbidden)) => Profile::requests_before_3_2(ContentDigest::Forbidden),
        };
        if let Some(name) = file.required_for.iter().find(|name| !is_operation(name)) {
            return Err(format!("required_for has {name:?}, which is no operation of the protocol"));
        }
        let allowed = file.allow.as_deref().map(str::parse::<Networks>).transpose();
        let allowed = allowed.map_err(|error| format!("allow has no networks: {error}"))?;
        if file.counterparty.is_empty() {
            return Err("there is no [[counterparty]]: nobody could sign".into());
        }
        let mut counterparties: Vec<Counterparty> = Vec::new();
        for entry in file.counterparty {
            let counterparty = entry.counterparty(file.nonces_per_key)?;
            if let Some(kid) = counterparty.told_twice(&counterparties) {
                return Err(format!("the key {kid:?} is there twice"));
            }
            counterparties.push(counterparty);
        }
        Ok(Self { profile, required_for: file.required_for, counterparties, allowed, roots: file.ca_file })
    }
}

impl Entry {
    fn counterparty(self, nonces_per_key: u32) -> Result<Counterparty, String> {
        let name = &self.principal;
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(format!("{name:?} can't be a principal: it is a name without blanks"));
        }
        let keys = match (self.keys, self.jwks_uri) {
            (Some(keys), None) if !keys.is_empty() => KeySource::Told(keys),
            (None, Some(url)) => KeySource::Published(url),
            _ => return Err(format!("{name:?} needs either keys or jwks_uri")),
        };
        if let KeySource::Told(keys) = &keys
            && let Some(key) = keys.iter().find(|key| key.kid.is_empty() || key.kid.len() > MAX_KEYID_BYTES)
        {
            return Err(format!("{:?} can't be a key's id", key.kid));
        }
        let nonces_per_key = self.nonces_per_key.unwrap_or(nonces_per_key);
        if nonces_per_key == 0 {
            return Err("nonces_per_key is 0: nobody could sign".into());
        }
        Ok(Counterparty { principal: self.principal, keys, revoked: self.revoked, nonces_per_key })
    }
}

impl Counterparty {
    pub(super) fn told(&self) -> &[Jwk] {
        match &self.keys {
            KeySource::Told(keys) => keys,
            KeySource::Published(_) => &[],
        }
    }

    /// The id of a key that is there twice, here or among others.
    fn told_twice(&self, others: &[Self]) -> Option<&str> {
        let own = self.told();
        let before = |at: usize, kid: &str| {
            own[..at].iter().chain(others.iter().flat_map(Self::told)).any(|other| other.kid == kid)
        };
        own.iter().enumerate().find(|(at, key)| before(*at, &key.kid)).map(|(_, key)| key.kid.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = r#"{ kid = "k1", kty = "OKP", crv = "Ed25519", alg = "EdDSA", use = "sig", key_ops = ["verify"],
        adcp_use = "request-signing", x = "gWUqzATUcUco5Q8fZZXn8aWwb7DQbYGBiqUzLiSDDJo" }"#;

    fn with(head: &str, counterparty: &str) -> Result<RequestSigning, SigningFileError> {
        RequestSigning::parse(&format!("{head}\n[[counterparty]]\n{counterparty}"))
    }

    #[test]
    fn a_file_says_how_and_whose() {
        let file =
            with("", &format!("principal = 'agent.a'\nkeys = [{}]\nrevoked = ['k0']", KEY.replace('\n', ""))).unwrap();
        assert_eq!((file.profile, file.required_for.len()), (Profile::REQUESTS, 0));
        let [agent] = &file.counterparties[..] else { panic!() };
        assert_eq!((agent.told()[0].kid.as_str(), agent.nonces_per_key), ("k1", 1_000_000));
        assert_eq!(agent.revoked, ["k0"]);
        let head = "profile = '3.1'\nrequired_for = ['create_media_buy']\nnonces_per_key = 7\nallow = '10.0.0.0/8'";
        let file = with(head, "principal = 'agent.b'\njwks_uri = 'https://b.example/jwks'").unwrap();
        assert_eq!(file.profile.content_digest(), ContentDigest::Either);
        assert_eq!((file.counterparties[0].nonces_per_key, file.allowed.is_some()), (7, true));
        for (told, digest) in [("required", ContentDigest::Required), ("forbidden", ContentDigest::Forbidden)] {
            let head = format!("profile = '3.1'\ncontent_digest = '{told}'");
            let file = with(&head, "principal = 'b'\njwks_uri = 'https://b.example/jwks'").unwrap();
            assert_eq!(file.profile, Profile::requests_before_3_2(digest));
        }
    }

    #[test]
    fn a_file_that_is_not_clear_is_refused() {
        let good = "principal = 'a'\njwks_uri = 'https://a.example/jwks'";
        let key = KEY.replace('\n', "");
        let keys = format!("principal = 'a'\nkeys = [{key}]");
        for (head, counterparty) in [
            ("profile = '3.0'", good),
            ("content_digest = 'either'", good),
            ("profile = '3.1'\ncontent_digest = 'some'", good),
            ("required_for = ['create_everything']", good),
            ("required_for = ['tools/call']", good),
            ("allow = 'here'", good),
            ("extra = 1", good),
            ("nonces_per_key = 0", good),
            ("", "jwks_uri = 'https://a.example/jwks'"),
            ("", "principal = 'a b'\njwks_uri = 'https://a.example/jwks'"),
            ("", "principal = 'a'"),
            ("", "principal = 'a'\nkeys = []"),
            ("", &format!("{keys}\njwks_uri = 'https://a.example/jwks'")),
            ("", &format!("principal = 'a'\nkeys = [{key}, {key}]")),
            ("", &format!("{keys}\n[[counterparty]]\nprincipal = 'b'\nkeys = [{key}]")),
            ("", &keys.replace("k1", "")),
            ("", &keys.replace("k1", &"k".repeat(MAX_KEYID_BYTES + 1))),
        ] {
            assert!(with(head, counterparty).is_err(), "{head} {counterparty}");
        }
        assert!(RequestSigning::parse("").is_err());
        assert!(with("", &keys).is_ok() && with("", good).is_ok());
    }
}
