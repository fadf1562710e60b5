//! One attempt at one delivery.

use crate::{
    Authentication, Egress, Registration,
    egress::EgressError,
    keys::{SignError, SigningKeys},
    legacy,
    signature::{self, CONTENT_TYPE},
};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE as CONTENT_TYPE_HEADER, HeaderMap, HeaderName, HeaderValue};
use secrecy::ExposeSecret;
use std::{fmt, time::Duration};

/// How an attempt went wrong, in a word that may be logged and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorClass {
    /// The URL may not be called.
    Url,
    /// Its name has an address that may not be reached.
    Address,
    /// Its name has no address.
    Dns,
    /// Nobody took the connection.
    Connect,
    /// The certificate, or the handshake.
    Tls,
    /// It took too long.
    Timeout,
    /// The connection broke.
    Lost,
    /// The receiver points elsewhere.
    Redirect,
    /// The receiver has another body under this key.
    Conflict,
    /// The receiver says that the signature is wrong.
    SignatureRefused,
    /// Another status than 2xx.
    Status,
    /// Too many are under way to this endpoint: nothing was sent.
    Busy,
    /// There is no key to sign with, or it did not sign.
    Unsigned,
    /// What was registered can't be sent to: it has no operation id, or can't be read.
    Undeliverable,
}

impl ErrorClass {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Url => "url_refused",
            Self::Address => "address_refused",
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Lost => "connection_lost",
            Self::Redirect => "redirect",
            Self::Conflict => "conflict",
            Self::SignatureRefused => "signature_refused",
            Self::Status => "status",
            Self::Busy => "busy",
            Self::Unsigned => "unsigned",
            Self::Undeliverable => "undeliverable",
        }
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<EgressError> for ErrorClass {
    fn from(error: EgressError) -> Self {
        match error {
            EgressError::Url => Self::Url,
            EgressError::Address => Self::Address,
            EgressError::Dns => Self::Dns,
            EgressError::Connect => Self::Connect,
            EgressError::Tls => Self::Tls,
            EgressError::Timeout => Self::Timeout,
            // No more of an answer is read than its head.
            EgressError::Lost | EgressError::TooLarge => Self::Lost,
        }
    }
}

impl From<SignError> for ErrorClass {
    fn from(error: SignError) -> Self {
        if error == SignError::Target { Self::Url } else { Self::Unsigned }
    }
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The answer's status, if there was one.
    pub status: Option<u16>,
    /// `None`: it arrived.
    pub class: Option<ErrorClass>,
    /// What the receiver asked for.
    pub retry_after: Option<Duration>,
}

impl Attempt {
    /// The receiver answered.
    pub fn answered(status: u16, retry_after: Option<Duration>, refuses_signature: bool) -> Self {
        let class = match status {
            200..=299 => None,
            300..=399 => Some(ErrorClass::Redirect),
            409 => Some(ErrorClass::Conflict),
            401 if refuses_signature => Some(ErrorClass::SignatureRefused),
            _ => Some(ErrorClass::Status),
        };
        Self { status: Some(status), class, retry_after }
    }

    /// Nothing came back.
    pub fn failed(class: ErrorClass) -> Self {
        Self { status: None, class: Some(class), retry_after: None }
    }
}

/// Authenticates deliveries and posts them.
#[derive(Clone, Debug)]
pub struct Sender {
    egress: Egress,
    keys: Option<SigningKeys>,
}

impl Sender {
    /// Without keys only the older ways to authenticate are left.
    pub fn new(egress: Egress, keys: Option<SigningKeys>) -> Self {
        Self { egress, keys }
    }

    /// Posts a body, authenticated anew. `now`: seconds since 1970.
    pub async fn attempt(&self, registration: &Registration, body: &[u8], now: i64) -> Attempt {
        let headers = match self.headers(registration, body, now).await {
            Ok(headers) => headers,
            Err(class) => return Attempt::failed(class),
        };
        match self.egress.post(&registration.url, headers, body.to_vec()).await {
            // Only what was signed can be refused for its signature.
            Ok(answer) => {
                let refused = answer.refuses_signature && registration.authentication.is_none();
                Attempt::answered(answer.status, answer.retry_after, refused)
            }
            Err(error) => Attempt::failed(error.into()),
        }
    }

    async fn headers(&self, registration: &Registration, body: &[u8], now: i64) -> Result<HeaderMap, ErrorClass> {
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE_HEADER, HeaderValue::from_static(CONTENT_TYPE))]);
        let mut add = |name: HeaderName, value: &str| -> Result<(), ErrorClass> {
            let mut value = HeaderValue::from_str(value).map_err(|_| ErrorClass::Undeliverable)?;
            value.set_sensitive(true);
            headers.insert(name, value);
            Ok(())
        };
        match &registration.authentication {
            Some(Authentication::Bearer(token)) => add(AUTHORIZATION, &format!("Bearer {}", token.expose_secret()))?,
            Some(Authentication::HmacSha256(secret)) => {
                let signature = legacy::hmac_sha256(secret, now, body);
                add(HeaderName::from_static(legacy::SIGNATURE_HEADER), &signature)?;
                add(HeaderName::from_static(legacy::TIMESTAMP_HEADER), &now.to_string())?;
            }
            None => {
                let keys = self.keys.as_ref().ok_or(ErrorClass::Unsigned)?;
                let request = signature::Request { url: registration.url.as_str(), body };
                let signed = signature::sign(keys.signer(), request, now).await?;
                add(HeaderName::from_static("content-digest"), &signed.content_digest)?;
                add(HeaderName::from_static("signature-input"), &signed.signature_input)?;
                add(HeaderName::from_static("signature"), &signed.signature)?;
            }
        }
        Ok(headers)
    }
}
