//! The buyers' front door: an AdCP agent over MCP.

pub mod schema;
