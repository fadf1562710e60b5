//! The buyers' front door, as a process of its own beside a worker's.

mod away;
pub(crate) mod clients;
mod compliance;
mod fuzz;
mod governance;
mod governance_storyboards;
mod hostile;
mod once;
mod proposals;
mod protocol;
mod request_signing;
mod scenarios;
mod signed_storyboard;
mod slice;
mod sockets;
mod storyboards;
mod strangers;
mod tokens;
