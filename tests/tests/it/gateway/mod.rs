//! The buyers' front door, as a process of its own beside a worker's.

mod away;
mod clients;
mod hostile;
mod slice;
