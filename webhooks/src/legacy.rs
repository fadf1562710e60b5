//! The older ways to authenticate a delivery, for buyers who registered one: HMAC-SHA256 and Bearer. Deprecated in the protocol,
//! gone with AdCP 4.

use ring::hmac;
use secrecy::{ExposeSecret, SecretString};
use std::fmt::Write;

/// The header with the signature.
pub const SIGNATURE_HEADER: &str = "x-adcp-signature";
/// The header with the time that is signed, in seconds since 1970.
pub const TIMESTAMP_HEADER: &str = "x-adcp-timestamp";

/// `X-ADCP-Signature`: over the time, a dot and the body's bytes.
pub fn hmac_sha256(secret: &SecretString, timestamp: i64, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
    let mut context = hmac::Context::with_key(&key);
    context.update(timestamp.to_string().as_bytes());
    context.update(b".");
    context.update(body);
    let mut header = String::from("sha256=");
    for byte in context.sign().as_ref() {
        let _ = write!(header, "{byte:02x}");
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    // python3: hmac.new(b"0"*32, b'1776520800.{"a":1}', hashlib.sha256).hexdigest()
    #[test]
    fn the_time_and_the_body_are_signed() {
        let secret: SecretString = "0".repeat(32).into();
        let signed = hmac_sha256(&secret, 1_776_520_800, br#"{"a":1}"#);
        assert_eq!(signed, "sha256=4c9f7126d7ca854d7810855e7d43a1a988e72d681ddff7f4359a2092b2426551");
        assert_ne!(signed, hmac_sha256(&secret, 1_776_520_801, br#"{"a":1}"#));
    }
}
