//! The protocol's releases: which a request may ask for, and what its answer is in the release that it is of (schema
//! core/version-envelope.json, and the schemas of 3.0 and 3.1).

use handoff_proto::{
    releases::Release,
    verbs,
    wire::{self, AdcpError},
};
use serde_json::{Map, Value, json};
use std::borrow::Cow;

/// The versions of the protocol that are spoken.
pub(crate) const MAJORS: [u64; 1] = [3];

// A tool that is no verb, whose answer is closed to the release all the same.
const CLOSED: &str = "list_products";
// Of 3.0's `compliance_testing.scenarios`, a closed list.
const SCENARIOS_OF_3_0: [&str; 6] = [
    "force_creative_status",
    "force_account_status",
    "force_media_buy_status",
    "force_session_status",
    "simulate_delivery",
    "simulate_budget_spend",
];

/// The releases that are spoken.
pub(crate) fn supported() -> [&'static str; 3] {
    Release::ALL.map(Release::as_str)
}

/// Refuses a request of another version of the protocol, and of a release that does not have the tool.
pub(crate) fn check(tool: &str, request: &Value) -> Result<(), AdcpError> {
    let stated = |name: &'static str| request.get(name).filter(|value| !value.is_null()).map(|value| (name, value));
    for (name, value) in stated("adcp_version").into_iter().chain(stated("adcp_major_version")) {
        match major(value) {
            Some(major) if MAJORS.contains(&major) => {}
            Some(_) => return Err(unsupported(name, value)),
            None => {
                let error = AdcpError::correctable("INVALID_REQUEST", format!("{name} is no version of the protocol."));
                return Err(error.field(name));
            }
        }
    }
    let release = Release::of(request);
    if release.has_tool(tool) { Ok(()) } else { Err(release.refuses(&format!("There is no {tool}"))) }
}

fn major(value: &Value) -> Option<u64> {
    let Value::String(release) = value else { return value.as_u64() };
    let (major, minor) = release.split_once('.')?;
    // A pre-release is told apart by its tag.
    minor.split('-').next()?.parse::<u32>().ok()?;
    major.parse().ok()
}

fn unsupported(name: &str, value: &Value) -> AdcpError {
    AdcpError::correctable("VERSION_UNSUPPORTED", format!("The protocol's version {value} is not spoken here."))
        .field(name)
        .suggestion(format!("Send a request of release {}.", Release::LATEST))
        .details(json!({name: value, "supported_versions": supported(), "supported_majors": MAJORS}))
}

/// A request without what only older releases have in it, so that it can be checked as of the latest: which matters a governance agent
/// is for, where it is for all now.
pub(crate) fn as_latest<'a>(tool: &str, request: &'a Value) -> Cow<'a, Value> {
    if tool != wire::SYNC_GOVERNANCE || Release::of(request) == Release::LATEST {
        return Cow::Borrowed(request);
    }
    let mut request = request.clone();
    for account in request.get_mut("accounts").and_then(Value::as_array_mut).into_iter().flatten() {
        for agent in account.get_mut("governance_agents").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(agent) = agent.as_object_mut() {
                agent.shift_remove("categories");
            }
        }
    }
    Cow::Owned(request)
}

/// An answer as the release has it. It was made, checked and recorded as of the latest. An error: the release has no such answer.
/// A task's result, in a poll, stays as it is: it is of the release that its own request is of.
pub(crate) fn project(release: Release, tool: &str, mut body: Value) -> Result<Value, AdcpError> {
    wire::translate(release, tool, &mut body)?;
    if tool == "get_adcp_capabilities" && release < Release::LATEST {
        older_capabilities(release, &mut body);
    }
    Ok(body)
}

/// 3.0's buyers find the key of a purchase in its answer.
pub(crate) fn echo_key(release: Release, tool: &str, request: &Value, body: &mut Value) {
    if release == Release::V3_0
        && tool == "create_media_buy"
        && let Some(key) = request.get("idempotency_key").filter(|key| key.is_string())
    {
        body["idempotency_key"] = key.clone();
    }
}

/// An error's body as the release has it.
pub(crate) fn project_error(release: Release, mut body: Value) -> Value {
    // 3.0 takes whatever else stands beside them in this one error for a leak of the request that holds the key.
    if release == Release::V3_0
        && let Some(error) = body.get_mut("adcp_error").and_then(Value::as_object_mut)
        && error.get("code").is_some_and(|code| code == "IDEMPOTENCY_CONFLICT")
    {
        error.retain(|name, _| ["code", "message"].contains(&name.as_str()));
    }
    body
}

// What was a yes or no before 3.2, and what was not there.
fn older_capabilities(release: Release, body: &mut Value) {
    if let Some(Value::Object(targeting)) = body.pointer_mut("/media_buy/execution/targeting") {
        for name in ["geo_regions", "language"] {
            if targeting.get(name).is_some_and(Value::is_object) {
                targeting.insert(name.into(), true.into());
            }
        }
    }
    if release == Release::V3_0
        && let Some(fields) = body.as_object_mut()
    {
        known_scenarios(fields);
    }
}

fn known_scenarios(capabilities: &mut Map<String, Value>) {
    let Some(scenarios) = capabilities.get_mut("compliance_testing").and_then(|block| block.get_mut("scenarios"))
    else {
        return;
    };
    if let Some(list) = scenarios.as_array_mut() {
        list.retain(|name| name.as_str().is_some_and(|name| SCENARIOS_OF_3_0.contains(&name)));
        if list.is_empty() {
            capabilities.shift_remove("compliance_testing");
        }
    }
}

/// Says which release an answer is in, where the tool's schema has a place for it.
pub(crate) fn stamp(release: Release, tool: &str, mut body: Value) -> Value {
    let closed = tool == CLOSED || verbs::find(tool).is_some_and(|verb| verb.closed_error_arm);
    if let (false, Some(body)) = (closed, body.as_object_mut()) {
        body.insert("adcp_version".into(), release.as_str().into());
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOL: &str = "create_media_buy";

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
            (json!({"adcp_version": "3"}), Some("INVALID_REQUEST")),
            (json!({"adcp_version": "3.0.6"}), Some("INVALID_REQUEST")),
            (json!({"adcp_version": 3.2}), Some("INVALID_REQUEST")),
            (json!({"adcp_major_version": -3}), Some("INVALID_REQUEST")),
            (json!({"adcp_major_version": {}}), Some("INVALID_REQUEST")),
        ] {
            let told = check(TOOL, &request).err();
            assert_eq!(told.as_ref().map(|error| error.code.as_str()), code, "{request}");
        }
        let details = check(TOOL, &json!({"adcp_version": "4.0"})).unwrap_err().details.unwrap();
        let told = json!({"adcp_version": "4.0", "supported_versions": ["3.0", "3.1", "3.2"], "supported_majors": [3]});
        assert_eq!(*details, told);
    }

    #[test]
    fn a_tool_that_the_release_does_not_have_is_refused() {
        for (tool, request, has) in [
            ("buy_products", json!({}), true),
            ("buy_products", json!({"adcp_version": "3.2"}), true),
            ("buy_products", json!({"adcp_version": "3.1"}), false),
            ("list_products", json!({"adcp_major_version": 3}), false),
            ("get_task_status", json!({"adcp_major_version": 3}), true),
            ("a_sellers_own", json!({"adcp_version": "3.0"}), true),
        ] {
            let told = check(tool, &request).err();
            let code = told.as_ref().map(|error| error.code.as_str());
            assert_eq!(code, (!has).then_some("UNSUPPORTED_FEATURE"), "{tool} {request}");
        }
    }

    #[test]
    fn closed_answers_are_left_as_they_are() {
        for tool in ["accept_proposal", "buy_products", "control_media_buy", "decline_proposals", "list_products"] {
            assert_eq!(stamp(Release::V3_2, tool, json!({})), json!({}), "{tool}");
        }
        for tool in ["create_media_buy", "get_adcp_capabilities", "get_task_status", "refine_proposals"] {
            assert_eq!(stamp(Release::V3_1, tool, json!({})), json!({"adcp_version": "3.1"}), "{tool}");
        }
    }

    #[test]
    fn in_3_0_a_purchase_is_answered_with_its_key() {
        let request = json!({"idempotency_key": "k"});
        let told = |release, tool, request: &Value| {
            let mut body = json!({});
            echo_key(release, tool, request, &mut body);
            body
        };
        assert_eq!(told(Release::V3_0, TOOL, &request), json!({"idempotency_key": "k"}));
        for (release, tool, request) in [
            (Release::V3_1, TOOL, &request),
            (Release::V3_0, "update_media_buy", &request),
            (Release::V3_0, TOOL, &json!({"idempotency_key": null})),
        ] {
            assert_eq!(told(release, tool, request), json!({}), "{release} {tool} {request}");
        }
    }

    #[test]
    fn a_verbs_answer_is_translated_and_a_tasks_result_is_not() {
        let bought = json!({"status": "completed", "media_buy_id": "m", "media_buy_status": "pending_start"});
        let told = json!({"status": "pending_start", "media_buy_id": "m", "media_buy_status": "pending_start"});
        assert_eq!(project(Release::V3_0, TOOL, bought.clone()).unwrap(), told);
        assert_eq!(project(Release::V3_1, TOOL, bought.clone()).unwrap(), bought);
        assert_eq!(project(Release::V3_0, "get_media_buys", bought.clone()).unwrap(), bought);
        for result in [bought, told] {
            let polled = json!({"status": "completed", "task_type": TOOL, "result": result});
            for release in Release::ALL {
                assert_eq!(project(release, "get_task_status", polled.clone()).unwrap(), polled, "{release}");
            }
        }
        let declined = json!({"status": "rejected", "reason": "no"});
        assert_eq!(project(Release::V3_1, "get_products", declined).unwrap_err().code, "UNSUPPORTED_FEATURE");
    }

    #[test]
    fn capabilities_are_said_in_the_release_s_words() {
        let capabilities = json!({
            "media_buy": {"execution": {"targeting": {"geo_regions": {"countries": ["US"]}, "language": false}}},
            "compliance_testing": {"scenarios": ["force_account_status", "force_task_completion"]},
        });
        let told = |release| project(release, "get_adcp_capabilities", capabilities.clone()).unwrap();
        assert_eq!(told(Release::V3_2), capabilities);
        let targeting = json!({"geo_regions": true, "language": false});
        for old in [Release::V3_0, Release::V3_1] {
            assert_eq!(told(old)["media_buy"]["execution"]["targeting"], targeting, "{old}");
        }
        assert_eq!(told(Release::V3_0)["compliance_testing"], json!({"scenarios": ["force_account_status"]}));
        assert_eq!(told(Release::V3_1)["compliance_testing"], capabilities["compliance_testing"]);
        let own = json!({"compliance_testing": {"scenarios": ["force_task_completion"]}});
        assert_eq!(project(Release::V3_0, "get_adcp_capabilities", own).unwrap(), json!({}));
    }

    #[test]
    fn in_3_0_a_conflict_says_nothing_but_that_it_is_one() {
        let body =
            |code: &str| json!({"adcp_error": {"code": code, "message": "m", "recovery": "correctable", "field": "f"}});
        let told = project_error(Release::V3_0, body("IDEMPOTENCY_CONFLICT"));
        assert_eq!(told, json!({"adcp_error": {"code": "IDEMPOTENCY_CONFLICT", "message": "m"}}));
        assert_eq!(project_error(Release::V3_0, body("INVALID_REQUEST")), body("INVALID_REQUEST"));
        assert_eq!(project_error(Release::V3_2, body("IDEMPOTENCY_CONFLICT")), body("IDEMPOTENCY_CONFLICT"));
    }

    #[test]
    fn what_3_0_had_of_governance_agents_is_no_mistake_of_its_buyers() {
        let agent = json!({"url": "https://g.example", "categories": ["budget_authority"]});
        let request = json!({"adcp_major_version": 3, "accounts": [{"governance_agents": [agent]}, 5]});
        let latest =
            json!({"adcp_major_version": 3, "accounts": [{"governance_agents": [{"url": "https://g.example"}]}, 5]});
        assert_eq!(*as_latest("sync_governance", &request), latest);
        assert_eq!(*as_latest("sync_accounts", &request), request);
        let mut of_3_2 = request;
        of_3_2["adcp_version"] = json!("3.2");
        assert_eq!(*as_latest("sync_governance", &of_3_2), of_3_2);
    }
}
