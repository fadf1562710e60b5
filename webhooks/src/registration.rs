//! A request's `push_notification_config` (schema core/push-notification-config.json), checked.

use crate::egress::Networks;
use handoff_proto::wire::AdcpError;
use secrecy::SecretString;
use serde_json::{Map, Value};
use std::{fmt, net::IpAddr, str::FromStr};
use url::{Host, Url};

const MAX_URL_BYTES: usize = 2_048;
const MIN_CREDENTIALS: usize = 32;
const MAX_CREDENTIALS: usize = 4_096;

/// What a seller makes of a registration without `operation_id`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OperationIdPolicy {
    /// It is refused, as the schema says: the body that would be sent needs one.
    #[default]
    Required,
    /// It is taken, and nothing is ever sent.
    Tolerated,
    /// It is taken, and the task's id stands in its place: for buyers of AdCP 3.0, who had none to send.
    Assigned,
}

impl FromStr for OperationIdPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "required" => Ok(Self::Required),
            "tolerated" => Ok(Self::Tolerated),
            "assigned" => Ok(Self::Assigned),
            _ => Err("it is \"required\", \"tolerated\" or \"assigned\"".to_owned()),
        }
    }
}

impl fmt::Display for OperationIdPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Required => "required",
            Self::Tolerated => "tolerated",
            Self::Assigned => "assigned",
        })
    }
}

/// Which registrations a seller takes.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Plain http is refused.
    pub https_only: bool,
    /// What is done without `operation_id`.
    pub operation_id: OperationIdPolicy,
    /// The older ways to authenticate are refused: HMAC-SHA256 and Bearer.
    pub signed_only: bool,
    /// There are no keys to sign with: only the older ways can be honoured.
    pub unsigned_only: bool,
    /// Private addresses that may be named.
    pub allowed: Networks,
}

/// How a delivery authenticates itself, other than by signature.
#[derive(Clone, Debug)]
pub enum Authentication {
    /// `Authorization: Bearer …`.
    Bearer(SecretString),
    /// `X-ADCP-Signature`.
    HmacSha256(SecretString),
}

/// Where a webhook goes, and how.
#[derive(Clone, Debug)]
pub struct Registration {
    /// The endpoint. Its path and query may hold secrets: they are not to be logged.
    pub url: Url,
    /// To be echoed. Without one nothing can be sent.
    pub operation_id: Option<String>,
    /// To be echoed in the body.
    pub token: Option<SecretString>,
    /// Absent: deliveries are signed.
    pub authentication: Option<Authentication>,
}

impl Registration {
    /// Reads and checks a registration. The error names the field and never its value. Names are not resolved: that is done
    /// when something is sent, each time.
    pub fn read(config: &Value, policy: &Policy) -> Result<Self, AdcpError> {
        let fields = config.as_object().ok_or_else(|| refused("", "is no object"))?;
        let url = read_url(text(fields, "url")?, policy)?;
        let operation_id = text(fields, "operation_id")?.map(str::to_owned);
        match &operation_id {
            Some(id) if !is_id(id) => {
                return Err(refused(".operation_id", "has 1 to 255 letters, digits, '_', '.', ':' or '-'"));
            }
            None if policy.operation_id == OperationIdPolicy::Required => {
                return Err(refused(".operation_id", "is required")
                    .suggestion("Send an operation_id of your own, unique per request; every webhook echoes it."));
            }
            _ => {}
        }
        let token = text(fields, "token")?;
        if token.is_some_and(|token| !(16..=4_096).contains(&token.chars().count())) {
            return Err(refused(".token", "has 16 to 4096 characters"));
        }
        let authentication = read_authentication(fields, policy)?;
        Ok(Self { url, operation_id, token: token.map(Into::into), authentication })
    }

    /// Scheme, host and port of the endpoint: what may be logged.
    pub fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }
}

fn read_url(url: Option<&str>, policy: &Policy) -> Result<Url, AdcpError> {
    let wrong = |what: &str| refused(".url", what);
    let url = url.ok_or_else(|| wrong("is required"))?;
    if url.len() > MAX_URL_BYTES {
        return Err(wrong(&format!("has at most {MAX_URL_BYTES} bytes")));
    }
    if url.chars().any(|char| char.is_control() || char.is_whitespace() || char == '\\') {
        return Err(wrong("is not a URL"));
    }
    let parsed = Url::parse(url).map_err(|_| wrong("is not a URL"))?;
    match parsed.scheme() {
        "https" => {}
        "http" if !policy.https_only => {}
        "http" => return Err(wrong("must begin with https://")),
        _ => return Err(wrong("must be an https URL")),
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(wrong("must not carry a user or a password")
            .suggestion("Use the registration's token, or verify the signature."));
    }
    check_host(&parsed, &policy.allowed).map_err(wrong)?;
    crate::Target::canonical(parsed.as_str()).map_err(|_| wrong("is not a URL that can be signed"))?;
    Ok(parsed)
}

/// Refuses addresses in place of names, however they are written, unless they are allowed.
pub(crate) fn check_host(url: &Url, allowed: &Networks) -> Result<(), &'static str> {
    let address = match url.host() {
        None => return Err("has no host"),
        Some(Host::Domain(_)) => return Ok(()),
        Some(Host::Ipv4(address)) => IpAddr::V4(address),
        Some(Host::Ipv6(address)) => IpAddr::V6(address),
    };
    if allowed.contains(address) { Ok(()) } else { Err("must name a host, not an address") }
}

fn read_authentication(fields: &Map<String, Value>, policy: &Policy) -> Result<Option<Authentication>, AdcpError> {
    let authentication = match fields.get("authentication") {
        None | Some(Value::Null) if policy.unsigned_only => {
            return Err(AdcpError::correctable("UNSUPPORTED_FEATURE", "This seller has no key to sign webhooks with.")
                .field(field(""))
                .suggestion("Poll get_task_status, or register an authentication."));
        }
        None | Some(Value::Null) => return Ok(None),
        Some(authentication) => authentication,
    };
    let fields = authentication.as_object().ok_or_else(|| refused(".authentication", "is no object"))?;
    if fields.keys().any(|name| name != "schemes" && name != "credentials") {
        return Err(refused(".authentication", "has only schemes and credentials"));
    }
    let schemes = fields.get("schemes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let [Value::String(scheme)] = schemes else {
        return Err(refused(".authentication.schemes", "is one of [\"Bearer\"] and [\"HMAC-SHA256\"]"));
    };
    if policy.signed_only {
        return Err(AdcpError::correctable(
            "UNSUPPORTED_FEATURE",
            "This seller signs its webhooks (RFC 9421), and nothing else.",
        )
        .field(field(".authentication"))
        .suggestion("Leave authentication out, and verify with the keys that the seller's brand.json points to."));
    }
    let credentials = text(fields, "credentials").map_err(|error| error.field(field(".authentication.credentials")))?;
    let credentials = credentials.filter(|text| (MIN_CREDENTIALS..=MAX_CREDENTIALS).contains(&text.chars().count()));
    let Some(credentials) = credentials else {
        return Err(refused(
            ".authentication.credentials",
            &format!("has {MIN_CREDENTIALS} to {MAX_CREDENTIALS} characters"),
        ));
    };
    match scheme.as_str() {
        "HMAC-SHA256" => Ok(Some(Authentication::HmacSha256(credentials.into()))),
        "Bearer" if credentials.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok(Some(Authentication::Bearer(credentials.into())))
        }
        "Bearer" => Err(refused(".authentication.credentials", "has characters that no header can carry")),
        _ => Err(refused(".authentication.schemes", "is one of [\"Bearer\"] and [\"HMAC-SHA256\"]")),
    }
}

fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, AdcpError> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(refused(&format!(".{name}"), "is no text")),
    }
}

fn is_id(text: &str) -> bool {
    (1..=255).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-'))
}

fn field(path: &str) -> String {
    format!("push_notification_config{path}")
}

fn refused(path: &str, what: &str) -> AdcpError {
    AdcpError::correctable("INVALID_REQUEST", format!("{} {what}.", field(path))).field(field(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn registration() -> Value {
        json!({"url": "https://buyer.example/hook?key=v", "operation_id": "op-1", "token": "t".repeat(16)})
    }

    fn read(change: impl FnOnce(&mut Value), policy: &Policy) -> Result<Registration, AdcpError> {
        let mut config = registration();
        change(&mut config);
        Registration::read(&config, policy)
    }

    fn field_of(change: impl FnOnce(&mut Value), policy: &Policy) -> String {
        let error = read(change, policy).unwrap_err();
        assert!(matches!(error.code.as_str(), "INVALID_REQUEST" | "UNSUPPORTED_FEATURE"), "{error}");
        error.field.as_deref().unwrap_or_default().trim_start_matches("push_notification_config").to_owned()
    }

    #[test]
    fn a_good_registration_is_taken_and_tells_no_secret() {
        let production = Policy { https_only: true, ..Policy::default() };
        let good = read(|_| {}, &production).unwrap();
        assert_eq!((good.operation_id.as_deref(), good.origin().as_str()), (Some("op-1"), "https://buyer.example"));
        assert!(!format!("{good:?}").contains("tttt"));
        for (scheme, ok) in [("Bearer", true), ("HMAC-SHA256", true), ("Digest", false)] {
            let authentication = json!({"schemes": [scheme], "credentials": "c".repeat(32)});
            let read = read(|config| config["authentication"] = authentication, &production);
            assert_eq!(read.is_ok(), ok, "{scheme}");
            assert!(!format!("{read:?}").contains("cccc"));
        }
    }

    #[test]
    fn urls_that_lead_astray_are_refused() {
        let production = Policy { https_only: true, ..Policy::default() };
        let long = format!("https://buyer.example/{}", "x".repeat(2_048));
        for url in [
            "",
            "buyer.example/hook",
            "ftp://buyer.example",
            "http://buyer.example/hook",
            "https://",
            &long,
            "https://user@buyer.example/",
            "https://user:pass@buyer.example/",
            "https://:pass@buyer.example/",
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://0177.0.0.1/",
            "https://127.1/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://93.184.216.34/",
            "https://buyer.example\\@evil/",
            "https://buyer.example/a b",
            "https://buyer..example/",
            "file:///etc/passwd",
        ] {
            assert_eq!(field_of(|config| config["url"] = json!(url), &production), ".url", "{url}");
        }
        assert_eq!(field_of(|config| config["url"] = json!(7), &production), ".url");
        let lab = Policy { allowed: "127.0.0.0/8".parse().unwrap(), ..Policy::default() };
        assert!(read(|config| config["url"] = json!("http://127.0.0.1:1234/hook"), &lab).is_ok());
        assert_eq!(field_of(|config| config["url"] = json!("http://10.0.0.1/"), &lab), ".url");
    }

    #[test]
    fn everything_else_is_checked_where_it_stands() {
        let policy = Policy::default();
        for (field, value) in [
            ("operation_id", json!(null)),
            ("operation_id", json!("")),
            ("operation_id", json!("a b")),
            ("operation_id", json!("x".repeat(256))),
            ("operation_id", json!(5)),
            ("token", json!("short")),
            ("token", json!("x".repeat(4_097))),
            ("token", json!({})),
        ] {
            assert_eq!(field_of(|config| config[field] = value.clone(), &policy), format!(".{field}"), "{value}");
        }
        for (authentication, path) in [
            (json!("Bearer"), ".authentication"),
            (json!({}), ".authentication.schemes"),
            (json!({"schemes": []}), ".authentication.schemes"),
            (json!({"schemes": ["Bearer", "HMAC-SHA256"]}), ".authentication.schemes"),
            (json!({"schemes": ["Bearer"]}), ".authentication.credentials"),
            (json!({"schemes": ["Bearer"], "credentials": "short"}), ".authentication.credentials"),
            (json!({"schemes": ["Bearer"], "credentials": "a\n".repeat(20)}), ".authentication.credentials"),
            (json!({"schemes": ["Bearer"], "credentials": "c".repeat(32), "more": 1}), ".authentication"),
        ] {
            assert_eq!(field_of(|config| config["authentication"] = authentication.clone(), &policy), path);
        }
        let signed = Policy { signed_only: true, ..Policy::default() };
        let authentication = json!({"schemes": ["Bearer"], "credentials": "c".repeat(32)});
        assert_eq!(field_of(|config| config["authentication"] = authentication, &signed), ".authentication");
        let unsigned = Policy { unsigned_only: true, ..Policy::default() };
        assert_eq!(field_of(|_| {}, &unsigned), "");
        let tolerant = Policy { operation_id: OperationIdPolicy::Tolerated, ..Policy::default() };
        assert_eq!(read(|config| config["operation_id"] = Value::Null, &tolerant).unwrap().operation_id, None);
    }
}
