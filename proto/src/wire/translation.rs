//! Answers of verbs in the words of an older release. They are made, checked and recorded as of the latest (schemas
//! media-buy/{create-media-buy,update-media-buy,get-products}-response.json of 3.0, 3.1 and 3.2).

use super::{AdcpError, TaskStatus, completed_body, failed_body};
use crate::{releases::Release, verbs};
use serde_json::Value;

/// Puts a verb's answer into the words of a release. Done again, it changes nothing. `true`: it was another. An error: the release
/// has no such answer.
pub fn translate(release: Release, verb: &str, body: &mut Value) -> Result<bool, AdcpError> {
    match verb {
        "get_products" if release < Release::V3_2 && is(body, TaskStatus::Rejected) => {
            Err(release.refuses("The seller declines, which can't be said"))
        }
        "create_media_buy" | "update_media_buy" if release == Release::V3_0 => Ok(tell_state(body)),
        _ => Ok(false),
    }
}

/// The full response that a task's buyer is told of, as JSON text and without `context`, if the release's words for it are not the
/// seller's own: translated, or the refusal of what the release can't say. `None`: it is as the result has it.
pub fn translated_result(release: Release, verb: &str, result_json: &str) -> Option<String> {
    if release == Release::LATEST {
        return None;
    }
    let known = verbs::find(verb);
    let mut body = completed_body(known, serde_json::from_str(result_json).ok()?);
    match translate(release, verb, &mut body) {
        Ok(changed) => changed.then(|| body.to_string()),
        Err(refusal) => Some(failed_body(known, &refusal).to_string()),
    }
}

// 3.0's `status` of a success is the media buy's, from 3.1 on it is the task's.
fn tell_state(body: &mut Value) -> bool {
    let state = body.get("media_buy_status").filter(|state| state.is_string()).cloned();
    match state {
        Some(state) if is(body, TaskStatus::Completed) && state != TaskStatus::Completed.as_str() => {
            body["status"] = state;
            true
        }
        _ => false,
    }
}

fn is(body: &Value, status: TaskStatus) -> bool {
    body.get("status").and_then(Value::as_str) == Some(status.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const BUY: &str = "create_media_buy";

    fn translated(release: Release, verb: &str, body: &Value) -> Result<Value, AdcpError> {
        let mut told = body.clone();
        let changed = translate(release, verb, &mut told)?;
        assert_eq!(changed, told != *body, "{release} {verb} {body}");
        let once = told.clone();
        assert_eq!(translate(release, verb, &mut told), Ok(false), "{release} {verb} {body}: again");
        assert_eq!(told, once);
        Ok(told)
    }

    #[test]
    fn in_3_0_the_status_of_a_media_buys_success_is_the_media_buys() {
        let bought = json!({"status": "completed", "media_buy_id": "m", "media_buy_status": "pending_start"});
        let told = json!({"status": "pending_start", "media_buy_id": "m", "media_buy_status": "pending_start"});
        for verb in [BUY, "update_media_buy"] {
            assert_eq!(translated(Release::V3_0, verb, &bought), Ok(told.clone()), "{verb}");
            for newer in [Release::V3_1, Release::V3_2] {
                assert_eq!(translated(newer, verb, &bought), Ok(bought.clone()), "{verb} {newer}");
            }
        }
        for other in [
            json!({"status": "submitted", "task_id": "t"}),
            json!({"status": "completed", "media_buy_id": "m"}),
            json!({"status": "completed", "media_buy_status": "completed"}),
            json!({"status": "completed", "media_buy_status": 5}),
            json!({"status": "working", "media_buy_status": "active"}),
            json!([]),
        ] {
            assert_eq!(translated(Release::V3_0, BUY, &other), Ok(other.clone()));
        }
        assert_eq!(translated(Release::V3_0, "sync_creatives", &bought), Ok(bought));
    }

    #[test]
    fn a_decline_that_the_release_can_not_say_is_an_error() {
        let declined = json!({"status": "rejected", "reason": "no"});
        for old in [Release::V3_0, Release::V3_1] {
            let refusal = translated(old, "get_products", &declined).unwrap_err();
            assert_eq!(
                (refusal.code.as_str(), refusal.field.as_deref()),
                ("UNSUPPORTED_FEATURE", Some("adcp_version"))
            );
            assert_eq!(translated(old, BUY, &declined), Ok(declined.clone()));
        }
        assert_eq!(translated(Release::V3_2, "get_products", &declined), Ok(declined));
    }

    #[test]
    fn a_result_is_translated_whole_and_its_numbers_stay_as_written() {
        let bought = r#"{"media_buy_id":"m","price":1.10,"media_buy_status":"active"}"#;
        let told = r#"{"status":"active","media_buy_id":"m","price":1.10,"media_buy_status":"active"}"#;
        assert_eq!(translated_result(Release::V3_0, BUY, bought).as_deref(), Some(told));
        for newer in [Release::V3_1, Release::V3_2] {
            assert_eq!(translated_result(newer, BUY, bought), None, "{newer}");
        }
        for same in [r#"{"media_buy_id":"m"}"#, told, "no JSON", "5", ""] {
            assert_eq!(translated_result(Release::V3_0, BUY, same), None, "{same}");
        }
        let declined = r#"{"status":"rejected","reason":"no"}"#;
        let refusal: Value =
            serde_json::from_str(&translated_result(Release::V3_1, "get_products", declined).unwrap()).unwrap();
        assert_eq!(
            (&refusal["status"], &refusal["errors"][0]["code"]),
            (&json!("failed"), &json!("UNSUPPORTED_FEATURE"))
        );
        assert_eq!(translated_result(Release::V3_2, "get_products", declined), None);
    }
}
