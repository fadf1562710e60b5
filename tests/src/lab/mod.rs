//! The lab seller: does what the request's `lab` object says, writes down each call, and can be made to crash anywhere.

mod calls;
mod faults;
mod seller;

pub use calls::Calls;
pub use faults::{Fault, FaultyRegistry, Moment};
pub use seller::{
    HEARTBEAT_TIMEOUT, HOOKED_VERB, LAB_VERBS, QUICK_VERB, READING_TOOL, RERUNNABLE_TOOL, TOOL, handlers, seller,
};
