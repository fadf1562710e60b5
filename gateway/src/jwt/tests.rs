//! Tokens that are right in all but one thing, and an issuer that comes and goes.

mod issuer;

use super::{keys::ALGORITHMS, *};
use crate::{ADCP_AUTH, ApiKeyAuthenticator};
use axum::http::header;
use handoff_client::{ApiKeys, jwt::PrincipalNames};
use issuer::{FakeIssuer, SigningKey, base64url};
use jsonwebtoken::Algorithm;
use ring::hmac;
use serde_json::{Value, json};
use std::time::Duration;

const ISSUER: &str = "https://issuer.example/realms/a";
const RESOURCE: &str = "https://ads.example/mcp";

fn settings() -> JwtSettings {
    JwtSettings { leeway: Duration::from_secs(10), ..JwtSettings::of(ISSUER) }
}

fn authenticator(settings: &JwtSettings, issuer: &FakeIssuer) -> JwtAuthenticator {
    JwtAuthenticator::with_source(settings, issuer.clone(), RESOURCE.parse().unwrap())
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// What a good token says; `more` in its place or beside it, and what is null there left out.
fn claims(more: &Value) -> Value {
    with(json!({"iss": ISSUER, "aud": RESOURCE, "sub": "agent-1", "exp": now() + 60}), more)
}

fn with(mut object: Value, more: &Value) -> Value {
    for (name, value) in more.as_object().unwrap() {
        if value.is_null() {
            object.as_object_mut().unwrap().remove(name);
        } else {
            object[name] = value.clone();
        }
    }
    object
}

async fn sent(authenticator: &impl Authenticator, token: &str) -> Result<String, AuthError> {
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    authenticator.authenticate(&headers).await.map(|principal| principal.name)
}

#[tokio::test]
async fn a_token_says_who_for_whom_and_until_when() {
    let key = SigningKey::ed25519("a");
    let agents = authenticator(&settings(), &FakeIssuer::publishing(&[&key]));
    let name = || Ok("issuer.example/realms/a|agent-1".to_owned());
    let refused = || Err(AuthError::Invalid);
    let elsewhere = "https://ads.example";
    for (more, expected) in [
        (json!({}), name()),
        (json!({"iss": null}), refused()),
        (json!({"iss": "https://issuer.example/realms/a/"}), refused()),
        (json!({"iss": [ISSUER]}), refused()),
        (json!({"aud": null}), refused()),
        (json!({"aud": elsewhere}), refused()),
        (json!({"aud": [elsewhere, RESOURCE]}), name()),
        (json!({"aud": [elsewhere]}), refused()),
        (json!({"aud": []}), refused()),
        (json!({"aud": {"aud": RESOURCE}}), refused()),
        (json!({"exp": null}), refused()),
        (json!({"exp": now() - 60}), refused()),
        (json!({"exp": now() - 2}), name()),
        (json!({"exp": now() as f64 + 60.5}), name()),
        (json!({"exp": (now() + 60).to_string()}), refused()),
        (json!({"nbf": now() + 60}), refused()),
        (json!({"nbf": now() + 2}), name()),
        (json!({"nbf": now() - 60}), name()),
        (json!({"nbf": "0"}), refused()),
        (json!({"sub": null}), refused()),
        (json!({"sub": ""}), refused()),
        (json!({"sub": 7}), refused()),
        (json!({"sub": "agent 1"}), refused()),
        (json!({"sub": "agent\n1"}), refused()),
        (json!({"sub": "a".repeat(200)}), refused()),
        (json!({"jti": "j", "scope": "ads", "iat": now(), "nested": {"exp": 1}}), name()),
    ] {
        assert_eq!(sent(&agents, &key.signs(&key.head(), &claims(&more))).await, expected, "{more}");
    }
    assert_eq!(sent(&agents, &key.signs(&key.head(), &json!([]))).await, refused());
}

#[tokio::test]
async fn a_token_does_not_say_how_it_is_checked() {
    let (key, other) = (SigningKey::ed25519("a"), SigningKey::p256("b"));
    let stranger = SigningKey::ed25519("a");
    let agents = authenticator(&settings(), &FakeIssuer::publishing(&[&key, &other]));
    let claims = claims(&json!({}));
    for (more, good) in [
        (json!({}), true),
        (json!({"typ": null}), true),
        (json!({"typ": "JWT"}), true),
        (json!({"typ": "application/AT+JWT"}), true),
        (json!({"typ": "dpop+jwt"}), false),
        (json!({"typ": 7}), false),
        (json!({"kid": null}), true),
        (json!({"kid": "c"}), false),
        (json!({"kid": "b"}), false),
        (json!({"kid": 7}), false),
        (json!({"alg": "none"}), false),
        (json!({"alg": "None"}), false),
        (json!({"alg": "HS256"}), false),
        (json!({"alg": "ES256"}), false),
        (json!({"alg": null}), false),
        (json!({"crit": ["exp"]}), false),
        (json!({"crit": []}), false),
        (json!({"jku": "https://evil.example/jwks", "jwk": stranger.published, "x5u": "https://evil.example"}), true),
    ] {
        let sent = sent(&agents, &key.signs(&with(key.head(), &more), &claims)).await;
        assert_eq!(sent.is_ok(), good, "{more}: {sent:?}");
        assert!(good || sent == Err(AuthError::Invalid), "{more}: {sent:?}");
    }
    // A key that the token itself brings is not the issuer's.
    let own = with(stranger.head(), &json!({"jwk": stranger.published}));
    for forged in [stranger.signs(&stranger.head(), &claims), stranger.signs(&own, &claims)] {
        assert_eq!(sent(&agents, &forged).await, Err(AuthError::Invalid));
    }
    assert!(sent(&agents, &other.signs(&other.head(), &claims)).await.is_ok());
}

#[tokio::test]
async fn a_public_key_is_no_secret_to_sign_with() {
    let (ed, rsa) = (SigningKey::ed25519("a"), SigningKey::rsa("b", Algorithm::RS256));
    let agents = authenticator(&settings(), &FakeIssuer::publishing(&[&ed, &rsa]));
    for (key, part) in [(&ed, "x"), (&rsa, "n")] {
        let text = key.published[part].as_str().unwrap();
        let bytes = base64::Engine::decode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, text).unwrap();
        let document = key.published.to_string();
        for secret in [bytes.as_slice(), text.as_bytes(), document.as_bytes(), b""] {
            let head = with(key.head(), &json!({"alg": "HS256"}));
            let message = format!("{}.{}", base64url(head.to_string()), base64url(claims(&json!({})).to_string()));
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
            assert_eq!(sent(&agents, &format!("{message}.{}", base64url(tag))).await, Err(AuthError::Invalid));
        }
    }
}

#[tokio::test]
async fn every_algorithm_is_taken_for_keys_that_have_it() {
    for algorithm in ALGORITHMS {
        let key = match algorithm {
            Algorithm::EdDSA => SigningKey::ed25519("a"),
            Algorithm::ES256 => SigningKey::p256("a"),
            Algorithm::ES384 => SigningKey::p384("a"),
            algorithm => SigningKey::rsa("a", algorithm),
        };
        let token = key.signs(&key.head(), &claims(&json!({})));
        let name = format!("{algorithm:?}");
        let foreign = if algorithm == Algorithm::PS256 { "RS256" } else { "PS256" };
        for (more, good) in [
            (json!({}), true),
            (json!({"alg": name, "use": "sig", "key_ops": ["verify"]}), true),
            (json!({"alg": foreign}), false),
            (json!({"use": "enc"}), false),
            (json!({"key_ops": ["encrypt"]}), false),
        ] {
            let issuer = FakeIssuer::publishing(&[]);
            issuer.publish_as(vec![with(key.published.clone(), &more)]);
            let agents = authenticator(&settings(), &issuer);
            assert_eq!(sent(&agents, &token).await.is_ok(), good, "{name} {more}");
        }
    }
}

#[tokio::test]
async fn what_is_no_token_is_refused() {
    let key = SigningKey::p256("a");
    let agents = authenticator(&settings(), &FakeIssuer::publishing(&[&key]));
    let good = key.signs(&key.head(), &claims(&json!({})));
    assert!(sent(&agents, &good).await.is_ok());
    let [head, body, signature] = &good.split('.').collect::<Vec<_>>()[..] else { panic!("{good}") };
    let swapped: String = signature.chars().rev().collect();
    let other_body = base64url(claims(&json!({"sub": "agent-2"})).to_string());
    let long = key.signs(&key.head(), &claims(&json!({"long": "x".repeat(token::MAX_BYTES)})));
    for wrong in [
        format!("{head}.{body}"),
        format!("{head}.{body}."),
        format!("{good}.{signature}"),
        format!("{head}.{body}.{swapped}"),
        format!("{head}.{other_body}.{signature}"),
        format!("{head}.{body}.{signature}="),
        format!("{head}.{body}.{}", &signature[..signature.len() - 4]),
        format!("{}.{body}.{signature}", base64url("null")),
        format!("{}.{body}.{signature}", base64url("{\"alg\":\"ES256\"")),
        format!("{head}.{}.{signature}", base64url([0xff, 0xfe])),
        format!("{head}..{signature}"),
        "..".to_owned(),
        "a-key-of-nobodys".to_owned(),
        long,
    ] {
        assert_eq!(sent(&agents, &wrong).await, Err(AuthError::Invalid), "{wrong:.200}");
    }
    assert_eq!(agents.authenticate(&HeaderMap::new()).await, Err(AuthError::Missing));
}

#[tokio::test]
async fn of_two_keys_a_token_says_which() {
    let (old, new) = (SigningKey::p256("old"), SigningKey::p256("new"));
    let agents = authenticator(&settings(), &FakeIssuer::publishing(&[&old, &new]));
    for key in [&old, &new] {
        assert!(sent(&agents, &key.signs(&key.head(), &claims(&json!({})))).await.is_ok());
        let unnamed = key.signs(&with(key.head(), &json!({"kid": null})), &claims(&json!({})));
        assert_eq!(sent(&agents, &unnamed).await, Err(AuthError::Invalid));
    }
    let crossed = old.signs(&new.head(), &claims(&json!({})));
    assert_eq!(sent(&agents, &crossed).await, Err(AuthError::Invalid));
}

#[tokio::test]
async fn settings_say_the_audience_and_the_name() {
    let key = SigningKey::ed25519("a");
    let plain = JwtSettings {
        audience: Some("urn:ads".into()),
        principal_claim: "https://claims.example/agent".into(),
        principals: PrincipalNames::Plain,
        ..settings()
    };
    let agents = authenticator(&plain, &FakeIssuer::publishing(&[&key]));
    let for_us = json!({"aud": "urn:ads", "https://claims.example/agent": "agent.buyer.example"});
    let named = sent(&agents, &key.signs(&key.head(), &claims(&for_us))).await;
    assert_eq!(named.as_deref(), Ok("agent.buyer.example"));
    let for_the_url = json!({"https://claims.example/agent": "agent.buyer.example"});
    assert_eq!(sent(&agents, &key.signs(&key.head(), &claims(&for_the_url))).await, Err(AuthError::Invalid));
    let told = agents.protected_resource().unwrap();
    assert_eq!(told, ProtectedResource::new(RESOURCE.parse().unwrap(), vec![ISSUER.to_owned()]));
}

#[tokio::test]
async fn keys_and_tokens_stand_side_by_side() {
    let key = SigningKey::ed25519("a");
    let issuer = FakeIssuer::publishing(&[&key]);
    let (api_key, dotted) = ("key-of-an-agent-0123", "a.key.with-dots-0123");
    let token = key.signs(&key.head(), &claims(&json!({"iss": "https://other.example"})));
    let mut keys = ApiKeys::default();
    for (name, key) in [("agent.a", api_key), ("agent.b", dotted), ("agent.c", token.as_str())] {
        keys.add(name, &key.to_owned().into()).unwrap();
    }
    let both = TokensBeside::new(authenticator(&settings(), &issuer), ApiKeyAuthenticator::new(keys));
    assert_eq!(sent(&both, api_key).await.as_deref(), Ok("agent.a"));
    assert_eq!(sent(&both, dotted).await.as_deref(), Ok("agent.b"));
    // What looks like a token is one.
    assert_eq!(sent(&both, &token).await, Err(AuthError::Invalid));
    let good = key.signs(&key.head(), &claims(&json!({})));
    assert_eq!(sent(&both, &good).await.as_deref(), Ok("issuer.example/realms/a|agent-1"));
    let mut headers = HeaderMap::new();
    assert_eq!(both.authenticate(&headers).await, Err(AuthError::Missing));
    headers.insert(ADCP_AUTH, good.parse().unwrap());
    assert!(both.authenticate(&headers).await.is_ok());
    headers.insert(header::AUTHORIZATION, format!("Bearer {api_key}").parse().unwrap());
    assert_eq!(both.authenticate(&headers).await, Err(AuthError::Invalid), "two credentials are none");
    assert!(both.protected_resource().is_some());
    assert!(!format!("{both:?}").contains("0123"));
}

#[tokio::test(start_paused = true)]
async fn strangers_keys_make_nobody_ask_more_than_once_in_a_while() {
    let (key, stranger) = (SigningKey::ed25519("a"), SigningKey::ed25519("x"));
    let issuer = FakeIssuer::publishing(&[&key]);
    let settings = settings();
    let agents = authenticator(&settings, &issuer);
    let (good, claims) = (key.signs(&key.head(), &claims(&json!({}))), claims(&json!({})));
    let flood = async || {
        let heads = (0..200).map(|number| with(stranger.head(), &json!({"kid": format!("k{number}")})));
        let tokens: Vec<String> = heads.map(|head| stranger.signs(&head, &claims)).collect();
        let answers = futures::future::join_all(tokens.iter().map(|token| sent(&agents, token))).await;
        assert!(answers.iter().all(|answer| *answer == Err(AuthError::Invalid)));
        assert!(sent(&agents, &good).await.is_ok());
    };
    flood().await;
    flood().await;
    assert_eq!(issuer.fetches(), 1);
    tokio::time::advance(settings.cooldown - Duration::from_millis(1)).await;
    flood().await;
    assert_eq!(issuer.fetches(), 1);
    tokio::time::advance(Duration::from_millis(1)).await;
    flood().await;
    assert_eq!(issuer.fetches(), 2);
    // What can't be good for what it says itself causes nothing.
    tokio::time::advance(settings.cooldown).await;
    let expired = with(claims.clone(), &json!({"exp": 1}));
    assert_eq!(sent(&agents, &stranger.signs(&stranger.head(), &expired)).await, Err(AuthError::Invalid));
    assert_eq!(issuer.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn keys_come_and_go_with_the_issuers() {
    let (old, new) = (SigningKey::ed25519("old"), SigningKey::ed25519("new"));
    let issuer = FakeIssuer::publishing(&[&old]);
    let settings = JwtSettings { keep: Duration::from_secs(3_600), ..settings() };
    let agents = authenticator(&settings, &issuer);
    let token = |key: &SigningKey| key.signs(&key.head(), &claims(&json!({})));
    assert!(sent(&agents, &token(&old)).await.is_ok());
    // A new key is found when it is first used.
    issuer.publish(&[&old, &new]);
    tokio::time::advance(settings.cooldown).await;
    assert!(sent(&agents, &token(&new)).await.is_ok());
    assert!(sent(&agents, &token(&old)).await.is_ok());
    assert_eq!(issuer.fetches(), 2);
    // An old one is gone with the next reading.
    issuer.publish(&[&new]);
    assert!(sent(&agents, &token(&old)).await.is_ok());
    tokio::time::advance(settings.refresh).await;
    issuer.was_asked(3).await;
    assert_eq!(sent(&agents, &token(&old)).await, Err(AuthError::Invalid));
    assert!(sent(&agents, &token(&new)).await.is_ok());
    // What was read last is good for a while when the issuer is away.
    issuer.goes_away();
    tokio::time::advance(settings.refresh).await;
    issuer.was_asked(4).await;
    assert!(sent(&agents, &token(&new)).await.is_ok());
    assert_eq!(sent(&agents, &token(&old)).await, Err(AuthError::Unavailable), "it may be a new one");
    tokio::time::advance(settings.keep).await;
    issuer.was_asked(5).await;
    assert_eq!(sent(&agents, &token(&new)).await, Err(AuthError::Unavailable));
    issuer.publish(&[&new]);
    tokio::time::advance(settings.cooldown).await;
    issuer.was_asked(6).await;
    assert!(sent(&agents, &token(&new)).await.is_ok());
    assert_eq!(sent(&agents, &token(&old)).await, Err(AuthError::Invalid));
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_was_never_reached_is_waited_for() {
    let key = SigningKey::ed25519("a");
    let issuer = FakeIssuer::publishing(&[&key]);
    issuer.goes_away();
    let settings = settings();
    let agents = authenticator(&settings, &issuer);
    let good = key.signs(&key.head(), &claims(&json!({})));
    for _ in 0..3 {
        assert_eq!(sent(&agents, &good).await, Err(AuthError::Unavailable));
    }
    assert_eq!(issuer.fetches(), 1);
    assert_eq!(sent(&agents, "no-token").await, Err(AuthError::Invalid));
    issuer.publish(&[&key]);
    tokio::time::advance(settings.cooldown).await;
    assert!(sent(&agents, &good).await.is_ok());
    assert_eq!(issuer.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn who_hangs_up_makes_nobody_ask_again() {
    let key = SigningKey::ed25519("a");
    let issuer = FakeIssuer::publishing(&[&key]);
    issuer.answers.forget_permits(1_000);
    let times = Times {
        refresh: Duration::from_secs(300),
        cooldown: Duration::from_secs(10),
        keep: Duration::from_secs(3_600),
    };
    let cache = Cache::<Keys>::new("issuer", issuer.clone(), times);
    for _ in 0..3 {
        let asking = cache.clone();
        let call = tokio::spawn(async move { asking.keys(Some("a"), Algorithm::EdDSA).await.map(|keys| keys.len()) });
        issuer.was_asked(1).await;
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
    }
    let asking = cache.clone();
    let call = tokio::spawn(async move { asking.keys(Some("a"), Algorithm::EdDSA).await.map(|keys| keys.len()) });
    issuer.was_asked(1).await;
    issuer.answers.add_permits(1);
    assert_eq!(call.await.unwrap(), Ok::<usize, Unavailable>(1));
    assert_eq!(issuer.fetches(), 1);
}
