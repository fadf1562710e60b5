//! The tools: which there are, and how each kind is answered.

mod capabilities;
mod catalog;
mod plain;
mod polls;
mod verb;

pub(crate) use capabilities::{capabilities, compose as compose_capabilities};
pub(crate) use catalog::{Catalog, Kind};
pub(crate) use plain::plain;
pub(crate) use polls::{task_list, task_status};
pub(crate) use verb::verb;
