//! Accounts from a file.

use super::{Account, AccountRef, AccountResolver, Brand};
use crate::Principal;
use async_trait::async_trait;
use handoff_proto::wire::AdcpError;
use serde::Deserialize;
use std::path::Path;

/// The accounts of a TOML file: `[[account]]` tables with `id`, and optionally `brand` and `operator` (the natural key),
/// `principals` (who may use it; everyone if absent) and `sandbox`.
#[derive(Clone, Debug, Default)]
pub struct ConfiguredAccounts(Vec<Entry>);

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    brand: Option<String>,
    operator: Option<String>,
    principals: Option<Vec<String>>,
    #[serde(default)]
    sandbox: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    account: Vec<Entry>,
}

/// Why accounts can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccountsFileError {
    /// The file can't be read.
    #[error("the accounts in {path} can't be read: {source}")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is not as it should be.
    #[error("the accounts can't be used: {0}")]
    Content(String),
}

impl ConfiguredAccounts {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, AccountsFileError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| AccountsFileError::File { path: path.display().to_string(), source })?;
        Self::parse(&text)
    }

    /// Reads TOML.
    pub fn parse(text: &str) -> Result<Self, AccountsFileError> {
        let file: File = toml::from_str(text).map_err(|error| AccountsFileError::Content(error.to_string()))?;
        for (at, entry) in file.account.iter().enumerate() {
            let before = &file.account[..at];
            if entry.id.trim().is_empty() || super::is_derived(&entry.id) {
                return Err(AccountsFileError::Content(format!("{:?} can't be an account's id", entry.id)));
            }
            if before.iter().any(|other| other.id == entry.id) {
                return Err(AccountsFileError::Content(format!("the account {:?} is there twice", entry.id)));
            }
            if entry.brand.is_some() != entry.operator.is_some() {
                return Err(AccountsFileError::Content(format!("{:?} needs both brand and operator", entry.id)));
            }
            if before.iter().any(|other| entry.brand.is_some() && other.natural_key() == entry.natural_key()) {
                return Err(AccountsFileError::Content(format!(
                    "{:?} has another account's brand and operator",
                    entry.id
                )));
            }
        }
        Ok(Self(file.account))
    }
}

impl Entry {
    fn admits(&self, principal: &Principal) -> bool {
        self.principals.as_ref().is_none_or(|principals| principals.contains(&principal.name))
    }

    fn natural_key(&self) -> (Option<String>, Option<String>, bool) {
        let lower = |text: &Option<String>| text.as_deref().map(str::to_ascii_lowercase);
        (lower(&self.brand), lower(&self.operator), self.sandbox)
    }

    fn is(&self, reference: &AccountRef) -> bool {
        match reference {
            AccountRef::Id(id) => self.id == *id,
            // What the file can't say of an account can't be asked for either.
            AccountRef::Natural(key) => {
                let (brand, operator, sandbox) = self.natural_key();
                brand.as_deref() == Some(&key.brand)
                    && operator.as_deref() == Some(&key.operator)
                    && sandbox == key.sandbox
                    && key.brand_id.is_none()
                    && key.operator_unit.is_none()
            }
        }
    }

    fn account(&self) -> Account {
        let brand = self.brand.as_ref().map(|domain| Brand::new(domain, None));
        Account { id: self.id.clone(), sandbox: self.sandbox, brand }
    }
}

#[async_trait]
impl AccountResolver for ConfiguredAccounts {
    async fn resolve(&self, principal: &Principal, reference: &AccountRef) -> Result<Option<Account>, AdcpError> {
        Ok(self.0.iter().find(|entry| entry.is(reference) && entry.admits(principal)).map(Entry::account))
    }

    async fn only_account(&self, principal: &Principal) -> Result<Option<Account>, AdcpError> {
        let mut admitted = self.0.iter().filter(|entry| entry.admits(principal));
        Ok(admitted.next().filter(|_| admitted.next().is_none()).map(Entry::account))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const FILE: &str = r#"
        [[account]]
        id = "acct_1"
        brand = "Nova.example"
        operator = "pinnacle.example"
        principals = ["agent.a"]

        [[account]]
        id = "acct_1_sandbox"
        brand = "nova.example"
        operator = "pinnacle.example"
        sandbox = true
    "#;

    #[tokio::test]
    async fn an_account_is_there_for_those_who_may_use_it() {
        let accounts = ConfiguredAccounts::parse(FILE).unwrap();
        let (a, b) = (Principal::new("agent.a"), Principal::new("agent.b"));
        let find = async |principal, value| {
            let reference = AccountRef::read(&value).unwrap();
            accounts.resolve(principal, &reference).await.unwrap().map(|account| account.id)
        };
        assert_eq!(find(&a, json!({"account_id": "acct_1"})).await.as_deref(), Some("acct_1"));
        assert_eq!(find(&b, json!({"account_id": "acct_1"})).await, None);
        let key = json!({"brand": {"domain": "nova.example"}, "operator": "Pinnacle.example"});
        assert_eq!(find(&a, key).await.as_deref(), Some("acct_1"));
        let key = json!({"brand": {"domain": "nova.example"}, "operator": "pinnacle.example", "sandbox": true});
        assert_eq!(find(&b, key).await.as_deref(), Some("acct_1_sandbox"));
        assert_eq!(accounts.only_account(&a).await.unwrap(), None);
        let only = accounts.only_account(&b).await.unwrap().unwrap();
        assert_eq!((only.id.as_str(), only.sandbox), ("acct_1_sandbox", true));
    }

    #[test]
    fn a_file_that_is_not_clear_is_refused() {
        for wrong in [
            "[[account]]\nid = ''",
            "[[account]]\nid = 'a'\n[[account]]\nid = 'a'",
            "[[account]]\nid = 'a'\nbrand = 'b'",
            "[[account]]\nid = 'a'\nbrand = 'b'\noperator = 'o'\n[[account]]\nid = 'c'\nbrand = 'B'\noperator = 'o'",
            "[[account]]\nid = 'no-account:x'",
            "[[account]]\nid = 'a'\nextra = 1",
        ] {
            assert!(ConfiguredAccounts::parse(wrong).is_err(), "{wrong}");
        }
    }
}
