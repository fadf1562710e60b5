//! Messages in Temporal payloads, in each encoding that another language may have chosen.

use prost::Message;
use serde::{Serialize, de::DeserializeOwned};
use temporalio_common_wasm::protos::temporal::api::common::v1::Payload;

/// Why a payload was not accepted; never holds its content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PayloadError(pub String);

/// Reads a message from `json/plain`, `json/protobuf` or `binary/protobuf`.
pub fn decode<M: Message + Default + DeserializeOwned>(payload: &Payload) -> Result<M, PayloadError> {
    match encoding(payload)? {
        Encoding::Json => serde_json::from_slice(&payload.data).map_err(|error| PayloadError(error.to_string())),
        Encoding::Protobuf => M::decode(payload.data.as_slice()).map_err(|error| PayloadError(error.to_string())),
    }
}

/// Writes a message as `json/plain`, as the SDK's own converter does.
pub fn encode<M: Serialize>(message: &M) -> Result<Payload, PayloadError> {
    let data = serde_json::to_vec(message).map_err(|error| PayloadError(error.to_string()))?;
    let metadata = [("encoding".to_owned(), b"json/plain".to_vec())].into();
    Ok(Payload { metadata, data, ..Default::default() })
}

/// How a payload is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Json,
    Protobuf,
}

pub(crate) fn encoding(payload: &Payload) -> Result<Encoding, PayloadError> {
    match payload.metadata.get("encoding").map(|encoding| String::from_utf8_lossy(encoding)).as_deref() {
        Some("json/plain" | "json/protobuf") => Ok(Encoding::Json),
        Some("binary/protobuf") => Ok(Encoding::Protobuf),
        Some(other) => Err(PayloadError(format!("payload encoding {other:?} is not accepted"))),
        None => Err(PayloadError("the payload names no encoding".into())),
    }
}
