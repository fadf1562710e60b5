//! `@target-uri` and `@authority` as signer and verifier agree on them (AdCP, "URL canonicalization").

use std::net::Ipv6Addr;
use url::Host;

/// A URL in canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `@target-uri`.
    pub uri: String,
    /// `@authority`: host, and port unless it is the scheme's own.
    pub authority: String,
}

/// A URL that has no canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the URL is malformed: {0}")]
pub struct MalformedTarget(&'static str);

impl Target {
    /// The canonical form of a URL as it was written: scheme and host in lower case and ASCII, no user, no default port, no
    /// dot segments, no fragment, percent-encoding normalised; the query byte by byte.
    pub fn canonical(url: &str) -> Result<Self, MalformedTarget> {
        let (scheme, rest) = url.split_once("://").ok_or(MalformedTarget("it has no scheme"))?;
        let scheme = scheme.to_ascii_lowercase();
        let default_port = match scheme.as_str() {
            "https" => "443",
            "http" => "80",
            _ => return Err(MalformedTarget("its scheme is not http or https")),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path_and_query) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (path, query) = match path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path_and_query, None),
        };
        let host_and_port = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let (host, port) = split_port(host_and_port)?;
        let authority = match port {
            Some(port) if port != default_port => format!("{}:{port}", canonical_host(host)?),
            _ => canonical_host(host)?,
        };
        let path = normalise_percent(&remove_dot_segments(path));
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        Ok(Self { uri: format!("{scheme}://{authority}{path}{query}"), authority })
    }
}

fn split_port(text: &str) -> Result<(&str, Option<&str>), MalformedTarget> {
    let (host, port) = if text.starts_with('[') {
        let end = text.find(']').ok_or(MalformedTarget("an IPv6 address is not closed"))?;
        let (host, rest) = text.split_at(end + 1);
        match rest.strip_prefix(':') {
            Some(port) => (host, port),
            None if rest.is_empty() => (host, ""),
            None => return Err(MalformedTarget("something follows its IPv6 address")),
        }
    } else {
        match text.split_once(':') {
            Some((_, port)) if port.contains(':') => return Err(MalformedTarget("an IPv6 address has no brackets")),
            Some((host, port)) => (host, port),
            None => (text, ""),
        }
    };
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(MalformedTarget("its port is not a number"));
    }
    Ok((host, Some(port).filter(|port| !port.is_empty())))
}

fn canonical_host(host: &str) -> Result<String, MalformedTarget> {
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        address.parse::<Ipv6Addr>().map_err(|_| MalformedTarget("its IPv6 address is none"))?;
        return Ok(host.to_ascii_lowercase());
    }
    let host = match Host::parse(host).map_err(|_| MalformedTarget("its host is none"))? {
        Host::Domain(domain) => domain,
        other => other.to_string(),
    };
    let host = host.strip_suffix('.').unwrap_or(&host);
    if host.split('.').any(str::is_empty) {
        return Err(MalformedTarget("its host has an empty label"));
    }
    Ok(host.to_owned())
}

// RFC 3986, 5.2.4, for an absolute path. Consecutive slashes stay.
fn remove_dot_segments(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    let mut parts = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        match part {
            "." | ".." => {
                if part == ".." {
                    segments.pop();
                }
                if last {
                    segments.push("");
                }
            }
            part => segments.push(part),
        }
    }
    format!("/{}", segments.join("/"))
}

fn normalise_percent(path: &str) -> String {
    let mut normal = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let (before, encoded) = rest.split_at(at);
        normal.push_str(before);
        let byte = encoded.get(1..3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        let Some(byte) = byte else {
            normal.push('%');
            rest = &encoded[1..];
            continue;
        };
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            normal.push(char::from(byte));
        } else {
            normal.push_str(&encoded[..3].to_ascii_uppercase());
        }
        rest = &encoded[3..];
    }
    normal.push_str(rest);
    normal
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::vectors;

    #[test]
    fn every_case_of_the_protocols_list_has_its_canonical_form_or_none() {
        let list = vectors::read("request-signing/canonicalization.json");
        let cases = list["cases"].as_array().unwrap();
        assert!(cases.len() > 30);
        for case in cases {
            let (name, url) = (&case["name"], case["input_url"].as_str().unwrap());
            let target = Target::canonical(url);
            if case["reject"] == true {
                assert!(target.is_err(), "{name}: {target:?}");
                continue;
            }
            let target = target.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(target.uri, case["expected_target_uri"], "{name}");
            assert_eq!(target.authority, case["expected_authority"], "{name}");
        }
    }

    #[test]
    fn what_is_broken_has_no_form_and_odd_paths_keep_theirs() {
        for broken in ["", "buyer.example", "ftp://b.example/", "https://", "https://b.example:x/", "https://[::1]x/"] {
            assert!(Target::canonical(broken).is_err(), "{broken}");
        }
        for (url, uri) in [
            ("https://b.example/a/..", "https://b.example/"),
            ("https://b.example/../a", "https://b.example/a"),
            ("https://b.example/100%", "https://b.example/100%"),
            ("https://b.example/%zz%e2%98%83", "https://b.example/%zz%E2%98%83"),
            ("https://b.example:/", "https://b.example/"),
        ] {
            assert_eq!(Target::canonical(url).unwrap().uri, uri);
        }
    }
}
