//! Values between the rules, which see them in clear, and the database, which does not.
//!
//! A sealed value is stored as the text `$sealed$KEY$BASE64`; every other text is in clear, as written before there were
//! keys. A clear text that looks like either marker is stored behind `$clear$`, so that nobody can write what can't be read.

mod directives;
mod governance;
mod proposals;
mod rows;

pub(crate) use rows::{entry_place, place};

use crate::{Cipher, CipherError, Place, RegistryError, Sealed, sql::Bind};
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use std::{collections::BTreeMap, sync::Arc};

/// What a sealed value begins with.
pub(crate) const SEALED: &str = "$sealed$";
const CLEAR: &str = "$clear$";

type Result<T> = std::result::Result<T, RegistryError>;

/// Seals what is written, if there are keys, and opens what is read.
#[derive(Clone, Debug)]
pub(crate) struct Vault {
    cipher: Option<Arc<dyn Cipher>>,
}

impl Vault {
    pub(crate) fn new(cipher: Option<Arc<dyn Cipher>>) -> Self {
        Self { cipher }
    }

    /// Are values sealed?
    pub(crate) fn seals(&self) -> bool {
        self.cipher.is_some()
    }

    /// The id of the key that seals; `None` without keys.
    pub(crate) async fn active_key(&self) -> Result<Option<String>> {
        match &self.cipher {
            Some(cipher) => cipher.active_key().await.map(Some).map_err(RegistryError::Keys),
            None => Ok(None),
        }
    }

    /// What is stored for a clear value. An empty one tells nothing, and stays.
    pub(crate) async fn seal(&self, place: &Place<'_>, clear: &str) -> Result<String> {
        match &self.cipher {
            Some(cipher) if !clear.is_empty() => {
                let sealed = cipher.seal(place, clear).await.map_err(|error| refused(place, error))?;
                Ok(format!("{SEALED}{}${}", sealed.key, STANDARD_NO_PAD.encode(sealed.bytes)))
            }
            _ if clear.starts_with(SEALED) || clear.starts_with(CLEAR) => Ok(format!("{CLEAR}{clear}")),
            _ => Ok(clear.to_owned()),
        }
    }

    /// The clear value of what is stored.
    pub(crate) async fn open(&self, place: &Place<'_>, stored: String) -> Result<String> {
        if let Some(sealed) = stored.strip_prefix(SEALED) {
            let sealed = parse(sealed).map_err(|error| refused(place, error))?;
            let Some(cipher) = &self.cipher else {
                return Err(refused(place, CipherError::MissingKey { key: sealed.key }));
            };
            return cipher.open(place, sealed).await.map_err(|error| refused(place, error));
        }
        Ok(match stored.strip_prefix(CLEAR) {
            Some(clear) => clear.to_owned(),
            None => stored,
        })
    }

    pub(crate) async fn seal_bind(&self, place: &Place<'_>, clear: Bind) -> Result<Bind> {
        Ok(match clear {
            Bind::Text(Some(text)) => self.seal(place, &text).await?.into(),
            other => other,
        })
    }

    pub(crate) async fn open_option(&self, place: &Place<'_>, stored: &mut Option<String>) -> Result<()> {
        if let Some(text) = stored.take() {
            *stored = Some(self.open(place, text).await?);
        }
        Ok(())
    }
}

/// How many values each key seals; those in clear have none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally(pub(crate) BTreeMap<Option<String>, u64>);

impl Tally {
    /// Counts a stored value, and says whether another key than `active` seals it, or none.
    pub(crate) fn count(&mut self, stored: &str, active: Option<&str>) -> bool {
        if stored.is_empty() {
            return false;
        }
        let key = key_of(stored);
        *self.0.entry(key.map(str::to_owned)).or_default() += 1;
        key != active
    }
}

/// The id of the key that a stored value names.
fn key_of(stored: &str) -> Option<&str> {
    stored.strip_prefix(SEALED)?.split('$').next()
}

fn parse(sealed: &str) -> std::result::Result<Sealed, CipherError> {
    let Some((key, bytes)) = sealed.split_once('$') else {
        return Err(CipherError::Format { key: String::new(), reason: "it names no key" });
    };
    match STANDARD_NO_PAD.decode(bytes) {
        Ok(bytes) => Ok(Sealed { key: key.to_owned(), bytes }),
        Err(_) => Err(CipherError::Format { key: key.to_owned(), reason: "it is not base64" }),
    }
}

fn refused(place: &Place<'_>, error: CipherError) -> RegistryError {
    RegistryError::Sealed { task_id: place.task_id.to_owned(), column: place.column, error }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'_> = Place { scope: "acct", task_id: "t", column: "reason", entry: "" };

    #[tokio::test]
    async fn without_keys_every_text_comes_back_as_it_was() {
        let vault = Vault::new(None);
        for clear in ["", "looks good", "$", "$sealed$", "$sealed$k$AAAA", "$clear$", "$clear$$sealed$k$AAAA"] {
            let stored = vault.seal(&PLACE, clear).await.unwrap();
            assert!(!stored.starts_with(SEALED), "{stored}");
            assert_eq!(vault.open(&PLACE, stored).await.unwrap(), clear);
        }
    }

    #[tokio::test]
    async fn what_is_sealed_is_no_text_without_its_key() {
        let vault = Vault::new(None);
        let error = vault.open(&PLACE, "$sealed$k-7$AAAA".into()).await.unwrap_err();
        assert!(error.to_string().contains("\"k-7\"") && !error.is_transient(), "{error}");
        for broken in ["$sealed$", "$sealed$k-7", "$sealed$k-7$?"] {
            let error = vault.open(&PLACE, broken.into()).await.unwrap_err();
            assert!(matches!(error, RegistryError::Sealed { error: CipherError::Format { .. }, .. }), "{error}");
        }
    }
}
