//! What a handler of a condition answers.

use handoff_proto::{v1, wire::AdcpError};

/// Whether a handler takes on what it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcknowledgementKind {
    /// Will comply.
    Wilco,
    /// Will not, with errors.
    Unable,
    /// Received; no commitment.
    Roger,
}

/// A handler's answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Acknowledgement {
    kind: AcknowledgementKind,
    errors: Vec<AdcpError>,
    warnings: Vec<String>,
    info: Vec<String>,
    debug: Vec<String>,
}

impl Acknowledgement {
    /// Will comply.
    pub fn wilco() -> Self {
        Self::new(AcknowledgementKind::Wilco)
    }

    /// Received; no commitment.
    pub fn roger() -> Self {
        Self::new(AcknowledgementKind::Roger)
    }

    /// Will not comply, for this reason.
    pub fn unable(error: AdcpError) -> Self {
        Self { errors: vec![error], ..Self::new(AcknowledgementKind::Unable) }
    }

    /// Adds an error.
    #[must_use]
    pub fn error(mut self, error: AdcpError) -> Self {
        self.errors.push(error);
        self
    }

    /// Adds a warning.
    #[must_use]
    pub fn warning(mut self, warning: impl Into<String>) -> Self {
        self.warnings.push(warning.into());
        self
    }

    /// Adds information.
    #[must_use]
    pub fn info(mut self, info: impl Into<String>) -> Self {
        self.info.push(info.into());
        self
    }

    /// Adds a detail for debugging.
    #[must_use]
    pub fn debug(mut self, debug: impl Into<String>) -> Self {
        self.debug.push(debug.into());
        self
    }

    /// Whether it takes it on.
    pub fn kind(&self) -> AcknowledgementKind {
        self.kind
    }

    /// Why not, or what else went wrong.
    pub fn errors(&self) -> &[AdcpError] {
        &self.errors
    }

    fn new(kind: AcknowledgementKind) -> Self {
        Self { kind, errors: Vec::new(), warnings: Vec::new(), info: Vec::new(), debug: Vec::new() }
    }

    pub(crate) fn into_message(self) -> v1::Acknowledgement {
        let kind = match self.kind {
            AcknowledgementKind::Wilco => "wilco",
            AcknowledgementKind::Unable => "unable",
            AcknowledgementKind::Roger => "roger",
        };
        v1::Acknowledgement {
            kind: kind.to_owned(),
            errors: self.errors.iter().map(Into::into).collect(),
            warnings: self.warnings,
            info: self.info,
            debug: self.debug,
        }
    }
}
