//! Numbers of protobuf-JSON, which may be written as numbers or as strings.

use serde::{Deserialize, Deserializer, de::Error};
use std::{fmt::Display, str::FromStr};

/// Takes the place of pbjson's type of the same name, which buffers numbers in a way that does not work with
/// serde_json's `arbitrary_precision`.
pub(crate) struct NumberDeserialize<T>(pub(crate) T);

impl<'de, T> Deserialize<'de> for NumberDeserialize<T>
where
    T: FromStr,
    T::Err: Display,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::Number(number) => number.to_string(),
            serde_json::Value::String(text) => text,
            other => return Err(D::Error::custom(format_args!("expected a number, found {other}"))),
        };
        text.parse()
            .map(NumberDeserialize)
            .map_err(|error| D::Error::custom(format_args!("{text:?} is not a valid number: {error}")))
    }
}
