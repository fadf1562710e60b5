//! An issuer's public keys, as it publishes them (RFC 7517).

use crate::jwks::{Cache, KeySet, Unavailable};
use jsonwebtoken::{
    Algorithm::{self, ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512},
    DecodingKey, crypto,
};
use serde::Deserialize;
use serde_json::Value;
use std::{fmt, sync::Arc};

/// The signatures that are taken: those whose public key can't sign.
pub(super) const ALGORITHMS: [Algorithm; 9] = [RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA];

const RSA: &[Algorithm] = &[RS256, RS384, RS512, PS256, PS384, PS512];

/// A key that signatures are verified with.
pub(super) struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    public: DecodingKey,
}

impl Key {
    /// Is this the key's signature, in base64url, over the message?
    pub(super) fn verifies(&self, algorithm: Algorithm, message: &str, signature: &str) -> bool {
        // The library counts on an algorithm that is one of the key's.
        self.algorithms.contains(&algorithm)
            && crypto::verify(signature, message.as_bytes(), &self.public, algorithm).unwrap_or(false)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("algorithms", &self.algorithms).finish_non_exhaustive()
    }
}

/// The keys of one issuer that can be used here.
#[derive(Debug, Default)]
pub(super) struct Keys(Vec<Arc<Key>>);

impl KeySet for Keys {
    /// What else is published (keys for encryption, of other kinds, broken ones) is left out.
    fn read(published: &[Value]) -> Self {
        Self(published.iter().filter_map(read).map(Arc::new).collect())
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

impl Cache<Keys> {
    /// The keys that may have signed a token, none if the issuer has none such.
    pub(super) async fn keys(
        self: &Arc<Self>,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Vec<Arc<Key>>, Unavailable> {
        self.find(|keys| keys.of(id, algorithm)).await
    }
}

impl Keys {
    /// Those that may have signed: of this id; or, without one, the only one for the algorithm. Several are none, because a token
    /// that does not say which is not to be tried on all.
    pub(super) fn of(&self, id: Option<&str>, algorithm: Algorithm) -> Vec<Arc<Key>> {
        let fits =
            |key: &&Arc<Key>| key.algorithms.contains(&algorithm) && id.is_none_or(|id| key.id.as_deref() == Some(id));
        let keys: Vec<_> = self.0.iter().filter(fits).cloned().collect();
        if id.is_none() && keys.len() > 1 { Vec::new() } else { keys }
    }
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    crv: Option<String>,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

fn read(published: &Value) -> Option<Key> {
    let jwk = Jwk::deserialize(published).ok()?;
    let verifies = jwk.usage.as_deref().is_none_or(|usage| usage == "sig")
        && jwk.key_ops.as_ref().is_none_or(|operations| operations.iter().any(|operation| operation == "verify"));
    let (x, y) = (jwk.x.as_deref(), jwk.y.as_deref());
    let (kind, public) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => (RSA, DecodingKey::from_rsa_components(jwk.n.as_deref()?, jwk.e.as_deref()?)),
        ("EC", Some("P-256")) => (&[ES256][..], DecodingKey::from_ec_components(x?, y?)),
        ("EC", Some("P-384")) => (&[ES384][..], DecodingKey::from_ec_components(x?, y?)),
        ("OKP", Some("Ed25519")) => (&[EdDSA][..], DecodingKey::from_ed_components(x?)),
        _ => return None,
    };
    let named = jwk.alg.as_deref();
    let own = |kind: &Algorithm| named.is_none_or(|name| name.parse::<Algorithm>().is_ok_and(|named| named == *kind));
    let algorithms: Vec<Algorithm> = kind.iter().copied().filter(own).collect();
    let usable = verifies && !algorithms.is_empty();
    Some(Key { id: jwk.kid, algorithms, public: public.ok()? }).filter(|_| usable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn key(more: Value) -> Value {
        let mut key = json!({"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA", "kid": "k"});
        key.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        key
    }

    fn algorithms(published: &Value) -> Vec<Algorithm> {
        Keys::read(std::slice::from_ref(published)).0.first().map(|key| key.algorithms.clone()).unwrap_or_default()
    }

    #[test]
    fn a_key_is_for_what_it_says_and_for_nothing_else() {
        for (published, expected) in [
            (key(json!({})), &[ES256][..]),
            (key(json!({"crv": "P-384", "use": "sig", "alg": "ES384", "key_ops": ["verify"]})), &[ES384]),
            (key(json!({"alg": "ES384"})), &[]),
            (key(json!({"use": "enc"})), &[]),
            (key(json!({"key_ops": ["sign"]})), &[]),
            (key(json!({"crv": "secp256k1"})), &[]),
            (key(json!({"crv": "Ed25519"})), &[]),
            (key(json!({"kty": "OKP", "crv": "Ed25519"})), &[EdDSA]),
            (key(json!({"kty": "OKP", "crv": "X25519"})), &[]),
            (key(json!({"kty": "oct", "k": "AAAA"})), &[]),
            (key(json!({"x": "not base64!"})), &[]),
            (key(json!({"kty": 7})), &[]),
            (json!({"kty": "RSA", "n": "AQAB", "e": "AQAB", "alg": "PS384", "iat": 1.5}), &[PS384]),
            (json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"}), RSA),
            (json!({"kty": "RSA", "n": "AQAB", "e": "AQAB", "alg": "RSA-OAEP"}), &[]),
            (json!({"kty": "RSA", "e": "AQAB"}), &[]),
            (json!("key"), &[]),
        ] {
            assert_eq!(algorithms(&published), expected, "{published}");
        }
    }

    #[test]
    fn a_key_is_chosen_by_its_id_or_by_being_the_only_one() {
        let keys = Keys::read(&[
            key(json!({"kid": "a"})),
            key(json!({"kid": "b"})),
            key(json!({"kid": "a", "kty": "OKP", "crv": "Ed25519"})),
            json!({"kty": "oct", "k": "AAAA", "kid": "c"}),
        ]);
        assert_eq!(keys.len(), 3);
        for (id, algorithm, found) in [
            (Some("a"), ES256, 1),
            (Some("b"), ES256, 1),
            (Some("a"), EdDSA, 1),
            (Some("b"), EdDSA, 0),
            (Some("c"), ES256, 0),
            (None, EdDSA, 1),
            (None, ES256, 0),
            (None, RS256, 0),
        ] {
            assert_eq!(keys.of(id, algorithm).len(), found, "{id:?} {algorithm:?}");
        }
    }
}
