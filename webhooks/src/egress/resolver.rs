//! Names become addresses that were checked.

use super::Networks;
use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// Resolves names.
#[async_trait]
pub trait Lookup: fmt::Debug + Send + Sync + 'static {
    /// All addresses of a host.
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's resolver.
pub(super) fn system() -> Arc<dyn Lookup> {
    Arc::new(System)
}

#[derive(Debug)]
struct System;

#[async_trait]
impl Lookup for System {
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// A name that has an address which may not be reached. One is enough: who answers with a public and a private address wants
/// the other one tried next.
#[derive(Debug, thiserror::Error)]
#[error("the name has an address that may not be reached")]
pub(super) struct AddressRefused;

/// A name that has no address.
#[derive(Debug, thiserror::Error)]
#[error("the name has no address")]
pub(super) struct NoAddress;

/// Gives out only what was checked; the client connects to exactly that.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) lookup: Arc<dyn Lookup>,
    pub(super) allowed: Networks,
}

impl Checked {
    pub(super) async fn addresses(
        lookup: Arc<dyn Lookup>,
        allowed: Networks,
        host: String,
    ) -> Result<Vec<SocketAddr>, Box<dyn std::error::Error + Send + Sync>> {
        let addresses = lookup.lookup(&host).await.map_err(|_| NoAddress)?;
        if addresses.is_empty() {
            return Err(NoAddress.into());
        }
        if !addresses.iter().all(|address| allowed.allow(*address)) {
            return Err(AddressRefused.into());
        }
        // Port 0: the URL's own is put in its place.
        Ok(addresses.into_iter().map(|address| SocketAddr::new(address, 0)).collect())
    }
}

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let (lookup, allowed) = (self.lookup.clone(), self.allowed.clone());
        Box::pin(async move {
            let addresses = Self::addresses(lookup, allowed, name.as_str().to_owned()).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}
