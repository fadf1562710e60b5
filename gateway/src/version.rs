//! The protocol's releases: which a request may ask for, and which its answer is in (schema core/version-envelope.json).

use handoff_proto::{verbs, wire::AdcpError};
use serde_json::{Value, json};

/// The releases that are spoken.
pub(crate) const SUPPORTED: [&str; 1] = ["3.2"];
/// Their versions.
pub(crate) const MAJORS: [u64; 1] = [3];

const SERVED: &str = "3.2";
// A tool that is no verb, whose answer is closed to it all the same.
const CLOSED: &str = "list_products";

/// Refuses a request of another version of the protocol. A request of another release of this version is served as of the
/// release that is spoken; so is one that does not say.
pub(crate) fn check(request: &Value) -> Result<(), AdcpError> {
    let stated = |name: &'static str| request.get(name).filter(|value| !value.is_null()).map(|value| (name, value));
    for (name, value) in stated("adcp_version").into_iter().chain(stated("adcp_major_version")) {
        let major = match value {
            Value::String(release) => release.split('.').next().and_then(|major| major.parse().ok()),
            number => number.as_u64(),
        };
        match major {
            Some(major) if MAJORS.contains(&major) => {}
            Some(_) => return Err(unsupported(name, value)),
            None => {
                let error = AdcpError::correctable("INVALID_REQUEST", format!("{name} is no version of the protocol."));
                return Err(error.field(name));
            }
        }
    }
    Ok(())
}

fn unsupported(name: &str, value: &Value) -> AdcpError {
    AdcpError::correctable("VERSION_UNSUPPORTED", format!("The protocol's version {value} is not spoken here."))
        .field(name)
        .suggestion(format!("Send a request of release {SERVED}."))
        .details(json!({name: value, "supported_versions": SUPPORTED, "supported_majors": MAJORS}))
}

/// Says which release an answer is in, where the tool's schema has a place for it.
pub(crate) fn stamp(tool: &str, mut body: Value) -> Value {
    let closed = tool == CLOSED || verbs::find(tool).is_some_and(|verb| verb.closed_error_arm);
    if let (false, Some(body)) = (closed, body.as_object_mut()) {
        body.insert("adcp_version".into(), SERVED.into());
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_is_refused_and_another_release_is_served() {
        for (request, code) in [
            (json!({}), None),
            (json!({"adcp_version": null, "adcp_major_version": null}), None),
            (json!({"adcp_version": "3.2", "adcp_major_version": 3}), None),
            (json!({"adcp_version": "3.0"}), None),
            (json!({"adcp_version": "3.9-beta.1"}), None),
            (json!({"adcp_major_version": 3}), None),
            (json!({"adcp_version": "4.0"}), Some("VERSION_UNSUPPORTED")),
            (json!({"adcp_major_version": 99}), Some("VERSION_UNSUPPORTED")),
            (json!({"adcp_version": "3.2", "adcp_major_version": 2}), Some("VERSION_UNSUPPORTED")),
            (json!({"adcp_version": "new"}), Some("INVALID_REQUEST")),
            (json!({"adcp_version": 3.2}), Some("INVALID_REQUEST")),
            (json!({"adcp_major_version": -3}), Some("INVALID_REQUEST")),
            (json!({"adcp_major_version": {}}), Some("INVALID_REQUEST")),
        ] {
            let told = check(&request).err();
            assert_eq!(told.as_ref().map(|error| error.code.as_str()), code, "{request}");
        }
        let details = check(&json!({"adcp_version": "4.0"})).unwrap_err().details.unwrap();
        let told = json!({"adcp_version": "4.0", "supported_versions": ["3.2"], "supported_majors": [3]});
        assert_eq!(*details, told);
    }

    #[test]
    fn closed_answers_are_left_as_they_are() {
        for tool in ["accept_proposal", "buy_products", "control_media_buy", "decline_proposals", "list_products"] {
            assert_eq!(stamp(tool, json!({})), json!({}), "{tool}");
        }
        for tool in ["create_media_buy", "get_adcp_capabilities", "get_task_status", "refine_proposals"] {
            assert_eq!(stamp(tool, json!({})), json!({"adcp_version": "3.2"}), "{tool}");
        }
    }
}
