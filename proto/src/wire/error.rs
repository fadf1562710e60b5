//! AdCP errors (schema core/error.json).

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

/// Whether, and how, a buyer can recover from an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recovery {
    /// The same request may succeed later.
    Transient,
    /// A changed request may succeed.
    Correctable,
    /// No request of this kind will succeed.
    Terminal,
}

impl Recovery {
    /// The protocol's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Correctable => "correctable",
            Self::Terminal => "terminal",
        }
    }
}

/// One problem at one place of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issue {
    /// JSON pointer (RFC 6901) into the request.
    pub pointer: String,
    /// What is wrong there.
    pub message: String,
    /// The JSON Schema keyword that failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub keyword: String,
    /// The schema that rejects, as a path on the protocol's site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_id: Option<String>,
    /// Where in that schema the keyword is.
    #[serde(default, rename = "schemaPath", skip_serializing_if = "Option::is_none")]
    pub schema_path: Option<String>,
}

/// An error as AdCP has it on the wire. As the answer of a seller's handler it is a decision, not a crash.
///
/// Kept below 128 bytes, because it is the error type of nearly every `Result` that a seller writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdcpError {
    /// From the protocol's vocabulary (enums/error-code.json), or `X_{VENDOR}_{CODE}`.
    pub code: String,
    /// For people.
    pub message: String,
    /// Whether a retry can help. Required of 3.2 producers.
    #[serde(default = "AdcpError::default_recovery")]
    pub recovery: Recovery,
    /// Path of the offending field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<Box<str>>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<Box<str>>,
    /// Seconds until a retry makes sense, 1 to 3600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u16>,
    /// Problems by place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub issues: Vec<Issue>,
    /// Anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Box<Value>>,
}

impl AdcpError {
    /// The same request may succeed later.
    pub fn transient(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(code, message, Recovery::Transient)
    }

    /// A changed request may succeed.
    pub fn correctable(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(code, message, Recovery::Correctable)
    }

    /// No request of this kind will succeed.
    pub fn terminal(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(code, message, Recovery::Terminal)
    }

    fn new(code: impl Into<String>, message: impl Into<String>, recovery: Recovery) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            recovery,
            field: None,
            suggestion: None,
            retry_after: None,
            issues: Vec::new(),
            details: None,
        }
    }

    /// Names the offending field.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into().into());
        self
    }

    /// Says what to do about it.
    #[must_use]
    pub fn suggestion(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into().into());
        self
    }

    /// Says when a retry makes sense; clamped to the protocol's 1 to 3600 seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(u16::try_from(seconds).unwrap_or(u16::MAX).clamp(1, 3600));
        self
    }

    /// Lists problems by place.
    #[must_use]
    pub fn issues(mut self, issues: Vec<Issue>) -> Self {
        self.issues = issues;
        self
    }

    /// Adds anything else.
    #[must_use]
    pub fn details(mut self, details: Value) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    /// Without what the protocol marks write-only: see [`strip_write_only`](super::strip_write_only).
    #[must_use]
    pub fn without_write_only(mut self) -> Self {
        if let Some(details) = &mut self.details {
            super::strip_write_only(details);
        }
        self
    }

    /// `recovery: transient`: worth another attempt.
    pub fn is_transient(&self) -> bool {
        self.recovery == Recovery::Transient
    }

    /// The error as wire JSON.
    pub fn to_json(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    // A producer that left `recovery` out promised nothing; repeating its request blindly is the one thing that can harm.
    fn default_recovery() -> Recovery {
        Recovery::Terminal
    }
}

impl fmt::Display for AdcpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.code, self.message, self.recovery.as_str())?;
        if let Some(field) = &self.field {
            write!(f, ", field {field}")?;
        }
        Ok(())
    }
}

impl std::error::Error for AdcpError {}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn wire_form_omits_what_is_absent_and_reads_back() {
        let error =
            AdcpError::correctable("BUDGET_TOO_LOW", "at least 500").field("packages[0].budget").retry_after(9000);
        let wire = error.to_json();
        assert_eq!(
            wire,
            json!({"code": "BUDGET_TOO_LOW", "message": "at least 500", "recovery": "correctable", "field": "packages[0].budget", "retry_after": 3600})
        );
        assert_eq!(serde_json::from_value::<AdcpError>(wire).unwrap(), error);
    }
}
