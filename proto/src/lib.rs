//! The contract of Handoff: what travels between buyers, clients, workers, reviewers and Temporal.
//!
//! - [`v1`]: protobuf messages with canonical protobuf-JSON, for everything that Temporal carries.
//! - [`wire`]: AdCP's own JSON: statuses, errors, the submitted envelope, `get_task_status` and `list_tasks`.
//! - [`verbs`]: the table of asynchronous verbs. A new verb is a line there.
//! - [`tools`]: the table of plain tools.
//! - [`releases`]: the protocol's releases that are spoken, and what each brought.
//! - [`activities`]: names, inputs and outputs of the activities.
//! - [`json`]: canonical JSON, the request hash, and reading of hostile JSON.
//! - [`completion`]: reading what a reviewer sent.
//!
//! Invariants: only this crate knows wire JSON; AdCP bodies keep every number and key as they were written; nothing here
//! does I/O.

pub mod activities;
pub mod completion;
pub mod convert;
pub mod errors;
pub mod ids;
pub mod json;
pub mod limits;
mod number;
pub mod payload;
pub mod releases;
pub mod sandbox;
pub mod tools;
pub mod verbs;
pub mod wire;
pub mod workflows;

/// The protobuf messages of package `handoff.v1`, with canonical protobuf-JSON through serde.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/handoff.v1.rs"));
    include!(concat!(env!("OUT_DIR"), "/handoff.v1.serde.rs"));
    pub use pbjson_types::{Duration as ProtoDuration, Timestamp as ProtoTimestamp};
}

pub use ids::TaskId;
