//! HTTP: what is let in, how long it may take, and what is told about it.

mod access_log;
mod authenticate;
mod body;
mod health;
pub(crate) mod jsonrpc;
mod nowhere;
mod serve;
mod signature;
mod well_known;

pub(crate) use access_log::CorrelationId;
pub(crate) use authenticate::Challenges;
pub(crate) use body::Arguments;
pub(crate) use serve::serve;
pub(crate) use well_known::WellKnown;

use crate::{door::Door, mcp, resource};
use axum::{Router, middleware, routing};
use std::sync::Arc;

/// Everything that is served.
pub(crate) fn router(door: &Arc<Door>) -> Router {
    // From the outside in: who calls (and signed), then what it says, then the protocol.
    let mcp = Router::new()
        .route_service("/mcp", mcp::service(door))
        .route_service("/mcp/", mcp::service(door))
        .layer(middleware::from_fn_with_state(door.clone(), body::read))
        .layer(middleware::from_fn_with_state(door.clone(), authenticate::authenticate));
    let mut router = Router::new()
        .route("/healthz", routing::get(health::alive))
        .route("/readyz", routing::get(health::ready))
        .route("/metrics", routing::get(health::metrics))
        .route("/.well-known/jwks.json", routing::get(well_known::jwks))
        .route("/.well-known/brand.json", routing::get(well_known::brand));
    if door.resource.is_some() {
        router = router
            .route(resource::WELL_KNOWN, routing::get(well_known::protected_resource))
            .route(&format!("{}/{{*path}}", resource::WELL_KNOWN), routing::get(well_known::protected_resource));
    }
    router
        .with_state(door.clone())
        .merge(mcp)
        .fallback(nowhere::not_found)
        .method_not_allowed_fallback(nowhere::method_not_allowed)
        .layer(middleware::from_fn(access_log::log))
}
