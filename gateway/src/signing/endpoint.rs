//! The URL that a request was sent to: what its signature covers. A proxy with TLS stands in front, so the scheme, the host and what it
//! took from the path are the public URL's; which host was called the request says, and a proxy passes it on.

use axum::http::{header, request::Parts};
use handoff_webhooks::{Target, signature::VerifyError};
use url::{Host, Url};

/// How buyers call the front door.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    public: Option<Public>,
    /// In development it may be called as what it is, too: a server on this machine.
    here: bool,
}

#[derive(Clone, Debug)]
struct Public {
    scheme: String,
    /// Without a slash at its end.
    base: String,
    authority: String,
}

impl Endpoint {
    /// At this public URL.
    pub(super) fn new(public_url: Option<&str>, here: bool) -> Self {
        Self { public: public_url.and_then(public), here }
    }

    /// Can anybody call it by a URL that could be signed?
    pub(super) fn is_known(&self) -> bool {
        self.public.is_some() || self.here
    }

    /// The URL that the request was sent to. Another host's is refused: a signature for somebody else must not count here.
    pub(super) fn called(&self, parts: &Parts) -> Result<String, VerifyError> {
        let malformed = VerifyError::TargetMalformed;
        let mut hosts = parts.headers.get_all(header::HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return Err(malformed) };
        let host = host.to_str().map_err(|_| malformed)?;
        if parts.uri.authority().is_some_and(|authority| !authority.as_str().eq_ignore_ascii_case(host)) {
            return Err(malformed);
        }
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        if let Some(Public { scheme, base, authority }) = &self.public
            && Target::canonical(&format!("{scheme}://{host}/")).map_err(|_| malformed)?.authority == *authority
        {
            return Ok(format!("{base}{path}"));
        }
        if self.here && is_here(host) { Ok(format!("http://{host}{path}")) } else { Err(malformed) }
    }
}

fn public(url: &str) -> Option<Public> {
    let mut url = Url::parse(url).ok()?;
    url.set_query(None);
    url.set_fragment(None);
    let base = url.as_str().trim_end_matches('/').to_owned();
    Some(Public { scheme: url.scheme().to_owned(), authority: Target::canonical(&base).ok()?.authority, base })
}

fn is_here(host: &str) -> bool {
    let Ok(url) = Url::parse(&format!("http://{host}/")) else { return false };
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    fn called(endpoint: &Endpoint, uri: &str, hosts: &[&str]) -> Option<String> {
        let mut request = Request::post(uri);
        for host in hosts {
            request = request.header(header::HOST, *host);
        }
        endpoint.called(&request.body(()).unwrap().into_parts().0).ok()
    }

    #[test]
    fn a_request_came_where_it_says_if_that_is_here() {
        let (public, development) = (Some("https://Ads.example:443/a/"), true);
        let behind = Endpoint::new(public, !development);
        let on_a_desk = Endpoint::new(public, development);
        let alone = Endpoint::new(None, development);
        for (endpoint, uri, host, url) in [
            (&behind, "/mcp", "ads.example", Some("https://ads.example/a/mcp")),
            (&behind, "/mcp/?b=2&a=%7e", "ADS.example:443", Some("https://ads.example/a/mcp/?b=2&a=%7e")),
            (&behind, "https://ads.example/mcp", "ads.example", Some("https://ads.example/a/mcp")),
            (&behind, "https://other.example/mcp", "ads.example", None),
            (&behind, "/mcp", "ads.example:80", None),
            (&behind, "/mcp", "other.example", None),
            (&behind, "/mcp", "::1", None),
            (&behind, "/mcp", "127.0.0.1:8080", None),
            (&on_a_desk, "/mcp", "127.0.0.1:8080", Some("http://127.0.0.1:8080/mcp")),
            (&on_a_desk, "/mcp", "ads.example", Some("https://ads.example/a/mcp")),
            (&alone, "/mcp", "localhost:1", Some("http://localhost:1/mcp")),
            (&alone, "/mcp", "[::1]:1", Some("http://[::1]:1/mcp")),
            (&alone, "/mcp", "10.0.0.1", None),
            (&alone, "/mcp", "localhost.example", None),
        ] {
            assert_eq!(called(endpoint, uri, &[host]).as_deref(), url, "{uri} {host}");
        }
        for hosts in [&[][..], &["ads.example", "ads.example"]] {
            assert_eq!(called(&behind, "/mcp", hosts), None);
        }
        assert!(behind.is_known() && alone.is_known() && !Endpoint::new(None, false).is_known());
    }
}
