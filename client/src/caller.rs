//! On whose behalf a verb is called.

use handoff_proto::{limits::MAX_SCOPE_BYTES, wire::AdcpError};

/// The buyer that calls, after authentication and account resolution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The account, as the seller's account resolver named it. Opaque: any printable text.
    pub scope: String,
    /// The authenticated agent.
    pub principal: String,
    /// The scope that the request would have without its account, if it names a brand: a proposal that was offered there may be
    /// bought for the account.
    pub brand_scope: Option<String>,
    /// The account is a sandbox.
    pub sandbox: bool,
    /// Ties the logs of this call together, if they are to be tied to others.
    pub correlation_id: Option<String>,
}

impl Caller {
    /// A caller outside the sandbox.
    pub fn new(scope: impl Into<String>, principal: impl Into<String>) -> Self {
        Self {
            scope: scope.into(),
            principal: principal.into(),
            brand_scope: None,
            sandbox: false,
            correlation_id: None,
        }
    }

    /// The same caller in a sandbox account, or not.
    #[must_use]
    pub fn sandbox(mut self, sandbox: bool) -> Self {
        self.sandbox = sandbox;
        self
    }

    /// The same caller, who may also buy what was offered in this scope.
    #[must_use]
    pub fn of_brand(mut self, scope: Option<String>) -> Self {
        self.brand_scope = scope;
        self
    }

    /// The same caller, with a correlation id for this call.
    #[must_use]
    pub fn correlated(mut self, id: impl Into<String>) -> Self {
        self.correlation_id = Some(id.into());
        self
    }

    /// Refuses names that stand for nobody: every row and every poll is told apart by them.
    pub fn check(&self) -> Result<(), AdcpError> {
        if let Some(problem) = problem(&self.scope) {
            return Err(AdcpError::correctable("ACCOUNT_REQUIRED", format!("The account {problem}."))
                .field("account")
                .suggestion("Name the account that the request is for."));
        }
        match problem(&self.principal) {
            Some(problem) => {
                Err(AdcpError::correctable("AUTH_MISSING", format!("The calling agent's name {problem}."))
                    .suggestion("Authenticate as a known agent."))
            }
            None => Ok(()),
        }
    }
}

fn problem(name: &str) -> Option<String> {
    let trimmed = name.trim();
    if trimmed.is_empty() {
        Some("is blank".into())
    } else if trimmed.starts_with('<') && trimmed.ends_with('>') {
        Some("is a placeholder that was never filled in".into())
    } else if name.len() > MAX_SCOPE_BYTES {
        Some(format!("is longer than {MAX_SCOPE_BYTES} bytes"))
    } else if name.chars().any(char::is_control) {
        Some("holds control characters".into())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_stand_for_nobody_are_refused() {
        for scope in ["", "  ", "\u{a0}", "<unset>", " <account> ", "a\0b", "a\nb", &"x".repeat(MAX_SCOPE_BYTES + 1)] {
            let error = Caller::new(scope, "p").check().unwrap_err();
            assert_eq!(
                (error.code.as_str(), error.field.as_deref()),
                ("ACCOUNT_REQUIRED", Some("account")),
                "{scope:?}"
            );
            assert_eq!(Caller::new("a", scope).check().unwrap_err().code, "AUTH_MISSING", "{scope:?}");
        }
        for scope in ["acct_1", "default", "a/b", "Käse & Söhne", "a < b > c", &"x".repeat(MAX_SCOPE_BYTES)] {
            assert_eq!(Caller::new(scope, "p").check(), Ok(()), "{scope:?}");
        }
    }
}
