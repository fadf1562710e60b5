//! Handlers are functions: a test calls them.

use super::*;
use handoff::testing::{Decided, TestRequest};

#[tokio::test]
async fn products_are_shown_at_once() {
    let decision = get_products(TestRequest::new("get_products").context(()), json!({})).await.unwrap();
    let Decided::Complete { result } = Decided::of(decision).unwrap() else { panic!("at once") };
    assert_eq!(result["products"][0]["product_id"], "poster");
}

#[tokio::test]
async fn creatives_are_printed_one_by_one() {
    let request = TestRequest::new("sync_creatives");
    let creatives = json!([{"creative_id": "a"}, {"creative_id": "b"}]);
    let decision = sync_creatives(request.context(()), json!({"creatives": creatives})).await.unwrap();
    assert_eq!(Decided::of(decision).unwrap(), Decided::Task { handler: "print".into(), input: creatives.clone() });

    let (task, probe) = request.task_context(());
    let result = print(task, creatives.as_array().unwrap().clone()).await.unwrap();
    assert_eq!(result["creatives"][1], json!({"creative_id": "b", "action": "created"}));
    assert_eq!(probe.progress(), [Progress::step(1, 2, "printing"), Progress::step(2, 2, "printing")]);

    // The worker died after the first one: that is not printed again.
    let [first, _] = &probe.heartbeats()[..] else { panic!("one for each") };
    let (task, probe) = request.last_heartbeat(first.clone()).task_context(());
    let resumed = print(task, creatives.as_array().unwrap().clone()).await.unwrap();
    assert_eq!((resumed, probe.progress()), (result, vec![Progress::step(2, 2, "printing")]));
}

#[tokio::test]
async fn buys_are_for_the_owner_to_decide() {
    let request = TestRequest::new("create_media_buy");
    let packages = json!([{"product_id": "poster"}]);
    let decision = create_media_buy(request.context(()), json!({"packages": packages})).await.unwrap();
    let asked = Decided::Workflow {
        handler: "ask_the_owner".into(),
        input: packages.clone(),
        deadline: None,
        sandbox_approval: None,
    };
    assert_eq!(Decided::of(decision).unwrap(), asked);
    assert_eq!(ask_the_owner(request.context(()), packages).await.unwrap(), Acknowledgement::wilco());

    let refused = create_media_buy(request.context(()), json!({"packages": []})).await.unwrap_err();
    assert_eq!((refused.code.as_str(), refused.field.as_deref()), ("INVALID_REQUEST", Some("packages")));
}
