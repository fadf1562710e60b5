//! The endpoint with which Temporal's UI and CLI encode what people type and decode what they look at:
//! `POST /encode` and `POST /decode` with `{"payloads": [{"metadata": {…}, "data": "…"}]}`, bytes in base64.

use super::{EncryptingCodec, KeyProvider, OpenError};
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Request, State, rejection::JsonRejection},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::post,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use ring::{hmac, rand::SystemRandom};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use temporalio_common::protos::temporal::api::common::v1;
use tokio::net::TcpListener;
use tower_http::cors::CorsLayer;

/// The shortest token that is accepted.
pub const MIN_TOKEN_BYTES: usize = 16;

// A page of history, in base64.
const MAX_BODY_BYTES: usize = 16 << 20;
// Sent by the UI beside the token.
const NAMESPACE: HeaderName = HeaderName::from_static("x-namespace");

/// What the endpoint needs.
#[derive(Clone)]
pub struct CodecServer {
    /// The keys.
    pub keys: Arc<dyn KeyProvider>,
    /// What a caller has to send as `Authorization: Bearer …`.
    pub token: SecretString,
    /// Where pages come from that may call it: the UI's origins, such as `http://localhost:8233`.
    pub origins: Vec<String>,
}

/// Why the endpoint can't be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// A token that can be guessed.
    #[error("HANDOFF_CODEC_TOKEN must have at least {MIN_TOKEN_BYTES} bytes: whoever knows it reads everything")]
    Token,
    /// An origin that no browser sends.
    #[error("{0:?} is not an origin such as http://localhost:8233, without path or wildcard")]
    Origin(String),
    /// The system has no random bytes.
    #[error("the system gives no random bytes")]
    NoRandomness,
    /// The connection can't be served.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Serves until `stop`, then finishes what was begun.
pub async fn serve(
    listener: TcpListener,
    server: CodecServer,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    Ok(axum::serve(listener, router(server)?).with_graceful_shutdown(stop).await?)
}

/// The endpoint as a service, to be mounted elsewhere.
pub fn router(server: CodecServer) -> Result<Router, ServeError> {
    let origins = server.origins.iter().map(|origin| read_origin(origin)).collect::<Result<Vec<_>, _>>()?;
    let cors = CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::POST])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE, NAMESPACE])
        .max_age(Duration::from_secs(3600));
    let guard = Arc::new(Guard::new(&server.token)?);
    Ok(Router::new()
        .route("/encode", post(encode))
        .route("/decode", post(decode))
        .with_state(EncryptingCodec::new(server.keys))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn_with_state(guard, authorize))
        // Outermost: a browser asks first whether it may send the token, without it.
        .layer(cors))
}

fn read_origin(text: &str) -> Result<HeaderValue, ServeError> {
    let wrong = || ServeError::Origin(text.to_owned());
    let url = url::Url::parse(text).map_err(|_| wrong())?;
    // Exactly as browsers write it, because that is what is compared.
    if !matches!(url.scheme(), "http" | "https") || url.origin().ascii_serialization() != text {
        return Err(wrong());
    }
    HeaderValue::from_str(text).map_err(|_| wrong())
}

/// Knows the token by a keyed hash, which ring compares in constant time, whatever its length.
struct Guard {
    key: hmac::Key,
    expected: hmac::Tag,
}

impl Guard {
    fn new(token: &SecretString) -> Result<Self, ServeError> {
        let token = token.expose_secret();
        if token.len() < MIN_TOKEN_BYTES {
            return Err(ServeError::Token);
        }
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).map_err(|_| ServeError::NoRandomness)?;
        let expected = hmac::sign(&key, token.as_bytes());
        Ok(Self { key, expected })
    }

    fn admits(&self, header: Option<&HeaderValue>) -> bool {
        let Some((scheme, token)) = header.and_then(|value| value.to_str().ok()).and_then(|text| text.split_once(' '))
        else {
            return false;
        };
        let told = hmac::verify(&self.key, token.trim().as_bytes(), self.expected.as_ref());
        scheme.eq_ignore_ascii_case("bearer") && told.is_ok()
    }
}

async fn authorize(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    if guard.admits(request.headers().get(header::AUTHORIZATION)) {
        return next.run(request).await;
    }
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
    let refusal = Refusal::new(StatusCode::UNAUTHORIZED, "send HANDOFF_CODEC_TOKEN as Authorization: Bearer …");
    (challenge, refusal).into_response()
}

type Body = Result<Json<Payloads>, JsonRejection>;

async fn encode(State(codec): State<EncryptingCodec>, body: Body) -> Result<Json<Payloads>, Refusal> {
    match codec.seal(read(body)?).await {
        Ok(sealed) => Ok(Json(sealed.into())),
        Err(error) => Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())),
    }
}

async fn decode(State(codec): State<EncryptingCodec>, body: Body) -> Result<Json<Payloads>, Refusal> {
    match codec.open(read(body)?).await {
        Ok(opened) => Ok(Json(opened.into())),
        Err(error @ OpenError::Unavailable(_)) => Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())),
        Err(error) => Err(Refusal::new(StatusCode::BAD_REQUEST, error.to_string())),
    }
}

// Refusals don't quote the body.
fn read(body: Body) -> Result<Vec<v1::Payload>, Refusal> {
    let Json(body) = body.map_err(|rejection| {
        Refusal::new(rejection.status(), "the body is not {\"payloads\": […]} as JSON, or it is too large")
    })?;
    body.payloads
        .into_iter()
        .map(v1::Payload::try_from)
        .collect::<Result<_, _>>()
        .map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, "metadata and data must be base64"))
}

struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(json!({"message": self.message}))).into_response()
    }
}

// Temporal's protobuf-JSON of `Payloads`.
#[derive(Deserialize, Serialize)]
struct Payloads {
    #[serde(default)]
    payloads: Vec<Payload>,
}

#[derive(Deserialize, Serialize)]
struct Payload {
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    data: String,
}

impl From<Vec<v1::Payload>> for Payloads {
    fn from(payloads: Vec<v1::Payload>) -> Self {
        let to_json = |payload: v1::Payload| Payload {
            metadata: payload.metadata.into_iter().map(|(name, value)| (name, BASE64_STANDARD.encode(value))).collect(),
            data: BASE64_STANDARD.encode(payload.data),
        };
        Self { payloads: payloads.into_iter().map(to_json).collect() }
    }
}

impl TryFrom<Payload> for v1::Payload {
    type Error = base64::DecodeError;

    fn try_from(payload: Payload) -> Result<Self, Self::Error> {
        let bytes = |(name, text)| Ok((name, BASE64_STANDARD.decode::<String>(text)?));
        let metadata = payload.metadata.into_iter().map(bytes).collect::<Result<_, Self::Error>>()?;
        Ok(Self { metadata, data: BASE64_STANDARD.decode(payload.data)?, ..Default::default() })
    }
}

#[cfg(test)]
mod tests;
