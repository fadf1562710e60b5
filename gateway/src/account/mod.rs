//! On whose account a request is: the seller's accounts, and scopes for requests without one.

mod configured;
mod offered;
mod reference;
mod sandbox;
mod scope;

pub use configured::{AccountsFileError, ConfiguredAccounts};
pub use reference::{AccountRef, Brand, NaturalKey};
pub use sandbox::SandboxAccount;

pub(crate) use offered::resolve_offered;
pub(crate) use scope::{NOBODY, Resolved, is_derived, not_found, required_error, resolve, scope_of_poll};

use crate::Principal;
use async_trait::async_trait;
use handoff_proto::wire::AdcpError;

/// An account of the seller's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its id, opaque and printable.
    pub id: String,
    /// A sandbox: nothing real may happen.
    pub sandbox: bool,
    /// Whose advertising it is for, if that is always the same: what was offered to this brand without an account may be bought
    /// for this one.
    pub brand: Option<Brand>,
}

/// Says which account a request is for, and whether its agent may use it.
#[async_trait]
pub trait AccountResolver: Send + Sync + 'static {
    /// The account that the reference names; `None` if there is none, or none that this agent may use: both look the same to the
    /// agent. An error is an answer, such as `ACCOUNT_SUSPENDED`.
    async fn resolve(&self, principal: &Principal, reference: &AccountRef) -> Result<Option<Account>, AdcpError>;

    /// The account of an agent that has only one, for requests that name none.
    async fn only_account(&self, principal: &Principal) -> Result<Option<Account>, AdcpError>;
}

/// For development: every account exists, and every agent may use it. A natural key's account is in the sandbox if the key says
/// so.
#[derive(Clone, Copy, Debug, Default)]
pub struct AnyAccount;

#[async_trait]
impl AccountResolver for AnyAccount {
    async fn resolve(&self, _: &Principal, reference: &AccountRef) -> Result<Option<Account>, AdcpError> {
        Ok(Some(match reference {
            AccountRef::Id(id) => Account { id: id.clone(), sandbox: id.starts_with(SANDBOX_PREFIX), brand: None },
            AccountRef::Natural(key) => Account {
                id: format!("{}{}", if key.sandbox { SANDBOX_PREFIX } else { "" }, key.to_id()),
                sandbox: key.sandbox,
                brand: Some(key.brand()),
            },
        }))
    }

    async fn only_account(&self, _: &Principal) -> Result<Option<Account>, AdcpError> {
        Ok(None)
    }
}

// So that an account which a natural key named is the same one when it is named by its id.
const SANDBOX_PREFIX: &str = "sandbox:";

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[tokio::test]
    async fn in_development_a_natural_key_and_the_id_that_it_got_are_one_account() {
        let agent = Principal::new("agent");
        let reference = |value| AccountRef::read(&value).unwrap();
        let key = json!({"brand": {"domain": "nova.example"}, "operator": "pinnacle.example", "sandbox": true});
        let account = AnyAccount.resolve(&agent, &reference(key)).await.unwrap().unwrap();
        assert!(account.sandbox);
        let again = AnyAccount.resolve(&agent, &reference(json!({"account_id": account.id}))).await.unwrap();
        assert_eq!(again, Some(Account { brand: None, ..account }));
        let live = AnyAccount.resolve(&agent, &reference(json!({"account_id": "acct"}))).await.unwrap().unwrap();
        assert_eq!(live, Account { id: "acct".into(), sandbox: false, brand: None });
    }
}
