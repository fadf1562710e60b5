//! Agents that come with access tokens: let in beside those with API keys, kept apart from them, and for as long as the issuer has the
//! key.

use super::clients::Buyer;
use futures::future::join_all;
use handoff_tests::{
    Issuer, Kind, TokenKey, World, eventually,
    front::{AGENT, API_KEY, Acme, Front, acme_request},
};
use handoff_webhooks::keys::Algorithm;
use serde_json::{Value, json};

const PUBLIC_URL: &str = "https://ads.acme.example";
const RESOURCE: &str = "https://ads.acme.example/mcp";
const METADATA: &str = "https://ads.acme.example/.well-known/oauth-protected-resource/mcp";

fn acme<'a>(world: &'a World, issuer: &Issuer) -> Acme<'a> {
    Acme::new(world)
        .unwrap()
        .set("HANDOFF_PUBLIC_URL", PUBLIC_URL)
        .set("HANDOFF_JWT_ISSUER", issuer.url())
        .set("HANDOFF_JWT_CA_FILE", issuer.authority())
        .set("HANDOFF_LOG", "info,handoff=debug")
}

fn key(algorithm: Algorithm) -> TokenKey {
    TokenKey::new(algorithm).unwrap()
}

/// The status of the answer to a harmless call, and its challenge.
async fn knock(front: &Front, credential: &str) -> (u16, String) {
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params":
        {"name": "get_adcp_capabilities", "arguments": {}}});
    let response = front.post(credential).body(message.to_string()).send().await.unwrap();
    let challenge = response.headers().get("www-authenticate").map(|value| value.to_str().unwrap().to_owned());
    (response.status().as_u16(), challenge.unwrap_or_default())
}

async fn status(front: &Front, credential: &str) -> u16 {
    knock(front, credential).await.0
}

async fn becomes(front: &Front, credential: &str, wanted: u16) {
    eventually(&format!("the answer is {wanted}"), || async {
        (status(front, credential).await == wanted).then_some(())
    })
    .await;
}

async fn json_at(front: &Front, path: &str) -> (u16, Value) {
    let response = front.get(path).send().await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_stand_beside_keys_and_name_other_agents() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let key = key(Algorithm::Es256);
    let issuer = Issuer::start(&[&key]).await.unwrap();
    let acme = acme(&world, &issuer);
    let _worker = acme.worker().unwrap();
    let mut front = acme.gateway().await.unwrap();
    let token = key.token(&issuer.claims("agent-1", RESOURCE)).await;

    // A client that others wrote buys with a token, as it would with a key.
    let mut buyer = Buyer::python_as(&front, &token).await.unwrap();
    let submitted = buyer.call("create_media_buy", &acme_request("create_media_buy.insertion_order")).await;
    assert_eq!(submitted["data"]["status"], "submitted", "{submitted}");
    let poll = json!({"task_id": submitted["data"]["task_id"]});
    assert_eq!(front.call_as(&token, "get_task_status", &poll).await.body["status"], "submitted");

    // An agent that the issuer calls by the name of one with an API key is another one.
    let namesake = key.token(&issuer.claims(AGENT, RESOURCE)).await;
    let own = front.call("create_media_buy", &acme_request("create_media_buy.insertion_order")).await;
    let own_poll = json!({"task_id": own.body["task_id"]});
    assert_eq!(front.call_as(&namesake, "get_task_status", &own_poll).await.code(), "REFERENCE_NOT_FOUND");
    assert_eq!(front.call_as(API_KEY, "get_task_status", &poll).await.code(), "REFERENCE_NOT_FOUND");
    // Unless the operator says that they are one.
    let plain = acme.set("HANDOFF_JWT_PRINCIPALS", "plain");
    let one_name = plain.gateway().await.unwrap();
    assert_eq!(one_name.call_as(&namesake, "get_task_status", &own_poll).await.body["status"], "submitted");

    let scoped = format!("{}|agent-1", issuer.url().trim_start_matches("https://"));
    let log = eventually("the agent is in the log", || async {
        let log = front.log.lock().unwrap().clone();
        log.contains(&scoped).then_some(log)
    })
    .await;
    for secret in token.split('.').chain(namesake.split('.').skip(1)) {
        assert!(!log.contains(secret), "a part of a token is in the log");
    }
    front.assert_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_token_is_told_where_to_get_one() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let (key, stranger) = (key(Algorithm::Ed25519), key(Algorithm::Ed25519));
    let issuer = Issuer::start(&[&key]).await.unwrap();
    let acme = acme(&world, &issuer);
    let front = acme.gateway().await.unwrap();
    let expected = json!({
        "resource": RESOURCE,
        "authorization_servers": [issuer.url()],
        "bearer_methods_supported": ["header"],
    });
    for path in ["", "/mcp"] {
        let found = json_at(&front, &format!("/.well-known/oauth-protected-resource{path}")).await;
        assert_eq!(found, (200, expected.clone()), "{path}");
    }
    assert_eq!(json_at(&front, "/.well-known/oauth-protected-resource/elsewhere").await.0, 404);

    let nothing = front.get("/mcp").send().await.unwrap();
    assert_eq!(nothing.status(), 401);
    let challenge = format!(r#"Bearer realm="adcp", resource_metadata="{METADATA}""#);
    assert_eq!(nothing.headers()["www-authenticate"], challenge);
    let claims = issuer.claims("agent-1", RESOURCE);
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        claims
    };
    let challenge = format!(r#"Bearer realm="adcp", error="invalid_token", resource_metadata="{METADATA}""#);
    for wrong in [
        key.token(&with("aud", json!(PUBLIC_URL))).await,
        key.token(&with("iss", json!("https://issuer.example"))).await,
        key.token(&with("exp", json!(1))).await,
        key.token(&with("nbf", json!(u32::MAX))).await,
        key.token_named("nobodys", &claims).await,
        stranger.token(&claims).await,
        "a-key-of-nobodys".to_owned(),
    ] {
        assert_eq!(knock(&front, &wrong).await, (401, challenge.clone()));
    }
    assert_eq!(status(&front, &key.token(&claims).await).await, 200);
    assert_eq!(status(&front, API_KEY).await, 200);

    // Where no tokens are taken, nobody is told of any.
    let acme = Acme::new(&world).unwrap();
    let without = acme.gateway().await.unwrap();
    for path in ["", "/mcp"] {
        assert_eq!(json_at(&without, &format!("/.well-known/oauth-protected-resource{path}")).await.0, 404);
    }
    let refused = knock(&without, &key.token(&claims).await).await;
    assert_eq!(refused, (401, r#"Bearer realm="adcp", error="invalid_token""#.to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_changed_under_a_running_gateway() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let (old, new) = (key(Algorithm::Ed25519), key(Algorithm::Es256));
    let issuer = Issuer::start(&[&old]).await.unwrap();
    let acme = acme(&world, &issuer).set("HANDOFF_JWT_JWKS_REFRESH", "300ms").set("HANDOFF_JWT_JWKS_COOLDOWN", "100ms");
    let front = acme.gateway().await.unwrap();
    let claims = issuer.claims("agent-1", RESOURCE);
    let (by_old, by_new) = (old.token(&claims).await, new.token(&claims).await);
    assert_eq!((status(&front, &by_old).await, status(&front, &by_new).await), (200, 401));
    issuer.publish(&[&old, &new]);
    becomes(&front, &by_new, 200).await;
    assert_eq!(status(&front, &by_old).await, 200);
    issuer.publish(&[&new]);
    becomes(&front, &by_old, 401).await;
    assert_eq!(status(&front, &by_new).await, 200);

    // While the issuer is away, its keys are those that it had; of others nobody knows.
    issuer.set_away(true);
    let before = issuer.fetches();
    eventually("it was asked in vain", || async { (issuer.fetches() > before + 2).then_some(()) }).await;
    assert_eq!(status(&front, &by_new).await, 200);
    assert_eq!(status(&front, API_KEY).await, 200);
    assert_eq!(status(&front, &by_old).await, 503);
    issuer.set_away(false);
    becomes(&front, &by_old, 401).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_is_away_from_the_start_is_waited_for() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let key = key(Algorithm::Es256);
    let issuer = Issuer::start(&[&key]).await.unwrap();
    issuer.set_away(true);
    let acme = acme(&world, &issuer).set("HANDOFF_JWT_JWKS_COOLDOWN", "100ms");
    let front = acme.gateway().await.unwrap();
    let token = key.token(&issuer.claims("agent-1", RESOURCE)).await;
    assert_eq!(knock(&front, &token).await, (503, String::new()));
    assert_eq!(status(&front, API_KEY).await, 200);
    issuer.set_away(false);
    becomes(&front, &token, 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_strangers_keys_asks_the_issuer_once() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let (key, stranger) = (key(Algorithm::Es256), key(Algorithm::Ed25519));
    let issuer = Issuer::start(&[&key]).await.unwrap();
    let acme = acme(&world, &issuer).set("HANDOFF_JWT_JWKS_REFRESH", "1d").set("HANDOFF_JWT_JWKS_COOLDOWN", "5m");
    let front = acme.gateway().await.unwrap();
    let claims = issuer.claims("agent-1", RESOURCE);
    let tokens = join_all((0..200).map(|number| {
        let (stranger, claims) = (&stranger, &claims);
        async move { stranger.token_named(&format!("k{number}"), claims).await }
    }));
    let tokens = tokens.await;
    let answers = join_all(tokens.iter().map(|token| status(&front, token))).await;
    assert!(answers.iter().all(|answer| *answer == 401), "{answers:?}");
    assert_eq!(status(&front, &key.token(&claims).await).await, 200);
    assert_eq!(issuer.fetches(), 1);
}
