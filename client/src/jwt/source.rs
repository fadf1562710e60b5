//! Where an issuer's keys are read: at a URL that was told, or that its metadata names (RFC 8414, OpenID Connect Discovery).

use super::{JwtSettings, may_be_read};
use crate::Environment;
use handoff_webhooks::{
    Egress, EgressOptions,
    egress::{EgressError, Networks, SetupError},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use std::{path::PathBuf, time::Duration};
use url::Url;

const MAX_BYTES: usize = 256 * 1024;
const MAX_KEYS: usize = 100;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const TIMEOUT: Duration = Duration::from_secs(5);
const LOOPBACK: &str = "127.0.0.0/8,::1";
const KEYS: &str = "keys";
const METADATA: &str = "metadata";

/// Why an issuer's keys are not there. Holds nothing of an answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JwksError {
    /// There is no client.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// A URL is none.
    #[error("the issuer's URL, or that of its keys, is none")]
    Url,
    /// Nothing came.
    #[error("the issuer's {what} can't be read: {error}")]
    Egress {
        /// What was asked for.
        what: &'static str,
        /// Why.
        error: EgressError,
    },
    /// Something else came.
    #[error("the issuer answers {status} where its {what} should be")]
    Status {
        /// What was asked for.
        what: &'static str,
        /// The HTTP status.
        status: u16,
    },
    /// What came is not what was asked for.
    #[error("what the issuer answers is not its {what}")]
    Malformed {
        /// What was asked for.
        what: &'static str,
    },
    /// The metadata is not this issuer's.
    #[error("the issuer's metadata names another issuer")]
    AnotherIssuer,
    /// The metadata leads to no keys that may be read.
    #[error("the issuer's metadata names no jwks_uri that may be read")]
    NoKeys,
}

/// Reads an issuer's keys. One per process: its connections are shared.
#[derive(Clone, Debug)]
pub struct JwksSource {
    egress: Egress,
    issuer: String,
    place: Place,
    production: bool,
}

#[derive(Clone, Debug)]
enum Place {
    Told(Url),
    Metadata([Url; 2]),
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: Option<Url>,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

impl JwksSource {
    pub(super) fn new(settings: &JwtSettings, production: bool) -> Result<Self, JwksError> {
        let egress = egress(settings.allowed.as_ref(), settings.roots.clone(), production)?;
        let place = match &settings.jwks_url {
            Some(url) => Place::Told(Url::parse(url).map_err(|_| JwksError::Url)?),
            None => Place::Metadata(metadata_urls(&settings.issuer).ok_or(JwksError::Url)?),
        };
        Ok(Self { egress, issuer: settings.issuer.clone(), place, production })
    }

    /// Reads keys at a URL: https, or, in development, this machine. `allowed`: private addresses at which they may be; none: in
    /// development this machine's own, in production none. `roots`: certificates in PEM that are trusted beside the system's.
    pub fn at(
        url: &str,
        allowed: Option<&Networks>,
        roots: Option<PathBuf>,
        environment: Environment,
    ) -> Result<Self, JwksError> {
        let production = environment == Environment::Production;
        let url = Url::parse(url).ok().filter(|url| may_be_read(url, production)).ok_or(JwksError::Url)?;
        let egress = egress(allowed, roots, production)?;
        Ok(Self { egress, issuer: String::new(), place: Place::Told(url), production })
    }

    /// The keys that the issuer publishes now, as it wrote them.
    pub async fn fetch(&self) -> Result<Vec<Value>, JwksError> {
        let url = match &self.place {
            Place::Told(url) => url.clone(),
            Place::Metadata(urls) => self.discover(urls).await?,
        };
        let set: KeySet = self.read(&url, KEYS).await?;
        if set.keys.len() > MAX_KEYS { Err(JwksError::Malformed { what: KEYS }) } else { Ok(set.keys) }
    }

    async fn discover(&self, [oauth, openid]: &[Url; 2]) -> Result<Url, JwksError> {
        let metadata: Metadata = match self.read(oauth, METADATA).await {
            // An issuer may have only the other one.
            Err(JwksError::Status { .. } | JwksError::Malformed { .. }) => self.read(openid, METADATA).await?,
            read => read?,
        };
        if metadata.issuer != self.issuer {
            return Err(JwksError::AnotherIssuer);
        }
        metadata.jwks_uri.filter(|url| may_be_read(url, self.production)).ok_or(JwksError::NoKeys)
    }

    async fn read<T: DeserializeOwned>(&self, url: &Url, what: &'static str) -> Result<T, JwksError> {
        let document = self.egress.get(url, MAX_BYTES).await.map_err(|error| JwksError::Egress { what, error })?;
        match document.status {
            200 => serde_json::from_slice(&document.body).map_err(|_| JwksError::Malformed { what }),
            status => Err(JwksError::Status { what, status }),
        }
    }
}

fn egress(allowed: Option<&Networks>, roots: Option<PathBuf>, production: bool) -> Result<Egress, JwksError> {
    let allowed = match allowed {
        Some(allowed) => allowed.clone(),
        None if production => Networks::default(),
        None => LOOPBACK.parse().unwrap_or_default(),
    };
    Ok(Egress::new(&EgressOptions {
        https_only: production,
        allowed,
        roots,
        connect_timeout: CONNECT_TIMEOUT,
        timeout: TIMEOUT,
        ..EgressOptions::default()
    })?)
}

// OAuth's stands between the host and the issuer's path, OpenID's behind the path.
fn metadata_urls(issuer: &str) -> Option<[Url; 2]> {
    let issuer = Url::parse(issuer).ok()?;
    let path = issuer.path().trim_end_matches('/');
    let at = |path: String| {
        let mut url = issuer.clone();
        url.set_path(&path);
        url.set_query(None);
        url.set_fragment(None);
        url
    };
    Some([
        at(format!("/.well-known/oauth-authorization-server{path}")),
        at(format!("{path}/.well-known/openid-configuration")),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_where_the_standards_have_it() {
        for (issuer, oauth, openid) in [
            ("https://a.example", "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"),
            ("https://a.example/", "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"),
            (
                "https://a.example/realms/b",
                "/.well-known/oauth-authorization-server/realms/b",
                "/realms/b/.well-known/openid-configuration",
            ),
        ] {
            let [one, other] = metadata_urls(issuer).unwrap();
            assert_eq!((one.path(), other.path(), one.host_str()), (oauth, openid, Some("a.example")), "{issuer}");
        }
    }
}
