//! The keys of one sender, and how they are changed without a gap.

use super::{Jwk, KeyError, LocalKey, Signer};
use secrecy::SecretString;
use std::{path::Path, sync::Arc};

/// The key that signs, and all that are published. A new key is published behind the old one first; once every verifier may
/// have seen it, it moves to the front; the old one goes when what it signed has come or will be signed anew.
#[derive(Clone, Debug)]
pub struct SigningKeys {
    signer: Arc<dyn Signer>,
    published: Vec<Jwk>,
}

impl SigningKeys {
    /// The first one signs, all are published.
    pub fn new(signers: Vec<Arc<dyn Signer>>) -> Result<Self, KeyError> {
        let published: Vec<Jwk> = signers.iter().map(|signer| signer.public_key().clone()).collect();
        for (number, key) in published.iter().enumerate() {
            if published[..number].iter().any(|other| other.kid == key.kid) {
                return Err(KeyError::Twice(key.kid.clone()));
            }
        }
        let signer = signers.into_iter().next().ok_or(KeyError::None)?;
        Ok(Self { signer, published })
    }

    /// Private keys in PEM, the one that signs first.
    pub fn from_pem(text: &SecretString) -> Result<Self, KeyError> {
        let keys = LocalKey::read_pem(text)?;
        Self::new(keys.into_iter().map(|key| Arc::new(key) as Arc<dyn Signer>).collect())
    }

    /// The same from a file.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| KeyError::File { path: path.display().to_string(), source })?;
        Self::from_pem(&text.into())
    }

    /// The key that signs.
    pub fn signer(&self) -> &dyn Signer {
        &*self.signer
    }

    /// The public parts, for receivers.
    pub fn published(&self) -> &[Jwk] {
        &self.published
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Algorithm;
    use secrecy::ExposeSecret;

    #[test]
    fn the_first_key_signs_and_all_are_published() {
        let [old, new] = Algorithm::ALL.map(|algorithm| LocalKey::generate_pem(algorithm).unwrap());
        let both = |first: &SecretString, second: &SecretString| {
            SigningKeys::from_pem(&format!("{}{}", first.expose_secret(), second.expose_secret()).into())
        };
        let (before, after) = (both(&old, &new).unwrap(), both(&new, &old).unwrap());
        assert_eq!(before.signer().public_key().algorithm(), Algorithm::Ed25519);
        assert_eq!(after.signer().public_key().algorithm(), Algorithm::Es256);
        let kids = |keys: &SigningKeys| {
            let mut kids: Vec<_> = keys.published().iter().map(|key| key.kid.clone()).collect();
            kids.sort();
            kids
        };
        assert_eq!((kids(&before).len(), kids(&before)), (2, kids(&after)));
        assert!(matches!(both(&old, &old), Err(KeyError::Twice(_))));
    }
}
