//! An issuer that signs as a test says, and publishes its keys or is away.

use crate::jwks::Source;
use async_trait::async_trait;
use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use handoff_client::jwt::JwksError;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use ring::{
    rand::SystemRandom,
    rsa::PublicKeyComponents,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
        Ed25519KeyPair, KeyPair, RsaKeyPair,
    },
};
use serde_json::{Value, json};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};
use tokio::sync::Semaphore;

// Made for these tests: its like is not made without OpenSSL.
const RSA: &str = "\
    MIIEpAIBAAKCAQEAoNq9etacn2je3HJiorzkzRBae4xCzUJm+Y83kySVYeymx972w2G5v34yxspEFK4H1LKrZPpDScRxzcjzgI5MaMXErCg6tf\
    XY/qEkmt2O4hojmervSOHYvfBuA0b0LE3f4fQvo6HptJCBePKsQoxQL9BhgqOC/IQhX2+QkFZuglP379rlnabmfe3Ip5fkenjxqXyOy9ZPOLWJ\
    b5UH4WYMrVtNEmLOA9JoSkAyFvuGLqT2BqS1l6QrsqEY0qsXTHOZWCo778hYdYxPnf88jogQsoTBlE2Ed7M0n4QBdTOfxH1vVSk0JzNqR9uFO+\
    u+Uzq5yvDOsYqMsmOmTPl9FnMEDQIDAQABAoIBACnxf9EFHygOD3bKOOAYg0zZg86Nf2nIc9OFPceXlYBIViDuCchetjGxtYnSejguPQqAYGLf\
    QyZ8G/S9/oi6EkCLuUHu54hFCAU1fbcIKNbaXAgpk6WchojYpcci/E6FK+jeZIG1mZwkxi4EkVh0///HxXVsL56q0YzyKW8Jqp0+34ib7AGKwu\
    pX8Fmp0MMCkV3AtS/ybUNNkuo7rV2XP4otnZ0wclMP2RuONJnrKw6eYSeOzMp0y8we/eNL27nKiLUXg55yj1ltlVsd6gllAPs0ir4zwJ12zjXa\
    q6JgOV9L4u41C41IFOfGdpm/+N7lVDni1FcaiFp3IeyQmkLOkx0CgYEA4hFWeUgezUFlaRfb+jrtIbXtggRW5boaktOr4IOi1bYJRjqockzeIV\
    f52o6hbjh/7/TT2fhTSyRIrvAG77Olc3FIG4/7WIBWkahu3dqitm2HupYTJurzZjWBcQfryRBlOvuvYA35qzhGODw/ORgrC+xKka3pohFputhG\
    T0+/s3MCgYEAtib4e2mUMiW0a5TqLuBEEMghJ5WakYLgjxjto5CRHkl4eDPIFmw25HWO62rQZOdtZbw/niORrba8VS2XinUxZpPu++XEjc6yQy\
    eI1R49uzgv8ktDxp56z7zLIR8wn3KvrtAXTllB3OdqTSkKiwe0mLbUpOtROpvzVmfLPWyvin8CgYEAhsqXqNDbrL6lXLghLV4dLdBvwOoddfQ1\
    C/6xqLhUSuCzPvCSpzQ17eOq0inhDvsZLVXpSznJUDBeNhBf0mRm7iJJQEXlM6ux8j9fe2B1TBiaqSH6YWYNoo+ckmyKpePkt/qBYuByUSjIlZ\
    c2izBh2kYVYC818rA3PnTd10RRpQkCgYAqEZYR6rBvZIXm0t3DNciCl7YQjlzEfpWedwNrY1ggxpcsK8lqZFPJL91yQZkftNNvS6rluxFKLYoR\
    ohX9xFNEfaYUR1y9458II3lWv0VCmBd6vidJGBEFKXVAkROJv9MTbLv1PGgZvNiwOWpV8dGj85XpAPAhuSLaMd6esRtZwQKBgQDJZtrJh15uFW\
    TcVu1rPW1d6YPeM+8hcJ7aw2IjtO4Ub4WyztylB3L9l4k2p6t2HqVa4RtJ40ParOdkyXvm+9dWaUqM6QNRu0gtvB/RZjGzMtIGm0QHKUXSQARU\
    I9wHdd5nodfl3FRVJtJha1wqBfKyVVbd2PjF0DjO82g/uaKBqw==";

pub(super) fn base64url(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// A private key, and how it is published.
pub(super) struct SigningKey {
    private: EncodingKey,
    algorithm: Algorithm,
    pub(super) published: Value,
}

impl SigningKey {
    pub(super) fn ed25519(id: &str) -> Self {
        let private = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(private.as_ref()).unwrap();
        let published = json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": base64url(pair.public_key())});
        Self { private: EncodingKey::from_ed_der(private.as_ref()), algorithm: Algorithm::EdDSA, published }
    }

    pub(super) fn p256(id: &str) -> Self {
        Self::ecdsa(id, "P-256", Algorithm::ES256, &ECDSA_P256_SHA256_FIXED_SIGNING)
    }

    pub(super) fn p384(id: &str) -> Self {
        Self::ecdsa(id, "P-384", Algorithm::ES384, &ECDSA_P384_SHA384_FIXED_SIGNING)
    }

    fn ecdsa(id: &str, curve: &str, algorithm: Algorithm, signing: &'static EcdsaSigningAlgorithm) -> Self {
        let random = SystemRandom::new();
        let private = EcdsaKeyPair::generate_pkcs8(signing, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(signing, private.as_ref(), &random).unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(pair.public_key().as_ref().len() / 2);
        let published = json!({"kty": "EC", "crv": curve, "kid": id, "x": base64url(x), "y": base64url(y)});
        Self { private: EncodingKey::from_ec_der(private.as_ref()), algorithm, published }
    }

    pub(super) fn rsa(id: &str, algorithm: Algorithm) -> Self {
        let private = BASE64_STANDARD.decode(RSA).unwrap();
        let public = PublicKeyComponents::<Vec<u8>>::from(RsaKeyPair::from_der(&private).unwrap().public());
        let published = json!({"kty": "RSA", "kid": id, "n": base64url(public.n), "e": base64url(public.e)});
        Self { private: EncodingKey::from_rsa_der(&private), algorithm, published }
    }

    /// The token that has exactly this head and these claims.
    pub(super) fn signs(&self, head: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", base64url(head.to_string()), base64url(claims.to_string()));
        let signature = crypto::sign(message.as_bytes(), &self.private, self.algorithm).unwrap();
        format!("{message}.{signature}")
    }

    /// The head that names the algorithm and the key.
    pub(super) fn head(&self) -> Value {
        json!({"alg": format!("{:?}", self.algorithm), "typ": "at+jwt", "kid": self.published["kid"]})
    }
}

/// What an issuer publishes; none while it is away.
#[derive(Clone)]
pub(super) struct FakeIssuer {
    published: Arc<Mutex<Option<Vec<Value>>>>,
    fetches: Arc<AtomicUsize>,
    /// Each answer takes one.
    pub(super) answers: Arc<Semaphore>,
}

impl FakeIssuer {
    pub(super) fn publishing(keys: &[&SigningKey]) -> Self {
        let answers = Arc::new(Semaphore::new(1_000));
        let issuer = Self { published: Arc::default(), fetches: Arc::default(), answers };
        issuer.publish(keys);
        issuer
    }

    pub(super) fn publish(&self, keys: &[&SigningKey]) {
        self.publish_as(keys.iter().map(|key| key.published.clone()).collect());
    }

    pub(super) fn publish_as(&self, keys: Vec<Value>) {
        *self.published.lock().unwrap() = Some(keys);
    }

    pub(super) fn goes_away(&self) {
        *self.published.lock().unwrap() = None;
    }

    pub(super) fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }

    /// Lets others run until it was asked so often.
    pub(super) async fn was_asked(&self, times: usize) {
        for _ in 0..10_000 {
            if self.fetches() >= times {
                // What was fetched is also kept.
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
                assert_eq!(self.fetches(), times);
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("asked {} times instead of {times}", self.fetches());
    }
}

#[async_trait]
impl Source for FakeIssuer {
    async fn fetch(&self) -> Result<Vec<Value>, JwksError> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        self.answers.acquire().await.expect("it is never closed").forget();
        self.published.lock().unwrap().clone().ok_or(JwksError::Status { what: "keys", status: 503 })
    }
}
