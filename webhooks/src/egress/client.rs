//! The client. One per process: its TLS context and its connections are shared by all deliveries.

use super::{
    EgressOptions, Lookup, Networks,
    resolver::{AddressRefused, Checked, NoAddress},
};
use crate::registration::check_host;
use reqwest::{
    Certificate, Client, Method, Response,
    header::{ACCEPT, HeaderMap, RETRY_AFTER, WWW_AUTHENTICATE},
    redirect,
};
use std::{error::Error, fmt, io, sync::Arc, time::Duration};
use url::{Host, Url};

/// How much of an answer's body is read, so that its connection can be used again. What is longer costs the connection.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;

/// Why nothing came back. Tells neither URL nor address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum EgressError {
    /// The URL may not be called.
    #[error("url_refused")]
    Url,
    /// The name has an address that may not be reached.
    #[error("address_refused")]
    Address,
    /// The name has no address.
    #[error("dns")]
    Dns,
    /// Nobody takes the connection.
    #[error("connect")]
    Connect,
    /// The certificate, or the handshake.
    #[error("tls")]
    Tls,
    /// It took too long.
    #[error("timeout")]
    Timeout,
    /// The connection broke, or brought no HTTP.
    #[error("connection_lost")]
    Lost,
    /// What was to be read is longer than may be.
    #[error("too_large")]
    TooLarge,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The certificates can't be read.
    #[error("the certificates in {path} can't be read: {reason}")]
    Roots {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// There is no TLS.
    #[error("no HTTPS client: {0}")]
    Client(String),
}

/// What is told of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// `Retry-After` in seconds, where it was a number of them.
    pub retry_after: Option<Duration>,
    /// The receiver says that the signature is wrong (`WWW-Authenticate: Signature error="webhook_…"`).
    pub refuses_signature: bool,
}

/// A document that was read.
#[derive(Clone, PartialEq, Eq)]
pub struct Document {
    /// The HTTP status.
    pub status: u16,
    /// The body, whole.
    pub body: Vec<u8>,
}

/// An answer whose body is read as it comes.
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    response: Response,
    left: usize,
}

impl Reply {
    /// A header, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// What comes next of the body; `None`: that was all.
    pub async fn chunk(&mut self) -> Result<Option<Vec<u8>>, EgressError> {
        let Some(chunk) = self.response.chunk().await.map_err(|error| class(&error))? else { return Ok(None) };
        self.left = self.left.checked_sub(chunk.len()).ok_or(EgressError::TooLarge)?;
        Ok(Some(chunk.to_vec()))
    }
}

/// Posts to endpoints that strangers named, and reads small documents.
#[derive(Clone)]
pub struct Egress {
    client: Client,
    https_only: bool,
    allowed: Networks,
    lookup: Arc<dyn Lookup>,
    connect_timeout: Duration,
}

impl Egress {
    /// Makes the client.
    pub fn new(options: &EgressOptions) -> Result<Self, SetupError> {
        // Fails where it is done already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let resolver = Checked { lookup: options.lookup.clone(), allowed: options.allowed.clone() };
        let mut client = Client::builder()
            .dns_resolver(resolver)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .no_gzip()
            .no_brotli()
            .no_deflate()
            .no_zstd()
            .https_only(options.https_only)
            .connect_timeout(options.connect_timeout)
            .timeout(options.timeout)
            .referer(false)
            .user_agent(concat!("handoff/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = &options.roots {
            let wrong = |reason: String| SetupError::Roots { path: path.display().to_string(), reason };
            let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
            let roots = Certificate::from_pem_bundle(&pem).map_err(|error| wrong(error.to_string()))?;
            client = client.tls_certs_merge(roots);
        }
        let client = client.build().map_err(|error| SetupError::Client(error.to_string()))?;
        Ok(Self {
            client,
            https_only: options.https_only,
            allowed: options.allowed.clone(),
            lookup: options.lookup.clone(),
            connect_timeout: options.connect_timeout,
        })
    }

    /// Posts a body, and reads no more of the answer than its head.
    pub async fn post(&self, url: &Url, headers: HeaderMap, body: Vec<u8>) -> Result<Answer, EgressError> {
        self.check(url)?;
        let sent = self.client.post(url.clone()).headers(headers).body(body).send().await;
        let mut response = sent.map_err(|error| class(&error))?;
        let answer = Answer {
            status: response.status().as_u16(),
            retry_after: retry_after(response.headers()),
            refuses_signature: refuses_signature(response.headers()),
        };
        let mut read = 0;
        while let Ok(Some(chunk)) = response.chunk().await {
            read += chunk.len();
            if read > MAX_RESPONSE_BYTES {
                break;
            }
        }
        Ok(answer)
    }

    /// Reads a JSON document of at most so many bytes, whatever its status.
    pub async fn get(&self, url: &Url, max_bytes: usize) -> Result<Document, EgressError> {
        self.check(url)?;
        let sent = self.client.get(url.clone()).header(ACCEPT, "application/json").send().await;
        let mut response = sent.map_err(|error| class(&error))?;
        let mut document = Document { status: response.status().as_u16(), body: Vec::new() };
        while let Some(chunk) = response.chunk().await.map_err(|error| class(&error))? {
            if document.body.len() + chunk.len() > max_bytes {
                return Err(EgressError::TooLarge);
            }
            document.body.extend_from_slice(&chunk);
        }
        Ok(document)
    }

    /// Sends a request whose answer, of at most so many bytes, is the caller's to read.
    pub async fn send(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        body: Vec<u8>,
        max_bytes: usize,
    ) -> Result<Reply, EgressError> {
        self.check(url)?;
        let sent = self.client.request(method, url.clone()).headers(headers).body(body).send().await;
        let response = sent.map_err(|error| class(&error))?;
        Ok(Reply { status: response.status().as_u16(), response, left: max_bytes })
    }

    /// Whether the URL may be called, and its name has addresses that may be reached, now. Nobody is connected to; each later
    /// connection is checked again.
    pub async fn may_reach(&self, url: &Url) -> Result<(), EgressError> {
        self.check(url)?;
        let Some(Host::Domain(name)) = url.host() else { return Ok(()) };
        let addresses = Checked::addresses(self.lookup.clone(), self.allowed.clone(), name.to_owned());
        match tokio::time::timeout(self.connect_timeout, addresses).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if error.is::<AddressRefused>() => Err(EgressError::Address),
            Ok(Err(_)) => Err(EgressError::Dns),
            Err(_) => Err(EgressError::Timeout),
        }
    }

    fn check(&self, url: &Url) -> Result<(), EgressError> {
        let scheme_is_fine = url.scheme() == "https" || (url.scheme() == "http" && !self.https_only);
        let has_user = !url.username().is_empty() || url.password().is_some();
        // The resolver is not asked about addresses.
        if scheme_is_fine && !has_user && check_host(url, &self.allowed).is_ok() {
            Ok(())
        } else {
            Err(EgressError::Url)
        }
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document").field("status", &self.status).field("bytes", &self.body.len()).finish()
    }
}

impl fmt::Debug for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Egress").field("https_only", &self.https_only).field("allowed", &self.allowed).finish()
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn refuses_signature(headers: &HeaderMap) -> bool {
    headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()).any(|value| {
        let value = value.trim_start();
        value.get(..9).is_some_and(|scheme| scheme.eq_ignore_ascii_case("signature"))
            && value.contains("error=\"webhook_")
    })
}

fn class(error: &reqwest::Error) -> EgressError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    let mut found = None;
    while let Some(current) = cause {
        found = found.or_else(|| known(current));
        cause = current.source();
    }
    match found {
        Some(class) => class,
        None if error.is_timeout() => EgressError::Timeout,
        None if error.is_builder() => EgressError::Url,
        None if error.is_connect() => EgressError::Connect,
        None => EgressError::Lost,
    }
}

fn known(error: &(dyn Error + 'static)) -> Option<EgressError> {
    if error.is::<AddressRefused>() {
        return Some(EgressError::Address);
    }
    if error.is::<NoAddress>() {
        return Some(EgressError::Dns);
    }
    if error.is::<rustls::Error>() {
        return Some(EgressError::Tls);
    }
    // Its source is its content's source, not its content.
    let inner = error.downcast_ref::<io::Error>()?.get_ref()?;
    known(inner)
}
