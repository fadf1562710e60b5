//! What publishes the keys that sign webhooks: `/.well-known/jwks.json` and `/.well-known/brand.json`; and what says how to get a token.

use super::nowhere;
use crate::door::Door;
use axum::{
    Json,
    extract::State,
    http::{StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use handoff_client::Config;
use handoff_webhooks::{
    keys::{Jwk, SigningKeys, brand_document, jwks_document},
    signature::Profile,
};
use serde_json::{Map, Value, json};
use std::{collections::BTreeSet, sync::Arc};
use url::Url;

// How long receivers may keep them: a new key is published at least as long before it signs.
const CACHE: &str = "public, max-age=300";
// AdCP's range of `delivery_retry_horizon_seconds`.
const HORIZONS: std::ops::RangeInclusive<u64> = 86_400..=604_800;

/// The documents, as far as there is something to publish, and what capabilities say of them.
#[derive(Debug, Default)]
pub(crate) struct WellKnown {
    jwks: Option<Value>,
    brand: Option<Value>,
    declared: Option<Declared>,
}

/// What a verifier is told: how webhooks are signed, if they are, and where it begins to look for the keys.
#[derive(Debug)]
struct Declared {
    signing: Option<Value>,
    brand_url: String,
    keys_origin: String,
}

impl WellKnown {
    /// By the keys and the public URL. Keys that can't be read are refused when a process starts; here they are none. Who takes
    /// signatures has a brand document in any case: the protocol wants one of it.
    pub(crate) fn new(config: &Config, takes_signatures: bool) -> Self {
        let keys = config.webhooks.signing.load().ok().flatten();
        if keys.is_none() && !takes_signatures {
            return Self::default();
        }
        let public_url = config.public_url.as_deref().and_then(|url| Url::parse(url).ok());
        let at = |path: &str| public_url.as_ref().map(|url| under(url, path));
        let brand = public_url.as_ref().zip(at("mcp")).and_then(|(url, agent)| brand_document(url, &agent));
        // A verifier that can't find the keys must not be told of signatures.
        let findable = at(".well-known/brand.json").filter(|url| url.starts_with("https://") && brand.is_some());
        let declared = findable.zip(public_url.as_ref()).map(|(brand_url, url)| Declared {
            signing: keys.as_ref().map(|keys| signing(keys, config)),
            brand_url,
            keys_origin: url.origin().ascii_serialization(),
        });
        let published = keys.as_ref().map(SigningKeys::published).unwrap_or_default();
        Self { jwks: Some(jwks_document(published)), brand, declared }
    }

    /// Says in the capabilities how webhooks are signed, and where the keys are.
    pub(crate) fn declare(&self, capabilities: &mut Value) {
        let (Some(declared), Some(body)) = (&self.declared, capabilities.as_object_mut()) else { return };
        if let Some(signing) = &declared.signing {
            body.insert("webhook_signing".into(), signing.clone());
        }
        let identity = body.entry("identity").or_insert_with(|| Value::Object(Map::new()));
        let Some(identity) = identity.as_object_mut() else { return };
        identity.entry("brand_json_url").or_insert_with(|| declared.brand_url.clone().into());
        if declared.signing.is_none() {
            return;
        }
        // Verifiers refuse keys whose origin was not said, wherever the brand document points.
        let origins = identity.entry("key_origins").or_insert_with(|| Value::Object(Map::new()));
        if let Some(origins) = origins.as_object_mut() {
            origins.entry("webhook_signing").or_insert_with(|| declared.keys_origin.clone().into());
        }
    }
}

fn signing(keys: &SigningKeys, config: &Config) -> Value {
    let algorithms: BTreeSet<&str> = keys.published().iter().map(|key: &Jwk| key.algorithm().name()).collect();
    let mut signing = json!({
        "supported": true,
        "profile": Profile::WEBHOOKS.tag(),
        "algorithms": algorithms,
        "legacy_hmac_fallback": config.webhooks.legacy_authentication,
    });
    let horizon = config.webhooks.horizon.as_secs();
    if HORIZONS.contains(&horizon) {
        signing["delivery_retry_horizon_seconds"] = horizon.into();
    }
    signing
}

fn under(base: &Url, path: &str) -> String {
    format!("{}/{path}", base.as_str().trim_end_matches('/'))
}

pub(super) async fn jwks(State(door): State<Arc<Door>>) -> Response {
    publish(door.well_known.jwks.as_ref())
}

pub(super) async fn brand(State(door): State<Arc<Door>>) -> Response {
    publish(door.well_known.brand.as_ref())
}

pub(super) async fn protected_resource(State(door): State<Arc<Door>>, uri: Uri) -> Response {
    match &door.resource {
        Some(resource) if resource.is_described_at(uri.path()) => publish(Some(&resource.document())),
        _ => nowhere::not_found().await,
    }
}

fn publish(document: Option<&Value>) -> Response {
    match document {
        Some(document) => ([(header::CACHE_CONTROL, CACHE)], Json(document)).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use handoff_client::SigningSource;
    use handoff_webhooks::keys::{Algorithm, LocalKey};

    fn config(public_url: Option<&str>) -> Config {
        let mut config = Config { public_url: public_url.map(Into::into), ..Config::default() };
        config.webhooks.signing = SigningSource::Pem(LocalKey::generate_pem(Algorithm::Es256).unwrap());
        config
    }

    #[test]
    fn signing_is_declared_where_its_keys_can_be_found_alone() {
        let declared = |config: &Config| {
            let mut capabilities =
                json!({"identity": {"key_origins": {"governance_signing": "https://other.example"}}});
            let known = WellKnown::new(config, false);
            known.declare(&mut capabilities);
            (known, capabilities)
        };
        let (known, capabilities) = declared(&config(Some("https://seller.example/")));
        assert_eq!(known.brand.unwrap()["agents"][0]["url"], "https://seller.example/mcp");
        assert_eq!(known.jwks.unwrap()["keys"].as_array().unwrap().len(), 1);
        let signing = &capabilities["webhook_signing"];
        assert_eq!(
            (&signing["profile"], &signing["algorithms"]),
            (&json!(Profile::WEBHOOKS.tag()), &json!(["ecdsa-p256-sha256"]))
        );
        assert_eq!(signing["delivery_retry_horizon_seconds"], 259_200);
        assert_eq!(capabilities["identity"]["brand_json_url"], "https://seller.example/.well-known/brand.json");
        let origins =
            json!({"governance_signing": "https://other.example", "webhook_signing": "https://seller.example"});
        assert_eq!(capabilities["identity"]["key_origins"], origins);
        // The origin alone, as the document that is there names it.
        let (known, capabilities) = declared(&config(Some("https://seller.example:8443/ads")));
        let origin = "https://seller.example:8443";
        assert_eq!(capabilities["identity"]["key_origins"]["webhook_signing"], origin);
        assert_eq!(known.brand.unwrap()["agents"][0]["jwks_uri"], format!("{origin}/ads/.well-known/jwks.json"));
        for (config, published) in
            [(config(None), true), (config(Some("http://seller.example")), true), (Config::default(), false)]
        {
            let (known, capabilities) = declared(&config);
            assert_eq!((known.jwks.is_some(), capabilities.get("webhook_signing")), (published, None));
        }
        // Who signs nothing and takes signatures has a brand document all the same.
        let known = WellKnown::new(&Config { public_url: Some("https://s.example".into()), ..Config::default() }, true);
        let mut capabilities = json!({});
        known.declare(&mut capabilities);
        assert_eq!(known.jwks, Some(json!({"keys": []})));
        let identity = json!({"brand_json_url": "https://s.example/.well-known/brand.json"});
        assert_eq!(capabilities, json!({"identity": identity}));
    }
}
