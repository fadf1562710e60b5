//! What operators and load balancers ask.

use crate::door::Door;
use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use handoff_client::Handoff;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

const PATIENCE: Duration = Duration::from_secs(2);

/// The process runs.
pub(super) async fn alive() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// What is there and what is missing. Ready is who can answer polls: without Temporal or workers new work is refused for the
/// moment, but taking every replica out of the balancer would take the polls with it.
pub(super) async fn ready(State(door): State<Arc<Door>>) -> Response {
    let registry = async { matches!(tokio::time::timeout(PATIENCE, door.tasks.health()).await, Ok(Ok(_))) };
    let (registry, (temporal, workers)) = tokio::join!(registry, look(&door.handoff));
    let parts = [("registry", registry), ("temporal", temporal), ("workers", workers)];
    let missing: Vec<&str> = parts.iter().filter(|(_, there)| !there).map(|(name, _)| *name).collect();
    let (status, word) = match (registry, missing.is_empty()) {
        (true, true) => (StatusCode::OK, "ready"),
        (true, false) => (StatusCode::OK, "degraded"),
        (false, _) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
    };
    (status, Json(json!({"status": word, "missing": missing}))).into_response()
}

// Does Temporal answer, and do workers poll?
async fn look(handoff: &Handoff) -> (bool, bool) {
    match tokio::time::timeout(PATIENCE, handoff.has_workers()).await {
        Ok(Ok(workers)) => (true, workers),
        _ => (false, false),
    }
}

/// What is measured, if anything is.
pub(super) async fn metrics(State(door): State<Arc<Door>>) -> Response {
    match door.metrics.render().await {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(error) => {
            tracing::debug!(%error, "nothing is measured");
            StatusCode::NOT_FOUND.into_response()
        }
    }
}
