//! One sandbox account for each agent.

use super::{Account, AccountRef, AccountResolver};
use crate::Principal;
use async_trait::async_trait;
use handoff_proto::{json, wire::AdcpError};
use serde_json::json;

/// For compliance tests: whatever account an agent names, it is its own one, a sandbox. The protocol's tests name several, some
/// of them made up, and look for what they did in one in another.
#[derive(Clone, Copy, Debug, Default)]
pub struct SandboxAccount;

impl SandboxAccount {
    fn of(principal: &Principal) -> Account {
        // An agent's name may hold anything, and be of any length.
        let digest = json::digest(&json!(principal.name)).unwrap_or_default();
        Account { id: format!("sandbox_{}", &digest[..digest.len().min(32)]), sandbox: true, brand: None }
    }
}

#[async_trait]
impl AccountResolver for SandboxAccount {
    async fn resolve(&self, principal: &Principal, _: &AccountRef) -> Result<Option<Account>, AdcpError> {
        Ok(Some(Self::of(principal)))
    }

    async fn only_account(&self, principal: &Principal) -> Result<Option<Account>, AdcpError> {
        Ok(Some(Self::of(principal)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_agent_has_one_and_no_other_s() {
        let (one, other) = (Principal::new("agent.one"), Principal::new("agent.other"));
        let own = SandboxAccount.only_account(&one).await.unwrap().unwrap();
        assert!(own.sandbox);
        for named in [
            json!({"account_id": "acct_pagination_integrity"}),
            json!({"account_id": own.id}),
            json!({"brand": {"domain": "test.example"}, "operator": "test.example", "sandbox": true}),
            json!({"brand": {"domain": "acmeoutdoor.example"}, "operator": "pinnacle-agency.example"}),
        ] {
            let reference = AccountRef::read(&named).unwrap();
            assert_eq!(SandboxAccount.resolve(&one, &reference).await.unwrap().as_ref(), Some(&own), "{named}");
            let others = SandboxAccount.resolve(&other, &reference).await.unwrap().unwrap();
            assert_ne!(others.id, own.id, "{named}");
        }
    }
}
