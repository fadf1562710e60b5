//! Keys in this process, read from PEM (PKCS #8).

use super::{Algorithm, Jwk, SignError, Signer};
use async_trait::async_trait;
use base64::{Engine, prelude::BASE64_STANDARD};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject};
use secrecy::{ExposeSecret, SecretString};
use std::fmt;

/// Why a key can't be used; holds no key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not PEM with PKCS #8.
    #[error(
        "key {0} is not a private key in PEM (PKCS #8, \"BEGIN PRIVATE KEY\"); `handoff webhook generate-key` makes one"
    )]
    Pem(usize),
    /// Another kind of key.
    #[error("key {0} is neither Ed25519 nor P-256")]
    Kind(usize),
    /// The same key twice.
    #[error("key {0} is there twice")]
    Twice(String),
    /// No key at all.
    #[error("there is no key")]
    None,
    /// The file can't be read.
    #[error("the keys in {path} can't be read: {source}")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The system has no random bytes.
    #[error("the system gives no random bytes")]
    NoRandomness,
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    Es256(EcdsaKeyPair),
}

/// A key in this process.
pub struct LocalKey {
    pair: Pair,
    public: Jwk,
}

impl LocalKey {
    /// The keys of a PEM text, in its order.
    pub fn read_pem(text: &SecretString) -> Result<Vec<Self>, KeyError> {
        let sections = PrivatePkcs8KeyDer::pem_slice_iter(text.expose_secret().as_bytes());
        let keys = sections.zip(1..).map(|(key, number)| {
            let key = key.map_err(|_| KeyError::Pem(number))?;
            Self::from_pkcs8(key.secret_pkcs8_der()).ok_or(KeyError::Kind(number))
        });
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() { Err(KeyError::Pem(1)) } else { Ok(keys) }
    }

    /// A fresh key as PEM.
    pub fn generate_pem(algorithm: Algorithm) -> Result<SecretString, KeyError> {
        let random = SystemRandom::new();
        let key = match algorithm {
            Algorithm::Ed25519 => Ed25519KeyPair::generate_pkcs8(&random),
            Algorithm::Es256 => EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random),
        };
        let encoded = BASE64_STANDARD.encode(key.map_err(|_| KeyError::NoRandomness)?);
        let lines: Vec<&str> =
            (0..encoded.len()).step_by(64).filter_map(|at| encoded.get(at..(at + 64).min(encoded.len()))).collect();
        Ok(format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n")).into())
    }

    // What OpenSSL writes for Ed25519 has no public key in it.
    fn from_pkcs8(der: &[u8]) -> Option<Self> {
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
            return Some(Self::ed25519(pair));
        }
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &SystemRandom::new()).ok()?;
        let public = Jwk::new(Algorithm::Es256, pair.public_key().as_ref());
        Some(Self { pair: Pair::Es256(pair), public })
    }

    fn ed25519(pair: Ed25519KeyPair) -> Self {
        let public = Jwk::new(Algorithm::Ed25519, pair.public_key().as_ref());
        Self { pair: Pair::Ed25519(pair), public }
    }

    #[cfg(test)]
    pub(crate) fn generate(algorithm: Algorithm) -> Self {
        Self::read_pem(&Self::generate_pem(algorithm).unwrap()).unwrap().remove(0)
    }

    #[cfg(test)]
    pub(crate) fn from_ed25519_seed(seed: &[u8], public: &[u8]) -> Option<Self> {
        Ed25519KeyPair::from_seed_and_public_key(seed, public).ok().map(Self::ed25519)
    }

    #[cfg(test)]
    pub(crate) fn with_kid(mut self, kid: &str) -> Self {
        self.public.kid = kid.to_owned();
        self
    }
}

#[async_trait]
impl Signer for LocalKey {
    fn public_key(&self) -> &Jwk {
        &self.public
    }

    async fn sign(&self, text: &[u8]) -> Result<Vec<u8>, SignError> {
        match &self.pair {
            Pair::Ed25519(pair) => Ok(pair.sign(text).as_ref().to_vec()),
            Pair::Es256(pair) => match pair.sign(&SystemRandom::new(), text) {
                Ok(signature) => Ok(signature.as_ref().to_vec()),
                Err(_) => Err(SignError::NoRandomness),
            },
        }
    }
}

impl fmt::Debug for LocalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LocalKey").field(&self.public.kid).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem(algorithm: Algorithm) -> String {
        LocalKey::generate_pem(algorithm).unwrap().expose_secret().to_owned()
    }

    #[tokio::test]
    async fn both_kinds_are_made_read_and_sign() {
        for algorithm in Algorithm::ALL {
            let text = pem(algorithm);
            let [key] = &LocalKey::read_pem(&text.clone().into()).unwrap()[..] else { panic!() };
            assert_eq!(key.public_key().algorithm(), algorithm);
            let signature = key.sign(b"text").await.unwrap();
            assert!(signature.len() == 64 && key.public_key().verifies(b"text", &signature));
            assert!(!key.public_key().verifies(b"other", &signature));
            let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
            assert!(!format!("{key:?}").contains(&body[..20]));
        }
    }

    // As `openssl genpkey` writes them.
    #[test]
    fn keys_of_openssl_are_read() {
        const ED25519: &str = "-----BEGIN PRIVATE KEY-----\n\
            MC4CAQAwBQYDK2VwBCIEIFdGdpLb1X3FiEo4eMZlJbf2zkiTC/UAZc1sw5DBb4Cc\n-----END PRIVATE KEY-----\n";
        let [key] = &LocalKey::read_pem(&ED25519.into()).unwrap()[..] else { panic!() };
        assert_eq!(key.public_key().algorithm(), Algorithm::Ed25519);
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_told() {
        let broken = pem(Algorithm::Ed25519).replace("PRIVATE KEY", "CERTIFICATE");
        for text in ["", "secret text", broken.as_str()] {
            let error = LocalKey::read_pem(&text.to_owned().into()).unwrap_err();
            assert!(matches!(error, KeyError::Pem(_)) && !error.to_string().contains("secret"), "{text}");
        }
        let rsa = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert!(matches!(LocalKey::read_pem(&rsa.to_owned().into()), Err(KeyError::Kind(1))));
    }
}
