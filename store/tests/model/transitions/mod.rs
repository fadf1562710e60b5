//! Who may do what next.

pub(crate) mod clients;
pub(crate) mod decide;
pub(crate) mod executions;
pub(crate) mod purge;
pub(crate) mod reconcile;
pub(crate) mod runs;

use crate::{state::State, step::Step};

/// The states that may follow, each with what leads there.
pub(crate) type Next = Vec<(Step, State)>;
