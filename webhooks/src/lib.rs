//! Webhooks as AdCP has them: what a buyer registers, how a delivery authenticates itself, and how it leaves the house.
//!
//! - [`Registration`]: a request's `push_notification_config`, checked.
//! - [`signature`]: the RFC 9421 profiles, of webhooks for signing and verifying, of buyers' requests for verifying.
//! - [`keys`]: signing keys, their rotation, and the documents that publish them.
//! - [`legacy`]: HMAC-SHA256 and Bearer, for buyers who asked for them.
//! - [`Egress`]: an HTTPS client that connects only to addresses that it has checked.
//! - [`McpAgent`]: a stranger's agent that is asked something, by the same way out.
//! - [`retry`]: what an answer means, and when to try again.
//!
//! Invariants: no secret and no response body is in an error, a log line or a `Debug`; nothing here reads or writes the
//! registry, or knows Temporal.

pub mod egress;
pub mod keys;
mod lanes;
pub mod legacy;
mod mcp;
mod registration;
pub mod retry;
mod sender;
pub mod signature;
mod target;

pub use egress::{Egress, EgressOptions};
pub use lanes::{Lane, Lanes};
pub use mcp::{McpAgent, McpError};
pub use registration::{Authentication, OperationIdPolicy, Policy, Registration};
pub use sender::{Attempt, ErrorClass, Sender};
pub use target::{MalformedTarget, Target};
