//! Accounts: agents ask for them by brand and operator, and get them at once.

use crate::{
    Acme, Origin,
    media_buy::lifecycle,
    order_book::{Key, Ledger},
    page::Page,
};
use handoff::prelude::*;
use serde::{Deserialize, Serialize};

/// Who is billed: the one way that Acme has.
pub(crate) const BILLING: &str = "operator";

/// From which status to which; the rest is refused.
const STEPS: &[(&str, &[&str])] = &[
    ("pending_approval", &["active", "rejected"]),
    ("active", &["payment_required", "suspended", "closed"]),
    ("payment_required", &["active", "suspended", "closed"]),
    ("suspended", &["active", "payment_required", "closed"]),
    ("rejected", &[]),
    ("closed", &[]),
];

/// A `sync_accounts` request, as far as Acme reads it.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the protocol's names")]
pub struct SyncAccounts {
    pub accounts: Vec<WantedAccount>,
    #[serde(default)]
    pub dry_run: bool,
}

/// An account that is asked for, or one that is there already.
#[derive(Clone, Debug, Deserialize)]
pub struct WantedAccount {
    #[serde(default)]
    pub account: Option<Value>,
    #[serde(default)]
    pub brand: Option<Value>,
    #[serde(default)]
    pub operator: Option<String>,
    #[serde(default)]
    pub billing: Option<String>,
    #[serde(default)]
    pub sandbox: bool,
}

/// A `list_accounts` request, as far as Acme reads it.
#[derive(Clone, Debug, Default, Deserialize)]
#[expect(missing_docs, reason = "the protocol's names")]
pub struct ListAccounts {
    #[serde(default)]
    pub account: Option<Value>,
    #[serde(default)]
    pub status: Option<String>,
    #[serde(default)]
    pub sandbox: Option<bool>,
    #[serde(default)]
    pub pagination: Page,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Account {
    account_id: String,
    brand: Value,
    operator: String,
    sandbox: bool,
    /// What a test says of an account that it put into the sandbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fixture: Option<Value>,
}

/// The handler of `sync_accounts`.
pub(crate) async fn sync(context: Context<Acme>, request: SyncAccounts) -> Result<Value, AdcpError> {
    sync_accounts(context.state(), &Origin::of(&context), &request).await
}

/// The handler of `list_accounts`.
pub(crate) async fn list(context: Context<Acme>, request: ListAccounts) -> Result<Value, AdcpError> {
    list_accounts(context.state(), &Origin::of(&context), &request).await
}

/// Gives the agent its accounts.
pub async fn sync_accounts(acme: &Acme, origin: &Origin, request: &SyncAccounts) -> Result<Value, AdcpError> {
    let mut results = Vec::new();
    for (index, wanted) in request.accounts.iter().enumerate() {
        results.push(match wanted.read(origin, index) {
            Ok(account) => open(acme, origin, account, request.dry_run).await?,
            Err(error) => {
                let mut failed = json!({"action": "failed", "status": "rejected", "errors": [error.to_json()]});
                for (field, value) in [("brand", &wanted.brand), ("operator", &wanted.operator.clone().map(Into::into))]
                {
                    if let Some(value) = value {
                        failed[field] = value.clone();
                    }
                }
                failed
            }
        });
    }
    let mut answer = json!({"status": "completed", "accounts": results});
    if request.dry_run {
        answer["dry_run"] = json!(true);
    }
    Ok(answer)
}

async fn open(acme: &Acme, origin: &Origin, account: Account, dry_run: bool) -> Result<Value, AdcpError> {
    let key = Key::of(&[&origin.principal, &account.account_id])?;
    let known = acme.book.find::<Account>(Ledger::Accounts, key.clone()).await?.is_some();
    if !dry_run {
        acme.book.enter(Ledger::Accounts, key, account.clone()).await?;
    }
    let status = status(acme, origin, &account).await?;
    let mut wire = account.to_wire(&status);
    wire["action"] = json!(if known { "unchanged" } else { "created" });
    Ok(wire)
}

/// The agent's accounts, or those that are asked for.
pub async fn list_accounts(acme: &Acme, origin: &Origin, request: &ListAccounts) -> Result<Value, AdcpError> {
    let mut found = Vec::new();
    for account in acme.book.list::<Account>(Ledger::Accounts, &[&origin.principal]).await? {
        let status = status(acme, origin, &account).await?;
        if request.sandbox.is_none_or(|sandbox| sandbox == account.sandbox)
            && request.status.as_ref().is_none_or(|wanted| *wanted == status)
            && request.account.as_ref().is_none_or(|wanted| account.is(wanted))
        {
            found.push(account.to_wire(&status));
        }
    }
    let (page, pagination) =
        request.pagination.of(&found, |account| account["account_id"].as_str().unwrap_or_default())?;
    Ok(json!({"status": "completed", "accounts": page, "pagination": pagination}))
}

/// Decides about an account of the agent's, and returns what it was before.
pub(crate) async fn decide(acme: &Acme, origin: &Origin, account_id: &str, to: &str) -> Result<String, AdcpError> {
    let key = Key::of(&[&origin.principal, account_id])?;
    let Some(account) = acme.book.find::<Account>(Ledger::Accounts, key).await? else {
        return Err(AdcpError::correctable("NOT_FOUND", "There is no such account.").field("params.account_id"));
    };
    let before = status(acme, origin, &account).await?;
    lifecycle::check(STEPS, &before, to)?;
    if before != to {
        acme.book.append(Ledger::AccountStatuses, &[&origin.principal, account_id], to.to_owned()).await?;
    }
    Ok(before)
}

/// Puts an account into the agent's sandbox. `false`: another one of this id is there.
pub(crate) async fn seed(acme: &Acme, origin: &Origin, account_id: String, fixture: Value) -> Result<bool, AdcpError> {
    let fixture = if fixture.is_null() { json!({}) } else { fixture };
    let unusable = [
        ("brand", fixture.get("brand").is_some_and(|brand| !brand["domain"].is_string())),
        ("operator", fixture.get("operator").is_some_and(|operator| !operator.is_string())),
        ("billing", fixture.get("billing").is_some_and(|billing| billing != BILLING)),
    ];
    if let Some((field, _)) = unusable.into_iter().find(|(_, is)| *is) {
        return Err(AdcpError::correctable("INVALID_PARAMS", format!("Acme has no account with such a {field}."))
            .field(format!("params.fixture.{field}")));
    }
    let account = Account {
        brand: fixture["brand"].clone(),
        operator: fixture["operator"].as_str().unwrap_or_default().to_owned(),
        sandbox: true,
        fixture: Some(fixture),
        account_id,
    };
    lifecycle::check(STEPS, account.first_status(), account.first_status())?;
    let key = Key::of(&[&origin.principal, &account.account_id])?;
    Ok(acme.book.enter(Ledger::Accounts, key, account.clone()).await?.into_record() == account)
}

async fn status(acme: &Acme, origin: &Origin, account: &Account) -> Result<String, AdcpError> {
    let decided = acme.book.latest(Ledger::AccountStatuses, &[&origin.principal, &account.account_id]).await?;
    Ok(decided.unwrap_or_else(|| account.first_status().to_owned()))
}

impl WantedAccount {
    fn read(&self, origin: &Origin, index: usize) -> Result<Account, AdcpError> {
        let field = |name: &str| format!("accounts[{index}].{name}");
        let (Some(brand), Some(operator)) = (&self.brand, &self.operator) else {
            return Err(AdcpError::correctable("UNSUPPORTED_FEATURE", "Acme's accounts have no settings to change.")
                .field(field("account"))
                .suggestion("Ask for an account by brand and operator."));
        };
        if self.billing.as_deref().is_some_and(|billing| billing != BILLING) {
            return Err(AdcpError::correctable("BILLING_NOT_SUPPORTED", "Acme bills operators only.")
                .field(field("billing"))
                .suggestion(format!("Ask for {BILLING:?}.")));
        }
        let sandbox = self.sandbox || origin.sandbox;
        let domain = brand["domain"].as_str().unwrap_or_default().to_lowercase();
        let prefix = if sandbox { "sandbox:" } else { "" };
        Ok(Account {
            account_id: format!("{prefix}{domain}@{}", operator.to_lowercase()),
            brand: brand.clone(),
            operator: operator.clone(),
            sandbox,
            fixture: None,
        })
    }
}

impl Account {
    fn to_wire(&self, status: &str) -> Value {
        let mut wire = json!({
            "account_id": self.account_id,
            "name": self.name(),
            "status": status,
            "billing": BILLING,
            "sandbox": self.sandbox,
        });
        // A test need not say whose its account is.
        if self.brand.is_object() {
            wire["brand"] = self.brand.clone();
        }
        if !self.operator.is_empty() {
            wire["operator"] = json!(self.operator);
        }
        if self.brand.is_object() && !self.operator.is_empty() {
            wire["account_scope"] = json!("operator_brand");
        }
        wire
    }

    fn name(&self) -> String {
        let told = |field: &str| self.fixture.as_ref().and_then(|fixture| fixture[field].as_str());
        match (told("name"), self.brand["domain"].as_str()) {
            (Some(name), _) => name.to_owned(),
            (None, Some(domain)) => format!("{domain} by {}", self.operator),
            (None, None) => self.account_id.clone(),
        }
    }

    /// What it was when it was opened.
    fn first_status(&self) -> &str {
        self.fixture.as_ref().and_then(|fixture| fixture["status"].as_str()).unwrap_or("active")
    }

    fn is(&self, reference: &Value) -> bool {
        match reference.get("account_id").and_then(Value::as_str) {
            Some(id) => id == self.account_id,
            None => {
                reference["brand"]["domain"] == self.brand["domain"]
                    && reference["operator"] == self.operator.as_str()
                    && reference["sandbox"].as_bool().unwrap_or_default() == self.sandbox
            }
        }
    }
}
