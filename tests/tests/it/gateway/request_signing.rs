//! Requests that buyers sign: who they let in, what they cover, and that each counts once, whichever front door it comes to.

use futures::future::join_all;
use handoff_client::{
    Config,
    codec::{Key, KeySource},
};
use handoff_tests::{
    Issuer, Kind, TokenKey, World,
    front::{AGENT, API_KEY, Acme, Front, OTHER_API_KEY, acme_request},
    fuzz,
};
use handoff_webhooks::{
    keys::{Algorithm, Jwk, LocalKey, Signer},
    signature::{Headers, Profile, Request, sign_as},
};
use rand::Rng;
use serde_json::{Value, json};
use std::{path::Path, time::SystemTime};

const HOST: &str = "ads.acme.example";
const PUBLIC_URL: &str = "https://ads.acme.example";
const RESOURCE: &str = "https://ads.acme.example/mcp";

fn key(algorithm: Algorithm) -> LocalKey {
    LocalKey::read_pem(&LocalKey::generate_pem(algorithm).unwrap()).unwrap().remove(0)
}

/// A file of counterparties, each with its name and its key.
fn file(directory: &Path, head: &str, agents: &[(&str, Jwk, &str)]) -> String {
    let tables = agents.iter().map(|(agent, key, more)| {
        // Strings and lists of them are the same in TOML.
        let Value::Object(fields) = serde_json::to_value(key).unwrap() else { panic!() };
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        format!("\n[[counterparty]]\nprincipal = \"{agent}\"\nkeys = [{{ {} }}]\n{more}\n", fields.join(", "))
    });
    let path = directory.join("request-signing.toml");
    std::fs::write(&path, format!("{head}\n{}", tables.collect::<String>())).unwrap();
    path.display().to_string()
}

fn acme<'a>(world: &'a World, head: &str, agents: &[(&str, Jwk, &str)]) -> Acme<'a> {
    let acme = Acme::new(world).unwrap();
    let file = file(acme.directory(), head, agents);
    acme.set("HANDOFF_PUBLIC_URL", PUBLIC_URL).set("HANDOFF_REQUEST_SIGNING_FILE", file)
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

fn call(tool: &str, request: &Value) -> String {
    let params = json!({"name": tool, "arguments": request});
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string()
}

fn harmless() -> String {
    call("get_adcp_capabilities", &json!({}))
}

type Change<'a> = &'a dyn Fn(&mut Sent);

/// A request on its way: what a signer made, and what becomes of it.
#[derive(Clone)]
struct Sent {
    method: reqwest::Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Sent {
    fn of(headers: &Headers, body: &str) -> Self {
        let headers = vec![
            ("host", HOST.to_owned()),
            ("content-type", "application/json".to_owned()),
            ("content-digest", headers.content_digest.clone()),
            ("signature-input", headers.signature_input.clone()),
            ("signature", headers.signature.clone()),
        ];
        Self { method: reqwest::Method::POST, path: "/mcp".to_owned(), headers, body: body.to_owned() }
    }

    fn header(&mut self, name: &str) -> &mut String {
        &mut self.headers.iter_mut().find(|(other, _)| *other == name).unwrap().1
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(other, _)| *other != name);
        self
    }

    /// The status, the code of the signature's refusal, and the answer.
    async fn to(&self, front: &Front) -> (u16, String, Value) {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut request = http.request(self.method.clone(), format!("{}{}", front.base, self.path));
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let response = request.body(self.body.clone()).send().await.unwrap();
        let status = response.status().as_u16();
        let challenges = response.headers().get_all("www-authenticate").iter();
        let code = challenges.filter_map(|value| {
            Some(value.to_str().ok()?.strip_prefix("Signature error=\"")?.strip_suffix('"')?.to_owned())
        });
        let code = code.collect::<Vec<_>>().join(",");
        (status, code, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default())
    }

    async fn code(&self, front: &Front) -> (u16, String) {
        let (status, code, _) = self.to(front).await;
        (status, code)
    }
}

async fn signed_at(key: &dyn Signer, url: &str, body: &str, at: i64) -> Sent {
    let request = Request { url, body: body.as_bytes() };
    Sent::of(&sign_as(&Profile::REQUESTS, key, request, at).await.unwrap(), body)
}

async fn signed(key: &dyn Signer, body: &str) -> Sent {
    signed_at(key, RESOURCE, body, now()).await
}

fn refused(code: &str) -> (u16, String) {
    (401, code.to_owned())
}

fn fine() -> (u16, String) {
    (200, String::new())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_lets_its_agent_in_and_nobody_else() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let (own, other) = (key(Algorithm::Ed25519), key(Algorithm::Es256));
    let agents = [(AGENT, own.public_key().clone(), ""), ("agent.signer.example", other.public_key().clone(), "")];
    let acme = acme(&world, "required_for = [\"create_media_buy\"]", &agents);
    let _worker = acme.worker().unwrap();
    let mut front = acme.gateway().await.unwrap();

    let (status, code, told) = signed(&own, &harmless()).await.to(&front).await;
    assert_eq!((status, code.as_str()), (200, ""));
    let told = &told["result"]["structuredContent"];
    let signing = &told["request_signing"];
    assert_eq!((&signing["supported"], &signing["covers_content_digest"]), (&json!(true), &json!("required")));
    assert_eq!(signing["required_for"], json!(["create_media_buy"]));
    let supported = signing["supported_for"].as_array().unwrap();
    assert!(
        supported.contains(&json!("create_media_buy")) && !supported.contains(&json!("get_task_status")),
        "{signing}"
    );
    assert_eq!(told["identity"]["brand_json_url"], format!("{PUBLIC_URL}/.well-known/brand.json"));

    // What one agent bought by a signature is its own, by whatever it comes, and another's not.
    let purchase = acme_request("create_media_buy.insertion_order");
    let (_, _, bought) = signed(&own, &call("create_media_buy", &purchase)).await.to(&front).await;
    let bought = &bought["result"]["structuredContent"];
    assert_eq!(bought["status"], "submitted", "{bought}");
    let poll = json!({"task_id": bought["task_id"]});
    let (_, _, polled) = signed(&own, &call("get_task_status", &poll)).await.to(&front).await;
    assert_eq!(polled["result"]["structuredContent"]["status"], "submitted", "{polled}");
    assert_eq!(front.call("get_task_status", &poll).await.body["status"], "submitted");
    let (_, _, polled) = signed(&other, &call("get_task_status", &poll)).await.to(&front).await;
    assert_eq!(polled["result"]["structuredContent"]["errors"][0]["code"], "REFERENCE_NOT_FOUND", "{polled}");

    // A credential beside it has to be the same agent's.
    let with = async |credential: &str| {
        let sent = signed(&own, &harmless()).await.with("authorization", format!("Bearer {credential}"));
        let (status, code, told) = sent.to(&front).await;
        (status, code, told["error"]["data"]["adcp_error"]["code"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(with(API_KEY).await.0, 200);
    assert_eq!(with(OTHER_API_KEY).await, (401, String::new(), "AUTH_INVALID".to_owned()));
    assert_eq!(with("a-key-of-nobodys").await.0, 401);

    // Whoever sends neither is told of both; an API key is enough, and a broken signature beside it is not.
    let bare = signed(&own, &harmless()).await.without("signature").without("signature-input");
    assert_eq!(bare.code(&front).await, refused("request_signature_required"));
    assert_eq!(bare.clone().with("authorization", "Bearer wrong-wrong-wrong").code(&front).await.0, 401);
    let by_key = bare.with("authorization", format!("Bearer {API_KEY}"));
    assert_eq!(by_key.code(&front).await, fine());
    for name in ["signature", "signature-input"] {
        let half = signed(&own, &harmless()).await.without(name).with("authorization", format!("Bearer {API_KEY}"));
        assert_eq!(half.code(&front).await, refused("request_signature_header_malformed"), "{name}");
    }

    let sent = signed(&own, &harmless()).await;
    assert_eq!(sent.code(&front).await, fine());
    let log = front.log.lock().unwrap().clone();
    assert!(log.contains(&own.public_key().kid), "whose signature it was is in the log");
    for (name, value) in &sent.headers[2..] {
        assert!(!log.contains(value.as_str()), "{name} is in the log");
    }
    front.assert_unharmed().await;

    // Where no signatures are taken, nobody looks at one.
    let plain = Acme::new(&world).unwrap();
    let plain = plain.gateway().await.unwrap();
    let sent = signed(&own, &harmless()).await.without("host");
    assert_eq!(sent.code(&plain).await, (401, String::new()));
    assert_eq!(sent.with("authorization", format!("Bearer {API_KEY}")).code(&plain).await, fine());
    assert!(plain.call("get_adcp_capabilities", &json!({})).await.body.get("request_signing").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_on_the_way_is_refused() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let (own, stranger, revoked) = (key(Algorithm::Ed25519), key(Algorithm::Ed25519), key(Algorithm::Es256));
    let governance = key(Algorithm::Ed25519);
    let for_governance = Jwk { adcp_use: "governance-signing".into(), ..governance.public_key().clone() };
    let revoked_kid = format!("revoked = [\"{}\"]", revoked.public_key().kid);
    let agents = [
        (AGENT, own.public_key().clone(), ""),
        (AGENT, revoked.public_key().clone(), revoked_kid.as_str()),
        (AGENT, for_governance, ""),
    ];
    let acme = acme(&world, "", &agents);
    let mut front = acme.gateway().await.unwrap();
    let good = async || signed(&own, &harmless()).await;
    assert_eq!(good().await.code(&front).await, fine());

    let body = call("list_tasks", &json!({}));
    let changed = |sent: Sent, change: Change<'_>| {
        let mut sent = sent;
        change(&mut sent);
        sent
    };
    let other = signed(&stranger, &body).await;
    let digest = other.clone().header("content-digest").clone();
    let foreign = other.clone().header("signature").clone();
    let table: [(&str, Change<'_>, &str); 11] = [
        ("the body", &|sent: &mut Sent| sent.body.clone_from(&body), "request_signature_digest_mismatch"),
        (
            "the body and its digest",
            &|sent: &mut Sent| {
                sent.body.clone_from(&body);
                sent.header("content-digest").clone_from(&digest);
            },
            "request_signature_invalid",
        ),
        ("the method", &|sent: &mut Sent| sent.method = reqwest::Method::PUT, "request_signature_invalid"),
        ("the path", &|sent: &mut Sent| sent.path = "/mcp/".to_owned(), "request_signature_invalid"),
        ("the query", &|sent: &mut Sent| sent.path = "/mcp?a=1".to_owned(), "request_signature_invalid"),
        ("the host", &|sent: &mut Sent| *sent.header("host") = "127.0.0.1".to_owned(), "request_signature_invalid"),
        (
            "the host, to nobody's",
            &|sent: &mut Sent| *sent.header("host") = "other.example".to_owned(),
            "request_target_uri_malformed",
        ),
        (
            "the content type",
            &|sent: &mut Sent| *sent.header("content-type") = "application/json; charset=utf-8".to_owned(),
            "request_signature_invalid",
        ),
        (
            "the signature",
            &|sent: &mut Sent| sent.header("signature").clone_from(&foreign),
            "request_signature_invalid",
        ),
        (
            "the alphabet",
            &|sent: &mut Sent| {
                let unpadded = sent.header("signature").replace("==:", ":");
                *sent.header("signature") = unpadded.replace('+', "-").replace('/', "_");
            },
            "request_signature_header_malformed",
        ),
        (
            "the window",
            &|sent: &mut Sent| {
                let input = sent.header("signature-input").replacen(";expires=", ";expires=1", 1);
                *sent.header("signature-input") = input;
            },
            "request_signature_window_invalid",
        ),
    ];
    for (what, change, code) in table {
        let sent = changed(good().await, change);
        assert_eq!(sent.code(&front).await, refused(code), "{what}");
    }
    let again = async |name: &'static str| {
        let sent = good().await;
        let value = sent.clone().header(name).clone();
        sent.with(name, value)
    };
    let long = |sent: &mut Sent| *sent.header("signature-input") = format!("sig1=(\"{}\")", "x".repeat(10_000));
    for (what, sent, code) in [
        ("a field twice", again("content-type").await, "header_malformed"),
        ("a digest twice", again("content-digest").await, "header_malformed"),
        ("an input twice", again("signature-input").await, "header_malformed"),
        ("a signature twice", again("signature").await, "header_malformed"),
        ("a long input", changed(good().await, &long), "header_malformed"),
        ("too old", signed_at(&own, RESOURCE, &harmless(), now() - 400).await, "window_invalid"),
        ("too early", signed_at(&own, RESOURCE, &harmless(), now() + 120).await, "window_invalid"),
        ("nobody's key", signed(&stranger, &harmless()).await, "key_unknown"),
        ("a key for something else", signed(&governance, &harmless()).await, "key_purpose_invalid"),
        ("a key that was taken back", signed(&revoked, &harmless()).await, "key_revoked"),
    ] {
        assert_eq!(sent.code(&front).await, refused(&format!("request_signature_{code}")), "{what}");
    }

    // In whichever order the headers come.
    let mut turned = good().await;
    turned.headers.reverse();
    assert_eq!(turned.code(&front).await, fine());
    // By its own name, as developers call it.
    let here = signed_at(&own, &front.url(), &harmless(), now()).await.without("host");
    assert_eq!(here.code(&front).await, fine());
    // A body that is none is told so, once: its signature is used up.
    let twice = signed(&own, r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","id":2}"#).await;
    assert_eq!(twice.code(&front).await, (400, "request_body_malformed".to_owned()));
    assert_eq!(twice.code(&front).await, refused("request_signature_replayed"));
    // Too large is too large before it is hashed.
    let large = call("get_task_status", &json!({"task_id": "x".repeat(2_000_000)}));
    assert_eq!(signed(&own, &large).await.code(&front).await, (413, String::new()));
    front.assert_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_counts_once_at_all_front_doors_together() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let world = World::new(kind).await.unwrap();
        let (own, frugal) = (key(Algorithm::Ed25519), key(Algorithm::Es256));
        let agents =
            [(AGENT, own.public_key().clone(), ""), (AGENT, frugal.public_key().clone(), "nonces_per_key = 4")];
        let acme = acme(&world, "", &agents);
        let fronts = [acme.gateway().await.unwrap(), acme.gateway().await.unwrap(), acme.gateway().await.unwrap()];
        for _ in 0..5 {
            let sent = signed(&own, &harmless()).await;
            let mut codes = join_all((0..9).map(|number| sent.code(&fronts[number % 3]))).await;
            codes.sort();
            assert_eq!(codes[0], fine(), "{codes:?}");
            assert!(codes[1..].iter().all(|code| *code == refused("request_signature_replayed")), "{codes:?}");
        }
        let sent = join_all((0..12).map(|_| async { signed(&frugal, &harmless()).await })).await;
        let codes = join_all(sent.iter().enumerate().map(|(at, sent)| sent.code(&fronts[at % 3]))).await;
        let count = |wanted: &(u16, String)| codes.iter().filter(|code| *code == wanted).count();
        assert_eq!((count(&fine()), count(&refused("request_signature_rate_abuse"))), (4, 8), "{codes:?}");
        assert_eq!(signed(&own, &harmless()).await.code(&fronts[1]).await, fine(), "another key has its own");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_read_where_a_counterparty_publishes_them() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let (own, stranger) = (TokenKey::new(Algorithm::Es256).unwrap(), key(Algorithm::Ed25519));
    let issuer = Issuer::start(&[&own]).await.unwrap();
    issuer.set_away(true);
    let acme = Acme::new(&world).unwrap().set("HANDOFF_PUBLIC_URL", PUBLIC_URL);
    let path = acme.directory().join("request-signing.toml");
    let file = format!(
        "ca_file = \"{}\"\n[[counterparty]]\nprincipal = \"{AGENT}\"\njwks_uri = \"{}\"\n",
        issuer.authority(),
        issuer.keys_url()
    );
    std::fs::write(&path, file).unwrap();
    let acme = acme.set("HANDOFF_REQUEST_SIGNING_FILE", path.display().to_string());
    let ignorant = acme.gateway().await.unwrap();
    // While nobody knows its keys, nobody knows whose they are.
    let sent = signed(own.signer(), &harmless()).await;
    assert_eq!(sent.code(&ignorant).await, (503, "request_signature_jwks_unavailable".to_owned()));
    drop(ignorant);
    issuer.set_away(false);
    let front = acme.gateway().await.unwrap();
    assert_eq!(sent.code(&front).await, fine(), "what was not judged is not used up");
    // However many strangers come, the keys are read once in a while.
    let before = issuer.fetches();
    let strangers = join_all((0..20).map(|_| async { signed(&stranger, &harmless()).await.code(&front).await })).await;
    assert!(strangers.iter().all(|code| *code == refused("request_signature_key_unknown")), "{strangers:?}");
    assert_eq!(issuer.fetches(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_with_a_secret_is_registered_by_a_signature() {
    let keys = |config: &mut Config| config.encryption = KeySource::Text(Key::generate("k").unwrap());
    let world = World::configured(Kind::Sqlite, keys).await.unwrap();
    let own = key(Algorithm::Ed25519);
    let acme = acme(&world, "", &[(AGENT, own.public_key().clone(), "")]);
    let _worker = acme.worker().unwrap();
    let front = acme.gateway().await.unwrap();
    let registering = |authentication: Value| {
        let mut request = acme_request("create_media_buy.insertion_order");
        request["push_notification_config"] =
            json!({"url": "https://buyer.example/hook", "operation_id": "op-1", "authentication": authentication});
        call("create_media_buy", &request)
    };
    let secret = registering(json!({"schemes": ["HMAC-SHA256"], "credentials": "c".repeat(40)}));
    let by_key = |body: &str| {
        let headers =
            vec![("content-type", "application/json".to_owned()), ("authorization", format!("Bearer {API_KEY}"))];
        Sent { method: reqwest::Method::POST, path: "/mcp".to_owned(), headers, body: body.to_owned() }
    };
    let (status, code, told) = by_key(&secret).to(&front).await;
    assert_eq!((status, code.as_str(), &told["id"]), (401, "request_signature_required", &json!(1)), "{told}");
    let (status, _, told) = signed(&own, &secret).await.to(&front).await;
    assert_eq!((status, &told["result"]["structuredContent"]["status"]), (200, &json!("submitted")), "{told}");
    let (status, _, told) = by_key(&registering(Value::Null)).to(&front).await;
    assert_ne!(status, 401, "{told}");
}

/// One step away from a good signature, and far from any: it is refused, and nothing else happens.
#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_refused_whatever_stands_beside_it() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let own = key(Algorithm::Ed25519);
    let acme = acme(&world, "", &[(AGENT, own.public_key().clone(), "")]);
    let mut front = acme.gateway().await.unwrap();
    let mut chance = fuzz::chance();
    let good = signed(&own, &harmless()).await;
    for _ in 0..300 {
        let mut sent = good.clone().with("authorization", format!("Bearer {API_KEY}"));
        let name = ["signature-input", "signature", "content-digest"][chance.random_range(0..3)];
        let value = sent.header(name);
        if chance.random_bool(0.1) {
            *value = (0..chance.random_range(1..60)).map(|_| char::from(chance.random_range(b'!'..=b'~'))).collect();
        } else {
            let at = chance.random_range(0..value.len());
            let other = char::from(chance.random_range(b'!'..=b'~'));
            if value.as_bytes()[at] == other as u8 {
                continue;
            }
            value.replace_range(at..=at, &other.to_string());
        }
        let (what, (status, code)) = (format!("{name}: {value}"), sent.code(&front).await);
        assert!(status == 401 && code.starts_with("request_"), "{status} {code} {what}");
    }
    assert_eq!(good.code(&front).await, fine(), "nothing of it used the nonce up");
    front.assert_unharmed().await;
}
