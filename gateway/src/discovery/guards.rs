//! What discovery refuses before, and after, anything is started.

use crate::account::Resolved;
use handoff_proto::{verbs, wire::AdcpError};
use serde_json::Value;

/// Refuses what can't be kept: a webhook for an answer that never comes later, or a task of nobody's.
pub(super) fn before(verb: &str, request: &Value, resolved: &Resolved) -> Result<(), AdcpError> {
    let has_webhook = request.get("push_notification_config").is_some_and(|config| !config.is_null());
    // A buyer of a release in which it is always answered at once may register one all the same: its client does so everywhere.
    let allows_async = verbs::find(verb).is_some_and(|verb| verb.allows_async(request));
    if has_webhook && !allows_async {
        return Err(AdcpError::correctable(
            "INVALID_REQUEST",
            "Wholesale discovery is answered at once, so that there is nothing to push.",
        )
        .field("push_notification_config")
        .suggestion("Leave it out."));
    }
    if has_webhook && !resolved.has_account {
        return Err(account_needed());
    }
    Ok(())
}

/// The answer would come later, and later there must be an account to ask for it.
pub(super) fn account_needed() -> AdcpError {
    AdcpError::correctable("INVALID_REQUEST", "An answer that comes later needs an account.")
        .field("account")
        .suggestion("Name the account that the request is for.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use handoff_client::Caller;
    use serde_json::json;

    #[test]
    fn what_can_not_be_kept_is_refused() {
        let push = json!({"url": "https://b.example/w"});
        let wholesale = json!({"buying_mode": "wholesale", "push_notification_config": push});
        let brief = json!({"buying_mode": "brief", "push_notification_config": push});
        let signals = json!({"discovery_mode": "wholesale", "push_notification_config": push});
        for (verb, request, has_account, field) in [
            ("get_products", &wholesale, true, Some("push_notification_config")),
            ("get_signals", &signals, false, Some("push_notification_config")),
            ("get_products", &brief, false, Some("account")),
            ("get_products", &brief, true, None),
            ("get_signals", &json!({"adcp_version": "3.0", "push_notification_config": push}), true, None),
            ("get_products", &json!({"buying_mode": "wholesale", "push_notification_config": null}), false, None),
        ] {
            let resolved = Resolved { caller: Caller::new("a", "p"), has_account };
            let refused = before(verb, request, &resolved).err();
            assert_eq!(refused.as_ref().and_then(|error| error.field.as_deref()), field, "{request}");
        }
    }
}
