//! One line a request: what, how it ended, how long it took. No secret, no query string, no body.

use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use std::time::Instant;
use tracing::Instrument;

const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");

/// Ties everything that is logged about a request together; the caller sees it in `x-correlation-id`.
#[derive(Clone, Debug)]
pub(crate) struct CorrelationId(pub(crate) String);

/// What the line says that only an inner layer knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    pub(crate) principal: Option<String>,
    pub(crate) tool: Option<String>,
    pub(crate) keyid: Option<String>,
}

pub(super) async fn log(mut request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let correlation_id = uuid::Uuid::now_v7().simple().to_string();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    request.extensions_mut().insert(CorrelationId(correlation_id.clone()));
    let span = tracing::info_span!("request", correlation_id);
    let mut response = next.run(request).instrument(span).await;
    let told = response.extensions_mut().remove::<Told>().unwrap_or_default();
    tracing::info!(
        target: "handoff::access",
        correlation_id,
        %method,
        path,
        status = response.status().as_u16(),
        micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
        principal = told.principal,
        tool = told.tool,
        keyid = told.keyid,
    );
    if let Ok(value) = HeaderValue::from_str(&correlation_id) {
        response.headers_mut().insert(CORRELATION_ID, value);
    }
    response
}
