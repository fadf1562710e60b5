//! The protocol's governance storyboards, with a governance agent: all of them pass.

use super::{
    compliance::{TESTING, control},
    storyboards::run_program,
};
use handoff_client::{
    Config,
    codec::{Key, KeySource},
};
use handoff_tests::{
    GovernanceAgent, Kind, World,
    front::{API_KEY, Acme, Front},
};
use serde_json::{Value, json};

// What the runner would put into the sandbox, did it know which of two agents to ask; and the product of the one that has no fixture.
const PRODUCTS: [(&str, &str, &str, u32); 3] = [
    ("outdoor_display_q2", "guaranteed", "display", 8),
    ("outdoor_video_q2", "guaranteed", "video", 12),
    ("outdoor_ctv_q2", "non_guaranteed", "ctv", 20),
];

async fn seed(front: &Front) {
    for (product_id, delivery_type, channel, price) in PRODUCTS {
        let fixture = json!({"delivery_type": delivery_type, "channels": [channel]});
        let product = json!({"product_id": product_id, "fixture": fixture});
        let fixture = json!({"pricing_model": "cpm", "currency": "USD", "fixed_price": price});
        let option = json!({"product_id": product_id, "pricing_option_id": "cpm_standard", "fixture": fixture});
        for (scenario, params) in [("seed_product", product), ("seed_pricing_option", option)] {
            let told = control(front, scenario, params).await;
            assert_eq!(told.body["success"], true, "{}", told.body);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn acme_passes_the_governance_storyboards_with_an_agent() {
    let keys = |config: &mut Config| config.encryption = KeySource::Text(Key::generate("k").unwrap());
    let world = World::configured(Kind::Sqlite, keys).await.unwrap();
    let agent = GovernanceAgent::start().await.unwrap();
    let acme = Acme::new(&world)
        .unwrap()
        .set(TESTING, "true")
        .set("HANDOFF_WEBHOOK_CA_FILE", agent.authority())
        .set("HANDOFF_PUBLIC_URL", "https://seller.example")
        .set("ACME_CURATION_MS", "0");
    let _worker = acme.worker().unwrap();
    let mut front = acme.gateway().await.unwrap();
    seed(&front).await;
    let recorder = front.recorded().await.unwrap();
    let result = run_program("governance_storyboards.cjs", &[&front.url(), &agent.url()], |runner| {
        runner.env("NODE_EXTRA_CA_CERTS", agent.authority());
        runner.env("BUYER_API_KEY", API_KEY).env("GOVERNANCE_CREDENTIALS", GovernanceAgent::CREDENTIALS);
    })
    .await;
    let steps = result["steps"].as_array().unwrap();
    let wrong: Vec<&Value> = steps.iter().filter(|step| step["outcome"] != "passed").collect();
    assert!(steps.len() == 21 && wrong.is_empty(), "{}: {wrong:#?}", steps.len());

    // What they speak of and do not look at.
    let answer = |scenario: &str, step: &str| {
        let found = steps.iter().find(|told| told["scenario"] == scenario && told["step"] == step);
        found.map(|told| told["response"].clone()).unwrap_or_default()
    };
    let conditions = answer("conditions", "create_media_buy_conditions");
    assert!(conditions["media_buy_id"].is_string() && conditions["governance_context"].is_string(), "{conditions}");
    let reason = &conditions["ext"]["governance"]["conditions"][0]["reason"];
    assert_eq!(reason, "CTV buys require weekly delivery reporting.", "{conditions}");
    assert!(answer("approved", "create_media_buy")["governance_context"].is_string());
    let denied = answer("denied", "create_media_buy_denied");
    assert_eq!(denied["adcp_error"]["details"]["findings"][0]["category_id"], "budget_authority", "{denied}");
    recorder.assert_valid().await;
    front.assert_unharmed().await;
}
