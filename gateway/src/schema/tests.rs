//! The protocol's real schemas, where scripts/setup has unpacked them.

use super::{Schemas, issue};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

fn directory() -> PathBuf {
    let directory = std::env::var_os("HANDOFF_ADCP_SCHEMAS").filter(|directory| !directory.is_empty());
    PathBuf::from(directory.expect("the protocol's schemas are not here: run make test, or set HANDOFF_ADCP_SCHEMAS"))
}

fn schemas() -> Schemas {
    Schemas::load(&directory()).unwrap()
}

fn requests() -> Vec<(String, Value)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/acme-seller/requests");
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut requests: Vec<_> = files
        .map(|file| {
            let name = file.file_stem().unwrap().to_string_lossy().into_owned();
            (name, serde_json::from_slice(&fs::read(file).unwrap()).unwrap())
        })
        .collect();
    requests.sort_by(|one: &(String, Value), other| one.0.cmp(&other.0));
    requests
}

fn acme(name: &str) -> Value {
    requests().into_iter().find(|(stem, _)| stem == name).expect(name).1
}

fn with(mut value: Value, pointer: &str, new: Value) -> Value {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let parent = value.pointer_mut(parent).expect(pointer);
    match parent.as_array_mut() {
        Some(items) => items[field.parse::<usize>().unwrap()] = new,
        None => parent[field] = new,
    }
    value
}

fn without(mut value: Value, pointer: &str) -> Value {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    value.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(field).expect(pointer);
    value
}

fn told(issues: &[handoff_proto::wire::Issue]) -> Vec<(&str, &str)> {
    issues.iter().map(|issue| (issue.pointer.as_str(), issue.keyword.as_str())).collect()
}

fn places(issues: &[handoff_proto::wire::Issue]) -> Vec<String> {
    issues.iter().map(|issue| issue.pointer.clone()).collect()
}

#[test]
fn every_tools_schemas_compile() {
    let schemas = schemas();
    assert_eq!(schemas.compiled(), 0, "compiled before it was needed");
    let mut paths = 0;
    for tool in schemas.tools().map(ToOwned::to_owned).collect::<Vec<_>>() {
        schemas.check_request(&tool, &json!({}));
        for status in ["completed", "submitted", "working", "input-required", "rejected"] {
            schemas.check_response(&tool, &json!({"status": status}));
        }
        paths += 1;
    }
    assert!(paths > 70, "{paths} tools");
    assert_eq!(schemas.compiled(), schemas.compiled.asked(), "some schema can't be compiled");
}

#[test]
fn loading_compiles_nothing_and_a_check_compiles_what_it_needs() {
    let begin = Instant::now();
    let schemas = schemas();
    let took = begin.elapsed();
    println!("loaded {} tools in {took:?}", schemas.tools().count());
    // Generous: a debug build on a busy machine. It reads some hundred small files.
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(schemas.compiled(), 0);
    schemas.check_request("get_products", &json!({}));
    schemas.check_request("get_products", &json!({}));
    assert_eq!(schemas.compiled(), 1);
}

#[test]
fn one_schema_is_compiled_once_for_all_threads() {
    let schemas = schemas();
    let request = acme("get_products.brief");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(schemas.check_request("get_products", &request), []));
        }
    });
    assert_eq!(schemas.compiled(), 1);
}

#[test]
fn the_examples_requests_are_valid() {
    let schemas = schemas();
    let requests = requests();
    assert!(requests.len() > 10);
    for (name, request) in requests {
        let tool = name.split('.').next().unwrap();
        assert_eq!(schemas.check_request(tool, &request), [], "{name}");
    }
}

#[test]
fn a_mistake_is_found_where_it_is() {
    let schemas = schemas();
    let create = || acme("create_media_buy.guaranteed");
    let creatives = || acme("sync_creatives.batch");
    let account = |account: Value| with(create(), "/account", account);
    let cases: Vec<(&str, Value, &str, &str)> = vec![
        ("create_media_buy", without(create(), "/idempotency_key"), "/idempotency_key", "required"),
        ("create_media_buy", with(create(), "/idempotency_key", json!("short")), "/idempotency_key", "minLength"),
        ("create_media_buy", with(create(), "/packages/0/budget", json!("many")), "/packages/0/budget", "type"),
        ("create_media_buy", with(create(), "/packages/1/budget", json!(-1)), "/packages/1/budget", "minimum"),
        ("create_media_buy", without(create(), "/packages/0/product_id"), "/packages/0/product_id", "required"),
        ("create_media_buy", without(create(), "/brand/domain"), "/brand/domain", "required"),
        ("create_media_buy", with(create(), "/brand/domain", json!("not a domain")), "/brand/domain", "pattern"),
        ("create_media_buy", with(create(), "/end_time", json!("tomorrow")), "/end_time", "format"),
        ("create_media_buy", account(json!({"account_id": 7})), "/account/account_id", "type"),
        ("create_media_buy", account(json!("acct")), "/account", "type"),
        // One more key than the alternative has.
        ("create_media_buy", account(json!({"account_id": "a", "x": 1})), "/account/x", "additionalProperties"),
        // The other alternative was meant: its own field is wrong.
        (
            "create_media_buy",
            account(json!({"brand": {"domain": 3}, "operator": "agency.example"})),
            "/account/brand/domain",
            "type",
        ),
        ("create_media_buy", account(json!({"brand": {"domain": "a.example"}})), "/account/operator", "required"),
        // Told apart by a constant.
        (
            "sync_creatives",
            without(creatives(), "/creatives/5/assets/image/url"),
            "/creatives/5/assets/image/url",
            "required",
        ),
        (
            "sync_creatives",
            with(creatives(), "/creatives/5/assets/image/width", json!("wide")),
            "/creatives/5/assets/image/width",
            "type",
        ),
        ("get_products", json!({}), "/buying_mode", "required"),
        ("get_products", json!({"buying_mode": "whatever"}), "/buying_mode", "enum"),
        ("get_task_status", json!({"task_id": 5}), "/task_id", "type"),
        ("list_tasks", json!({"pagination": {"max_results": 1000}}), "/pagination/max_results", "maximum"),
        ("get_media_buys", json!([]), "", "type"),
    ];
    for (tool, request, pointer, keyword) in cases {
        let issues = schemas.check_request(tool, &request);
        assert!(told(&issues).contains(&(pointer, keyword)), "{tool} {pointer} {keyword}: {issues:#?}");
        assert!(issues[0].schema_id.as_deref().is_some_and(|id| id.starts_with("/schemas/3")), "{issues:#?}");
        assert!(issues[0].schema_path.as_deref().is_some_and(|path| path.starts_with("#/")), "{issues:#?}");
    }
}

#[test]
fn an_answer_is_checked_by_its_own_arm() {
    let schemas = schemas();
    let submitted = json!({"status": "submitted", "task_id": "t", "message": "m", "context": {"a": 1}});
    let failed = json!({"status": "failed", "errors": [{"code": "X", "message": "m", "recovery": "terminal"}]});
    for tool in handoff_proto::verbs::VERBS.iter().map(|verb| verb.name) {
        let body = match tool {
            "preview_creative" => with(submitted.clone(), "/response_type", json!("submitted")),
            _ => submitted.clone(),
        };
        if tool != "preview_creative" {
            assert_eq!(schemas.check_response(tool, &body), [], "{tool}");
            let wrong = without(body, "/task_id");
            assert_eq!(told(&schemas.check_response(tool, &wrong)), [("/task_id", "required")], "{tool}");
        }
    }
    for tool in ["create_media_buy", "get_products", "get_signals", "update_media_buy", "buy_products"] {
        assert_eq!(schemas.check_response(tool, &failed), [], "{tool}");
    }
    let rejected = json!({"status": "rejected", "reason": "no inventory"});
    assert_eq!(schemas.check_response("get_products", &rejected), []);
    assert_eq!(told(&schemas.check_response("get_products", &without(rejected, "/reason"))), [("/reason", "required")]);
    let working = json!({"status": "working", "percentage": 200});
    assert_eq!(told(&schemas.check_response("create_media_buy", &working)), [("/percentage", "maximum")]);
    // The success is meant, not the error arm and not the submitted one.
    let success = json!({"status": "completed", "media_buy_id": "m", "confirmed_at": null, "packages": []});
    assert_eq!(told(&schemas.check_response("create_media_buy", &success)), [("/revision", "required")]);
    // Whatever it lacks.
    let lacking = |result| places(&schemas.check_response("create_media_buy", &result));
    let missing = ["/media_buy_id", "/confirmed_at", "/revision", "/packages"];
    assert_eq!(lacking(json!({"status": "completed", "media_buy": 1})), missing);
    assert_eq!(lacking(json!({"status": "completed", "media_buy_id": "m"})), missing[1..]);
    assert_eq!(lacking(json!({"status": "rejected", "reason": "no"})), ["/errors"]);
    let success = with(success, "/revision", json!(1));
    assert_eq!(schemas.check_response("create_media_buy", &success), []);
    assert_eq!(schemas.check_result("create_media_buy", &success), []);
    assert_eq!(
        told(&schemas.check_result("create_media_buy", &without(success, "/status"))),
        [("/status", "required")]
    );
    assert!(!schemas.check_result("media_buy_delivery", &json!({"status": "completed"})).is_empty());
    assert_eq!(schemas.check_response("no_such_tool", &json!({})), []);
    assert_eq!(schemas.check_request("no_such_tool", &json!({})), []);
}

#[test]
fn the_envelope_is_accepted_on_every_tool() {
    let schemas = schemas();
    let envelope = json!({
        "idempotency_key": "0123456789abcdef", "context_id": "c", "context": {"a": 1}, "governance_context": "g",
        "push_notification_config": {"url": "https://buyer.example/hook", "operation_id": "op"}
    });
    for tool in schemas.tools() {
        let issues = schemas.check_request(tool, &envelope);
        let about_envelope: Vec<_> = told(&issues)
            .into_iter()
            .filter(|(pointer, _)| super::ENVELOPE.iter().any(|field| pointer.strip_prefix('/') == Some(field)))
            .collect();
        assert_eq!(about_envelope, [], "{tool}");
    }
    // What is declared is checked; what is not the envelope's is not allowed in a closed request.
    let issues = schemas.check_request("list_products", &json!({"idempotency_key": 5, "unknown": 1}));
    assert!(told(&issues).contains(&("/unknown", "additionalProperties")), "{issues:?}");
    assert!(told(&issues).contains(&("/idempotency_key", "type")), "{issues:?}");
}

#[test]
fn issues_hold_no_value_and_no_end() {
    const SECRET: &str = "s3cr3t-value-that-must-not-show";
    let schemas = schemas();
    let push = json!({"url": SECRET, "token": SECRET, "authentication": {"schemes": [SECRET], "credentials": SECRET}});
    let creative = json!({"creative_id": {SECRET: 1}, "name": [SECRET], "assets": {"a": SECRET, "b": {"url": SECRET}}});
    let request = json!({
        "idempotency_key": SECRET, "account": SECRET, "push_notification_config": push,
        "creatives": vec![creative; 500], "assignments": SECRET, "validation_mode": SECRET,
    });
    for tool in schemas.tools() {
        let issues = schemas.check_request(tool, &request);
        assert!(issues.len() <= issue::MOST_ISSUES);
        let text = serde_json::to_string(&issues).unwrap();
        assert!(!text.contains(SECRET), "{tool}: {text}");
        assert!(text.len() < 20_000, "{tool}: {} bytes", text.len());
    }
    let long = "x".repeat(100_000);
    let issues = schemas.check_request("list_products", &json!({long: 1}));
    assert!(issues.iter().all(|issue| issue.pointer.chars().count() <= issue::LONGEST_TEXT + 1));
}

#[test]
fn a_tool_list_is_small_and_has_no_references() {
    let schemas = schemas();
    let mut total = 0;
    for name in schemas.tools() {
        let tool = schemas.tool(name).unwrap();
        let input = Value::Object(tool.input_schema());
        let listed = json!({"name": name, "description": tool.description(), "inputSchema": input}).to_string();
        assert!(!tool.description().is_empty() && !listed.contains("$ref"), "{listed}");
        assert_eq!((&input["type"], &input["additionalProperties"]), (&json!("object"), &json!(true)));
        total += listed.len();
    }
    println!("{total} bytes for {} tools", schemas.tools().count());
    // About a thousand bytes a tool, of which a seller has perhaps twenty.
    assert!(total < 90_000, "{total} bytes");
    let create = schemas.tool("create_media_buy").unwrap().input_schema();
    assert_eq!(
        (&create["properties"]["packages"]["type"], &create["properties"]["brand"]["type"]),
        (&json!("array"), &json!("object"))
    );
    assert!(create["required"].as_array().unwrap().contains(&json!("idempotency_key")));
    let products = schemas.tool("get_products").unwrap().input_schema();
    assert_eq!(products["properties"]["buying_mode"]["enum"][0], "brief");
    assert!(schemas.tool("no_such_tool").is_none());
}

#[test]
fn slim_schemas_accept_what_the_protocol_accepts() {
    let schemas = schemas();
    for (name, request) in requests() {
        let tool = schemas.tool(name.split('.').next().unwrap()).unwrap();
        let slim = jsonschema::validator_for(&Value::Object(tool.input_schema())).unwrap();
        assert!(slim.is_valid(&request), "{name}");
    }
}

#[test]
fn a_directory_that_holds_no_schemas_is_named() {
    let missing = Schemas::load(Path::new("/no/such/directory")).unwrap_err().to_string();
    assert!(missing.contains("/no/such/directory") && missing.contains("HANDOFF_ADCP_SCHEMAS"), "{missing}");
}
