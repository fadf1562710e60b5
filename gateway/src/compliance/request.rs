//! What a test asks of the controller.

use super::{Fields, answer::Refusal};
use serde_json::{Map, Value};
use std::sync::LazyLock;

/// A request.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) scenario: &'a str,
    pub(super) params: &'a Fields,
    /// The account that it names, as other requests name one.
    pub(super) account: Option<Value>,
}

/// The scenario for what becomes of proposals, and its operation that is the engine's.
pub(super) const PROPOSAL_PROBE: &str = "compact_product_lifecycle_probe";
pub(super) const EXPIRE: &str = "expire_proposal";
const DIRECT_PROBE: &str = "compact_direct_buy_lifecycle_probe";
const PREPARE: &str = "prepare";

static NONE: LazyLock<Fields> = LazyLock::new(Map::new);

impl<'a> Request<'a> {
    pub(super) fn read(request: &'a Value) -> Result<Self, Refusal> {
        let Some(scenario) = request.get("scenario").and_then(Value::as_str) else {
            return Err(invalid("scenario is required, and is text"));
        };
        let params = match request.get("params") {
            None | Some(Value::Null) => &NONE,
            Some(Value::Object(params)) => params,
            Some(_) => return Err(invalid("params must be an object")),
        };
        Ok(Self { scenario, params, account: account(request)? })
    }

    /// Refuses what lacks a parameter that the protocol requires of the scenario.
    pub(super) fn check_params(&self) -> Result<(), Refusal> {
        let missing = |name: &&&str| self.params.get(**name).is_none_or(Value::is_null);
        if let Some(name) = required(self.scenario).iter().find(missing) {
            return Err(invalid(format!("params.{name} is required")));
        }
        if ![PROPOSAL_PROBE, DIRECT_PROBE].contains(&self.scenario) {
            return Ok(());
        }
        let operation = self.params.get("operation").and_then(Value::as_str).unwrap_or_default();
        let Some((needed, misplaced)) = of_operation(self.scenario, operation) else {
            return Err(invalid("params.operation: the scenario has no such operation"));
        };
        if let Some(name) = needed.iter().find(missing) {
            return Err(invalid(format!("params.{name} is required")));
        }
        match misplaced.iter().find(|name| self.params.contains_key(**name)) {
            Some(name) => Err(invalid(format!("params.{name} has no meaning for {operation}"))),
            None => Ok(()),
        }
    }
}

fn invalid(why: impl Into<String>) -> Refusal {
    Refusal::new("INVALID_PARAMS", why)
}

// Here, and only here, `sandbox: true` stands beside whatever names the account; it may stand alone. It says what the caller
// means, and what is so, the seller's accounts say.
fn account(request: &Value) -> Result<Option<Value>, Refusal> {
    let fields = match request.get("account") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(fields)) => fields,
        Some(_) => return Err(invalid("account must be an object")),
    };
    match fields.get("sandbox") {
        None | Some(Value::Bool(true)) => {}
        Some(_) => return Err(Refusal::new("FORBIDDEN", "The request says itself that it is for no sandbox account.")),
    }
    if fields.contains_key("account_id") {
        let id = fields.iter().filter(|(name, _)| *name == "account_id");
        return Ok(Some(Value::Object(id.map(|(name, value)| (name.clone(), value.clone())).collect())));
    }
    Ok(fields.keys().any(|name| name != "sandbox").then(|| Value::Object(fields.clone())))
}

// By the request's schema.
fn required(scenario: &str) -> &'static [&'static str] {
    match scenario {
        "force_account_status" => &["account_id", "status"],
        "force_create_media_buy_arm"
        | "force_get_products_arm"
        | "force_get_signals_arm"
        | "force_get_creative_features_arm" => &["arm"],
        "force_creative_purge" | "query_provenance_audit_observations" | "seed_creative" => &["creative_id"],
        "force_creative_status" => &["creative_id", "status"],
        "force_media_buy_purge" | "seed_media_buy" | "simulate_delivery" => &["media_buy_id"],
        "force_media_buy_status" => &["media_buy_id", "status"],
        "force_session_status" => &["session_id", "status"],
        "force_task_completion" => &["task_id", "result"],
        "force_upstream_unavailable" => &["tool"],
        "catalog_item_availability_probe" => &["operation", "catalog_id", "item_id"],
        DIRECT_PROBE => &["operation", "product_id"],
        PROPOSAL_PROBE | "reporting_core_lifecycle_probe" => &["operation"],
        "seed_account" => &["account_id"],
        "seed_creative_format" => &["format_id"],
        "seed_measurement_catalog" => &["vendor", "metrics"],
        "seed_plan" => &["plan_id"],
        "seed_pricing_option" => &["product_id", "pricing_option_id"],
        "seed_product" => &["product_id"],
        "seed_rights_grant" => &["rights_id"],
        "simulate_budget_spend" => &["spend_percentage"],
        _ => &[],
    }
}

// What an operation needs beside, and what it must not have.
fn of_operation(scenario: &str, operation: &str) -> Option<(&'static [&'static str], &'static [&'static str])> {
    match (scenario, operation) {
        (PROPOSAL_PROBE, PREPARE) => Some((&["product_id"], &["proposal_id"])),
        (PROPOSAL_PROBE, EXPIRE) => Some((&["proposal_id"], &["expires_at", "target_time", "product_id"])),
        (DIRECT_PROBE, PREPARE) => Some((&[], &["proposal_id", "expires_at", "target_time"])),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::{fs, path::PathBuf};

    fn code(request: &Value) -> Option<String> {
        let refused = Request::read(request).and_then(|request| request.check_params()).err()?;
        refused.into_body("c")["error"].as_str().map(str::to_owned)
    }

    #[test]
    fn what_can_not_be_understood_is_told_in_the_controllers_words() {
        for (request, expected) in [
            (json!({}), Some("INVALID_PARAMS")),
            (json!({"scenario": 5}), Some("INVALID_PARAMS")),
            (json!({"scenario": "list_scenarios"}), None),
            (json!({"scenario": "list_scenarios", "params": null, "account": null}), None),
            (json!({"scenario": "seed_product", "params": []}), Some("INVALID_PARAMS")),
            (json!({"scenario": "seed_product"}), Some("INVALID_PARAMS")),
            (json!({"scenario": "seed_product", "params": {"product_id": null}}), Some("INVALID_PARAMS")),
            (json!({"scenario": "seed_product", "params": {"product_id": "p"}}), None),
            (json!({"scenario": "a_sellers_own", "params": {}}), None),
            (json!({"scenario": "list_scenarios", "account": "acct"}), Some("INVALID_PARAMS")),
            (json!({"scenario": "list_scenarios", "account": {"sandbox": false}}), Some("FORBIDDEN")),
            (json!({"scenario": "list_scenarios", "account": {"sandbox": "true"}}), Some("FORBIDDEN")),
        ] {
            assert_eq!(code(&request).as_deref(), expected, "{request}");
        }
    }

    #[test]
    fn an_operation_has_what_is_its_own() {
        let probe = |scenario: &str, params: Value| code(&json!({"scenario": scenario, "params": params}));
        for (scenario, params) in [
            (PROPOSAL_PROBE, json!({"operation": "prepare", "product_id": "p"})),
            (PROPOSAL_PROBE, json!({"operation": "expire_proposal", "proposal_id": "p"})),
            (DIRECT_PROBE, json!({"operation": "prepare", "product_id": "p"})),
            ("reporting_core_lifecycle_probe", json!({"operation": "prepare"})),
        ] {
            assert_eq!(probe(scenario, params.clone()), None, "{scenario} {params}");
        }
        for (scenario, params) in [
            (PROPOSAL_PROBE, json!({})),
            (PROPOSAL_PROBE, json!({"operation": "advance_time"})),
            (PROPOSAL_PROBE, json!({"operation": "prepare"})),
            (PROPOSAL_PROBE, json!({"operation": "prepare", "product_id": "p", "proposal_id": "q"})),
            (PROPOSAL_PROBE, json!({"operation": "expire_proposal"})),
            (PROPOSAL_PROBE, json!({"operation": "expire_proposal", "proposal_id": "p", "product_id": "q"})),
            (PROPOSAL_PROBE, json!({"operation": "expire_proposal", "proposal_id": "p", "expires_at": "x"})),
            (DIRECT_PROBE, json!({"operation": "prepare"})),
            (DIRECT_PROBE, json!({"operation": "expire_proposal", "product_id": "p"})),
            (DIRECT_PROBE, json!({"operation": "prepare", "product_id": "p", "target_time": "x"})),
        ] {
            assert_eq!(probe(scenario, params.clone()).as_deref(), Some("INVALID_PARAMS"), "{scenario} {params}");
        }
    }

    #[test]
    fn the_account_is_named_as_elsewhere() {
        let key = json!({"brand": {"domain": "test.example"}, "operator": "test.example", "sandbox": true});
        for (account, named) in [
            (json!({"sandbox": true}), None),
            (json!({"account_id": "a", "sandbox": true}), Some(json!({"account_id": "a"}))),
            (json!({"account_id": "a"}), Some(json!({"account_id": "a"}))),
            (key.clone(), Some(key)),
        ] {
            let request = json!({"scenario": "list_scenarios", "account": account});
            assert_eq!(Request::read(&request).unwrap().account, named, "{account}");
        }
    }

    #[test]
    fn what_is_required_is_what_the_schema_requires() {
        let directory = std::env::var_os("HANDOFF_ADCP_SCHEMAS").filter(|directory| !directory.is_empty());
        let directory = PathBuf::from(directory.expect("run make test, or set HANDOFF_ADCP_SCHEMAS"));
        let text = fs::read(directory.join("compliance/comply-test-controller-request.json")).unwrap();
        let schema: Value = serde_json::from_slice(&text).unwrap();
        let mut seen = 0;
        for rule in schema["allOf"].as_array().unwrap() {
            let Some(scenario) = rule["if"]["properties"]["scenario"]["const"].as_str() else { continue };
            let names = rule["then"]["properties"]["params"]["required"].as_array();
            // That of creative features is one of two sets.
            let Some(names) = names else { continue };
            let names: Vec<&str> = names.iter().map(|name| name.as_str().unwrap()).collect();
            assert_eq!(required(scenario), names, "{scenario}");
            seen += 1;
        }
        assert!(seen > 20, "{seen}");
    }
}
