//! HTTPS to strangers' endpoints (AdCP, security, "Webhook URL validation (SSRF)").
//!
//! A name is resolved for each connection, all its addresses are checked, and only what was checked is connected to: there is
//! no second resolution. Addresses in place of names, redirects and proxies are not followed. What a webhook's receiver answers is
//! counted, and thrown away; a document is read up to a size.

mod address;
mod client;
mod resolver;
#[cfg(test)]
mod tests;

pub use address::Networks;
pub use client::{Answer, Document, Egress, EgressError, Reply, SetupError};
pub use reqwest::Method;
pub use resolver::Lookup;

use std::{path::PathBuf, sync::Arc, time::Duration};

/// How far egress may go.
#[derive(Clone, Debug)]
pub struct EgressOptions {
    /// Plain http is refused.
    pub https_only: bool,
    /// Private addresses that may be reached: for development.
    pub allowed: Networks,
    /// Certificates in PEM that are trusted beside the system's.
    pub roots: Option<PathBuf>,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long everything may take, the answer's body included.
    pub timeout: Duration,
    /// What resolves names.
    pub lookup: Arc<dyn Lookup>,
}

impl Default for EgressOptions {
    fn default() -> Self {
        Self {
            https_only: true,
            allowed: Networks::default(),
            roots: None,
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(10),
            lookup: resolver::system(),
        }
    }
}
