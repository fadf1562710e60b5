//! The RFC 9421 profiles of AdCP (security, "Signed requests" and "Webhook callbacks"): of webhooks, which sellers sign, and of requests, which buyers
//! do. Both are signed and verified here.
//!
//! In the profile of webhooks a signature is base64url without padding inside its structured field throughout 3.x, and not the
//! padded base64 of RFC 8941; no library for structured fields reads or writes that. `Content-Digest` is as RFC 9530 has it: so do the
//! protocol's vectors and its SDK, whatever their page says. What requests have, [`Profile`] says.

mod fields;
mod profile;
#[cfg(test)]
mod request_vectors;
mod sign;
mod signed;
#[cfg(test)]
pub(crate) mod vectors;
mod verify;

pub use profile::{ContentDigest, Profile, VerifyError};
pub use sign::{Headers, Request, SIGNATURE_SECONDS, sign, sign_as};
pub use signed::{Head, Signed};
pub use verify::{Received, ReplayGuard, verify};

use crate::Target;
use base64::{Engine, prelude::BASE64_STANDARD};
use ring::digest;

/// What a body is sent as; nothing else is signed.
pub const CONTENT_TYPE: &str = "application/json";
/// What a signature must cover, in the order in which it is signed.
pub const COMPONENTS: [&str; 5] = ["@method", "@target-uri", "@authority", "content-type", "content-digest"];

const LABEL: &str = "sig1";

/// `Content-Digest` of a body.
pub fn content_digest(body: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, body);
    format!("sha-256=:{}:", BASE64_STANDARD.encode(hash))
}

/// One covered component: its name, and its value in this request.
fn component_line(name: &str, value: &str) -> String {
    format!("\"{name}\": {value}\n")
}

/// The text that is signed (RFC 9421, 2.5): each covered component, then the parameters as the header has them.
fn signature_base<'a>(
    components: impl IntoIterator<Item = &'a str>,
    value: impl Fn(&str) -> Option<String>,
    params: &str,
) -> Option<String> {
    let mut base = String::new();
    for name in components {
        base.push_str(&component_line(name, &value(name)?));
    }
    base.push_str(&format!("\"@signature-params\": {params}"));
    Some(base)
}

fn derived(target: &Target, method: &str, name: &str) -> Option<String> {
    match name {
        "@method" => Some(method.to_owned()),
        "@target-uri" => Some(target.uri.clone()),
        "@authority" => Some(target.authority.clone()),
        _ => None,
    }
}
