//! What the integration tests stand on: real Temporal servers, real databases, real worker processes, and waiting for
//! conditions instead of sleeping.

pub mod answer;
mod collector;
mod counts;
mod database;
pub mod decision;
pub mod front;
pub mod fuzz;
mod governance;
mod inprocess;
mod issuer;
pub mod lab;
mod process;
pub mod recorder;
mod schemas;
mod scrape;
mod site;
mod temporal;
mod wait;
mod world;

pub use collector::{Collector, Received};
pub use counts::Counts;
pub use database::{Database, Kind};
pub use governance::GovernanceAgent;
pub use inprocess::InProcessWorker;
pub use issuer::{Issuer, TokenKey};
pub use process::{Process, binary};
pub use schemas::Schemas;
pub use scrape::Scrape;
pub use temporal::Temporal;
pub use wait::{eventually, eventually_within, few_at_once};
pub use world::{PRINCIPAL, SCOPE, World, fresh_key, payload, request};
