//! What publishes a sender's keys: a JWKS (RFC 7517), and the brand document that points to it (AdCP's brand.json).

use super::Jwk;
use serde_json::{Value, json};
use url::Url;

/// The path of the JWKS.
const JWKS_PATH: &str = ".well-known/jwks.json";

/// The JWKS.
pub fn jwks_document(keys: &[Jwk]) -> Value {
    json!({"keys": keys})
}

/// The brand document of one sales agent: `agent_url` as buyers call it, to the letter, and where its keys are. `None`: the
/// public URL can't carry a path.
pub fn brand_document(public_url: &Url, agent_url: &str) -> Option<Value> {
    let jwks = under(public_url, JWKS_PATH)?;
    Some(json!({
        "version": "1.0",
        "agents": [{"type": "sales", "id": "sales", "url": agent_url, "jwks_uri": jwks}],
    }))
}

fn under(base: &Url, path: &str) -> Option<String> {
    let mut url = base.clone();
    url.path_segments_mut().ok()?.pop_if_empty().extend(path.split('/'));
    url.set_query(None);
    url.set_fragment(None);
    Some(url.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{Algorithm, LocalKey, Signer};

    #[test]
    fn the_documents_hold_public_parts_alone() {
        let keys = Algorithm::ALL.map(|algorithm| LocalKey::generate(algorithm).public_key().clone());
        let jwks = jwks_document(&keys);
        for (key, algorithm) in jwks["keys"].as_array().unwrap().iter().zip(["EdDSA", "ES256"]) {
            assert_eq!(
                (&key["alg"], &key["use"], &key["adcp_use"]),
                (&json!(algorithm), &json!("sig"), &json!("request-signing"))
            );
            assert!(key.get("d").is_none() && key["key_ops"] == json!(["verify"]));
        }
        for (public, jwks) in [
            ("https://seller.example", "https://seller.example/.well-known/jwks.json"),
            ("https://seller.example/ads/", "https://seller.example/ads/.well-known/jwks.json"),
        ] {
            let brand = brand_document(&public.parse().unwrap(), "https://seller.example/mcp").unwrap();
            assert_eq!(brand["agents"][0]["jwks_uri"], jwks);
            assert_eq!(brand["agents"][0]["url"], "https://seller.example/mcp");
        }
    }
}
