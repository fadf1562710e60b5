//! The scope of a request: its account, or one derived from agent and brand where the protocol needs none.

use super::{Account, AccountRef, AccountResolver, Brand};
use crate::Principal;
use handoff_client::Caller;
use handoff_proto::{json, wire::AdcpError};
use serde_json::{Value, json};

const DERIVED: &str = "no-account:";

/// A scope that no row has: what is looked for there is not found, at the usual cost.
pub(crate) const NOBODY: &str = "no-account:nobody";

/// Whose request it is.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    pub(crate) caller: Caller,
    /// There is an account; the scope is not a derived one.
    pub(crate) has_account: bool,
}

/// Is this a scope that no account may have as its id?
pub(crate) fn is_derived(scope: &str) -> bool {
    scope.starts_with(DERIVED)
}

/// The account that a request names, or the agent's only one, or, where none is required, a scope of its own.
pub(crate) async fn resolve(
    accounts: &dyn AccountResolver,
    principal: &Principal,
    request: &Value,
    required: bool,
) -> Result<Resolved, AdcpError> {
    let account = match named(request) {
        Some(reference) => Some(find(accounts, principal, reference).await?.ok_or_else(not_found)?),
        None => accounts.only_account(principal).await?,
    };
    let resolved = match account {
        Some(account) if is_derived(&account.id) => return Err(not_found()),
        Some(Account { id, sandbox, brand }) => {
            let brand = brand_of(request).or(brand);
            let brand_scope = brand.map(|brand| derived(principal, Some(&brand)));
            let caller = Caller::new(id, &principal.name).sandbox(sandbox).of_brand(brand_scope);
            Resolved { caller, has_account: true }
        }
        None if required => return Err(required_error()),
        None => {
            let scope = derived(principal, brand_of(request).as_ref());
            Resolved { caller: Caller::new(scope, &principal.name), has_account: false }
        }
    };
    resolved.caller.check()?;
    Ok(resolved)
}

/// The scope in which a poll or list that names an account looks. An account that is unknown, or is another's, looks like one
/// in which nothing is.
pub(crate) async fn scope_of_poll(
    accounts: &dyn AccountResolver,
    principal: &Principal,
    request: &Value,
) -> Result<Option<String>, AdcpError> {
    let account = match named(request) {
        Some(reference) => match find(accounts, principal, reference).await? {
            Some(account) if !is_derived(&account.id) => Some(account.id),
            _ => Some(NOBODY.to_owned()),
        },
        None => accounts.only_account(principal).await?.map(|account| account.id),
    };
    Ok(account)
}

pub(super) fn named(request: &Value) -> Option<&Value> {
    request.get("account").filter(|account| !account.is_null())
}

async fn find(
    accounts: &dyn AccountResolver,
    principal: &Principal,
    reference: &Value,
) -> Result<Option<Account>, AdcpError> {
    accounts.resolve(principal, &AccountRef::read(reference)?).await
}

fn brand_of(request: &Value) -> Option<Brand> {
    request.get("brand").and_then(Brand::read)
}

fn derived(principal: &Principal, brand: Option<&Brand>) -> String {
    let brand = json!([brand.map(|brand| &brand.domain), brand.and_then(|brand| brand.brand_id.as_ref())]);
    let digest = json::digest(&json!([principal.name, brand])).unwrap_or_default();
    format!("{DERIVED}{}", &digest[..digest.len().min(32)])
}

pub(crate) fn not_found() -> AdcpError {
    AdcpError::terminal("ACCOUNT_NOT_FOUND", "There is no such account.")
        .field("account")
        .suggestion("Check the account, and whether this agent may use it.")
}

pub(crate) fn required_error() -> AdcpError {
    AdcpError::correctable("ACCOUNT_REQUIRED", "The request must name an account.")
        .field("account")
        .suggestion("Name the account that the request is for.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ConfiguredAccounts;

    #[tokio::test]
    async fn without_an_account_agent_and_brand_are_the_scope() {
        let accounts = ConfiguredAccounts::default();
        let scope = async |agent: &str, request: Value| {
            resolve(&accounts, &Principal::new(agent), &request, false).await.map(|resolved| resolved.caller.scope)
        };
        let brand = |domain: &str| json!({"brand": {"domain": domain}});
        let one = scope("a", brand("x")).await.unwrap();
        assert_eq!(scope("a", brand("X")).await.unwrap(), one);
        for (agent, request) in [("b", brand("x")), ("a", brand("y")), ("a", json!({}))] {
            assert_ne!(scope(agent, request).await.unwrap(), one);
        }
        let unknown = scope("a", json!({"account": {"account_id": "x"}})).await.unwrap_err();
        assert_eq!(unknown.code, "ACCOUNT_NOT_FOUND");
        let (agent, request) = (Principal::new("a"), json!({"account": {"account_id": one}}));
        let forged = resolve(&crate::AnyAccount, &agent, &request, true).await.unwrap_err();
        assert_eq!(forged.code, "ACCOUNT_NOT_FOUND");
        let agent = Principal::new("a");
        for (request, brand_scope) in [
            (json!({"account": {"account_id": "acct"}, "brand": {"domain": "x"}}), Some(&one)),
            (json!({"account": {"brand": {"domain": "x"}, "operator": "o"}}), Some(&one)),
            (json!({"account": {"account_id": "acct"}}), None),
        ] {
            let resolved = resolve(&crate::AnyAccount, &agent, &request, true).await.unwrap();
            assert_eq!(resolved.caller.brand_scope.as_ref(), brand_scope, "{request}");
        }
        let required = resolve(&accounts, &Principal::new("a"), &json!({}), true).await.unwrap_err();
        assert_eq!(required.code, "ACCOUNT_REQUIRED");
    }
}
