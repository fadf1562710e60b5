//! Governance agents: how accounts get them, and that nothing is sold without their verdict.

use handoff_client::{
    Config,
    codec::{Key, KeySource},
};
use handoff_tests::{
    GovernanceAgent, Kind, World, eventually, fresh_key,
    front::{Acme, Front, OTHER_API_KEY, acme_request},
};
use serde_json::{Value, json};

const SELLER: &str = "https://seller.example/mcp";
const SECRET: &str = GovernanceAgent::CREDENTIALS;

async fn world(kind: Kind) -> World {
    let keys = |config: &mut Config| config.encryption = KeySource::Text(Key::generate("k").unwrap());
    World::configured(kind, keys).await.unwrap()
}

fn governed<'a>(world: &'a World, agent: &GovernanceAgent) -> Acme<'a> {
    Acme::new(world)
        .unwrap()
        .set("HANDOFF_WEBHOOK_CA_FILE", agent.authority())
        .set("HANDOFF_PUBLIC_URL", "https://seller.example")
}

fn account() -> Value {
    json!({"brand": {"domain": "nova.example"}, "operator": "pinnacle.example", "sandbox": true})
}

fn binding(url: &str) -> Value {
    let authentication = json!({"schemes": ["Bearer"], "credentials": SECRET});
    json!({"account": account(), "governance_agents": [{"url": url, "authentication": authentication}]})
}

/// What came of each account.
async fn bind(front: &Front, accounts: Vec<Value>) -> Value {
    let told = front.call("sync_governance", &json!({"idempotency_key": fresh_key(), "accounts": accounts})).await;
    assert!(!told.is_error, "{}", told.body);
    assert!(!told.body.to_string().contains(SECRET));
    told.body["accounts"].clone()
}

/// A purchase of the governed account, of an example's kind.
fn purchase(example: &str, more: Value) -> Value {
    let mut request = acme_request(&format!("create_media_buy.{example}"));
    request["account"] = account();
    for (name, value) in more.as_object().unwrap() {
        request[name] = value.clone();
    }
    request
}

async fn media_buys(front: &Front) -> usize {
    let statuses =
        json!(["pending_creatives", "pending_start", "active", "paused", "completed", "canceled", "rejected"]);
    let request = json!({"account": account(), "status_filter": statuses, "pagination": {"max_results": 100}});
    front.call("get_media_buys", &request).await.body["media_buys"].as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_governed_account_buys_what_its_agent_approves_and_nothing_else() {
    let world = world(Kind::Sqlite).await;
    let agent = GovernanceAgent::start().await.unwrap();
    agent.plan("plan_small", 4_000, json!({})).await;
    agent.plan("plan_large", 1_000_000, json!({})).await;
    let acme = governed(&world, &agent);
    let _worker = acme.worker().unwrap();
    let mut front = acme.gateway().await.unwrap();
    let recorder = front.recorded().await.unwrap();
    let capabilities = front.call("get_adcp_capabilities", &json!({})).await.body;
    assert_eq!(capabilities["media_buy"]["governance_aware"], true, "{capabilities}");
    assert_eq!(capabilities["experimental_features"], json!(["governance.campaign"]));

    // Nobody is asked before there is an agent.
    let free = front.call("create_media_buy", &purchase("non_guaranteed", json!({}))).await;
    assert!(!free.is_error && free.body.get("governance_context").is_none(), "{}", free.body);

    let request = json!({"idempotency_key": fresh_key(), "accounts": [binding(&agent.url())]});
    for replayed in [json!(null), json!(true)] {
        let synced = front.call("sync_governance", &request).await.body;
        let expected = json!({"account": account(), "status": "synced", "governance_agents": [{"url": agent.url()}]});
        assert_eq!((&synced["accounts"], &synced["replayed"]), (&json!([expected]), &replayed), "{synced}");
    }

    let unauthorized = front.call("create_media_buy", &purchase("non_guaranteed", json!({}))).await;
    assert_eq!(unauthorized.code(), "PERMISSION_DENIED");
    assert_eq!(unauthorized.body["errors"][0]["field"], "governance_context");

    // By the plan, as buyers of 3.0 say it.
    let bought =
        front.call("create_media_buy", &purchase("non_guaranteed", json!({"plan_id": "plan_small"}))).await.body;
    assert!(bought["media_buy_id"].is_string() && bought["governance_context"].is_string(), "{bought}");
    let check = agent.next_check().await;
    assert_eq!(
        (&check["plan_id"], &check["caller"], check.get("adcp_version")),
        (&json!("plan_small"), &json!(SELLER), None)
    );
    assert_eq!(check["planned_delivery"], bought["planned_delivery"]);
    assert_eq!(
        (&check["planned_delivery"]["total_budget"], &check["planned_delivery"]["currency"]),
        (&json!(3900), &json!("USD"))
    );

    let before = media_buys(&front).await;
    let denied = front.call("create_media_buy", &purchase("guaranteed", json!({"plan_id": "plan_small"}))).await;
    assert_eq!(denied.code(), "GOVERNANCE_DENIED");
    let error = &denied.body["adcp_error"];
    assert_eq!(
        (&error["recovery"], &error["details"]["findings"][0]["category_id"]),
        (&json!("correctable"), &json!("budget_authority"))
    );
    assert_eq!(media_buys(&front).await, before, "nothing was booked");
    agent.next_check().await;

    // By the context of an approval, as buyers of 3.2 do; by a hand-off, too.
    let request = purchase("guaranteed", json!({}));
    let context = agent.approve("plan_large", SELLER, &request).await;
    let mut approved = request.clone();
    approved["governance_context"] = json!(context);
    let submitted = front.call("create_media_buy", &approved).await.body;
    assert_eq!(submitted["status"], "submitted", "{submitted}");
    let check = agent.next_check_where(|check| check["governance_context"] == *context).await;
    assert_eq!(check["adcp_version"], "3.2");
    let poll = json!({"task_id": submitted["task_id"], "include_result": true});
    let done = eventually("the lines are booked", || async {
        let polled = front.call("get_task_status", &poll).await.body;
        (polled["status"] == "completed").then_some(polled)
    })
    .await;
    assert!(done["result"]["governance_context"].is_string(), "{done}");

    // Another account has no agent.
    let mut elsewhere = purchase("non_guaranteed", json!({}));
    elsewhere["account"] = json!({"account_id": "acct_pinnacle"});
    assert!(!front.call_as(OTHER_API_KEY, "create_media_buy", &elsewhere).await.is_error);

    recorder.assert_valid().await;
    front.assert_unharmed().await;
    assert!(!front.log.lock().unwrap().contains(SECRET));
    let environment = world.environment();
    let url = environment.iter().find(|(name, _)| *name == "HANDOFF_REGISTRY_URL").unwrap().1.clone();
    let path = url.strip_prefix("sqlite:").unwrap().split('?').next().unwrap();
    for file in [path.to_owned(), format!("{path}-wal")] {
        let bytes = std::fs::read(file).unwrap_or_default();
        assert!(!bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()), "a credential rests in clear");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_verdict_nothing_is_sold_and_the_same_request_may_come_again() {
    let world = world(Kind::Postgres).await;
    let mut agent = GovernanceAgent::start().await.unwrap();
    let acme = governed(&world, &agent);
    let _worker = acme.worker().unwrap();
    let front = acme.gateway().await.unwrap();
    assert_eq!(bind(&front, vec![binding(&agent.url())]).await[0]["status"], "synced");

    for (answer, reason) in
        [("nonsense", "no_verdict"), ("error", "refused"), ("huge", "too_large"), ("lapsed", "lapsed")]
    {
        agent.plan("plan", 4_000, json!({"answer": answer})).await;
        let request = purchase("non_guaranteed", json!({"plan_id": "plan"}));
        let told = front.call("create_media_buy", &request).await;
        assert_eq!(told.code(), "GOVERNANCE_UNAVAILABLE", "{answer}");
        let error = &told.body["adcp_error"];
        assert_eq!((&error["recovery"], &error["details"]["reason"]), (&json!("transient"), &json!(reason)), "{error}");
        agent.next_check().await;
        // Once there is a verdict, the same request is decided.
        agent.plan("plan", 4_000, json!({})).await;
        let bought = front.call("create_media_buy", &request).await.body;
        assert!(bought["media_buy_id"].is_string(), "{answer}: {bought}");
        agent.next_check().await;
    }

    // Slower than a quick handler may be: it is asked again the regular way.
    agent.plan("slow", 4_000, json!({"slow_ms": 3_000})).await;
    let bought = front.call("create_media_buy", &purchase("non_guaranteed", json!({"plan_id": "slow"}))).await.body;
    assert!(bought["media_buy_id"].is_string(), "{bought}");
    agent.next_check_where(|check| check["plan_id"] == "slow").await;
    assert_eq!(agent.next_check().await["plan_id"], "slow");
    // Slower than anybody waits.
    agent.plan("never", 4_000, json!({"slow_ms": 600_000})).await;
    let told = front.call("create_media_buy", &purchase("non_guaranteed", json!({"plan_id": "never"}))).await;
    assert_eq!(
        (told.code(), &told.body["adcp_error"]["details"]["reason"]),
        ("GOVERNANCE_UNAVAILABLE", &json!("timeout"))
    );

    agent.kill().await.unwrap();
    let request = purchase("non_guaranteed", json!({"plan_id": "plan"}));
    let told = front.call("create_media_buy", &request).await;
    assert_eq!(told.code(), "GOVERNANCE_UNAVAILABLE");
    // It may have been in the middle of something.
    let reason = told.body["adcp_error"]["details"]["reason"].as_str().unwrap_or_default();
    assert!(["connect", "connection_lost"].contains(&reason), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_between_verdict_and_booking_leaves_one_purchase() {
    let world = world(Kind::Postgres).await;
    let agent = GovernanceAgent::start().await.unwrap();
    agent.plan("plan", 4_000, json!({})).await;
    let acme = governed(&world, &agent);
    let (mut doomed, front) = (acme.worker().unwrap(), acme.gateway().await.unwrap());
    assert_eq!(bind(&front, vec![binding(&agent.url())]).await[0]["status"], "synced");
    let ext = json!({"acme_test": {"exit_at": "authorized"}});
    let request = purchase("non_guaranteed", json!({"plan_id": "plan", "ext": ext}));
    // Whatever the buyer was told meanwhile, its next try finds the purchase.
    let buying = eventually("it is bought", || async {
        let told = front.call("create_media_buy", &request).await.body;
        told["media_buy_id"].is_string().then_some(told)
    });
    let heir = async {
        agent.next_check().await;
        doomed.wait().await.unwrap();
        let heir = acme.worker().unwrap();
        // It asks again: the first verdict died with the worker.
        agent.next_check().await;
        heir
    };
    let (bought, _heir) = tokio::join!(buying, heir);
    assert!(bought["governance_context"].is_string(), "{bought}");
    assert_eq!(media_buys(&front).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_can_not_be_asked_is_refused_and_the_one_before_stays() {
    let world = world(Kind::Sqlite).await;
    let agent = GovernanceAgent::start().await.unwrap();
    agent.plan("plan", 4_000, json!({})).await;
    let acme = governed(&world, &agent);
    let _worker = acme.worker().unwrap();
    let mut front = acme.gateway().await.unwrap();
    assert_eq!(bind(&front, vec![binding(&agent.url())]).await[0]["status"], "synced");

    for (url, code) in [
        ("https://10.0.0.1/mcp", "GOVERNANCE_AGENT_NOT_ACCEPTED"),
        ("https://169.254.169.254/latest/meta-data", "GOVERNANCE_AGENT_NOT_ACCEPTED"),
        ("https://[fd00::1]/mcp", "GOVERNANCE_AGENT_NOT_ACCEPTED"),
        ("https://2130706433.nip.invalid/mcp", "GOVERNANCE_UNAVAILABLE"),
        ("https://user:password@localhost/mcp", "GOVERNANCE_AGENT_NOT_ACCEPTED"),
        ("https://localhost/mcp#fragment", "GOVERNANCE_AGENT_NOT_ACCEPTED"),
    ] {
        let refused = bind(&front, vec![binding(url)]).await[0].clone();
        assert_eq!((&refused["status"], &refused["errors"][0]["code"]), (&json!("failed"), &json!(code)), "{url}");
        assert!(refused.get("governance_agents").is_none(), "{refused}");
    }
    for url in ["http://localhost/mcp", "ftp://a.example"] {
        let request = json!({"idempotency_key": fresh_key(), "accounts": [binding(url)]});
        assert_eq!(front.call("sync_governance", &request).await.code(), "VALIDATION_ERROR", "{url}");
    }
    // Each account is a matter of its own.
    let mut unknown = binding(&agent.url());
    unknown["account"] = json!({"account_id": "no-account:forged"});
    let both = bind(&front, vec![unknown, binding(&agent.url())]).await;
    assert_eq!((&both[0]["errors"][0]["code"], &both[1]["status"]), (&json!("ACCOUNT_NOT_FOUND"), &json!("synced")));

    let bought = front.call("create_media_buy", &purchase("non_guaranteed", json!({"plan_id": "plan"}))).await.body;
    assert!(bought["governance_context"].is_string(), "the first agent is asked: {bought}");

    // Credentials that the agent does not know are found out when it is asked.
    let mut wrong = binding(&agent.url());
    wrong["governance_agents"][0]["authentication"]["credentials"] = json!("another-token-xxxxxxxxxxxxxxxxxxxxxxxxxxx");
    assert_eq!(bind(&front, vec![wrong]).await[0]["status"], "synced");
    let told = front.call("create_media_buy", &purchase("non_guaranteed", json!({"plan_id": "plan"}))).await;
    assert_eq!(
        (told.code(), &told.body["adcp_error"]["details"]["reason"]),
        ("GOVERNANCE_UNAVAILABLE", &json!("status_401"))
    );
    front.assert_unharmed().await;

    // Where the operator wants none, nobody can name one, and the one that was named is asked all the same.
    let closed = governed(&world, &agent).set("HANDOFF_GOVERNANCE", "false").gateway().await.unwrap();
    let capabilities = closed.call("get_adcp_capabilities", &json!({})).await.body;
    assert!(capabilities["media_buy"].get("governance_aware").is_none(), "{capabilities}");
    assert!(capabilities.get("experimental_features").is_none());
    let told = closed.call("create_media_buy", &purchase("non_guaranteed", json!({"plan_id": "plan"}))).await;
    assert_eq!(told.code(), "GOVERNANCE_UNAVAILABLE");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_keys_no_credentials_are_taken() {
    let world = World::new(Kind::Sqlite).await.unwrap();
    let acme = Acme::new(&world).unwrap();
    let front = acme.gateway().await.unwrap();
    let refused = bind(&front, vec![binding("https://localhost:1/mcp")]).await[0].clone();
    assert_eq!(refused["errors"][0]["code"], "X_HANDOFF_KEYS_REQUIRED", "{refused}");
}
