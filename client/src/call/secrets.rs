//! Secrets in a request.
//!
//! Those of `push_notification_config` are Handoff's to use: they go into the registry, sealed, and nowhere else. Others are for
//! the seller, who gets them with the request; nothing keeps them in clear as long as there are keys.

use handoff_proto::wire::AdcpError;
use handoff_store::Webhook;
use handoff_webhooks::{Policy, Registration};
use serde_json::{Map, Value};

const CONFIG: &str = "push_notification_config";
// What a run and the seller's handlers may see of it. Not a list of secrets: what is added to the protocol is one until it is
// known not to be.
const PUBLIC: [&str; 2] = ["url", "operation_id"];
const PUBLIC_AUTHENTICATION: [&str; 1] = ["schemes"];

// Write-only, or made to authenticate (core/business-entity.json, core/reporting-webhook.json, core/property-list-ref.json).
const SECRETS: [&str; 3] = ["auth_token", "bank", "credentials"];
const WEBHOOKS: [&str; 2] = ["artifact_webhook", "reporting_webhook"];
// Opaque: whatever is in there is not made known as a secret.
const OPAQUE: [&str; 2] = ["context", "ext"];

/// Takes the webhook's secrets out of a request, and gives the webhook as it was registered.
pub(super) fn take_webhook(request: &mut Value) -> Result<Option<Webhook>, AdcpError> {
    let config = match request.get_mut(CONFIG) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(config)) => config,
        Some(_) => return Err(super::request::invalid(format!("{CONFIG} is no object.")).field(CONFIG)),
    };
    let registered = Value::Object(config.clone()).to_string();
    let mut has_secret = keep(config, &[&PUBLIC[..], &["authentication"]].concat());
    match config.get_mut("authentication") {
        None | Some(Value::Null) => {}
        Some(Value::Object(authentication)) => has_secret |= keep(authentication, &PUBLIC_AUTHENTICATION),
        Some(_) => {
            config.shift_remove("authentication");
            has_secret = true;
        }
    }
    if let Some(url) = config.get("url").and_then(Value::as_str).and_then(without_userinfo) {
        config.insert("url".into(), url.into());
        has_secret = true;
    }
    Ok(Some(Webhook { config_json: registered, has_secret }))
}

/// Refuses a webhook that could not be told, or must not be.
pub(super) fn check_webhook(webhook: &Webhook, policy: &Policy) -> Result<(), AdcpError> {
    // It was written from a value: it is one.
    let config = serde_json::from_str(&webhook.config_json).unwrap_or_default();
    Registration::read(&config, policy).map(|_| ())
}

/// Puts an `operation_id` where the buyer's would be, if there is none.
pub(super) fn name_operation(webhook: &mut Webhook, operation_id: &str) {
    let Ok(Value::Object(mut config)) = serde_json::from_str(&webhook.config_json) else { return };
    if config.get("operation_id").is_none_or(Value::is_null) {
        config.insert("operation_id".into(), operation_id.into());
        webhook.config_json = Value::Object(config).to_string();
    }
}

/// The path of a secret that is left in a request for the seller.
pub(super) fn secret_for_seller(request: &Value) -> Option<String> {
    let fields = request.as_object()?;
    let token = WEBHOOKS.iter().find(|name| fields.get(**name).is_some_and(|webhook| is_there(webhook.get("token"))));
    if let Some(webhook) = token {
        return Some(format!("{webhook}.token"));
    }
    let inside = fields.iter().filter(|(name, _)| !OPAQUE.contains(&name.as_str()));
    inside.map(|(name, value)| find(name, value)).find_map(|found| found)
}

/// Removes all fields but these; says whether there were any with a value.
fn keep(fields: &mut Map<String, Value>, public: &[&str]) -> bool {
    let before = fields.values().filter(|value| !value.is_null()).count();
    fields.retain(|name, _| public.contains(&name.as_str()));
    fields.values().filter(|value| !value.is_null()).count() < before
}

// `None`: there is none.
fn without_userinfo(url: &str) -> Option<String> {
    let mut url = url::Url::parse(url).ok()?;
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    Some(url.into())
}

// The depth of a request is bounded where it is parsed.
fn find(path: &str, value: &Value) -> Option<String> {
    match value {
        Value::Object(fields) => fields.iter().find_map(|(name, value)| {
            let path = format!("{path}.{name}");
            match name.as_str() {
                name if SECRETS.contains(&name) && is_there(Some(value)) => Some(path),
                name if OPAQUE.contains(&name) => None,
                _ => find(&path, value),
            }
        }),
        Value::Array(items) => {
            items.iter().enumerate().find_map(|(index, value)| find(&format!("{path}[{index}]"), value))
        }
        _ => None,
    }
}

fn is_there(value: Option<&Value>) -> bool {
    value.is_some_and(|value| !value.is_null())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_webhooks_secrets_leave_the_request_and_stay_in_the_webhook() {
        let config = json!({
            "url": "https://user:pass@buyer.example/hook?a=1", "operation_id": "op-1", "token": "the token",
            "authentication": {"schemes": ["Bearer"], "credentials": "the credentials"}, "future_secret": 1,
        });
        let mut request = json!({"push_notification_config": config, "budget": 1});
        let webhook = take_webhook(&mut request).unwrap().unwrap();
        assert!(webhook.has_secret);
        assert_eq!(serde_json::from_str::<Value>(&webhook.config_json).unwrap(), config);
        assert!(!format!("{webhook:?}").contains("the "));
        assert_eq!(
            request,
            json!({
                "push_notification_config": {
                    "url": "https://buyer.example/hook?a=1", "operation_id": "op-1",
                    "authentication": {"schemes": ["Bearer"]},
                },
                "budget": 1,
            })
        );
    }

    #[test]
    fn a_webhook_without_secrets_needs_no_keys() {
        for config in [
            json!({"url": "https://b.example"}),
            json!({"url": "https://b.example", "token": null, "authentication": null}),
            json!({"url": "https://b.example", "authentication": {"schemes": ["Bearer"], "credentials": null}}),
        ] {
            let mut request = json!({"push_notification_config": config});
            assert!(!take_webhook(&mut request).unwrap().unwrap().has_secret, "{config}");
        }
        for none in [json!({}), json!({"push_notification_config": null})] {
            assert_eq!(take_webhook(&mut none.clone()).unwrap(), None);
        }
        let error = take_webhook(&mut json!({"push_notification_config": "the token"})).unwrap_err();
        assert!(
            error.field.as_deref() == Some("push_notification_config") && !format!("{error:?}").contains("token\"")
        );
        let mut odd =
            json!({"push_notification_config": {"url": "https://b.example", "authentication": ["the secret"]}});
        assert!(take_webhook(&mut odd).unwrap().unwrap().has_secret && !odd.to_string().contains("secret"));
    }

    #[test]
    fn secrets_for_the_seller_are_found_where_the_protocol_has_them() {
        for (request, path) in [
            (json!({"reporting_webhook": {"token": "t"}}), Some("reporting_webhook.token")),
            (
                json!({"artifact_webhook": {"authentication": {"credentials": "c"}}}),
                Some("artifact_webhook.authentication.credentials"),
            ),
            (json!({"invoice_recipient": {"bank": {"iban": "x"}}}), Some("invoice_recipient.bank")),
            (
                json!({"packages": [{}, {"targeting_overlay": {"property_list": {"auth_token": "t"}}}]}),
                Some("packages[1].targeting_overlay.property_list.auth_token"),
            ),
            (json!({"context": {"credentials": 1}, "ext": {"bank": 1}, "packages": [{"ext": {"bank": 1}}]}), None),
            (json!({"reporting_webhook": {"url": "https://b.example", "token": null}}), None),
        ] {
            assert_eq!(secret_for_seller(&request).as_deref(), path, "{request}");
        }
    }
}
