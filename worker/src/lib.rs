//! The composition root: where a seller's handlers, the registry and Temporal come together.
//!
//! - [`Seller`]: the builder that a seller's `main` uses; [`Seller::run`] gives the binary its commands.
//! - [`Worker`]: a worker as a library, for those who write their own `main`.
//! - `gateway`: the buyers' front door.
//! - `dev`: a whole development environment in one command; with [`DevelopmentTls`], if buyers are to see https.
//! - [`run_handoff`]: the program `handoff`.
//!
//! Invariant: wrong wiring is refused before anything is connected.

mod commands;
mod development_tls;
// What the SDK's macro adds to an activity is not used.
#[allow(dead_code)]
mod housekeeping;
mod seller;
mod temporal_server;
mod worker;

pub use commands::run_handoff;
pub use development_tls::DevelopmentTls;
pub use seller::Seller;
pub use temporal_server::{Port, ServerOptions, TemporalServer};
pub use worker::{Role, Worker, WorkerSettings};
