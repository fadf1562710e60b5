//! Reading a buyer's request, as far as every verb needs it.

use super::{CallError, secrets};
use handoff_proto::{
    errors,
    json::{self, JsonError},
    limits::{MAX_CONTEXT_BYTES, MAX_REQUEST_BYTES},
    tools,
    verbs::{self, IdempotencyKey, Verb},
    wire::{self, AdcpError},
};
use handoff_store::{ProposalUse, Webhook};
use serde_json::Value;
use std::{borrow::Cow, fmt, time::Duration};

/// A request that may be claimed.
pub(super) struct Request<'a> {
    /// Absent for a plain tool.
    pub(super) verb: Option<&'static Verb>,
    pub(super) tool: String,
    pub(super) protocol: &'static str,
    status_in_result: bool,
    requirement: IdempotencyKey,
    /// As the buyer wrote it; a verb's without what is the webhook's alone.
    pub(super) text: Cow<'a, str>,
    pub(super) body: Value,
    /// The webhook that it registers.
    pub(super) webhook: Option<Webhook>,
    /// The proposal that it buys.
    pub(super) proposal: Option<ProposalUse>,
    pub(super) idempotency_key: Option<String>,
    pub(super) hash: String,
    /// How long to wait before `submitted` may be said.
    pub(super) sync_deadline: Duration,
    /// Its account is a sandbox.
    pub(super) sandbox: bool,
}

impl<'a> Request<'a> {
    pub(super) fn read(verb: &str, text: &'a [u8], longest_wait: Duration) -> Result<Self, CallError> {
        let verb = verbs::find(verb).ok_or_else(|| {
            AdcpError::correctable("UNSUPPORTED_FEATURE", format!("{verb:?} is not a verb that this seller runs."))
                .suggestion("Call get_adcp_capabilities for what is supported.")
        })?;
        let mut request = Self::parse(verb.name, text, longest_wait)?;
        request.webhook = secrets::take_webhook(&mut request.body)?;
        if request.webhook.is_some() {
            // Written anew even without a secret: in the text there may be another webhook under the same name.
            request.text = request.body.to_string().into();
        }
        request.idempotency_key = idempotency_key(verb.idempotency_key, &request.body)?;
        request.sync_deadline = sync_deadline(&request.body, longest_wait)?;
        request.verb = Some(verb);
        request.protocol = verb.protocol;
        request.status_in_result = verb.status_in_result;
        request.requirement = verb.idempotency_key;
        Ok(request)
    }

    /// A plain tool's request. What is no tool of the protocol is one of the seller's own. A webhook in it is for its handler:
    /// there is no task to tell of, and nothing of the request is stored but its hash.
    pub(super) fn read_plain(tool: &str, text: &'a [u8], longest_wait: Duration) -> Result<Self, CallError> {
        let known = tools::find(tool).unwrap_or(&tools::UNLISTED);
        let mut request = Self::parse(tool, text, longest_wait)?;
        request.idempotency_key = idempotency_key(known.idempotency_key, &request.body)?;
        request.protocol = known.protocol;
        request.status_in_result = known.status_in_result;
        request.requirement = known.idempotency_key;
        Ok(request)
    }

    fn parse(tool: &str, text: &'a [u8], sync_deadline: Duration) -> Result<Self, CallError> {
        let body = json::parse_object(text, MAX_REQUEST_BYTES).map_err(unreadable)?;
        let text = std::str::from_utf8(text).map_err(|_| invalid("The request is not UTF-8."))?;
        if let Some(size) =
            context_of(&body).map(|context| context.to_string().len()).filter(|size| *size > MAX_CONTEXT_BYTES)
        {
            let message = format!("context has {size} bytes, at most {MAX_CONTEXT_BYTES} are accepted.");
            return Err(invalid(message).field("context").into());
        }
        let hash = json::request_hash(&body).map_err(unreadable)?;
        Ok(Self {
            verb: None,
            tool: tool.to_owned(),
            protocol: tools::UNLISTED.protocol,
            status_in_result: true,
            requirement: IdempotencyKey::Ignored,
            text: text.into(),
            body,
            webhook: None,
            proposal: None,
            idempotency_key: None,
            hash,
            sync_deadline,
            sandbox: false,
        })
    }

    /// Whether the protocol wants a key.
    pub(super) fn requirement(&self) -> IdempotencyKey {
        self.requirement
    }

    /// A result as the body of an answer.
    pub(super) fn completed_body(&self, result: Value) -> Value {
        if self.status_in_result { wire::completed_body(self.verb, result) } else { result }
    }

    /// May the answer be `submitted`, by the protocol's rules?
    pub(super) fn may_be_async(&self) -> bool {
        self.verb.is_some_and(|verb| verb.may_be_async(&self.body))
    }

    /// To be echoed.
    pub(super) fn context(&self) -> Option<&Value> {
        context_of(&self.body)
    }

    /// Refuses a request with a secret that nothing could keep.
    pub(super) fn needs_no_keys(&self) -> Result<(), AdcpError> {
        if self.webhook.as_ref().is_some_and(|webhook| webhook.has_secret) {
            return Err(errors::keys_required("push_notification_config"));
        }
        match secrets::secret_for_seller(&self.body) {
            Some(path) => Err(errors::keys_required(&path)),
            None => Ok(()),
        }
    }
}

// A body may hold anything.
impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("tool", &self.tool).field("hash", &self.hash).finish_non_exhaustive()
    }
}

/// A request's `context`; `null` is none.
pub(super) fn context_of(request: &Value) -> Option<&Value> {
    request.get("context").filter(|context| !context.is_null())
}

pub(super) fn invalid(message: impl Into<String>) -> AdcpError {
    AdcpError::correctable("INVALID_REQUEST", message)
}

fn unreadable(error: JsonError) -> AdcpError {
    invalid(format!("The request can't be read: {error}."))
}

fn idempotency_key(requirement: IdempotencyKey, request: &Value) -> Result<Option<String>, AdcpError> {
    let wrong = |message: &str| {
        invalid(message).field("idempotency_key").suggestion(
            "Send 16 to 255 letters, digits, '_', '.', ':' or '-', for example a UUID; a new one per request.",
        )
    };
    match (requirement, request.get("idempotency_key")) {
        (IdempotencyKey::Ignored, _) | (IdempotencyKey::Optional, None) => Ok(None),
        (IdempotencyKey::Required, None) => Err(wrong("idempotency_key is required.")),
        (_, Some(Value::String(key))) if is_key(key) => Ok(Some(key.clone())),
        (_, Some(_)) => Err(wrong("idempotency_key is malformed.")),
    }
}

// ^[A-Za-z0-9_.:-]{16,255}$
fn is_key(key: &str) -> bool {
    (16..=255).contains(&key.len())
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-'))
}

/// How long to wait before `submitted` may be said: `longest`, unless the request's `time_budget` is shorter.
pub fn sync_deadline(request: &Value, longest: Duration) -> Result<Duration, AdcpError> {
    match request.get("time_budget") {
        None | Some(Value::Null) => Ok(longest),
        Some(budget) => Ok(time_budget(budget)?.map_or(longest, |budget| budget.min(longest))),
    }
}

// core/duration.json; `None` for a whole campaign, which bounds nothing here.
fn time_budget(budget: &Value) -> Result<Option<Duration>, AdcpError> {
    let wrong = || {
        invalid("time_budget is malformed.")
            .field("time_budget")
            .suggestion(r#"Send for example {"interval": 30, "unit": "seconds"}."#)
    };
    let interval = budget.get("interval").and_then(Value::as_u64).filter(|interval| *interval > 0).ok_or_else(wrong)?;
    let seconds = match budget.get("unit").and_then(Value::as_str) {
        Some("seconds") => 1,
        Some("minutes") => 60,
        Some("hours") => 3_600,
        Some("days") => 86_400,
        Some("campaign") => return Ok(None),
        _ => return Err(wrong()),
    };
    Ok(Some(Duration::from_secs(interval.saturating_mul(seconds))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const WAIT: Duration = Duration::from_secs(10);

    fn read(verb: &str, request: Value) -> Result<(Option<String>, Duration), AdcpError> {
        match Request::read(verb, request.to_string().as_bytes(), WAIT) {
            Ok(request) => Ok((request.idempotency_key, request.sync_deadline)),
            Err(error) => Err(error.to_adcp()),
        }
    }

    #[test]
    fn the_key_is_checked_as_its_verb_requires() {
        let key = "0123456789abcdef";
        assert_eq!(read("create_media_buy", json!({"idempotency_key": key})).unwrap().0.as_deref(), Some(key));
        assert_eq!(read("get_products", json!({})).unwrap().0, None);
        assert_eq!(read("get_signals", json!({"idempotency_key": 5})).unwrap().0, None);
        let long = "x".repeat(256);
        for bad in
            [json!("short"), json!(long), json!("0123456789 abcdef"), json!("0123456789äbcdef"), json!(7), json!(null)]
        {
            for verb in ["create_media_buy", "get_products"] {
                let error = read(verb, json!({"idempotency_key": bad})).unwrap_err();
                assert_eq!((error.code.as_str(), error.field.as_deref()), ("INVALID_REQUEST", Some("idempotency_key")));
            }
        }
        let missing = read("create_media_buy", json!({})).unwrap_err();
        assert_eq!(missing.field.as_deref(), Some("idempotency_key"));
    }

    #[test]
    fn a_time_budget_only_shortens_the_wait() {
        let wait = |budget: Value| read("get_products", json!({"time_budget": budget})).map(|(_, wait)| wait);
        assert_eq!(wait(json!({"interval": 3, "unit": "seconds"})), Ok(Duration::from_secs(3)));
        for long in ["minutes", "hours", "days", "campaign"] {
            assert_eq!(wait(json!({"interval": 1, "unit": long})), Ok(WAIT), "{long}");
        }
        assert_eq!(wait(json!({"interval": u64::MAX, "unit": "days"})), Ok(WAIT));
        for bad in [
            json!({"interval": 0, "unit": "seconds"}),
            json!({"interval": -1, "unit": "seconds"}),
            json!({"interval": 1.5, "unit": "seconds"}),
            json!({"interval": 1, "unit": "weeks"}),
            json!({"interval": 1}),
            json!("10s"),
        ] {
            assert_eq!(wait(bad.clone()).unwrap_err().field.as_deref(), Some("time_budget"), "{bad}");
        }
    }

    #[test]
    fn what_runs_has_no_secret_of_the_webhook_and_the_hash_is_of_the_whole() {
        // Of two with one name the last counts; the first must not slip through.
        let text = br#"{"push_notification_config": {"url": "https://b.example", "token": "first token"},
            "push_notification_config": {"url": "https://b.example", "token": "second token"}, "brief": 1.10}"#;
        let request = Request::read("get_products", text, WAIT).unwrap();
        assert!(!request.text.contains("token") && request.text.contains("1.10"), "{}", request.text);
        assert!(!format!("{request:?}").contains("second token"));
        let body = json::parse_object(text, MAX_REQUEST_BYTES).unwrap();
        assert_eq!(request.hash, json::request_hash(&body).unwrap());
        let refused = request.needs_no_keys().unwrap_err();
        assert_eq!(
            (refused.code.as_str(), refused.field.as_deref()),
            (errors::KEYS_REQUIRED, Some("push_notification_config"))
        );
        let plain = br#"{"brief":  "x", "push_notification_config": {"url": "https://b.example"}}"#;
        Request::read("get_products", plain, WAIT).unwrap().needs_no_keys().unwrap();
        let untouched = br#"{ "brief":  "x" }"#;
        assert_eq!(Request::read("get_products", untouched, WAIT).unwrap().text.as_bytes(), untouched);
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let refused: [(&str, &[u8]); 5] = [
            ("no_such_verb", b"{}"),
            ("get_products", b""),
            ("get_products", b"[]"),
            ("get_products", b"\xff"),
            ("get_products", br#"{"budget": 1e999}"#),
        ];
        for (verb, text) in refused {
            assert!(Request::read(verb, text, WAIT).is_err(), "{verb} {text:?}");
        }
    }
}
