//! Webhooks that a request registers with a secret of its own (AdCP, security, "Downgrade and injection resistance"): whoever could
//! write such a request would be told by the seller, so a seller that takes signatures wants one.

use serde_json::Value;

/// Do a tool's arguments register a webhook with `authentication`? At the places that the protocol names.
pub(crate) fn registers_credentials(arguments: &str) -> bool {
    // Most don't: then nothing is read. An escape may hide the word.
    if !arguments.contains("authentication") && !arguments.contains('\\') {
        return false;
    }
    let Ok(request) = serde_json::from_str::<Value>(arguments) else { return false };
    let authenticates = |webhook: &Value| webhook.get("authentication").is_some_and(|given| !given.is_null());
    let any = |webhooks: Option<&Value>| webhooks.and_then(Value::as_array).into_iter().flatten().any(authenticates);
    let accounts = request.get("accounts").and_then(Value::as_array).into_iter().flatten();
    request.get("push_notification_config").is_some_and(authenticates)
        || any(request.get("notification_configs"))
        || any(request.pointer("/configuration/notification_configs"))
        || accounts.map(|account| account.get("notification_configs")).any(any)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn credentials_are_seen_where_they_are_registered() {
        let with = json!({"url": "https://b.example", "authentication": {"schemes": ["Bearer"]}});
        let without = json!({"url": "https://b.example", "authentication": null});
        for (webhook, registers) in [(&with, true), (&without, false)] {
            for request in [
                json!({"push_notification_config": webhook}),
                json!({"notification_configs": [without, webhook]}),
                json!({"configuration": {"notification_configs": [webhook]}}),
                json!({"accounts": [{}, {"notification_configs": [webhook]}]}),
            ] {
                assert_eq!(registers_credentials(&request.to_string()), registers, "{request}");
            }
        }
        assert!(registers_credentials(r#"{"push_notification_config": {"authenticatio\u006e": {}}}"#));
        for request in ["{}", r#"{"context": {"push_notification_config": {"authentication": {}}}}"#, "authentication"]
        {
            assert!(!registers_credentials(request), "{request}");
        }
    }

    /// The protocol's vectors of requests that have to be signed and are not: this is what is seen of them.
    #[test]
    fn the_vector_of_an_unsigned_registration_is_seen() {
        let root = std::env::var_os("HANDOFF_ADCP_VECTORS").expect("run make test, or set HANDOFF_ADCP_VECTORS");
        for directory in ["negative", "profile-3.2/negative"] {
            let directory = std::path::Path::new(&root).join("request-signing").join(directory);
            let read = |name: &str| -> Value {
                serde_json::from_str(&std::fs::read_to_string(directory.join(name)).unwrap()).unwrap()
            };
            let body = |vector: &Value| vector["request"]["body"].as_str().unwrap().to_owned();
            let registers = read("027-webhook-registration-authentication-unsigned.json");
            assert!(registers_credentials(&body(&registers)));
            assert!(!registers_credentials(&body(&read("001-no-signature-header.json"))));
        }
    }
}
