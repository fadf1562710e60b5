//! What the front door is to clients that get access tokens for it: a protected resource (RFC 9728).

use serde_json::{Value, json};
use url::Url;

/// Where every protected resource's metadata is.
pub(crate) const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// A resource that takes access tokens: its URL, and whose tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtectedResource {
    resource: Url,
    authorization_servers: Vec<String>,
}

impl ProtectedResource {
    /// The URL of the MCP endpoint as buyers call it, and the issuers whose tokens are taken.
    pub fn new(resource: Url, authorization_servers: Vec<String>) -> Self {
        Self { resource, authorization_servers }
    }

    /// Where its metadata is to be found: the resource's path stands behind the well-known one.
    pub fn metadata_url(&self) -> Url {
        let mut url = self.resource.clone();
        url.set_path(&format!("{WELL_KNOWN}{}", self.resource.path().trim_end_matches('/')));
        url.set_query(None);
        url.set_fragment(None);
        url
    }

    /// Is a request for this path one for the metadata? A proxy may have taken a prefix away, and some clients ask at the root.
    pub(crate) fn is_described_at(&self, path: &str) -> bool {
        let behind = path.strip_prefix(WELL_KNOWN);
        behind.is_some_and(|behind| behind.is_empty() || behind == "/mcp") || path == self.metadata_url().path()
    }

    /// The metadata.
    pub(crate) fn document(&self) -> Value {
        json!({
            "resource": self.resource.as_str(),
            "authorization_servers": self.authorization_servers,
            "bearer_methods_supported": ["header"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metadata_is_where_clients_look_and_names_what_they_call() {
        for (resource, metadata, elsewhere) in [
            ("https://ads.example/mcp", "https://ads.example/.well-known/oauth-protected-resource/mcp", "/a/mcp"),
            (
                "https://ads.example:8443/a/mcp",
                "https://ads.example:8443/.well-known/oauth-protected-resource/a/mcp",
                "/b/mcp",
            ),
        ] {
            let described = ProtectedResource::new(resource.parse().unwrap(), vec!["https://issuer.example".into()]);
            let url = described.metadata_url();
            assert_eq!(url.as_str(), metadata);
            for path in [url.path(), WELL_KNOWN, "/.well-known/oauth-protected-resource/mcp"] {
                assert!(described.is_described_at(path), "{path}");
            }
            assert!(!described.is_described_at(&format!("{WELL_KNOWN}{elsewhere}")));
            let document = described.document();
            assert_eq!(document["resource"], resource);
            assert_eq!(document["authorization_servers"], json!(["https://issuer.example"]));
        }
    }
}
