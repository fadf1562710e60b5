//! The asynchronous verbs: the 14 of the protocol's manifest with asynchronous responses, `sync_audiences` (a submitted arm
//! inside its response) and `preview_creative` (with `allow_async`). A new verb is a line in [`VERBS`].

use crate::releases::Release;
use serde_json::Value;

/// Whether a verb's requests carry an idempotency key (manifest, `idempotency_requirement`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdempotencyKey {
    /// Without one the request is refused.
    Required,
    /// With one the replay contract holds.
    Optional,
    /// One is tolerated and ignored.
    Ignored,
}

/// A verb that may be answered `submitted`.
#[derive(Debug)]
pub struct Verb {
    /// Name of the AdCP tool, of the workflow type, and value of `task_type`.
    pub name: &'static str,
    /// The AdCP protocol it belongs to, in kebab case.
    pub protocol: &'static str,
    /// Does a request need an idempotency key?
    pub idempotency_key: IdempotencyKey,
    /// Its error arm is `{status, errors}` and nothing else.
    pub closed_error_arm: bool,
    /// Its success carries the envelope's `status`.
    pub status_in_result: bool,
    may_be_async: fn(&Value) -> bool,
}

impl Verb {
    /// Its handlers only read, and may run twice: a request can be answered without a workflow.
    pub fn is_discovery(&self) -> bool {
        matches!(self.name, "get_products" | "get_signals")
    }

    /// May the protocol's rules alone let this request be answered `submitted`, in the release that it is of? A seller may
    /// restrict it further.
    pub fn may_be_async(&self, request: &Value) -> bool {
        self.allows_async(request) && Release::of(request).has_submitted(self.name)
    }

    /// The same, in the latest release.
    pub fn allows_async(&self, request: &Value) -> bool {
        (self.may_be_async)(request)
    }
}

/// All of them.
pub static VERBS: &[Verb] = &[
    verb("accept_proposal", "media-buy", IdempotencyKey::Required, true, always),
    verb("build_creative", "media-buy", IdempotencyKey::Required, false, always),
    verb("buy_products", "media-buy", IdempotencyKey::Required, true, always),
    verb("control_media_buy", "media-buy", IdempotencyKey::Required, true, always),
    verb("create_media_buy", "media-buy", IdempotencyKey::Required, false, always),
    // Its closed success arm forbids `status`, against the protocol's own envelope.
    Verb { status_in_result: false, ..verb("decline_proposals", "media-buy", IdempotencyKey::Required, true, always) },
    verb("get_creative_features", "creative", IdempotencyKey::Optional, false, always),
    verb("get_products", "media-buy", IdempotencyKey::Optional, false, unless_wholesale),
    verb("get_signals", "signals", IdempotencyKey::Ignored, false, unless_wholesale),
    verb("preview_creative", "creative", IdempotencyKey::Ignored, false, if_allowed),
    verb("refine_proposals", "media-buy", IdempotencyKey::Required, false, always),
    verb("request_proposals", "media-buy", IdempotencyKey::Required, false, always),
    verb("sync_audiences", "media-buy", IdempotencyKey::Required, false, always),
    verb("sync_catalogs", "media-buy", IdempotencyKey::Required, false, always),
    verb("sync_creatives", "creative", IdempotencyKey::Required, false, always),
    verb("update_media_buy", "media-buy", IdempotencyKey::Required, false, always),
];

/// The verb of this name.
pub fn find(name: &str) -> Option<&'static Verb> {
    VERBS.iter().find(|verb| verb.name == name)
}

/// May this verb's request, as JSON text, be answered `submitted` by the protocol's rules alone?
pub fn may_be_async(name: &str, request_json: &str) -> bool {
    match (find(name), serde_json::from_str::<Value>(request_json)) {
        (Some(verb), Ok(request)) => verb.may_be_async(&request),
        _ => false,
    }
}

const fn verb(
    name: &'static str,
    protocol: &'static str,
    idempotency_key: IdempotencyKey,
    closed_error_arm: bool,
    may_be_async: fn(&Value) -> bool,
) -> Verb {
    Verb { name, protocol, idempotency_key, closed_error_arm, status_in_result: true, may_be_async }
}

fn always(_: &Value) -> bool {
    true
}

// Wholesale discovery must not use Submitted (get_products: buying_mode, get_signals: discovery_mode).
fn unless_wholesale(request: &Value) -> bool {
    !["buying_mode", "discovery_mode"].iter().any(|mode| request.get(mode).and_then(Value::as_str) == Some("wholesale"))
}

fn if_allowed(request: &Value) -> bool {
    request.get("allow_async").and_then(Value::as_bool) == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn asynchrony_is_decided_per_request() {
        let cases = [
            ("get_products", json!({"buying_mode": "brief", "brief": "x"}), true),
            ("get_products", json!({"buying_mode": "wholesale"}), false),
            ("get_signals", json!({"discovery_mode": "wholesale"}), false),
            ("preview_creative", json!({}), false),
            ("preview_creative", json!({"allow_async": true}), true),
            ("create_media_buy", json!({}), true),
            ("create_media_buy", json!({"adcp_major_version": 3}), true),
            ("get_signals", json!({"adcp_version": "3.1"}), true),
            ("get_signals", json!({"adcp_version": "3.0"}), false),
            ("get_signals", json!({"adcp_major_version": 3}), false),
            ("preview_creative", json!({"allow_async": true, "adcp_version": "3.1"}), false),
        ];
        for (name, request, expected) in cases {
            assert_eq!(find(name).unwrap().may_be_async(&request), expected, "{name} {request}");
        }
        assert_eq!(VERBS.len(), 16);
        assert!(find("list_products").is_none());
    }
}
