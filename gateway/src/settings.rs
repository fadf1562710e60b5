//! How the front door behaves.

use std::{net::SocketAddr, num::NonZeroU32, time::Duration};

/// How the front door behaves.
#[derive(Clone, Debug)]
pub struct GatewaySettings {
    /// Where to listen; port 0 is any free one.
    pub address: SocketAddr,
    /// The `Host` headers that are answered: names, or names with a port. Web pages of other hosts are not, either. Empty: all of
    /// them, for where a proxy sees to it.
    pub allowed_hosts: Vec<String>,
    /// The largest HTTP body, in bytes.
    pub max_body_bytes: usize,
    /// How long a connection may be without a whole head of a request: idle between two, or dawdling over one. Longer than proxies
    /// keep idle connections, or they send into one that is being closed.
    pub head_timeout: Duration,
    /// How long a request's body may take to arrive.
    pub body_timeout: Duration,
    /// How long a plain tool may take before its caller is told to come back.
    pub tool_timeout: Duration,
    /// Buyers may give their accounts governance agents, if the seller takes some.
    pub governance: bool,
    /// Requests a second of one agent on this process, and how many at once; none: as many as it likes.
    pub rate_limit: Option<RateLimit>,
    /// New idempotency keys a second of one agent for one account on this process, and how many at once; none: as many as it
    /// likes.
    pub new_keys: Option<RateLimit>,
}

/// A limit on what one agent does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// In the long run.
    pub per_second: NonZeroU32,
    /// After a pause.
    pub burst: NonZeroU32,
}

impl GatewaySettings {
    /// The hosts of this machine itself.
    pub const LOOPBACK_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 8080)),
            allowed_hosts: Self::LOOPBACK_HOSTS.map(str::to_owned).to_vec(),
            max_body_bytes: handoff_proto::limits::MAX_REQUEST_BYTES + 64 * 1024,
            head_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(10),
            tool_timeout: Duration::from_secs(30),
            governance: true,
            rate_limit: None,
            new_keys: None,
        }
    }
}
