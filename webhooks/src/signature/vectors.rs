//! The protocol's test vectors, at the path that the environment names.

use crate::keys::{Jwk, LocalKey};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::Value;
use std::path::PathBuf;

pub(crate) struct Vector {
    pub(crate) name: String,
    pub(crate) json: Value,
}

impl Vector {
    pub(crate) fn now(&self) -> i64 {
        self.json["reference_now"].as_i64().unwrap()
    }

    pub(crate) fn url(&self) -> &str {
        self.json["request"]["url"].as_str().unwrap()
    }

    pub(crate) fn body(&self) -> &[u8] {
        self.json["request"]["body"].as_str().unwrap().as_bytes()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.json["request"]["headers"][name].as_str().unwrap()
    }

    pub(crate) fn headers(&self) -> Vec<(&str, &str)> {
        let headers = self.json["request"]["headers"].as_object().unwrap();
        headers.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap())).collect()
    }

    pub(crate) fn jwks_ref(&self) -> Vec<String> {
        serde_json::from_value(self.json["jwks_ref"].clone()).unwrap()
    }

    /// The keys that it is verified with, of those of its kind.
    pub(crate) fn keys(&self, kind: &str) -> Vec<Jwk> {
        let instead = &self.json["jwks_override"];
        let keys: Vec<Value> = match instead["keys"].as_array() {
            Some(keys) => keys.clone(),
            None => {
                let refs = self.jwks_ref();
                refs.iter().map(|kid| instead.get(kid).cloned().unwrap_or_else(|| raw_key(kind, kid))).collect()
            }
        };
        keys.into_iter().map(|key| serde_json::from_value(key).unwrap()).collect()
    }
}

pub(crate) fn read(path: &str) -> Value {
    let text = std::fs::read_to_string(root().join(path)).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Those in this directory.
pub(crate) fn all(directory: &str) -> Vec<Vector> {
    let mut paths: Vec<_> = root().join(directory).read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let vectors = paths.iter().map(|path| Vector {
        name: path.file_name().unwrap().to_string_lossy().into_owned(),
        json: serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap(),
    });
    vectors.collect()
}

/// The Ed25519 key of this id, with its private part.
pub(crate) fn signer(kind: &str, kid: &str) -> LocalKey {
    let key = raw_key(kind, kid);
    let part = |name: &str| BASE64_URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap();
    LocalKey::from_ed25519_seed(&part("_private_d_for_test_only"), &part("x")).unwrap().with_kid(kid)
}

fn raw_key(kind: &str, kid: &str) -> Value {
    let keys = read(&format!("{kind}/keys.json"));
    keys["keys"].as_array().unwrap().iter().find(|key| key["kid"] == kid).unwrap().clone()
}

fn root() -> PathBuf {
    let root = std::env::var_os("HANDOFF_ADCP_VECTORS").map(PathBuf::from);
    root.expect("the protocol's test vectors are not here: run make test, or set HANDOFF_ADCP_VECTORS")
}
