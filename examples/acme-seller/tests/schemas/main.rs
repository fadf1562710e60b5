//! What Acme asks its buyers to send, and what it answers, against the protocol's own JSON schemas.

mod sandbox;

use acme_seller::{
    Acme, BookedLine, NoticeBoard, Options, Origin, Plan, Ticket, book_line, build_creative, confirm, get_products,
    get_signals, media_buy, order_book::Ledger, preview_creative, release, sync_audiences, sync_creatives,
};
use handoff::{
    prelude::AdcpError,
    seller::{NamedProposal, ProposalState, TaskSummary},
};
use jsonschema::{Draft, Registry, Validator};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};
use tempfile::TempDir;

const URL: &str = "https://adcontextprotocol.org/schemas/3.2.4/";

struct Schemas {
    dir: PathBuf,
    manifest: Value,
}

impl Schemas {
    fn request(&self, verb: &str) -> Validator {
        self.of(verb, "request_schema")
    }

    fn response(&self, verb: &str) -> Validator {
        self.of(verb, "response_schema")
    }

    fn of(&self, verb: &str, which: &str) -> Validator {
        let path = self.manifest["tools"][verb][which].as_str().unwrap_or_else(|| panic!("{verb} has no {which}"));
        self.schema(path)
    }

    fn schema(&self, path: &str) -> Validator {
        let registry = Registry::new().draft(Draft::Draft7).retriever(Files(self.dir.clone()));
        let registry = registry.add(format!("{URL}{path}"), json(&self.dir.join(path))).unwrap().prepare().unwrap();
        let schema = json!({"$ref": format!("{URL}{path}")});
        jsonschema::options()
            .with_draft(Draft::Draft7)
            .with_registry(&registry)
            .should_validate_formats(true)
            .build(&schema)
            .unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}

/// Finds what a schema refers to, by its absolute URL, among the files.
struct Files(PathBuf);

impl jsonschema::Retrieve for Files {
    fn retrieve(&self, uri: &jsonschema::Uri<String>) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        let path = uri.as_str().strip_prefix(URL).ok_or_else(|| format!("{uri} is none of the protocol's schemas"))?;
        Ok(serde_json::from_slice(&fs::read(self.0.join(path))?)?)
    }
}

static SCHEMAS: LazyLock<Schemas> = LazyLock::new(|| {
    let dir = std::env::var_os("HANDOFF_ADCP_SCHEMAS")
        .expect("the protocol's schemas are not here: run make test, or set HANDOFF_ADCP_SCHEMAS");
    let dir = PathBuf::from(dir);
    Schemas { manifest: json(&dir.join("manifest.json")), dir }
});

fn json(file: &Path) -> Value {
    let text = fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn files(dir: &str) -> Vec<(String, Value)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join(dir);
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| (file.file_stem().unwrap().to_string_lossy().into_owned(), json(file))).collect()
}

fn request<R: DeserializeOwned>(name: &str) -> R {
    let (_, request) = files("requests").into_iter().find(|(stem, _)| stem == name).expect(name);
    serde_json::from_value(request).unwrap()
}

fn review(name: &str) -> Value {
    files("reviews").into_iter().find(|(stem, _)| stem == name).expect(name).1
}

fn assert_valid(validator: &Validator, what: &str, instance: &Value) {
    let errors: Vec<String> =
        validator.iter_errors(instance).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{what}: {errors:#?}\n{instance:#}");
}

fn assert_result(verb: &str, result: &Value) {
    assert_valid(&SCHEMAS.response(verb), verb, result);
    assert_eq!(result["status"], "completed", "{verb}");
}

fn acme() -> (Acme, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (Acme::new(Options { data_dir: dir.path().to_owned(), ..Options::default() }), dir)
}

fn origin(token: &str) -> Origin {
    Origin {
        account: "acct_pinnacle".into(),
        principal: "agent".into(),
        token: format!("task_{token}"),
        sandbox: false,
    }
}

fn task(token: &str, verb: &str) -> TaskSummary {
    let Origin { account, principal, token: task_id, sandbox } = origin(token);
    let workflow_id = format!("{account}/{task_id}");
    TaskSummary { task_id, verb: verb.into(), account, principal, workflow_id, sandbox }
}

fn completed(plan: Plan) -> Value {
    let Plan::Complete(result) = plan else { panic!("not at once: {plan:?}") };
    result
}

fn reviewed(plan: Plan) -> Ticket {
    let Plan::Review(ticket) = plan else { panic!("not reviewed: {plan:?}") };
    ticket
}

async fn create(acme: &Acme, token: &str, name: &str) -> Result<Plan, AdcpError> {
    media_buy::create(acme, &origin(token), request(&format!("create_media_buy.{name}")), None).await
}

/// Answers a `get_products` request of a buyer who was offered this proposal.
fn answer(token: &str, request: &Value, offered: Option<&NamedProposal>) -> Result<Value, AdcpError> {
    let request = serde_json::from_value(request.clone()).unwrap();
    get_products(&origin(token), &request, |id| offered.filter(|offered| offered.proposal_id == id)).map(completed)
}

fn offered(state: ProposalState, body: &Value) -> NamedProposal {
    NamedProposal { proposal_id: body["proposal_id"].as_str().unwrap().into(), state, body: body.clone() }
}

#[test]
fn every_request_file_is_a_request_of_its_verb() {
    for (name, request) in files("requests") {
        let verb = name.split('.').next().unwrap();
        assert_valid(&SCHEMAS.request(verb), &name, &request);
        assert!(handoff::proto::verbs::find(verb).is_some(), "{name}");
    }
}

#[test]
fn every_review_is_a_result_of_its_verb_or_an_error() {
    for (name, verb) in [
        ("approve_insertion_order", "create_media_buy"),
        ("approve_amendment", "update_media_buy"),
        ("reject_insertion_order", "create_media_buy"),
        ("approve_creatives", "sync_creatives"),
    ] {
        assert_valid(&SCHEMAS.response(verb), name, &review(name));
    }
    assert_valid(&SCHEMAS.schema("core/error.json"), "fail_insertion_order", &review("fail_insertion_order"));
    assert_eq!(files("reviews").len(), 5);
}

#[test]
fn the_schemas_catch_mistakes_far_from_their_roots() {
    let spoilt = |mut value: Value, pointer: &str| {
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        value.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(field).expect(pointer);
        value
    };
    let products = answer("1", &request("get_products.wholesale"), None).unwrap();
    for (verb, validator, value, pointer) in [
        ("get_products", SCHEMAS.response("get_products"), products, "/products/0/pricing_options/0/currency"),
        (
            "create_media_buy",
            SCHEMAS.request("create_media_buy"),
            request("create_media_buy.guaranteed"),
            "/brand/domain",
        ),
        (
            "create_media_buy",
            SCHEMAS.response("create_media_buy"),
            review("approve_insertion_order"),
            "/packages/1/package_id",
        ),
        ("create_media_buy", SCHEMAS.response("create_media_buy"), review("approve_insertion_order"), "/status"),
        (
            "sync_creatives",
            SCHEMAS.request("sync_creatives"),
            request("sync_creatives.batch"),
            "/creatives/5/assets/image/url",
        ),
    ] {
        assert!(!validator.is_valid(&spoilt(value, pointer)), "{verb} without {pointer}");
    }
}

#[test]
fn acme_is_wired() {
    acme_seller::seller().into_handlers().map(|_| ()).unwrap();
}

#[tokio::test]
async fn only_non_guaranteed_products_are_bought_at_once_and_once() {
    let (acme, _dir) = acme();
    let result = completed(create(&acme, "1", "non_guaranteed").await.unwrap());
    assert_result("create_media_buy", &result);
    assert_eq!((&result["total_budget"], &result["media_buy_id"]), (&json!(3900), &json!("mb_1")));
    let confirmed = std::time::Instant::now();
    while confirmed.elapsed().as_millis() < 2 {
        tokio::task::yield_now().await; // Another time of confirmation would show.
    }
    assert_eq!(completed(create(&acme, "1", "non_guaranteed").await.unwrap()), result, "also when decided again");
    assert_eq!(acme.book.list::<Value>(Ledger::MediaBuys, &[]).await.unwrap().len(), 1);
    let sandbox = Origin { sandbox: true, ..origin("2") };
    let plan = media_buy::create(&acme, &sandbox, request("create_media_buy.non_guaranteed"), None).await.unwrap();
    assert_result("create_media_buy", &completed(plan));
}

#[tokio::test]
async fn guaranteed_lines_are_booked_once_each() {
    let (acme, _dir) = acme();
    let Plan::Book(order) = create(&acme, "1", "guaranteed").await.unwrap() else { panic!("not booked") };
    assert_eq!(order.lines.len(), 3);
    for line in order.lines.iter().chain(&order.lines[1..]) {
        book_line(&acme, &origin("1"), line).await.unwrap();
    }
    let calls = acme.book.calls(Ledger::Lines).await.unwrap();
    assert_eq!((calls.len(), calls.iter().filter(|call| call.new).count()), (5, 3));
    let result = confirm(&acme, &origin("1"), order.result).await.unwrap();
    assert_result("create_media_buy", &result);
    assert_eq!(result["total_budget"], json!(36500.5));
    release(&acme, "task_1").await.unwrap();
    assert_eq!(acme.book.list::<BookedLine>(Ledger::Releases, &["task_1"]).await.unwrap().len(), 3);
}

#[tokio::test]
async fn an_insertion_order_is_signed_amended_and_paused() {
    let (acme, _dir) = acme();
    let ticket = reviewed(create(&acme, "1", "insertion_order").await.unwrap());
    assert_eq!(ticket.desk.handler(), "insertion_order_review");
    assert_result("create_media_buy", &ticket.approve_with);
    let notices = NoticeBoard::new(acme.clone());
    notices.carry_out(&task("1", "create_media_buy"), &review("approve_insertion_order")).await.unwrap();

    let plan = media_buy::update(&acme, &origin("2"), request("update_media_buy.amendment")).await.unwrap();
    assert_result("update_media_buy", &reviewed(plan).approve_with);
    for _ in 0..2 {
        notices.carry_out(&task("2", "update_media_buy"), &review("approve_amendment")).await.unwrap();
    }

    let paused = media_buy::update(&acme, &origin("3"), request("update_media_buy")).await.unwrap();
    let paused = completed(paused);
    assert_result("update_media_buy", &paused);
    assert_eq!((&paused["revision"], &paused["total_budget"]), (&json!(3), &json!(155000)));
    let again = media_buy::update(&acme, &origin("3"), request("update_media_buy")).await.unwrap();
    assert_eq!(completed(again), paused);

    let foreign = Origin { account: "acct_other".into(), ..origin("4") };
    let error = media_buy::update(&acme, &foreign, request("update_media_buy")).await.unwrap_err();
    assert_eq!(error.code, "MEDIA_BUY_NOT_FOUND");
    notices.take_back(&task("1", "create_media_buy")).await.unwrap();
    assert_eq!(media_buy::find(&acme, "acct_pinnacle", "mb_acme_io_2043").await.unwrap(), None);
}

#[tokio::test]
async fn a_refusal_says_what_is_wrong_where_and_what_to_do() {
    let (acme, _dir) = acme();
    let schema = SCHEMAS.schema("core/error.json");
    for (name, code, field) in [
        ("budget_too_low", "BUDGET_TOO_LOW", "packages[0].budget"),
        ("unknown_product", "PRODUCT_NOT_FOUND", "packages[0].product_id"),
    ] {
        let error = create(&acme, "1", name).await.unwrap_err();
        assert_eq!((error.code.as_str(), error.field.as_deref()), (code, Some(field)));
        assert!(!error.is_transient() && error.suggestion.is_some());
        assert_valid(&schema, name, &error.to_json());
    }
    assert_eq!(acme.book.calls(Ledger::MediaBuys).await.unwrap(), []);
}

#[tokio::test]
async fn a_few_creatives_are_taken_at_once_and_a_batch_is_reviewed() {
    let (acme, _dir) = acme();
    for (token, action) in [("1", "created"), ("1", "created"), ("2", "updated")] {
        let result = completed(sync_creatives(&acme, &origin(token), request("sync_creatives")).await.unwrap());
        assert_result("sync_creatives", &result);
        assert_eq!(result["creatives"][1]["action"], action);
    }
    let ticket = reviewed(sync_creatives(&acme, &origin("3"), request("sync_creatives.batch")).await.unwrap());
    assert_result("sync_creatives", &ticket.approve_with);
    assert_eq!(ticket.approve_with, review("approve_creatives"), "status first or last");
    let notices = NoticeBoard::new(acme.clone());
    notices.carry_out(&task("3", "sync_creatives"), &review("approve_creatives")).await.unwrap();
    assert_eq!(acme.book.list::<Value>(Ledger::Creatives, &["acct_pinnacle"]).await.unwrap().len(), 4 + 6);
}

#[test]
fn discovery_answers_in_every_mode() {
    let origin = origin("1");
    for (name, ids) in [("wholesale", 6), ("brief", 5), ("refine", 2)] {
        let result = answer("1", &request(&format!("get_products.{name}")), None).unwrap();
        assert_result("get_products", &result);
        assert_eq!(result["products"].as_array().unwrap().len(), ids, "{name}");
    }
    let mut known: Value = request("get_products.wholesale");
    known["if_wholesale_feed_version"] = json!(acme_seller::catalog::FEED_VERSION);
    let unchanged = answer("1", &known, None).unwrap();
    assert_result("get_products", &unchanged);
    assert_eq!(unchanged["unchanged"], true);
    for (name, signals) in [("wholesale", 2), ("brief", 1)] {
        let result = completed(get_signals(&origin, &request(&format!("get_signals.{name}"))).unwrap());
        assert_result("get_signals", &result);
        assert_eq!(result["signals"].as_array().unwrap().len(), signals, "{name}");
    }
}

#[tokio::test]
async fn a_proposal_is_drafted_refined_finalized_and_bought() {
    let drafted = answer("1", &request("get_products.brief"), None).unwrap();
    assert_result("get_products", &drafted);
    let draft = offered(ProposalState::Draft, &drafted["proposals"][0]);
    assert_eq!((draft.proposal_id.as_str(), &draft.body["proposal_status"]), ("prop_1", &json!("draft")));
    for without in ["get_products.wholesale", "get_products.refine"] {
        assert_eq!(answer("1", &request(without), None).unwrap().get("proposals"), None, "{without}");
    }

    let refined = answer("2", &request("get_products.refine_proposal"), Some(&draft)).unwrap();
    assert_result("get_products", &refined);
    let applied = json!([{"scope": "proposal", "proposal_id": "prop_1", "status": "applied"}]);
    assert_eq!(refined["refinement_applied"], applied);
    let refined = offered(ProposalState::Draft, &refined["proposals"][0]);
    assert_eq!((refined.proposal_id.as_str(), &refined.body["proposal_status"]), ("prop_1", &json!("draft")));
    assert_ne!(refined.body["allocations"], draft.body["allocations"]);

    let finalized = answer("3", &request("get_products.finalize"), Some(&refined)).unwrap();
    assert_result("get_products", &finalized);
    assert_eq!(finalized["refinement_applied"], applied);
    let committed = offered(ProposalState::Committed, &finalized["proposals"][0]);
    assert_eq!((committed.proposal_id.as_str(), &committed.body["proposal_status"]), ("prop_1", &json!("committed")));
    assert_eq!(committed.body["allocations"], refined.body["allocations"]);
    assert!(committed.body["expires_at"].is_string(), "{committed:?}");
    let again = answer("4", &request("get_products.finalize"), Some(&committed)).unwrap();
    assert_eq!(again["proposals"][0], committed.body);
    let firm = answer("5", &request("get_products.refine_proposal"), Some(&committed)).unwrap();
    assert_result("get_products", &firm);
    assert_eq!((&firm["refinement_applied"][0]["status"], &firm["proposals"][0]), (&json!("unable"), &committed.body));

    let (acme, _dir) = acme();
    let purchase = || request("create_media_buy.proposal");
    let plan = media_buy::create(&acme, &origin("6"), purchase(), Some(&committed.body)).await.unwrap();
    let ticket = reviewed(plan);
    assert_result("create_media_buy", &ticket.approve_with);
    assert_eq!(ticket.approve_with["total_budget"], 60_000);
    let products =
        |list: &Value| -> Vec<Value> { list.as_array().unwrap().iter().map(|one| one["product_id"].clone()).collect() };
    assert_eq!(products(&ticket.approve_with["packages"]), products(&committed.body["allocations"]));
    let of = |product: &str| json!({"allocations": [{"product_id": product, "allocation_percentage": 100}]});
    let plan = media_buy::create(&acme, &origin("7"), purchase(), Some(&of("acme_homepage_takeover"))).await.unwrap();
    let Plan::Book(order) = plan else { panic!("not booked") };
    assert_eq!(order.lines.len(), 1);
    let plan = media_buy::create(&acme, &origin("8"), purchase(), Some(&of("acme_display_ron"))).await.unwrap();
    assert_result("create_media_buy", &completed(plan));
}

#[tokio::test]
async fn a_proposal_that_can_not_be_changed_or_bought_so_is_refused() {
    let schema = SCHEMAS.schema("core/error.json");
    let drafted = answer("1", &request("get_products.brief"), None).unwrap();
    let body = &drafted["proposals"][0];
    let draft = offered(ProposalState::Draft, body);
    let finalize: Value = request("get_products.finalize");
    let mut mixed = finalize.clone();
    mixed["refine"].as_array_mut().unwrap().push(json!({"scope": "request", "ask": "More video"}));
    let refined: Value = request("get_products.refine_proposal");
    for (request, state, code, field) in [
        (&finalize, None, "PROPOSAL_NOT_FOUND", "refine[0].proposal_id"),
        (&refined, None, "PROPOSAL_NOT_FOUND", "refine[0].proposal_id"),
        (&mixed, Some(ProposalState::Draft), "INVALID_REQUEST", "refine"),
        (&finalize, Some(ProposalState::Declined), "INVALID_STATE", "refine[0].proposal_id"),
        (&refined, Some(ProposalState::Consumed), "INVALID_STATE", "refine[0].proposal_id"),
        (&finalize, Some(ProposalState::Consuming), "CONFLICT", "refine[0].proposal_id"),
    ] {
        let error = answer("2", request, state.map(|state| offered(state, body)).as_ref()).unwrap_err();
        assert_eq!((error.code.as_str(), error.field.as_deref()), (code, Some(field)));
        assert_valid(&schema, code, &error.to_json());
    }
    let (acme, _dir) = acme();
    let mut cheap: Value = request("create_media_buy.proposal");
    cheap["total_budget"]["amount"] = json!(5000);
    let cheap = serde_json::from_value(cheap).unwrap();
    let error = media_buy::create(&acme, &origin("3"), cheap, Some(&draft.body)).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.field.as_deref()), ("BUDGET_TOO_LOW", Some("total_budget.amount")));
    assert_valid(&schema, "BUDGET_TOO_LOW", &error.to_json());
}

#[tokio::test]
async fn the_back_office_and_the_studio_answer_as_the_protocol_has_it() {
    let (acme, _dir) = acme();
    let matched = sync_audiences(&acme, &origin("1"), request("sync_audiences")).await.unwrap();
    assert_result("sync_audiences", &completed(matched));
    let known = sync_audiences(&acme, &origin("7"), serde_json::from_value(json!({})).unwrap()).await.unwrap();
    let known = completed(known);
    assert_result("sync_audiences", &known);
    assert_eq!(
        (&known["audiences"][0]["audience_id"], &known["audiences"][0]["action"]),
        (&json!("nova_owners"), &json!("unchanged"))
    );
    let busy = Acme { options: Options { members_at_once: 1, ..acme.options.clone() }, ..acme };
    let Plan::BackOffice(chore) = sync_audiences(&busy, &origin("2"), request("sync_audiences")).await.unwrap() else {
        panic!("at once")
    };
    assert_result("sync_audiences", &chore.result);
    let Plan::BackOffice(chore) = build_creative(&origin("3"), &request("build_creative")).unwrap() else {
        panic!("at once")
    };
    assert_result("build_creative", &chore.result);
    let tag = json!({
        "creative_id": "nova_ev_01",
        "target_format_id": {"agent_url": "https://formats.example", "id": "vast_30s"},
    });
    let tag = build_creative(&origin("6"), &serde_json::from_value(tag).unwrap()).unwrap();
    assert_result("build_creative", &completed(tag));
    let preview = preview_creative(&origin("4"), &request("preview_creative")).unwrap();
    assert_result("preview_creative", &completed(preview));
    let preview = preview_creative(&origin("5"), &request("preview_creative.allow_async")).unwrap();
    let Plan::BackOffice(chore) = preview else { panic!("at once") };
    assert_result("preview_creative", &chore.result);
}
