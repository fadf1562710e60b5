//! What strangers' JSON must be before anything reads it: no key twice, not too deep.

use handoff_proto::limits::MAX_JSON_DEPTH;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use std::{collections::HashSet, fmt};

// The request is inside of `params.arguments`.
const MAX_DEPTH: usize = MAX_JSON_DEPTH + 3;
// Keys by which serde_json tells itself what a value is; a stranger's would be taken for its own.
const PRIVATE: &str = "$serde_json::private::";

/// Says what is wrong with the text, if anything is.
pub(crate) fn check(text: &str) -> Result<(), String> {
    let mut reader = serde_json::Deserializer::from_str(text);
    Level(0).deserialize(&mut reader).and_then(|_| reader.end()).map_err(|error| error.to_string())
}

/// Reads a value at this depth, and forgets it. `true`: serde_json made the value, of a number.
struct Level(usize);

impl<'de> DeserializeSeed<'de> for Level {
    type Value = bool;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<bool, D::Error> {
        reader.deserialize_any(self)
    }
}

impl Level {
    fn deeper<E: Error>(&self) -> Result<Self, E> {
        if self.0 < MAX_DEPTH {
            Ok(Self(self.0 + 1))
        } else {
            Err(E::custom(format_args!("nested deeper than {MAX_JSON_DEPTH} levels")))
        }
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_i64<E>(self, _: i64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_u64<E>(self, _: u64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_f64<E>(self, _: f64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_str<E>(self, _: &str) -> Result<bool, E> {
        Ok(false)
    }

    // Text is lent; only a number's digits are handed over.
    fn visit_string<E>(self, _: String) -> Result<bool, E> {
        Ok(true)
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<bool, A::Error> {
        while items.next_element_seed(self.deeper()?)?.is_some() {}
        Ok(false)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<bool, A::Error> {
        let mut keys = HashSet::new();
        while let Some(key) = fields.next_key::<String>()? {
            let private = key.starts_with(PRIVATE);
            let number = fields.next_value_seed(self.deeper()?)?;
            if private && !number {
                return Err(A::Error::custom(format_args!("{key:?} is not a usable key")));
            }
            if let Some(key) = keys.replace(key) {
                return Err(A::Error::custom(format_args!("the key {key:?} is there twice")));
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_everyone_reads_alike_passes() {
        for text in [
            "{}",
            "null",
            r#"{"a": [1, -2.50, 1e400, 12345678901234567890123, "x\u0000", true, null, {"a": {"a": 1}}]}"#,
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
        assert_eq!(check(&format!("{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH))), Ok(()));
    }

    #[test]
    fn what_readers_differ_about_does_not() {
        for (text, why) in [
            (r#"{"a": 1, "a": 1}"#, "\"a\" is there twice"),
            (r#"{"b": {"a": 1, "\u0061": 1}}"#, "\"a\" is there twice"),
            (r#"{"$serde_json::private::Number": "1"}"#, "not a usable key"),
            (r#"{"\u0024serde_json::private::RawValue": "{}"}"#, "not a usable key"),
            ("{", "EOF"),
            ("{} {}", "trailing"),
            (&"[".repeat(100_000), "deep"),
            (&format!("{}1", r#"{"a":"#.repeat(MAX_DEPTH + 1)), "deep"),
        ] {
            let told = check(text).unwrap_err();
            assert!(told.contains(why), "{told}");
        }
    }
}
