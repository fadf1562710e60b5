//! What comes in with requests, and never goes out: the protocol calls it write-only.
//!
//! A bank account (core/business-entity.json), a billing identity that is staged (account/sync-accounts-request.json), and the
//! credentials of whatever a buyer registered to be called (core/notification-config.json, core/account.json,
//! core/push-notification-config.json). Nothing else: a token that the protocol has a seller give out is the buyer's to get.

use serde_json::{Map, Value};

// Opaque: a buyer gets its context back unchanged, and an extension is its parties' own.
const OPAQUE: [&str; 2] = ["context", "ext"];
const BANK: &str = "bank";
const STAGED: &str = "destination_billing_entity";
const AUTHENTICATION: &str = "authentication";
const CREDENTIALS: &str = "credentials";
const TOKEN: &str = "token";
// Their schemas know no authentication without credentials.
const WHOLLY: [&str; 4] = ["artifact_webhook", "governance_agents", "push_notification_config", "reporting_webhook"];
// The seller's own, for the buyer to call (brand/acquire-rights-response.json).
const SELLERS: &str = "approval_webhook";

/// Takes what is write-only out of a result, or out of an error's details. `true`: there was some.
pub fn strip_write_only(value: &mut Value) -> bool {
    strip("", value)
}

/// The same for JSON text, which stays as it was written unless there was some. What is not JSON holds nothing.
#[must_use]
pub fn without_write_only(text: String) -> String {
    if !may_hold_some(&text) {
        return text;
    }
    match serde_json::from_str::<Value>(&text) {
        Ok(mut value) => {
            if strip_write_only(&mut value) {
                value.to_string()
            } else {
                text
            }
        }
        Err(_) => text,
    }
}

// Spares most results the reading. A name may be spelled with escapes.
fn may_hold_some(text: &str) -> bool {
    text.contains("\\u") || [BANK, STAGED, AUTHENTICATION].iter().chain(&WHOLLY).any(|name| text.contains(name))
}

fn strip(name: &str, value: &mut Value) -> bool {
    match value {
        Value::Object(fields) => strip_fields(name, fields),
        Value::Array(items) => items.iter_mut().fold(false, |found, item| strip(name, item) | found),
        _ => false,
    }
}

fn strip_fields(name: &str, fields: &mut Map<String, Value>) -> bool {
    if name == SELLERS {
        return false;
    }
    let mut found = fields.shift_remove(STAGED).is_some();
    if fields.get(BANK).is_some_and(Value::is_object) {
        fields.shift_remove(BANK);
        found = true;
    }
    if WHOLLY.contains(&name) {
        found |= fields.shift_remove(AUTHENTICATION).is_some() | fields.shift_remove(TOKEN).is_some();
    } else if let Some(Value::Object(authentication)) = fields.get_mut(AUTHENTICATION) {
        found |= authentication.shift_remove(CREDENTIALS).is_some();
    }
    let inside = fields.iter_mut().filter(|(name, _)| !OPAQUE.contains(&name.as_str()));
    inside.fold(found, |found, (name, value)| strip(name, value) | found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(before: Value, after: Value) {
        let text = before.to_string();
        let mut value = before;
        assert_eq!(
            (strip_write_only(&mut value), &value),
            (value != serde_json::from_str::<Value>(&text).unwrap(), &after)
        );
        assert_eq!(serde_json::from_str::<Value>(&without_write_only(text)).unwrap(), after);
    }

    #[test]
    fn what_the_protocol_marks_is_taken_out_wherever_it_is() {
        let bank = json!({"account_holder": "P", "iban": "DE02", "bic": "B"});
        check(
            json!({"media_buy_id": "m", "invoice_recipient": {"legal_name": "P", "bank": bank}}),
            json!({"media_buy_id": "m", "invoice_recipient": {"legal_name": "P"}}),
        );
        check(
            json!({"accounts": [{"billing_entity": {"bank": bank}, "destination_billing_entity": {"legal_name": "Q"}}]}),
            json!({"accounts": [{"billing_entity": {}}]}),
        );
        let authentication = json!({"schemes": ["Bearer"], "credentials": "c"});
        check(
            json!({"notification_configs": [{"subscriber_id": "s", "authentication": authentication}]}),
            json!({"notification_configs": [{"subscriber_id": "s", "authentication": {"schemes": ["Bearer"]}}]}),
        );
        for name in ["push_notification_config", "reporting_webhook", "artifact_webhook"] {
            check(
                json!({name: {"url": "https://b.example", "token": "t", "authentication": authentication}}),
                json!({name: {"url": "https://b.example"}}),
            );
        }
        check(
            json!({"accounts": [{"governance_agents": [{"url": "https://g.example", "authentication": authentication}]}]}),
            json!({"accounts": [{"governance_agents": [{"url": "https://g.example"}]}]}),
        );
    }

    #[test]
    fn what_is_the_buyers_to_get_stays() {
        for kept in [
            json!({"context": {"bank": {"iban": "x"}}, "ext": {"authentication": {"credentials": "c"}}}),
            json!({"packages": [{"context": {"destination_billing_entity": 1}}]}),
            json!({"approval_webhook": {"url": "https://s.example", "authentication": {"schemes": ["Bearer"], "credentials": "c"}}}),
            json!({"auth_token": "t", "list": {"list_id": "l"}, "bank": "river"}),
            json!({"token": "t", "credentials": "c"}),
        ] {
            check(kept.clone(), kept);
        }
    }

    #[test]
    fn text_stays_as_it_was_written() {
        for kept in [r#"{"price":1.10,  "bank": "x"}"#, r#"{"a":"\u00e4"}"#, "authentication, but no JSON", "[]"] {
            assert_eq!(without_write_only(kept.to_owned()), kept);
        }
        let escaped = r#"{"price":1.10,"b\u0061nk":{"iban":"DE02"}}"#;
        assert_eq!(without_write_only(escaped.to_owned()), r#"{"price":1.10}"#);
    }
}
